use std::collections::{BTreeSet, HashSet};

use burnisher_data::{
    ColumnMap, DataError, LeakConfig, Record, Source, Split, SplitConfig, ValidationSize, find_leaks, split,
};
use proptest::prelude::*;

use crate::{passage, shared, text_record};

fn fraction(fraction: f64, seed: u64) -> SplitConfig {
    SplitConfig::new(ValidationSize::Fraction(fraction)).with_seed(seed)
}

fn count(count: usize) -> SplitConfig {
    SplitConfig::new(ValidationSize::Count(count))
}

/// `count` records that share nothing.
fn singles(count: usize) -> Vec<Record> {
    (1..=count).map(|line| text_record("a.jsonl", line, &passage(&format!("s{line}"), 15))).collect()
}

/// Groups of these sizes whose records share a passage of 13 words, dealt out in turn.
fn groups(sizes: &[usize]) -> Vec<Record> {
    let mut records = Vec::new();
    for round in 0..sizes.iter().copied().max().unwrap_or(0) {
        for (group, _) in sizes.iter().enumerate().filter(|(_, size)| round < **size) {
            let text = format!(
                "{} {}, {}!",
                passage(&format!("b{group}r{round}"), 4),
                passage(&format!("G{group}"), 13),
                passage(&format!("e{group}r{round}"), 2)
            );
            records.push(text_record("a.jsonl", records.len() + 1, &text));
        }
    }
    records
}

fn lines(records: &[Record]) -> Vec<usize> {
    records.iter().map(|record| record.origin.line).collect()
}

/// The 13-word windows of the records, found without the crate.
fn windows(records: &[Record]) -> HashSet<Vec<String>> {
    let mut windows = HashSet::new();
    for record in records {
        let text: String = record
            .trained_text()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || letter.is_whitespace())
            .collect();
        let words: Vec<String> = text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        windows.extend(words.windows(13).map(<[String]>::to_vec));
    }
    windows
}

#[test]
fn sizes() {
    for (records, config, validation) in [
        (2, fraction(0.5, 0), 1),
        (2, fraction(0.001, 0), 1),
        (2, fraction(0.999, 0), 1),
        (10, fraction(0.25, 1), 3),
        (100, fraction(0.1, 2), 10),
        (100, count(1), 1),
        (100, count(99), 99),
    ] {
        let sets = split(singles(records), config).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (sets.train.len(), sets.validation.len()),
            (records - validation, validation),
            "{config:?}"
        );
        assert_eq!((sets.groups, sets.largest_group), (records, 1), "{config:?}");
    }
}

#[test]
fn sizes_out_of_range_are_errors() {
    for (records, config, wanted) in [
        (
            10,
            fraction(0.0, 0),
            "validation size is fraction 0 of 10 records; wanted a fraction above 0 and below 1",
        ),
        (10, fraction(1.0, 0), "fraction 1 of 10 records"),
        (10, fraction(f64::NAN, 0), "fraction NaN of 10 records"),
        (10, count(0), "count 0 of 10 records; wanted a count from 1 to one less than the records"),
        (10, count(10), "count 10 of 10 records"),
        (1, fraction(0.5, 0), "fraction 0.5 of 1 records; wanted at least two records to split"),
        (0, count(1), "wanted at least two records to split"),
    ] {
        let error = split(singles(records), config).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
    }
}

#[test]
fn the_seed_decides() {
    let of_seed = |seed| lines(&split(singles(200), fraction(0.1, seed)).expect("a split").validation);
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        assert_eq!(of_seed(seed), of_seed(seed));
        assert!(seen.insert(of_seed(seed)), "seed {seed} gives the split of another");
    }
    // Every record has its chance: over twenty seeds some 88 % of them were held out once.
    let held_out: BTreeSet<usize> = seen.into_iter().flatten().collect();
    assert!(held_out.len() > 150, "{}", held_out.len());
}

#[test]
fn rows_that_share_text_through_others_stay_together() {
    // 1-2 share a, 2-3 share b, so 1 and 3 belong together without sharing anything; 4 to 9 are on their own.
    let (a, b) = (passage("a", 13), passage("b", 13));
    let mut records = singles(9);
    records[0] = text_record("a.jsonl", 1, &a);
    records[1] = text_record("a.jsonl", 2, &format!("{a} {b}"));
    records[2] = text_record("a.jsonl", 3, &b);
    for seed in 0..50 {
        let sets = split(records.clone(), fraction(0.4, seed)).expect("a split");
        let held_out = lines(&sets.validation);
        let first: Vec<bool> = (1..=3).map(|line| held_out.contains(&line)).collect();
        assert!(first.iter().all(|held| *held == first[0]), "seed {seed}: {held_out:?}");
        assert_eq!((sets.groups, sets.largest_group), (7, 3));
        assert_eq!(held_out.len(), 4);
    }
}

#[test]
fn groups_that_do_not_fit_are_passed_over() {
    let records = groups(&[5, 5, 3]);
    let sets = split(records.clone(), count(4)).expect("a split");
    assert_eq!(lines(&sets.validation), [3, 6, 9]);
    let error = split(records, count(2)).expect_err("no group of two");
    assert!(
        matches!(error, DataError::CannotSplit { wanted: 2, records: 13, groups: 3, smallest: 3 }),
        "{error}"
    );
    assert!(error.to_string().contains("cannot take 2 of 13 records"), "{error}");
}

#[test]
fn a_template_in_every_record_does_not_tie_them_together() {
    let template = passage("template", 14);
    let records: Vec<Record> = (1..=40)
        .map(|line| text_record("a.jsonl", line, &format!("{template} {}", passage(&format!("u{line}"), 5))))
        .collect();
    // n-grams that run from the template into a record's own words are its own.
    let sets = split(records, fraction(0.25, 3)).expect("a split");
    assert_eq!((sets.groups, sets.validation.len()), (40, 10));
}

#[test]
fn gsm8k_is_split_without_a_leak() {
    let Some(path) = shared("data/gsm8k/train.jsonl") else {
        return;
    };
    let columns = ColumnMap::new([("prompt", "question"), ("completion", "answer")]).expect("known columns");
    let source = Source::open(path).expect("the file opens").with_columns(columns);
    let records = source.read().unwrap_or_else(|error| panic!("{error}"));
    let sets = split(records, fraction(0.05, 42)).expect("a split");
    assert_eq!((sets.train.len(), sets.validation.len()), (7099, 374));
    let report =
        find_leaks(&sets.train, &sets.validation, LeakConfig::default()).expect("the default configuration");
    assert!(report.is_empty(), "{report}");
}

fn check(sizes: &[usize], sets: &Split, records: &[Record], wanted: usize) -> Result<(), TestCaseError> {
    // The union is the input, and both sets keep its order.
    let mut all = lines(&sets.train);
    prop_assert!(all.is_sorted());
    prop_assert!(lines(&sets.validation).is_sorted());
    all.extend(lines(&sets.validation));
    all.sort_unstable();
    prop_assert_eq!(all, lines(records));
    for record in sets.train.iter().chain(&sets.validation) {
        prop_assert_eq!(record, &records[record.origin.line - 1]);
    }
    // Neither set is empty, and no 13-gram is in both.
    prop_assert!(!sets.train.is_empty() && !sets.validation.is_empty());
    prop_assert!(sets.validation.len() <= wanted);
    prop_assert!(windows(&sets.train).is_disjoint(&windows(&sets.validation)));
    prop_assert_eq!(sets.groups, sizes.len());
    prop_assert_eq!(Some(sets.largest_group), sizes.iter().copied().max());
    let report = find_leaks(&sets.train, &sets.validation, LeakConfig::default());
    prop_assert!(report.is_ok_and(|report| report.is_empty()));
    Ok(())
}

proptest! {
    #[test]
    fn groups_never_straddle(
        mut sizes in prop::collection::vec(1_usize..=5, 2..20),
        part in 0.05_f64..0.9,
        seed in any::<u64>(),
    ) {
        // One record of its own, so that a validation set of one can be made.
        sizes.push(1);
        let records = groups(&sizes);
        let config = fraction(part, seed);
        let wanted = config.validate(records.len()).expect("a fraction in range");
        let sets = split(records.clone(), config).expect("a split");
        check(&sizes, &sets, &records, wanted)?;
        prop_assert_eq!(split(records, config).expect("a split"), sets);
    }
}
