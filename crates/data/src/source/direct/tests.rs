use proptest::prelude::*;

use super::super::jsonl::{line_text, parse_line};
use super::super::records::Assembler;
use super::*;
use crate::record::Record;

fn origin(line: usize) -> Origin {
    Origin::new("a.jsonl", line)
}

/// What the reference makes of a line.
fn reference(assembler: &mut Assembler, line: &[u8], at: usize) -> Result<Record, String> {
    let text = line_text(line, &origin(at));
    let element = text.and_then(|text| parse_line(text, origin(at)));
    element.and_then(|element| assembler.record(element)).map_err(|error| error.to_string())
}

#[test]
fn columns_are_those_of_the_shapes() {
    let names = COLUMNS.map(|column| format!("{column:?}").to_lowercase());
    assert_eq!(names.each_ref().map(String::as_str).as_slice(), Shape::canonical_columns());
    assert!(COLUMNS.iter().enumerate().all(|(at, column)| *column as usize == at));
}

/// The reference would hide that nothing is read here.
#[test]
fn common_lines_are_read_here() {
    for (shape, line) in [
        (Shape::Text, r#"{"text": "a\n\"b\" \u00fc", "id": {"x": [1, null]}}"#),
        (Shape::Completion, r#"{"prompt": "", "completion": "c", "text": "kept"}"#),
        (Shape::Alpaca, r#"{"instruction": "i", "input": null, "output": "o"}"#),
        (Shape::Alpaca, r#"{"output": "o", "instruction": "i"}"#),
        (Shape::Question, r#"{"question": "q", "context": "c", "answers": {"text": ["a"]}}"#),
        (Shape::Question, r#"{"question": "q", "answer": "a", "answers": []}"#),
        (
            Shape::Messages,
            r#"{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}"#,
        ),
        (Shape::Messages, r#"{"conversations": [{"from": "gpt", "value": "a"}], "tools": "[]"}"#),
    ] {
        let direct = Direct::new(shape, false, &ColumnMap::default()).expect("no paths");
        let (body, extra) =
            direct.read(line, &mut String::new(), &origin(1)).unwrap_or_else(|| panic!("{line}"));
        let wanted = reference(&mut Assembler::new(ColumnMap::default(), None), line.as_bytes(), 1);
        assert_eq!(Ok(Record { body, origin: origin(1), extra }), wanted, "{line}");
    }
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zü \\t]{0,6}".prop_map(|text| serde_json::to_string(&text).expect("a string")),
        2 => Just(r#""\u00e4\n\"\\\/\ud83d\ude00""#.to_owned()),
        1 => prop::sample::select(vec![r#""\ud800""#, r#""\x""#, "\"\u{1}\"", "\"a", "\" \""]).prop_map(str::to_owned),
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    let odd = vec![
        "null",
        "true",
        "0",
        "-1.5e3",
        "1e999",
        "18446744073709551616",
        "01",
        "nul",
        "[]",
        "{}",
        r#"[["a"], {"text": 1}]"#,
        r#"{"text": ["first"]}"#,
        r#"["first", "second"]"#,
        r#""[{\"role\": \"assistant\", \"content\": \"x\"}]""#,
    ];
    prop_oneof![3 => string(), 2 => prop::sample::select(odd).prop_map(str::to_owned)]
}

fn turn() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["role", "content", "from", "value", "name", "tool_calls", "x"]);
    let speaker = prop::sample::select(vec![
        "\"user\"",
        "\"assistant\"",
        "\"tool\"",
        "\"human\"",
        "\"gpt\"",
        "\"nobody\"",
    ]);
    let value = prop_oneof![2 => speaker.clone().prop_map(str::to_owned), 1 => scalar()];
    let free = prop::collection::vec((key, value), 0..4).prop_map(|pairs| object(&pairs));
    let tidy = (prop::sample::select(vec![("role", "content"), ("from", "value")]), speaker, string())
        .prop_map(|((who, what), speaker, text)| {
            object(&[(who, speaker.to_owned()), (what, text), ("name", "\"n\"".to_owned())])
        });
    prop_oneof![3 => tidy, 1 => free, 1 => scalar()]
}

fn value() -> impl Strategy<Value = String> {
    let turns = prop::collection::vec(turn(), 0..4).prop_map(|turns| format!("[{}]", turns.join(", ")));
    prop_oneof![4 => string(), 1 => scalar(), 2 => turns]
}

fn object<K: AsRef<str>>(pairs: &[(K, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("\"{}\": {value}", key.as_ref())).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let free = prop::sample::select(vec![
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "text",
        "te\\u0078t",
        "question",
        "context",
        "answer",
        "answers",
        "tools",
        "id",
        "q",
        "a.b",
        "",
    ]);
    let free = prop::collection::vec((free, value()), 0..6).prop_map(|pairs| object(&pairs));
    let shape = prop::sample::select(Shape::ALL.to_vec());
    let tidy = (shape, prop::collection::vec(value(), 3), prop::option::of(value())).prop_map(
        |(shape, values, beside)| {
            let names = shape.columns().iter().copied().zip(values);
            let pairs: Vec<(&str, String)> =
                beside.into_iter().map(|value| ("id", value)).chain(names).collect();
            object(&pairs)
        },
    );
    let whole = prop_oneof![3 => tidy, 3 => free, 1 => scalar()];
    // One in a few is cut off, or has a byte that is wrong.
    (
        whole,
        prop::option::weighted(0.1, any::<prop::sample::Index>()),
        prop::option::weighted(0.1, any::<u8>()),
    )
        .prop_map(|(text, at, byte)| {
            let mut bytes = text.into_bytes();
            if let Some(at) = at {
                let at = at.index(bytes.len());
                match byte {
                    Some(byte) => bytes[at] = byte,
                    None => bytes.truncate(at),
                }
            }
            bytes
        })
}

fn columns() -> impl Strategy<Value = ColumnMap> {
    let maps: Vec<&[(&str, &str)]> = vec![
        &[],
        &[],
        &[("prompt", "question"), ("completion", "answer")],
        &[("text", "prompt")],
        &[("messages", "tools")],
        &[("prompt", "tools"), ("answers", "messages")],
        &[("text", "a.b")],
        &[("question", "q"), ("answer", "")],
    ];
    prop::sample::select(maps).prop_map(|pairs| ColumnMap::new(pairs.iter().copied()).expect("known columns"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Records, their columns in order, and errors with their places.
    #[test]
    fn lines_are_read_as_by_the_reference(
        lines in prop::collection::vec(line(), 1..5),
        columns in columns(),
        fixed in prop::option::weighted(0.3, prop::sample::select(Shape::ALL.to_vec())),
        same in any::<bool>(),
    ) {
        let mut fast = Assembler::new(columns.clone(), fixed);
        let mut slow = Assembler::new(columns, fixed);
        // The same line twice comes to this reader once the shape is known.
        let lines = lines.iter().flat_map(|line| std::iter::repeat_n(line, if same { 2 } else { 1 }));
        for (number, line) in (1..).zip(lines) {
            let found = fast.line(line, origin(number)).map_err(|error| error.to_string());
            let wanted = reference(&mut slow, line, number);
            prop_assert_eq!(&found, &wanted, "{}", String::from_utf8_lossy(line));
            if let (Ok(found), Ok(wanted)) = (found, wanted) {
                let text = |record: &Record| Value::Object(record.extra.clone()).to_string();
                prop_assert_eq!(text(&found), text(&wanted));
            }
        }
    }
}
