//! Records as they stand in their files, whatever their columns.

mod conll;
mod squad;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use burnisher_data::{
    ColumnMap, DataError, Encoding, Format, OnError, Shard, SkipReason, Source, SourceReport, SourceRow,
    TextUnit,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A file of this name, with the folder that keeps it.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("a file");
    (dir, path)
}

/// The rows, read at once; what comes one by one is the same, report and error too.
fn rows(source: &Source) -> Result<(Vec<SourceRow>, SourceReport), DataError> {
    let whole = source.read_rows_with_report();
    let mut stream = source.rows();
    let one_by_one: Result<Vec<SourceRow>, DataError> = match &mut stream {
        Ok(stream) => stream.by_ref().collect(),
        Err(_) => Ok(Vec::new()),
    };
    match (&whole, one_by_one, stream) {
        (Ok((rows, report)), Ok(streamed), Ok(stream)) => {
            assert_eq!((rows, report), (&streamed, stream.report()));
        }
        (Err(error), Err(streamed), _) | (Err(error), _, Err(streamed)) => {
            assert_eq!(error.to_string(), streamed.to_string());
        }
        (whole, streamed, _) => panic!("{whole:?} at once, {streamed:?} one by one"),
    }
    whole
}

fn rows_of(name: &str, bytes: &[u8]) -> Result<Vec<SourceRow>, DataError> {
    let (_dir, path) = file(name, bytes);
    rows(&Source::open(path)?).map(|(rows, _)| rows)
}

/// The rows without those that cannot be used.
fn skipping(name: &str, bytes: &[u8]) -> (Vec<SourceRow>, SourceReport) {
    let (_dir, path) = file(name, bytes);
    let source = Source::open(path).expect("a file").with_on_error(OnError::Skip);
    rows(&source).unwrap_or_else(|error| panic!("{error}"))
}

/// Lines and columns as JSON, in which the order of the columns shows.
fn shown(rows: &[SourceRow]) -> Vec<(usize, String)> {
    rows.iter().map(|row| (row.origin.line, Value::Object(row.columns.clone()).to_string())).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes")
}

/// With the mark.
fn utf16(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn every_format_has_rows() {
    let lines = "\n{\"b\": [1, {\"c\": null}], \"a\": 2.5}\n\n{}\n";
    let of_lines = [(2, r#"{"b":[1,{"c":null}],"a":2.5}"#), (4, "{}")];
    let table = [(2, r#"{"x":"1","y":"a, b"}"#), (3, r#"{"x":"2","y":""}"#)];
    for (name, content, wanted) in [
        ("a.jsonl", lines, &of_lines[..]),
        ("a", lines, &of_lines),
        ("a.json", lines, &of_lines),
        ("a.json", "[\n{\"b\": [1, {\"c\": null}], \"a\": 2.5},\n\n{}]", &of_lines),
        ("a.csv", "x,y\n1,\"a, b\"\n2,\n", &table),
        ("a.tsv", "x\ty\n1\ta, b\n2\t\n", &table),
        ("a.txt", "one\ntwo", &[(1, r#"{"text":"one\ntwo"}"#)]),
        (
            "a.conll",
            "a O\nb X\n\nc O\n",
            &[(1, r#"{"tokens":["a","b"],"tags":["O","X"]}"#), (4, r#"{"tokens":["c"],"tags":["O"]}"#)],
        ),
    ] {
        let packed = zstd::stream::encode_all(content.as_bytes(), 0).expect("memory takes bytes");
        for (name, bytes) in [
            (name.to_owned(), content.as_bytes().to_vec()),
            (name.to_owned(), format!("\u{feff}{content}").into_bytes()),
            (name.to_owned(), utf16(content)),
            (format!("{name}.gz"), gzip(content.as_bytes())),
            (format!("{name}.ZST"), packed),
        ] {
            let found = rows_of(&name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let wanted: Vec<(usize, String)> =
                wanted.iter().map(|(line, row)| (*line, (*row).to_owned())).collect();
            assert_eq!(shown(&found), wanted, "{name}");
            assert!(found.iter().all(|row| row.origin.file.ends_with(&name)), "{name}");
        }
    }
}

#[test]
fn rows_need_no_shape_and_mix_their_columns() {
    let lines = [r#"{"premise": "p"}"#, r#"{"text": " "}"#, r#"{"prompt": 1, "completion": 2}"#];
    let found = rows_of("a.jsonl", lines.join("\n").as_bytes()).expect("three rows");
    assert_eq!(found.iter().map(|row| row.columns.len()).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn what_is_no_object_is_an_error_or_counted() {
    let lines = b"{\"a\": 1}\n[2]\n{\"a\": \n\"three\"\n{\"a\": \"\xFF\"}\n{\"a\": 6}\n";
    let error = rows_of("a.jsonl", lines).expect_err("an array").to_string();
    assert!(error.contains("a.jsonl:2: a record must be a JSON object, found an array"), "{error}");
    let (found, report) = skipping("a.jsonl", lines);
    assert_eq!(found.iter().map(|row| row.origin.line).collect::<Vec<_>>(), [1, 6]);
    assert_eq!((report.files, report.records, report.total_skipped()), (1, 2, 4));
    assert_eq!(report.skipped[&SkipReason::WrongColumns], 2);
    assert_eq!(report.skipped[&SkipReason::NotValid], 1);
    assert_eq!(report.skipped[&SkipReason::NotText], 1);
    assert!(matches!(rows_of("a.jsonl", b"\n"), Err(DataError::EmptyFile { .. })));

    let (_dir, path) = file("a.jsonl", format!("{{\"a\": \"{}\"}}\n{{}}", "x".repeat(100)).as_bytes());
    let source = Source::open(path).expect("a file").with_max_record_bytes(50).with_on_error(OnError::Skip);
    let (found, report) = rows(&source).expect("one row");
    assert_eq!((found.len(), report.skipped[&SkipReason::TooLong]), (1, 1));
}

#[test]
fn a_mapping_renames_columns() {
    let map = |pairs: &[(&str, &str)]| ColumnMap::new(pairs.iter().copied()).expect("known names");
    let line = r#"{"id": 1, "q": "Q", "prompt": "old", "refs": [{"t": "R"}]}"#;
    let (_dir, path) = file("a.jsonl", line.as_bytes());
    let source = Source::open(path).expect("a file");
    let found = rows(&source.clone().with_columns(map(&[("prompt", "q"), ("completion", "refs[0].t")])));
    assert_eq!(
        shown(&found.expect("one row").0),
        [(1, r#"{"id":1,"prompt":"Q","extra_prompt":"old","refs":[{"t":"R"}],"completion":"R"}"#.to_owned())]
    );
    let error =
        rows(&source.with_columns(map(&[("prompt", "question")]))).expect_err("no column").to_string();
    assert!(error.contains("a.jsonl:1: column \"question\" is missing"), "{error}");
}

#[test]
fn a_text_unit_and_an_encoding_count_for_rows_too() {
    let (_dir, path) = file("a.txt", "Grüße an alle\n\nzwei größere Vögel".as_bytes());
    let source = Source::open(path).expect("a file").with_text_unit(TextUnit::Paragraph);
    let lines: Vec<usize> = rows(&source).expect("two").0.iter().map(|row| row.origin.line).collect();
    assert_eq!(lines, [1, 3]);
    let (table, ..) = encoding_rs::WINDOWS_1252.encode("Käse\tO\nschmeckt\tO\nden\tO\nMüllers\tB-PER\n");
    for name in ["a.conll", "a.txt"] {
        let (_dir, path) = file(name, &table);
        let source = Source::open(path).expect("a file").with_files_as(Format::Conll);
        let (found, report) = rows(&source).expect("a sentence");
        assert_eq!(found[0].columns["tokens"], json!(["Käse", "schmeckt", "den", "Müllers"]));
        assert_eq!(report.decoded[0].1, "windows-1252");
        let error = rows(&source.with_encoding(Encoding::Utf8Only)).expect_err("not UTF-8").to_string();
        assert!(
            error.contains(&format!("{name}:1: not valid UTF-8 (first wrong byte at column 2)")),
            "{error}"
        );
    }
}

#[test]
fn formats_choose_files_and_say_what_they_are() {
    let (dir, path) = file("a.txt", b"{\"a\": 1}\n");
    fs::write(dir.path().join("b.iob"), "x O\n").expect("a file");
    let source = Source::open(dir.path()).expect("a folder").with_formats([Format::Conll]);
    let (found, report) = rows(&source).expect("one sentence");
    assert_eq!((found.len(), report.skipped[&SkipReason::NoDataFile]), (1, 1));
    let lines = Source::open(path).expect("a file").with_files_as(Format::JsonLines);
    assert_eq!(shown(&rows(&lines).expect("one row").0), [(1, r#"{"a":1}"#.to_owned())]);
    assert!(matches!(rows(&lines.with_formats([Format::Text])), Err(DataError::NoFiles { .. })));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|half| Value::from(f64::from(half) / 2.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            objects(inner).prop_map(Value::Object),
        ]
    })
}

fn objects(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        3 => any::<String>(),
        1 => prop::sample::select(vec!["data", "paragraphs", "qas", "text", "prompt"]).prop_map(str::to_owned),
    ];
    prop::collection::vec((name, values), 0..5).prop_map(Map::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn written_objects_are_read_back(
        objects in prop::collection::vec((objects(json_value()), 0..3_usize), 1..20),
        count in 1..5_usize,
    ) {
        let (mut lines, mut wanted) = (String::new(), Vec::new());
        for (object, blanks) in objects {
            let text = Value::Object(object).to_string();
            lines.push_str(&"\n".repeat(blanks));
            wanted.push((lines.matches('\n').count() + 1, text.clone()));
            lines.push_str(&text);
            lines.push('\n');
        }
        let texts: Vec<&str> = wanted.iter().map(|(_, text)| text.as_str()).collect();
        let array = format!("[{}]", texts.join(",\n"));
        for (name, bytes) in [
            ("a.jsonl", lines.as_bytes().to_vec()),
            ("a.json", lines.as_bytes().to_vec()),
            ("a.jsonl.gz", gzip(lines.as_bytes())),
        ] {
            prop_assert_eq!(shown(&rows_of(name, &bytes).expect("written as JSON")), &wanted[..], "{}", name);
        }
        let found = rows_of("a.json", array.as_bytes()).expect("written as JSON");
        prop_assert_eq!(shown(&found).into_iter().map(|(_, text)| text).collect::<Vec<_>>(), texts);

        let (_dir, path) = file("a.jsonl", lines.as_bytes());
        let source = Source::open(path).expect("a file");
        let shards: Vec<Vec<SourceRow>> = (0..count)
            .map(|index| {
                let shard = Shard::new(index, count).expect("a shard");
                rows(&source.clone().with_shard(shard)).expect("written as JSON").0
            })
            .collect();
        let dealt: Vec<SourceRow> =
            (0..wanted.len()).map(|row| shards[row % count][row / count].clone()).collect();
        prop_assert_eq!(shown(&dealt), wanted);
        prop_assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), dealt.len());
    }
}
