//! TER against sacrebleu 2.6.0: tokens, edits and signatures exact, scores to 1e-9.

use burnisher_eval::{TerConfig, TerCounts};
use serde_json::Value;

use crate::{close, corpus, fixture, list, number, text};

#[test]
fn tokens_match() {
    let (Some(data), Some(texts)) = (fixture("ter.json"), fixture("bleu.json")) else {
        return;
    };
    let items = list(&texts["sentence_items"]);
    let runs = list(&data["tokenize"]);
    assert_eq!(runs.len(), 8);
    for run in runs {
        let ter = config(&run["options"]).init();
        for (item, wanted) in items.iter().zip(list(&run["outputs"])) {
            assert_eq!(
                ter.tokenize(text(&item["hyp"])),
                text(wanted),
                "{} with {}",
                item["id"],
                run["options"]
            );
        }
    }
}

#[test]
fn corpus_scores_match() {
    let (Some(data), Some(texts)) = (fixture("ter.json"), fixture("bleu.json")) else {
        return;
    };
    let runs = list(&data["corpus"]);
    assert_eq!(runs.len(), 112);
    for run in runs {
        let what = format!("{} with {}", run["corpus"], run["options"]);
        let ter = config(&run["options"]).init();
        let (predictions, references) = corpus(&texts, text(&run["corpus"]));
        let counts = ter.corpus(&predictions, &references).unwrap();
        assert_eq!(counts.edits, run["num_edits"].as_u64().unwrap(), "{what}");
        close(counts.reference_length, number(&run["ref_length"]), &what);
        let score = ter.score(&counts);
        close(score, number(&run["score"]), &what);
        assert_eq!(format!("TER = {score:.2}"), text(&run["format"]), "{what}");
        let signature = ter.signature(&references);
        assert_eq!(signature.to_string(), text(&run["signature"]), "{what}");
        assert_eq!(signature.short(), text(&run["signature_short"]), "{what}");
    }
}

#[test]
fn sentence_scores_match() {
    let (Some(data), Some(texts)) = (fixture("ter.json"), fixture("bleu.json")) else {
        return;
    };
    let items = list(&texts["sentence_items"]);
    for run in list(&data["sentence"]) {
        let ter = config(&run["options"]).init();
        let results = list(&run["results"]);
        assert_eq!(results.len(), items.len() - 1);
        for (item, wanted) in items.iter().zip(results) {
            let references: Vec<&str> = list(&item["refs"]).iter().map(text).collect();
            let counts = ter.counts(text(&item["hyp"]), &references);
            let what = format!("{} with {}", item["id"], run["options"]);
            check(ter.score(&counts), counts, [&wanted[0], &wanted[1], &wanted[2]], &what);
        }
    }
}

#[test]
fn long_texts_with_many_shifts_match() {
    let Some(data) = fixture("ter.json") else {
        return;
    };
    let pairs = list(&data["shift_pairs"]);
    assert_eq!(pairs.len(), 70);
    let ter = TerConfig::new().init();
    for (index, pair) in pairs.iter().enumerate() {
        let counts = ter.counts(text(&pair["hyp"]), &[text(&pair["ref"])]);
        let wanted = ["score", "num_edits", "ref_length"].map(|name| &pair[name]);
        check(ter.score(&counts), counts, wanted, &format!("pair {index}"));
    }
}

fn check(score: f64, counts: TerCounts, wanted: [&Value; 3], what: &str) {
    assert_eq!(counts.edits, wanted[1].as_u64().unwrap(), "{what}");
    close(counts.reference_length, number(wanted[2]), what);
    close(score, number(wanted[0]), what);
}

fn config(options: &Value) -> TerConfig {
    serde_json::from_value(options.clone()).unwrap()
}
