//! Records of every shape, from JSON lines and from a JSON array.
//!
//! The first byte says how the rest is read. A record that was read, written under the canonical columns, reads equal.
#![no_main]

use std::sync::LazyLock;

use burnisher_data::{ColumnMap, Shape, Source};
use burnisher_fuzz::Scratch;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| Scratch::new("records"));

fuzz_target!(|data: &[u8]| {
    let Some((how, bytes)) = data.split_first() else {
        return;
    };
    let name = if how & 1 == 0 { "records.jsonl" } else { "records.json" };
    let shape = match how >> 1 & 7 {
        0 => Some(Shape::Text),
        1 => Some(Shape::Completion),
        2 => Some(Shape::Messages),
        3 => Some(Shape::Alpaca),
        4 => Some(Shape::Question),
        _ => None,
    };
    let columns = if how & 16 == 0 { ColumnMap::default() } else { other_columns() };
    let read = |bytes: &[u8], name, columns, shape| {
        let path = SCRATCH.write(name, bytes);
        Source::open(path).unwrap().with_columns(columns).with_shape(shape).read()
    };
    match read(bytes, name, columns, shape) {
        Ok(records) => {
            assert!(!records.is_empty());
            // No two records stand at one place.
            assert!(records.windows(2).all(|pair| pair[0].origin < pair[1].origin));
            // One by one: a file of prompts may hold strings in one record and messages in the next.
            for record in records.iter().take(4) {
                let written = Value::Object(record.to_json()).to_string();
                let shape = Some(record.shape());
                let again = read(written.as_bytes(), "written.jsonl", ColumnMap::default(), shape).unwrap();
                assert_eq!(again.len(), 1);
                assert_eq!((&again[0].body, again[0].origin.line), (&record.body, 1));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn other_columns() -> ColumnMap {
    ColumnMap::new([("prompt", "question"), ("completion", "text"), ("messages", "input")]).unwrap()
}
