//! Prompt tuning and prefix tuning.

use std::path::PathBuf;

use burn::tensor::Tensor;
use burnisher_data::{BatchConfig, Batches, TokenBatch};
use burnisher_lora::{
    AdapterConfig, LoraConfig, LoraError, PrefixTuningConfig, PromptTuningConfig, PromptTuningInit, attach,
    count_parameters, load_peft, merge, merge_and_unload, save_peft, visit_parameters,
};
use burnisher_models::{
    CausalLm, Continuation, GenerateConfig, GradientCheckpointing, LoadConfig, ModelInput, Quantize,
    WriteOptions,
};
use burnisher_train::{Gradients, Trainer};

use crate::{
    parity::{check_trace, device, reference_batch},
    properties::{LENGTHS, batches, config, documents, trained},
    support::{Tensors, assert_near, assert_near_max, assert_relative, fixture, json, values},
};

/// Directories of reference values, with the model of each. Those of the second list have no gradients.
const WHOLE: [(&str, &str); 2] = [("llama2", "prompt_tuning"), ("llama2", "prefix_tuning")];
const LOGITS: [(&str, &str); 3] =
    [("llama2", "prefix_projection"), ("mistral", "prefix_tuning"), ("gemma2", "prefix_tuning")];
const NAME: &str = "prompt_embeddings";

fn dir(model: &str, variant: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft_more").join(model).join(variant)
}

fn base(name: &str) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &device()).unwrap()
}

fn methods() -> [(&'static str, AdapterConfig); 3] {
    let sampled = PromptTuningConfig::new(4).with_init(PromptTuningInit::SampleVocab);
    [
        ("prompt", PromptTuningConfig::new(3).into()),
        ("prompt of words", sampled.into()),
        ("prefix", PrefixTuningConfig::new(3).into()),
    ]
}

fn attached(config: &AdapterConfig, base: CausalLm) -> CausalLm {
    attach(config, base, 3, &device()).unwrap().0
}

fn virtual_values(model: &CausalLm) -> Vec<f32> {
    let mut found = Vec::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if name == NAME {
            found = values(&parameter.flat());
        }
    });
    found
}

fn logits(model: &CausalLm, batch: &TokenBatch) -> Vec<f32> {
    values(&model.logits(&ModelInput::from_batch(batch)))
}

fn gradient(model: &CausalLm, batch: &TokenBatch) -> Vec<f32> {
    let (gradients, _) = Gradients::of_step(model, std::slice::from_ref(batch), |_| None).unwrap();
    assert_eq!(gradients.iter().count(), 1);
    values(gradients.get(NAME).unwrap())
}

#[test]
fn logits_losses_and_gradients_equal_peft() {
    for (name, variant) in WHOLE.into_iter().chain(LOGITS) {
        let (dir, what) = (dir(name, variant), format!("{name}/{variant}"));
        let is_trainable = variant != "prefix_projection";
        let (model, _, _) = load_peft(&dir, base(name), is_trainable, &device()).unwrap();
        assert_eq!(count_parameters(&model).0 > 0, is_trainable, "{what}");
        let reference = json(dir.join("reference.json"));
        let tensors = Tensors::read(dir.join("reference.safetensors"));
        let batch = reference_batch(name);
        let wanted = tensors.floats("logits_seq0");
        let got = values(&model.logits(&ModelInput::from_batch(&batch)).narrow(0, 0, 1));
        assert_near(&got, wanted, 1e-4, &format!("{what} logits"));
        let loss = model.loss(&batch, None);
        let mean = f64::from(values(&loss.sum)[0]) / loss.tokens as f64;
        assert_relative(mean, reference["loss"].as_f64().unwrap(), 1e-5, &format!("{what} loss"));
        let sum: f32 = model.token_losses(&batch).iter().sum();
        assert_eq!(model.token_losses(&batch).len(), batch.rows * batch.seq_len, "{what}");
        assert_relative(f64::from(sum), f64::from(values(&loss.sum)[0]), 1e-5, &format!("{what} losses"));
        if WHOLE.contains(&(name, variant)) {
            let wanted = tensors.floats("grad.prompt_embeddings");
            assert_near_max(&gradient(&model, &batch), wanted, 1e-4, &format!("{what} gradient"));
        }
    }
}

#[test]
fn ten_steps_equal_torch() {
    for (name, variant) in WHOLE {
        let dir = dir(name, variant);
        let (model, _, _) = load_peft(&dir, base(name), true, &device()).unwrap();
        let reference = json(dir.join("reference.json"));
        let model = check_trace(model, name, 0.005, &reference["trace_tokens"], variant);
        let tensors = Tensors::read(dir.join("reference.safetensors"));
        let wanted = tensors.floats("after_10_steps.prompt_embeddings");
        assert_near(&virtual_values(&model), wanted, 1e-3, variant);
    }
}

#[test]
fn files_come_back_as_peft_wrote_them() {
    for (name, variant) in WHOLE.into_iter().chain(LOGITS) {
        let dir = dir(name, variant);
        let (model, config, _) = load_peft(&dir, base(name), false, &device()).unwrap();
        let out = tempfile::tempdir().unwrap();
        save_peft(&model, &config, out.path()).unwrap();
        let read = |dir: &std::path::Path, file: &str| std::fs::read(dir.join(file)).unwrap();
        let file = "adapter_config.json";
        assert!(read(out.path(), file) == read(&dir, file), "{name}/{variant} {file}");
        let tensors = |dir: &std::path::Path| {
            let tensors = Tensors::read(dir.join("adapter_model.safetensors"));
            assert_eq!(tensors.names().collect::<Vec<_>>(), [NAME]);
            (tensors.shape(NAME).to_vec(), tensors.floats(NAME).to_vec())
        };
        assert_eq!(tensors(out.path()), tensors(&dir), "{name}/{variant}");
    }
}

#[test]
fn a_fresh_adapter_is_saved_with_the_sizes_of_the_model() {
    for (method, config) in methods() {
        let model = attached(&config, base("llama3"));
        let out = tempfile::tempdir().unwrap();
        save_peft(&model, &config, out.path()).unwrap();
        let (again, _, report) = load_peft(out.path(), base("llama3"), true, &device()).unwrap();
        assert_eq!(virtual_values(&again), virtual_values(&model), "{method}");
        assert_eq!((report.trainable, report.total), count_parameters(&model), "{method}");
        let error = load_peft(out.path(), base("llama2"), true, &device()).unwrap_err().to_string();
        assert!(error.contains("as the model has it"), "{method}: {error}");
    }
}

#[test]
fn virtual_tokens_start_as_asked_for() {
    let table = {
        let mut table = Vec::new();
        visit_parameters(&mut base("llama2"), &mut |name, parameter| {
            if name == "model.embed_tokens.weight" {
                table = values(&parameter.flat());
            }
        });
        table
    };
    let row = |token: usize| table[token * 64..(token + 1) * 64].to_vec();
    let text = |tokens: Vec<u32>| PromptTuningInit::Text {
        text: "three words".to_owned(),
        tokenizer: "bpe".to_owned(),
        tokens,
    };
    let with = |init| attach(PromptTuningConfig::new(5).with_init(init), base("llama2"), 3, &device());
    let repeated = virtual_values(&with(text(vec![9, 4, 7])).unwrap().0);
    assert_eq!(repeated, [9, 4, 7, 9, 4].map(row).concat());
    let sampled = virtual_values(&with(PromptTuningInit::SampleVocab).unwrap().0);
    assert!(sampled.chunks(64).all(|found| table.chunks(64).any(|row| row == found)));
    let random = virtual_values(&attached(&PromptTuningConfig::new(64).into(), base("llama2")));
    let (sum, squares) = random.iter().fold((0.0, 0.0), |(a, b), v| (a + v, b + v * v));
    let count = random.len() as f32;
    assert!((sum / count).abs() < 0.1 && (squares / count - 1.0).abs() < 0.1, "{sum} {squares}");
    let zero = attached(&PrefixTuningConfig::new(2).with_zero_init(true).into(), base("llama2"));
    assert!(virtual_values(&zero).iter().all(|value| *value == 0.0));
    for (tokens, wanted) in [(vec![], "token ids"), (vec![400], "ids below 400")] {
        let error = with(text(tokens)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// The cached pass, token by token, is the whole pass; shorter prompts are padded on the left.
#[test]
fn generation_equals_the_full_pass() {
    for name in ["llama2", "mistral", "gemma2"] {
        for (method, config) in methods() {
            let model = attached(&config, base(name));
            let prompts = vec![(3..14).collect::<Vec<u32>>(), vec![20, 7, 31], vec![5, 9, 9, 40, 8]];
            let found = model.generate_ids(&prompts, &GenerateConfig::new().with_max_new_tokens(12)).unwrap();
            for (prompt, found) in prompts.iter().zip(found) {
                let mut tokens = prompt.clone();
                for (step, id) in found.into_iter().enumerate() {
                    let positions: Vec<u32> = (0..tokens.len() as u32).collect();
                    let segments = vec![1; tokens.len()];
                    let input = ModelInput {
                        rows: 1,
                        ids: &tokens,
                        positions: &positions,
                        segments: &segments,
                        dropout: None,
                    };
                    let logits = model.logits(&input);
                    let length = logits.dims()[1];
                    let last = values(&logits.narrow(1, length - 1, 1));
                    let best = last.iter().copied().fold(f32::MIN, f32::max);
                    // A tie may go either way.
                    assert!(last[id as usize] > best - 1e-4, "{name} {method} {prompt:?} step {step}");
                    tokens.push(id);
                }
            }
        }
    }
}

#[test]
fn checkpointing_changes_no_gradient() {
    let batch = reference_batch("gemma2");
    for (method, config) in methods() {
        let model = attached(&config, base("gemma2"));
        let want = gradient(&model, &batch);
        assert!(want.iter().any(|value| *value != 0.0));
        for kind in [GradientCheckpointing::Block, GradientCheckpointing::BlockKeepAttention] {
            let got = gradient(&model.clone().with_gradient_checkpointing(kind), &batch);
            assert_near_max(&got, &want, 1e-5, &format!("{method} {kind:?}"));
        }
    }
}

#[test]
fn a_quantized_base_gets_gradients_too() {
    let batch = reference_batch("llama-bias-linear");
    for (method, config) in methods() {
        let load = LoadConfig::new().with_quantize(Quantize::int8());
        let dir = fixture("models/llama-bias-linear");
        let model = attached(&config, CausalLm::from_pretrained(dir, &load, &device()).unwrap());
        assert!(gradient(&model, &batch).iter().any(|value| *value != 0.0), "{method}");
    }
}

#[test]
fn a_run_resumes_bit_for_bit() {
    for (method, adapter) in methods() {
        let run = |dir: &std::path::Path| {
            let model = attached(&adapter, base("llama3"));
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
fn what_does_not_work_with_virtual_tokens_is_refused() {
    let out = tempfile::tempdir().unwrap();
    for (method, config) in methods() {
        let model = attached(&config, base("llama3"));
        assert!(matches!(merge(model.clone()).unwrap_err(), LoraError::VirtualTokens), "{method}");
        assert!(matches!(merge_and_unload(model.clone()).unwrap_err(), LoraError::VirtualTokens), "{method}");
        let error = model.save_pretrained(out.path(), None, &WriteOptions::new()).unwrap_err().to_string();
        assert!(error.contains("virtual tokens"), "{method}: {error}");
        for other in [PromptTuningConfig::new(9).into(), AdapterConfig::from(PrefixTuningConfig::new(9))] {
            let error = save_peft(&model, other, out.path()).unwrap_err();
            assert!(matches!(&error, LoraError::NoAdapter { .. }), "{method}: {error}");
        }
        let second = attach(LoraConfig::new(2), model.clone(), 0, &device()).unwrap_err();
        assert!(matches!(&second, LoraError::HasAdapter { modules } if modules == &[NAME]), "{second}");

        let packed = burnisher_data::pack(documents(&[7, 8]), 24, burnisher_data::Packing::BestFit);
        let set = Batches::new(packed, BatchConfig::new(0));
        let batch = set.batch(&[0]);
        let error = Gradients::of_step(&model, &[batch], |_| None).unwrap_err().to_string();
        assert!(error.contains("packed rows"), "{method}: {error}");
        let error = burnisher_train::evaluate(&model, &set, 1).unwrap_err().to_string();
        assert!(error.contains("packed rows"), "{method}: {error}");
    }
    let lora = attach(LoraConfig::new(2), base("llama3"), 0, &device()).unwrap().0;
    assert!(attach(PromptTuningConfig::new(2), lora, 0, &device()).is_err());
    let projected = dir("llama2", "prefix_projection");
    let error = load_peft(&projected, base("llama2"), true, &device()).unwrap_err().to_string();
    assert!(error.contains("prefix_projection"), "{error}");
    assert!(attach(PromptTuningConfig::new(0), base("llama3"), 0, &device()).is_err());
}

/// Virtual tokens are before the text: what comes later changes nothing, and they are seen by every token.
#[test]
fn every_token_sees_the_virtual_tokens() {
    let batch = reference_batch("llama2");
    for (method, config) in methods() {
        let model = attached(&config, base("llama2"));
        let mut moved = model.clone();
        visit_parameters(&mut moved, &mut |name, mut parameter| {
            if name == NAME {
                let noise = Tensor::<1>::ones([parameter.elements()], &device());
                parameter.set_flat(parameter.flat() + noise);
            }
        });
        let (before, after) = (logits(&model, &batch), logits(&moved, &batch));
        let vocab = model.config().vocab_size;
        let length = before.len() / vocab / batch.rows;
        for token in 0..length {
            let part = token * vocab..(token + 1) * vocab;
            assert!(before[part.clone()] != after[part], "{method} token {token}");
        }
    }
}

#[test]
fn likelihoods_are_the_losses_behind_virtual_tokens() {
    for (what, config) in methods() {
        let model = attached(&config, base("llama2"));
        let ids = |from: u32, count: u32| (from..from + count).collect::<Vec<u32>>();
        let continuations = [
            Continuation { context: ids(20, 9), ids: ids(60, 3) },
            Continuation { context: ids(40, 2), ids: ids(90, 5) },
            Continuation { context: ids(10, 1), ids: ids(70, 1) },
        ];
        let together = model.log_likelihoods(&continuations).unwrap();
        for (continuation, found) in continuations.iter().zip(together) {
            let alone = model.log_likelihoods(std::slice::from_ref(continuation)).unwrap()[0];
            let input_ids: Vec<u32> = continuation.context.iter().chain(&continuation.ids).copied().collect();
            let (length, before) = (input_ids.len(), continuation.context.len());
            let losses = model.token_losses(&TokenBatch {
                rows: 1,
                seq_len: length,
                labels: (0..length)
                    .map(|at| if at < before { -100 } else { i64::from(input_ids[at]) })
                    .collect(),
                position_ids: (0..length as u32).collect(),
                segment_ids: vec![1; length],
                token_keys: vec![0; length],
                input_ids,
            });
            let wanted = -losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            assert_relative(alone.log_likelihood, wanted, 1e-5, what);
            assert_relative(found.log_likelihood, wanted, 1e-5, what);
        }
    }
}
