//! Shards, shapes, records by number, and records written and read again.

use std::fs;

use burnisher_data::{
    Body, DataError, IndexLocation, IndexedJsonl, JsonlWriter, Message, Origin, Record, Shape, Shard, Source,
    remove_exact_duplicates,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::shared;

fn dir() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn read_line(line: &Value) -> Result<Record, DataError> {
    let dir = dir();
    let path = dir.path().join("a.jsonl");
    fs::write(&path, line.to_string()).expect("a file");
    Ok(Source::open(&path)?.read()?.remove(0))
}

#[test]
fn shards_are_written_from_zero() {
    for (text, wanted) in [("0/1", Some((0, 1))), ("3/4", Some((3, 4))), (" 1 / 2 ", Some((1, 2)))] {
        let found = text.parse::<Shard>().ok().map(|shard| (shard.index(), shard.count()));
        assert_eq!(found, wanted, "{text:?}");
    }
    for text in ["1/1", "4/4", "0/0", "1", "", "-1/2", "a/b", "1/2/3"] {
        let error = text.parse::<Shard>().expect_err(text).to_string();
        assert!(error.contains("shard is") && error.contains("index/count"), "{error}");
    }
    assert_eq!("2/5".parse::<Shard>().expect("a shard").to_string(), "2/5");
}

#[test]
fn questions_are_read() {
    for (line, context, answer, kept) in [
        (json!({"question": "q", "answer": "a"}), "", "a", json!({})),
        (json!({"question": "q", "context": null, "answer": "a", "id": 1}), "", "a", json!({"id": 1})),
        (
            json!({"context": "c", "question": "q", "answers": ["a", "b"]}),
            "c",
            "a",
            json!({"answers": ["a", "b"]}),
        ),
        (
            json!({"context": "c", "question": "q", "answers": {"text": ["a"], "answer_start": [3]}}),
            "c",
            "a",
            json!({"answers": {"text": ["a"], "answer_start": [3]}}),
        ),
    ] {
        let record = read_line(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let body = Body::Question { question: "q".into(), context: context.into(), answer: answer.into() };
        assert_eq!(record.body, body, "{line}");
        assert_eq!(Value::Object(record.extra.clone()), kept, "{line}");
        let again = read_line(&Value::Object(record.to_json())).expect("what was written");
        assert_eq!((again.body, again.extra), (record.body, record.extra));
    }
    for (line, wanted) in [
        (json!({"question": "q", "answers": {"text": []}}), "column \"answers.text\" is an empty list"),
        (
            json!({"question": "q", "answers": "a"}),
            "column \"answers\" must hold a list of answers, found a string",
        ),
        (
            json!({"question": "q", "answers": [1]}),
            "column \"answers[0]\" must hold a string, found a number",
        ),
        (json!({"question": "q", "answer": " "}), "column \"answer\" is blank"),
    ] {
        let error = read_line(&line).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    }
}

#[test]
fn calls_of_tools_and_parts_are_read() {
    let call = json!({"type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}});
    let tools = json!([{"type": "function", "function": {"name": "add"}}]);
    let line = json!({
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "v"}]},
            {"role": "assistant", "content": null, "tool_calls": [call.clone()]},
            {"role": "tool", "content": "2", "tool_call_id": "x", "name": "add"},
        ],
        "tools": tools.to_string(),
    });
    let record = read_line(&line).unwrap_or_else(|error| panic!("{error}"));
    let Body::Messages(messages) = &record.body else { panic!("{record:?}") };
    assert_eq!(messages[1], Message::new("user", "uv"));
    assert_eq!((messages[2].content.as_str(), messages[2].tool_calls()), ("", &[call][..]));
    assert_eq!(messages[3].extra["name"], "add");
    assert_eq!(Value::from(record.tools()), tools);
    let again = read_line(&Value::Object(record.to_json())).expect("what was written");
    assert_eq!((&again.body, &again.extra), (&record.body, &record.extra));

    // Two records that differ in a call are not duplicates.
    let mut other = record.clone();
    let Body::Messages(messages) = &mut other.body else { panic!("{record:?}") };
    messages[2].extra["tool_calls"][0]["function"]["name"] = json!("subtract");
    assert_eq!(remove_exact_duplicates(vec![record.clone(), other, record]).0.len(), 2);

    for (turn, wanted) in [
        (
            json!({"role": "user", "content": [{"type": "image"}]}),
            "messages[0].content[0].type\" must hold \"text\"",
        ),
        (json!({"role": "user", "content": ["u"]}), "messages[0].content[0]\" must hold an object"),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            "messages[0].content[0].text\" must hold a string",
        ),
        (json!({"role": "assistant", "content": null, "tool_calls": []}), "must hold a string, found null"),
    ] {
        let error = read_line(&json!({"messages": [turn]})).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    }
    let line = json!({"messages": [{"role": "assistant", "content": "a"}], "tools": "none"});
    let error = read_line(&line).expect_err("no list").to_string();
    assert!(error.contains("column \"tools\" must hold a list of tools, found a string"), "{error}");
}

#[test]
fn a_column_that_is_not_used_is_kept() {
    let line = json!({
        "messages": [{"role": "assistant", "content": "a"}],
        "conversations": [{"from": "gpt", "value": "b"}],
    });
    let record = read_line(&line).expect("one record");
    assert_eq!(record.extra["conversations"][0]["value"], "b");
}

#[test]
fn a_mapped_column_does_not_hide_another_one_when_written() {
    let extra: Map<String, Value> = [("prompt", json!("not this")), ("extra_prompt", json!(1))]
        .map(|(k, v)| (k.to_owned(), v))
        .into_iter()
        .collect();
    let body = Body::Completion { prompt: "p".into(), completion: "c".into() };
    let record = Record { body, origin: Origin::new("a", 1), extra };
    let wanted =
        json!({"prompt": "p", "completion": "c", "extra_extra_prompt": "not this", "extra_prompt": 1});
    assert_eq!(Value::Object(record.to_json()), wanted);
}

#[test]
fn gsm8k_is_read_without_a_mapping() {
    let Some(dir) = shared("data/gsm8k") else {
        return;
    };
    let records = Source::open(dir.join("test.jsonl")).expect("the file opens").read().expect("good records");
    assert_eq!(records.len(), 1319);
    assert!(records.iter().all(|record| record.shape() == Shape::Question && record.extra.is_empty()));
}

#[test]
fn a_writer_leaves_a_whole_file_or_none() {
    let dir = dir();
    let record = Record::new(Body::Text("äöü\n".to_owned()), Origin::new("a", 1));
    for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
        let path = dir.path().join(name);
        fs::write(&path, "old").expect("a file");
        let mut writer = JsonlWriter::create(&path).expect("a folder that can be written");
        writer.write(&record).expect("room");
        drop(writer);
        assert_eq!(fs::read(&path).expect("the old file"), b"old");
        let mut writer = JsonlWriter::create(&path).expect("a folder that can be written");
        for _ in 0..3 {
            writer.write(&record).expect("room");
        }
        assert_eq!(writer.finish().expect("room"), 3);
        let records = Source::open(&path).expect("a file").read().expect("good records");
        assert_eq!(records.iter().map(|record| &record.body).collect::<Vec<_>>(), [&record.body; 3]);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 3);
    let error = JsonlWriter::create(dir.path().join("none/a.jsonl")).expect_err("no folder").to_string();
    assert!(error.contains("cannot write"), "{error}");
}

#[test]
fn records_by_number_are_those_in_file_order() {
    let dir = dir();
    let path = dir.path().join("a.jsonl");
    let index = dir.path().join("a.jsonl.idx");
    let text = "\u{feff}{\"text\": \"0\"}\r\n\n \n{\"text\": \"1\"}\n{\"text\": \"2\"}\n\n{\"text\": \"3\"}";
    fs::write(&path, text).expect("a file");
    let read = Source::open(&path).expect("a file").read().expect("good records");
    // The index is made, then found, then found to be broken.
    for turn in 0..3 {
        let records = IndexedJsonl::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let found: Vec<Record> = records.iter().map(|record| record.expect("good")).collect();
        assert_eq!(found, read, "{turn}");
        if turn == 1 {
            let mut bytes = fs::read(&index).expect("the index");
            bytes[20] ^= 1;
            fs::write(&index, bytes).expect("a file");
        }
    }
    fs::write(&path, text.replace("\"1\"", "\"one\"")).expect("a file");
    let records = IndexedJsonl::open(&path).expect("the changed file");
    assert_eq!(records.get(1).expect("good").trained_text(), "one");
    assert_eq!(records.get(2).expect("good").trained_text(), "2");

    let elsewhere = dir.path().join("cache.idx");
    let location = IndexLocation::At(elsewhere.clone());
    let open = |location: &IndexLocation| IndexedJsonl::open_with(&path, location, Default::default(), None);
    assert_eq!(open(&location).expect("good").len(), 4);
    assert!(elsewhere.is_file());
    assert_eq!(open(&IndexLocation::Memory).expect("good").len(), 4);
    let error = open(&IndexLocation::At(dir.path().join("none/x.idx"))).expect_err("no folder").to_string();
    assert!(error.contains("cannot write"), "{error}");

    fs::write(&path, "\n").expect("a file");
    assert!(matches!(open(&IndexLocation::Memory), Err(DataError::EmptyFile { .. })));
    fs::write(&path, "{\"text\": \"0\"}\n{\n").expect("a file");
    let error =
        open(&IndexLocation::Memory).expect("one good record").get(1).expect_err("broken").to_string();
    assert!(error.contains("a.jsonl:2: not valid JSON"), "{error}");
    let packed = IndexedJsonl::open(dir.path().join("a.jsonl.gz")).expect_err("packed").to_string();
    assert!(packed.contains("not compressed"), "{packed}");
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}|[a-z\n\"\\\\ü\u{0}]{0,12}"
}

fn said() -> impl Strategy<Value = String> {
    (text(), "[a-z]{1,3}").prop_map(|(text, end)| format!("{text}{end}"))
}

fn body() -> impl Strategy<Value = Body> {
    let turn = (prop::sample::select(vec!["system", "user", "tool", "assistant"]), text(), any::<bool>());
    let turn = turn.prop_map(|(role, content, calls)| {
        let mut turn = Message::new(role, content);
        if calls {
            turn.extra.insert("tool_calls".to_owned(), json!([{"name": "f", "arguments": {"x": 1.5}}]));
        }
        turn
    });
    prop_oneof![
        said().prop_map(Body::Text),
        (text(), said()).prop_map(|(prompt, completion)| Body::Completion { prompt, completion }),
        (text(), text(), said()).prop_map(|(instruction, input, output)| Body::Alpaca {
            instruction,
            input,
            output
        }),
        (text(), text(), said()).prop_map(|(question, context, answer)| Body::Question {
            question,
            context,
            answer
        }),
        (prop::collection::vec(turn, 0..4), said()).prop_map(|(mut turns, last)| {
            turns.push(Message::new("assistant", last));
            Body::Messages(turns)
        }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |x| x.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(text(), 0..3).prop_map(Value::from),
    ];
    let extra = prop::collection::vec(("x[a-z]{0,4}", value), 0..4);
    (body(), extra).prop_map(|(body, extra)| Record {
        body,
        origin: Origin::new("a", 1),
        extra: extra.into_iter().collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_reads_the_same(record in record()) {
        let again = read_line(&Value::Object(record.to_json()));
        let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again.body, record.body);
        prop_assert_eq!(again.extra, record.extra);
    }

    #[test]
    fn shards_together_are_the_source(files in prop::collection::vec(0_usize..6, 1..4), count in 1_usize..9) {
        prop_assume!(files.iter().any(|records| *records > 0));
        let dir = dir();
        for (file, records) in files.iter().enumerate() {
            let lines: String = (0..*records).map(|at| format!("{{\"text\": \"{file}.{at}\"}}\n{{\n")).collect();
            fs::write(dir.path().join(format!("{file}.jsonl")), lines).expect("a file");
        }
        let source = Source::open(dir.path()).expect("a folder").with_on_error(burnisher_data::OnError::Skip);
        let whole = source.read().expect("good records");
        let mut shards: Vec<_> = (0..count)
            .map(|index| {
                let shard = Shard::new(index, count).expect("a shard");
                source.clone().with_shard(shard).read().expect("good records").into_iter()
            })
            .collect();
        let together: Vec<Record> = (0..whole.len()).map(|at| shards[at % count].next().expect("its record")).collect();
        prop_assert_eq!(together, whole);
        prop_assert!(shards.iter_mut().all(|shard| shard.next().is_none()));
    }
}
