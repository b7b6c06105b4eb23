use burnisher_data::{BatchConfig, Batches, Encoded, Order, Row};
use proptest::prelude::*;

fn row(documents: &[(u64, &[u32], &[bool])]) -> Row {
    let document =
        |(index, ids, mask): &(u64, &[u32], &[bool])| Encoded::new(ids.to_vec(), mask.to_vec(), *index);
    Row { documents: documents.iter().map(document).collect() }
}

/// Rows of one token each, whose id is the row's number.
fn single_tokens(count: u32) -> Vec<Row> {
    (0..count).map(|id| row(&[(u64::from(id), &[id], &[true])])).collect()
}

#[test]
fn arrays_are_padded_and_masked_by_position() {
    // EOS is 2 and so is padding: the first is learnt, the second is not.
    let rows = vec![
        row(&[(7, &[10, 11, 2], &[false, true, true]), (0, &[20, 2], &[true, true])]),
        row(&[(9, &[30, 31], &[false, true])]),
    ];
    let batches = Batches::new(rows, BatchConfig::new(2));
    assert_eq!((batches.len(), batches.is_empty(), batches.target_tokens()), (2, false, 4));
    let batch = batches.batch(&[1, 0]);
    assert_eq!((batch.rows, batch.seq_len, batch.target_tokens()), (2, 5, 4));
    assert_eq!(batch.input_ids, [30, 31, 2, 2, 2, 10, 11, 2, 20, 2]);
    assert_eq!(batch.labels, [-100, 31, -100, -100, -100, -100, 11, 2, -100, 2]);
    assert_eq!(batch.position_ids, [0, 1, 0, 0, 0, 0, 1, 2, 0, 1]);
    assert_eq!(batch.segment_ids, [1, 1, 0, 0, 0, 1, 1, 1, 2, 2]);
    let (seven, nine) = (7 << 32, 9 << 32);
    let pad = u64::MAX;
    assert_eq!(batch.token_keys, [nine, nine + 1, pad, pad, pad, seven, seven + 1, seven + 2, 0, 1]);
    let empty = batches.batch(&[]);
    assert_eq!((empty.rows, empty.seq_len, empty.input_ids.len()), (0, 0, 0));
}

/// A token's arrays do not depend on the batch it is in.
#[test]
fn batches_split_without_a_trace() {
    let rows: Vec<Row> =
        (0..6_u32).map(|index| row(&[(u64::from(index), &[index, 40, 41], &[false, true, true])])).collect();
    let batches = Batches::new(rows, BatchConfig::new(0));
    let order = batches.order(0);
    let whole = batches.batch(&order);
    for size in [1, 2, 3, 5] {
        let parts: Vec<_> = order.chunks(size).map(|numbers| batches.batch(numbers)).collect();
        let keys: Vec<u64> = parts.iter().flat_map(|part| part.token_keys.clone()).collect();
        assert_eq!(keys, whole.token_keys);
        let labels: Vec<i64> = parts.iter().flat_map(|part| part.labels.clone()).collect();
        assert_eq!(labels, whole.labels);
    }
}

#[test]
fn every_epoch_has_its_own_order_that_its_seed_and_number_fix() {
    for count in [0, 1, 2, 3, 100] {
        let batches = |seed| Batches::new(single_tokens(count), BatchConfig::new(0).with_seed(seed));
        let unshuffled = Batches::new(single_tokens(count), BatchConfig::new(0).with_shuffle(false));
        let plain: Vec<usize> = (0..count as usize).collect();
        assert_eq!(unshuffled.order(3), plain);
        let mut seen = Vec::new();
        for (seed, epoch) in [(0, 0), (0, 1), (1, 0), (1, 1), (42, 7), (u64::MAX, u64::MAX)] {
            let order = batches(seed).order(epoch);
            assert_eq!(order, batches(seed).order(epoch));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, plain);
            if count == 100 {
                assert!(order != plain && !seen.contains(&order), "seed {seed}, epoch {epoch}");
                seen.push(order);
            }
        }
    }
}

/// Expected orders: the documented algorithm written out in Python, whose splitmix64 gives the published numbers.
#[test]
fn the_order_is_pinned() {
    let batches = |seed| Batches::new(single_tokens(8), BatchConfig::new(0).with_seed(seed));
    assert_eq!(batches(0).order(0), [7, 1, 0, 6, 3, 2, 4, 5]);
    assert_eq!(batches(0).order(1), [7, 4, 3, 6, 0, 5, 1, 2]);
    assert_eq!(batches(42).order(0), [1, 3, 4, 5, 0, 7, 6, 2]);
}

/// Each of the 24 orders of four rows comes up about equally often: χ² with 23 degrees of freedom stays below 49.7,
/// which chance alone exceeds once in a thousand times.
#[test]
fn orders_are_uniform() {
    let batches = Batches::new(single_tokens(4), BatchConfig::new(0).with_seed(5));
    let mut counts = std::collections::BTreeMap::new();
    let epochs = 12_000_u64;
    for epoch in 0..epochs {
        *counts.entry(batches.order(epoch)).or_insert(0_u64) += 1;
    }
    assert_eq!(counts.len(), 24);
    let expected = epochs as f64 / 24.0;
    let chi_squared: f64 = counts.values().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    assert!(chi_squared < 49.7, "{chi_squared}");
}

/// Padded tokens of an epoch.
fn padded(batches: &Batches, order: &[usize], batch_size: usize) -> usize {
    let width =
        |numbers: &[usize]| numbers.iter().map(|number| batches.rows()[*number].len()).max().unwrap_or(0);
    order.chunks(batch_size).map(|numbers| numbers.len() * width(numbers)).sum()
}

fn of_lengths(lengths: &[usize], order: Order) -> Batches {
    let row = |(index, length): (usize, &usize)| {
        let document = Encoded::new(vec![1; *length], vec![true; *length], index as u64);
        Row { documents: vec![document] }
    };
    let rows = lengths.iter().enumerate().map(row).collect();
    Batches::new(rows, BatchConfig::new(0).with_seed(5).with_order(order))
}

#[test]
fn rows_of_similar_length_share_batches() {
    let lengths: Vec<usize> = (0..1000).map(|row| 1 + row * 7919 % 500).collect();
    let grouped = of_lengths(&lengths, Order::LengthGrouped { batch_size: 8 });
    let shuffled = of_lengths(&lengths, Order::Shuffled);
    let tokens: usize = lengths.iter().sum();
    let (few, many) = (padded(&grouped, &grouped.order(0), 8), padded(&shuffled, &shuffled.order(0), 8));
    assert!(few < tokens + tokens / 20 && many > tokens + tokens / 2, "{few} and {many} for {tokens}");
    assert_ne!(grouped.order(0), grouped.order(1));
}

proptest! {
    #[test]
    fn grouped_orders_hold_every_row_once(
        lengths in prop::collection::vec(1_usize..60, 0..300),
        batch_size in 1_usize..20,
        epoch: u64,
    ) {
        let batches = of_lengths(&lengths, Order::LengthGrouped { batch_size });
        let order = batches.order(epoch);
        prop_assert_eq!(&order, &batches.order(epoch));
        if let Some(first) = order.first() {
            prop_assert_eq!(Some(&lengths[*first]), lengths.iter().max());
        }
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert!(sorted.into_iter().eq(0..lengths.len()));
    }
}
