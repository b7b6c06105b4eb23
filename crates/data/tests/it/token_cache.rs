use std::fs;
use std::path::Path;

use burnisher_data::{
    Body, BuiltinTemplate, CacheUse, EncodeConfig, EncodedSet, Encoder, Message, Origin, Record, Tokenizer,
    TrainOn,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::tokenizer::fixture_tokenizer;

fn records() -> Vec<Record> {
    let body = |line: usize| match line % 3 {
        0 => Body::Text(format!("text {line} ").repeat(line)),
        1 => Body::Completion { prompt: "a".repeat(line), completion: format!("answer {line}") },
        _ => Body::Messages(vec![
            Message::new("user", "Hi"),
            Message::new("assistant", format!("Yes {line}.")),
        ]),
    };
    // The prompt of one record fills everything, so that it is dropped.
    let mut records: Vec<Record> =
        (1..40).map(|line| Record::new(body(line), Origin::new("a.jsonl", line))).collect();
    let long = Body::Completion { prompt: "word ".repeat(200), completion: "lost".to_owned() };
    records.push(Record::new(long, Origin::new("a.jsonl", 40)));
    records
}

fn config() -> EncodeConfig {
    EncodeConfig::new(64)
}

fn cached(
    tokenizer: &Tokenizer,
    config: EncodeConfig,
    records: &[Record],
    dir: &Path,
) -> (EncodedSet, CacheUse) {
    let encoder = Encoder::new(tokenizer, config).unwrap_or_else(|error| panic!("{error}"));
    encoder.encode_cached(records, dir).unwrap_or_else(|error| panic!("{error}"))
}

fn dir() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_read_is_what_was_written() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else { return };
    let (dir, records) = (dir(), records());
    let below = dir.path().join("a/b");
    let (first, used) = cached(&tokenizer, config(), &records, &below);
    let CacheUse::Written(path) = used else { panic!("{used:?}") };
    assert_eq!(first.report.dropped_no_target.len(), 1);
    assert!(first.report.truncated > 0);
    let (second, used) = cached(&tokenizer, config(), &records, &below);
    assert_eq!(used, CacheUse::Read(path));
    assert_eq!(second, first);
    let plain = Encoder::new(&tokenizer, config()).and_then(|encoder| encoder.encode_all(&records));
    assert_eq!(plain.ok(), Some(first));
    assert_eq!(fs::read_dir(below).map(Iterator::count).ok(), Some(1));
}

#[test]
fn whatever_decides_the_tokens_decides_the_file() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else { return };
    let (dir, records) = (dir(), records());
    let template = |template| {
        tokenizer.clone().with_builtin_template(template).unwrap_or_else(|error| panic!("{error}"))
    };
    let mut other = records.clone();
    other[3].body = Body::Text("changed".to_owned());
    let mut moved = records.clone();
    moved.swap(0, 1);
    for (tokenizer, config, records) in [
        (&tokenizer, config(), &records),
        (&tokenizer, EncodeConfig::new(65), &records),
        (&tokenizer, config().with_train_on(TrainOn::Everything), &records),
        (&tokenizer, config().with_append_eos(false), &records),
        (&template(BuiltinTemplate::ChatMl), config(), &records),
        (&template(BuiltinTemplate::Llama3), config(), &records),
        (&tokenizer, config(), &other),
        (&tokenizer, config(), &moved),
    ] {
        let (_, used) = cached(tokenizer, config, records, dir.path());
        assert!(matches!(used, CacheUse::Written(_)), "{used:?}");
    }
    // Where a record stands does not: the report takes that from the records.
    let elsewhere: Vec<Record> = records
        .iter()
        .map(|record| Record::new(record.body.clone(), Origin::new("b.jsonl", record.origin.line + 7)))
        .collect();
    let (set, used) = cached(&tokenizer, config(), &elsewhere, dir.path());
    assert!(matches!(used, CacheUse::Read(_)), "{used:?}");
    assert_eq!(set.report.dropped_no_target, [Origin::new("b.jsonl", 47)]);
}

#[test]
fn a_template_that_tells_the_time_is_not_stored() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else { return };
    let source = "{{ strftime_now('%Y') }}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    let tokenizer = tokenizer.with_chat_template(source).unwrap_or_else(|error| panic!("{error}"));
    let dir = dir();
    assert_eq!(cached(&tokenizer, config(), &records(), dir.path()).1, CacheUse::TellsTime);
    assert_eq!(fs::read_dir(dir.path()).map(Iterator::count).ok(), Some(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_file_is_made_again(place in 0.0_f64..1.0, bit in 0_u8..8, cut: bool) {
        let Some(tokenizer) = fixture_tokenizer("bpe") else { return Ok(()) };
        let (dir, records) = (dir(), records());
        let (first, used) = cached(&tokenizer, config(), &records, dir.path());
        let CacheUse::Written(path) = used else { return Err(TestCaseError::fail("not written")) };
        let mut bytes = fs::read(&path)?;
        let place = (place * bytes.len() as f64) as usize;
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        fs::write(&path, &bytes)?;
        let (second, used) = cached(&tokenizer, config(), &records, dir.path());
        prop_assert!(matches!(used, CacheUse::Replaced { .. }), "{:?}", used);
        prop_assert_eq!(&second, &first);
        prop_assert_eq!(cached(&tokenizer, config(), &records, dir.path()).1, CacheUse::Read(path));
    }
}
