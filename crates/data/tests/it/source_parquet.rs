//! Parquet files as a source.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use burnisher_data::{Body, DataError, Message, OnError, SkipReason, Source};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

const SCHEMA: &str = "message row {
    optional group messages (LIST) {
        repeated group list {
            optional group element {
                optional binary role (UTF8);
                optional binary content (UTF8);
            }
        }
    }
    required int64 id;
    optional double score;
    required binary blob;
}";

/// Two groups of two rows: a question and an answer each.
fn write(path: &Path, compression: Compression) {
    let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = File::create(path).expect("a file");
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("a writer");
    for group in 0..2_i64 {
        let mut rows = writer.next_row_group().expect("a group");
        for speech in [["user", "assistant"], ["u", "a"]] {
            let texts: Vec<ByteArray> = (0..2)
                .flat_map(|row| speech.map(|text| (row, text)))
                .map(|(row, text)| match text.len() {
                    1 => ByteArray::from(format!("{text}{}", 2 * group + row).as_str()),
                    _ => ByteArray::from(text),
                })
                .collect();
            let mut column = rows.next_column().expect("a column").expect("a column");
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&texts, Some(&[4; 4]), Some(&[0, 1, 0, 1])).expect("texts");
            column.close().expect("a column");
        }
        let mut column = rows.next_column().expect("a column").expect("a column");
        column.typed::<Int64Type>().write_batch(&[2 * group, 2 * group + 1], None, None).expect("numbers");
        column.close().expect("a column");
        let mut column = rows.next_column().expect("a column").expect("a column");
        column.typed::<DoubleType>().write_batch(&[0.5], Some(&[1, 0]), None).expect("numbers");
        column.close().expect("a column");
        let mut column = rows.next_column().expect("a column").expect("a column");
        let blobs = [ByteArray::from("text"), ByteArray::from(vec![0xFF, 0x01])];
        column.typed::<ByteArrayType>().write_batch(&blobs, None, None).expect("bytes");
        column.close().expect("a column");
        rows.close().expect("a group");
    }
    writer.close().expect("a file");
}

#[test]
fn lists_of_structures_are_conversations() {
    let dir = TempDir::new().expect("a temporary directory");
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        let path = dir.path().join("a.parquet");
        write(&path, compression);
        let records = Source::open(&path).expect("a file").read().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(records.len(), 4);
        for (row, record) in records.iter().enumerate() {
            let turns =
                vec![Message::new("user", format!("u{row}")), Message::new("assistant", format!("a{row}"))];
            assert_eq!(record.body, Body::Messages(turns));
            assert_eq!(record.origin.line, row + 1);
            assert_eq!(record.extra["id"], row);
        }
        assert_eq!(records[0].extra["score"], 0.5);
        assert!(records[1].extra["score"].is_null());
        assert_eq!((&records[0].extra["blob"], &records[1].extra["blob"]), (&"text".into(), &"ff01".into()));
    }
}

/// Every cut, and every byte that is wrong: an error or records, no panic.
#[test]
fn damaged_files_are_errors() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("a.parquet");
    write(&path, Compression::SNAPPY);
    let bytes = fs::read(&path).expect("the file");
    for cut in (0..bytes.len()).step_by(7) {
        fs::write(&path, &bytes[..cut]).expect("a file");
        let error = Source::open(&path).expect("a file").read().expect_err("cut off");
        assert!(matches!(error, DataError::Damaged { .. }), "{cut}: {error}");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, &bytes).expect("a file");
        if let Err(error) = Source::open(&path).expect("a file").read() {
            assert!(error.to_string().contains("a.parquet"), "{at}: {error}");
        }
    }
    let good = dir.path().join("b.jsonl");
    fs::write(&good, "{\"text\": \"t\"}").expect("a file");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("a file");
    let source = Source::open(dir.path()).expect("a folder").with_on_error(OnError::Skip);
    let (records, report) = source.read_with_report().expect("one record");
    assert_eq!((records.len(), report.skipped[&SkipReason::Unreadable]), (1, 1));
}
