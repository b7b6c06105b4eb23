//! Integration tests against reference values of the Python tools (`docs/parity/README.md`).

mod bleu;
mod bm25;
mod bootstrap;
mod compare;
mod entities;
mod forgetting;
mod perplexity;
mod properties;
mod qa;
mod rouge;
mod systems;

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
