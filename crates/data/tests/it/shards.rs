use std::path::{Path, PathBuf};

use burnisher_data::{Body, DataError, JsonlWriter, Origin, Record, Shard, ShardWriter, merge_shards};
use proptest::prelude::*;

/// What a process writes of its part: records whose `kept` says so.
fn write_shard(path: &Path, kept: &[bool], shard: Shard) {
    let mut writer = ShardWriter::create(path, shard).expect("created");
    for (place, _) in kept.iter().enumerate().filter(|(place, kept)| **kept && shard.has(*place)) {
        writer.write(place as u64, &record(place)).expect("written");
    }
    writer.finish().expect("finished");
}

fn record(place: usize) -> Record {
    let mut record = Record::new(Body::Text(format!("text {place} é")), Origin::new("a.jsonl", place + 1));
    record.extra.insert("place".to_owned(), place.into());
    record
}

fn shards(dir: &Path, kept: &[bool], count: usize) -> Vec<PathBuf> {
    let write = |index| {
        let path = dir.join(format!("{index}.jsonl"));
        write_shard(&path, kept, Shard::new(index, count).expect("a shard"));
        path
    };
    (0..count).map(write).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_number_of_shards_is_one_process(
        kept in prop::collection::vec(any::<bool>(), 0..40), count in 1_usize..7, turn in 0_usize..7,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut one = JsonlWriter::create(dir.path().join("one.jsonl")).expect("created");
        for (place, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            one.write(&record(place)).expect("written");
        }
        one.finish().expect("finished");
        let mut parts = shards(dir.path(), &kept, count);
        parts.rotate_left(turn % count);
        let merged = merge_shards(&parts, dir.path().join("merged.jsonl")).expect("merged");
        prop_assert_eq!(merged, kept.iter().filter(|kept| **kept).count());
        let read = |name: &str| std::fs::read(dir.path().join(name)).expect("read");
        prop_assert!(read("one.jsonl") == read("merged.jsonl"));
    }
}

#[track_caller]
fn refused(parts: &[PathBuf], text: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let error = merge_shards(parts, dir.path().join("out.jsonl")).expect_err("refused");
    assert!(matches!(error, DataError::Shards { .. }), "{error:?}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(!dir.path().join("out.jsonl").exists());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let parts = shards(dir.path(), &[true; 9], 3);
    refused(&[], "no shard was named");
    refused(&parts[..2], "missing shards: 2/3");
    refused(&[parts[0].clone(), parts[1].clone(), parts[1].clone()], "is shard 1/3, too");
    let other = dir.path().join("other.jsonl");
    write_shard(&other, &[true; 9], Shard::new(1, 4).expect("a shard"));
    refused(&[parts[0].clone(), other], "it is shard 1/4");
    let places = dir.path().join("1.jsonl.places");
    let text = std::fs::read_to_string(&places).expect("read");
    for (wrong, message) in [
        (text.replace("7\n", ""), "more records than places"),
        (text.clone() + "20\n", "more places than records"),
        (text.replace("4\n", "1\n"), "do not rise at 1"),
        (text.replace("4\n", "four\n"), "\"four\""),
        (text.replace("1/3", "5/3"), "5/3"),
        ("{}\n".to_owned(), "do not begin with the shard"),
    ] {
        std::fs::write(&places, wrong).expect("written");
        let error = merge_shards(&parts, dir.path().join("out.jsonl")).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    }
    std::fs::remove_file(&places).expect("removed");
    refused(&parts, "its places cannot be read");
}

#[test]
fn places_must_rise() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut writer = ShardWriter::create(dir.path().join("a.jsonl"), Shard::WHOLE).expect("created");
    writer.write(3, &record(3)).expect("written");
    let error = writer.write(3, &record(3)).expect_err("not behind");
    assert!(error.to_string().contains("place 3 was written behind 3"), "{error}");
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0, "nothing is left");
}
