//! Extraction from three notes to `extracted.html` and `extracted.jsonl`, offline: a list of words stands for the model.
//!
//! ```text
//! cargo run -p burnisher-data --example extract_page
//! ```

use burnisher_data::DataError;
use burnisher_data::extract::{
    Answer, AttributeSchema, ClassSchema, Document, Example, Extraction, Extractor, ModelError, Request,
    Schema, Task, write_jsonl, write_page,
};
use serde_json::json;

const NOTES: [(&str, &str); 3] = [
    (
        "Ward round, Monday",
        "Frau Dr. Öztürk saw Mr. Brown at 8:15. He takes Lisinopril 10 mg daily and was given 250 mg IV Cefazolin TID for \
         one week.\n\nBlood pressure 135/85. No headache, no fever. He likes the view from New York City Hall on the \
         postcard next to his bed.",
    ),
    ("申し送り", "看護師は患者の血圧を二回測りました。体温は３８．５度。アスピリンを処方。"),
    (
        "Discharge",
        "Mr. Brown leaves on Friday 🚆. Aspirin 100 mg daily, the engineers' rule of one tablet with breakfast, and a control \
         in two weeks by Dr. Meyer.",
    ),
];

/// What the stand-in for a model finds: class, text, dose.
const KNOWN: [(&str, &str, Option<&str>); 17] = [
    ("person", "Dr. Öztürk", None),
    ("person", "Mr. Brown", None),
    ("drug", "Lisinopril 10 mg", Some("10 mg")),
    ("dose", "10 mg", None),
    ("drug", "250 mg IV Cefazolin", Some("250 mg")),
    ("dose", "250 mg", None),
    ("measurement", "Blood pressure 135/85", None),
    ("symptom", "headache", None),
    ("place", "New York City Hall", None),
    ("place", "New York", None),
    ("person", "看護師", None),
    ("measurement", "血圧", None),
    ("measurement", "38.5度", None),
    ("drug", "アスピリン", None),
    ("drug", "Aspirin 100 mg", Some("100 mg")),
    ("advice", "engineer's rule of one tablet with every breakfast", None),
    ("person", "Dr. Meyer", None),
];

fn model(request: &Request) -> Result<Answer, ModelError> {
    let prompt = &request.messages[0].content;
    let question = prompt.rsplit("Q: ").next().unwrap_or_default();
    let said = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let found = words.iter().filter(|word| question.contains(**word)).count();
        found * 4 >= words.len() * 3 || text == "38.5度" && question.contains("体温")
    };
    let item = |(class, text, dose): &(&str, &str, Option<&str>)| {
        let attributes = dose.map_or_else(|| json!({}), |dose| json!({ "dose": dose }));
        json!({ *class: text, format!("{class}_attributes"): attributes })
    };
    let mut items: Vec<_> = KNOWN.iter().filter(|known| said(known.1)).map(item).collect();
    if question.contains("headache") {
        // Models repeat their examples.
        items.push(json!({"drug": "ibuprofen"}));
    }
    Ok(Answer::new(json!({ "extractions": items }).to_string()))
}

fn main() -> Result<(), DataError> {
    let classes =
        ["person", "dose", "measurement", "symptom", "place"].map(|name| ClassSchema::new(name, []));
    let schema =
        Schema::new(classes.into_iter().chain([ClassSchema::new("drug", [AttributeSchema::new("dose")])]));
    let task = Task::new("Extract people, drugs, doses, measurements, symptoms and places, word for word.")
        .with_example(Example::new("He took ibuprofen.", [Extraction::new("drug", "ibuprofen")]))
        .with_schema(schema);
    task.warnings().iter().for_each(|warning| println!("{warning}"));
    let documents = NOTES.map(|(id, text)| Document::new(id, text));
    let run = Extractor::new(task, model).run(&documents, |_| {})?;
    println!("{}", run.report);
    write_jsonl("extracted.jsonl", &run.documents)?;
    write_page("extracted.html", "Three notes", &run.documents)?;
    println!("wrote extracted.jsonl and extracted.html");
    Ok(())
}
