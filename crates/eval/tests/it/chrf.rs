//! chrF against sacrebleu 2.6.0: counts and signatures exact, scores to 1e-9.

use burnisher_eval::{ChrfConfig, CorpusMetric};
use serde_json::{Value, json};

use crate::{close, corpus, fixture, list, number, text};

#[test]
fn corpus_scores_match() {
    let (Some(data), Some(texts)) = (fixture("chrf.json"), fixture("bleu.json")) else {
        return;
    };
    let runs = list(&data["corpus"]);
    assert_eq!(runs.len(), 177);
    for run in runs {
        let what = format!("{} with {}", run["corpus"], run["options"]);
        let chrf = config(&run["options"]).init().unwrap();
        let (predictions, references) = corpus(&texts, text(&run["corpus"]));
        let score = chrf.corpus(&predictions, &references).unwrap();
        close(score, number(&run["score"]), &what);
        assert_eq!(chrf.name(), text(&run["name"]), "{what}");
        assert_eq!(format!("{} = {score:.2}", chrf.name()), text(&run["format"]), "{what}");
        let signature = chrf.signature(&references);
        assert_eq!(signature.to_string(), text(&run["signature"]), "{what}");
        assert_eq!(signature.short(), text(&run["signature_short"]), "{what}");
    }
}

#[test]
fn sentence_scores_and_counts_match() {
    let (Some(data), Some(texts)) = (fixture("chrf.json"), fixture("bleu.json")) else {
        return;
    };
    let items = list(&texts["sentence_items"]);
    let mut counted = 0;
    for run in list(&data["sentence"]) {
        let chrf = config(&run["options"]).init().unwrap();
        let scores = list(&run["scores"]);
        assert_eq!(scores.len(), items.len() - 1);
        for (index, (item, wanted)) in items.iter().zip(scores).enumerate() {
            let what = format!("{} with {}", item["id"], run["options"]);
            let references: Vec<&str> = list(&item["refs"]).iter().map(text).collect();
            close(chrf.sentence(text(&item["hyp"]), &references), number(wanted), &what);
            if let Some(rows) = run["stats"].as_array() {
                counted += 1;
                let row: Vec<u64> = chrf
                    .statistics(text(&item["hyp"]), &references)
                    .into_iter()
                    .map(|count| count as u64)
                    .collect();
                assert_eq!(json!(row), rows[index], "{what}");
            }
        }
    }
    assert_eq!(counted, 2 * 78);
}

#[test]
fn options_out_of_range_are_named() {
    let error = ChrfConfig::new().with_char_order(0).init().unwrap_err();
    assert_eq!(error.to_string(), "chrf: found char_order = 0, wanted 1 to 100, or 0 with words");
    let error = ChrfConfig::plus_plus().with_beta(0).init().unwrap_err();
    assert_eq!(error.to_string(), "chrf: found beta = 0, wanted at least 1");
}

fn config(options: &Value) -> ChrfConfig {
    serde_json::from_value(options.clone()).unwrap()
}
