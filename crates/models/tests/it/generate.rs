//! Generation against transformers' greedy tokens.

use burn::tensor::Device;
use burnisher_models::{CausalLm, GenerateConfig, LoadConfig, ModelInput, SampleConfig, Sampling};

use crate::support::{fixture, json, models};

fn load(name: &str) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &Device::flex())
        .unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn greedy_tokens_equal_transformers_alone_and_in_a_padded_batch() {
    for name in models() {
        let model = load(name);
        let cases = json(fixture(&format!("base/{name}.json")));
        let cases = cases["greedy"].as_array().unwrap();
        let prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["prompt"])).collect();
        let wanted: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["new_tokens"])).collect();
        let config = GenerateConfig::new().with_max_new_tokens(wanted[0].len());
        assert_eq!(model.generate_ids(&prompts, &config).unwrap(), wanted, "{name} as a batch");
        for (prompt, want) in prompts.iter().zip(&wanted) {
            let alone = model.generate_ids(std::slice::from_ref(prompt), &config).unwrap();
            assert_eq!(&alone[0], want, "{name} alone");
        }
    }
}

#[test]
fn a_stop_token_ends_a_sequence_and_is_not_part_of_it() {
    let model = load("llama2");
    let case = &json(fixture("base/llama2.json"))["greedy"][0];
    let (prompt, tokens) = (ids(&case["prompt"]), ids(&case["new_tokens"]));
    let stop = tokens[6];
    let first = tokens.iter().position(|&id| id == stop).unwrap();
    let config = GenerateConfig::new().with_max_new_tokens(32).with_stop_ids(vec![stop]);
    assert_eq!(model.generate_ids(&[prompt], &config).unwrap()[0], tokens[..first]);
}

/// Longer than the cache is at first: every token must still be the best one after all before it.
#[test]
fn the_cache_grows_with_long_answers() {
    let model = load("llama2");
    let prompt = ids(&json(fixture("base/llama2.json"))["greedy"][0]["prompt"]);
    let config = GenerateConfig::new().with_max_new_tokens(600);
    let output = model.generate_ids(std::slice::from_ref(&prompt), &config).unwrap().remove(0);
    assert_eq!(output.len(), 600);
    let all: Vec<u32> = prompt.iter().chain(&output).copied().collect();
    let positions: Vec<u32> = (0..all.len() as u32).collect();
    let segments = vec![1; all.len()];
    let input = ModelInput { rows: 1, ids: &all, positions: &positions, segments: &segments, dropout: None };
    let logits = crate::support::values(&model.logits(&input));
    let vocab = logits.len() / all.len();
    for (index, id) in output.iter().enumerate() {
        let row = &logits[(prompt.len() + index - 1) * vocab..][..vocab];
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        assert!(best - row[*id as usize] < 1e-3, "token {index}");
    }
}

#[test]
fn sampling_repeats_with_its_seed_and_changes_with_another() {
    let model = load("llama2");
    let prompt = ids(&json(fixture("base/llama2.json"))["greedy"][0]["prompt"]);
    let run = |seed| {
        let sampling = Sampling::Random(SampleConfig::new(1.5));
        let config = GenerateConfig::new().with_max_new_tokens(24).with_sampling(sampling, seed);
        model.generate_ids(std::slice::from_ref(&prompt), &config).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn wrong_prompts_are_named() {
    let model = load("llama2");
    let config = GenerateConfig::new();
    let empty = model.generate_ids(&[vec![3], vec![]], &config).unwrap_err().to_string();
    assert!(empty.contains("no tokens"), "{empty}");
    let outside = model.generate_ids(&[vec![400]], &config).unwrap_err().to_string();
    assert!(outside.contains("token 400") && outside.contains("below 400"), "{outside}");
}
