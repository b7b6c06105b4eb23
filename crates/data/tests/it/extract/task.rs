//! Tasks, schemas, and answers.

use burnisher_data::extract::{
    AnswerFormat, AttributeKind, AttributeSchema, ClassSchema, Example, Extraction, Flag, Language, Presence,
    PromptStyle, Schema, Task, messages,
};
use proptest::prelude::*;
use serde_json::json;

const YAML: &str = r"
instructions: Extract all drugs.
examples:
  - text: Anna took 100 mg of aspirin.
    extractions:
      - class: drug
        text: aspirin
        attributes: {dose: 100 mg}
schema:
  classes:
    - name: drug
      attributes:
        - {name: dose, presence: required}
        - {name: route, values: [oral, iv]}
        - {name: days, kind: number}
";

#[test]
fn a_task_reads_the_same_from_toml_and_yaml() {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = r#"
        instructions = "Extract all drugs."
        [[examples]]
        text = "Anna took 100 mg of aspirin."
        extractions = [{ class = "drug", text = "aspirin", attributes = { dose = "100 mg" } }]
        [[schema.classes]]
        name = "drug"
        attributes = [
            { name = "dose", presence = "required" },
            { name = "route", values = ["oral", "iv"] },
            { name = "days", kind = "number" },
        ]
    "#;
    std::fs::write(folder.path().join("task.toml"), toml).expect("writable");
    std::fs::write(folder.path().join("task.yaml"), YAML).expect("writable");
    let from_toml = Task::from_file(folder.path().join("task.toml")).expect("a task");
    assert_eq!(Task::from_file(folder.path().join("task.yaml")).expect("a task"), from_toml);
    let built = Task::new("Extract all drugs.")
        .with_example(Example::new(
            "Anna took 100 mg of aspirin.",
            [Extraction::new("drug", "aspirin").with_attribute("dose", "100 mg")],
        ))
        .with_schema(Schema::new([ClassSchema::new(
            "drug",
            [
                AttributeSchema::new("dose").with_presence(Presence::Required),
                AttributeSchema::new("route").with_values(["oral", "iv"]),
                AttributeSchema::new("days").with_kind(AttributeKind::Number),
            ],
        )]));
    assert_eq!(built, from_toml);
    assert!(built.warnings().is_empty());

    std::fs::write(folder.path().join("bad.toml"), "instructions = 'x'\nexample = []").expect("writable");
    let error =
        Task::from_file(folder.path().join("bad.toml")).expect_err("a key that is not known").to_string();
    assert!(error.contains("bad.toml") && error.contains("example"), "{error}");
    assert!(Task::from_yaml("instructions: ' '").expect_err("blank").to_string().contains("empty"));
}

#[test]
fn examples_are_checked_against_their_own_text() {
    let task = Task::from_yaml(YAML).expect("a task").with_example(Example::new(
        "He was given morphine.",
        [Extraction::new("drug", "morphine sulphate"), Extraction::new("medicine", "morphine")],
    ));
    let warnings: Vec<String> = task.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "examples[1].extractions[0]: \"morphine sulphate\" is not word for word in the example's text (match_lesser)",
            "examples[1].extractions[0]: attribute \"dose\" is missing",
            "examples[1].extractions[1]: class is not in the schema",
        ]
    );
}

#[test]
fn a_schema_finds_all_faults() {
    let schema = Task::from_yaml(YAML).expect("a task").schema.expect("a schema");
    let drug = || Extraction::new("drug", "x").with_attribute("dose", "1");
    assert_eq!(schema.check(&drug().with_attribute("route", "iv").with_attribute("days", "3")), []);
    assert_eq!(
        schema.check(&Extraction::new("drug", "x")),
        [Flag::MissingAttribute { attribute: "dose".to_owned() }]
    );
    let bad = drug().with_attribute("route", "nasal").with_attribute("days", "many").with_attribute("hue", 1);
    assert_eq!(
        schema.check(&bad),
        [
            Flag::NotAllowed { attribute: "route".to_owned(), found: "nasal".to_owned() },
            Flag::WrongType {
                attribute: "days".to_owned(),
                wanted: "a number".to_owned(),
                found: "text".to_owned()
            },
            Flag::UnknownAttribute { attribute: "hue".to_owned() },
        ]
    );
    assert_eq!(schema.check(&Extraction::new("dose", "x")), [Flag::UnknownClass]);
    let json = schema.to_json_schema(&AnswerFormat::default());
    let item = &json["properties"]["extractions"]["items"]["anyOf"][0]["properties"];
    assert_eq!(
        item["drug_attributes"]["properties"]["route"],
        json!({"type": "string", "enum": ["oral", "iv"]})
    );
    assert_eq!(item["drug_attributes"]["required"], json!(["dose"]));
}

#[test]
fn thinking_is_ignored_also_with_blocks_in_it() {
    let answer = "<think>```json\n{\"extractions\": [{\"a\": \"no\"}]}\n```</think>\n```json\n{\"extractions\": [{\"a\": \"yes\"}]}\n```";
    let found = AnswerFormat::default().parse(answer).expect("one block is left");
    assert_eq!(found[0].text, "yes");
}

#[test]
fn turns_are_a_conversation() {
    let task = Task::from_yaml(YAML).expect("a task");
    let format = AnswerFormat::default();
    let turns = messages(&task, &format, PromptStyle::Turns, "Ben?", Some("A note."));
    let roles: Vec<&str> = turns.iter().map(|turn| turn.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);
    assert_eq!(turns[3].content, "A note.\n\nBen?");
    let answer = format.parse(&turns[2].content).expect("an answer in the format");
    assert_eq!(answer[0].attributes, task.examples[0].extractions[0].attributes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// What the examples show is what would be read.
    #[test]
    fn rendered_answers_are_read_back(
        texts in proptest::collection::vec(
            prop_oneof![
                "[ -~é血\t]{0,12}",
                proptest::sample::select(vec![
                    "yes", "No", "null", "~", "1", "1.5", "1e5", "1.0e+5", "0x1F", "12:30", "2024-01-02", "- a", "a: b",
                    "#c", "a #c", "'q'", "\"", "", " x", "?", ":", "-", "---", "a:", "[x]", "{", "&a", "*a", "!t", "%", "@",
                    "`", "line\nbreak", "\\", ".inf", "=", "<<", "true", "on", "_1", "+1", "1_000",
                ]).prop_map(str::to_owned),
            ],
            0..4,
        ),
        yaml in any::<bool>(),
    ) {
        let language = if yaml { Language::Yaml } else { Language::Json };
        let format = AnswerFormat::default().with_language(language);
        let wanted: Vec<Extraction> = texts
            .iter()
            .map(|text| Extraction::new("thing", text).with_attribute("note", text.clone()))
            .collect();
        // A fence within a text ends the block, there as here.
        prop_assume!(texts.iter().all(|text| !text.contains("```")));
        let read = format.parse(&format.render(&wanted)).expect("an answer in the format");
        prop_assert_eq!(read.len(), wanted.len());
        for (read, wanted) in read.iter().zip(&wanted) {
            prop_assert_eq!(&read.text, &wanted.text);
            prop_assert_eq!(&read.attributes, &wanted.attributes);
        }
    }
}
