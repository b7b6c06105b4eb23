use std::collections::BTreeMap;

use burnisher_data::{BatchConfig, Batches, Encoded, Packing, Row, TokenBatch, pack};
use proptest::prelude::*;
use serde_json::Value;

use crate::tokenizer::{fixture_json, typed};

/// A record whose token `j` is `1000·index + j` and whose second half is learnt, as in the fixture.
fn document(index: usize, length: usize) -> Encoded {
    let ids = (0..length).map(|token| (1000 * index + token) as u32).collect();
    let loss_mask = (0..length).map(|token| token >= length / 2).collect();
    Encoded::new(ids, loss_mask, index as u64)
}

fn documents(lengths: &[usize]) -> Vec<Encoded> {
    lengths.iter().enumerate().map(|(index, length)| document(index, *length)).collect()
}

fn ids(rows: &[Row]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.documents.iter().flat_map(|document| document.ids.clone()).collect()).collect()
}

fn lengths(rows: &[Row]) -> Vec<Vec<usize>> {
    rows.iter().map(|row| row.documents.iter().map(Encoded::len).collect()).collect()
}

fn batch(rows: Vec<Row>, numbers: &[usize]) -> TokenBatch {
    Batches::new(rows, BatchConfig::new(0)).batch(numbers)
}

/// Reference: `pack_dataset` and the collator of TRL 1.16.0, fixtures' `make_fixtures.py`.
#[test]
fn rows_are_those_of_trl() {
    let Some(fixture) = fixture_json("packing/packing.json") else {
        return;
    };
    let tests: Vec<Value> = typed(&fixture["tests"]);
    assert_eq!(tests.len(), 6);
    for test in tests {
        let given: Vec<usize> = typed(&test["lengths"]);
        let seq_length: usize = typed(&test["seq_length"]);
        for (name, packing) in [("bfd", Packing::BestFit), ("wrapped", Packing::Wrapped)] {
            let wanted = &test["out"][name];
            let rows = pack(documents(&given), seq_length, packing);
            assert_eq!(ids(&rows), typed::<Vec<Vec<u32>>>(&wanted["input_ids"]), "{name} {given:?}");
            if packing == Packing::BestFit {
                let seq_lengths: Vec<Vec<usize>> = typed(&wanted["seq_lengths"]);
                assert_eq!(lengths(&rows), seq_lengths, "{name} {given:?}");
            }
            if !wanted["collated_padded_first2"].is_null() {
                check_collated(name, rows, wanted);
            }
        }
    }
}

/// Our batch of the first two rows against TRL's, end to end and padded. Its wrapped rows are one document each, ours
/// several; a row's first label is never used, TRL's padded collator leaves it in place.
fn check_collated(name: &str, rows: Vec<Row>, wanted: &Value) {
    let found = batch(rows, &[0, 1]);
    let flat = |collated: &str, key: &str| typed::<Vec<Vec<i64>>>(&wanted[collated][key]).concat();
    let (end_to_end, padded) = ("collated_padding_free_first2", "collated_padded_first2");
    for collated in [end_to_end, padded] {
        let input_ids: Vec<i64> = found.input_ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(input_ids, flat(collated, "input_ids"), "{name} {collated}");
        let mut labels = flat(collated, "labels");
        for row in 0..found.rows {
            labels[row * found.seq_len] = -100;
        }
        assert_eq!(found.labels, labels, "{name} {collated}");
    }
    let mask: Vec<i64> = found.segment_ids.iter().map(|segment| i64::from(*segment > 0)).collect();
    assert_eq!(mask, flat(padded, "attention_mask"), "{name}");
    if name == "bfd" {
        let positions: Vec<i64> = found.position_ids.iter().map(|position| i64::from(*position)).collect();
        assert_eq!(positions, flat(end_to_end, "position_ids"), "{name}");
    }
}

/// The example of CONTRACTS.md, and borders: nothing, a full row, a record that is cut.
#[test]
fn small_sets() {
    let cases: [(&[usize], usize, Packing, &[&[usize]]); 9] = [
        (&[5, 2, 3, 1], 4, Packing::BestFit, &[&[4], &[3, 1], &[2]]),
        (&[5, 2, 3, 1], 4, Packing::Wrapped, &[&[4], &[1, 2, 1], &[2, 1]]),
        (&[5, 2, 3, 1], 4, Packing::None, &[&[4], &[2], &[3], &[1]]),
        (&[], 4, Packing::BestFit, &[]),
        (&[], 4, Packing::Wrapped, &[]),
        (&[0, 4, 0], 4, Packing::Wrapped, &[&[4]]),
        (&[0, 4, 0], 4, Packing::BestFit, &[&[4]]),
        (&[1, 1, 1], 1, Packing::BestFit, &[&[1], &[1], &[1]]),
        (&[3], 1, Packing::Wrapped, &[&[1], &[1], &[1]]),
    ];
    for (given, max_length, packing, wanted) in cases {
        let rows = pack(documents(given), max_length, packing);
        assert_eq!(lengths(&rows), wanted, "{given:?} {max_length} {packing:?}");
    }
}

/// A piece keeps the numbers of its tokens in the record, and its first token is no target.
#[test]
fn a_wrapped_record_knows_where_its_pieces_come_from() {
    let rows = pack(documents(&[2, 6]), 4, Packing::Wrapped);
    let found = batch(rows, &[0, 1]);
    assert_eq!(found.input_ids, [0, 1, 1000, 1001, 1002, 1003, 1004, 1005]);
    assert_eq!(found.labels, [-100, 1, -100, -100, -100, 1003, 1004, 1005]);
    assert_eq!(found.position_ids, [0, 1, 0, 1, 0, 1, 2, 3]);
    assert_eq!(found.segment_ids, [1, 1, 2, 2, 1, 1, 1, 1]);
    let one = 1_u64 << 32;
    assert_eq!(found.token_keys, [0, 1, one, one + 1, one + 2, one + 3, one + 4, one + 5]);
}

#[test]
fn many_records_pack_quickly_and_well() {
    // Lengths 1 to 512 from a multiplicative generator. A search over all open rows would take minutes.
    let lengths: Vec<usize> = (0..100_000_usize).map(|index| 1 + index * 40_503 % 65_537 % 512).collect();
    let tokens: usize = lengths.iter().sum();
    let set = lengths
        .iter()
        .enumerate()
        .map(|(index, length)| Encoded::new(vec![0; *length], vec![true; *length], index as u64));
    let rows = pack(set.collect(), 512, Packing::BestFit);
    assert_eq!(rows.iter().map(Row::len).sum::<usize>(), tokens);
    assert!(rows.len() * 512 < tokens + tokens / 100, "{} rows for {tokens} tokens", rows.len());
}

proptest! {
    #[test]
    fn packing_loses_no_token_and_fits(
        (max_length, given) in (1_usize..40).prop_flat_map(|max_length| {
            (Just(max_length), prop::collection::vec(1..=max_length, 0..60))
        }),
        packing in prop::sample::select(vec![Packing::None, Packing::BestFit, Packing::Wrapped]),
    ) {
        let rows = pack(documents(&given), max_length, packing);
        let mut tokens: Vec<u32> = ids(&rows).concat();
        let mut wanted: Vec<u32> = documents(&given).into_iter().flat_map(|document| document.ids).collect();
        if packing == Packing::BestFit {
            tokens.sort_unstable();
            wanted.sort_unstable();
        }
        prop_assert_eq!(tokens, wanted);
        for piece in rows.iter().flat_map(|row| &row.documents) {
            let length = given[piece.index as usize];
            for (at, trained) in piece.loss_mask.iter().enumerate().skip(1) {
                prop_assert_eq!(*trained, piece.offset as usize + at >= length / 2);
            }
        }
        prop_assert!(rows.iter().all(|row| !row.is_empty() && row.len() <= max_length));
        if packing == Packing::Wrapped {
            prop_assert!(rows.iter().rev().skip(1).all(|row| row.len() == max_length));
        }

        let found = batch(rows.clone(), &(0..rows.len()).collect::<Vec<usize>>());
        prop_assert_eq!(found.target_tokens(), rows.iter().map(Row::target_tokens).sum::<usize>());
        // The pieces of every record join up to the whole, and positions restart at each.
        let mut pieces: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (at, segment) in found.segment_ids.iter().enumerate().filter(|(_, segment)| **segment > 0) {
            let starts = at % found.seq_len == 0 || found.segment_ids[at - 1] != *segment;
            let position = if starts { 0 } else { found.position_ids[at - 1] + 1 };
            prop_assert_eq!(found.position_ids[at], position);
            prop_assert!(!starts || found.labels[at] == -100);
            let key = found.token_keys[at];
            prop_assert_eq!(u64::from(found.input_ids[at]), 1000 * (key >> 32) + (key & 0xFFFF_FFFF));
            pieces.entry(key >> 32).or_default().push((key & 0xFFFF_FFFF) as u32);
        }
        for (index, tokens) in pieces {
            let length = given[index as usize] as u32;
            prop_assert_eq!(tokens, (0..length).collect::<Vec<u32>>());
        }
    }
}
