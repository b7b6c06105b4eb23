//! Methods with a training loop or a start of their own, against PEFT 0.21: AdaLoRA, LoRA-FA, EVA, orthogonal factors.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burnisher_kernels::AdamW;
use burnisher_lora::{
    AdaLoraConfig, Adaptable, Adapter, AdapterConfig, Eva, EvaConfig, InitLoraWeights, LoraConfig, PeftFiles,
    Projection, Site, TargetModules, attach, attach_eva, load_peft, merge, merge_and_unload, save_peft,
    unmerge, visit_parameters,
};
use burnisher_models::{CausalLm, LoadConfig, ModelInput};
use burnisher_train::{
    DecayRule, Gradients, LoraFa, Optimizer, RankAllocator, Schedule, ScheduleKind, Trainer, Warmup,
    add_orthogonality,
};
use serde_json::Value;

use crate::{
    parity::{device, file_key, micro_batches, reference_batch},
    properties::{LENGTHS, batches, config as train_config, trained},
    support::{Tensors, assert_near, assert_near_max, assert_relative, fixture, json, values},
};

fn dir(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft_more/llama2").join(variant)
}

fn base(name: &str) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &device()).unwrap()
}

fn load(variant: &str) -> (CausalLm, AdapterConfig) {
    let (model, config, _) = load_peft(dir(variant), base("llama2"), true, &device()).unwrap();
    (model, config)
}

fn logits(model: &CausalLm) -> Vec<f32> {
    values(&model.logits(&ModelInput::from_batch(&reference_batch("llama2"))))
}

fn adalora(config: &AdapterConfig) -> &AdaLoraConfig {
    match config {
        AdapterConfig::AdaLora(config) => config,
        other => panic!("{}", other.peft_type()),
    }
}

fn assert_logits(model: &CausalLm, tensors: &Tensors, what: &str) {
    let want = tensors.floats("logits_seq0");
    assert_near(&logits(model)[..want.len()], want, 1e-4, &format!("{what} logits"));
}

/// Loss, logits and gradients of the reference batch.
fn check_pass(model: &CausalLm, variant: &str) -> Gradients {
    let tensors = Tensors::read(dir(variant).join("reference.safetensors"));
    let reference = json(dir(variant).join("reference.json"));
    assert_logits(model, &tensors, variant);
    let batch = reference_batch("llama2");
    let (gradients, loss) = Gradients::of_step(model, &[batch], |_| None).unwrap();
    assert_relative(loss.mean, reference["loss"].as_f64().unwrap(), 1e-5, &format!("{variant} loss"));
    check_gradients(&gradients, &tensors, "grad", variant);
    gradients
}

fn check_gradients(gradients: &Gradients, tensors: &Tensors, prefix: &str, what: &str) {
    let prefix = format!("{prefix}.");
    let mut seen = 0;
    for (name, gradient) in gradients.iter() {
        let key = format!("{prefix}{}", file_key(name));
        assert_near_max(&values(gradient), tensors.floats(&key), 1e-4, &format!("{what} {key}"));
        seen += 1;
    }
    let wanted = tensors.names().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(seen, wanted, "{what}: gradient tensors");
}

/// What happens around the ten steps of [`check_steps`].
trait Loop {
    fn before_clipping(&mut self, _model: &CausalLm, _gradients: &mut Gradients) {}
    fn before_step(&mut self, _gradients: &mut Gradients) {}
    fn after_step(&mut self, _model: &mut CausalLm, _gradients: &Gradients, _step: usize) {}
}

struct Plain;

impl Loop for Plain {}

/// Ten AdamW steps: cosine with two warm-up steps, clipping at 1, decay 0.01 on everything.
fn check_steps(mut model: CausalLm, variant: &str, epsilon: f64, around: &mut impl Loop) -> CausalLm {
    let reference = json(dir(variant).join("reference.json"));
    let trace = &reference["trace"];
    let schedule = Schedule::new(ScheduleKind::COSINE, Warmup::Steps(2), 10);
    let adamw = AdamW { weight_decay: 0.01, epsilon, ..AdamW::default() };
    let mut optimizer = Optimizer::new(adamw, DecayRule::All);
    for (step, micro) in micro_batches("llama2").chunks(2).enumerate() {
        let number = |key: &str| trace[key][step].as_f64().unwrap();
        let (mut gradients, loss) = Gradients::of_step(&model, micro, |_| None).unwrap();
        let tolerance = if step < 2 { 1e-5 } else { 1e-3 };
        assert_relative(loss.mean, number("step_losses"), tolerance, &format!("{variant} loss of {step}"));
        around.before_clipping(&model, &mut gradients);
        let norm = gradients.clip(Some(1.0)).unwrap();
        let what = format!("{variant} norm of {step}");
        assert_relative(norm, number("grad_norms"), 10.0 * tolerance, &what);
        around.before_step(&mut gradients);
        let rate = schedule.lr(step as u64, 0.005);
        assert!((rate - number("lrs")).abs() <= 1e-12, "{variant} rate of {step}");
        model = optimizer.step(model, &gradients, rate).unwrap();
        around.after_step(&mut model, &gradients, step);
    }
    let norms = reference["final_norms"].as_object().unwrap();
    let mut seen = 0;
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if let Some(want) = norms.get(&file_key(name)) {
            let norm = values(&parameter.flat()).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            assert_relative(norm, want.as_f64().unwrap(), 1e-3, &format!("{variant} {name}"));
            seen += 1;
        }
    });
    assert_eq!(seen, norms.len(), "{variant}: norms");
    model
}

#[test]
fn adalora_computes_what_peft_does() {
    let (model, config) = load("adalora");
    assert_eq!(adalora(&config).init_r(), 6);
    let mut gradients = check_pass(&model, "adalora");

    let (tensors, reference) = (
        Tensors::read(dir("adalora").join("reference.safetensors")),
        json(dir("adalora").join("reference.json")),
    );
    let term = add_orthogonality(&model, &mut gradients, 0.5).unwrap();
    let number = |key: &str| reference[key].as_f64().unwrap();
    assert_relative(number("loss") + term, number("loss_with_orthogonality"), 1e-5, "loss with the term");
    check_gradients(&gradients, &tensors, "ortho_grad", "adalora with the term");

    let adapted = logits(&model);
    let merged = merge(model).unwrap();
    assert_near(&logits(&merged), &adapted, 1e-4, "merged");
    assert_eq!(logits(&unmerge(merged.clone())), adapted);
    let want = Tensors::read(dir("adalora").join("merged.safetensors"));
    let mut seen = 0;
    visit_parameters(&mut merge_and_unload(merged).unwrap(), &mut |name, parameter| {
        if want.names().any(|known| known == name) {
            assert_near(&values(&parameter.flat()), want.floats(name), 1e-6, name);
            seen += 1;
        }
    });
    assert_eq!(seen, want.names().count());
}

struct Allocation<'a> {
    allocator: RankAllocator,
    trace: &'a Value,
}

impl Loop for Allocation<'_> {
    fn before_clipping(&mut self, model: &CausalLm, gradients: &mut Gradients) {
        add_orthogonality(model, gradients, 0.5).unwrap();
    }

    fn after_step(&mut self, model: &mut CausalLm, gradients: &Gradients, step: usize) {
        self.allocator.update_and_allocate(model, gradients, step as u64 + 1);
        let budget = self.allocator.budget(step as u64 + 1, 24, 4).0 as u64;
        assert_eq!(budget, self.trace["budgets"][step].as_u64().unwrap(), "budget of step {step}");
        let want: BTreeMap<String, Vec<bool>> = match &self.trace["rank_patterns"][step] {
            Value::Null => BTreeMap::new(),
            pattern => serde_json::from_value(pattern.clone()).unwrap(),
        };
        assert_eq!(self.allocator.kept(), &want, "triplets of step {step}");
    }
}

/// Two steps without a choice, then one every other step, then the last one for good.
#[test]
fn adalora_keeps_the_triplets_that_peft_keeps() {
    let (model, config) = load("adalora");
    let reference = json(dir("adalora").join("reference.json"));
    let allocator = RankAllocator::new(adalora(&config));
    let mut around = Allocation { allocator, trace: &reference["trace"] };
    let model = check_steps(model, "adalora", 1e-8, &mut around);

    // The files hold what is left.
    let ours = tempfile::tempdir().unwrap();
    save_peft(&model, &config, ours.path()).unwrap();
    let (got, want) =
        (PeftFiles::read(ours.path()).unwrap(), PeftFiles::read(dir("adalora/after_10_steps")).unwrap());
    assert_eq!(adalora(&got.config).rank_pattern(), adalora(&want.config).rank_pattern());
    assert_eq!(got.tensors.keys().collect::<Vec<_>>(), want.tensors.keys().collect::<Vec<_>>());
    for (name, want) in &want.tensors {
        let got = &got.tensors[name];
        assert_eq!(got.shape, want.shape, "{name}");
        assert_near(&got.values, &want.values, 1e-3, name);
    }
    let (again, _, _) = load_peft(ours.path(), base("llama2"), false, &device()).unwrap();
    assert_near(&logits(&again), &logits(&model), 1e-5, "what is left");
}

/// One module has lost all of its triplets.
#[test]
fn an_adapter_of_which_peft_saved_what_is_left_is_run_and_written() {
    let (model, config) = load("adalora/after_10_steps");
    let tensors = Tensors::read(dir("adalora/after_10_steps").join("reference.safetensors"));
    assert_logits(&model, &tensors, "what is left");
    let adapted = logits(&model);
    assert_near(&logits(&merge(model.clone()).unwrap()), &adapted, 1e-4, "merged");
    let out = tempfile::tempdir().unwrap();
    save_peft(&model, &config, out.path()).unwrap();
    let (got, want) =
        (PeftFiles::read(out.path()).unwrap(), PeftFiles::read(dir("adalora/after_10_steps")).unwrap());
    assert_eq!(got, want);
    // Its gradients are those of the triplets that there are.
    let (gradients, _) = Gradients::of_step(&model, &[reference_batch("llama2")], |_| None).unwrap();
    assert!(gradients.iter().all(|(name, _)| !name.contains("layers.1.self_attn.q_proj")));
    let text = std::fs::read_to_string(dir("adalora").join("adapter_config.json")).unwrap();
    let whole = AdapterConfig::from_json(serde_json::from_str(&text).unwrap()).unwrap();
    let (ours, theirs): (Value, Value) =
        (serde_json::from_str(&whole.to_json()).unwrap(), serde_json::from_str(&text).unwrap());
    assert_eq!(ours, theirs);
}

#[test]
fn adalora_resumes_bit_for_bit_in_every_phase() {
    let adapter = AdaLoraConfig::new(8)
        .with_init_r(4)
        .with_target_r(2)
        .with_tinit(1)
        .with_tfinal(2)
        .with_delta_t(2)
        .with_lora_alpha(16.0);
    let run = |dir: &Path| {
        let (model, _) = attach(&adapter, base("llama3"), 3, &device()).unwrap();
        let mut config = train_config(dir, 8);
        (config.eval_every, config.save_every, config.keep_checkpoints) = (None, Some(1), 9);
        let trainer = Trainer::new(config).allocate_ranks(&adapter);
        trainer.train(model, &batches(&LENGTHS[..6]), None).unwrap().model
    };
    let dir = tempfile::tempdir().unwrap();
    let model = run(dir.path());
    let want = trained(&model);
    for last in [7, 6, 4, 2, 1] {
        for step in last + 1..=8 {
            std::fs::remove_dir_all(dir.path().join(format!("checkpoint-{step}"))).unwrap();
        }
        assert_eq!(trained(&run(dir.path())), want, "from step {last}");
    }
    let mut left = 0;
    model.clone().sites(&mut |_, site| {
        if let Site::Projection(projection) = site
            && let Some(Adapter::AdaLora(adapter)) = projection.adapter()
        {
            left += values(&adapter.singular_values()).iter().filter(|value| **value != 0.0).count();
        }
    });
    assert_eq!(left, 2 * 6, "two triplets on average of six modules");
}

struct Preconditioned(LoraFa);

impl Loop for Preconditioned {
    fn before_step(&mut self, gradients: &mut Gradients) {
        self.0.apply(gradients);
    }
}

/// PEFT's optimizer adds its epsilon before the bias correction, ours after it, as PyTorch does: with PEFT's default of
/// 1e-6 losses and norms agree, with a small one every value of B does, too.
#[test]
fn lora_fa_takes_the_steps_of_peft() {
    for (variant, epsilon) in [("lora_fa", 1e-6), ("lora_fa_small_epsilon", 1e-12)] {
        let (mut model, _) = load("lora_fa");
        visit_parameters(&mut model, &mut |name, mut parameter| {
            if name.ends_with("lora_A.weight") {
                parameter.set_trainable(false);
            }
        });
        let lora_fa = LoraFa::new(&model);
        assert_eq!(lora_fa.names().count(), 4);
        let model = check_steps(model, variant, epsilon, &mut Preconditioned(lora_fa));
        if variant == "lora_fa" {
            continue;
        }
        let want = Tensors::read(dir(variant).join("adapter_after_10_steps.safetensors"));
        let mut seen = 0;
        visit_parameters(&mut model.clone(), &mut |name, parameter| {
            if parameter.is_trainable() {
                assert_near(&values(&parameter.flat()), want.floats(&file_key(name)), 1e-4, name);
                seen += 1;
            }
        });
        assert_eq!(seen, 4);
    }
}

/// The trainer with the option does what the loop of one's own does, and other than without it.
#[test]
fn the_trainer_preconditions_lora_fa_on_demand() {
    let adapter = LoraConfig::new(4).with_lora_alpha(16.0).with_lora_fa(true);
    let run = |is_on: bool| {
        let (model, _) = attach(&adapter, base("llama3"), 3, &device()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = train_config(dir.path(), 2);
        config.eval_every = None;
        let trainer = Trainer::new(config);
        let trainer = if is_on { trainer.precondition_lora_fa() } else { trainer };
        trained(&trainer.train(model, &batches(&LENGTHS[..6]), None).unwrap().model)
    };
    assert_eq!(run(true), run(true));
    assert_ne!(run(true), run(false));
}

/// Three batches of inputs that PEFT's hooks saw; rows of A have no sign. Decompositions of so few rows are exact: those of
/// more are approximate and start from random numbers, as PEFT's do.
#[test]
fn eva_finds_the_directions_and_ranks_of_peft() {
    let reference = json(dir("eva").join("reference.json"));
    let inputs = Tensors::read(dir("eva").join("reference.safetensors"));
    let want = PeftFiles::read(dir("eva")).unwrap();
    let config = LoraConfig::new(4)
        .with_lora_alpha(want.config.lora().unwrap().lora_alpha())
        .with_init_lora_weights(InitLoraWeights::Eva)
        .with_eva_config(EvaConfig { rho: 2.5, ..EvaConfig::default() })
        .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj", "o_proj"]));
    let mut eva = Eva::new(&config, &base("llama2"), &device()).unwrap();
    let modules: Vec<String> = eva.modules().map(str::to_owned).collect();
    for batch in 0..reference["batches"].as_u64().unwrap() {
        for path in &modules {
            let seen = inputs.floats(&format!("inputs.{}.{batch}", path.replace("v_proj", "q_proj")));
            eva.observe(path, seen).unwrap();
        }
    }
    let start = eva.finish().unwrap();
    let (mut model, report) = attach_eva(&start, base("llama2"), &device()).unwrap();
    let ours: BTreeMap<&str, usize> =
        report.adapted.iter().map(|module| (module.path.as_str(), module.r)).collect();
    let theirs = reference["ranks"].as_object().unwrap().iter();
    let theirs: BTreeMap<&str, usize> =
        theirs.map(|(path, r)| (path.as_str(), r.as_u64().unwrap() as usize)).collect();
    assert_eq!(ours, theirs);
    for module in &report.adapted {
        let scaling = reference["scaling"][&module.path].as_f64().unwrap();
        assert_relative(module.scaling, scaling, 1e-12, &format!("{} scaling", module.path));
    }
    let mut seen = 0;
    visit_parameters(&mut model, &mut |name, parameter| {
        if !parameter.is_trainable() {
            return;
        }
        let want = &want.tensors[&file_key(name)];
        let got = values(&parameter.flat());
        if name.ends_with("lora_B.weight") {
            assert!(got.iter().chain(&want.values).all(|value| *value == 0.0), "{name}");
            seen += 1;
            return;
        }
        assert_eq!(parameter.shape()[1], want.shape[1], "{name}");
        for (row, (got, want)) in got.chunks(want.shape[1]).zip(want.values.chunks(want.shape[1])).enumerate()
        {
            let dot: f32 = got.iter().zip(want).map(|(a, b)| a * b).sum();
            let got: Vec<f32> = got.iter().map(|value| value * if dot < 0.0 { -1.0 } else { 1.0 }).collect();
            assert_near(&got, want, 1e-3, &format!("{name} row {row}"));
        }
        seen += 1;
    });
    assert_eq!(seen, 12);
}

fn factors(projection: &Projection) -> Option<(Vec<f32>, Vec<f32>, [usize; 3])> {
    let factors = projection.adapter()?.lora()?.factors();
    let ([r, inn], out) = (factors.a.dims(), factors.b.dims()[0]);
    Some((values(&factors.a), values(&factors.b), [out, r, inn]))
}

/// `B·A` is 0 although neither factor is, and the factors are as large as PEFT's, whose values are drawn, too.
#[test]
fn orthogonal_factors_have_the_structure_of_pefts() {
    let (theirs, _) = load("orthogonal");
    let config = LoraConfig::new(4)
        .with_lora_alpha(16.0)
        .with_init_lora_weights(InitLoraWeights::Orthogonal)
        .with_target_modules(TargetModules::suffixes(["q_proj", "v_proj"]));
    let (ours, _) = attach(&config, base("llama2"), 7, &device()).unwrap();
    let mut sizes = [[0.0f64; 2]; 2];
    for (model, sizes) in [ours, theirs].iter().zip(&mut sizes) {
        let mut seen = 0;
        model.clone().sites(&mut |path, site| {
            let Site::Projection(projection) = site else { return };
            let Some((a, b, [out, r, inn])) = factors(projection) else { return };
            for i in 0..out {
                for j in 0..inn {
                    let sum: f32 = (0..r).map(|k| b[i * r + k] * a[k * inn + j]).sum();
                    assert!(sum.abs() < 1e-6, "{path}: {sum} at {i}, {j}");
                }
            }
            let mean = |values: &[f32]| {
                values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64
            };
            sizes[0] += mean(&a) / 4.0;
            sizes[1] += mean(&b) / 4.0;
            seen += 1;
        });
        assert_eq!(seen, 4);
    }
    // Of a squared row of Q, half of which each factor takes: 1/200 on average.
    for size in sizes.iter().flatten() {
        assert!((size * 200.0 - 1.0).abs() < 0.2, "{sizes:?}");
    }
}

#[test]
fn an_orthogonal_start_is_trained_as_by_torch() {
    let (model, config) = load("orthogonal");
    assert_eq!(config.lora().unwrap().init_lora_weights(), InitLoraWeights::Orthogonal);
    check_pass(&model, "orthogonal");
    check_steps(model, "orthogonal", 1e-8, &mut Plain);
}
