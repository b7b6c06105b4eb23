use burnisher_data::{Body, Message, Origin, Record, remove_exact_duplicates};

use crate::text_record;

/// The lines that stay.
fn kept(bodies: Vec<Body>) -> Vec<usize> {
    let records =
        (1..).zip(bodies).map(|(line, body)| Record::new(body, Origin::new("a.jsonl", line))).collect();
    let (kept, _) = remove_exact_duplicates(records);
    kept.iter().map(|record| record.origin.line).collect()
}

fn completion(prompt: &str, completion: &str) -> Body {
    Body::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
}

fn messages(turns: &[(&str, &str)]) -> Body {
    Body::Messages(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
}

#[test]
fn what_makes_two_records_the_same() {
    let text = |text: &str| Body::Text(text.to_owned());
    for (name, first, second, same) in [
        ("white space", text("one two"), text("\n one\t two\u{a0} "), true),
        ("case", text("one two"), text("One two"), false),
        ("punctuation", text("one two"), text("one, two"), false),
        ("the completion", completion("p", "c"), completion("p", "d"), false),
        ("the prompt", completion("p", "c"), completion("q", "c"), false),
        ("both alike", completion("p ", "c"), completion("p", " c"), true),
        ("where the text stands", completion("p c", "d"), completion("p", "c d"), false),
        (
            "a border made of text",
            completion("p", "c9:assistant1:d"),
            completion("p1:c9:assistant", "d"),
            false,
        ),
        ("the shape", text("c"), completion("", "c"), false),
        (
            "the shape of equal turns",
            completion("p", "c"),
            messages(&[("user", "p"), ("assistant", "c")]),
            false,
        ),
        (
            "system text",
            messages(&[("system", "s"), ("user", "u"), ("assistant", "a")]),
            messages(&[("system", "t"), ("user", "u"), ("assistant", "a")]),
            false,
        ),
        (
            "roles",
            messages(&[("user", "u"), ("assistant", "a")]),
            messages(&[("tool", "u"), ("assistant", "a")]),
            false,
        ),
    ] {
        assert_eq!(kept(vec![first, second]), if same { vec![1] } else { vec![1, 2] }, "{name}");
    }
}

#[test]
fn the_first_stays_and_the_report_names_the_rest() {
    let records = (0..100).map(|i| text_record("a.jsonl", i + 1, &format!("text {}", i % 40))).collect();
    let (kept, report) = remove_exact_duplicates(records);
    assert_eq!(
        kept.iter().map(|record| record.origin.line).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    assert_eq!((report.records, report.removed, report.pairs.len()), (100, 60, 20));
    assert_eq!(report.pairs[0].kept, Origin::new("a.jsonl", 1));
    assert_eq!(report.pairs[0].removed, Origin::new("a.jsonl", 41));
    let shown = report.to_string();
    assert!(
        shown.starts_with("60 of 100 records removed as exact duplicates\n  a.jsonl:41 repeats a.jsonl:1\n"),
        "{shown}"
    );
    assert!(shown.ends_with("\n  and 40 more"), "{shown}");
}

#[test]
fn nothing_is_removed_from_nothing() {
    let (kept, report) = remove_exact_duplicates(Vec::new());
    assert!(kept.is_empty());
    assert_eq!(report.to_string(), "0 of 0 records removed as exact duplicates");
}
