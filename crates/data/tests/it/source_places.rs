//! Where records stand, and how much of a file is lost where it is wrong.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use burnisher_data::{
    LeakAudit, LeakConfig, MinHashConfig, OnError, Origin, Record, Records, SignatureIndex, Sketch,
    SkipReason, Source, SourceReport, TextUnit, find_leaks,
};
use tempfile::TempDir;

use crate::passage;

fn source(dir: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> Source {
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("a file");
    Source::open(&path).expect("a file")
}

fn folder() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// The message of the error, from the file's name on.
fn error_of(source: &Source) -> String {
    let error = source.read().expect_err("a bad file").to_string();
    let folder = source.path().parent().expect("a folder").display().to_string();
    error.replace(&format!("{folder}/"), "")
}

/// The places from the file's name on, and the texts.
fn places(records: &[Record]) -> Vec<(String, String)> {
    let name = |origin: &Origin| {
        let file = Path::new(&*origin.file).file_name().expect("a name").to_string_lossy().into_owned();
        Origin { file: file.into(), ..origin.clone() }.to_string()
    };
    records.iter().map(|record| (name(&record.origin), record.trained_text())).collect()
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_where_it_opens() {
    let dir = folder();
    let long = format!("text,label\none,1\n\"two,2\n{}", "three,3\n".repeat(20_000));
    for (table, wanted) in [
        (
            "text,label\none,1\n\"two,2\nthree,3\n",
            Some("a.csv:3: not a valid row: column \"text\" opens a quote"),
        ),
        (
            long.as_str(),
            Some("a.csv:3: not a valid row: column \"text\" opens a quote that the file never closes"),
        ),
        (
            "text,label\r\none,1\r\n\r\ntwo,\"2\r\nthree,3\r\n",
            Some("a.csv:4: not a valid row: column \"label\""),
        ),
        ("text,label\n\"a\nb\",\"c\nd\n", Some("a.csv:3: not a valid row: column \"label\"")),
        ("text,\"label\none,1\n", Some("a.csv:1: not a valid row: column 2 opens a quote")),
        ("text,label\none,1\ntwo,\"", Some("a.csv:3: not a valid row: column \"label\"")),
        ("text\n\"one\"\"", Some("a.csv:2: not a valid row: column \"text\"")),
        ("text\n\"one\"", None),
        ("text\n\"one\"\r\n", None),
        ("text\n\"one\n\"", None),
        ("text\n\"one\"\"\"", None),
        // Only a cell that begins with a quote is quoted.
        ("text\none\"", None),
        ("text\none\"\n\n\n", None),
    ] {
        let source = source(&dir, "a.csv", table);
        match wanted {
            None => assert_eq!(source.read().map(|records| records.len()).ok(), Some(1), "{table:?}"),
            Some(wanted) => {
                let error = error_of(&source);
                assert!(error.starts_with(wanted), "{table:.60?}: {error:?} does not begin with {wanted:?}");
            }
        }
    }
    let skipping = source(&dir, "a.csv", long).with_on_error(OnError::Skip);
    let (records, report) = skipping.read_with_report().expect("one good row");
    assert_eq!(places(&records), pairs(&[("a.csv:2", "one")]));
    assert_eq!((report.total_skipped(), report.skipped[&SkipReason::NotValid]), (1, 1));
    assert_eq!(report.first[0].origin.line, 3);
}

#[test]
fn rows_are_where_their_first_line_is() {
    let dir = folder();
    for (table, wanted) in [
        (
            "text,label\r\none,1\r\n\r\n\"two\r\nlines\",2\r\nthree,3",
            [("a.csv:2", "one"), ("a.csv:4", "two\r\nlines"), ("a.csv:6", "three")],
        ),
        (
            "\ntext,label\none,1\n\n\n\"two\n\n\",2\nthree,3\n\n",
            [("a.csv:3", "one"), ("a.csv:6", "two\n\n"), ("a.csv:9", "three")],
        ),
        // Lines as of the first Macs are not counted, rows are.
        (
            "text,label\rone,1\rtwo,2\rthree,3\r",
            [("a.csv record 1", "one"), ("a.csv record 2", "two"), ("a.csv record 3", "three")],
        ),
    ] {
        let records =
            source(&dir, "a.csv", table).read().unwrap_or_else(|error| panic!("{table:?}: {error}"));
        assert_eq!(places(&records), pairs(&wanted), "{table:?}");
    }
    let table = "text,label\r\none,1\r\n\r\ntwo\r\n";
    assert!(
        error_of(&source(&dir, "a.csv", table)).starts_with("a.csv:4: not a valid row: the row has 1 cells")
    );
    let table = format!("text,label\r\none,1\r\n\"{}\",2\r\n", "x".repeat(200_000));
    let limited = source(&dir, "a.csv", table).with_max_record_bytes(1000);
    assert!(
        error_of(&limited).starts_with("a.csv:3: a record of more than 1000 bytes"),
        "{}",
        error_of(&limited)
    );
}

#[test]
fn a_paragraph_that_is_too_long_is_skipped_whole() {
    let dir = folder();
    let (x, y, long) = ("x".repeat(60), "y".repeat(60), "z".repeat(200));
    let read = |text: &str| {
        let source =
            source(&dir, "a.md", text).with_text_unit(TextUnit::Paragraph).with_max_record_bytes(100);
        let stopped = source.read().err().map(|error| error.to_string());
        let (records, report) =
            source.with_on_error(OnError::Skip).read_with_report().expect("good paragraphs");
        let skipped: Vec<usize> = report.first.iter().map(|skipped| skipped.origin.line).collect();
        assert_eq!(report.skipped.get(&SkipReason::TooLong).copied().unwrap_or(0), skipped.len());
        (places(&records), skipped, stopped)
    };
    for (text, line) in [
        (format!("one\n\n{x}\n{y}\ntail\nof it\n\nend\n"), 3),
        // A line that is too long alone, in the middle, at the beginning, at the end.
        (format!("one\n\nhead\n{long}\ntail\n\n\nend\n"), 3),
        (format!("one\n\n{long}\ntail\n\nend"), 3),
        (format!("one\n\nhead\n{long}\n\nend"), 3),
    ] {
        let (records, skipped, stopped) = read(&text);
        assert_eq!(
            records.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["one", "end"],
            "{text}"
        );
        assert_eq!(skipped, [line], "{text}");
        let stopped = stopped.expect("a paragraph that is too long");
        assert!(stopped.contains("a.md:3: a record of more than 100 bytes"), "{stopped}");
    }
    // As long as allowed: 60 bytes, a line break, 39 bytes.
    let (records, skipped, _) = read(&format!("{x}\n{}\n\nend", &y[..39]));
    assert_eq!((records[0].1.len(), records.len(), skipped.len()), (100, 2, 0));
    let (records, skipped, _) = read(&format!("{x}\n{}\n\nend", &y[..40]));
    assert_eq!((records.len(), skipped), (1, vec![1]));
}

#[test]
fn elements_that_share_a_line_are_numbered() {
    let dir = folder();
    for (text, wanted) in [
        (
            r#"[{"text": "a"}, {"text": "b"},{"text": "c"}]"#,
            [("a.json record 1", "a"), ("a.json record 2", "b"), ("a.json record 3", "c")],
        ),
        (
            "[{\"text\": \"a\"},\n{\"text\": \"b\"},\n{\"text\": \"c\"}]",
            [("a.json:1", "a"), ("a.json:2", "b"), ("a.json:3", "c")],
        ),
        (
            "[{\"text\":\n\"a\"}, {\"text\": \"b\"},\n{\"text\": \"c\"}\n]",
            [("a.json:1", "a"), ("a.json:2", "b"), ("a.json:3", "c")],
        ),
        (
            "[{\"text\": \"a\"}\n, {\"text\": \"b\"}, {\"text\":\n\"c\"}]",
            [("a.json:1", "a"), ("a.json record 2", "b"), ("a.json record 3", "c")],
        ),
    ] {
        let records = source(&dir, "a.json", text).read().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(places(&records), pairs(&wanted), "{text}");
        assert_eq!(records.iter().map(|record| &record.origin).collect::<HashSet<_>>().len(), 3);
        assert!(records.is_sorted_by_key(|record| &record.origin));
    }
    let error = error_of(&source(&dir, "a.json", r#"[{"text": "a"}, {"txt": "b"}, {"text": "c"}]"#));
    assert!(error.starts_with("a.json record 2: column \"text\" is missing"), "{error}");
    // What has a column has a line.
    let error = error_of(&source(&dir, "a.json", r#"[{"text": "a"}, {"text": b}]"#));
    assert!(error.starts_with("a.json:1: not valid JSON: expected value (column 26)"), "{error}");
}

#[test]
fn leaks_on_one_line_are_counted_one_by_one() {
    let dir = folder();
    let object = |name: &str| serde_json::json!({ "text": passage(name, 20) });
    let train =
        source(&dir, "train.json", serde_json::json!([object("a"), object("b"), object("c")]).to_string());
    let test =
        source(&dir, "test.json", serde_json::json!([object("a"), object("d"), object("b")]).to_string());
    let (train, test) = (train.read().expect("records"), test.read().expect("records"));
    let report = find_leaks(&train, &test, LeakConfig::default()).expect("good settings");
    assert_eq!((report.pairs.len(), report.leaked().len(), report.leaked_questions().len()), (2, 2, 0));
    assert!(report.to_string().contains("test.json record 3"), "{report}");
    let audit =
        LeakAudit::new(&train, LeakConfig::default()).expect("good settings").against("test", &test).finish();
    assert!(audit.to_string().contains("2 of 3 records share"), "{audit}");
    let (kept, removal) = audit.remove(train.clone()).expect("one record is left");
    let removed: HashSet<&Origin> = removal.removed.iter().collect();
    assert_eq!((kept.len(), removed.len()), (1, 2));

    // An index of signatures knows the places too.
    let mut index = SignatureIndex::new(Sketch::MinHash(MinHashConfig::default())).expect("good settings");
    index.extend(&train);
    let path = dir.path().join("index");
    index.save(&path).expect("room");
    let index = SignatureIndex::load(&path).expect("an index");
    assert!(train.iter().enumerate().all(|(at, record)| index.origin(at).as_ref() == Some(&record.origin)));
    let (_, report) = index.remove_exact_duplicates(train[..2].to_vec());
    assert_eq!(
        report.pairs.iter().map(|pair| &pair.kept).collect::<Vec<_>>(),
        [&train[0].origin, &train[1].origin]
    );
}

/// Lines are read one by one and in batches, and the objects of an array by another way: what comes out is the same.
#[test]
fn lines_are_the_same_in_every_way() {
    let bad =
        ["{\"text\": \"cut", "{\"txt\": \"x\"}", "[]", "", " \t", "{\"text\": \"\\ud800\"}", "{\"text\": 1}"];
    let mut lines = Vec::new();
    for number in 0..60_000_usize {
        match number % 1000 {
            7 => lines.extend_from_slice(bad[number / 1000 % bad.len()].as_bytes()),
            8 => lines.extend_from_slice(b"{\"text\": \"\xff\"}\r"),
            9 => lines.extend(format!("{{\"text\": \"{}\"}}", "too long ".repeat(600)).bytes()),
            _ => {
                let (text, escape) = ("word ".repeat(number % 50), ["", "\\n", "\\u00fc", "ü"][number % 4]);
                let line = format!(
                    "{{\"id\": {number}, \"text\": \"{text}{escape}.\", \"text\": \"{text}!{escape}\"}}"
                );
                lines.extend(line.bytes());
            }
        }
        lines.push(b'\n');
    }
    let dir = folder();
    let source = source(&dir, "a.jsonl", &lines).with_on_error(OnError::Skip).with_max_record_bytes(5000);
    let (batches, report) = source.read_with_report().expect("records");
    let (one_by_one, other) = collect(source.records().expect("records"));
    assert_eq!((&one_by_one, &other), (&batches, &report));
    assert_eq!(report.skipped[&SkipReason::TooLong], 60);
    assert_eq!(report.skipped[&SkipReason::NotText], 60);
    assert!(
        batches
            .iter()
            .all(|record| record.origin.line == record.extra["id"].as_u64().map_or(0, |id| id as usize) + 1)
    );

    let objects: Vec<String> = batches
        .iter()
        .map(|record| {
            serde_json::json!({"id": record.extra["id"], "text": record.trained_text()}).to_string()
        })
        .collect();
    let array = self::source(&dir, "a.json", format!("[{}]", objects.join(",\n"))).read().expect("records");
    let contents = |records: &[Record]| {
        records.iter().map(|record| (record.body.clone(), record.extra.clone())).collect::<Vec<_>>()
    };
    assert_eq!(contents(&array), contents(&batches));
}

fn collect(mut records: Records) -> (Vec<Record>, SourceReport) {
    let all = records.by_ref().map(|record| record.expect("good")).collect();
    (all, records.report().clone())
}

#[test]
fn a_line_at_the_end_of_a_block_is_whole() {
    let dir = folder();
    // Blocks are 256 KiB one by one, 4 MiB in batches: lines end before, at and behind their ends.
    let (small, large) = (256 * 1024, 4 * 1024 * 1024);
    for (block, firsts) in [
        (small, vec![small - 15, small - 1, small, small + 1, 2 * small + 3]),
        (large, vec![large - 1, large, large + 1]),
    ] {
        for first in firsts {
            let text = "x".repeat(first - "{\"text\": \"\"}\n".len());
            let lines =
                format!("{{\"text\": \"{text}\"}}\n{{\"text\": \"second\"}}\n\n{{\"text\": \"third\"}}");
            let limits = [usize::MAX, first - 2, first - 1, first];
            for limit in &limits[..if block == small { 4 } else { 2 }] {
                let limit = *limit;
                let source =
                    source(&dir, "a.jsonl", &lines).with_on_error(OnError::Skip).with_max_record_bytes(limit);
                let (batches, report) = source.read_with_report().expect("records");
                assert_eq!(
                    collect(source.records().expect("records")),
                    (batches.clone(), report),
                    "{first} {limit}"
                );
                let found: Vec<usize> = batches.iter().map(|record| record.origin.line).collect();
                let wanted: &[usize] = if limit >= first - 1 { &[1, 2, 4] } else { &[2, 4] };
                assert_eq!(found, wanted, "{first} {limit}");
            }
        }
    }
}
