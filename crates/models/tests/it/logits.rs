//! Logits, losses and gradients of every family against transformers 5.23 (f32, eager attention).

use burn::tensor::Device;
use burnisher_data::TokenBatch;
use burnisher_kernels::{IGNORE_INDEX, LossOptions, cross_entropy};
use burnisher_lora::{InitLoraWeights, LoraConfig, TargetModules, attach, train_all, visit_parameters};
use burnisher_models::{CausalLm, LoadConfig, ModelInput};

use crate::support::{
    Tensors, assert_near, assert_relative, batch, fixture, fixture_or_shared, json, models, values,
};

fn load(name: &str) -> CausalLm {
    let dir = fixture(&format!("models/{name}"));
    CausalLm::from_pretrained(dir, &LoadConfig::new(), &Device::flex())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The right-padded batch, left-padded batch and the values that go with them.
fn reference(name: &str) -> (Tensors, serde_json::Value, TokenBatch) {
    let tensors = Tensors::read(fixture(&format!("base/{name}.safetensors")));
    let length = tensors.shape("input_ids")[1];
    let batch = batch(
        tensors.ids("input_ids"),
        tensors.ints("labels").to_vec(),
        tensors.ints("attention_mask"),
        length,
    );
    (tensors, json(fixture(&format!("base/{name}.json"))), batch)
}

#[test]
fn logits_and_losses_equal_transformers() {
    for name in models() {
        let model = load(name);
        let (tensors, json, batch) = reference(name);
        let logits = model.logits(&ModelInput::from_batch(&batch));
        let vocab = logits.dims()[2];
        // The reference holds zeros at padding.
        let got: Vec<f32> = values(&logits)
            .chunks(vocab)
            .zip(&batch.segment_ids)
            .flat_map(|(row, &seen)| if seen == 1 { row.to_vec() } else { vec![0.0; vocab] })
            .collect();
        assert_near(&got, tensors.floats("logits"), 1e-4, &format!("{name} logits"));

        let loss = model.loss(&batch, None);
        assert_eq!(loss.tokens as u64, json["loss_tokens"].as_u64().unwrap(), "{name}");
        let sum = f64::from(values(&loss.sum)[0]);
        assert_relative(sum, json["loss_sum"].as_f64().unwrap(), 1e-5, &format!("{name} loss_sum"));

        let smoothed = LossOptions { label_smoothing: 0.1, ..LossOptions::default() };
        let smoothed = model.loss_with(&batch, None, smoothed);
        let mean = f64::from(values(&smoothed.sum)[0]) / smoothed.tokens as f64;
        let want = json["loss_label_smoothing_0.1"].as_f64().unwrap();
        assert_relative(mean, want, 1e-5, &format!("{name} smoothed loss"));

        // transformers' entry i is the loss of the label i + 1; ours has one more, empty, per row.
        let per_token: Vec<f32> = model
            .token_losses(&batch)
            .chunks(batch.seq_len)
            .flat_map(|row| row[..row.len() - 1].to_vec())
            .collect();
        assert_near(&per_token, tensors.floats("token_nll"), 1e-4, &format!("{name} token losses"));
    }
}

/// The reference holds the unpadded first sequence, before the first and after each layer; the last one is normalised.
#[test]
fn hidden_states_equal_transformers() {
    for name in models() {
        let model = load(name);
        let (tensors, _, batch) = reference(name);
        let &[states, length, width] = tensors.shape("hidden_states") else { panic!("three dimensions") };
        let (ids, seen) = (&batch.input_ids[..length], &batch.segment_ids[..length]);
        let positions = &batch.position_ids[..length];
        let input = ModelInput { rows: 1, ids, positions, segments: seen, dropout: None };
        let want = &tensors.floats("hidden_states")[(states - 1) * length * width..];
        let got = values(&model.hidden(&input));
        assert_near(&got, want, 1e-4, name);
    }
}

/// With the head's projection inside the loss, and with an adapter on the head, whose logits exist.
#[test]
fn options_reach_the_loss() {
    let options = LossOptions { label_smoothing: 0.1, z_loss: 1e-3, softcap: Some(5.0) };
    for adapts_head in [false, true] {
        let mut model = load("llama2");
        if adapts_head {
            let config = LoraConfig::new(2)
                .with_target_modules(TargetModules::suffixes(["lm_head"]))
                .with_init_lora_weights(InitLoraWeights::Random);
            model = attach(&config, model, 1, &Device::flex()).unwrap().0;
        }
        let (_, _, batch) = reference("llama2");
        let logits = model.logits(&ModelInput::from_batch(&batch));
        let [rows, length, vocab] = logits.dims();
        let next = |row: &[i64]| row[1..].iter().copied().chain([IGNORE_INDEX]).collect::<Vec<_>>();
        let targets: Vec<i64> = batch.labels.chunks(length).flat_map(next).collect();
        let want = cross_entropy(logits.reshape([rows * length, vocab]), &targets, options);
        let got = model.loss_with(&batch, None, options);
        assert_eq!(got.tokens, want.tokens);
        let [got, want, plain] =
            [got, want, model.loss(&batch, None)].map(|loss| f64::from(values(&loss.sum)[0]));
        assert_relative(got, want, 1e-5, &format!("adapter on the head: {adapts_head}"));
        assert!((got / plain - 1.0).abs() > 1e-3, "{got} with options, {plain} without");
    }
}

#[test]
fn left_padding_changes_nothing() {
    for name in models() {
        let model = load(name);
        let (tensors, _, _) = reference(name);
        let length = tensors.shape("left_input_ids")[1];
        let ids = tensors.ids("left_input_ids");
        let labels = vec![-100; ids.len()];
        let batch = batch(ids, labels, tensors.ints("left_attention_mask"), length);
        let logits = model.logits(&ModelInput::from_batch(&batch));
        let [rows, _, vocab] = logits.dims();
        let last = logits.narrow(1, length - 1, 1).reshape([rows, vocab]);
        assert_near(&values(&last), tensors.floats("left_last_logits"), 1e-4, name);
    }
}

#[test]
fn long_sequences_reach_past_windows_and_scaled_positions() {
    for name in models() {
        let model = load(name);
        let (tensors, _, _) = reference(name);
        let ids = tensors.ids("long_input_ids");
        let length = ids.len();
        let batch = batch(ids, vec![-100; length], &vec![1; length], length);
        let logits = model.logits(&ModelInput::from_batch(&batch));
        let vocab = logits.dims()[2];
        let last = logits.narrow(1, length - 8, 8).reshape([8, vocab]);
        assert_near(&values(&last), tensors.floats("long_logits_last8"), 1e-4, name);
    }
}

#[test]
fn packed_documents_do_not_see_each_other() {
    for name in models() {
        let model = load(name);
        let (tensors, json, padded) = reference(name);
        let positions = tensors.ids("packed_position_ids");
        let mut document = 0;
        let segments: Vec<u32> = positions
            .iter()
            .map(|&position| {
                document += u32::from(position == 0);
                document
            })
            .collect();
        let length = positions.len();
        let packed = TokenBatch {
            rows: 1,
            seq_len: length,
            input_ids: tensors.ids("packed_input_ids"),
            labels: tensors.ints("packed_labels").to_vec(),
            position_ids: positions,
            segment_ids: segments,
            token_keys: (0..length as u64).collect(),
        };
        let loss = model.loss(&packed, None);
        let mean = f64::from(values(&loss.sum)[0]) / loss.tokens as f64;
        assert_relative(mean, json["packed_loss"].as_f64().unwrap(), 1e-5, &format!("{name} packed loss"));

        let logits = values(&model.logits(&ModelInput::from_batch(&packed)));
        let vocab = model.config().vocab_size;
        let wanted = tensors.floats("logits").chunks(vocab).zip(&padded.segment_ids);
        let wanted: Vec<f32> =
            wanted.filter(|(_, seen)| **seen == 1).flat_map(|(row, _)| row.to_vec()).collect();
        assert_near(&logits, &wanted, 1e-4, &format!("{name} packed logits"));
    }
}

#[test]
fn full_parameter_gradients_equal_transformers() {
    for name in models() {
        let model = train_all(load(name)).unwrap();
        let (_, json, batch) = reference(name);
        let loss = model.loss(&batch, None);
        let mut tape = loss.sum.div_scalar(loss.tokens as f64).backward();
        let mut total = 0.0;
        let mut seen = 0;
        visit_parameters(&mut model.clone(), &mut |parameter_name, parameter| {
            let want = &json["full_grads"][parameter_name];
            let gradient =
                values(&parameter.take_gradient(&mut tape).expect("every parameter has a gradient"));
            let norm = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let want_norm = want["norm"].as_f64().unwrap_or_else(|| panic!("{name}: no {parameter_name}"));
            assert_relative(norm, want_norm, 1e-4, &format!("{name} {parameter_name} norm"));
            let first: Vec<f32> =
                want["first4"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            assert_near(
                &gradient[..first.len()],
                &first,
                1e-4 * want_norm as f32,
                &format!("{name} {parameter_name}"),
            );
            total += norm * norm;
            seen += 1;
        });
        assert_eq!(seen, json["full_grads"].as_object().unwrap().len(), "{name}: parameters");
        assert_relative(total.sqrt(), json["full_grad_norm"].as_f64().unwrap(), 1e-4, name);
    }
}

#[test]
fn the_old_spelling_of_a_configuration_gives_the_same_logits() {
    let scratch = tempfile::tempdir().unwrap();
    for name in models() {
        let source = fixture(&format!("models/{name}"));
        let dir = scratch.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        for entry in std::fs::read_dir(&source).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name();
            let target = match file.to_str().unwrap() {
                "config.json" => continue,
                "config_v4.json" => "config.json",
                other => other,
            };
            std::fs::copy(entry.path(), dir.join(target)).unwrap();
        }
        let model = CausalLm::from_pretrained(&dir, &LoadConfig::new(), &Device::flex()).unwrap();
        let (_, _, batch) = reference(name);
        let input = ModelInput::from_batch(&batch);
        assert_eq!(values(&model.logits(&input)), values(&load(name).logits(&input)), "{name}");
    }
}

#[test]
fn a_bitsandbytes_checkpoint_has_the_reference_logits() {
    let Some(dir) = fixture_or_shared("bnb/ckpt_nf4_double") else { return };
    let Some(file) = fixture_or_shared("bnb/ckpt_nf4_double_reference.safetensors") else { return };
    let model = CausalLm::from_pretrained(dir, &LoadConfig::new(), &Device::flex()).unwrap();
    let want = Tensors::read(file);
    let (_, _, batch) = reference("llama2");
    let logits = model.logits(&ModelInput::from_batch(&batch));
    let want = want.floats("logits_seq0");
    assert_near(&values(&logits)[..want.len()], want, 1e-4, "NF4 logits");
}
