//! Held-out records that are nearly those of training.

use std::{fs, path::Path};

use burnisher_data::{Record, Tokenizer};
use burnisher_train::{DataSection, LeakPolicy, PreparedData, TrainError, prepare_data};

/// A word of letters for a number.
fn word(mut number: usize) -> String {
    let mut word = String::from("w");
    while number > 0 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

/// Twenty-three words that no other topic has. Variants differ in the word in their middle, so that no 13 words in a row are
/// the same.
fn line(topic: usize, variant: usize) -> String {
    let number = |at: usize| if at == 11 { 90_000 + variant } else { topic * 100 + at };
    let words: Vec<String> = (0..23).map(|at| word(number(at))).collect();
    format!("{{\"prompt\": \"{}?\", \"completion\": \"{}\"}}\n", word(topic * 100 + 50), words.join(" "))
}

fn prepare(dir: &Path, change: impl FnOnce(&mut DataSection)) -> Result<PreparedData, TrainError> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets/base");
    let mut config = DataSection::default();
    config.train = dir.join("train.jsonl");
    config.validation_fraction = 0.0;
    config.near_duplicates = 0.4;
    change(&mut config);
    prepare_data(&config, &Tokenizer::from_dir(base).unwrap(), 7)
}

#[test]
fn a_near_duplicate_in_a_held_out_set_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("train.jsonl"), (0..20).map(|topic| line(topic, 0)).collect::<String>()).unwrap();
    fs::write(path("near.jsonl"), (18..22).map(|topic| line(topic, 1)).collect::<String>()).unwrap();
    fs::write(path("far.jsonl"), (20..24).map(|topic| line(topic, 1)).collect::<String>()).unwrap();
    type Change = fn(&mut DataSection, std::path::PathBuf);
    let sets: [(&str, Change); 3] = [
        ("test", |config, path| config.test = Some(path)),
        ("validation", |config, path| config.validation = Some(path)),
        ("exam", |config, path| drop(config.benchmarks.insert("exam".to_owned(), path))),
    ];
    for (name, set) in sets {
        assert!(prepare(dir.path(), |config| set(config, path("far.jsonl"))).unwrap().leaks.is_empty());
        let error = prepare(dir.path(), |config| set(config, path("near.jsonl"))).unwrap_err();
        let text = error.to_string();
        let wanted = format!("\n{name}: no 13-gram shared");
        assert!(matches!(error, TrainError::Leak(_)) && text.contains(&wanted), "{text}");
        assert!(text.starts_with("data.train: 20 training records"), "{text}");
        assert!(text.contains("2 records have near-duplicates in training"), "{text}");
        assert!(
            text.contains("train.jsonl:19 and") && text.contains("near.jsonl:1 (near-duplicates)"),
            "{text}"
        );
        let allowed = prepare(dir.path(), |config| {
            set(config, path("near.jsonl"));
            config.leaks = LeakPolicy::Allow;
        })
        .unwrap();
        assert_eq!(allowed.leaks[0].get(name).unwrap().near.len(), 2);
        let off = prepare(dir.path(), |config| {
            set(config, path("near.jsonl"));
            config.near_duplicates = 0.0;
        });
        assert!(off.unwrap().leaks.is_empty());
    }
}

#[test]
fn near_duplicates_stay_together_when_validation_is_split_off() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (0..30).flat_map(|topic| [line(topic, 0), line(topic, 1)]).collect();
    fs::write(dir.path().join("train.jsonl"), lines).unwrap();
    let split = |near: f64| {
        let data = prepare(dir.path(), |config| {
            config.validation_fraction = 0.3;
            config.near_duplicates = near;
        })
        .unwrap();
        let mut topics: Vec<usize> =
            data.validation_records.iter().map(|record: &Record| (record.origin.line - 1) / 2).collect();
        topics.sort_unstable();
        topics
    };
    let together = split(0.4);
    assert_eq!(together.len(), 18);
    assert!(together.chunks(2).all(|pair| pair[0] == pair[1]), "{together:?}");
    // Without, they are divided.
    assert!(split(0.0).chunks(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn an_instruction_that_all_records_share_is_no_leak() {
    let dir = tempfile::tempdir().unwrap();
    let instruction: Vec<String> = (0..60).map(|at| word(70_000 + at)).collect();
    let record = |topic: usize, variant: usize| {
        let own: Vec<String> = (0..10).map(|at| word(topic * 100 + at + variant)).collect();
        format!(
            "{{\"prompt\": \"{} {}\", \"completion\": \"{}\"}}\n",
            instruction.join(" "),
            own.join(" "),
            word(60_000 + topic % 3)
        )
    };
    let lines = |topics: std::ops::Range<usize>| topics.map(|topic| record(topic, 0)).collect::<String>();
    fs::write(dir.path().join("train.jsonl"), lines(0..40)).unwrap();
    fs::write(dir.path().join("test.jsonl"), lines(40..60)).unwrap();
    let data = prepare(dir.path(), |config| {
        config.test = Some(dir.path().join("test.jsonl"));
        config.near_duplicates = 0.8;
        config.validation_fraction = 0.25;
    })
    .unwrap();
    assert!(data.leaks.is_empty());
    assert_eq!(data.validation_records.len(), 10);
    // The own words of a record still tell: the same question, one word later.
    fs::write(dir.path().join("test.jsonl"), lines(40..59) + &record(7, 1)).unwrap();
    let error = prepare(dir.path(), |config| {
        config.test = Some(dir.path().join("test.jsonl"));
        config.near_duplicates = 0.4;
    });
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("1 records have near-duplicates in training") && text.contains("test.jsonl:20"),
        "{text}"
    );
}
