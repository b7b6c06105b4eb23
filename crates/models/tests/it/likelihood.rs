//! Likelihoods of continuations against the loss, token by token.

use burn::tensor::Device;
use burnisher_data::TokenBatch;
use burnisher_models::{CausalLm, Continuation, GenerateConfig, LoadConfig};

use crate::support::{fixture, json, models};

fn load(name: &str) -> CausalLm {
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &Device::flex())
        .unwrap()
}

fn prompts(name: &str) -> Vec<Vec<u32>> {
    let cases = json(fixture(&format!("base/{name}.json")));
    let ids = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    cases["greedy"].as_array().unwrap().iter().map(|case| ids(&case["prompt"])).collect()
}

/// The losses of the continuation's tokens, by the code of training.
fn by_losses(model: &CausalLm, continuation: &Continuation) -> f64 {
    let input_ids: Vec<u32> = continuation.context.iter().chain(&continuation.ids).copied().collect();
    let length = input_ids.len();
    let before = continuation.context.len();
    let labels = (0..length).map(|at| if at < before { -100 } else { i64::from(input_ids[at]) }).collect();
    let losses = model.token_losses(&TokenBatch {
        rows: 1,
        seq_len: length,
        labels,
        position_ids: (0..length as u32).collect(),
        segment_ids: vec![1; length],
        token_keys: vec![0; length],
        input_ids,
    });
    -losses.iter().map(|&loss| f64::from(loss)).sum::<f64>()
}

#[test]
fn they_are_the_losses_of_training_alone_and_in_a_padded_batch() {
    for name in models() {
        let model = load(name);
        let config = GenerateConfig::new().with_max_new_tokens(5);
        let prompts = prompts(name);
        let answers = model.generate_ids(&prompts, &config).unwrap();
        let mut continuations: Vec<Continuation> =
            prompts.into_iter().zip(answers).map(|(context, ids)| Continuation { context, ids }).collect();
        // Another token than the likeliest, at the end.
        let mut other = continuations[0].clone();
        let last = other.ids.last_mut().unwrap();
        *last = (*last + 1) % model.config().vocab_size as u32;
        continuations.push(other);
        let found = model.log_likelihoods(&continuations).unwrap();
        for (at, (continuation, found)) in continuations.iter().zip(&found).enumerate() {
            let alone = model.log_likelihoods(std::slice::from_ref(continuation)).unwrap()[0];
            let wanted = by_losses(&model, continuation);
            for value in [found.log_likelihood, alone.log_likelihood] {
                assert!((value - wanted).abs() < 2e-4, "{name} {at}: {value}, wanted {wanted}");
            }
            assert_eq!(found.is_greedy, at + 1 < continuations.len(), "{name} {at}");
        }
    }
}

#[test]
fn wrong_continuations_are_named() {
    let model = load("llama2");
    let fault = |context: Vec<u32>, ids: Vec<u32>| {
        model.log_likelihoods(&[Continuation { context, ids }]).unwrap_err().to_string()
    };
    assert!(model.log_likelihoods(&[]).unwrap().is_empty());
    let texts = [fault(vec![], vec![1]), fault(vec![1], vec![]), fault(vec![1], vec![1 << 30])];
    let wanted = ["1 tokens after 0", "0 tokens after 1", "token 1073741824"];
    for (text, wanted) in texts.iter().zip(wanted) {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn a_continuation_ends_when_it_is_told_to() {
    let model = load("llama2");
    let prompts = prompts("llama2");
    let config = GenerateConfig::new().with_max_new_tokens(12);
    let whole = model.generate_ids(&prompts, &config).unwrap();
    let ended = model.generate_ids_until(&prompts, &config, &mut |row, ids| ids.len() > row + 1).unwrap();
    for (row, ids) in ended.iter().enumerate() {
        assert_eq!(*ids, whole[row][..(row + 2).min(12)], "row {row}");
    }
}
