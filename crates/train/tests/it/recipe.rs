//! The recipe in `examples/assets/qlora_fp16.yaml`, read as it is and run for a few steps.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burnisher_lora::visit_parameters;
use burnisher_train::{BaseQuant, BiasMode, ComputeDtype, Event, Optim, RunConfig, Targets, run};

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets")
}

#[test]
fn it_says_what_the_playbook_says() {
    let run = RunConfig::from_file(assets().join("qlora_fp16.yaml")).unwrap();
    assert_eq!((run.model.quant, run.compute_dtype()), (BaseQuant::Nf4, ComputeDtype::F16));
    let lora = run.lora.as_ref().unwrap();
    let names = Targets::Names(["q_proj", "v_proj"].map(str::to_owned).to_vec());
    assert_eq!((lora.r, lora.lora_alpha, lora.lora_dropout), (8, 16.0, 0.05));
    assert_eq!((lora.target_modules.as_ref(), lora.bias), (Some(&names), BiasMode::None));
    let train = &run.train;
    assert_eq!((train.batch_size, train.gradient_accumulation_steps, train.epochs), (4, 2, 3));
    assert_eq!((train.log_every, train.save_every, train.learning_rate), (10, Some(100), 2e-4));
    assert_eq!((train.fp16, train.optim, run.data.max_length), (true, Optim::PagedAdamw8bit, 512));
}

#[test]
fn it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| assets().join(name).display().to_string();
    // A small set, and no validation before and after: a test has little time.
    let overrides = [
        format!("model.path={}", path("base")),
        format!("data.train={}", path("finance/validation.jsonl")),
        "data.validation_fraction=0".to_owned(),
        "data.leaks=allow".to_owned(),
        format!("data.validation={}", path("finance/test.jsonl")),
        format!("train.output_dir={}", dir.path().display()),
        "train.max_steps=3".to_owned(),
    ];
    let mut config = RunConfig::from_file_with(assets().join("qlora_fp16.yaml"), &overrides).unwrap();
    config.data.validation = None;
    let (sender, receiver) = std::sync::mpsc::channel();
    let observer = move |event: &Event| sender.send(event.clone()).unwrap();
    let outcome = run(&config, &Device::flex(), vec![Box::new(observer)], &mut |_| {}).unwrap();
    let skipped = receiver.try_iter().filter(|event| matches!(event, Event::Skipped { .. })).count();
    assert!(skipped < 3, "every step overflowed");
    let mut moved = 0;
    visit_parameters(&mut outcome.training.model.clone(), &mut |name, parameter| {
        if name.contains("lora_B") {
            let values = parameter.flat().to_data();
            moved += usize::from(values.iter::<f32>().any(|value| value != 0.0));
        }
    });
    assert!(moved > 0, "B of no adapter has moved");
    assert!(dir.path().join("adapter/adapter_model.safetensors").is_file());
    // The state's file has no name, and leaves none behind.
    let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["adapter", "checkpoint-3"]);
}
