//! General records beside the training records.

use std::{collections::HashSet, fs, path::Path};

use burnisher_data::Tokenizer;
use burnisher_train::{DataSection, PreparedData, TrainError, prepare_data};

fn tokenizer() -> Tokenizer {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets/base");
    Tokenizer::from_dir(base).expect("the embedded tokenizer")
}

/// Ten training records and `general` general ones.
fn prepare(dir: &Path, general: usize, fraction: f64) -> Result<PreparedData, TrainError> {
    let own = |i: usize| format!("{{\"prompt\": \"Box {i}?\", \"completion\": \" Colour {i}.\"}}\n");
    let text = |i: usize| format!("{{\"text\": \"The river rose by {i} feet today.\"}}\n");
    fs::write(dir.join("train.jsonl"), (0..10).map(own).collect::<String>()).expect("writes");
    fs::write(dir.join("general.jsonl"), (0..general).map(text).collect::<String>()).expect("writes");
    let mut config = DataSection::default();
    config.train = dir.join("train.jsonl");
    config.replay = Some(dir.join("general.jsonl"));
    config.replay_fraction = fraction;
    config.validation_fraction = 0.0;
    prepare_data(&config, &tokenizer(), 7)
}

#[test]
fn a_share_of_the_records_is_general() {
    let dir = tempfile::tempdir().expect("a directory");
    // Records there are, share asked for, records taken.
    for (general, fraction, taken) in
        [(40, 0.5, 10), (40, 0.2, 3), (40, 0.001, 1), (40, 0.999, 40), (3, 0.5, 3), (1, 0.25, 1)]
    {
        let data = prepare(dir.path(), general, fraction).expect("prepares");
        assert_eq!(data.train.len(), 10 + taken, "{general} {fraction}: {:?}", data.notes);
        let documents = || data.train.rows().iter().flat_map(|row| &row.documents);
        let numbers: HashSet<u64> = documents().map(|document| document.index).collect();
        assert_eq!(numbers.len(), 10 + taken, "a number of its own, and so a dropout of its own");
        let whole = documents().filter(|document| document.loss_mask[1..].iter().all(|target| *target));
        assert_eq!(whole.count(), taken, "general records are trained on whole");
    }
}

#[test]
fn general_records_are_spread_over_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = prepare(dir.path(), 20, 0.2857).expect("prepares");
    let tokenizer = tokenizer();
    let texts = data.train.rows()[10..].iter().map(|row| tokenizer.decode(&row.documents[0].ids, true));
    let texts: Vec<String> = texts.collect::<Result<_, _>>().expect("decodes");
    let days = [4, 9, 14, 19].map(|i| format!("The river rose by {i} feet today."));
    assert_eq!(texts.iter().map(|text| text.trim()).collect::<Vec<_>>(), days);
}

#[test]
fn an_empty_file_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = prepare(dir.path(), 0, 0.25).expect_err("nothing to replay").to_string();
    assert!(error.contains("general.jsonl"), "{error}");
}
