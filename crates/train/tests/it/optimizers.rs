//! Optimizers through the trainer's pieces: the arithmetic, 8-bit and paged state, parameter groups, exact resume.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{DType, Device, Tensor, TensorData};
use burnisher_kernels::{
    Adafactor, AdamW, AdamWState, Lion, Sgd, adafactor_step, adamw_step, lion_step, sgd_step,
};
use burnisher_lora::{LoraConfig, attach, train_all, visit_parameters};
use burnisher_models::{CausalLm, ComputeDtype, LoadConfig};
use burnisher_quant::{Adamw8bit, Adamw8bitState, DecayOrder, Lion8bit};
use burnisher_train::{
    DecayRule, Gradients, LoraPlus, Optim, Optimizer, Paging, ParameterGroups, Rule, TrainConfig, TrainError,
    Trainer,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    properties::{LENGTHS, batches, config, device, perturbed, trained},
    support::{assert_near, fixture, json, values},
};

/// Every parameter of a small model: matrices of 4096 values and more, smaller ones, norms, a tied embedding.
fn full(dtype: ComputeDtype) -> CausalLm {
    let load = LoadConfig::new().with_dtype(dtype);
    train_all(CausalLm::from_pretrained(fixture("models/llama3"), &load, &device()).unwrap()).unwrap()
}

fn gradients(model: &CausalLm, step: usize) -> Gradients {
    let set = batches(&LENGTHS);
    let rows: Vec<usize> = (0..3).map(|i| (3 * step + i) % set.len()).collect();
    Gradients::of_step(model, &[set.batch(&rows)], |_| None).unwrap().0
}

fn rules() -> [Rule; 4] {
    let adamw = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let lion = Lion { weight_decay: 0.1, ..Lion::default() };
    [Rule::AdamW(adamw), Rule::AdamW8bit(adamw), Rule::Lion(lion), Rule::Lion8bit(lion)]
}

/// The names of all optimizers in a run file that differ from each other.
const OPTIMS: [Optim; 10] = [
    Optim::AdamwTorch,
    Optim::Adamw8bit,
    Optim::PagedAdamw32bit,
    Optim::PagedAdamw8bit,
    Optim::Lion32bit,
    Optim::Lion8bit,
    Optim::PagedLion32bit,
    Optim::PagedLion8bit,
    Optim::Adafactor,
    Optim::Sgd,
];

/// A parameter by itself, with the reference arithmetic of 8-bit AdamW.
enum Reference {
    Codes(Vec<f32>, Adamw8bitState),
    Floats(Tensor<1>, Option<AdamWState<1>>),
}

/// Large tensors in 8 bits, with the arithmetic that the crate `burnisher-quant` tests against bitsandbytes; small ones
/// and the embedding exactly as with 32 bits.
#[test]
fn adamw_8bit_is_its_reference_and_32_bits_for_small_tensors_and_embeddings() {
    let options = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let eight = Adamw8bit::new().with_weight_decay(0.1).with_decay_order(DecayOrder::BeforeUpdate);
    let mut optimizer = Optimizer::new(Rule::AdamW8bit(options), DecayRule::All);
    let mut model = full(ComputeDtype::F32);
    let mut references = BTreeMap::new();
    visit_parameters(&mut model, &mut |name, parameter| {
        let reference = match parameter.elements() >= 4096 && !name.contains("embed") {
            true => {
                let values = values(&parameter.flat());
                let state = Adamw8bitState::zeros(values.len());
                Reference::Codes(values, state)
            }
            false => Reference::Floats(parameter.flat(), None),
        };
        references.insert(name.to_owned(), reference);
    });
    for step in 1..=3 {
        let (gradients, rate) = (gradients(&model, step), 1e-3 / step as f64);
        model = optimizer.step(model, &gradients, rate).unwrap();
        for (name, reference) in &mut references {
            let gradient = gradients.get(name).expect("a gradient");
            match reference {
                Reference::Codes(parameter, state) => {
                    state.step(parameter, &values(gradient), &eight, rate).unwrap();
                }
                Reference::Floats(parameter, state) => {
                    let (next, moments) = adamw_step(
                        &options,
                        rate,
                        step as u64,
                        parameter.clone(),
                        gradient.clone(),
                        state.take(),
                    );
                    (*parameter, *state) = (next, Some(moments));
                }
            }
        }
        for (name, found) in trained(&model) {
            match &references[&name] {
                Reference::Codes(wanted, _) => assert!(found == *wanted, "{name}, step {step}"),
                Reference::Floats(wanted, _) => assert!(found == values(wanted), "{name}, step {step}"),
            }
        }
    }
    let mut codes = 0;
    for (name, data) in optimizer.to_tensors().unwrap() {
        let (parameter, suffix) = name.rsplit_once('.').unwrap();
        match &references[parameter] {
            Reference::Codes(_, state) => {
                let bytes = |data: &TensorData| data.as_bytes().to_vec();
                let floats = |data: &TensorData| data.iter::<f32>().collect::<Vec<f32>>();
                match suffix {
                    "state1" => assert!(bytes(&data) == state.first().codes(), "{name}"),
                    "state2" => assert!(bytes(&data) == state.second().codes(), "{name}"),
                    "absmax1" => assert_eq!(floats(&data), state.first().absmax(), "{name}"),
                    _ => assert_eq!(floats(&data), state.second().absmax(), "{name}"),
                }
                codes += usize::from(data.dtype() == DType::U8);
            }
            Reference::Floats(..) => assert!(["m", "v"].contains(&suffix), "{name}"),
        }
    }
    // Query, output, gate, up and down projections of three layers.
    assert_eq!(codes, 2 * 5 * 3);
}

#[test]
fn lion_8bit_is_its_reference() {
    let mut optimizer = Optimizer::new(rules()[3], DecayRule::All);
    let eight = Lion8bit { beta_1: 0.9, beta_2: 0.99, weight_decay: 0.1 };
    let name = "model.layers.1.mlp.gate_proj.weight";
    let mut model = full(ComputeDtype::F32);
    let of = |model: &CausalLm| trained(model).into_iter().find(|(found, _)| found == name).unwrap().1;
    let mut parameter = of(&model);
    let (mut codes, mut absmax) = (vec![0; parameter.len()], vec![0.0; parameter.len().div_ceil(256)]);
    for step in 1..=3 {
        let gradients = gradients(&model, step);
        let gradient = values(gradients.get(name).unwrap());
        model = optimizer.step(model, &gradients, 1e-4).unwrap();
        eight.step(&mut codes, &mut absmax, &mut parameter, &gradient, 1e-4).unwrap();
        assert!(of(&model) == parameter, "step {step}");
    }
}

/// Bytes of state per value of a parameter, as the training guide says.
#[test]
fn state_takes_what_the_guide_says() {
    let adafactor = Rule::Adafactor(Adafactor::default());
    let [adamw, adamw_8bit, lion, lion_8bit] = rules();
    let name = "model.layers.1.mlp.gate_proj.weight";
    for (rule, wanted) in [
        (adamw, 8.0),
        (adamw_8bit, 2.0 + 8.0 / 256.0),
        (lion, 4.0),
        (lion_8bit, 1.0 + 4.0 / 256.0),
        (adafactor, 4.0 * (144.0 + 64.0) / 9216.0),
        (Rule::Sgd(Sgd::default()), 4.0),
    ] {
        for dtype in [ComputeDtype::F32, ComputeDtype::Bf16] {
            let mut optimizer = Optimizer::new(rule, DecayRule::default());
            let model = full(dtype);
            let gradients = gradients(&model, 0);
            optimizer.step(model, &gradients, 1e-4).unwrap();
            let tensors = optimizer.to_tensors().unwrap();
            let bytes = |data: &TensorData| data.as_bytes().len();
            assert_eq!(optimizer.state_bytes(), tensors.iter().map(|(_, data)| bytes(data)).sum::<usize>());
            let own = tensors.iter().filter(|(found, _)| found.starts_with(name));
            let found = own.map(|(_, data)| bytes(data)).sum::<usize>() as f64 / 9216.0;
            let master = if dtype == ComputeDtype::F32 { 0.0 } else { 4.0 };
            assert_eq!(found, wanted + master, "{} in {dtype:?}", rule.name());
        }
    }
}

/// In f32, and in bf16 with the f32 copies in the file too.
#[test]
fn paged_state_has_the_same_values_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("state.pages");
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16] {
        for rule in rules() {
            let what = format!("{} in {dtype:?}", rule.name());
            let mut plain = Optimizer::new(rule, DecayRule::default());
            let paged = Optimizer::new(rule, DecayRule::default());
            let mut paged = paged.with_paging(&Paging::File(pages.clone())).unwrap();
            let (mut want, mut got) = (full(dtype), full(dtype));
            for step in 0..3 {
                let gradients = gradients(&want, step);
                want = plain.step(want, &gradients, 1e-3).unwrap();
                got = paged.step(got, &gradients, 1e-3).unwrap();
                assert!(trained(&got) == trained(&want), "{what}, step {step}");
            }
            assert!(plain.to_tensors().unwrap() == paged.to_tensors().unwrap(), "{what}: state");
            let length = std::fs::metadata(&pages).unwrap().len();
            assert!(length >= paged.state_bytes() as u64, "{what}: the state lies in the file");
            // Between two steps no memory holds it.
            if let Ok(mapped) = std::fs::read_to_string("/proc/self/maps") {
                assert!(!mapped.contains("state.pages"), "{what}: the file is still mapped");
            }
            drop(paged);
            assert!(!pages.exists(), "{what}: the file stays behind");
        }
    }
}

#[test]
fn what_is_not_paged_says_so() {
    for rule in [Rule::Sgd(Sgd::default()), Rule::Adafactor(Adafactor::default())] {
        let paging = Paging::TemporaryIn(std::env::temp_dir());
        let error = Optimizer::new(rule, DecayRule::All).with_paging(&paging).unwrap_err();
        assert!(error.to_string().contains(rule.name()), "{error}");
    }
}

/// A step in 8 bits leaves such an element out; a run must not do so in silence.
#[test]
fn a_gradient_whose_square_overflows_is_an_error_in_8_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 2);
    (config.optim, config.max_grad_norm) = (Optim::Adamw8bit, 0.0);
    let mut model = full(ComputeDtype::F32);
    // Large weights of the last norm make large gradients of the projections before it.
    visit_parameters(&mut model, &mut |name, mut parameter| {
        if name == "model.norm.weight" {
            let huge = vec![1e24f32; parameter.elements()];
            parameter.set_flat(Tensor::from_floats(huge.as_slice(), &device()));
        }
    });
    let error = Trainer::new(config).train(model, &batches(&LENGTHS), None).unwrap_err();
    assert!(
        matches!(&error, TrainError::NonFinite { step: 1, what, .. } if what.contains("square")),
        "{error}"
    );
}

fn train(dir: &Path, optim: Optim) -> Result<CausalLm, TrainError> {
    let mut config = config(dir, 4);
    (config.optim, config.learning_rate, config.weight_decay) = (optim, 1e-3, 0.1);
    Ok(Trainer::new(config).train(full(ComputeDtype::Bf16), &batches(&LENGTHS), None)?.model)
}

fn bytes(dir: &Path, file: &str) -> Vec<u8> {
    std::fs::read(dir.join("checkpoint-4").join(file)).unwrap()
}

/// Every parameter in 16 bits, with its f32 copy in the state.
#[test]
fn a_resumed_run_ends_bit_for_bit_with_every_optimizer() {
    for optim in OPTIMS {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let want = train(whole.path(), optim).unwrap();
        train(parts.path(), optim).unwrap();
        std::fs::remove_dir_all(parts.path().join("checkpoint-4")).unwrap();
        let got = train(parts.path(), optim).unwrap();
        assert!(trained(&got) == trained(&want), "{optim:?}");
        for file in ["parameters.safetensors", "optimizer.safetensors"] {
            assert!(bytes(whole.path(), file) == bytes(parts.path(), file), "{optim:?}: {file} differs");
        }
    }
}

/// Where memory runs out, the run goes on with its state in a file; the values are the same.
#[test]
fn a_run_may_go_on_with_its_state_paged() {
    for (first, then) in
        [(Optim::Adamw8bit, Optim::PagedAdamw8bit), (Optim::PagedLion32bit, Optim::Lion32bit)]
    {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        train(whole.path(), first).unwrap();
        train(parts.path(), first).unwrap();
        std::fs::remove_dir_all(parts.path().join("checkpoint-4")).unwrap();
        train(parts.path(), then).unwrap();
        for file in ["parameters.safetensors", "optimizer.safetensors"] {
            assert!(bytes(whole.path(), file) == bytes(parts.path(), file), "{first:?}, {then:?}: {file}");
        }
    }
}

#[test]
fn another_optimizer_than_the_checkpoints_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), Optim::Adamw8bit).unwrap();
    let error = train(dir.path(), Optim::Lion8bit).unwrap_err();
    assert!(
        matches!(&error, TrainError::ResumeMismatch { field, found, wanted }
            if field == "train.optim" && found == "lion_8bit" && wanted == "adamw_8bit"),
        "{error}"
    );
    // Where the run's settings do not tell, the file of the state does.
    let state = dir.path().join("checkpoint-4/trainer_state.json");
    let mut text: Value = json(&state);
    text["identity"]["settings"]["train.optim"] = "lion_8bit".into();
    std::fs::write(&state, text.to_string()).unwrap();
    let error = train(dir.path(), Optim::Lion8bit).unwrap_err().to_string();
    assert!(
        error.contains("found the state of the optimizer adamw_8bit; wanted that of lion_8bit"),
        "{error}"
    );
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let floats = |values: &[f32]| TensorData::new(values.to_vec(), [values.len()]);
    let codes = |values: &[u8]| TensorData::new(values.to_vec(), [values.len()]);
    let [adamw, adamw_8bit, lion, lion_8bit] = rules();
    let cases: Vec<(Rule, Vec<(&str, TensorData)>, &str)> = vec![
        (adamw, vec![("p.m", floats(&[1.0]))], "the tensors m"),
        (adamw, vec![("p.m", floats(&[1.0])), ("p.v", floats(&[1.0, 2.0]))], "2 values of F32 for p.v"),
        (adamw, vec![("p.q", floats(&[1.0]))], "an unknown kind of state for p.q"),
        (lion, vec![("p.m", floats(&[1.0])), ("p.v", floats(&[1.0]))], "the tensors m, v"),
        (adamw_8bit, vec![("p.state1", codes(&[1])), ("p.absmax1", floats(&[1.0]))], "the tensors absmax1"),
        (lion_8bit, vec![("p.state1", codes(&[1; 300])), ("p.absmax1", floats(&[1.0]))], "1 values of F32"),
        (lion_8bit, vec![("p.state1", codes(&[1])), ("p.absmax1", floats(&[f32::NAN]))], "the absmax NaN"),
        (lion_8bit, vec![("p.state1", floats(&[1.0])), ("p.absmax1", floats(&[1.0]))], "1 values of F32"),
    ];
    for (rule, tensors, wanted) in cases {
        let tensors = tensors.into_iter().map(|(name, data)| (name.to_owned(), data)).collect();
        let mut optimizer = Optimizer::new(rule, DecayRule::All);
        let error = optimizer.restore(7, tensors, &device()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert_eq!(optimizer.step_count(), 0, "nothing has changed");
    }
}

/// What is restored knows no shapes; the first step does.
#[test]
fn state_of_another_shape_is_refused_by_the_step() {
    let model = full(ComputeDtype::F32);
    let gradients = gradients(&model, 0);
    let ones = |count: usize| TensorData::new(vec![1.0_f32; count], [count]);
    let sgd: Rule = Sgd { momentum: 0.9, weight_decay: 0.0 }.into();
    let adafactor: Rule = Adafactor::default().into();
    let cases: [(Rule, &[(&str, usize)], &str); 4] = [
        (sgd, &[("model.norm.weight.momentum_buffer", 3)], "3 values"),
        (AdamW::default().into(), &[("model.norm.weight.m", 3), ("model.norm.weight.v", 3)], "3 values"),
        (adafactor, &[("model.embed_tokens.weight.exp_avg_sq", 8)], "a parameter of shape"),
        (
            adafactor,
            &[("model.norm.weight.exp_avg_sq_row", 8), ("model.norm.weight.exp_avg_sq_col", 1)],
            "a parameter of shape",
        ),
    ];
    for (rule, tensors, wanted) in cases {
        let tensors = tensors.iter().map(|(name, count)| ((*name).to_owned(), ones(*count))).collect();
        let mut optimizer = Optimizer::new(rule, DecayRule::All);
        optimizer.restore(1, tensors, &device()).unwrap();
        let error = optimizer.step(model.clone(), &gradients, 1e-3).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Every rule, paged or not: what is written and read back goes on as what was never written.
    #[test]
    fn restored_state_goes_on_bit_for_bit(which in 0usize..6, before in 1usize..4, paged in any::<bool>()) {
        let others = [Rule::Adafactor(Adafactor::default()), Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 0.1 })];
        let rule = rules().into_iter().chain(others).nth(which).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let make = || {
            let optimizer = Optimizer::new(rule, DecayRule::default());
            if paged && which < 4 {
                optimizer.with_paging(&Paging::TemporaryIn(dir.path().to_path_buf())).unwrap()
            } else {
                optimizer
            }
        };
        let (mut optimizer, mut model) = (make(), full(ComputeDtype::F32));
        for step in 0..before {
            let gradients = gradients(&model, step);
            model = optimizer.step(model, &gradients, 1e-3).unwrap();
        }
        let mut restored = make();
        let tensors = optimizer.to_tensors().unwrap().into_iter().collect();
        restored.restore(optimizer.step_count(), tensors, &device()).unwrap();
        let gradients = gradients(&model, before);
        let want = optimizer.step(model.clone(), &gradients, 1e-3).unwrap();
        let got = restored.step(model, &gradients, 1e-3).unwrap();
        prop_assert!(trained(&got) == trained(&want));
        prop_assert!(restored.to_tensors().unwrap() == optimizer.to_tensors().unwrap());
    }
}

/// B's step is sixteen times A's.
#[test]
fn lora_plus_steps_by_group() {
    let load = LoadConfig::new();
    let base = CausalLm::from_pretrained(fixture("models/llama3"), &load, &device()).unwrap();
    let model = perturbed(attach(LoraConfig::new(4), base, 3, &device()).unwrap().0);
    let loraplus = Some(LoraPlus::new(16.0, 1e-6, 0.01));
    let groups = ParameterGroups { decay: DecayRule::SkipNormsAndBiases, loraplus };
    let mut optimizer = Optimizer::new(Sgd { momentum: 0.0, weight_decay: 0.1 }, groups);
    let (before, gradients) = (trained(&model), gradients(&model, 0));
    let after = trained(&optimizer.step(model, &gradients, 0.01).unwrap());
    let mut kinds = [0; 2];
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        let is_b = name.contains("lora_B");
        let rate = if is_b { 0.16f32 } else { 0.01 };
        kinds[usize::from(is_b)] += 1;
        let gradient = values(gradients.get(name).unwrap());
        let wanted: Vec<f32> = before.iter().zip(&gradient).map(|(p, g)| p - rate * (g + 0.1 * p)).collect();
        assert_near(after, &wanted, 1e-7, name);
        assert!(gradient.iter().any(|g| *g != 0.0) && before != after, "{name}");
    }
    assert!(kinds[0] > 0 && kinds[0] == kinds[1], "{kinds:?}");
}

/// What torch, bitsandbytes, transformers and PEFT computed (docs/parity/optimizers.py).
fn peers() -> Value {
    json(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/optimizers.json"))
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[test]
fn steps_equal_those_of_torch_bitsandbytes_and_transformers() {
    let peers = peers();
    let tensor = |value: &Value| Tensor::<1>::from_floats(floats(value).as_slice(), &Device::flex());
    let end = peers["end"].as_object().unwrap();
    assert_eq!(end.len(), 7);
    for (case, wanted) in end {
        for (name, matrix) in [("matrix", Some([5, 4])), ("vector", None)] {
            let has = |word: &str| case.contains(word);
            let adafactor = Adafactor {
                weight_decay: 0.1,
                scale_parameter: has("scale_parameter"),
                relative_step: has("relative_step"),
                warmup_init: has("warmup_init"),
                ..Adafactor::default()
            };
            let adamw = AdamW { weight_decay: 0.1, ..AdamW::default() };
            let lion = Lion { weight_decay: 0.1, ..Lion::default() };
            let sgd = Sgd { momentum: 0.9, weight_decay: 0.1 };
            let mut p = tensor(&peers["start"][name]);
            let (mut moments, mut momentum, mut second) = (None, None, None);
            for (step, gradient) in (1u64..).zip(peers["gradients"].as_array().unwrap()) {
                let g = tensor(&gradient[name]);
                p = match case.split(' ').next().unwrap() {
                    "adamw_torch" => {
                        let (p, state) = adamw_step(&adamw, 0.01, step, p, g, moments.take());
                        moments = Some(state);
                        p
                    }
                    "sgd" => {
                        let (p, state) = sgd_step(&sgd, 0.01, p, g, momentum.take());
                        momentum = Some(state);
                        p
                    }
                    "lion_32bit" => {
                        let (p, state) = lion_step(&lion, 0.01, p, g, momentum.take());
                        momentum = Some(state);
                        p
                    }
                    _ => {
                        let (p, state) = adafactor_step(&adafactor, 0.02, step, p, matrix, g, second.take());
                        second = Some(state);
                        p
                    }
                };
            }
            assert_near(&values(&p), &floats(&wanted[name]), 1e-6, &format!("{case}, {name}"));
        }
    }
}

#[test]
fn the_groups_of_lora_plus_are_pefts() {
    let peers = peers();
    let rows = peers["loraplus"].as_array().unwrap();
    let groups = ParameterGroups { loraplus: Some(LoraPlus::new(16.0, 1e-6, 1e-3)), ..Default::default() };
    for row in rows {
        let (name, number) = (row["name"].as_str().unwrap(), |key: &str| row[key].as_f64().unwrap());
        let (factor, decays) = groups.of(name, number("rank") as usize);
        assert!((1e-3 * factor / number("lr") - 1.0).abs() < 1e-12, "{name}: {factor}");
        assert_eq!(decays, number("decay") > 0.0, "{name}");
    }
    assert_eq!(rows.len(), 6);
}

#[test]
fn the_rate_of_relative_steps_is_reported() {
    let mut config = TrainConfig::default();
    (config.optim, config.relative_step) = (Optim::Adafactor, true);
    let optimizer = config.optimizer().unwrap();
    assert_eq!(optimizer.learning_rate(2e-4), 1e-2);
    assert_eq!(TrainConfig::default().optimizer().unwrap().learning_rate(2e-4), 2e-4);
}
