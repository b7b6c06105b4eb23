use burnisher_data::{Body, DataError, OnError, SkipReason, Source, SourceRow};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{file, gzip, rows, rows_of, shown, skipping, utf16};

/// Two articles in the layout of `train-v1.1.json` and `dev-v2.0.json`.
fn nested() -> Value {
    json!({
        "version": "v2.0]}",
        "data": [
            {
                "title": "Normans",
                "paragraphs": [
                    {
                        "context": " The \"Normans\" [were] in France.",
                        "qas": [
                            {
                                "question": "Where were they?",
                                "id": "56ddde6b9a695914005b9628",
                                "answers": [{ "text": "France", "answer_start": 26 }, { "text": "in France", "answer_start": 23 }],
                                "is_impossible": false
                            },
                            {
                                "plausible_answers": [{ "text": "France", "answer_start": 26 }],
                                "question": "Where are they?",
                                "id": "5ad39d53604f3c001a3fe8d1",
                                "answers": [],
                                "is_impossible": true
                            }
                        ]
                    },
                    { "context": "Nothing asked.", "qas": [] }
                ]
            },
            { "paragraphs": [{ "document_id": 7, "context": "C", "qas": [{ "question": "Q?", "answers": [{ "text": "C", "answer_start": 0 }] }] }] }
        ],
        "note": { "data": [] }
    })
}

const FLAT: [&str; 3] = [
    r#"{"id":"56ddde6b9a695914005b9628","title":"Normans","context":" The \"Normans\" [were] in France.","question":"Where were they?","answers":{"text":["France","in France"],"answer_start":[26,23]},"is_impossible":false}"#,
    r#"{"id":"5ad39d53604f3c001a3fe8d1","title":"Normans","context":" The \"Normans\" [were] in France.","question":"Where are they?","answers":{"text":[],"answer_start":[]},"plausible_answers":[{"text":"France","answer_start":26}],"is_impossible":true}"#,
    r#"{"title":"","context":"C","question":"Q?","answers":{"text":["C"],"answer_start":[0]},"document_id":7}"#,
];

fn texts(rows: &[SourceRow]) -> Vec<String> {
    shown(rows).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_nested_file_has_a_row_per_question() {
    let (line, pretty) = (nested().to_string(), format!("\n{:#}\n", nested()));
    let first = pretty.lines().position(|line| line == "    {").expect("the first article") + 1;
    for (name, bytes, wanted) in [
        ("a.json", line.as_bytes().to_vec(), 1),
        ("a.json", pretty.as_bytes().to_vec(), first),
        ("a.JSON", format!("\u{feff}{pretty}").into_bytes(), first),
        ("a.json", utf16(&pretty), first),
        ("a.json.gz", gzip(pretty.as_bytes()), first),
    ] {
        let found = rows_of(name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(texts(&found), FLAT, "{name}");
        assert_eq!((found[0].origin.line, found[1].origin.line), (wanted, wanted), "{name}");
        assert!(wanted == 1 || found[2].origin.line > wanted, "{name}");
    }
}

#[test]
fn its_records_are_questions() {
    let (_dir, path) = file("a.json", nested().to_string().as_bytes());
    let source = Source::open(path).expect("a file");
    let error = source.read().expect_err("a question without an answer").to_string();
    assert!(error.contains("no assistant text: column \"answers.text\" is an empty list"), "{error}");
    let (records, report) = source.with_on_error(OnError::Skip).read_with_report().expect("two records");
    assert_eq!(report.skipped[&SkipReason::NoAnswer], 1);
    assert_eq!(
        records[0].body,
        Body::Question {
            question: "Where were they?".into(),
            context: " The \"Normans\" [were] in France.".into(),
            answer: "France".into()
        }
    );
    assert_eq!(records[0].extra["title"], "Normans");
    assert_eq!(records[0].extra["answers"]["answer_start"], json!([26, 23]));
    assert_eq!(records.len(), 2);
}

#[test]
fn other_objects_stay_what_they_are() {
    for text in [
        r#"{"data": []}"#,
        r#"{"data": [1, {"paragraphs": [{"qas": []}]}]}"#,
        r#"{"data": [{"paragraphs": [{"text": "no qas"}]}]}"#,
        r#"{"data": [{"paragraphs": {"qas": []}}]}"#,
        r#"{"other": [{"paragraphs": [{"qas": []}]}]}"#,
        r#"{"x": {"data": [{"paragraphs": [{"qas": []}]}]}}"#,
        r#"{"x": "\",\"data\":[{\"paragraphs\":[{\"qas\":[]}]}]"}"#,
        r#"{"data": {"paragraphs": [{"qas": []}]}}"#,
        "{}",
    ] {
        let lines = format!("{text}\n{text}");
        let found = rows_of("a.json", lines.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let wanted: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(texts(&found), [wanted.to_string(), wanted.to_string()], "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_and_only_that_left_out() {
    let good = r#"{"id": 1, "question": "Q", "answers": []}"#;
    for (question, wanted) in [
        ("7", "column \"data[0].paragraphs[1].qas[1]\" must hold an object, found a number"),
        (
            r#"{"qestion": "Q"}"#,
            "column \"data[0].paragraphs[1].qas[1].question\" is missing (did you mean \"qestion\"?)",
        ),
        (r#"{"question": 1}"#, "column \"data[0].paragraphs[1].qas[1].question\" must hold a string"),
        (r#"{"question": "Q", "answers": "A"}"#, "qas[1].answers\" must hold a list, found a string"),
        (r#"{"question": "Q", "answers": [{"answer_start": 0}]}"#, "qas[1].answers[0].text\" is missing"),
        (r#"{"question": "Q", "answers": [{"text": "A"}]}"#, "qas[1].answers[0].answer_start\" is missing"),
        (
            r#"{"question": "Q", "answers": [{"text": "A", "answer_start": 0.5}]}"#,
            "qas[1].answers[0].answer_start\" must hold a whole number, found a number",
        ),
    ] {
        let text = format!(
            "{{\"data\": [\n{{\"paragraphs\": [{{\"context\": \"C\", \"qas\": []}}, {{\"context\": \"C\", \"qas\": [{good}, {question}, {good}]}}]}}]}}"
        );
        let error = rows_of("a.json", text.as_bytes()).expect_err(question).to_string();
        assert!(error.contains("a.json:2: ") && error.contains(wanted), "{error:?} lacks {wanted:?}");
        let (found, report) = skipping("a.json", text.as_bytes());
        assert_eq!((found.len(), report.skipped[&SkipReason::WrongColumns]), (2, 1), "{question}");
    }
    let first = format!(r#"{{"paragraphs": [{{"context": "C", "qas": [{good}]}}]}}"#);
    for (article, wanted) in [
        ("[]", "column \"data[1]\" must hold an object, found an array"),
        ("{}", "column \"data[1].paragraphs\" is missing; the record has: nothing"),
        (r#"{"title": 1, "paragraphs": []}"#, "column \"data[1].title\" must hold a string, found a number"),
        (r#"{"paragraphs": [{"qas": []}]}"#, "column \"data[1].paragraphs[0].context\" is missing"),
        (r#"{"paragraphs": [{"context": "C"}]}"#, "column \"data[1].paragraphs[0].qas\" is missing"),
    ] {
        let text = format!("{{\"data\": [{first},\n{article},\n{first}], \"version\": 1}}");
        let error = rows_of("a.json", text.as_bytes()).expect_err(article).to_string();
        assert!(error.contains("a.json:2: ") && error.contains(wanted), "{error:?} lacks {wanted:?}");
        let (found, report) = skipping("a.json", text.as_bytes());
        assert_eq!((found.len(), report.total_skipped()), (2, 1), "{article}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_goes_on_is_an_error() {
    let whole = nested().to_string();
    let list = whole.find("],\"note\"").expect("the end of the list");
    for (text, wanted) in [
        (whole[..list].to_owned(), "a.json:1: not valid JSON: the array has no end"),
        (whole[..=list].to_owned(), "the object has no end; is the file cut off?"),
        (whole[..whole.len() - 1].to_owned(), "the object has no end; is the file cut off?"),
        (format!("{whole}\n{whole}"), "characters after the end of the object"),
    ] {
        let error = rows_of("a.json", text.as_bytes()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
        let (found, report) = skipping("a.json", text.as_bytes());
        assert_eq!(
            (texts(&found), report.total_skipped()),
            (FLAT.map(str::to_owned).to_vec(), 1),
            "{wanted}"
        );
    }
}

#[test]
fn an_article_has_a_limit() {
    let article = |context: &str| json!({ "paragraphs": [{ "context": context, "qas": [{ "question": "Q", "answers": [] }] }] });
    let long = "x".repeat(500);
    for (articles, found) in [([article("C"), article(&long)], 1), ([article(&long), article("C")], 0)] {
        let (_dir, path) = file("a.json", json!({ "data": articles }).to_string().as_bytes());
        let source = Source::open(path).expect("a file").with_max_record_bytes(200);
        let error = rows(&source).expect_err("an article of 500 bytes").to_string();
        assert!(error.contains("a.json:1: a record of more than 200 bytes"), "{error}");
        let read = rows(&source.with_on_error(OnError::Skip));
        match found {
            0 => assert!(matches!(read, Err(DataError::EmptyFile { .. }))),
            _ => assert_eq!(read.expect("the first").0.len(), found),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn flattened_by_hand_it_is_the_same(
        articles in prop::collection::vec(
            prop::collection::vec((any::<String>(), prop::collection::vec(any::<String>(), 0..4)), 1..4), 1..5),
        pretty in any::<bool>(),
        version_first in any::<bool>(),
    ) {
        let mut wanted = Vec::new();
        let data: Vec<Value> = articles.iter().enumerate().map(|(index, paragraphs)| {
            let title = format!("[{index}]");
            let paragraphs: Vec<Value> = paragraphs.iter().map(|(context, questions)| {
                let qas: Vec<Value> = questions.iter().map(|question| {
                    wanted.push(json!({
                        "id": context, "title": title, "context": context, "question": question,
                        "answers": { "text": [question], "answer_start": [index] }
                    }).to_string());
                    let answers = [json!({ "answer_start": index, "text": question })];
                    json!({ "answers": answers, "question": question, "id": context })
                }).collect();
                json!({ "qas": qas, "context": context })
            }).collect();
            json!({ "paragraphs": paragraphs, "title": title })
        }).collect();
        let file = match version_first {
            true => json!({ "version": "1.1", "data": data }),
            false => json!({ "data": data, "version": "1.1" }),
        };
        let text = if pretty { format!("{file:#}") } else { file.to_string() };
        match rows_of("a.json", text.as_bytes()) {
            Ok(found) => prop_assert_eq!(texts(&found), wanted),
            Err(error) => prop_assert!(wanted.is_empty() && matches!(error, DataError::EmptyFile { .. }), "{}", error),
        }
    }
}
