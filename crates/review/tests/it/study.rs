//! Studies in files, good and bad.

use std::fs;

use burnisher_review::{Blinding, Criterion, Item, Judge, Need, Study, StudyOptions};

#[test]
fn a_json_file_holds_everything() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("study.json");
    let text = r#"{
        "title": "Summaries", "instructions": "Read both.",
        "criteria": [{"name": "fluency", "min": 1, "max": 5, "need": "required"}],
        "options": {"seed": 3, "blinding": "open", "repeats": 0.5, "pairs_per_item": 1,
                    "judges": ["Ada", {"name": "Bob", "token": "0123456789abcdef"}]},
        "items": [{"id": 7, "prompt": "p", "reference": "r", "context": "c", "outputs": {"a": "x", "b": "y"}}]
    }"#;
    fs::write(&path, text).expect("writes");
    let options = StudyOptions::new()
        .with_seed(3)
        .with_blinding(Blinding::Open)
        .with_repeats(0.5)
        .with_pairs_per_item(1)
        .with_judges([Judge::new("Ada"), Judge::new("Bob").with_token("0123456789abcdef")]);
    let wanted =
        Study::new(vec![Item::new("7", "p", [("a", "x"), ("b", "y")]).with_reference("r").with_context("c")])
            .with_title("Summaries")
            .with_instructions("Read both.")
            .with_criteria([Criterion::new("fluency", 1, 5).with_need(Need::Required)])
            .with_options(options);
    assert_eq!(Study::from_file(&path).expect("a study"), wanted);

    // The same through JSONL, and through what serde writes.
    let lines = r#"{"study": {"title": "Summaries", "instructions": "Read both.", "criteria": [{"name": "fluency", "min": 1, "max": 5, "need": "required"}], "options": {"seed": 3, "blinding": "open", "repeats": 0.5, "pairs_per_item": 1, "judges": ["Ada", {"name": "Bob", "token": "0123456789abcdef"}]}}}
{"id": "7", "prompt": "p", "reference": "r", "context": "c", "outputs": {"a": "x", "b": "y"}}
"#;
    let path = dir.path().join("study.jsonl");
    fs::write(&path, lines).expect("writes");
    assert_eq!(Study::from_file(&path).expect("a study"), wanted);
    let path = dir.path().join("again.json");
    fs::write(&path, serde_json::to_vec(&wanted).expect("JSON")).expect("writes");
    assert_eq!(Study::from_file(&path).expect("a study"), wanted);
}

#[test]
fn wrong_files_say_what_and_where() {
    let item = r#"{"id": 1, "prompt": "p", "outputs": {"a": "x", "b": "y"}}"#;
    let rows = [
        ("x.jsonl", String::new(), "study: items: found none, wanted at least one"),
        ("x.jsonl", format!("{item}\n{item}"), "study: items: found the id `1` twice, wanted each once"),
        (
            "x.jsonl",
            r#"{"id": 1, "prompt": "p", "outputs": {"a": "x"}}"#.to_owned(),
            "study: item `1`: found 1 outputs, wanted the outputs of at least two systems",
        ),
        ("x.jsonl", format!("{item}\n\n{{"), "line 3"),
        (
            "x.jsonl",
            r#"{"id": 1, "prompt": "p", "outputs": {"a": "x", "a": "y"}}"#.to_owned(),
            "line 1: the system `a` comes twice",
        ),
        ("x.json", format!("{{\"items\": [{item}],\n \"ratings\": 1}}"), "line 2: unknown field `ratings`"),
        (
            "x.json",
            format!("{{\"items\": [{item}], \"criteria\": [{{\"name\": \"c\", \"min\": 0, \"max\": 11}}]}}"),
            "study: criterion `c`: found 0..11, wanted a scale of 2 to 11 points",
        ),
        (
            "x.json",
            format!("{{\"items\": [{item}], \"options\": {{\"repeats\": 1.5}}}}"),
            "study: options.repeats: found 1.5, wanted a share between 0 and 1",
        ),
        (
            "x.json",
            format!("{{\"items\": [{item}], \"options\": {{\"judges\": [\"A\", \"A\"]}}}}"),
            "study: options.judges: found the name `A` twice, wanted each once",
        ),
        (
            "x.json",
            format!("{{\"items\": [{item}], \"options\": {{\"owner_token\": \"short\"}}}}"),
            "study: options: found a token of 5 bytes, wanted 16 to 128 letters, digits, `-` or `_`",
        ),
    ];
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text, wanted) in rows {
        let path = dir.path().join(name);
        fs::write(&path, &text).expect("writes");
        let error = Study::from_file(&path).expect_err(&text).to_string();
        assert!(error.contains(wanted), "{text}\n{error}\ninstead of\n{wanted}");
    }
}

#[test]
fn answers_of_systems_join_by_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("writes");
        path
    };
    let base = write(
        "base.jsonl",
        "{\"id\": 1, \"prompt\": \"one\", \"output\": \"b1\", \"score\": 3}\n{\"id\": 2, \"prompt\": \"two\", \"output\": \"b2\"}\n",
    );
    let tuned = write(
        "tuned.jsonl",
        "{\"id\": \"2\", \"prediction\": \"t2\", \"reference\": \"r2\"}\n{\"id\": 1, \"answer\": \"t1\"}\n{\"id\": 3, \"output\": \"t3\"}\n",
    );
    let other = write("other.jsonl", "{\"id\": 1, \"prompt\": \"one\", \"response\": \"o1\"}\n");
    let (study, report) =
        Study::from_predictions([("base", &base), ("tuned", &tuned), ("other", &other)]).expect("joins");
    let wanted = [
        Item::new("1", "one", [("base", "b1"), ("tuned", "t1"), ("other", "o1")]),
        Item::new("2", "two", [("base", "b2"), ("tuned", "t2")]).with_reference("r2"),
    ];
    assert_eq!(study.items, wanted);
    assert_eq!(report.items, 2);
    assert_eq!(report.incomplete, [("2".to_owned(), vec!["other".to_owned()])]);
    assert_eq!(report.left_out, [("3".to_owned(), "tuned".to_owned())]);

    let differing = write("differing.jsonl", "{\"id\": 1, \"prompt\": \"uno\", \"output\": \"d1\"}\n");
    let error =
        Study::from_predictions([("base", &base), ("d", &differing)]).expect_err("differs").to_string();
    assert!(error.contains("line 1: found another prompt for `1`"), "{error}");
}
