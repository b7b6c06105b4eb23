use std::fs;

use burnisher_data::{
    DataError, HashFamily, MinHashConfig, NearDuplicateConfig, Record, Shard, SignatureIndex, SimHashConfig,
    Sketch, Verify, remove_exact_duplicates, remove_near_duplicates,
};
use proptest::prelude::*;

use crate::{passage, text_record};

/// Records of a few kinds with a few words added, from two files.
fn records(kinds: &[(usize, usize)], file: &str) -> Vec<Record> {
    let text = |(kind, more): &(usize, usize)| {
        format!("{} {}", passage(&format!("kind{kind}"), 20), passage(&format!("more{kind}"), *more))
    };
    let files = [format!("{file}-1.jsonl"), format!("{file}-2.jsonl")];
    (1..).zip(kinds).map(|(line, kind)| text_record(&files[line % 2], line, &text(kind))).collect()
}

fn kinds() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0_usize..6, 0_usize..9), 0..30)
}

fn sketches() -> [Sketch; 3] {
    [
        Sketch::MinHash(MinHashConfig::new(32)),
        Sketch::MinHash(MinHashConfig::new(16).with_family(HashFamily::DatasketchAffine64)),
        Sketch::SimHash(SimHashConfig::new()),
    ]
}

fn index(records: &[Record], sketch: Sketch) -> SignatureIndex {
    let mut index = SignatureIndex::new(sketch).unwrap();
    index.extend(records);
    index
}

fn saved(index: &SignatureIndex) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sig");
    index.save(&path).unwrap();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file stays");
    assert_eq!(&SignatureIndex::load(&path).unwrap(), index);
    fs::read(&path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn exact_against_an_index_is_exact_over_both(a in kinds(), b in kinds()) {
        let (a, b) = (records(&a, "a"), records(&b, "b"));
        let (kept_a, _) = remove_exact_duplicates(a.clone());
        let index = index(&kept_a, sketches()[0]);
        let (kept_b, report) = index.remove_exact_duplicates(b.clone());
        prop_assert_eq!(report.records, b.len());
        prop_assert_eq!(report.removed, b.len() - kept_b.len());
        let (wanted, both) = remove_exact_duplicates([a, b].concat());
        prop_assert_eq!([kept_a, kept_b].concat(), wanted);
        let listed = both.pairs.iter().filter(|pair| pair.removed.file.starts_with('b'));
        for (found, wanted) in report.pairs.iter().zip(listed) {
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn near_against_an_index_is_near_over_what_it_holds_and_the_new(a in kinds(), b in kinds()) {
        let (a, b) = (records(&a, "a"), records(&b, "b"));
        for config in [NearDuplicateConfig::new(0.6), NearDuplicateConfig::new(0.8).with_verify(Verify::None), NearDuplicateConfig::simhash(8)] {
            let (kept_a, _) = remove_near_duplicates(a.clone(), &config).unwrap();
            let index = index(&kept_a, config.sketch);
            let (kept_b, report) = index.remove_near_duplicates(b.clone(), &config).unwrap();
            let (both, of_both) = remove_near_duplicates([kept_a, b.clone()].concat(), &config).unwrap();
            let wanted: Vec<Record> = both.into_iter().filter(|record| record.origin.file.starts_with('b')).collect();
            prop_assert_eq!(&kept_b, &wanted);
            prop_assert_eq!(report.removed, b.len() - kept_b.len());
            prop_assert!(report.known <= report.removed);
            if report.removed == of_both.removed {
                prop_assert_eq!(report.pairs, of_both.pairs);
            }
        }
    }

    #[test]
    fn shards_together_are_the_whole(a in kinds(), count in 1_usize..9, piece in 1_usize..7, rotate in 0_usize..9) {
        let a = records(&a, "a");
        for sketch in sketches() {
            let whole = index(&a, sketch);
            let mut shards: Vec<SignatureIndex> = (0..count)
                .map(|i| {
                    let mut index = SignatureIndex::new(sketch).unwrap();
                    a.chunks(piece).for_each(|piece| index.extend_shard(piece, Shard::new(i, count).unwrap()));
                    index
                })
                .collect();
            prop_assert_eq!(shards.iter().map(SignatureIndex::len).sum::<usize>(), a.len());
            shards.rotate_left(rotate % count);
            let merged = SignatureIndex::merge(shards).unwrap();
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(saved(&merged), saved(&whole));
        }
    }

    #[test]
    fn an_index_grows_by_records_or_by_another_index(a in kinds(), b in kinds()) {
        let (a, b) = (records(&a, "a"), records(&b, "b"));
        for sketch in sketches() {
            let mut grown = index(&a, sketch);
            grown.extend(&b);
            let mut appended = index(&a, sketch);
            appended.append(&index(&b, sketch)).unwrap();
            prop_assert_eq!(&grown, &appended);
            prop_assert_eq!(grown, index(&[a.clone(), b.clone()].concat(), sketch));
        }
    }

    #[test]
    fn a_damaged_file_is_refused(a in kinds(), place in any::<prop::sample::Index>(), bit in 0_u32..8, cut in any::<bool>()) {
        let mut bytes = saved(&index(&records(&a, "a"), sketches()[0]));
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sig");
        fs::write(&path, bytes).unwrap();
        let error = SignatureIndex::load(&path).unwrap_err();
        prop_assert!(matches!(error, DataError::SignatureFile { .. } | DataError::InvalidConfig { .. }), "{}", error);
    }
}

#[test]
fn clusters_of_an_index_are_those_of_its_texts() {
    let a = records(&[(0, 0), (1, 0), (0, 1), (2, 0), (1, 0)], "a");
    let config = NearDuplicateConfig::new(0.8);
    assert_eq!(index(&a, config.sketch).clusters(&config).unwrap().of, [0, 1, 0, 3, 1]);
}

#[test]
fn what_does_not_fit_is_named() {
    let a = records(&[(0, 0)], "a");
    let mut index = index(&a, sketches()[0]);
    let message = "signatures made by MinHash of 128 permutations (fast, seed 1) over 5 words (rule letters) cannot \
                   be compared with signatures made by MinHash of 32 permutations (fast, seed 1) over 5 words (rule \
                   letters)";
    let other = NearDuplicateConfig::new(0.8);
    assert_eq!(index.remove_near_duplicates(a.clone(), &other).unwrap_err().to_string(), message);
    assert_eq!(index.clusters(&other).unwrap_err().to_string(), message);
    let foreign = SignatureIndex::new(other.sketch).unwrap();
    assert_eq!(index.append(&foreign).unwrap_err().to_string(), message);
    assert_eq!(SignatureIndex::merge(vec![index.clone(), foreign]).unwrap_err().to_string(), message);
    let exact = other.with_sketch(sketches()[0]).with_verify(Verify::Exact);
    assert_eq!(
        index.remove_near_duplicates(a, &exact).unwrap_err().to_string(),
        "verify is exact; wanted none or estimated with a signature index, which has no texts"
    );
}

#[test]
fn incomplete_shards_are_refused() {
    let a = records(&[(0, 0), (1, 0), (2, 0), (3, 0)], "a");
    let shard = |text: &str| {
        let mut index = SignatureIndex::new(sketches()[0]).unwrap();
        index.extend_shard(&a, text.parse().unwrap());
        index
    };
    let wanted = "wanted every shard of one run over the same records, each once";
    let short = index(&a[..2], sketches()[0]);
    for (shards, found) in [
        (vec![], "none"),
        (vec![shard("0/2")], "record 1 is missing"),
        (vec![shard("1/2")], "record 0 is missing"),
        (vec![shard("0/3"), shard("1/3"), shard("2/3"), shard("1/3")], "record 1 is there twice"),
        (vec![shard("0/4"), shard("1/4"), shard("2/4")], "3 of 4 records"),
        (vec![shard("0/1"), short], "one over 4 records and one over 2"),
    ] {
        let error = SignatureIndex::merge(shards).unwrap_err().to_string();
        assert_eq!(error, format!("shards is {found}; {wanted}"));
    }
}

#[test]
fn files_that_are_not_signatures_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sig");
    let load = || SignatureIndex::load(&path).unwrap_err();
    assert!(matches!(load(), DataError::Read { .. }));
    for (bytes, message) in [
        (&b""[..], "it does not begin with BURNSIGN: not a signature file"),
        (b"{\"text\": \"a\"}", "it does not begin with BURNSIGN: not a signature file"),
        (b"BURNSIGN\x03\0\0\0", "version 3; this program reads version 2"),
        (b"BURNSIGN\x01\0\0", "it is cut short"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(load().to_string(), format!("signature file {}: {message}", path.display()));
    }
    let missing = dir.path().join("no/such/a.sig");
    let index = SignatureIndex::new(sketches()[0]).unwrap();
    assert!(matches!(index.save(&missing).unwrap_err(), DataError::Write { .. }));
}
