//! Options that the reference models leave out, against transformers 5.23 (docs/parity/changed_configs.py): LongRoPE over
//! a part of each head, windows in upper or listed layers, caps taken away or added, scaled frequencies by kind of layer.

use burn::tensor::Device;
use burnisher_models::{CausalLm, GenerateConfig, LoadConfig, ModelInput};
use serde_json::Value;

use crate::support::{assert_near, fixture, fixture_or_shared, json, values};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Each reference with its model; none where the weights are not there.
fn references() -> Vec<(String, CausalLm, Value)> {
    let references = json(fixture("changed_configs.json"));
    let references = references.as_array().unwrap().iter();
    let found = references.filter_map(|reference| {
        let name = reference["model"].as_str().unwrap();
        let source = fixture_or_shared(&format!("models/{name}"))?;
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(source.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let mut config = json(source.join("config.json"));
        config.as_object_mut().unwrap().extend(reference["changes"].as_object().unwrap().clone());
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let model = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &Device::flex());
        Some((name.to_owned(), model.unwrap_or_else(|error| panic!("{error}")), reference.clone()))
    });
    found.collect()
}

#[test]
fn logits_equal_transformers() {
    for (name, model, reference) in references() {
        let all = ids(&reference["ids"]);
        for case in reference["cases"].as_array().unwrap() {
            let length = case["length"].as_u64().unwrap() as usize;
            let (positions, segments): (Vec<u32>, _) = ((0..length as u32).collect(), vec![1; length]);
            let (ids, positions, segments) = (&all[..length], &positions, &segments);
            let input = ModelInput { rows: 1, ids, positions, segments, dropout: None };
            let logits = values(&model.logits(&input));
            let want: Vec<f32> = serde_json::from_value(case["last_logits"].clone()).unwrap();
            let last = &logits[logits.len() - model.config().vocab_size..];
            assert_near(&last[..want.len()], &want, 1e-4, &format!("{name}, {length} tokens"));
        }
    }
}

/// Phi 3's answer begins within the original context and ends beyond it: there, keys in the cache are made again.
#[test]
fn greedy_tokens_equal_transformers() {
    for (name, model, reference) in references() {
        let (prompt, want) = (ids(&reference["prompt"]), ids(&reference["greedy"]));
        let config = GenerateConfig::new().with_max_new_tokens(want.len());
        assert_eq!(model.generate_ids(&[prompt], &config).unwrap(), [want], "{name}");
    }
}
