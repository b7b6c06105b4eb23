//! Tasks that ask for facts of a short text as JSON, with the keys that the instruction names.

use super::facts::{KINDS, Kind};
use crate::generate::json_object;
use crate::generate::scene::{Scene, slots};

const ASK_JSON: &[&str] = &[
    "Read the {what} and answer in JSON with the keys {keys}.",
    "Read the {what} and answer in JSON with the keys {keys}.",
    "Extract {keys} from the {what} as JSON.",
    "Return a JSON object with {keys}.",
    "Turn the {what} into JSON. Keys: {keys}.",
    "From this {what}, write {keys} as JSON.",
    "Find {keys} in the {what} and answer in JSON.",
    "Give {keys} as JSON.",
];

const ASK_ONE: &[&str] = &[
    "What is the {key} in this {what}?",
    "Copy the {key} from the {what}.",
    "Which {key} does the {what} name?",
    "Find the {key} in the {what}. Answer with its words only.",
];

/// Sentences that answer nothing and may stand anywhere after the first.
const FILLERS: &[&str] = &[
    "The day was {weather}.",
    "Everyone was {feeling}.",
    "There was {food} and {drink} for all.",
    "Many people know the {spot} well.",
    "More will be said next week.",
    "The {vehicle} was late again.",
    "It is a good time of the year for {hobby}.",
    "The old {object} was thrown away.",
    "Please tell the others.",
    "Nothing else has changed.",
    "{given9} and {given8} could not be there.",
    "Some had hoped for more {fruit}.",
];

/// The keys as an instruction names them: `"a","b"` as in the answer, or in words, `a, b and c`.
fn name_keys(keys: &[&str], in_words: bool) -> String {
    if !in_words {
        return keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(",");
    }
    match keys {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => keys.join(", "),
    }
}

/// The instruction before or after the text it is about.
pub(super) fn join(scene: &mut Scene, instruction: &str, text: &str) -> String {
    if scene.rng().chance(80) { format!("{instruction}\n{text}") } else { format!("{text}\n{instruction}") }
}

/// The text of one template, sentences apart by `//`, with now and then a few that belong to nothing.
fn write_text(scene: &mut Scene, template: &str) -> String {
    let mut sentences: Vec<String> = template.split(" // ").map(|part| scene.render(part)).collect();
    let fillers = *scene.rng().weighted(&[(65, 0_usize), (15, 1), (10, 2), (10, 4)]);
    for filler in FILLERS.iter().skip(scene.rng().below(FILLERS.len())).take(fillers) {
        let filler = scene.render(filler);
        let place = scene.rng().between(1, sentences.len());
        sentences.insert(place, filler);
    }
    sentences.join(" ")
}

/// A task and its answer.
pub(super) fn extract(scene: &mut Scene) -> (String, String) {
    let kind: &Kind = scene.rng().choose(KINDS);
    let template = *scene.rng().choose(kind.texts);
    let present = slots(template);
    let text = write_text(scene, template);

    // A slot inside an alternative that was not taken has a value, but does not stand in the text.
    let mut fields: Vec<(&str, String)> = Vec::new();
    for (slot, names) in kind.keys {
        if !present.iter().any(|name| name == slot) {
            continue;
        }
        let value = scene.value(slot);
        if text.contains(&value) {
            fields.push((*scene.rng().choose(names), value));
        }
    }
    scene.rng().shuffle(&mut fields);

    let what = *scene.rng().choose(kind.what);
    scene.set("what", what);
    if scene.rng().chance(15) {
        let (key, value) = fields.swap_remove(0);
        scene.set("key", key.replace('_', " "));
        let instruction = scene.pick(ASK_ONE);
        return (join(scene, &instruction, &text), value);
    }
    let wanted = scene.rng().between(fields.len().min(2), fields.len().min(5));
    fields.truncate(wanted);
    let keys: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
    let in_words = scene.rng().chance(20);
    scene.set("keys", name_keys(&keys, in_words));
    let instruction = scene.pick(ASK_JSON);
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
    (join(scene, &instruction, &text), json_object(&pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::names::Realm;
    use crate::generate::rng::Rng;

    #[test]
    fn keys_are_named_both_ways() {
        assert_eq!(name_keys(&["a", "b"], false), r#""a","b""#);
        assert_eq!(name_keys(&["a", "b", "c"], true), "a, b and c");
        assert_eq!(name_keys(&["a"], true), "a");
    }

    #[test]
    fn every_text_can_be_asked_about() {
        for kind in KINDS {
            for template in kind.texts {
                let present = slots(template);
                let fixed =
                    kind.keys.iter().filter(|(slot, _)| present.iter().any(|name| name == slot)).count();
                assert!(fixed >= 2, "only {fixed} keys can be asked of {template:?}");
            }
        }
    }

    #[test]
    fn answers_hold_the_keys_asked_for_and_words_of_the_text() {
        for record in 0..500 {
            let mut scene = Scene::new(Rng::keyed(1, "extract", record), Realm::General);
            let (task, answer) = extract(&mut scene);
            let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&answer) else {
                assert!(task.contains(&answer), "{task}\n{answer}");
                continue;
            };
            assert!((1..=5).contains(&fields.len()), "{answer}");
            for (key, value) in &fields {
                assert!(task.contains(key), "{key} in {task}");
                assert!(value.as_str().is_some_and(|value| task.contains(value)), "{task}\n{answer}");
            }
        }
    }
}
