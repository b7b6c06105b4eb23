//! Training in f16: the loss scale in a run, what it costs against f32, and where it ends.

use std::{path::Path, sync::mpsc};

use burn::tensor::Tensor;
use burnisher_data::{BatchConfig, Batches, Encoded, Packing, pack};
use burnisher_lora::{LoraConfig, attach, train_all, visit_parameters};
use burnisher_models::{CausalLm, ComputeDtype, LoadConfig};
use burnisher_quant::QuantConfig;
use burnisher_train::{Event, GradScaler, Optim, Outcome, TrainConfig, TrainError, Trainer, evaluate};
use serde_json::{Value, json};

use crate::{
    properties::{LENGTHS, batches, config, device, trained},
    support::{self, fixture},
};

fn f16() -> LoadConfig {
    LoadConfig::new().with_dtype(ComputeDtype::F16)
}

fn base(name: &str, load: &LoadConfig) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), load, &device()).unwrap()
}

fn full() -> CausalLm {
    train_all(base("llama3", &f16())).unwrap()
}

fn fp16(dir: &Path, steps: u64) -> TrainConfig {
    let mut config = config(dir, steps);
    (config.fp16, config.learning_rate) = (true, 1e-3);
    config
}

type Run = (Result<Outcome<CausalLm>, TrainError>, Vec<Event>);

fn run(config: TrainConfig, model: CausalLm, set: &Batches) -> Run {
    let (sender, receiver) = mpsc::channel();
    let observer = move |event: &Event| sender.send(event.clone()).unwrap();
    let outcome = Trainer::new(config).observe(observer).train(model, set, None);
    (outcome, receiver.try_iter().collect())
}

/// As on a 4-bit base with the playbook's optimizer, and all parameters with f32 copies.
#[test]
fn training_in_f16_lowers_the_loss() {
    let set = batches(&LENGTHS);
    let quantized = f16().with_quantize(QuantConfig::nf4().with_double_quant(true));
    let lora = LoraConfig::new(4).with_lora_alpha(16.0).with_lora_dropout(0.05);
    let adapted = attach(&lora, base("llama3", &quantized), 3, &device()).unwrap().0;
    for (name, model, optim, rate) in
        [("QLoRA", adapted, Optim::PagedAdamw8bit, 5e-3), ("full", full(), Optim::Adamw8bit, 1e-3)]
    {
        let dir = tempfile::tempdir().unwrap();
        let before = evaluate(&model, &set, 4).unwrap().mean;
        let mut config = fp16(dir.path(), 20);
        (config.optim, config.learning_rate) = (optim, rate);
        let (outcome, events) = run(config, model, &set);
        let after = evaluate(&outcome.unwrap().model, &set, 4).unwrap().mean;
        assert!(after < 0.9 * before, "{name}: {before} -> {after}");
        let skipped = events.iter().filter(|event| matches!(event, Event::Skipped { .. })).count();
        assert!(skipped <= 5, "{name}: {skipped} steps skipped");
    }
}

#[test]
fn a_resumed_f16_run_ends_bit_for_bit() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let set = batches(&LENGTHS);
    let want = run(fp16(whole.path(), 6), full(), &set).0.unwrap();
    run(fp16(parts.path(), 6), full(), &set).0.unwrap();
    for step in [4, 6] {
        std::fs::remove_dir_all(parts.path().join(format!("checkpoint-{step}"))).unwrap();
    }
    let got = run(fp16(parts.path(), 6), full(), &set).0.unwrap();
    assert!(trained(&got.model) == trained(&want.model));
    let state = |dir: &Path| support::json(dir.join("checkpoint-6/trainer_state.json"))["loss_scale"].clone();
    assert_eq!(state(whole.path()), state(parts.path()));
    assert!(state(whole.path())["scale"].is_string(), "{}", state(whole.path()));
}

/// PyTorch 2.15's own f16 is off by up to 2.5e-3 in logits and 5.6e-3 in gradients, the latter on `r1_high_alpha`
/// (docs/parity/bf16.py).
#[test]
fn f16_stays_close_to_the_f32_reference() {
    crate::bf16::check(ComputeDtype::F16, 3e-3, 7e-3, 1024.0);
}

/// A step whose gradients overflow changes neither parameters nor state nor schedule, and halves the scale.
#[test]
fn overflowing_steps_are_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let set = batches(&LENGTHS);
    run(fp16(dir.path(), 6), full(), &set).0.unwrap();
    for step in [4, 6] {
        std::fs::remove_dir_all(dir.path().join(format!("checkpoint-{step}"))).unwrap();
    }
    let state = dir.path().join("checkpoint-2/trainer_state.json");
    let mut text: Value = support::json(&state);
    let skipped_before = text["loss_scale"]["skipped"].as_u64().unwrap();
    // 2^100: no gradient is small enough.
    text["loss_scale"]["scale"] = json!("1267650600228229401496703205376");
    std::fs::write(&state, text.to_string()).unwrap();
    let read =
        |step: u64, file: &str| std::fs::read(dir.path().join(format!("checkpoint-{step}/{file}"))).unwrap();
    let before = [read(2, "parameters.safetensors"), read(2, "optimizer.safetensors")];
    let (outcome, events) = run(fp16(dir.path(), 6), full(), &set);
    outcome.unwrap();
    let skips: Vec<(u64, f64, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Skipped { step, loss_scale, skipped, .. } => Some((*step, *loss_scale, *skipped)),
            _ => None,
        })
        .collect();
    let wanted = |i: u64| (3 + i, 2f64.powi(99 - i as i32), skipped_before + 1 + i);
    assert_eq!(skips, [0, 1, 2, 3].map(wanted));
    assert!(!events.iter().any(|event| matches!(event, Event::Step { .. })), "no step was done");
    assert!(before == [read(6, "parameters.safetensors"), read(6, "optimizer.safetensors")]);
    let text: Value = support::json(dir.path().join("checkpoint-6/trainer_state.json"));
    assert_eq!(text["loss_scale"]["skipped"].as_u64(), Some(skipped_before + 4));
}

/// Finite losses with gradients beyond f16 at every scale.
#[test]
fn a_scale_below_the_least_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = train_all(base("llama2", &f16())).unwrap();
    let mut found = false;
    visit_parameters(&mut model, &mut |name, mut parameter| {
        if name == "lm_head.weight" {
            let width = parameter.shape()[1];
            let huge = (0..parameter.elements()).map(|i| if i / width % 2 == 0 { 6e4f32 } else { -6e4 });
            let huge: Vec<f32> = huge.collect();
            parameter.set_flat(Tensor::from_floats(huge.as_slice(), &device()));
            found = true;
        }
    });
    assert!(found, "a head of its own");
    // One label in a row and one row in a step, so that the gradient is not divided.
    let documents = |target: u32| Encoded::new(vec![5, target], vec![false, true], u64::from(target));
    let rows = pack((10..60).map(documents).collect(), 24, Packing::None);
    let set = Batches::new(rows, BatchConfig::new(0).with_seed(7));
    let mut config = fp16(dir.path(), 200);
    (config.batch_size, config.gradient_accumulation_steps, config.save_every) = (1, 1, Some(1000));
    let error = run(config, model, &set).0.unwrap_err();
    let TrainError::LossScale { scale, floor, .. } = &error else { panic!("{error}") };
    assert_eq!((*scale, *floor), (GradScaler::FLOOR, 1.0), "{error}");
}

/// torch's own scaler (docs/parity/optimizers.py).
#[test]
fn the_sequence_of_scales_is_torchs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optimizers.json");
    let peer = support::json(path)["loss_scale"].clone();
    let bad: Vec<u64> = peer["bad_steps"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    let (mut scaler, mut changes) = (GradScaler::new(), Vec::new());
    for step in 0..peer["steps"].as_u64().unwrap() {
        let before = scaler.scale();
        scaler.update(bad.contains(&step));
        if scaler.scale() != before {
            changes.push(json!([step, scaler.scale()]));
        }
    }
    assert_eq!(&changes, peer["changes"].as_array().unwrap());
    assert_eq!(scaler.skipped(), bad.len() as u64);
}
