//! BLEU against sacrebleu 2.6.0: tokens, signatures and lines exact, scores to 1e-9.

use burnisher_eval::{BleuConfig, BleuScore, BleuTokenizer, Smoothing, reference_lists};
use serde_json::{Value, json};

use crate::{close, fixture, list, number, text};

/// Tokenizers sacrebleu has and this crate does not.
const FOREIGN: [&str; 1] = ["ja-mecab"];

#[test]
fn tokens_match() {
    let Some(data) = fixture("bleu.json") else {
        return;
    };
    let inputs = list(&data["tokenize_inputs"]);
    let mut tried = 0;
    for (name, outputs) in data["tokenize"].as_object().unwrap() {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        tried += 1;
        for (input, output) in inputs.iter().zip(list(outputs)) {
            assert_eq!(tokenizer.tokenize(text(input)), text(output), "{name} of {input}");
        }
    }
    assert_eq!((tried, inputs.len()), (5, 174));
}

#[test]
fn corpus_scores_match() {
    let Some(data) = fixture("bleu.json") else {
        return;
    };
    let mut tried = 0;
    for run in list(&data["corpus"]) {
        let Some(config) = config(&run["options"]) else {
            continue;
        };
        tried += 1;
        let what = format!("{} with {}", run["corpus"], run["options"]);
        let corpus = &data["corpora"][text(&run["corpus"])];
        let predictions: Vec<&str> = list(&corpus["sys"]).iter().map(text).collect();
        let streams: Vec<Vec<Option<&str>>> =
            list(&corpus["refs"]).iter().map(|refs| list(refs).iter().map(Value::as_str).collect()).collect();
        let references = reference_lists(&streams).unwrap();
        let bleu = config.init().unwrap();
        let score = bleu.corpus(&predictions, &references).unwrap();
        let fields =
            ["score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len"].map(|name| &run[name]);
        check(&score, fields, &what);
        assert_eq!(score.to_string(), text(&run["format"]), "{what}");
        assert_eq!(format!("{:.4}", score.score), text(&run["format_width4"]), "{what}");
        let signature = bleu.signature(&references);
        assert_eq!(signature.to_string(), text(&run["signature"]), "{what}");
        assert_eq!(signature.short(), text(&run["signature_short"]), "{what}");
    }
    assert_eq!(tried, 227);
}

#[test]
fn sentence_scores_match() {
    let Some(data) = fixture("bleu.json") else {
        return;
    };
    let mut tried = 0;
    for run in list(&data["sentence"]) {
        let Some(config) = config(&run["options"]) else {
            continue;
        };
        let bleu = config.init().unwrap();
        for (item, wanted) in list(&data["sentence_items"]).iter().zip(list(&run["results"])) {
            tried += 1;
            let references: Vec<&str> = list(&item["refs"]).iter().map(text).collect();
            let score = bleu.sentence(text(&item["hyp"]), &references);
            let fields = [0, 1, 2, 3, 4, 5, 6].map(|at| &wanted[at]);
            check(&score, fields, &format!("{} with {}", item["id"], run["options"]));
        }
    }
    assert_eq!(tried, 18 * 79);
}

#[test]
fn counts_of_segments_match_the_rows_the_bootstrap_adds_up() {
    let (Some(data), Some(significance)) = (fixture("bleu.json"), fixture("significance.json")) else {
        return;
    };
    let bleu = BleuConfig::new().init().unwrap();
    let mut tried = 0;
    for (name, stats) in significance["segment_stats"].as_object().unwrap() {
        let corpus = &data["corpora"][name.as_str()];
        for (index, (prediction, wanted)) in list(&corpus["sys"]).iter().zip(list(&stats["BLEU"])).enumerate()
        {
            tried += 1;
            let references: Vec<&str> =
                list(&corpus["refs"]).iter().filter_map(|refs| refs[index].as_str()).collect();
            let counts = bleu.counts(text(prediction), &references);
            let mut row = vec![counts.prediction_length, counts.reference_length];
            row.extend(counts.matches.iter().chain(&counts.totals));
            assert_eq!(json!(row), *wanted, "segment {index} of {name}");
        }
    }
    assert!(tried > 0);
}

#[test]
fn uneven_streams_and_lost_references_are_errors() {
    let error = reference_lists(&[vec![Some("a")], vec![]]).unwrap_err();
    assert_eq!(error.to_string(), "bleu: reference stream 1 has 0 segments, wanted 1 as in stream 0");
    let error = reference_lists(&[vec![Some("a"), None], vec![None, None]]).unwrap_err();
    assert_eq!(error.to_string(), "bleu: example 1 has no reference answer, wanted at least one");
}

fn check(score: &BleuScore, wanted: [&Value; 7], what: &str) {
    let numbers = |value: &Value| -> Vec<f64> { list(value).iter().map(number).collect() };
    close(score.score, number(wanted[0]), what);
    assert_eq!(score.counts, numbers(wanted[1]), "{what}");
    assert_eq!(score.totals, numbers(wanted[2]), "{what}");
    for (got, wanted) in score.precisions.iter().zip(numbers(wanted[3])) {
        close(*got, wanted, what);
    }
    assert_eq!(score.precisions.len(), list(wanted[3]).len(), "{what}");
    close(score.brevity_penalty, number(wanted[4]), what);
    assert_eq!(
        json!([score.prediction_length, score.reference_length]),
        json!([wanted[5], wanted[6]]),
        "{what}"
    );
}

fn tokenizer(name: &str) -> Option<BleuTokenizer> {
    let found = serde_json::from_value(json!(name)).ok();
    assert_ne!(found.is_some(), FOREIGN.contains(&name), "{name}");
    found
}

/// The options as sacrebleu takes them; `None` for a tokenizer that this crate does not have.
fn config(options: &Value) -> Option<BleuConfig> {
    let mut config = BleuConfig::new();
    for (name, value) in options.as_object().unwrap() {
        config = match name.as_str() {
            "tokenize" => config.with_tokenizer(tokenizer(text(value))?),
            "trg_lang" => config.with_tokenizer(match text(value) {
                "zh" => BleuTokenizer::Zh,
                "ja" => return None,
                _ => BleuTokenizer::V13a,
            }),
            "lowercase" => config.with_lowercase(value.as_bool().unwrap()),
            "effective_order" => config.with_effective_order(value.as_bool().unwrap()),
            "max_ngram_order" => config.with_max_order(value.as_u64().unwrap() as usize),
            "smooth_method" => {
                let given = options["smooth_value"].as_f64();
                config.with_smoothing(match text(value) {
                    "none" => Smoothing::None,
                    "exp" => Smoothing::Exp,
                    "floor" => Smoothing::Floor(given.unwrap_or(0.1)),
                    "add-k" => Smoothing::AddK(given.unwrap_or(1.0)),
                    other => panic!("smoothing {other}"),
                })
            }
            "smooth_value" => config,
            other => panic!("option {other}"),
        };
    }
    Some(config)
}
