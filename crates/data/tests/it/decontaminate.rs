use burnisher_data::{Janitor, JanitorConfig, OverlapConfig, OverlapIndex};
use serde_json::Value;

use crate::shared;
use crate::tokenizer::{read_json, typed};

fn fixture() -> Option<Value> {
    shared("fixtures/data-eval/decontamination.json").map(|path| read_json(&path))
}

/// Reference: `Janitor.clean_python` of lm_eval 0.4.13, fixtures' `gen_fixtures.py`.
#[test]
fn the_janitor_cuts_as_in_lm_eval() {
    let Some(fixture) = fixture() else { return };
    let tests: Vec<String> = typed(&fixture["tests"]);
    let cases: Vec<Value> = typed(&fixture["janitor"]);
    let mut pieces = 0;
    for case in &cases {
        let config = JanitorConfig::default()
            .with_ngram(typed(&case["ngram_n"]))
            .with_window(typed(&case["window"]))
            .with_cutoff(typed(&case["cutoff"]))
            .with_min_slice(typed(&case["min_slice"]));
        let mut janitor = Janitor::new(config).unwrap_or_else(|error| panic!("{error}"));
        tests.iter().for_each(|test| janitor.register(test));
        let wanted: Vec<String> = typed(&case["chunks"]);
        assert_eq!(janitor.clean(&typed::<String>(&case["doc"])), wanted, "{config:?}");
        pieces += wanted.len();
    }
    assert_eq!((cases.len(), pieces), (36, 14));
}

#[test]
fn a_free_standing_dash_hides_a_match_from_the_janitor() {
    let config = JanitorConfig::default().with_ngram(3).with_window(0).with_min_slice(0);
    let mut janitor = Janitor::new(config).unwrap_or_else(|error| panic!("{error}"));
    janitor.register("One - two, THREE");
    assert_eq!(janitor.ngrams(), 1);
    assert_eq!(janitor.clean("so one two three go"), ["so ", " go"]);
    assert_eq!(janitor.clean("so one - two three go"), ["so one - two three go"]);
    assert_eq!(janitor.clean(""), [""]);
    let wrong = Janitor::new(config.with_ngram(0)).err().map(|error| error.to_string());
    assert_eq!(wrong.as_deref(), Some("ngram is 0; wanted at least 1 word"));
}

/// datatrove's `simplify_text`, as far as the English texts of the fixture need it.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace("7.5", "0");
    let letter = |letter: char| if letter.is_alphanumeric() { letter } else { ' ' };
    text.chars().map(letter).collect::<String>().split_whitespace().map(str::to_owned).collect()
}

/// Reference: the index formula of datatrove 0.10.1, fixtures' `gen_fixtures.py`.
#[test]
fn the_overlap_index_is_that_of_datatrove() {
    let Some(fixture) = fixture() else { return };
    let cases: Vec<Value> = typed(&fixture["ngram_overlap"]);
    assert_eq!(cases.len(), 9);
    for case in &cases {
        let config = OverlapConfig::default()
            .with_ngram(typed(&case["n"]))
            .with_query_ngrams(typed(&case["find_query_ngrams"]))
            .with_overlap_ngrams(typed(&case["find_overlap_ngrams"]));
        let mut index = OverlapIndex::new(config).unwrap_or_else(|error| panic!("{error}"));
        let text = |name: &str| words(&typed::<String>(&case[name]));
        let ngrams = index.add("dev", &text("query"), &text("label"));
        assert_eq!(ngrams, typed::<Vec<String>>(&case["index"]), "{config:?}");
        assert_eq!(index.len(), ngrams.len());
        let hit = index.first_hit(&text("train_doc"));
        assert_eq!(hit.as_ref().map(|hit| hit.ngram.as_str()), case["first_hit"].as_str(), "{config:?}");
        assert!(hit.is_none_or(|hit| hit.task == "dev"));
        assert_eq!(index.first_hit(&["clean"; 20]), None);
    }
}
