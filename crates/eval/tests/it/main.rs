//! Integration tests against reference values of the Python tools (`docs/parity/README.md`).

mod agreement;
mod answers;
mod bleu;
mod bm25;
mod bootstrap;
mod calibration;
mod chrf;
mod classification;
mod compare;
mod entities;
mod forgetting;
mod json_fields;
mod laws;
mod perplexity;
mod properties;
mod properties_numbers;
mod properties_texts;
mod qa;
mod ranking;
mod rng;
mod rouge;
mod significance;
mod single;
mod spans;
mod statistics;
mod systems;
mod tagging;
mod tasks;
mod ter;

use std::path::Path;

use serde_json::Value;

/// Reads `data-eval/NAME`: the committed copy, else the one beside the checkout. `None` (said on stdout) when
/// neither is there, which fails in CI.
fn fixture(name: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../models/tests/fixtures/data-eval", "../../../shared/fixtures/data-eval"];
    let Some(path) = folders.iter().map(|folder| root.join(folder).join(name)).find(|path| path.exists())
    else {
        assert!(std::env::var_os("CI").is_none(), "no fixture {name} in {folders:?}");
        println!("skipped: no ../shared");
        return None;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A corpus of `bleu.json`: its system and its references, one list per segment.
fn corpus<'a>(data: &'a Value, name: &str) -> (Vec<&'a str>, Vec<Vec<&'a str>>) {
    let corpus = &data["corpora"][name];
    let streams: Vec<Vec<Option<&str>>> =
        list(&corpus["refs"]).iter().map(|refs| list(refs).iter().map(Value::as_str).collect()).collect();
    (list(&corpus["sys"]).iter().map(text).collect(), burnisher_eval::reference_lists(&streams).unwrap())
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("wanted a number, found {value}"))
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("wanted a string, found {value}"))
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("wanted a list, found {value}"))
}

#[track_caller]
fn close(got: f64, wanted: f64, what: &str) {
    assert!((got - wanted).abs() <= 1e-9, "{what}: {got} instead of {wanted}");
}
