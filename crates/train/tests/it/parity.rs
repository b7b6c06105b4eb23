//! Adapters and training steps against PEFT 0.21 and torch 2.15.

use std::path::PathBuf;

use burn::tensor::Device;
use burnisher_data::TokenBatch;
use burnisher_kernels::AdamW;
use burnisher_lora::{
    AdapterConfig, InitLoraWeights, LoraConfig, LoraError, attach, load_peft, merge, merge_and_unload,
    save_peft, train_all, unmerge, visit_parameters,
};
use burnisher_models::{CausalLm, ComputeDtype, LoadConfig, ModelInput};
use burnisher_quant::QuantConfig;
use burnisher_train::{DecayRule, Gradients, LossModel, Optimizer, Schedule, ScheduleKind, Warmup};
use serde_json::Value;

use crate::support::{
    Tensors, assert_near, assert_near_max, assert_relative, batch, fixture, fixture_or_shared, json, values,
};

/// Model and adapter of every supported variant.
pub(crate) const VARIANTS: &[(&str, &str)] = &[
    ("llama2", "lora_qv"),
    ("llama2", "lora_all_linear"),
    ("llama2", "rslora"),
    ("llama2", "rank_pattern"),
    ("llama2", "regex_target"),
    ("llama2", "exclude_modules"),
    ("llama2", "layers_to_transform"),
    ("llama2", "modules_to_save_lm_head"),
    ("llama2", "modules_to_save_embed_and_head"),
    ("llama2", "r1_high_alpha"),
    ("llama2", "dora"),
    ("llama2", "dora_all_linear"),
    ("llama2", "rsdora"),
    ("llama2", "lora_bias"),
    ("llama2", "embed_tokens"),
    ("llama2", "lm_head_target"),
    ("llama2", "trainable_tokens"),
    ("llama2", "ia3"),
    ("llama2", "ia3_attn"),
    ("llama2", "vera"),
    ("llama2", "vera_all"),
    ("llama2", "vera_no_projection"),
    ("llama3", "lora_qv"),
    ("llama-sharded", "lora_qv"),
    ("llama-bias-linear", "lora_qv"),
    ("mistral", "lora_qv"),
    ("gemma", "lora_qv"),
    ("gemma", "lora_all_linear"),
    ("gemma2", "lora_qv"),
    ("gemma2", "lora_all_linear"),
    ("gemma3", "lora_qv"),
    ("gemma3", "lora_all_linear"),
    ("qwen2", "lora_qv"),
    ("qwen2", "lora_all_linear"),
    ("qwen2", "bias_lora_only"),
    ("qwen2", "lora_bias"),
    ("qwen2", "dora"),
    ("qwen2", "bias_all"),
    ("qwen3", "lora_qv"),
    ("qwen3", "lora_all_linear"),
    ("phi3", "lora_qv"),
    ("phi3", "lora_all_linear"),
];

/// Variants whose initialisation changed the base. In 16 bits the base already differs before, and 4-bit codes with it.
const CHANGED_BASE: &[(&str, &str)] =
    &[("llama2", "pissa"), ("llama2", "olora"), ("llama2", "loftq4_iter1"), ("llama2", "loftq4_iter5")];

fn variants() -> impl Iterator<Item = (&'static str, &'static str)> {
    VARIANTS.iter().chain(CHANGED_BASE).copied()
}

pub(crate) fn device() -> Device {
    Device::flex()
}

fn base(name: &str) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &device()).unwrap()
}

pub(crate) fn reference_batch(name: &str) -> TokenBatch {
    let tensors = Tensors::read(fixture(&format!("base/{name}.safetensors")));
    let length = tensors.shape("input_ids")[1];
    batch(tensors.ids("input_ids"), tensors.ints("labels").to_vec(), tensors.ints("attention_mask"), length)
}

pub(crate) fn adapter_dir(model: &str, variant: &str) -> Option<PathBuf> {
    fixture_or_shared(&format!("peft/{model}/{variant}"))
}

/// A file of a variant, wherever it is.
pub(crate) fn variant_file(model: &str, variant: &str, file: &str) -> Option<PathBuf> {
    fixture_or_shared(&format!("peft/{model}/{variant}/{file}"))
}

fn load(model: &str, variant: &str) -> Option<(CausalLm, AdapterConfig)> {
    let (model, config, _) = load_peft(adapter_dir(model, variant)?, base(model), true, &device())
        .unwrap_or_else(|error| panic!("{model}/{variant}: {error}"));
    Some((model, config))
}

/// The name of a parameter in an adapter file, for parameters that are trained.
pub(crate) fn file_key(name: &str) -> String {
    format!("base_model.model.{name}")
}

/// The same in a reference that knows `is_known`: a bias of an adapted module is its `base_layer`'s, and magnitudes have
/// PEFT's name in memory.
pub(crate) fn reference_key(name: &str, is_known: impl Fn(&str) -> bool) -> String {
    let key = file_key(name);
    match key.strip_suffix(".bias") {
        Some(module) if !is_known(&key) => format!("{module}.base_layer.bias"),
        _ if name.ends_with(".lora_magnitude_vector") => format!("{key}.default.weight"),
        _ => key,
    }
}

/// The gradient of a parameter in `reference.safetensors`.
pub(crate) fn gradient_key(tensors: &Tensors, name: &str) -> String {
    let of = |key: &str| format!("grad.{key}");
    of(&reference_key(name, |key| tensors.names().any(|known| known == of(key))))
}

#[test]
fn logits_losses_and_gradients_equal_peft() {
    for (model_name, variant) in variants() {
        let what = format!("{model_name}/{variant}");
        let Some((model, _)) = load(model_name, variant) else { continue };
        let reference = json(variant_file(model_name, variant, "reference.json").unwrap());
        let tensors = Tensors::read(variant_file(model_name, variant, "reference.safetensors").unwrap());
        let batch = reference_batch(model_name);

        let logits = model.logits(&ModelInput::from_batch(&batch)).narrow(0, 0, 1);
        let vocab = logits.dims()[2];
        let wanted = tensors.floats("logits_seq0");
        let got = values(&logits);
        assert_near(&got[..wanted.len()], wanted, 1e-4, &format!("{what} logits of {vocab}"));

        let loss = model.summed_loss(&batch, None);
        let mean = f64::from(values(&loss.sum)[0]) / loss.tokens as f64;
        assert_relative(mean, reference["loss"].as_f64().unwrap(), 1e-5, &format!("{what} loss"));

        let mut tape = loss.sum.div_scalar(loss.tokens as f64).backward();
        let mut seen = 0;
        visit_parameters(&mut model.clone(), &mut |name, parameter| {
            if !parameter.is_trainable() {
                return;
            }
            let key = gradient_key(&tensors, name);
            let got =
                values(&parameter.take_gradient(&mut tape).expect("a trained parameter has a gradient"));
            assert_near_max(&got, tensors.floats(&key), 1e-4, &format!("{what} {key}"));
            seen += 1;
        });
        let wanted = tensors.names().filter(|name| name.starts_with("grad.")).count();
        assert_eq!(seen, wanted, "{what}: gradient tensors");
    }
}

#[test]
fn an_adapter_written_again_is_the_adapter_that_was_read() {
    let temporary = tempfile::tempdir().unwrap();
    // docs/parity/exchange_adapters.py reads them from a folder of its own.
    let out = || {
        let given = std::env::var_os("BURNISHER_PARITY_OUT").map(std::path::PathBuf::from);
        given.unwrap_or_else(|| temporary.path().to_owned())
    };
    for (model_name, variant) in variants() {
        let Some((model, config)) = load(model_name, variant) else { continue };
        let dir = out().join(model_name).join(variant);
        save_peft(&model, &config, &dir).unwrap();
        let file = "adapter_model.safetensors";
        let want = Tensors::read(variant_file(model_name, variant, file).unwrap());
        assert_same_tensors(&Tensors::read(dir.join(file)), &want, &format!("{model_name}/{variant}"));
    }
    for (model_name, variant) in MORE {
        if !fixture(&format!("models/{model_name}/config.json")).exists() {
            continue;
        }
        let theirs =
            format!("{}/tests/fixtures/peft_more/{model_name}/{variant}", env!("CARGO_MANIFEST_DIR"));
        let (model, config, _) = load_peft(&theirs, base(model_name), false, &device()).unwrap();
        let out = out().join(model_name).join(variant.replace('/', "_"));
        save_peft(&model, &config, &out).unwrap();
        let [got, want] =
            [out, theirs.into()].map(|dir| Tensors::read(dir.join("adapter_model.safetensors")));
        assert_same_tensors(&got, &want, &format!("{model_name}/{variant}"));
    }
}

/// Adapters with reference logits beside those of `../shared`.
const MORE: [(&str, &str); 8] = [
    ("llama2", "adalora"),
    ("llama2", "adalora/after_10_steps"),
    ("llama2", "orthogonal"),
    ("llama2", "prefix_projection"),
    ("llama2", "prefix_tuning"),
    ("llama2", "prompt_tuning"),
    ("mistral", "prefix_tuning"),
    ("gemma2", "prefix_tuning"),
];

fn assert_same_tensors(got: &Tensors, want: &Tensors, what: &str) {
    assert_eq!(got.names().collect::<Vec<_>>(), want.names().collect::<Vec<_>>(), "{what}");
    for name in want.names() {
        assert_eq!(got.floats(name), want.floats(name), "{what} {name}");
        assert_eq!(got.shape(name), want.shape(name), "{what} {name}");
    }
}

#[test]
fn an_adapter_that_was_loaded_frozen_is_saved_whole() {
    for variant in ["lora_qv", "modules_to_save_embed_and_head"] {
        let Some(dir) = adapter_dir("llama2", variant) else { return };
        let (model, config, _) = load_peft(&dir, base("llama2"), false, &device()).unwrap();
        let out = tempfile::tempdir().unwrap();
        save_peft(&model, &config, out.path()).unwrap();
        let file = "adapter_model.safetensors";
        let (got, want) = (Tensors::read(out.path().join(file)), Tensors::read(dir.join(file)));
        assert_eq!(got.names().collect::<Vec<_>>(), want.names().collect::<Vec<_>>(), "{variant}");
        assert!(want.names().all(|name| got.floats(name) == want.floats(name)), "{variant}");
    }
    let config = LoraConfig::new(4);
    let error = save_peft(&base("llama2"), &config, tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(matches!(&error, LoraError::NoAdapter { modules } if modules.len() == 4), "{error}");
}

/// A 4-bit base that was quantized from 16 bits, in either compute dtype.
#[test]
fn a_quantized_base_can_be_merged_and_partly_saved_in_every_compute_dtype() {
    let quant = QuantConfig::nf4().with_double_quant(true);
    for (dtype, tolerance) in [(ComputeDtype::F32, 1e-4), (ComputeDtype::Bf16, 0.6)] {
        let load = LoadConfig::new().with_dtype(dtype).with_quantize(quant);
        let base = CausalLm::from_pretrained(fixture("models/llama3"), &load, &device()).unwrap();
        let config = LoraConfig::new(4)
            .with_lora_alpha(16.0)
            .with_init_lora_weights(InitLoraWeights::Random)
            .with_modules_to_save(["model.layers.1.mlp.up_proj"]);
        let (model, _) = attach(&config, base, 5, &device()).unwrap();
        let batch = reference_batch("llama3");
        let loss = model.summed_loss(&batch, None);
        assert!(values(&loss.sum)[0].is_finite());
        loss.sum.backward();
        let input = ModelInput::from_batch(&batch);
        let (adapted, merged) = (values(&model.logits(&input)), merge(model).unwrap());
        assert_near(&values(&merged.logits(&input)), &adapted, tolerance, &format!("{dtype:?}"));
    }
}

#[test]
fn every_parameter_of_a_quantized_base_cannot_be_trained() {
    let Some(checkpoint) = fixture_or_shared("bnb/ckpt_nf4_double") else { return };
    let model = CausalLm::from_pretrained(checkpoint, &LoadConfig::new(), &device()).unwrap();
    let error = train_all(model).unwrap_err();
    assert!(error.to_string().contains("14 weights are quantized"), "{error}");
}

#[test]
fn a_model_with_an_adapter_takes_no_second_one() {
    let Some(dir) = adapter_dir("llama2", "lora_qv") else { return };
    let adapted = || load("llama2", "lora_qv").unwrap().0;
    let merged = || merge(adapted()).unwrap();
    for error in [
        attach(LoraConfig::new(2), adapted(), 1, &device()).unwrap_err(),
        attach(LoraConfig::new(2), merged(), 1, &device()).unwrap_err(),
        load_peft(&dir, merged(), false, &device()).unwrap_err(),
        train_all(adapted()).unwrap_err(),
    ] {
        assert!(matches!(&error, LoraError::HasAdapter { modules } if modules.len() == 4), "{error}");
    }
    assert!(attach(LoraConfig::new(2), merge_and_unload(adapted()).unwrap(), 1, &device()).is_ok());
}

#[test]
fn merged_weights_equal_peft_and_unmerging_restores_the_base() {
    for (model_name, variant) in variants() {
        let what = format!("{model_name}/{variant}");
        let Some((model, _)) = load(model_name, variant) else { continue };
        let Some(file) = variant_file(model_name, variant, "merged.safetensors").filter(|file| file.exists())
        else {
            continue;
        };
        let want = Tensors::read(file);
        let batch = reference_batch(model_name);
        let input = ModelInput::from_batch(&batch);
        let adapted = values(&model.logits(&input));

        let merged = merge(model).unwrap();
        assert_near(&values(&merged.logits(&input)), &adapted, 1e-4, &format!("{what} merged ≡ adapted"));
        let restored = unmerge(merged.clone());
        assert_eq!(values(&restored.logits(&input)), adapted, "{what}: unmerged");

        // PEFT decomposes in f32, and what it leaves of the base is that far from exact.
        let tolerance = if CHANGED_BASE.contains(&(model_name, variant)) { 1e-5 } else { 1e-6 };
        let mut plain = merge_and_unload(merged).unwrap();
        let mut seen = 0;
        visit_parameters(&mut plain, &mut |name, parameter| {
            if want.names().any(|known| known == name) {
                assert_near(
                    &values(&parameter.flat()),
                    want.floats(name),
                    tolerance,
                    &format!("{what} {name}"),
                );
                seen += 1;
            }
        });
        assert_eq!(seen, want.names().count(), "{what}: merged tensors");
    }
}

/// The twenty micro-batches of the ten-step traces.
pub(crate) fn micro_batches(model: &str) -> Vec<TokenBatch> {
    let data = Tensors::read(fixture(&format!("peft/{model}/train_data.safetensors")));
    let [count, rows, length] = data.shape("input_ids") else { panic!("three dimensions") };
    let (ids, labels, mask) = (data.ids("input_ids"), data.ints("labels"), data.ints("attention_mask"));
    let size = rows * length;
    (0..*count)
        .map(|i| {
            let part = i * size..(i + 1) * size;
            batch(ids[part.clone()].to_vec(), labels[part.clone()].to_vec(), &mask[part], *length)
        })
        .collect()
}

/// Ten AdamW steps: cosine with two warm-up steps, clipping at 1, decay 0.01 on everything.
pub(crate) fn check_trace(mut model: CausalLm, data: &str, lr: f64, trace: &Value, what: &str) -> CausalLm {
    let schedule = Schedule::new(ScheduleKind::COSINE, Warmup::Steps(2), 10);
    let mut optimizer = Optimizer::new(AdamW { weight_decay: 0.01, ..AdamW::default() }, DecayRule::All);
    for (step, micro) in micro_batches(data).chunks(2).enumerate() {
        let number = |key: &str| trace[key][step].as_f64().unwrap();
        let (mut gradients, loss) = Gradients::of_step(&model, micro, |_| None).unwrap();
        let tolerance = if step < 2 { 1e-5 } else { 1e-3 };
        assert_relative(loss.mean, number("step_losses"), tolerance, &format!("{what} loss of step {step}"));
        let norm = gradients.clip(Some(1.0)).unwrap();
        assert_relative(norm, number("grad_norms"), 10.0 * tolerance, &format!("{what} norm of step {step}"));
        let rate = schedule.lr(step as u64, lr);
        assert!((rate - number("lrs")).abs() <= 1e-12, "{what} rate of step {step}");
        model = optimizer.step(model, &gradients, rate).unwrap();
    }
    model
}

#[test]
fn ten_adapter_steps_equal_torch() {
    for (model_name, variant) in variants() {
        let Some((model, _)) = load(model_name, variant) else { continue };
        let reference = json(variant_file(model_name, variant, "reference.json").unwrap());
        let what = format!("{model_name}/{variant}");
        let model = check_trace(model, model_name, 0.005, &reference["trace_tokens"], &what);
        let Some(norms) = reference["final_norms"].as_object() else { continue };
        visit_parameters(&mut model.clone(), &mut |name, parameter| {
            if let Some(want) = norms.get(&reference_key(name, |key| norms.contains_key(key))) {
                let norm =
                    values(&parameter.flat()).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                assert_relative(norm, want.as_f64().unwrap(), 1e-3, &format!("{what} {name}"));
            }
        });
    }
}

#[test]
fn ten_full_parameter_steps_equal_torch() {
    for model_name in crate::support::models() {
        let Some(file) = fixture_or_shared(&format!("peft/{model_name}/full_finetune.json")) else {
            continue;
        };
        let reference = json(file);
        let lr = reference["lr"].as_f64().unwrap();
        check_trace(
            train_all(base(model_name)).unwrap(),
            model_name,
            lr,
            &reference["tokens"],
            &format!("{model_name} full"),
        );
    }
}

#[test]
fn qlora_on_bitsandbytes_checkpoints_equals_peft() {
    for name in ["nf4_double", "fp4_plain"] {
        check_qlora(name);
    }
}

fn check_qlora(name: &str) {
    let Some(checkpoint) = fixture_or_shared(&format!("bnb/ckpt_{name}")) else { return };
    let Some(adapter) = fixture_or_shared(&format!("bnb/qlora_{name}")) else { return };
    let Some(file) = fixture_or_shared(&format!("bnb/ckpt_{name}_reference.safetensors")) else { return };
    let model = CausalLm::from_pretrained(checkpoint, &LoadConfig::new(), &device()).unwrap();
    let (model, _, _) = load_peft(adapter, model, true, &device()).unwrap();
    let want = Tensors::read(file);
    let batch = reference_batch("llama2");
    let loss = model.summed_loss(&batch, None);
    let mut tape = loss.sum.div_scalar(loss.tokens as f64).backward();
    let mut seen = 0;
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        let key = format!("qlora.grad.{}", file_key(name));
        if want.names().any(|known| known == key) {
            let got = values(&parameter.take_gradient(&mut tape).expect("a gradient"));
            assert_near_max(&got, want.floats(&key), 1e-4, &key);
            seen += 1;
        }
    });
    assert!(seen > 0, "gradients compared; the file has {:?}", want.names().collect::<Vec<_>>());

    // Merging dequantizes the same base and stays dense: the adapted logits.
    let input = ModelInput::from_batch(&batch);
    let adapted = values(&model.logits(&input));
    assert_near(
        &values(&merge(model).unwrap().logits(&input)),
        &adapted,
        1e-4,
        &format!("merged {name} ≡ adapted"),
    );
}
