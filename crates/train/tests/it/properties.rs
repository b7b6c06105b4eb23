//! What must always hold: splits of a step, packing, resuming, quantization.

use std::path::Path;

use burn::tensor::Device;
use burnisher_data::{BatchConfig, Batches, Encoded, Packing, Row, pack};
use burnisher_kernels::DropoutKeys;
use burnisher_lora::{LoraConfig, TargetModules, attach, train_all, visit_parameters};
use burnisher_models::{CausalLm, ComputeDtype, GradientCheckpointing, LoadConfig};
use burnisher_quant::QuantConfig;
use burnisher_train::{
    EarlyStoppingConfig, Event, Gradients, Outcome, Resume, StopReason, TrainConfig, TrainError, Trainer,
    evaluate,
};
use proptest::prelude::*;

use crate::support::{SHARED_MODELS, assert_near_max, assert_relative, fixture, models, values};

pub(crate) fn device() -> Device {
    Device::flex()
}

fn model(four_bit: bool, dropout: f64) -> CausalLm {
    adapted("llama3", four_bit, dropout)
}

/// A model with an adapter on queries and values, or on what they are made by.
pub(crate) fn adapted(name: &str, four_bit: bool, dropout: f64) -> CausalLm {
    let mut load = LoadConfig::new();
    if four_bit {
        load = load.with_quantize(QuantConfig::nf4().with_double_quant(true));
    }
    let dir = fixture(&format!("models/{name}"));
    let base = CausalLm::from_pretrained(dir, &load, &device()).unwrap();
    let targets = if name == "phi3" { vec!["qkv_proj"] } else { vec!["q_proj", "v_proj"] };
    let config = LoraConfig::new(4)
        .with_lora_alpha(16.0)
        .with_lora_dropout(dropout)
        .with_target_modules(TargetModules::suffixes(targets));
    attach(&config, base, 3, &device()).unwrap().0
}

/// A model of every kind of block that is there.
fn block_kinds() -> Vec<&'static str> {
    models().into_iter().filter(|name| *name == "llama3" || SHARED_MODELS.contains(name)).collect()
}

/// Documents of pseudo-random ids; the first half of each is not trained.
pub(crate) fn documents(lengths: &[usize]) -> Vec<Encoded> {
    lengths
        .iter()
        .enumerate()
        .map(|(index, &length)| {
            let ids = (0..length).map(|i| ((index * 131 + i * 17) % 310 + 3) as u32).collect();
            let mask = (0..length).map(|i| i >= length / 2).collect();
            Encoded::new(ids, mask, index as u64)
        })
        .collect()
}

fn rows(lengths: &[usize], packing: Packing) -> Vec<Row> {
    pack(documents(lengths), 24, packing)
}

pub(crate) fn batches(lengths: &[usize]) -> Batches {
    Batches::new(rows(lengths, Packing::None), BatchConfig::new(0).with_seed(7))
}

/// The gradients of all documents, in micro-batches of `size` rows, after one step's worth of noise on B.
fn gradients(model: &CausalLm, set: &Batches, size: usize, dropout: bool) -> (f64, Vec<(String, Vec<f32>)>) {
    let order: Vec<usize> = (0..set.len()).collect();
    let micro: Vec<_> = order.chunks(size).map(|rows| set.batch(rows)).collect();
    let keys = |batch: &burnisher_data::TokenBatch| {
        dropout.then(|| DropoutKeys::new(1, 2, batch.token_keys.as_slice()))
    };
    let (gradients, loss) = Gradients::of_step(model, &micro, keys).unwrap();
    (loss.mean, gradients.iter().map(|(name, gradient)| (name.to_owned(), values(gradient))).collect())
}

/// B starts at zero, which would leave A without a gradient.
pub(crate) fn perturbed(mut model: CausalLm) -> CausalLm {
    visit_parameters(&mut model, &mut |name, mut parameter| {
        if name.ends_with("lora_B.weight") {
            let count = parameter.elements();
            let noise: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 1000.0).collect();
            parameter.set_flat(burn::tensor::Tensor::from_floats(noise.as_slice(), &device()));
        }
    });
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_split_into_micro_batches_gives_the_same_step(
        lengths in prop::collection::vec(4usize..20, 8),
        dropout in any::<bool>(),
    ) {
        let model = perturbed(model(false, 0.3));
        let set = batches(&lengths);
        let (loss, whole) = gradients(&model, &set, 8, dropout);
        for size in [1, 2, 3] {
            let (split_loss, split) = gradients(&model, &set, size, dropout);
            assert_relative(split_loss, loss, 1e-5, "loss");
            for ((name, want), (_, got)) in whole.iter().zip(&split) {
                assert_near_max(got, want, 1e-4, &format!("{name} in micro-batches of {size}"));
            }
        }
    }

    #[test]
    fn packed_rows_give_the_same_step_as_single_documents(
        lengths in prop::collection::vec(3usize..16, 1..9),
        dropout in any::<bool>(),
        four_bit in any::<bool>(),
        name in prop::sample::select(block_kinds()),
    ) {
        let model = perturbed(adapted(name, four_bit, 0.3));
        let single = batches(&lengths);
        let packed = Batches::new(rows(&lengths, Packing::BestFit), BatchConfig::new(0));
        let (want_loss, want) = gradients(&model, &single, 4, dropout);
        let (loss, got) = gradients(&model, &packed, 2, dropout);
        assert_relative(loss, want_loss, 1e-5, "loss");
        for ((name, want), (_, got)) in want.iter().zip(&got) {
            assert_near_max(got, want, 1e-4, name);
        }
    }
}

/// Loss and every gradient, of LoRA in f32 and over 4 bits with dropout, and of all parameters in every kind of block.
#[test]
fn checkpointing_changes_no_gradient() {
    let set = batches(&[9, 14, 3]);
    let full = |name: &'static str| {
        let dir = fixture(&format!("models/{name}"));
        let base = CausalLm::from_pretrained(dir, &LoadConfig::new(), &device()).unwrap();
        (name, train_all(base).unwrap())
    };
    let adapters =
        [("LoRA", perturbed(model(false, 0.0))), ("QLoRA with dropout", perturbed(model(true, 0.3)))];
    let models: Vec<(&str, CausalLm)> =
        adapters.into_iter().chain(block_kinds().into_iter().map(full)).collect();
    for (name, model) in models {
        let (loss, want) = gradients(&model, &set, 2, true);
        assert!(want.iter().all(|(_, gradient)| gradient.iter().any(|value| *value != 0.0)), "{name}");
        for kind in [GradientCheckpointing::Block, GradientCheckpointing::BlockKeepAttention] {
            let model = model.clone().with_gradient_checkpointing(kind);
            let (found_loss, found) = gradients(&model, &set, 2, true);
            // A weight that is trained is multiplied by another operation than one that is not: sums in another order.
            assert!((found_loss - loss).abs() <= 1e-6 * loss, "{name} {kind:?}: {found_loss}, wanted {loss}");
            assert_eq!(found.len(), want.len(), "{name} {kind:?}");
            for ((path, found), (_, want)) in found.iter().zip(&want) {
                assert_near_max(found, want, 1e-5, &format!("{name} {kind:?} {path}"));
            }
        }
    }
}

pub(crate) fn config(dir: &Path, steps: u64) -> TrainConfig {
    let mut config = TrainConfig::default();
    config.output_dir = dir.to_path_buf();
    config.max_steps = Some(steps);
    config.batch_size = 2;
    config.gradient_accumulation_steps = 2;
    config.learning_rate = 5e-3;
    config.save_every = Some(2);
    config.eval_every = Some(2);
    config.keep_checkpoints = 100;
    config
}

pub(crate) const LENGTHS: [usize; 11] = [9, 14, 5, 20, 7, 11, 16, 4, 8, 13, 10];

fn train(dir: &Path, steps: u64, four_bit: bool) -> Result<Outcome<CausalLm>, TrainError> {
    let validation = batches(&[12, 6, 15]);
    Trainer::new(config(dir, steps)).train(model(four_bit, 0.2), &batches(&LENGTHS), Some(&validation))
}

pub(crate) fn trained(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let mut found = Vec::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if parameter.is_trainable() {
            found.push((name.to_owned(), values(&parameter.flat())));
        }
    });
    found
}

#[test]
fn a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one() {
    for four_bit in [false, true] {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let want = train(whole.path(), 8, four_bit).unwrap();
        train(parts.path(), 8, four_bit).unwrap();
        for step in [2, 4, 6] {
            // As after a kill: nothing newer than this checkpoint.
            for later in (step + 2..=8).step_by(2) {
                let _ = std::fs::remove_dir_all(parts.path().join(format!("checkpoint-{later}")));
            }
            let got = train(parts.path(), 8, four_bit).unwrap();
            assert_eq!(got.steps, 8);
            assert_eq!(trained(&got.model), trained(&want.model), "from step {step}, four bit {four_bit}");
            assert_eq!(got.best, want.best);
        }
        for file in ["parameters.safetensors", "optimizer.safetensors"] {
            let read = |dir: &Path| std::fs::read(dir.join("checkpoint-8").join(file)).unwrap();
            assert!(read(whole.path()) == read(parts.path()), "{file} differs");
        }
    }
}

/// Found when the fuzz targets were written: a cursor behind the last row was a panic.
#[test]
fn a_position_that_no_run_comes_to_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let path = dir.path().join("checkpoint-4/trainer_state.json");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (pointer, value, wanted) in [
        ("/step", serde_json::json!(5), "step is 5, wanted at most 4"),
        ("/epoch", u64::MAX.into(), "epoch is 18446744073709551615, wanted at most 4"),
        ("/cursor", 11.into(), "cursor is 11, wanted less than 11"),
        ("/cursor", u64::MAX.into(), "cursor is 18446744073709551615, wanted less than 11"),
        ("/tokens", u64::MAX.into(), "tokens is 18446744073709551615"),
        ("/best/loss", "NaN".into(), "best is Some"),
        ("/early_stopping/waited", u64::MAX.into(), "early_stopping.waited is 18446744073709551615"),
    ] {
        let mut changed = state.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        let error = train(dir.path(), 4, false).unwrap_err().to_string();
        assert!(error.contains("trainer_state.json") && error.contains(wanted), "{pointer}: {error}");
    }
    std::fs::write(&path, state.to_string()).unwrap();
    train(dir.path(), 4, false).unwrap();
}

/// Found when the fuzz targets were written: adding up what the header claims overflowed.
#[test]
fn tensors_that_claim_all_memory_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, u64::MAX);
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    for file in ["optimizer.safetensors", "parameters.safetensors"] {
        let path = dir.path().join("checkpoint-4").join(file);
        std::fs::write(&path, &bytes).unwrap();
        let error = train(dir.path(), 4, false).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("is the file cut off?"), "{error}");
    }
}

/// Every parameter in 16 bits, with its f32 copy in the optimizer.
#[test]
fn a_resumed_bf16_run_ends_bit_for_bit_and_learns() {
    let bf16 = || {
        let load = LoadConfig::new().with_dtype(ComputeDtype::Bf16);
        train_all(CausalLm::from_pretrained(fixture("models/llama3"), &load, &device()).unwrap()).unwrap()
    };
    let run = |dir: &Path| {
        let mut config = config(dir, 12);
        config.learning_rate = 1e-3;
        Trainer::new(config).train(bf16(), &batches(&LENGTHS), None).unwrap()
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = run(whole.path());
    run(parts.path());
    for step in (6..=12).step_by(2) {
        std::fs::remove_dir_all(parts.path().join(format!("checkpoint-{step}"))).unwrap();
    }
    assert_eq!(trained(&run(parts.path()).model), trained(&want.model));
    let loss = |model: &CausalLm| evaluate(model, &batches(&LENGTHS), 4).unwrap().mean;
    assert!(loss(&want.model) < 0.9 * loss(&bf16()), "{} -> {}", loss(&bf16()), loss(&want.model));
}

#[test]
fn the_best_of_another_validation_set_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let first = train(dir.path(), 4, false).unwrap();
    assert!(first.best.is_some());
    let again =
        Trainer::new(config(dir.path(), 4)).train(model(false, 0.2), &batches(&LENGTHS), None).unwrap();
    assert_eq!(again.best, None, "without validation the last step counts");
}

#[test]
fn settings_without_meaning_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 2);
    (config.batch_size, config.keep_checkpoints) = (0, 0);
    let error = Trainer::new(config).train(model(false, 0.0), &batches(&LENGTHS), None).unwrap_err();
    assert!(matches!(&error, TrainError::Config(problems) if problems.len() == 2), "{error}");
}

#[test]
fn the_best_parameters_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = train(dir.path(), 6, false).unwrap();
    let best = outcome.best.unwrap();
    let loss = evaluate(&outcome.model, &batches(&[12, 6, 15]), 2).unwrap().mean;
    assert_relative(loss, best.loss, 1e-6, "the model has the best loss");
    assert!(best.loss <= outcome.first_validation.unwrap());
    assert_eq!(outcome.reason, StopReason::Completed);
}

#[test]
fn training_lowers_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let set = batches(&LENGTHS);
    let before = evaluate(&model(false, 0.0), &set, 4).unwrap().mean;
    let mut config = config(dir.path(), 30);
    config.eval_every = Some(100);
    let outcome = Trainer::new(config).train(model(false, 0.0), &set, None).unwrap();
    let after = evaluate(&outcome.model, &set, 4).unwrap().mean;
    assert!(after < 0.8 * before, "{before} -> {after}");
}

#[test]
fn another_run_cannot_be_resumed_into() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let error = train(dir.path(), 6, false).unwrap_err();
    assert!(
        matches!(&error, TrainError::ResumeMismatch { found, wanted, .. } if found == "6" && wanted == "4"),
        "{error}"
    );
    let mut never = config(dir.path(), 4);
    never.resume = Resume::Never;
    let error = Trainer::new(never).train(model(false, 0.0), &batches(&LENGTHS), None).unwrap_err();
    assert!(matches!(error, TrainError::OutputInUse { .. }), "{error}");
}

/// Settings that would change the result, other data and other weights do not go on from a checkpoint.
#[test]
fn a_resumed_run_must_be_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let resume = |change: &dyn Fn(&mut TrainConfig), lengths: &[usize], field: &str| {
        let mut config = config(dir.path(), 4);
        change(&mut config);
        let mut trainer = Trainer::new(config);
        if field == "model.path" {
            trainer = trainer.identify(field, "another base");
        }
        trainer.train(model(false, 0.2), &batches(lengths), None).unwrap_err()
    };
    let mut other = LENGTHS;
    other[3] = 19;
    for (change, lengths, field) in [
        (
            &(|config: &mut TrainConfig| config.learning_rate = 1e-3) as &dyn Fn(&mut _),
            LENGTHS,
            "train.learning_rate",
        ),
        (&|config: &mut TrainConfig| config.max_grad_norm = 0.5, LENGTHS, "train.max_grad_norm"),
        (&|_: &mut TrainConfig| {}, other, "the content of the training rows"),
        (&|_: &mut TrainConfig| {}, LENGTHS, "model.path"),
    ] {
        let error = resume(change, &lengths, field);
        assert!(
            matches!(&error, TrainError::ResumeMismatch { field: found, .. } if found == field),
            "{error}"
        );
    }
}

#[test]
fn a_run_goes_on_from_a_checkpoint_elsewhere_with_its_best() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = train(first.path(), 8, false).unwrap();
    // The best of the first four steps is not the last: its checkpoint must come along.
    let state = first.path().join("checkpoint-6/trainer_state.json");
    let mut text: serde_json::Value = crate::support::json(&state);
    text["best"] = serde_json::json!({ "step": 2, "loss": "0.5" });
    std::fs::write(&state, text.to_string()).unwrap();

    let mut elsewhere = config(second.path(), 8);
    elsewhere.resume = Resume::Path(first.path().join("checkpoint-6"));
    elsewhere.keep_checkpoints = 1;
    let validation = batches(&[12, 6, 15]);
    let run = |config: TrainConfig| {
        Trainer::new(config).train(model(false, 0.2), &batches(&LENGTHS), Some(&validation))
    };
    let got = run(elsewhere.clone()).unwrap();
    assert_eq!((got.steps, got.best.unwrap().step), (8, 2));
    let parameters = |dir: &Path, step: u64| {
        std::fs::read(dir.join(format!("checkpoint-{step}/parameters.safetensors"))).unwrap()
    };
    assert!(parameters(second.path(), 8) == parameters(first.path(), 8), "the last step is the same");
    assert!(parameters(second.path(), 2) == parameters(first.path(), 2), "the best came along");
    assert_ne!(trained(&got.model), trained(&want.model), "the model has the best parameters");

    // Newer checkpoints beside the one asked for, or foreign ones in the output directory, would be mixed up.
    let mut older = config(first.path(), 8);
    older.resume = Resume::Path(first.path().join("checkpoint-4"));
    for refused in [older, elsewhere] {
        let error = run(refused).unwrap_err();
        assert!(matches!(error, TrainError::OutputInUse { newest: 8, .. }), "{error}");
    }
    assert!(first.path().join("checkpoint-8").is_dir() && second.path().join("checkpoint-8").is_dir());
}

#[test]
fn a_missing_best_checkpoint_is_a_warning_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let state = dir.path().join("checkpoint-4/trainer_state.json");
    let mut text: serde_json::Value = crate::support::json(&state);
    text["best"] = serde_json::json!({ "step": 3, "loss": "0.5" });
    std::fs::write(&state, text.to_string()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let observer = move |event: &Event| {
        if let Event::Warning(text) = event {
            sender.send(text.clone()).unwrap();
        }
    };
    let validation = batches(&[12, 6, 15]);
    let outcome = Trainer::new(config(dir.path(), 4))
        .observe(observer)
        .train(model(false, 0.2), &batches(&LENGTHS), Some(&validation))
        .unwrap();
    assert_eq!(outcome.best, None);
    assert!(receiver.try_recv().unwrap().contains("checkpoint-3"));
}

#[test]
fn a_run_that_stopped_early_stays_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 40);
    // Nothing improves by a hundred nats.
    config.early_stopping = Some(EarlyStoppingConfig { patience: 2, min_delta: 100.0 });
    let run = |config: &TrainConfig| {
        let validation = batches(&[12, 6, 15]);
        Trainer::new(config.clone()).train(model(false, 0.2), &batches(&LENGTHS), Some(&validation)).unwrap()
    };
    let first = run(&config);
    assert_eq!((first.reason, first.steps), (StopReason::EarlyStopping, 6));
    let again = run(&config);
    assert_eq!((again.reason, again.steps, again.tokens), (StopReason::EarlyStopping, 6, 0));
    assert_eq!(trained(&again.model), trained(&first.model));
}

#[test]
fn a_non_finite_loss_names_the_first_bad_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let spoil = |name: &'static str, value: f32| {
        let mut model = model(false, 0.0);
        visit_parameters(&mut model, &mut |found, mut parameter| {
            if found == name {
                let values = vec![value; parameter.elements()];
                parameter.set_flat(burn::tensor::Tensor::from_floats(values.as_slice(), &device()));
            }
        });
        Trainer::new(config(dir.path(), 2)).train(model, &batches(&LENGTHS), None).unwrap_err()
    };
    for (parameter, value, tensor) in [
        ("model.layers.1.mlp.up_proj.weight", f32::NAN, "model.layers.1.mlp.up_proj.weight"),
        // Finite weights whose product is not.
        ("model.layers.1.mlp.down_proj.weight", 3e38, "model.layers.1.mlp"),
    ] {
        let error = spoil(parameter, value);
        assert!(
            matches!(&error, TrainError::NonFinite { step: 1, tensor: found, .. } if found == tensor),
            "{error}"
        );
    }
}

#[test]
fn a_non_finite_gradient_names_its_tensor_and_keeps_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), 4, false).unwrap();
    let file = dir.path().join("checkpoint-2/parameters.safetensors");
    std::fs::remove_dir_all(dir.path().join("checkpoint-4")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let error = train(dir.path(), 4, false).unwrap_err();
    let TrainError::NonFinite { step, last_checkpoint, .. } = &error else { panic!("{error}") };
    assert_eq!(*step, 3);
    assert_eq!(last_checkpoint.as_deref(), Some(dir.path().join("checkpoint-2").as_path()));
}

#[test]
fn a_frozen_model_cannot_be_trained() {
    let dir = tempfile::tempdir().unwrap();
    let base = CausalLm::from_pretrained(fixture("models/llama3"), &LoadConfig::new(), &device()).unwrap();
    let error = Trainer::new(config(dir.path(), 2)).train(base, &batches(&LENGTHS), None).unwrap_err();
    assert!(matches!(error, TrainError::NothingTrainable { .. }), "{error}");
}
