//! Tasks whose answer is copied out of the instruction: names, numbers, lists, forms and JSON objects.

use super::extract::join;
use crate::generate::json_object;
use crate::generate::scene::Scene;

const COPY: &[&str] = &[
    "Repeat: {text}",
    "Copy this: {text}",
    "Write this again: {text}",
    "Say it once more: {text}",
    "Please repeat exactly what follows.\n{text}",
    "Copy the text below.\n{text}",
];

/// What is copied, from one word to a whole sentence.
const COPIED: &[&str] = &[
    "{person}",
    "{company}",
    "{number}",
    "{code}",
    "{phone}",
    "{amount}",
    "{date}",
    "{price}",
    "{product}",
    "{address}",
    "{person}, {person2}",
    "{code}, {code2}, {code3}",
    "{number}, {number2}, {number3}, {number4}",
    "{place}, {place2}, {place3}",
    "{nonsense} {nonsense2} {nonsense3} {nonsense4}",
    "{company} and {company2}",
    "{person} paid {price} to {person2}.",
    "{company} of {place} sent {code} on {date}.",
    "{Nonsense} {number} {nonsense2} {number2}",
    "{person}: {phone}\n{person2}: {phone2}",
    "{amount}, {amount2}, {amount3}",
];

pub(super) fn copy(scene: &mut Scene) -> (String, String) {
    let text = scene.pick(COPIED);
    scene.set("text", text.clone());
    (scene.pick(COPY), text)
}

/// What repetitions are made of.
const REPEATED: &[&str] = &[
    "nonsense",
    "nonsense",
    "person",
    "given",
    "company",
    "place",
    "object",
    "adjective",
    "animal",
    "number",
    "code",
    "amount",
    "price",
    "date",
    "phone",
    "product",
    "percent",
];

/// A long row of words, names and numbers without order, and the same again: nothing but copying predicts it.
pub(super) fn repetition(scene: &mut Scene) -> (String, String) {
    let count = scene.rng().between(8, 24);
    let kinds = if scene.rng().chance(40) { &REPEATED[..2] } else { REPEATED };
    let separator = *scene.rng().choose(&[" ", " ", ", ", "\n", "; "]);
    let items: Vec<String> = (0..count)
        .map(|_| {
            let kind = *scene.rng().choose(kinds);
            scene.another().value(kind)
        })
        .collect();
    let text = items.join(separator);
    scene.set("text", text.clone());
    (scene.pick(COPY), text)
}

/// Keys of forms and the kind of value each has.
const FORM: &[(&str, &str)] = &[
    ("name", "person"),
    ("owner", "person"),
    ("contact", "person"),
    ("teacher", "person"),
    ("guest", "person"),
    ("winner", "person"),
    ("project_leader", "person"),
    ("company", "company"),
    ("maker", "company"),
    ("school", "place"),
    ("city", "place"),
    ("town", "place"),
    ("date", "date"),
    ("birthday", "date"),
    ("start_date", "date"),
    ("time", "time"),
    ("opening_time", "time"),
    ("price", "price"),
    ("total_cost", "amount"),
    ("budget", "amount"),
    ("number", "number"),
    ("member_number", "number"),
    ("code", "code"),
    ("phone", "phone"),
    ("weight", "weight"),
    ("length", "length"),
    ("street_address", "address"),
    ("product", "product"),
    ("book", "title"),
    ("team", "team"),
    ("season", "year"),
    ("year", "year"),
    ("share", "percent"),
];

/// Values for keys without meaning.
const ANY_VALUE: &[&str] = &[
    "person", "company", "place", "date", "price", "amount", "number", "code", "product", "year", "weight",
    "time",
];

/// Some keys with their values, no key twice. Half of the forms hold keys without meaning as well, so that the
/// key has to be found and not guessed.
fn form_fields(scene: &mut Scene, size: usize) -> Vec<(String, String)> {
    let made_up = if scene.rng().chance(50) { 50 } else { 0 };
    let mut fields: Vec<(String, String)> = Vec::with_capacity(size);
    while fields.len() < size {
        let (key, kind) = if scene.rng().chance(made_up) {
            (scene.another().value("nonsense"), *scene.rng().choose(ANY_VALUE))
        } else {
            let (key, kind) = *scene.rng().choose(FORM);
            (key.to_owned(), kind)
        };
        if fields.iter().all(|(other, _)| *other != key) {
            let value = scene.value(&format!("{kind}{}", fields.len()));
            fields.push((key, value));
        }
    }
    fields
}

fn quoted_keys(fields: &[(String, String)]) -> String {
    fields.iter().map(|(key, _)| format!("\"{key}\"")).collect::<Vec<_>>().join(",")
}

fn to_json(fields: &[(String, String)]) -> String {
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    json_object(&pairs)
}

fn to_lines(fields: &[(String, String)]) -> String {
    fields.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join("\n")
}

/// Key and value lines to JSON, all of them or the keys asked for; or one value; or JSON to lines.
pub(super) fn form(scene: &mut Scene) -> (String, String) {
    let size = scene.some(3, 5);
    let mut fields = form_fields(scene, size);
    let text = if scene.rng().chance(50) { to_lines(&fields) } else { to_json(&fields) };
    let mode = scene.rng().below(10);
    if mode == 0 && size <= 7 {
        let instruction = scene.pick(&["Write this as lines.", "Turn the JSON into lines of key and value."]);
        let json = to_json(&fields);
        return (join(scene, &instruction, &json), to_lines(&fields));
    }
    if mode <= 3 {
        let (key, value) = scene.rng().choose(&fields).clone();
        scene.set("key", key);
        let instruction = scene.pick(&[
            "What is the value of \"{key}\"?",
            "Give the value of \"{key}\".",
            "Which value belongs to {key}?",
            "{key}?",
        ]);
        return (join(scene, &instruction, &text), value);
    }
    scene.rng().shuffle(&mut fields);
    let wanted = scene.rng().between(2, fields.len().min(5));
    fields.truncate(wanted);
    scene.set("keys", quoted_keys(&fields));
    let instruction = scene.pick(&[
        "Read the form and answer in JSON with the keys {keys}.",
        "Read the text and answer in JSON with the keys {keys}.",
        "Extract {keys} as JSON.",
        "Return a JSON object with {keys}.",
        "Answer in JSON. Keys: {keys}.",
    ]);
    (join(scene, &instruction, &text), to_json(&fields))
}

/// A table of names with a value each, and the question for one of them.
pub(super) fn look_up(scene: &mut Scene) -> (String, String) {
    let size = scene.some(3, 6);
    let (left, right) = *scene.rng().choose(&[
        ("given", "number"),
        ("given", "roomnumber"),
        ("place", "number"),
        ("person", "phone"),
        ("product", "price"),
        ("company", "amount"),
        ("company", "code"),
        ("nonsense", "nonsense"),
        ("place", "date"),
        ("code", "person"),
    ]);
    let rows: Vec<(String, String)> = (10..10 + size)
        .map(|row| (scene.value(&format!("{left}{row}")), scene.value(&format!("{right}{}", row + 10))))
        .collect();
    let style = *scene.rng().choose(&[(": ", "\n"), (" has ", ", "), (" = ", "\n"), (" - ", ", ")]);
    let text = rows
        .iter()
        .map(|(name, value)| format!("{name}{}{value}", style.0))
        .collect::<Vec<_>>()
        .join(style.1);
    let (name, value) = scene.rng().choose(&rows).clone();
    if scene.rng().chance(25) {
        scene.set("x", value);
        let instruction = scene.pick(&["Who or what has {x}?", "To which name does {x} belong?"]);
        return (join(scene, &instruction, &text), name);
    }
    scene.set("x", name);
    let instruction = scene.pick(&["What does {x} have?", "Which entry belongs to {x}?", "Look up {x}."]);
    (join(scene, &instruction, &text), value)
}

/// Which of two numbers is the larger or smaller one.
pub(super) fn compare(scene: &mut Scene) -> (String, String) {
    let same_length = scene.rng().chance(50);
    let (one, two) = loop {
        let one = scene.another().value("number");
        let two = scene.another().value("number");
        if one != two && (!same_length || one.len() == two.len()) {
            break (one, two);
        }
    };
    // Numbers without leading zeros: the longer one is larger, else the order is that of the text.
    let one_is_larger = (one.len(), &one) > (two.len(), &two);
    scene.set("one", one.clone());
    scene.set("two", two.clone());
    let larger = scene.rng().chance(60);
    let task = scene.pick(if larger {
        &[
            "Which is larger, {one} or {two}?",
            "Give the larger number: {one}, {two}.",
            "What is more, {one} or {two}?",
        ]
    } else {
        &[
            "Which is smaller, {one} or {two}?",
            "Give the smaller number: {one}, {two}.",
            "What is less, {one} or {two}?",
        ]
    });
    (task, if one_is_larger == larger { one } else { two })
}

/// A list and a question about one of its items, its length, or whether it holds something.
pub(super) fn list(scene: &mut Scene) -> (String, String) {
    let kind =
        *scene.rng().choose(&["person", "place", "fruit", "object", "company", "number", "animal", "given"]);
    let size = scene.rng().between(3, 6);
    let items: Vec<String> = (10..10 + size).map(|item| scene.value(&format!("{kind}{item}"))).collect();
    scene.set("list", items.join(", "));
    let position = scene.rng().below(size);
    let (question, answer) = match scene.rng().below(10) {
        0..=2 => ("What comes first: {list}?", items[0].clone()),
        3 | 4 => ("What comes last: {list}?", items[size - 1].clone()),
        5 => ("How many items are in this list: {list}?", size.to_string()),
        6 | 7 if position + 1 < size => {
            scene.set("item", items[position].clone());
            ("What comes after {item} in this list: {list}?", items[position + 1].clone())
        }
        8 => {
            let (item, answer) = if scene.rng().chance(50) {
                (items[position].clone(), "Yes")
            } else {
                (scene.value(&format!("{kind}99")), "No")
            };
            scene.set("item", item);
            ("Is {item} in this list: {list}?", answer.to_owned())
        }
        _ => ("Write each item on its own line: {list}.", items.join("\n")),
    };
    (scene.render(question), answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::names::Realm;
    use crate::generate::rng::Rng;

    fn tasks(make: fn(&mut Scene) -> (String, String)) -> Vec<(String, String)> {
        (0..300).map(|record| make(&mut Scene::new(Rng::keyed(7, "tasks", record), Realm::General))).collect()
    }

    #[test]
    fn copies_are_exact() {
        for (task, answer) in tasks(copy).into_iter().chain(tasks(look_up)).chain(tasks(repetition)) {
            assert!(task.contains(&answer), "{task}\n{answer}");
        }
    }

    #[test]
    fn the_larger_number_is_larger() {
        for (task, answer) in tasks(compare) {
            let numbers: Vec<u64> =
                task.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
            let asks_larger = task.contains("larger") || task.contains("more");
            let wanted = if asks_larger { numbers.iter().max() } else { numbers.iter().min() };
            assert_eq!(answer.parse::<u64>().ok().as_ref(), wanted, "{task}");
        }
    }

    #[test]
    fn forms_give_back_their_values() {
        for (task, answer) in tasks(form) {
            if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&answer) {
                for (key, value) in &fields {
                    assert!(
                        task.contains(key) && task.contains(value.as_str().unwrap_or("?")),
                        "{task}\n{answer}"
                    );
                }
            } else {
                let last = answer.lines().last().and_then(|line| line.split(": ").last());
                assert!(last.is_some_and(|value| task.contains(value)), "{task}\n{answer}");
            }
        }
    }

    #[test]
    fn list_answers_come_from_the_list() {
        for (task, answer) in tasks(list) {
            let known = ["Yes", "No", "3", "4", "5", "6"].contains(&answer.as_str());
            assert!(known || answer.lines().all(|line| task.contains(line)), "{task}\n{answer}");
        }
    }
}
