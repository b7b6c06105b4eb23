use std::collections::{HashMap, HashSet};

use burnisher_data::{Assign, DataError, LeakConfig, PartSize, Record, SplitPlan, TextGroups, find_leaks};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{passage, text_record};

/// Records that share nothing, with columns.
fn records(columns: &[&[(&str, Value)]]) -> Vec<Record> {
    let record = |(line, columns): (usize, &&[(&str, Value)])| {
        let mut record = text_record("a.jsonl", line + 1, &passage(&format!("s{line}"), 15));
        record.extra = columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        record
    };
    columns.iter().enumerate().map(record).collect()
}

fn three() -> SplitPlan {
    SplitPlan::new([
        ("train", PartSize::Rest),
        ("validation", PartSize::Fraction(0.1)),
        ("test", PartSize::Fraction(0.2)),
    ])
}

/// Part numbers; also checks that the parts are disjoint and complete, in the order of the file.
fn assigned(plan: &SplitPlan, records: &[Record]) -> Vec<usize> {
    let (numbers, report) = plan.assign(records).unwrap_or_else(|error| panic!("{error}"));
    let parts = plan.split(Vec::from(records)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parts.report, report);
    let mut seen = HashSet::new();
    for (number, part) in parts.parts.iter().enumerate() {
        assert_eq!(part.records.len(), report.parts[number].records);
        assert!(part.records.is_sorted_by_key(|record| record.origin.line));
        for record in &part.records {
            assert!(seen.insert(record.origin.line));
            assert_eq!(numbers[record.origin.line - 1], number);
        }
    }
    assert_eq!(seen.len(), records.len());
    numbers
}

fn error(plan: &SplitPlan, records: &[Record]) -> String {
    plan.assign(records).err().map(|error| error.to_string()).unwrap_or_default()
}

fn labelled(label: &str) -> Vec<(&str, Value)> {
    vec![("label", json!(label))]
}

#[test]
fn sizes_of_parts() {
    let hundred = records(&[&[][..]; 100]);
    let sizes = |plan: SplitPlan| {
        let parts = plan.split(hundred.clone()).unwrap_or_else(|error| panic!("{error}"));
        parts.parts.iter().map(|part| part.records.len()).collect::<Vec<_>>()
    };
    let fraction = PartSize::Fraction;
    assert_eq!(sizes(three()), [70, 10, 20]);
    assert_eq!(
        sizes(SplitPlan::new([("a", fraction(0.335)), ("b", fraction(0.335)), ("c", fraction(0.33))])),
        [34, 33, 33]
    );
    assert_eq!(sizes(SplitPlan::new([("a", PartSize::Count(3)), ("b", PartSize::Rest)])), [3, 97]);
    assert_eq!(sizes(SplitPlan::new([("a", fraction(0.001)), ("b", PartSize::Rest)])), [1, 99]);
    assert_eq!(sizes(SplitPlan::new([("a", PartSize::Count(50)), ("b", fraction(0.5))])), [50, 50]);
}

#[test]
fn wrong_plans_are_errors() {
    let ten = records(&[&[][..]; 10]);
    let (fraction, count, rest) = (PartSize::Fraction, PartSize::Count, PartSize::Rest);
    for (plan, wanted) in [
        (SplitPlan::new([("a", rest)]), "at least two parts"),
        (SplitPlan::new([("a", rest), ("a", count(1))]), "each once"),
        (SplitPlan::new([("a", rest), ("b", rest)]), "at most one rest"),
        (SplitPlan::new([("a", rest), ("b", fraction(0.0))]), "above 0"),
        (SplitPlan::new([("a", rest), ("b", fraction(f64::NAN))]), "above 0"),
        (SplitPlan::new([("a", rest), ("b", count(0))]), "at least 1"),
        (SplitPlan::new([("a", fraction(0.5)), ("b", fraction(0.4))]), "add up to 1"),
        (SplitPlan::new([("a", fraction(0.7)), ("b", fraction(0.4))]), "add up to 1"),
        (SplitPlan::new([("a", count(5)), ("b", count(4))]), "add up to all records"),
        (SplitPlan::new([("a", rest), ("b", count(10))]), "for the rest"),
        (three().with_group("who"), "column \"who\" is missing"),
        (three().with_assign(Assign::ByTime("when".to_owned())).with_stratify("x"), "assigned by time"),
        (SplitPlan::new([("a", rest), ("b", count(1))]).with_assign(Assign::ByHash), "assigned by hash"),
        (three().with_assign(Assign::ByHash).with_clusters(&[0; 10]), "one record alone"),
        (three().with_clusters(&[0; 9]), "9 numbers for 10 records"),
        (three().with_clusters(&[0; 10]), "\"validation\" stays empty: 1 of 10 records"),
    ] {
        assert!(error(&plan, &ten).contains(wanted), "{}, wanted {wanted}", error(&plan, &ten));
    }
    let times = |second: Value| {
        records(&[&[("when", json!("2024-01-01"))], &[("when", second)], &[("when", json!("2023"))]])
    };
    let by_time = three().with_assign(Assign::ByTime("when".to_owned()));
    assert!(
        error(&by_time, &times(json!("soon")))
            .contains("a.jsonl:2: column \"when\" is \"soon\"; wanted an ISO 8601 date")
    );
    assert!(error(&by_time, &times(json!(7))).contains("a.jsonl:2: column \"when\" is 7"));
    assert!(error(&by_time, &times(json!([7]))).contains("found an array"));
}

#[test]
fn time_goes_forward() {
    let dates =
        ["2024-03-01", "2021", "2024-02-28T23:00:00+05:00", "2022-07", "2024-02-28 19:00", "2020-01-01"];
    let columns: Vec<Vec<(&str, Value)>> = dates.iter().map(|date| vec![("when", json!(date))]).collect();
    let set = records(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let plan = SplitPlan::new([
        ("train", PartSize::Rest),
        ("validation", PartSize::Count(2)),
        ("test", PartSize::Count(1)),
    ])
    .with_assign(Assign::ByTime("when".to_owned()));
    assert_eq!(assigned(&plan, &set), [2, 0, 1, 0, 1, 0]);
    // A cluster goes where its latest record goes.
    let plan = SplitPlan::new([
        ("train", PartSize::Rest),
        ("validation", PartSize::Count(1)),
        ("test", PartSize::Count(2)),
    ])
    .with_assign(Assign::ByTime("when".to_owned()))
    .with_clusters(&[9, 9, 1, 2, 3, 4]);
    assert_eq!(assigned(&plan, &set), [2, 2, 0, 0, 1, 0]);
}

#[test]
fn a_report_says_what_each_part_got() {
    let columns: Vec<Vec<(&str, Value)>> =
        (0..10).map(|line| labelled(if line < 4 { "yes" } else { "no" })).collect();
    let set = records(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let plan =
        SplitPlan::new([("train", PartSize::Rest), ("test", PartSize::Fraction(0.5))]).with_stratify("label");
    let parts = plan.split(set).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        parts.report.to_string(),
        "10 records in 10 groups that stay together, the largest of 1\n  train: 5 records (50.0 %) in 5 groups\n  \
         test: 5 records (50.0 %) in 5 groups\n  \"yes\": 2 / 2\n  \"no\": 3 / 3"
    );
    let json = serde_json::to_value(&parts.report).unwrap_or_default();
    assert_eq!(json["strata"][1], json!({"value": "no", "records": [3, 3]}));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn strata_are_exact_among_single_records(labels in prop::collection::vec(0_u8..5, 12..120), seed: u64) {
        let columns: Vec<Vec<(&str, Value)>> = labels.iter().map(|label| vec![("label", json!(label))]).collect();
        let set = records(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let plan = three().with_seed(seed).with_stratify("label").with_text_groups(TextGroups::Off);
        let numbers = assigned(&plan, &set);
        prop_assert_eq!(&numbers, &assigned(&plan, &set));
        let mut sizes = [0_usize; 3];
        let mut cells: HashMap<(u8, usize), usize> = HashMap::new();
        for (label, number) in labels.iter().zip(&numbers) {
            sizes[*number] += 1;
            *cells.entry((*label, *number)).or_default() += 1;
        }
        let n = labels.len() as f64;
        prop_assert!((sizes[1] as f64 - 0.1 * n).abs() < 1.0 && (sizes[2] as f64 - 0.2 * n).abs() < 1.0, "{:?}", sizes);
        for label in 0..5 {
            let stratum = labels.iter().filter(|other| **other == label).count();
            for (part, size) in sizes.iter().enumerate() {
                let exact = stratum as f64 * *size as f64 / n;
                let found = cells.get(&(label, part)).copied().unwrap_or(0) as f64;
                prop_assert!((found - exact).abs() < 1.0, "{} of {}", found, exact);
            }
        }
    }

    #[test]
    fn groups_never_straddle(
        keys in prop::collection::vec((0_u8..30, 0_usize..40, 0_u8..40), 30..100),
        seed: u64,
        by_time: bool,
    ) {
        // Three kinds of groups at once: a column, clusters, and a shared passage of 13 words.
        let mut set = Vec::new();
        for (line, (who, _, text)) in keys.iter().enumerate() {
            let text = format!("{} {}", passage(&format!("own{line}"), 3), passage(&format!("shared{text}"), 13));
            let mut record = text_record("a.jsonl", line + 1, &text);
            record.extra.insert("who".to_owned(), json!(who));
            record.extra.insert("when".to_owned(), json!(line % 17));
            set.push(record);
        }
        let clusters: Vec<usize> = keys.iter().map(|(_, cluster, _)| *cluster).collect();
        let mut plan = SplitPlan::new([("train", PartSize::Rest), ("test", PartSize::Fraction(0.45))])
            .with_seed(seed).with_group("who").with_clusters(&clusters);
        if by_time {
            plan = plan.with_assign(Assign::ByTime("when".to_owned()));
        }
        let numbers = match plan.assign(&set) {
            Ok((numbers, _)) => numbers,
            Err(DataError::EmptyPart { smallest, wanted, .. }) => {
                // By time the latest group may be too large although a smaller one is there.
                prop_assert!(by_time || smallest > wanted);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        for (a, (who, cluster, text)) in keys.iter().enumerate() {
            for (b, other) in keys.iter().enumerate().skip(a) {
                if *who == other.0 || *cluster == other.1 {
                    prop_assert_eq!(numbers[a], numbers[b]);
                }
                if *text == other.2 && keys.iter().filter(|key| key.2 == *text).count() <= 5 {
                    prop_assert_eq!(numbers[a], numbers[b]);
                }
            }
        }
        let parts = plan.split(set).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let leaks = find_leaks(&parts.parts[0].records, &parts.parts[1].records, LeakConfig::default());
        prop_assert!(leaks.is_ok_and(|leaks| leaks.is_empty()));
    }

    #[test]
    fn a_hash_gives_any_shards_the_parts_of_the_whole(
        words in prop::collection::vec("[a-z]{1,6}( [a-z]{1,6}){0,3}", 1..80),
        shards in 1_usize..9,
        seed: u64,
        grouped: bool,
    ) {
        let mut set: Vec<Record> = words.iter().enumerate().map(|(line, text)| text_record("a.jsonl", line + 1, text)).collect();
        for record in &mut set {
            record.extra.insert("who".to_owned(), json!(record.origin.line % 7));
        }
        let mut plan = three().with_seed(seed).with_assign(Assign::ByHash);
        if grouped {
            plan = plan.with_group("who");
        }
        let whole = assigned(&plan, &set);
        for shard in 0..shards {
            let own: Vec<Record> = set.iter().skip(shard).step_by(shards).cloned().collect();
            let numbers = plan.assign(&own).map(|(numbers, _)| numbers);
            let wanted: Vec<usize> = whole.iter().skip(shard).step_by(shards).copied().collect();
            prop_assert_eq!(numbers.ok(), Some(wanted));
        }
        let mut parts: HashMap<String, usize> = HashMap::new();
        for (line, (text, part)) in words.iter().zip(&whole).enumerate() {
            let key = if grouped { ((line + 1) % 7).to_string() } else { text.clone() };
            prop_assert_eq!(parts.entry(key).or_insert(*part), part);
        }
    }
}

#[test]
fn hashed_parts_have_about_their_shares() {
    let set: Vec<Record> =
        (1..=4000).map(|line| text_record("a.jsonl", line, &format!("record {line}"))).collect();
    let (numbers, report) =
        three().with_assign(Assign::ByHash).assign(&set).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(numbers.len(), 4000);
    for (part, share) in report.parts.iter().zip([0.7_f64, 0.1, 0.2]) {
        // Five standard deviations of a binomial draw.
        let deviation = (4000.0 * share * (1.0 - share)).sqrt();
        assert!((part.records as f64 - 4000.0 * share).abs() < 5.0 * deviation, "{report}");
        assert_eq!(part.wanted, None);
    }
    let other = three().with_assign(Assign::ByHash).with_seed(1).assign(&set);
    assert_ne!(other.map(|(numbers, _)| numbers).ok(), Some(numbers));
    let cased = [text_record("a.jsonl", 1, "One  two"), text_record("a.jsonl", 2, "one two\n")];
    let cased = three().with_assign(Assign::ByHash).assign(&cased).map(|(numbers, _)| numbers);
    assert!(cased.is_ok_and(|numbers| numbers[0] == numbers[1]));
}
