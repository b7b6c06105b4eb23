//! Files of results.

use burnisher_data::extract::{
    AlignConfig, AnswerFormat, ChunkConfig, ChunkFailure, Extracted, Extraction, Flag, Task, TrainingSet,
    read_jsonl, write_jsonl,
};
use burnisher_data::{Body, Source};
use serde_json::{Value, json};

pub(super) fn samples() -> Vec<Extracted> {
    let sample = |id: &str, text: &str, wanted: &[(&str, &str)]| {
        let mut extractions: Vec<Extraction> =
            wanted.iter().map(|(class, text)| Extraction::new(*class, *text)).collect();
        AlignConfig::default().align(&mut extractions, text);
        Extracted::new(id, text, extractions)
    };
    let mut first = sample(
        "ward round",
        "Frau Dr. Öztürk 🚆 gave <b>Ibuprofen</b> 400 mg\r\nand \"New York City Hall\" & more.\n\n  Indented 血压 e\u{301}nd",
        &[
            ("person", "Dr. Öztürk"),
            ("name", "Öztürk"),
            ("drug", "Ibuprofen"),
            ("dose", "400 mg\r\nand"),
            ("place", "New York City Hall"),
            ("place", "York City"),
            ("drug", "morphine"),
            ("项目", "血压"),
            ("name", "e\u{301}nd"),
        ],
    );
    first.extractions[2] = first.extractions[2]
        .clone()
        .with_attribute("note", "<script>alert(1)</script>")
        .with_attribute("list", json!(["a", "b"]));
    first.extractions[6].flags.push(Flag::CopiedFromExample { example: 0 });
    // Spans that cross: "City Hall" with "Hall\" & more".
    let crossing = sample("crossing", &first.text, &[("end", "Hall\" & more")]);
    first.extractions.extend(crossing.extractions);
    let second =
        sample("second", "Anna met Ben & Carla.", &[("name", "Anna"), ("name", "Ben"), ("name", "Carla")]);
    vec![first, second, sample("empty", "Nothing here.", &[])]
}

#[test]
fn documents_are_read_back_and_have_langextracts_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/found.jsonl");
    let mut documents = samples();
    write_jsonl(&path, &documents).expect("written");
    for extraction in documents.iter_mut().flat_map(|document| &mut document.extractions) {
        extraction.tokens = None;
    }
    assert_eq!(read_jsonl(&path).expect("read"), documents);
    let text = std::fs::read_to_string(&path).expect("a file");
    let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        line["extractions"][1],
        json!({
            "extraction_class": "name",
            "extraction_text": "Öztürk",
            "char_interval": {"start_pos": 9, "end_pos": 15},
            "alignment_status": "match_exact",
            "extraction_index": 0,
            "group_index": 0,
            "description": null,
            "attributes": null,
        })
    );
    assert_eq!(line["extractions"][6]["alignment_status"], Value::Null);
    assert_eq!(line["flags"], json!([{"flag": "copied_from_example", "example": 0, "extraction": 6}]));

    let broken = text.replacen("\"end_pos\":15", "\"end_pos\":1500", 1);
    std::fs::write(&path, broken).expect("writable");
    let error = read_jsonl(&path).expect_err("beyond the text").to_string();
    assert!(error.contains("found.jsonl:1") && error.contains("1500"), "{error}");
}

#[test]
fn a_training_set_holds_what_is_grounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("train.jsonl");
    let mut documents = samples();
    let mut failed = Extracted::new("failed", "Anna came.", []);
    failed.failures.extend(failure());
    documents.push(failed);
    let (task, format) = (Task::new("Extract."), AnswerFormat::default());
    let set = TrainingSet::new(&task, &format, ChunkConfig::new(1000), &documents);
    assert_eq!(
        (set.records.len(), set.extractions, set.ungrounded, set.failed_chunks),
        (3, 12, 1, 1),
        "{set}"
    );
    set.write_jsonl(&path).expect("written");
    let records = Source::open(&path).expect("a source").records().expect("records");
    let read: Vec<_> = records.collect::<Result<_, _>>().expect("records");
    assert_eq!(read.len(), 3);
    let Body::Messages(messages) = &read[1].body else { panic!("messages") };
    assert_eq!(messages[1].content, "Anna met Ben & Carla.");
    let answer = format.parse(&messages[2].content).expect("an answer");
    assert_eq!(answer.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(), ["Anna", "Ben", "Carla"]);
    let small = TrainingSet::new(&task, &format, ChunkConfig::new(24), &documents[..1]);
    assert!(small.straddling > 0 && small.extractions + small.straddling == 9, "{small}");
}

/// A failure as a file holds it; there is no other way to make one.
fn failure() -> Vec<ChunkFailure> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("failed.jsonl");
    let line = json!({"document_id": "f", "text": "Anna came.", "extractions": [], "failures": [
        {"chunk": 0, "pass": 0, "char_interval": {"start_pos": 0, "end_pos": 10}, "reason": "no"},
    ]});
    std::fs::write(&path, format!("{line}\n")).expect("writable");
    read_jsonl(&path).expect("read").remove(0).failures
}
