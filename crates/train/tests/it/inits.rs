//! Initialisations that read or change the base, on whole models, against PEFT 0.21.

use std::collections::BTreeMap;

use burnisher_lora::{
    Adaptable, Eva, EvaConfig, InitLoraWeights, LoftqConfig, LoraConfig, LoraError, PeftFiles, Site,
    TargetModules, Weight, attach, attach_eva, initial_adapter, load_peft, save_peft, save_peft_converted,
    visit_parameters,
};
use burnisher_models::{CausalLm, LoadConfig, ModelInput};
use burnisher_quant::QuantConfig;

use crate::{
    parity::{adapter_dir, device, reference_batch, variant_file},
    support::{Tensors, assert_near, fixture, fixture_or_shared, values},
};

/// The variants whose initial values are recorded.
const INITS: [&str; 5] = ["pissa", "pissa_niter_4", "olora", "loftq4_iter1", "loftq4_iter5"];

fn base(quantize: Option<QuantConfig>) -> CausalLm {
    let load = match quantize {
        Some(quant) => LoadConfig::new().with_quantize(quant),
        None => LoadConfig::new(),
    };
    CausalLm::from_pretrained(fixture("models/llama2"), &load, &device()).unwrap()
}

fn config(variant: &str) -> Option<LoraConfig> {
    Some(LoraConfig::read(adapter_dir("llama2", variant)?.join("adapter_config.json")).unwrap())
}

fn logits(model: &CausalLm) -> Vec<f32> {
    values(&model.logits(&ModelInput::from_batch(&reference_batch("llama2"))))
}

/// Every dense parameter by its name.
fn parameters(model: &CausalLm) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut found = BTreeMap::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        found.insert(name.to_owned(), (parameter.shape(), values(&parameter.flat())));
    });
    found
}

/// `B·A` from `[out, r]` and `[r, in]`.
fn product(b: &[f32], a: &[f32], r: usize) -> Vec<f32> {
    let inn = a.len() / r;
    let dot = |row: &[f32], col: usize| {
        (0..r).map(|k| f64::from(row[k]) * f64::from(a[k * inn + col])).sum::<f64>()
    };
    b.chunks(r).flat_map(|row| (0..inn).map(move |col| dot(row, col) as f32)).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// Singular vectors have no sign: products and what is left of the base are compared.
#[test]
fn initial_values_are_those_of_peft() {
    for variant in INITS {
        let (Some(config), Some(file)) =
            (config(variant), variant_file("llama2", variant, "init.safetensors"))
        else {
            continue;
        };
        let want = Tensors::read(file);
        let (model, report) = attach(&config, base(None), 1, &device()).unwrap();
        let found = parameters(&model);
        assert_eq!(report.adapted.len(), 4);
        for module in &report.adapted {
            let path = &module.path;
            let part = |name: &str| &found[&format!("{path}.{name}.weight")].1;
            let ours = product(part("lora_B"), part("lora_A"), module.r);
            let (a, b) = (want.floats(&format!("{path}.lora_A")), want.floats(&format!("{path}.lora_B")));
            let theirs = product(b, a, module.r);
            let left = want.floats(&format!("{path}.base_after_init"));
            let mine = &found[&format!("{path}.weight")].1;
            if variant == "pissa_niter_4" {
                // Both are random and of a flat spectrum: they leave as much of the weight, and what the two parts
                // give together is the same weight.
                let size = |values: &[f32]| distance(values, &vec![0.0; values.len()]);
                let (ours_left, theirs_left) = (size(mine), size(left));
                assert!((ours_left / theirs_left - 1.0).abs() < 0.02, "{path}: {ours_left}, {theirs_left}");
                let whole = |base: &[f32], product: &[f32]| -> Vec<f32> {
                    base.iter().zip(product).map(|(w, p)| w + module.scaling as f32 * p).collect()
                };
                assert_near(&whole(mine, &ours), &whole(left, &theirs), 1e-6, path);
            } else {
                assert_near(&ours, &theirs, 1e-5, &format!("{variant} {path} B·A"));
                assert_near(mine, left, 1e-5, &format!("{variant} {path} base"));
            }
        }
    }
}

#[test]
fn what_changes_the_base_leaves_the_model_as_it_was() {
    let untouched = logits(&base(None));
    for (init, r, r_slora) in [
        (InitLoraWeights::Pissa, 4, false),
        (InitLoraWeights::Pissa, 64, true),
        (InitLoraWeights::PissaNiter(2), 6, true),
        (InitLoraWeights::Olora, 5, false),
        (InitLoraWeights::Orthogonal, 6, false),
    ] {
        let config = LoraConfig::new(r)
            .with_init_lora_weights(init)
            .with_use_rslora(r_slora)
            .with_target_modules(TargetModules::AllLinear);
        let config =
            if r == 64 { config.with_target_modules(TargetModules::suffixes(["down_proj"])) } else { config };
        let (model, _) = attach(&config, base(None), 3, &device()).unwrap();
        assert_near(&logits(&model), &untouched, 2e-4, &format!("{init:?} of rank {r}"));
    }
}

/// PEFT's `path_initial_model_for_weight_conversion`: the same tensors and fields.
#[test]
fn converted_adapters_are_those_of_peft() {
    for variant in ["pissa", "pissa_niter_4", "olora"] {
        let Some(dir) = adapter_dir("llama2", variant) else { continue };
        let (trained, initial) =
            (PeftFiles::read(&dir).unwrap(), PeftFiles::read(dir.join("init_adapter")).unwrap());
        let converted = trained.converted(&initial).unwrap();
        let want = PeftFiles::read(dir.join("converted_lora")).unwrap();
        assert_eq!(converted.tensors, want.tensors, "{variant}");
        assert_eq!(converted.config.to_json(), want.config.to_json(), "{variant}");
    }
}

#[test]
fn a_converted_adapter_does_on_the_original_base_what_the_other_does_on_its_own() {
    for (init, rslora) in [
        (InitLoraWeights::Pissa, true),
        (InitLoraWeights::PissaNiter(3), false),
        (InitLoraWeights::Olora, false),
    ] {
        let config = LoraConfig::new(4)
            .with_lora_alpha(12.0)
            .with_use_rslora(rslora)
            .with_init_lora_weights(init)
            .with_target_modules(TargetModules::suffixes(["q_proj", "down_proj"]));
        let (mut model, _) = attach(&config, base(None), 3, &device()).unwrap();
        // As if trained.
        visit_parameters(&mut model, &mut |_, mut parameter| {
            if parameter.is_trainable() {
                let value = parameter.flat();
                parameter.set_flat(value.clone() * 0.9 + value.flip([0]) * 0.05);
            }
        });
        let trained = logits(&model);
        assert!(distance(&trained, &logits(&base(None))) > 1.0);

        let plain = tempfile::tempdir().unwrap();
        save_peft_converted(&model, &config, plain.path()).unwrap();
        let (loaded, loaded_config, _) = load_peft(plain.path(), base(None), false, &device()).unwrap();
        assert_eq!(loaded_config.lora().unwrap().init_lora_weights(), InitLoraWeights::Kaiming);
        assert_eq!(loaded_config.lora().unwrap().r(), 8);
        assert_near(&logits(&loaded), &trained, 2e-4, &format!("{init:?} converted"));

        // As it is, the adapter changes the base again when it is loaded, and is trained on and converted from there.
        let dir = tempfile::tempdir().unwrap();
        save_peft(&model, &config, dir.path()).unwrap();
        let (loaded, loaded_config, _) = load_peft(dir.path(), base(None), true, &device()).unwrap();
        assert_eq!(loaded_config.lora().unwrap().init_lora_weights(), init);
        assert_near(&logits(&loaded), &trained, 1e-6, &format!("{init:?} as it is"));
        assert_eq!(
            initial_adapter(&loaded, &config).unwrap().tensors,
            initial_adapter(&model, &config).unwrap().tensors,
            "{init:?}"
        );
    }
}

#[test]
fn what_cannot_be_converted_is_an_error() {
    let targets = || TargetModules::suffixes(["q_proj"]);
    let saved = |config: &LoraConfig, quantize| {
        let (model, _) = attach(config, base(quantize), 3, &device()).unwrap();
        save_peft_converted(&model, config, tempfile::tempdir().unwrap().path()).unwrap_err()
    };
    let plain = LoraConfig::new(4).with_target_modules(targets());
    let error = saved(&plain, None);
    assert!(matches!(&error, LoraError::NoAdapter { modules } if modules.len() == 2), "{error}");
    let loftq = plain.clone().with_init_lora_weights(InitLoraWeights::Loftq);
    assert!(saved(&loftq, None).to_string().contains("which quantizes the base"));
    let patterns = plain.clone().with_init_lora_weights(InitLoraWeights::Pissa).with_use_rslora(true);
    let patterns = patterns.with_rank_pattern([("layers.0.self_attn.q_proj", 2)]);
    assert!(saved(&patterns, None).to_string().contains("with rank_pattern or alpha_pattern"));
    let olora = plain.with_init_lora_weights(InitLoraWeights::Olora);
    assert!(saved(&olora, Some(QuantConfig::nf4())).to_string().contains("quantized again"));
}

#[test]
fn initialisations_that_do_not_fit_name_every_module() {
    let try_attach = |config: LoraConfig, quantize| {
        attach(&config, base(quantize), 1, &device()).map(|_| ()).unwrap_err().to_string()
    };
    let targets =
        |config: LoraConfig| config.with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
    for init in [
        InitLoraWeights::Pissa,
        InitLoraWeights::PissaNiter(1),
        InitLoraWeights::Olora,
        InitLoraWeights::Loftq,
    ] {
        let message = try_attach(targets(LoraConfig::new(65)).with_init_lora_weights(init), None);
        let wanted = "model.layers.1.self_attn.v_proj: found rank 65, wanted at most 64, the smaller dimension of 64×64";
        assert!(message.contains(wanted) && message.matches("found rank").count() == 4, "{message}");
    }
    for init in [InitLoraWeights::Pissa, InitLoraWeights::Loftq] {
        let message =
            try_attach(targets(LoraConfig::new(4)).with_init_lora_weights(init), Some(QuantConfig::nf4()));
        assert_eq!(message.matches("found a quantized weight, wanted a dense one").count(), 4, "{message}");
    }
    let message =
        try_attach(targets(LoraConfig::new(5)).with_init_lora_weights(InitLoraWeights::Orthogonal), None);
    assert!(message.contains("r is 5, wanted an even rank"), "{message}");
    let message = try_attach(targets(LoraConfig::new(4)).with_init_lora_weights(InitLoraWeights::Eva), None);
    assert!(message.contains("attach_eva"), "{message}");
    let loftq = targets(LoraConfig::new(4)).with_loftq_config(LoftqConfig { bits: 3, iterations: 1 });
    let message = try_attach(loftq.clone(), None);
    assert!(message.contains("loftq_config is given"), "{message}");
    let message = try_attach(loftq.with_init_lora_weights(InitLoraWeights::Loftq), None);
    assert!(message.contains("loftq_bits is 3, wanted 4 or 8"), "{message}");

    let mut broken = base(None);
    visit_parameters(&mut broken, &mut |name, mut parameter| {
        if name.ends_with("0.self_attn.q_proj.weight") {
            let value = parameter.flat();
            parameter.set_flat(value / 0.0);
        }
    });
    let config = targets(LoraConfig::new(4)).with_init_lora_weights(InitLoraWeights::Pissa);
    let message = attach(&config, broken, 1, &device()).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("layers.0.self_attn.q_proj: found numbers that are not finite"), "{message}");
}

/// A 4-bit base is restored, reduced and quantized again; loading does the same.
#[test]
fn olora_on_a_4_bit_base_stays_in_4_bits() {
    for double in [false, true] {
        let quant = QuantConfig::nf4().with_double_quant(double);
        let config = LoraConfig::new(8)
            .with_init_lora_weights(InitLoraWeights::Olora)
            .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
        let (mut model, _) = attach(&config, base(Some(quant)), 3, &device()).unwrap();
        let mut changed = 0;
        let mut before = BTreeMap::new();
        base(Some(quant)).sites(&mut |path, site| {
            if let Site::Projection(projection) = site
                && let Weight::FourBit(weight) = projection.weight()
            {
                before.insert(path.to_owned(), weight.to_state().unwrap());
            }
        });
        model.sites(&mut |path, site| {
            if let Site::Projection(projection) = site {
                let Weight::FourBit(weight) = projection.weight() else { panic!("{path} is dense") };
                let (now, then) = (weight.to_state().unwrap(), &before[path]);
                assert_eq!(now.block_size(), then.block_size());
                changed += usize::from(now != *then);
            }
        });
        assert_eq!(changed, 4);
        // Quantizing again loses something: the model is near, not the same.
        let (now, then) = (logits(&model), logits(&base(Some(quant))));
        assert!(distance(&now, &then) < 0.2 * distance(&then, &vec![0.0; then.len()]));
        let dir = tempfile::tempdir().unwrap();
        save_peft(&model, &config, dir.path()).unwrap();
        let (loaded, _, _) = load_peft(dir.path(), base(Some(quant)), false, &device()).unwrap();
        assert_eq!(logits(&loaded), now);
    }
}

/// Directions that explain more get more of the ranks; the adapter starts without effect and survives files.
#[test]
fn eva_starts_from_inputs_and_moves_ranks() {
    let Some(_) = fixture_or_shared("models/llama2") else { return };
    let config = LoraConfig::new(4)
        .with_lora_alpha(8.0)
        .with_init_lora_weights(InitLoraWeights::Eva)
        .with_target_modules(TargetModules::suffixes(["q_proj", "down_proj"]));
    let mut eva = Eva::new(&config, &base(None), &device()).unwrap();
    let modules: Vec<String> = eva.modules().map(str::to_owned).collect();
    assert_eq!(modules.len(), 4);
    // One direction in the first module, eight equal ones in the others.
    let inputs = |path: &str, batch: usize| -> Vec<f32> {
        let (features, directions) =
            (if path.ends_with("q_proj") { 64 } else { 160 }, if path == modules[0] { 1 } else { 8 });
        let rows = (0..48).map(|row| {
            (0..features)
                .map(|col| {
                    let wave =
                        |k: usize| ((row * 7 + batch * 3 + k * 5) as f32 * (k + 1) as f32 * 0.37).sin();
                    (0..directions).map(|k| if col % 8 == k { wave(k) } else { 0.0 }).sum::<f32>()
                })
                .collect::<Vec<f32>>()
        });
        rows.flatten().collect()
    };
    assert!(eva.clone().finish().unwrap_err().to_string().contains("found no inputs"));
    for batch in 0..4 {
        for path in &modules {
            eva.observe(path, &inputs(path, batch)).unwrap();
        }
    }
    assert!(eva.observe("model.nothing", &[]).is_err() && eva.observe(&modules[0], &[1.0; 63]).is_err());
    assert!(eva.observe(&modules[0], &[f32::NAN; 64]).is_err());
    let start = eva.finish().unwrap();
    let (model, report) = attach_eva(&start, base(None), &device()).unwrap();
    let ranks: BTreeMap<&str, usize> =
        report.adapted.iter().map(|module| (module.path.as_str(), module.r)).collect();
    assert_eq!(ranks.values().sum::<usize>(), 16, "{ranks:?}");
    assert_eq!(ranks[modules[0].as_str()], 1, "{ranks:?}");
    assert!(ranks.values().all(|r| *r <= 8), "{ranks:?}");
    // Scalings stay with the ranks.
    assert!(report.adapted.iter().all(|module| module.scaling == 2.0));
    assert_eq!(logits(&model), logits(&base(None)));
    let found = parameters(&model);
    for module in &report.adapted {
        let (shape, a) = &found[&format!("{}.lora_A.weight", module.path)];
        let inn = shape[1];
        for row in a.chunks(inn) {
            let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    save_peft(&model, start.config(), dir.path()).unwrap();
    let (loaded, loaded_config, _) = load_peft(dir.path(), base(None), true, &device()).unwrap();
    assert_eq!(parameters(&loaded), found);
    assert_eq!(loaded_config.lora().unwrap().eva_config(), EvaConfig::default());
}
