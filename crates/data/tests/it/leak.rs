use burnisher_data::{
    Body, ColumnMap, LeakConfig, LeakReport, Message, Origin, Record, SharedPart, Source, find_leaks,
};

use crate::{passage, shared, text_record};

fn leaks(left: &[Record], right: &[Record]) -> LeakReport {
    find_leaks(left, right, LeakConfig::default()).expect("the default configuration")
}

fn chat(file: &str, line: usize, turns: &[(&str, &str)]) -> Record {
    let messages = turns.iter().map(|(role, content)| Message::new(*role, *content)).collect();
    Record::new(Body::Messages(messages), Origin::new(file, line))
}

/// `count` records that share nothing with any other.
fn filler(file: &str, count: usize) -> Vec<Record> {
    (1..=count).map(|line| text_record(file, line, &passage(&format!("{file}{line}"), 15))).collect()
}

#[test]
fn thirteen_words_leak_and_twelve_do_not() {
    for (shared_words, leaked) in [(12, false), (13, true), (14, true)] {
        let common = passage("common", shared_words);
        let left = [text_record("left", 1, &format!("{} {common} {}", passage("a", 9), passage("b", 9)))];
        let right = [text_record("right", 1, &format!("{} {common} {}", passage("c", 9), passage("d", 9)))];
        let report = leaks(&left, &right);
        assert_eq!(!report.is_empty(), leaked, "{shared_words} words: {report}");
        if leaked {
            assert_eq!(report.pairs[0].ngram, passage("common", 13));
            assert_eq!(report.pairs[0].shared, shared_words - 12);
        }
    }
}

#[test]
fn case_and_punctuation_do_not_hide_a_leak() {
    let left = [text_record(
        "left",
        1,
        "It's a very long sentence; with more than thirteen words, isn't it? Yes - indeed!",
    )];
    let right = [text_record(
        "right",
        1,
        "(ITS A VERY LONG SENTENCE)\nwith more than \"thirteen\" words isnt it, yes indeed",
    )];
    assert_eq!(
        leaks(&left, &right).pairs[0].ngram,
        "its a very long sentence with more than thirteen words isnt it yes"
    );
}

#[test]
fn system_and_tool_text_does_not_count_and_breaks_the_text() {
    let long = passage("s", 20);
    let (half, rest) = (passage("h", 7), passage("r", 7));
    for (name, left, right, leaked) in [
        (
            "system",
            vec![("system", &*long), ("user", "a"), ("assistant", "b")],
            vec![("system", &*long), ("user", "c"), ("assistant", "d")],
            false,
        ),
        (
            "tool",
            vec![("user", "a"), ("tool", &*long), ("assistant", "b")],
            vec![("user", "c"), ("tool", &*long), ("assistant", "d")],
            false,
        ),
        (
            "system against user",
            vec![("system", &*long), ("user", "a"), ("assistant", "b")],
            vec![("user", &*long), ("assistant", "d")],
            false,
        ),
        (
            "user",
            vec![("user", &*long), ("assistant", "b")],
            vec![("user", &*long), ("assistant", "d")],
            true,
        ),
        (
            "assistant",
            vec![("user", "a"), ("assistant", &*long)],
            vec![("user", "c"), ("assistant", &*long)],
            true,
        ),
        (
            "user against assistant",
            vec![("user", &*long), ("assistant", "b")],
            vec![("user", "c"), ("assistant", &*long)],
            true,
        ),
        (
            "across turns",
            vec![("user", &*half), ("assistant", &*rest)],
            vec![("user", "x"), ("assistant", &*half), ("user", &*rest), ("assistant", "y")],
            true,
        ),
        (
            "across system text",
            vec![("user", &*half), ("assistant", &*rest)],
            vec![("user", "x"), ("assistant", &*half), ("system", "z"), ("user", &*rest), ("assistant", "y")],
            false,
        ),
    ] {
        let report = leaks(&[chat("left", 1, &left)], &[chat("right", 1, &right)]);
        assert_eq!(!report.is_empty(), leaked, "{name}: {report}");
    }
}

#[test]
fn short_records_leak_only_as_a_whole() {
    let left = [text_record("left", 1, "What is 3 + 4? Seven.")];
    for (text, leaked) in [
        ("what is 3 + 4?\n  SEVEN.", true),
        ("What is 3 - 4? Seven.", false),
        ("What is 3 + 4?", false),
        (&*format!("What is 3 + 4? Seven. {}", passage("more", 20)), false),
    ] {
        let report = leaks(&left, &[text_record("right", 1, text)]);
        assert_eq!(!report.is_empty(), leaked, "{text:?}: {report}");
    }
}

/// Boilerplate is an n-gram in more than 1 % of the records and in more than five.
#[test]
fn common_ngrams_do_not_count() {
    let phrase = passage("phrase", 13);
    for (records, copies, leaked) in [
        (2, 2, true),
        (10, 5, true),
        (10, 6, false),
        (500, 5, true),
        (500, 6, false),
        (1000, 10, true),
        (1000, 11, false),
    ] {
        // One of the copies is on the right.
        let mut left = filler("left", records - 1);
        for (line, record) in left.iter_mut().enumerate().take(copies - 1) {
            *record = text_record("left", line + 1, &format!("{} {phrase}", passage(&format!("l{line}"), 3)));
        }
        let right = [text_record("right", 1, &format!("{phrase} end"))];
        let report = leaks(&left, &right);
        assert_eq!(
            report.pairs.len(),
            if leaked { copies - 1 } else { 0 },
            "{copies} of {records}: {report}"
        );
        assert_eq!(report.common_ngrams, usize::from(!leaked), "{copies} of {records}");
    }
}

#[test]
fn one_leak_in_a_large_set_is_found() {
    let left = filler("left", 2000);
    let mut right = filler("right", 500);
    right[321] = text_record("right", 322, &format!("before {}", passage("left777", 15)));
    let report = leaks(&left, &right);
    assert_eq!(report.pairs.len(), 1, "{report}");
    assert_eq!((report.pairs[0].left.line, report.pairs[0].right.line), (777, 322));
    assert_eq!((report.pairs[0].shared, report.pairs[0].part), (3, SharedPart::Assistant));
    assert_eq!((report.left_records, report.right_records), (2000, 500));
}

#[test]
fn the_report_shows_pairs_with_both_origins() {
    let left = filler("left", 30);
    let right: Vec<Record> = left
        .iter()
        .map(|record| Record::new(record.body.clone(), Origin::new("right", record.origin.line)))
        .collect();
    let report = leaks(&left, &right);
    assert_eq!((report.pairs.len(), report.leaked().len(), report.leaked_questions().len()), (30, 30, 0));
    let shown = report.to_string();
    assert!(shown.starts_with("30 of 30 records share a 13-gram with the other 30 records, 0 of them in the user's text (30 pairs)"), "{shown}");
    assert!(shown.contains("\n  left:1 and right:1 (assistant, 3 shared): \"left1x0 left1x1 "), "{shown}");
    assert!(shown.ends_with("\n  and 10 more pairs"), "{shown}");
    assert_eq!(format!("{report:#}").lines().count(), 31);
    assert_eq!(leaks(&left, &filler("other", 7)).to_string(), "no 13-gram shared between 30 and 7 records");
    assert!(leaks(&[], &[]).is_empty());
}

#[test]
fn the_configuration_is_checked() {
    for (config, wanted) in [
        (LeakConfig::default().with_ngram(0), "ngram is 0; wanted at least 1 word"),
        (
            LeakConfig::default().with_common_fraction(-0.1),
            "common_fraction is -0.1; wanted a number from 0 to 1",
        ),
        (LeakConfig::default().with_common_fraction(f64::NAN), "common_fraction is NaN"),
    ] {
        let error = find_leaks(&[], &[], config).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let words = |text: &str| [text_record("a", 1, text)];
    let report = find_leaks(&words("x a b c"), &words("a b c y"), LeakConfig::default().with_ngram(3));
    assert_eq!(report.expect("three words").pairs[0].ngram, "a b c");
}

/// GSM8K's test set against its training set. Three test questions share a 13-gram with training questions,
/// one of them with two; three more test records share only words of their solutions. Counted apart from this
/// code in Python (split on white space, keep `str.isalnum`, lower-case, sets of 13-tuples).
#[test]
fn gsm8k_has_three_shared_questions() {
    let Some(dir) = shared("data/gsm8k") else {
        return;
    };
    let columns = ColumnMap::new([("prompt", "question"), ("completion", "answer")]).expect("known columns");
    let read = |file: &str| {
        let source = Source::open(dir.join(file)).expect("the file opens").with_columns(columns.clone());
        source.read().unwrap_or_else(|error| panic!("{error}"))
    };
    let report = leaks(&read("train.jsonl"), &read("test.jsonl"));
    let lines = |origins: Vec<&Origin>| origins.iter().map(|origin| origin.line).collect::<Vec<_>>();
    assert_eq!(lines(report.leaked_questions()), [582, 603, 633], "{report}");
    assert_eq!(lines(report.leaked()), [19, 582, 603, 633, 713, 807], "{report}");
    assert_eq!(report.common_ngrams, 0);
    let pairs: Vec<(usize, usize, SharedPart, usize)> =
        report.pairs.iter().map(|pair| (pair.left.line, pair.right.line, pair.part, pair.shared)).collect();
    assert_eq!(
        pairs,
        [
            (407, 582, SharedPart::User, 3),
            (1315, 603, SharedPart::User, 7),
            (5163, 603, SharedPart::User, 7),
            (21, 633, SharedPart::User, 13),
            (5004, 19, SharedPart::Assistant, 1),
            (6842, 713, SharedPart::Assistant, 5),
            (700, 807, SharedPart::Assistant, 1),
        ]
    );
    assert_eq!(report.pairs[0].ngram, "the first movie is 1 hour and 30 minutes long while the second");
    let shown = report.to_string();
    assert!(
        shown.contains("train.jsonl:407 and ") && shown.contains("test.jsonl:582 (user, 3 shared)"),
        "{shown}"
    );
}
