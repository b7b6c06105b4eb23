//! Formats, sets of files, encodings, damaged files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use burnisher_data::{
    Body, DataError, Encoding, Format, OnError, Record, SkipReason, Source, SourceReport, TextUnit,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

const LINES: &str = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    dir
}

fn read_as(name: &str, bytes: &[u8]) -> Result<Vec<Record>, DataError> {
    let dir = folder(&[(name, bytes)]);
    Source::open(dir.path().join(name))?.read()
}

fn skipping(path: impl AsRef<Path>) -> (Vec<Record>, SourceReport) {
    let source = Source::open(path).expect("it opens").with_on_error(OnError::Skip);
    source.read_with_report().unwrap_or_else(|error| panic!("{error}"))
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::trained_text).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 0).expect("memory takes bytes")
}

/// Unlike [`str::encode_utf16`], with the mark and as bytes.
fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn every_ending_is_read() {
    let table = "text,label\n\"one, and \"\"a\"\" half\",1\n\ntwo,2\n";
    for (name, content, wanted) in [
        ("a.jsonl", LINES, vec!["one", "two"]),
        ("a.NDJSON", LINES, vec!["one", "two"]),
        ("a", LINES, vec!["one", "two"]),
        ("a.json", LINES, vec!["one", "two"]),
        ("a.json", "[{\"text\": \"one\"}, {\"text\": \"t]w{o\\\"\"}]", vec!["one", "t]w{o\""]),
        ("a.csv", table, vec!["one, and \"a\" half", "two"]),
        ("a.tsv", "label\ttext\n1\tone\n2\ttwo, too\n", vec!["one", "two, too"]),
        ("a.txt", "one\n\ntwo\n", vec!["one\n\ntwo\n"]),
        ("a.md", "# One\n", vec!["# One\n"]),
    ] {
        let (half, rest) = content.as_bytes().split_at(content.len() / 2);
        let packed: [(&str, Vec<u8>); 5] = [
            ("", content.as_bytes().to_vec()),
            (".gz", gzip(content.as_bytes())),
            (".GZ", [gzip(half), gzip(b""), gzip(rest)].concat()),
            (".zst", zstd(content.as_bytes())),
            (".zst", [zstd(half), zstd(rest)].concat()),
        ];
        for (ending, bytes) in packed {
            let name = format!("{name}{ending}");
            let records = read_as(&name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(texts(&records), wanted, "{name}");
        }
    }
}

#[test]
fn a_table_keeps_its_other_columns_and_lines() {
    let table = b"prompt,completion,label\np,\"c\nd\",x\nq,e,\n";
    let records = read_as("a.csv", table).expect("two rows");
    assert_eq!(records[0].body, Body::Completion { prompt: "p".into(), completion: "c\nd".into() });
    assert_eq!(records[0].extra["label"], "x");
    assert_eq!(records[1].extra["label"], "");
    assert_eq!((records[0].origin.line, records[1].origin.line), (2, 4));
    for (table, wanted) in [
        ("text,label\none\n", "a.csv:2: not a valid row: the row has 1 cells, the file has 2 columns"),
        ("text,text\none,two\n", "a.csv:1: not a valid row: two columns have the name \"text\""),
        ("text\n", "holds no records"),
        ("", "holds no records"),
    ] {
        let error = read_as("a.csv", table.as_bytes()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    }
}

#[test]
fn a_conversation_in_a_cell_is_json() {
    let table = br#"messages
"[{""role"": ""user"", ""content"": ""u""}, {""role"": ""assistant"", ""content"": ""a""}]"
"#;
    let records = read_as("a.csv", table).expect("one row");
    assert_eq!(records[0].user_and_assistant_text(), "u\na");
}

#[test]
fn a_plain_text_is_one_record_or_many() {
    let text = "one\r\ntwo\r\n\r\n \nthree\n";
    let dir = folder(&[("a.txt", text.as_bytes())]);
    let source = Source::open(dir.path().join("a.txt")).expect("a file");
    for (unit, wanted) in [
        (TextUnit::File, vec![(1, text)]),
        (TextUnit::Paragraph, vec![(1, "one\ntwo"), (5, "three")]),
        (TextUnit::Line, vec![(1, "one"), (2, "two"), (5, "three")]),
    ] {
        let records = source.clone().with_text_unit(unit).read().expect("a text");
        let found: Vec<(usize, String)> =
            records.iter().map(|record| (record.origin.line, record.trained_text())).collect();
        let wanted: Vec<(usize, String)> =
            wanted.into_iter().map(|(line, text)| (line, text.to_owned())).collect();
        assert_eq!(found, wanted, "{unit:?}");
    }
}

#[test]
fn a_folder_a_pattern_and_a_list_are_one_source() {
    let dir = folder(&[
        ("b/2.jsonl", b"{\"text\": \"two\"}\n{\"text\": \"three\"}"),
        ("b/.hidden.jsonl", b"not JSON"),
        (".git/x.jsonl", b"not JSON"),
        ("a.csv", b"question,answer\nq,one\n"),
        ("c.jsonl/4.txt", b"four"),
        ("empty.jsonl", b"\n"),
        ("README.md", b"about"),
        ("weights.bin", b"\x00"),
    ]);
    let (records, report) = Source::open(dir.path()).expect("a folder").read_with_report().expect("records");
    assert_eq!(texts(&records), ["one", "two", "three", "four"]);
    assert!(records[1].origin.file.ends_with("b/2.jsonl"), "{}", records[1].origin);
    assert_eq!((report.files, report.records), (4, 4));
    assert_eq!(report.skipped[&SkipReason::NoDataFile], 2);
    assert_eq!(report.skipped[&SkipReason::EmptyFile], 1);
    assert!(report.first.iter().any(|skipped| skipped.origin.file.ends_with("empty.jsonl")));

    let only = Source::open(dir.path()).expect("a folder").with_formats([Format::Text]);
    assert_eq!(texts(&only.read().expect("one text")), ["four"]);

    let pattern = dir.path().join("*/*.[jt]*");
    assert_eq!(
        texts(&Source::open(&pattern).expect("a pattern").read().expect("records")),
        ["two", "three", "four"]
    );
    // A folder that a pattern meets is counted, not entered.
    let (records, report) =
        Source::open(dir.path().join("*.[cj]*")).expect("a pattern").read_with_report().expect("records");
    assert_eq!(texts(&records), ["one"]);
    assert_eq!(report.skipped[&SkipReason::Folder], 1);

    let list = [dir.path().join("b/2.jsonl"), dir.path().join("a.csv")];
    let source = Source::open_all(&list).expect("two files");
    assert_eq!(texts(&source.read().expect("records")), ["two", "three", "one"]);
    assert_eq!(source.files(), list);

    let none = Source::open(dir.path().join("*.parquet")).expect_err("no file").to_string();
    assert!(none.contains("holds no data file") && none.contains(".ndjson"), "{none}");
    let none = Source::open_all(Vec::<PathBuf>::new()).expect_err("no path").to_string();
    assert!(none.contains("an empty list"), "{none}");
}

#[test]
fn a_folder_with_the_name_of_a_file_is_a_folder() {
    let dir = folder(&[("x.jsonl/part-0.jsonl", LINES.as_bytes())]);
    let records = Source::open(dir.path().join("x.jsonl")).expect("a folder").read().expect("records");
    assert_eq!(texts(&records), ["one", "two"]);
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_ends() {
    use std::os::unix::fs::symlink;
    let dir = folder(&[("a/1.jsonl", LINES.as_bytes())]);
    symlink(dir.path(), dir.path().join("a/up")).expect("a link");
    symlink("a", dir.path().join("again")).expect("a link");
    let (records, report) = Source::open(dir.path()).expect("a folder").read_with_report().expect("records");
    assert_eq!(records.len(), 2);
    assert_eq!(report.skipped[&SkipReason::Folder], 2);

    let own = dir.path().join("self.jsonl");
    symlink("self.jsonl", &own).expect("a link");
    let error = Source::open(&own).expect_err("a link to itself").to_string();
    assert!(error.contains("cannot read") && error.contains("self.jsonl"), "{error}");
    let error = Source::open(dir.path()).expect("a folder").read().expect_err("a link to itself").to_string();
    assert!(error.contains("self.jsonl"), "{error}");
    let (records, report) = skipping(dir.path());
    assert_eq!(records.len(), 2);
    assert_eq!(report.skipped[&SkipReason::Unreadable], 1);
}

#[test]
fn an_empty_file_is_an_error_only_if_it_is_alone() {
    let dir = folder(&[("1.jsonl", b""), ("2.jsonl", LINES.as_bytes())]);
    let (records, report) = Source::open(dir.path()).expect("a folder").read_with_report().expect("records");
    assert_eq!((records.len(), report.skipped[&SkipReason::EmptyFile]), (2, 1));
    let error = Source::open(dir.path().join("1.jsonl")).expect("a file").read().expect_err("nothing");
    assert!(matches!(error, DataError::EmptyFile { .. }), "{error}");
}

#[test]
fn encodings_are_recognised() {
    let line = "{\"text\": \"Grüße, 世界\"}\n";
    for name in ["a.jsonl", "a.json"] {
        for bytes in [utf16(line, u16::to_le_bytes), utf16(line, u16::to_be_bytes)] {
            assert_eq!(texts(&read_as(name, &bytes).expect("UTF-16")), ["Grüße, 世界"], "{name}");
        }
    }
    assert_eq!(texts(&read_as("a.json.gz", &gzip(&utf16(line, u16::to_le_bytes))).expect("UTF-16")).len(), 1);

    let text = "Über den Wölken müßte die Freiheit wohl grenzenlos sein, für größere Vögel.";
    let (latin, ..) = encoding_rs::WINDOWS_1252.encode(text);
    let dir = folder(&[("a.txt", &latin)]);
    let source = Source::open(dir.path().join("a.txt")).expect("a file");
    let (records, report) = source.read_with_report().expect("a text");
    assert_eq!(texts(&records), [text]);
    assert_eq!(report.decoded[0].1, "windows-1252");
    let error = source.with_encoding(Encoding::Utf8Only).read().expect_err("not UTF-8").to_string();
    assert!(error.contains("a.txt:1: not valid UTF-8 (first wrong byte at column 1)"), "{error}");

    let (table, ..) = encoding_rs::WINDOWS_1252.encode("text\nfür größere Vögel, die müde sind\n");
    assert!(read_as("a.tsv", &table).is_ok_and(|records| texts(&records)[0].starts_with("für größere")));
    let dir = folder(&[("a.tsv", &table)]);
    let source = Source::open(dir.path().join("a.tsv")).expect("a file").with_encoding(Encoding::Utf8Only);
    let error = source.read().expect_err("not UTF-8").to_string();
    assert!(error.contains("a.tsv:2: not a valid row: column \"text\" is not valid UTF-8"), "{error}");

    let error = read_as("a.txt", b"one\ntw\x00o").expect_err("binary").to_string();
    assert!(error.contains("a.txt:2: a NUL byte at column 3"), "{error}");
}

#[test]
fn json_is_never_guessed() {
    let bytes = b"{\"text\": \"one\"}\n{\"text\": \"\xE4\"}\n{\"text\": \"three\"}\n";
    let dir = folder(&[("a.jsonl", bytes)]);
    let path = dir.path().join("a.jsonl");
    let error = Source::open(&path).expect("a file").read().expect_err("not UTF-8").to_string();
    assert!(error.contains("a.jsonl:2: not valid UTF-8"), "{error}");
    let (records, report) = skipping(&path);
    assert_eq!(texts(&records), ["one", "three"]);
    assert_eq!(report.skipped[&SkipReason::NotText], 1);
}

#[test]
fn bad_records_are_skipped_and_counted() {
    let lines = [
        r#"{"text": "one"}"#,
        r#"{"text": "tw"#,
        r#"{"txt": "three"}"#,
        r#"{"prompt": "p", "completion": "c"}"#,
        r#"{"text": " "}"#,
        "{\"text\": \"a raw \0 NUL\"}",
        r#"{"text": "an escaped \u0000 NUL"}"#,
        "[]",
        r#"{"text": "seven"}"#,
    ];
    let dir = folder(&[("a.jsonl", lines.join("\n").as_bytes())]);
    let (records, report) = skipping(dir.path().join("a.jsonl"));
    assert_eq!(texts(&records), ["one", "an escaped \0 NUL", "seven"]);
    assert_eq!(report.skipped[&SkipReason::NotValid], 2);
    assert_eq!(report.skipped[&SkipReason::WrongColumns], 3);
    assert_eq!(report.skipped[&SkipReason::NoAnswer], 1);
    assert_eq!(
        report.first.iter().map(|skipped| skipped.origin.line).collect::<Vec<_>>(),
        [2, 3, 4, 5, 6, 8]
    );
    let printed = report.to_string();
    assert!(printed.contains("3 records from 1 files; left out: 2 not valid, 3 wrong columns"), "{printed}");

    let many: String = (0..50).map(|_| "{\n").chain(["{\"text\": \"t\"}"]).collect();
    let dir = folder(&[("a.jsonl", many.as_bytes())]);
    let (_, report) = skipping(dir.path().join("a.jsonl"));
    assert_eq!((report.total_skipped(), report.first.len()), (50, 20));

    // What one by one and in batches read is the same.
    let source = Source::open(dir.path().join("a.jsonl")).expect("a file").with_on_error(OnError::Skip);
    let mut records = source.records().expect("a file");
    assert_eq!(records.by_ref().count(), 1);
    assert_eq!(*records.report(), report);

    let nothing = folder(&[("a.jsonl", b"{\n")]);
    let source = Source::open(nothing.path().join("a.jsonl")).expect("a file").with_on_error(OnError::Skip);
    assert!(matches!(source.read(), Err(DataError::EmptyFile { .. })));
}

#[test]
fn long_lines_are_read_up_to_the_limit() {
    let long = "x".repeat(10_000_000);
    let lines = format!("{{\"text\": \"one\"}}\n{{\"text\": \"{long}\"}}\n{{\"text\": \"three\"}}");
    let array = format!("[{{\"text\": \"one\"}},\n{{\"text\": \"{long}\"}}]");
    let table = format!("text\none\n\"{long}\"\nthree\n");
    for (name, bytes, wanted) in
        [("a.jsonl", lines.as_bytes(), 2), ("a.json", array.as_bytes(), 2), ("a.csv", table.as_bytes(), 3)]
    {
        let dir = folder(&[(name, bytes)]);
        let source = Source::open(dir.path().join(name)).expect("a file");
        let records = source.read().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(records[1].trained_text().len(), long.len());
        let limited = source.with_max_record_bytes(100_000);
        let error = limited.read().expect_err(name).to_string();
        let place = format!("{name}:{wanted}: a record of more than 100000 bytes");
        assert!(error.contains(&place), "{error:?} lacks {place:?}");
        let (records, report) = limited.with_on_error(OnError::Skip).read_with_report().expect("the others");
        assert_eq!(report.skipped[&SkipReason::TooLong], 1);
        // Lines go on after it; elsewhere the end of the record is not known.
        assert_eq!(records.len(), if name == "a.jsonl" { 2 } else { 1 });
    }
    let dir = folder(&[("a.txt", long.as_bytes())]);
    let source = Source::open(dir.path().join("a.txt")).expect("a file").with_max_record_bytes(9);
    assert!(matches!(source.read(), Err(DataError::RecordTooLong { limit: 9, .. })));
}

#[test]
fn compressed_streams_that_are_cut_off_are_errors() {
    let lines: String = (0..5000).map(|line| format!("{{\"text\": \"{}\"}}\n", line * 7919)).collect();
    for (name, packed) in [("a.jsonl.gz", gzip(lines.as_bytes())), ("a.jsonl.zst", zstd(lines.as_bytes()))] {
        let dir = folder(&[(name, &packed[..packed.len() / 2]), ("b.jsonl", LINES.as_bytes())]);
        let error = Source::open(dir.path().join(name)).expect("a file").read().expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("cannot be read from here on"), "{error}");
        let (_, report) = skipping(dir.path());
        assert_eq!(report.skipped[&SkipReason::Unreadable], 1, "{name}");
        let error = read_as(name, b"{\"text\": \"not packed\"}").expect_err(name);
        assert!(matches!(error, DataError::Damaged { .. }), "{error}");
    }
}

#[test]
fn the_same_file_reads_the_same_one_by_one_and_in_batches() {
    let path = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("a file");
    let mut file = File::create(path.path()).expect("a file");
    // More than one batch.
    for line in 0..40_000_usize {
        writeln!(file, "{{\"id\": {line}, \"text\": \"{}\"}}", "word ".repeat(line % 250 + 1))
            .expect("a line");
    }
    drop(file);
    let source = Source::open(path.path()).expect("a file");
    let one_by_one: Vec<Record> =
        source.records().expect("a file").map(|record| record.expect("good")).collect();
    assert_eq!(one_by_one, source.read().expect("good"));
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_needs_its_feature() {
    let error = read_as("a.parquet", b"PAR1").expect_err("no feature").to_string();
    assert!(error.contains("a Parquet file needs the feature `parquet` of burnisher-data"), "{error}");
}
