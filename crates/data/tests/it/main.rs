//! Integration tests.

mod batch;
mod builtin;
mod builtin_tools;
mod card;
mod card_page;
mod clean;
mod clean_edits;
mod clean_filters;
mod clean_reference;
mod decontaminate;
mod dedup;
mod encode;
mod extract;
#[cfg(feature = "hub")]
mod hub;
mod leak;
mod leak_audit;
mod minhash;
mod mix;
mod near_duplicates;
mod pack;
mod preview;
mod rows;
mod sentencepiece;
#[cfg(any(feature = "http", feature = "hub"))]
mod server;
mod shards;
mod signature_index;
mod source;
mod source_files;
#[cfg(feature = "parquet")]
mod source_parquet;
mod source_places;
mod source_records;
mod split;
mod split_plan;
mod template;
mod token_cache;
mod tokenizer;

use std::path::PathBuf;

use burnisher_data::{Body, Origin, Record};

/// A path below ../shared, which holds the large fixtures and the real data; `None`, with a message, where
/// that folder is absent, which only CI does not allow.
fn shared(path: &str) -> Option<PathBuf> {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if shared.is_dir() {
        return Some(shared.join(path));
    }
    assert!(std::env::var_os("CI").is_none(), "no ../shared in CI");
    println!("skipped: no ../shared");
    None
}

/// A text record of line `line`.
fn text_record(file: &str, line: usize, text: &str) -> Record {
    Record::new(Body::Text(text.to_owned()), Origin::new(file, line))
}

/// `count` words that no other `name` has.
fn passage(name: &str, count: usize) -> String {
    (0..count).map(|word| format!("{name}x{word}")).collect::<Vec<_>>().join(" ")
}
