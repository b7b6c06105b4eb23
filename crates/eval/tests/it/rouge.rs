//! ROUGE against rouge_score 0.1.2 with NLTK 3.8.1: tokens and stems exact, scores to 1e-9.

use std::collections::BTreeMap;

use burnisher_eval::{
    Rouge, RougeAggregation, RougeConfig, RougeScore, RougeTokenizer, RougeType, porter_stem,
};
use serde_json::Value;

use crate::{close, fixture, list, number, text};

#[test]
fn stems_match_nltk() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let words = data["porter"].as_object().unwrap();
    assert!(words.len() > 3000);
    let wrong: Vec<String> = words
        .iter()
        .map(|(word, stem)| (word, text(stem), porter_stem(word)))
        .filter(|(_, wanted, got)| got != wanted)
        .map(|(word, wanted, got)| format!("{word}: {got} instead of {wanted}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn tokens_match() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let rows = list(&data["tokenize"]);
    assert!(!rows.is_empty());
    for (name, stem) in [("plain", false), ("stemmer", true)] {
        let rouge = RougeConfig::new().with_use_stemmer(stem).init().unwrap();
        for row in rows {
            let wanted: Vec<&str> = list(&row[name]).iter().map(text).collect();
            assert_eq!(rouge.tokenize(text(&row["text"])), wanted, "{name} of {}", row["text"]);
        }
    }
}

#[test]
fn scores_of_pairs_match() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let types = types(&data);
    let pairs = list(&data["pairs"]);
    let config = RougeConfig::new().with_types(types.clone());
    let runs = [
        ("plain", config.clone()),
        ("stemmer", config.clone().with_use_stemmer(true)),
        ("whitespace_tokenizer", config.with_tokenizer(RougeTokenizer::Whitespace)),
    ];
    for (name, config) in runs {
        let rouge = config.init().unwrap();
        let wanted = list(&data["scores"][name]);
        assert_eq!(wanted.len(), pairs.len());
        for (index, (pair, wanted)) in pairs.iter().zip(wanted).enumerate() {
            let scores = rouge.score(text(&pair["prediction"]), text(&pair["target"]));
            check(&scores, &types, wanted, &format!("{name}, pair {index}"));
        }
    }
}

#[test]
fn the_best_reference_is_taken_per_type() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let types = types(&data);
    let rows = list(&data["score_multi"]);
    assert!(!rows.is_empty());
    for (index, row) in rows.iter().enumerate() {
        let stem = row["stemmer"].as_bool().unwrap();
        let rouge = RougeConfig::new().with_types(types.clone()).with_use_stemmer(stem).init().unwrap();
        let targets: Vec<&str> = list(&row["targets"]).iter().map(text).collect();
        let scores = rouge.score_multi(text(&row["prediction"]), &targets);
        check(&scores, &types, &row["scores"], &format!("row {index}"));
    }
}

#[test]
fn of_equal_references_the_first_is_taken() {
    // Both have F1 2/3, with precision and recall the other way round.
    let rouge = RougeConfig::new().with_types([RougeType::N(1)]).init().unwrap();
    for (references, precision) in [(["a", "a b c d"], 0.5), (["a b c d", "a"], 1.0)] {
        close(rouge.score_multi("a b", &references)[&RougeType::N(1)].precision, precision, references[0]);
    }
}

#[test]
fn the_corpus_score_is_the_mean_of_the_pairs() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let types = types(&data);
    let rouge = RougeConfig::new().with_types(types.clone()).init().unwrap();
    let pairs = list(&data["pairs"]);
    let predictions: Vec<&str> = pairs.iter().map(|pair| text(&pair["prediction"])).collect();
    let references: Vec<Vec<&str>> = pairs.iter().map(|pair| vec![text(&pair["target"])]).collect();
    let corpus = rouge.corpus(&predictions, &references).unwrap();
    let rows = list(&data["scores"]["plain"]);
    for (at, rouge) in types.iter().enumerate() {
        let mean =
            |part: usize| rows.iter().map(|row| number(&row[at][part])).sum::<f64>() / rows.len() as f64;
        let RougeScore { precision, recall, fmeasure } = corpus[rouge];
        for (got, part) in [(precision, 0), (recall, 1), (fmeasure, 2)] {
            close(got, mean(part), &format!("{rouge}, part {part}"));
        }
    }
}

#[test]
fn aggregates_match() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let runs = list(&data["aggregate"]);
    assert_eq!(runs.len(), 8);
    let pairs = list(&data["pairs"]);
    for run in runs {
        let stem = run["stemmer"].as_bool().unwrap();
        let config = RougeConfig::new().with_types([RougeType::N(1), RougeType::L]).with_use_stemmer(stem);
        let rouge = config.init().unwrap();
        let bound = |at: usize| run["pair_indices"][at].as_u64().unwrap() as usize;
        let scores: Vec<_> = pairs[bound(0)..=bound(1)]
            .iter()
            .map(|pair| rouge.score(text(&pair["prediction"]), text(&pair["target"])))
            .collect();
        let aggregation = RougeAggregation::new()
            .with_seed(run["seed_np_random"].as_u64().unwrap() as u32)
            .with_resamples(run["n_samples"].as_u64().unwrap() as usize)
            .with_confidence(number(&run["confidence_interval"]));
        let intervals = rouge.aggregate(&scores, &aggregation).unwrap();
        let results = run["result"].as_object().unwrap();
        assert_eq!(results.len(), intervals.len());
        for (rouge, interval) in &intervals {
            let wanted = &results[&rouge.to_string()];
            for (name, got) in [("low", interval.low), ("mid", interval.mid), ("high", interval.high)] {
                let RougeScore { precision, recall, fmeasure } = got;
                for (got, wanted) in [precision, recall, fmeasure].into_iter().zip(list(&wanted[name])) {
                    close(got, number(wanted), &format!("{aggregation:?}, {rouge}, {name}"));
                }
            }
        }
    }
    let rouge = RougeConfig::new().init().unwrap();
    let error = rouge.aggregate(&[], &RougeAggregation::new()).unwrap_err();
    assert_eq!(error.to_string(), "rouge: found no examples, wanted at least one");
}

#[test]
fn no_references_score_nothing_and_a_corpus_says_so() {
    let rouge: Rouge = RougeConfig::new().init().unwrap();
    assert!(rouge.score_multi::<&str>("a", &[]).values().all(|score| *score == RougeScore::default()));
    let error = rouge.corpus(&["a", "b"], &[vec!["a"], vec![]]).unwrap_err();
    assert_eq!(error.to_string(), "rouge: example 1 has no reference answer, wanted at least one");
}

fn types(data: &Value) -> Vec<RougeType> {
    list(&data["types"]).iter().map(|name| text(name).parse().unwrap()).collect()
}

fn check(scores: &BTreeMap<RougeType, RougeScore>, types: &[RougeType], wanted: &Value, what: &str) {
    for (rouge, wanted) in types.iter().zip(list(wanted)) {
        let RougeScore { precision, recall, fmeasure } = scores[rouge];
        for (got, wanted) in [precision, recall, fmeasure].into_iter().zip(list(wanted)) {
            close(got, number(wanted), &format!("{what}, {rouge}"));
        }
    }
}
