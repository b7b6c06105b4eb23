//! Phi 3 with LongRoPE over a part of each head, against transformers 5.23 (docs/parity/longrope.py).

use burn::tensor::Device;
use burnisher_models::{CausalLm, GenerateConfig, LoadConfig, ModelInput};
use serde_json::Value;

use crate::support::{assert_near, fixture, fixture_or_shared, json, values};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Phi 3's weights with other rotary parameters; `None` where the weights are not there.
fn model(reference: &Value) -> Option<CausalLm> {
    let source = fixture_or_shared("models/phi3")?;
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(source.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut config = json(source.join("config.json"));
    config.as_object_mut().unwrap().extend(reference["changes"].as_object().unwrap().clone());
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    Some(CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &Device::flex()).unwrap())
}

#[test]
fn logits_within_and_beyond_the_original_context_equal_transformers() {
    let reference = json(fixture("longrope/phi3.json"));
    let Some(model) = model(&reference) else { return };
    let all = ids(&reference["ids"]);
    for case in reference["cases"].as_array().unwrap() {
        let length = case["length"].as_u64().unwrap() as usize;
        let (positions, segments): (Vec<u32>, _) = ((0..length as u32).collect(), vec![1; length]);
        let (ids, positions, segments) = (&all[..length], &positions, &segments);
        let logits = values(&model.logits(&ModelInput { rows: 1, ids, positions, segments, dropout: None }));
        let want: Vec<f32> = serde_json::from_value(case["last_logits"].clone()).unwrap();
        let last = &logits[logits.len() - want.len()..];
        assert_near(last, &want, 1e-4, &format!("{length} tokens"));
    }
}

/// The prompt lies within the original context, the end of the answer beyond: keys in the cache are made again.
#[test]
fn generation_changes_frequencies_where_transformers_does() {
    let reference = json(fixture("longrope/phi3.json"));
    let Some(model) = model(&reference) else { return };
    let (prompt, want) = (ids(&reference["prompt"]), ids(&reference["greedy"]));
    let config = GenerateConfig::new().with_max_new_tokens(want.len());
    assert_eq!(model.generate_ids(&[prompt], &config).unwrap(), [want]);
}
