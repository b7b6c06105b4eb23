use std::fs;

use burnisher_data::{Body, ColumnMap, DataError, Message, Record, Shape, Source};
use tempfile::TempDir;

use crate::shared;

/// The records of a file with these bytes, under the given name.
fn read(
    name: &str,
    bytes: &[u8],
    configure: impl FnOnce(Source) -> Source,
) -> Result<Vec<Record>, DataError> {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("a file");
    configure(Source::open(&path)?).read()
}

fn read_lines(text: &str) -> Result<Vec<Record>, DataError> {
    read("a.jsonl", text.as_bytes(), |source| source)
}

fn columns(pairs: &[(&str, &str)]) -> ColumnMap {
    ColumnMap::new(pairs.iter().copied()).expect("known columns")
}

fn completion(prompt: &str, completion: &str) -> Body {
    Body::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
}

fn messages(turns: &[(&str, &str)]) -> Body {
    Body::Messages(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
}

fn alpaca(instruction: &str, input: &str, output: &str) -> Body {
    Body::Alpaca { instruction: instruction.to_owned(), input: input.to_owned(), output: output.to_owned() }
}

#[test]
fn shapes_are_recognised_by_their_columns() {
    let chat = [("system", "s"), ("user", "u"), ("assistant", "a"), ("tool", "t")];
    for (line, body) in [
        (r#"{"text": "t"}"#, Body::Text("t".to_owned())),
        (r#"{"id": 7, "text": " t\n"}"#, Body::Text(" t\n".to_owned())),
        (r#"{"prompt": "p", "completion": "c"}"#, completion("p", "c")),
        (r#"{"prompt": "", "completion": "c"}"#, completion("", "c")),
        (
            r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
            messages(&chat[..3]),
        ),
        (
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "name": "x"}, {"content": "t", "role": "tool"}]}"#,
            messages(&chat),
        ),
        (
            r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}, {"from": "observation", "value": "t"}]}"#,
            messages(&chat),
        ),
        (
            r#"{"conversations": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#,
            messages(&chat[1..3]),
        ),
        (r#"{"instruction": "i", "output": "o"}"#, alpaca("i", "", "o")),
        (r#"{"instruction": "i", "input": "in", "output": "o"}"#, alpaca("i", "in", "o")),
        (r#"{"instruction": "i", "input": null, "output": "o"}"#, alpaca("i", "", "o")),
        // Two shapes at once: the documented order decides.
        (r#"{"instruction": "i", "output": "o", "text": "t"}"#, alpaca("i", "", "o")),
        (r#"{"text": "t", "completion": "c", "prompt": "p"}"#, completion("p", "c")),
    ] {
        let records = read_lines(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(records.len(), 1, "{line}");
        assert_eq!(records[0].body, body, "{line}");
        assert_eq!(records[0].origin.line, 1, "{line}");
    }
}

#[test]
fn lines_may_be_blank_end_in_crlf_and_follow_a_byte_order_mark() {
    let bytes = b"\xEF\xBB\xBF{\"text\": \"one\"}\r\n\r\n  \n{\"text\": \"two\"}\n\t{\"text\": \"three\"}";
    let records = read("a.jsonl", bytes, |source| source).expect("three records");
    let found: Vec<(usize, String)> =
        records.iter().map(|record| (record.origin.line, record.trained_text())).collect();
    assert_eq!(found, [(1, "one".to_owned()), (4, "two".to_owned()), (5, "three".to_owned())]);
    assert!(records[1].origin.to_string().ends_with("a.jsonl:4"), "{}", records[1].origin);
}

#[test]
fn a_json_file_may_hold_one_array_or_lines() {
    for text in [
        "[\n  {\"text\":\n \"one\"},\n\n  {\"text\": \"two\"} ,{\"text\": \"three\"}\n]\n",
        "\u{feff}\n{\"text\": \"one\"}\n\n\n{\"text\": \"two\"}\n{\"text\": \"three\"}",
    ] {
        let records =
            read("a.JSON", text.as_bytes(), |source| source).unwrap_or_else(|error| panic!("{error}"));
        let texts: Vec<String> = records.iter().map(Record::trained_text).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(records[0].origin.line, 2);
        assert_eq!(records[1].origin.line, 5);
    }
}

#[test]
fn columns_are_mapped_by_name() {
    let map = columns(&[("prompt", "question"), ("completion", "answer")]);
    let line = br#"{"question": "q", "answer": "a", "prompt": "not this", "text": "nor this"}"#;
    let records = read("a.jsonl", line, |source| source.with_columns(map)).expect("one record");
    assert_eq!(records[0].body, completion("q", "a"));

    let map = columns(&[("messages", "turns")]);
    let line = br#"{"turns": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}"#;
    let records = read("a.jsonl", line, |source| source.with_columns(map)).expect("one record");
    assert_eq!(records[0].body, messages(&[("user", "u"), ("assistant", "a")]));

    let map = columns(&[("prompt", "text")]);
    let line = br#"{"text": "p", "completion": "c"}"#;
    let records = read("a.jsonl", line, |source| source.with_columns(map)).expect("one record");
    assert_eq!(records[0].body, completion("p", "c"));
}

#[test]
fn a_fixed_shape_is_not_recognised() {
    let lines = b"{\"text\": \"t\", \"prompt\": \"p\", \"completion\": \"c\"}\n{\"text\": \"u\"}";
    let records = read("a.jsonl", lines, |source| source.with_shape(Some(Shape::Text))).expect("two records");
    assert_eq!(records[0].body, Body::Text("t".to_owned()));
    assert_eq!(records[1].body, Body::Text("u".to_owned()));
}

/// Every bad file, with the parts that its message must have.
#[test]
fn bad_files_are_clear_errors() {
    let good = "{\"text\": \"t\"}\n";
    let with = |line: &str| format!("{good}{line}\n{good}");
    let cases: &[(String, &[&str])] = &[
        (String::new(), &["a.jsonl holds no records"]),
        ("\u{feff}\n \r\n".to_owned(), &["holds no records"]),
        (with(r#"{"text": "t""#), &["a.jsonl:2: not valid JSON", "column 12", "cut off"]),
        (with(r#"{"text": t}"#), &["a.jsonl:2: not valid JSON", "expected", "column 1"]),
        (with(r#"{"text": "t"} {"text": "u"}"#), &["a.jsonl:2: not valid JSON: trailing characters (column 15)"]),
        (with(r#"{"text": NaN}"#), &["a.jsonl:2: not valid JSON"]),
        (format!("{good}{{\"text\": \"a line that was cu"), &["a.jsonl:2: not valid JSON", "cut off"]),
        (with("[1]"), &["a.jsonl:2: a record must be a JSON object, found an array"]),
        (with("\"t\""), &["a.jsonl:2: a record must be a JSON object, found a string"]),
        (with("{}"), &["a.jsonl:2: column \"text\" is missing; the record has: nothing"]),
        (
            with(r#"{"id": 1, "Text ": "t"}"#),
            &["a.jsonl:2: column \"text\" is missing (did you mean \"Text \"?); the record has: id, Text "],
        ),
        (with(r#"{"text": 5}"#), &["a.jsonl:2: column \"text\" must hold a string, found a number"]),
        (with(r#"{"text": null}"#), &["a.jsonl:2: column \"text\" must hold a string, found null"]),
        (with(r#"{"text": " \n"}"#), &["a.jsonl:2: no assistant text: column \"text\" is blank"]),
        (
            with(r#"{"prompt": "p", "completion": "c"}"#),
            &["a.jsonl:2: this record has the shape completion, the file began with text"],
        ),
        (
            r#"{"query": "q", "reply": "a"}"#.to_owned(),
            &["a.jsonl:1: no known shape has the columns query, reply", "prompt + completion", "`columns`"],
        ),
        (
            r#"{"prompt": "p", "completion": ""}"#.to_owned(),
            &["a.jsonl:1: no assistant text: column \"completion\" is blank"],
        ),
        (
            r#"{"prompt": "p", "completion": ["c"]}"#.to_owned(),
            &["a.jsonl:1: column \"completion\" must hold a string, found an array"],
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "completion": []}"#
                .to_owned(),
            &["a.jsonl:1: column \"prompt[1].role\"", "found assistant"],
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "u"}], "completion": []}"#.to_owned(),
            &["a.jsonl:1: no assistant text: column \"completion\" is an empty list"],
        ),
        (
            r#"{"instruction": "i", "output": "\t"}"#.to_owned(),
            &["a.jsonl:1: no assistant text: column \"output\" is blank"],
        ),
        (
            r#"{"instruction": "i", "input": 3, "output": "o"}"#.to_owned(),
            &["a.jsonl:1: column \"input\" must hold a string, found a number"],
        ),
        (r#"{"messages": []}"#.to_owned(), &["a.jsonl:1: no assistant text: column \"messages\" is an empty list"]),
        (
            r#"{"messages": "hello"}"#.to_owned(),
            &["a.jsonl:1: column \"messages\" must hold a list of messages, found a string"],
        ),
        (r#"{"messages": ["hello"]}"#.to_owned(), &["a.jsonl:1: column \"messages[0]\" must hold an object"]),
        (
            r#"{"messages": [{"role": "user", "text": "u"}]}"#.to_owned(),
            &["a.jsonl:1: column \"messages[0].content\" is missing; the record has: messages[0].role"],
        ),
        (
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": null}]}"#.to_owned(),
            &["a.jsonl:1: column \"messages[1].content\" must hold a string, found null"],
        ),
        (
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "asistant", "content": "a"}]}"#.to_owned(),
            &["a.jsonl:1: no assistant text: column \"messages\" has the roles user, asistant"],
        ),
        (
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": " "}]}"#.to_owned(),
            &["a.jsonl:1: no assistant text: every assistant message in column \"messages\" is blank"],
        ),
        (
            r#"{"conversations": [{"from": "humna", "value": "u"}]}"#.to_owned(),
            &["a.jsonl:1: conversations[0].from is \"humna\"; wanted one of human, user, gpt"],
        ),
    ];
    for (text, wanted) in cases {
        let error = read_lines(text).expect_err(text).to_string();
        for part in wanted.iter() {
            assert!(error.contains(part), "{text:?}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn bad_arrays_are_clear_errors() {
    for (text, wanted) in [
        ("[]", "a.json holds no records"),
        ("[\n{\"text\": \"t\"}\n", "a.json:3: not valid JSON: the array has no end"),
        ("[\n{\"text\": \"t\"},\n", "a.json:3: not valid JSON: the array has no end"),
        (
            "[\n{\"text\": \"t\"},\n  {\"text\": \"u",
            "a.json:3: not valid JSON: EOF while parsing a string (column 13)",
        ),
        ("[\n{\"text\": \"t\"},\n{\"text\":\n  u}]", "a.json:4: not valid JSON: expected value (column 3)"),
        (
            "[{\"text\": \"t\"} {\"text\": \"u\"}]",
            "a.json:1: not valid JSON: expected `,` or `]` (column 16)",
        ),
        ("[{\"text\": \"t\"},]", "a.json:1: not valid JSON: expected value (column 16)"),
        (
            "[{\"text\": \"t\"}]\n[",
            "a.json:2: not valid JSON: characters after the end of the array (column 1)",
        ),
        ("[{\"text\": \"t\"},\n 4]", "a.json:2: a record must be a JSON object, found a number"),
    ] {
        let error = read("a.json", text.as_bytes(), |source| source).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text:?}: {error:?} lacks {wanted:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_named() {
    for name in ["a.jsonl", "a.json"] {
        let bytes = match name {
            "a.json" => &b"[{\"text\": \"t\"},\n{\"text\": \"\xFF\"}]"[..],
            _ => &b"{\"text\": \"t\"}\n{\"text\": \"\xFF\"}"[..],
        };
        let error = read(name, bytes, |source| source).expect_err(name).to_string();
        assert!(
            error.contains(&format!("{name}:2: not valid UTF-8 (first wrong byte at column 11)")),
            "{error}"
        );
    }
}

#[test]
fn a_mapped_column_must_be_there() {
    let map = columns(&[("prompt", "qestion"), ("completion", "answer")]);
    let line = br#"{"question": "q", "answer": "a"}"#;
    let error = read("a.jsonl", line, |source| source.with_columns(map)).expect_err("a typo").to_string();
    assert!(
        error.contains(
            "a.jsonl:1: column \"qestion\" is missing (did you mean \"question\"?); the record has: question, answer"
        ),
        "{error}"
    );
}

#[test]
fn a_mapping_is_checked() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("promt", "question")],
            "\"promt\" is not a column of any shape (did you mean \"prompt\"?); known are",
        ),
        (
            &[("zzz", "question")],
            "\"zzz\" is not a column of any shape; known are messages, conversations, prompt",
        ),
        (&[("completion", "x"), ("prompt", "x")], "\"completion\" and \"prompt\" are both mapped to \"x\""),
    ];
    for (pairs, wanted) in cases {
        let error = ColumnMap::new(pairs.iter().copied()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let dir = TempDir::new().expect("a temporary directory");
    let error = Source::open(dir.path().join("none.jsonl")).expect_err("no file").to_string();
    assert!(error.contains("cannot read") && error.contains("none.jsonl"), "{error}");
}

#[test]
fn the_iterator_ends_after_its_first_error() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("a.jsonl");
    fs::write(&path, "{\"text\": \"t\"}\n{\n{\"text\": \"u\"}\n").expect("a file");
    let records = Source::open(&path).and_then(|source| source.records()).expect("the file opens");
    let found: Vec<bool> = records.map(|record| record.is_ok()).collect();
    assert_eq!(found, [true, false]);
}

#[test]
fn gsm8k_is_read_whole() {
    let Some(dir) = shared("data/gsm8k") else {
        return;
    };
    let map = columns(&[("prompt", "question"), ("completion", "answer")]);
    for (file, wanted) in [("train.jsonl", 7473), ("test.jsonl", 1319)] {
        let source = Source::open(dir.join(file)).expect("the file opens").with_columns(map.clone());
        let records = source.read().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(records.len(), wanted);
        assert_eq!(records[wanted - 1].origin.line, wanted);
        assert!(records.iter().all(|record| record.shape() == Shape::Completion));
    }
}
