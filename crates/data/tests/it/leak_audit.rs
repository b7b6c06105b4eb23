use burnisher_data::{
    ColumnMap, LeakAudit, LeakAuditReport, LeakConfig, LeakText, Record, Source, find_leaks,
};
use serde_json::json;

use crate::{passage, shared, text_record};

fn audit<'a>(train: &'a [Record], config: LeakConfig) -> LeakAudit<'a> {
    LeakAudit::new(train, config).unwrap_or_else(|error| panic!("{error}"))
}

/// Three training records, of which the first shares 13 words with `test`, the second is a near-duplicate there.
fn sets() -> (Vec<Record>, Vec<Record>, Vec<Record>) {
    let common = passage("common", 13);
    let train = vec![
        text_record("train", 1, &format!("before {common}")),
        text_record("train", 2, &passage("near", 20)),
        text_record("train", 3, &passage("own", 20)),
    ];
    let test = vec![
        text_record("test", 1, &passage("else", 20)),
        text_record("test", 2, &format!("{common} behind")),
    ];
    let other = vec![text_record("other", 1, &passage("third", 20))];
    (train, test, other)
}

fn report() -> (Vec<Record>, LeakAuditReport) {
    let (train, test, other) = sets();
    let found = audit(&train, LeakConfig::default()).against("other", &other);
    let found = found.against_clusters("test", &test, &[0, 1, 2, 1, 3]);
    let report = found.unwrap_or_else(|error| panic!("{error}")).finish();
    (train, report)
}

#[test]
fn each_set_has_its_own_leaks() {
    let (train, report) = report();
    assert!(!report.is_empty());
    assert!(report.get("other").is_some_and(|set| set.is_empty()));
    let Some(test) = report.get("test") else { panic!("no set \"test\"") };
    assert_eq!(test.train, [0, 1]);
    assert_eq!(test.near.len(), 1);
    let (_, alone, _) = sets();
    assert_eq!(find_leaks(&train, &alone, LeakConfig::default()).ok().as_ref(), Some(&test.report));
    let common = passage("common", 13);
    assert_eq!(
        report.to_string(),
        format!(
            "3 training records compared with 2 sets\nother: no 13-gram shared between 3 and 1 records\ntest: 1 of 2 \
             records share a 13-gram with the other 3 records, 0 of them in the user's text (1 pairs)\n  train:1 and \
             test:2 (assistant, 1 shared): {common:?}\n  1 records have near-duplicates in training\n  train:2 and \
             test:1 (near-duplicates)"
        )
    );
    let json = serde_json::to_value(&report).unwrap_or_default();
    assert_eq!(json["sets"][1]["near"], json!([{"train": "train:2", "other": "test:1"}]));
    assert_eq!(json["sets"][1]["report"]["pairs"][0]["right"], "test:2");
}

#[test]
fn leaks_are_removed_from_training() {
    let (train, report) = report();
    assert!(
        report
            .remove(train[1..].to_vec())
            .is_err_and(|error| error.to_string().contains("2, where 3 were audited"))
    );
    let (kept, removal) = report.remove(train).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(kept.iter().map(|record| record.origin.line).collect::<Vec<_>>(), [3]);
    assert_eq!(
        removal.to_string(),
        "2 of 3 training records removed as leaks\n  other: 0\n  test: 2\n  train:1, train:2"
    );
    let (_, test, _) = sets();
    let again = audit(&kept, LeakConfig::default()).against("test", &test).finish();
    assert!(again.is_empty());
    let all = audit(&test, LeakConfig::default()).against("test", &test).finish();
    assert!(all.remove(test.clone()).is_err_and(|error| error.to_string().contains("left none of 2")));
    let clusters = audit(&kept, LeakConfig::default()).against_clusters("test", &test, &[0]);
    assert!(clusters.is_err_and(|error| error.to_string().contains("1 numbers for 1 and 2 records")));
}

/// A passage that a hundred training records repeat is paired with sixteen, but all hundred are removed.
#[test]
fn all_repeats_of_a_leak_are_removed() {
    let common = passage("common", 13);
    let mut train: Vec<Record> = (1..=100)
        .map(|line| text_record("train", line, &format!("{} {common}", passage(&format!("a{line}"), 3))))
        .collect();
    train.push(text_record("train", 101, &passage("own", 20)));
    let test = [text_record("test", 1, &common)];
    let report =
        audit(&train, LeakConfig::default().with_common_fraction(1.0)).against("test", &test).finish();
    assert_eq!(report.sets[0].report.pairs.len(), 16);
    assert_eq!(report.remove(train).map(|(kept, _)| kept.len()).ok(), Some(1));
}

/// Reference: the questions of the real data, compared by a few lines of Python over the same words.
#[test]
fn gsm8k_questions_share_eight_words_and_seldom_thirteen() {
    let Some(folder) = shared("data/gsm8k") else { return };
    let columns = ColumnMap::new([("prompt", "question"), ("completion", "answer")]).expect("known columns");
    let read = |file: &str| {
        let source = Source::open(folder.join(file)).expect("the file opens").with_columns(columns.clone());
        source.read().unwrap_or_else(|error| panic!("{error}"))
    };
    let (train, test) = (read("train.jsonl"), read("test.jsonl"));
    assert_eq!((train.len(), test.len()), (7473, 1319));
    for (ngram, leaked) in [(8, 77), (13, 3)] {
        let config = LeakConfig::default().with_ngram(ngram).with_text(LeakText::User);
        let report = audit(&train, config).against("gsm8k-test", &test).finish();
        assert_eq!(report.sets[0].report.leaked().len(), leaked, "{ngram}");
        assert_eq!(report.sets[0].report.common_ngrams, 0);
    }
}
