//! What must hold for every fine-tuning method, on dense, 4-bit and 8-bit bases.

use burn::tensor::{FloatDType, Tensor};
use burnisher_data::TokenBatch;
use burnisher_kernels::DropoutKeys;
use burnisher_lora::{
    AdaLoraConfig, Adaptable, AdapterConfig, Ia3Config, LoraConfig, LoraError, Projection, Site,
    TargetModules, VeraConfig, Weight, attach, count_parameters, load_peft, merge, merge_and_unload,
    save_peft, train_all, train_biases, train_last_layers, unmerge, visit_parameters,
};
use burnisher_models::{CausalLm, GradientCheckpointing, LoadConfig, ModelInput, Quantize, WriteOptions};
use burnisher_quant::QuantConfig;
use burnisher_train::{Gradients, Trainer};
use proptest::prelude::*;

use self::Storage::{Dense, Int8, Nf4};
use crate::{
    parity::{device, reference_batch},
    properties::{LENGTHS, batches, config, trained},
    support::{Tensors, assert_near, assert_near_max, fixture, values},
};

/// A model with biases, whose head and embedding are two weights; every projection is a multiple of 64 wide.
const UNTIED: &str = "llama-bias-linear";
/// A model whose head is its embedding, which is scaled besides.
const TIED: &str = "gemma";

/// How the base is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Storage {
    Dense,
    Nf4,
    Int8,
}

fn base(name: &str, storage: Storage) -> CausalLm {
    let load = match storage {
        Dense => LoadConfig::new(),
        Nf4 => LoadConfig::new().with_quantize(QuantConfig::nf4().with_double_quant(true)),
        Int8 => LoadConfig::new().with_quantize(Quantize::int8()),
    };
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &load, &device()).unwrap()
}

fn lora() -> LoraConfig {
    LoraConfig::new(4).with_lora_alpha(16.0).with_target_modules(TargetModules::AllLinear)
}

fn adalora() -> AdaLoraConfig {
    AdaLoraConfig::new(100)
        .with_init_r(4)
        .with_target_r(2)
        .with_lora_alpha(16.0)
        .with_target_modules(TargetModules::AllLinear)
}

/// Every method that works for any model.
fn methods() -> Vec<(&'static str, AdapterConfig)> {
    let all = || TargetModules::AllLinear;
    vec![
        ("LoRA", lora().into()),
        ("LoRA-FA", lora().with_lora_fa(true).into()),
        ("DoRA", lora().with_use_dora(true).into()),
        ("rsDoRA-FA", lora().with_use_dora(true).with_use_rslora(true).with_lora_fa(true).into()),
        ("tokens", lora().with_trainable_token_indices([126, 53, 249, 3, 92]).into()),
        ("IA3", Ia3Config::new().into()),
        ("IA3 everywhere", Ia3Config::new().with_target_modules(all()).into()),
        ("AdaLoRA", adalora().into()),
        ("VeRA", VeraConfig::new(8).with_target_modules(all()).into()),
        ("VeRA by key", VeraConfig::new(8).with_save_projection(false).with_projection_prng_key(5).into()),
    ]
}

/// Those and the ones that want biases, or a head that is not the embedding.
fn methods_of(model: &str) -> Vec<(&'static str, AdapterConfig)> {
    let mut methods = methods();
    if model == UNTIED {
        let targets = ["embed_tokens", "q_proj", "down_proj", "lm_head"];
        methods.push(("LoRA with biases", lora().with_lora_bias(true).into()));
        methods.push(("embedding", lora().with_target_modules(TargetModules::suffixes(targets)).into()));
        let targets = TargetModules::suffixes(["k_proj", "lm_head"]);
        methods.push(("IA3 on the head", Ia3Config::new().with_target_modules(targets).into()));
    }
    methods
}

fn attached(config: &AdapterConfig, base: CausalLm) -> CausalLm {
    attach(config, base, 3, &device()).unwrap().0
}

/// The same with every trained value moved a little.
fn moved(mut model: CausalLm, seed: usize) -> CausalLm {
    visit_parameters(&mut model, &mut |_, mut parameter| {
        if parameter.is_trainable() {
            let count = parameter.elements();
            let noise: Vec<f32> =
                (0..count).map(|i| (((i + seed) * 37 % 101) as f32 - 50.0) / 1000.0).collect();
            let noise = Tensor::<1>::from_floats(noise.as_slice(), &device());
            parameter.set_flat(parameter.flat().cast(FloatDType::F32) + noise);
        }
    });
    model
}

fn logits(model: &CausalLm, batch: &TokenBatch) -> Vec<f32> {
    values(&model.logits(&ModelInput::from_batch(batch)))
}

fn parameters(model: &CausalLm) -> Vec<(String, Vec<u32>)> {
    let mut found = Vec::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        let bits = values(&parameter.flat()).iter().map(|value| value.to_bits()).collect();
        found.push((name.to_owned(), bits));
    });
    found
}

fn gradients(model: &CausalLm, batch: &TokenBatch, dropout: bool) -> Vec<(String, Vec<f32>)> {
    let keys = |batch: &TokenBatch| dropout.then(|| DropoutKeys::new(1, 2, batch.token_keys.as_slice()));
    let (gradients, _) = Gradients::of_step(model, std::slice::from_ref(batch), keys).unwrap();
    gradients.iter().map(|(name, gradient)| (name.to_owned(), values(gradient))).collect()
}

fn assert_same_gradients(
    got: &[(String, Vec<f32>)],
    want: &[(String, Vec<f32>)],
    tolerance: f32,
    what: &str,
) {
    let names = |list: &[(String, Vec<f32>)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(got), names(want), "{what}");
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert_near_max(got, want, tolerance, &format!("{what} {name}"));
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    for name in [UNTIED, TIED] {
        let batch = reference_batch(name);
        for storage in [Dense, Nf4, Int8] {
            let want = logits(&base(name, storage), &batch);
            for (method, config) in methods_of(name) {
                let model = attached(&config, base(name, storage));
                assert_near(&logits(&model, &batch), &want, 1e-5, &format!("{name} {method} {storage:?}"));
            }
        }
    }
}

#[test]
fn every_trained_value_gets_a_gradient() {
    for name in [UNTIED, TIED] {
        let batch = reference_batch(name);
        for (method, config) in methods_of(name) {
            let model = moved(attached(&config, base(name, Dense)), 0);
            for (parameter, gradient) in gradients(&model, &batch, false) {
                // Tokens that the batch does not have, and what padding leaves out, have a gradient of 0.
                let some = gradient.iter().any(|value| *value != 0.0);
                assert!(some, "{name} {method}: {parameter}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Every number of the model is what it was, and so is what it computes.
    #[test]
    fn merging_and_unmerging_is_the_identity(
        method in any::<prop::sample::Index>(),
        is_tied in any::<bool>(),
        storage in prop::sample::select(vec![Dense, Nf4, Int8]),
        seed in 0usize..1000,
    ) {
        let name = if is_tied { TIED } else { UNTIED };
        let methods = methods_of(name);
        let (method, config) = method.get(&methods);
        let what = format!("{name} {method} {storage:?}");
        let batch = reference_batch(name);
        let model = moved(attached(config, base(name, storage)), seed);
        let adapted = logits(&model, &batch);
        let merged = merge(model.clone()).unwrap();
        // LLM.int8 rounds its input, a merged weight does not.
        let tolerance = if storage == Int8 { 0.5 } else { 1e-4 };
        assert_near(&logits(&merged, &batch), &adapted, tolerance, &what);
        let merged_twice = merge(merged.clone()).unwrap();
        prop_assert_eq!(parameters(&merged_twice), parameters(&merged));
        let restored = unmerge(merged.clone());
        prop_assert_eq!(parameters(&restored), parameters(&model), "{}", what);
        prop_assert_eq!(&logits(&restored, &batch), &adapted, "{}", what);
        let adapted = logits(&merged, &batch);

        // A plain model, which can be written and read.
        let plain = merge_and_unload(merged).unwrap();
        let dir = tempfile::tempdir().unwrap();
        plain.save_pretrained(dir.path(), None, &WriteOptions::new()).unwrap();
        let again = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap();
        assert_near(&logits(&again, &batch), &adapted, 1e-4, &what);
    }
}

#[test]
fn what_is_not_merged_cannot_be_written_as_a_model() {
    let dir = tempfile::tempdir().unwrap();
    for (method, config) in methods_of(UNTIED) {
        let model = attached(&config, base(UNTIED, Dense));
        let error = model.save_pretrained(dir.path(), None, &WriteOptions::new()).unwrap_err();
        assert!(error.to_string().contains("not merged"), "{method}: {error}");
    }
}

#[test]
fn an_adapter_comes_back_from_its_files() {
    for name in [UNTIED, TIED] {
        let batch = reference_batch(name);
        for (method, config) in methods_of(name) {
            let what = format!("{name} {method}");
            let model = moved(attached(&config, base(name, Dense)), 1);
            let dir = tempfile::tempdir().unwrap();
            save_peft(&model, &config, dir.path()).unwrap();
            let (again, read, report) = load_peft(dir.path(), base(name, Dense), true, &device()).unwrap();
            assert_eq!(logits(&again, &batch), logits(&model, &batch), "{what}");
            assert_eq!(read.peft_type(), config.peft_type(), "{what}");
            // Files do not tell that A was not trained.
            if !config.as_lora().is_some_and(LoraConfig::lora_fa) {
                assert_eq!((report.trainable, report.total), count_parameters(&model), "{what}");
                assert_eq!(trained(&again), trained(&model), "{what}");
            }
            let (mut frozen, _, _) = load_peft(dir.path(), base(name, Dense), false, &device()).unwrap();
            assert_eq!(logits(&frozen, &batch), logits(&model, &batch), "{what}: frozen");
            visit_parameters(&mut frozen, &mut |name, mut parameter| {
                if name.ends_with("lora_B.weight") {
                    parameter.set_flat(parameter.flat().mul_scalar(1.5));
                }
            });
            let merged = merge(frozen.clone()).unwrap();
            assert_near(&logits(&frozen, &batch), &logits(&merged, &batch), 1e-4, &what);
            let twice = tempfile::tempdir().unwrap();
            save_peft(&merge(again).unwrap(), &read, twice.path()).unwrap();
            let file = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("adapter_model.safetensors"));
            assert!(file(&twice).unwrap() == file(&dir).unwrap(), "{what}: written again while merged");
        }
    }
}

/// The same numbers as on the dense base that its 4 bits stand for.
#[test]
fn a_quantized_base_is_the_base_its_codes_stand_for() {
    let batch = reference_batch(UNTIED);
    for (method, config) in methods_of(UNTIED) {
        let quantized = base(UNTIED, Nf4);
        let mut dense = quantized.clone();
        dense.sites(&mut |_, site| {
            if let Site::Projection(projection) = site
                && let Weight::FourBit(weight) = projection.weight()
            {
                let weight = Weight::frozen(weight.dequantize(FloatDType::F32));
                *projection = Projection::new(weight, projection.bias());
            }
        });
        let (quantized, dense) = (moved(attached(&config, quantized), 2), moved(attached(&config, dense), 2));
        assert_near(&logits(&quantized, &batch), &logits(&dense, &batch), 1e-4, method);
        let (got, want) = (gradients(&quantized, &batch, false), gradients(&dense, &batch, false));
        assert_same_gradients(&got, &want, 1e-4, method);
    }
}

/// With dropout: the mask of a token is the same when it is made again.
#[test]
fn checkpointing_changes_no_gradient_of_any_method() {
    let batch = reference_batch(TIED);
    let with_dropout = |config: LoraConfig| config.with_lora_dropout(0.3).into();
    let mut methods = methods();
    methods.extend([
        ("LoRA with dropout", with_dropout(lora())),
        ("LoRA-FA with dropout", with_dropout(lora().with_lora_fa(true))),
        ("DoRA with dropout", with_dropout(lora().with_use_dora(true))),
        ("AdaLoRA with dropout", adalora().with_lora_dropout(0.3).into()),
        ("VeRA with dropout", VeraConfig::new(8).with_vera_dropout(0.3).into()),
    ]);
    for (method, config) in methods {
        let model = moved(attached(&config, base(TIED, Dense)), 4);
        let want = gradients(&model, &batch, true);
        for kind in [GradientCheckpointing::Block, GradientCheckpointing::BlockKeepAttention] {
            let got = gradients(&model.clone().with_gradient_checkpointing(kind), &batch, true);
            assert_same_gradients(&got, &want, 1e-5, &format!("{method} {kind:?}"));
        }
    }
}

#[test]
fn every_method_resumes_bit_for_bit() {
    // The documents have more tokens than the vocabularies of the other models.
    for (method, adapter) in methods() {
        let run = |dir: &std::path::Path| {
            let model = attached(&adapter, base("llama3", Dense));
            let mut config = config(dir, 4);
            config.eval_every = None;
            Trainer::new(config).train(model, &batches(&LENGTHS[..6]), None).unwrap().model
        };
        let dir = tempfile::tempdir().unwrap();
        let want = trained(&run(dir.path()));
        std::fs::remove_dir_all(dir.path().join("checkpoint-4")).unwrap();
        assert_eq!(trained(&run(dir.path())), want, "{method}");
    }
}

#[test]
fn lora_fa_trains_b_alone_and_as_lora_does() {
    for dropout in [0.0, 0.3] {
        let batch = reference_batch(UNTIED);
        let config = lora().with_lora_dropout(dropout);
        let whole = moved(attached(&config.clone().into(), base(UNTIED, Dense)), 5);
        let mut alone = attached(&config.with_lora_fa(true).into(), base(UNTIED, Dense));
        let mut values_of = std::collections::BTreeMap::new();
        visit_parameters(&mut whole.clone(), &mut |name, parameter| {
            values_of.insert(name.to_owned(), parameter.flat());
        });
        visit_parameters(&mut alone, &mut |name, mut parameter| parameter.set_flat(values_of[name].clone()));
        assert_near(&logits(&alone, &batch), &logits(&whole, &batch), 1e-5, "logits");
        let mut want = gradients(&whole, &batch, true);
        want.retain(|(name, _)| name.ends_with("lora_B.weight"));
        assert_same_gradients(&gradients(&alone, &batch, true), &want, 1e-4, &format!("dropout {dropout}"));
        let ((fewer, _), (more, _)) = (count_parameters(&alone), count_parameters(&whole));
        assert!(0 < fewer && fewer < more, "{fewer} of {more}");
    }
}

/// The gradient of a trained row is that of the row in a table that is trained as a whole, head included.
#[test]
fn trained_rows_are_rows_of_the_embedding_and_of_a_tied_head() {
    let ids = [126u32, 53, 249];
    let tokens = LoraConfig::new(2).with_trainable_token_indices(ids);
    for name in [UNTIED, TIED] {
        let batch = reference_batch(name);
        let model = attached(&tokens.clone().into(), base(name, Dense));
        let got = gradients(&model, &batch, false);
        let (_, rows) = got.iter().find(|(name, _)| name.ends_with("trainable_tokens_delta")).unwrap();
        let all = gradients(&train_all(base(name, Dense)).unwrap(), &batch, false);
        let (_, table) = all.iter().find(|(name, _)| name == "model.embed_tokens.weight").unwrap();
        let width = rows.len() / ids.len();
        let want: Vec<f32> =
            ids.iter().flat_map(|&id| &table[id as usize * width..][..width]).copied().collect();
        assert!(want.iter().any(|value| *value != 0.0));
        assert_near_max(rows, &want, 1e-4, name);
    }
}

#[test]
fn tied_weights_are_not_changed_alone() {
    let refused = |config: LoraConfig, module: &str| {
        let error = attach(&config, base(TIED, Dense), 1, &device()).unwrap_err();
        assert!(matches!(&error, LoraError::TiedWeights { module: found } if found == module), "{error}");
    };
    let targets = |names: &[&str]| {
        LoraConfig::new(2).with_target_modules(TargetModules::suffixes(names.iter().copied()))
    };
    let tied = |config: LoraConfig| config.with_ensure_weight_tying(true);
    let saving = |names: &[&str]| LoraConfig::new(2).with_modules_to_save(names.iter().copied());
    refused(targets(&["q_proj", "embed_tokens"]), "model.embed_tokens");
    refused(targets(&["q_proj", "lm_head"]), "lm_head");
    refused(saving(&["embed_tokens"]), "model.embed_tokens");
    refused(saving(&["lm_head"]), "lm_head");
    // PEFT 0.21.2 trains the two copies of the factors apart.
    refused(tied(targets(&["q_proj", "embed_tokens"])), "model.embed_tokens");

    // One weight, and PEFT's two keys for it.
    let batch = reference_batch(TIED);
    for names in [&["embed_tokens"][..], &["lm_head"], &["embed_tokens", "lm_head"]] {
        let config = tied(saving(names));
        let (model, report) = attach(&config, base(TIED, Dense), 1, &device()).unwrap();
        assert_eq!(report.saved, ["model.embed_tokens"]);
        let model = moved(model, 6);
        let dir = tempfile::tempdir().unwrap();
        save_peft(&model, &config, dir.path()).unwrap();
        let file = dir.path().join("adapter_model.safetensors");
        let tensors = Tensors::read(&file);
        let embedding = tensors.floats("base_model.model.model.embed_tokens.weight");
        assert_eq!(tensors.floats("base_model.model.lm_head.weight"), embedding);
        let (again, _, _) = load_peft(dir.path(), base(TIED, Dense), false, &device()).unwrap();
        assert_eq!(logits(&again, &batch), logits(&model, &batch));
    }
}

#[test]
fn what_an_embedding_cannot_carry_is_an_error() {
    let embedding = || lora().with_target_modules(TargetModules::suffixes(["q_proj", "embed_tokens"]));
    for (config, field) in [
        (embedding().with_use_dora(true), "use_dora"),
        (embedding().with_lora_bias(true), "lora_bias"),
        (embedding().with_trainable_token_indices([1]), "trainable_token_indices"),
        (
            lora().with_modules_to_save(["embed_tokens"]).with_trainable_token_indices([1]),
            "trainable_token_indices",
        ),
        (lora().with_trainable_token_indices([256]), "trainable_token_indices"),
        (lora().with_trainable_token_indices([3, 4, 3]), "trainable_token_indices"),
    ] {
        let error = attach(&config, base(UNTIED, Dense), 1, &device()).unwrap_err();
        assert!(matches!(&error, LoraError::Config { field: found, .. } if found == field), "{error}");
    }
}

#[test]
fn a_bias_of_b_is_merged_only_into_a_bias() {
    let config = lora().with_lora_bias(true);
    let error = merge(attached(&config.into(), base(TIED, Dense))).unwrap_err();
    assert!(matches!(&error, LoraError::NoBias { module } if module.ends_with("q_proj")), "{error}");
}

#[test]
fn biases_and_last_layers_are_trained_without_an_adapter() {
    let batch = reference_batch(UNTIED);
    for storage in [Dense, Nf4, Int8] {
        let model = train_biases(base(UNTIED, storage)).unwrap();
        let found = gradients(&model, &batch, false);
        assert!(found.iter().all(|(name, _)| name.ends_with("proj.bias")), "{storage:?}");
        assert_eq!(found.len(), 14, "seven projections of two layers");
        if storage == Dense {
            let mut want = gradients(&train_all(base(UNTIED, Dense)).unwrap(), &batch, false);
            want.retain(|(name, _)| name.ends_with(".bias"));
            assert_same_gradients(&found, &want, 1e-4, "biases");
        }
    }
    assert!(matches!(train_biases(base(TIED, Dense)), Err(LoraError::NoBiases)));

    let all = gradients(&train_all(base(UNTIED, Dense)).unwrap(), &batch, false);
    for count in [1, 2] {
        let model = train_last_layers(base(UNTIED, Dense), count).unwrap();
        let mut want = all.clone();
        want.retain(|(name, _)| (2 - count..2).any(|layer| name.contains(&format!(".layers.{layer}."))));
        assert!(!want.is_empty());
        assert_same_gradients(&gradients(&model, &batch, false), &want, 1e-4, &format!("last {count}"));
    }
    for count in [0, 3] {
        let error = train_last_layers(base(UNTIED, Dense), count).unwrap_err();
        assert!(error.to_string().contains("1 to 2"), "{error}");
    }
    for storage in [Nf4, Int8] {
        let error = train_last_layers(base(UNTIED, storage), 1).unwrap_err();
        assert!(matches!(&error, LoraError::Quantized { modules } if modules.len() == 7), "{error}");
    }
}
