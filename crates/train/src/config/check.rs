//! Unknown fields, missing fields and wrong types, all at once, before anything is deserialized.

use serde_json::{Map, Value};

use super::fields::{Field, Kind, Need, SECTIONS, Section};
use crate::error::ConfigProblem;

/// What other trainers call our fields.
const ALIASES: &[(&str, &str)] = &[
    ("adam_beta1", "train.beta1"),
    ("adam_beta2", "train.beta2"),
    ("adam_epsilon", "train.epsilon"),
    ("alpha", "lora.lora_alpha"),
    ("base_model", "model.path"),
    ("clip_grad_norm", "train.max_grad_norm"),
    ("dropout", "lora.lora_dropout"),
    ("eval_steps", "train.eval_every"),
    ("load_in_4bit", "model.quant"),
    ("logging_steps", "train.log_every"),
    ("lora_r", "lora.r"),
    ("lr", "train.learning_rate"),
    ("lr_scheduler_type", "train.schedule"),
    ("max_seq_length", "data.max_length"),
    ("micro_batch_size", "train.batch_size"),
    ("lora_plus_lr_ratio", "train.loraplus_lr_ratio"),
    ("num_epochs", "train.epochs"),
    ("num_train_epochs", "train.epochs"),
    ("optimizer", "train.optim"),
    ("per_device_train_batch_size", "train.batch_size"),
    ("rank", "lora.r"),
    ("resume_from_checkpoint", "train.resume"),
    ("save_steps", "train.save_every"),
    ("save_total_limit", "train.keep_checkpoints"),
    ("sequence_len", "data.max_length"),
];

const TOP: &str = "a table with the sections model, data, lora and train";

/// YAML writes an empty section, and a field without a value, as null: the first becomes an empty
/// table, the second of an optional field goes away.
pub(crate) fn normalise(root: &mut Value) {
    if root.is_null() {
        *root = Value::Object(Map::new());
    }
    if let Some(map) = root.as_object_mut() {
        for (name, value) in map.iter_mut() {
            if let Some(section) = top_section(name) {
                normalise_section(section, value);
            }
        }
    }
}

fn normalise_section(section: &Section, value: &mut Value) {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    let Some(map) = value.as_object_mut() else {
        return;
    };
    map.retain(|name, value| {
        let keeps_null =
            field(section, name).is_none_or(|field| field.need != Need::Optional || inner(field).is_some());
        !value.is_null() || keeps_null
    });
    for (name, value) in map.iter_mut() {
        if let Some(section) = field(section, name).and_then(inner) {
            normalise_section(section, value);
        }
    }
}

/// Everything that keeps `root` from being a run file: unknown and wrong fields in its order, then
/// missing ones.
pub(crate) fn check_fields(root: &Value) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let Some(map) = root.as_object() else {
        return vec![wrong_type("the file", root, TOP)];
    };
    for (name, value) in map {
        match top_section(name) {
            Some(section) => check_section(section, value, &mut problems),
            None => problems.push(ConfigProblem::UnknownField {
                field: name.clone(),
                nearest: nearest_field("", name, value.is_object()),
            }),
        }
    }
    for section in SECTIONS {
        let fields = map.get(section.name);
        if fields.is_some_and(|fields| !fields.is_object()) {
            continue;
        }
        for field in section.fields.iter().filter(|field| field.need == Need::Required) {
            if fields.and_then(|fields| fields.get(field.name)).is_none() {
                problems.push(ConfigProblem::Missing {
                    field: path(section, field.name),
                    wanted: wanted(field.kind),
                });
            }
        }
    }
    problems
}

fn check_section(section: &Section, value: &Value, problems: &mut Vec<ConfigProblem>) {
    let Some(map) = value.as_object() else {
        problems.push(wrong_type(section.name, value, "a table of fields"));
        return;
    };
    for (name, value) in map {
        let path = path(section, name);
        match field(section, name) {
            Some(field) => match inner(field) {
                Some(section) => check_section(section, value, problems),
                None => check_value(field.kind, &path, value, problems),
            },
            None => {
                let nearest = nearest_field(section.name, name, false);
                problems.push(ConfigProblem::UnknownField { field: path, nearest });
            }
        }
    }
}

fn check_value(kind: Kind, path: &str, value: &Value, problems: &mut Vec<ConfigProblem>) {
    match (kind, value) {
        (Kind::Path, Value::String(_)) | (Kind::Flag, Value::Bool(_)) | (Kind::Targets, Value::String(_)) => {
        }
        (Kind::Choice(words), Value::String(word)) => {
            if !words.contains(&word.as_str()) {
                problems.push(ConfigProblem::value(path, describe(value), wanted(kind)));
            }
        }
        (Kind::Whole, Value::Number(number)) if number.is_u64() => {}
        (Kind::Number, Value::Number(_)) => {}
        (Kind::Targets | Kind::TextList | Kind::ChoiceList(_) | Kind::WholeList, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                check_element(kind, &format!("{path}[{index}]"), item, problems);
            }
        }
        (Kind::TextMap | Kind::WholeMap | Kind::NumberMap, Value::Object(map)) => {
            for (key, item) in map {
                check_element(kind, &format!("{path}.{key}"), item, problems);
            }
        }
        _ => problems.push(wrong_type(path, value, &wanted(kind))),
    }
}

/// Checks an element of a list or a table.
fn check_element(kind: Kind, path: &str, item: &Value, problems: &mut Vec<ConfigProblem>) {
    if let Kind::ChoiceList(words) = kind {
        return check_value(Kind::Choice(words), path, item, problems);
    }
    let (fits, wanted) = match kind {
        Kind::WholeList | Kind::WholeMap => (item.is_u64(), wanted(Kind::Whole)),
        Kind::NumberMap => (item.is_number(), wanted(Kind::Number)),
        _ => (item.is_string(), "text".to_owned()),
    };
    if !fits {
        problems.push(wrong_type(path, item, &wanted));
    }
}

/// The full path of the known field or section that is nearest to `name` in `section`; the name alone
/// in no section.
///
/// The same name in another section and other trainers' names come first, then the most similar
/// name (Jaro and Winkler) of the same section, or of all of them if there is no section.
pub(crate) fn nearest_field(section: &str, name: &str, is_table: bool) -> String {
    let fields = || {
        SECTIONS
            .iter()
            .flat_map(|known| known.fields.iter().map(move |field| (known, field)))
            .filter(|(_, field)| inner(field).is_none())
    };
    let by_section = SECTIONS.iter().any(|known| known.name == section);
    if !is_table {
        if let Some((known, field)) = fields().find(|(_, field)| field.name == name) {
            return path(known, field.name);
        }
        if let Some((_, field)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            return (*field).to_owned();
        }
    }
    let mut names: Vec<(&str, String)> = Vec::new();
    if !is_table {
        let near = fields().filter(|(known, _)| !by_section || known.name == section);
        names.extend(near.map(|(known, field)| (field.name, path(known, field.name))));
    }
    if !by_section || is_table {
        names.extend(SECTIONS.iter().map(|known| (known.name, known.name.to_owned())));
    }
    let similarity = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = names.into_iter().max_by(|(a, _), (b, _)| similarity(a).total_cmp(&similarity(b)));
    nearest.map(|(_, path)| path).unwrap_or_default()
}

fn top_section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name && !name.contains('.'))
}

fn field(section: &Section, name: &str) -> Option<&'static Field> {
    section.fields.iter().find(|field| field.name == name)
}

/// The section that a field is.
fn inner(field: &Field) -> Option<&'static Section> {
    match field.kind {
        Kind::Section(name) => SECTIONS.iter().find(|section| section.name == name),
        _ => None,
    }
}

fn path(section: &Section, name: &str) -> String {
    format!("{}.{name}", section.name)
}

fn wrong_type(path: &str, value: &Value, wanted: &str) -> ConfigProblem {
    ConfigProblem::WrongType { field: path.to_owned(), found: describe(value), wanted: wanted.to_owned() }
}

/// What a field of this kind holds, for messages.
fn wanted(kind: Kind) -> String {
    let text = match kind {
        Kind::Path => "text that is a path",
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            return format!("one of {}", words.join(", "));
        }
        Kind::Flag => "true or false",
        Kind::Whole => "a whole number, 0 or more",
        Kind::Number => "a finite number",
        Kind::Targets => "text or a list of texts",
        Kind::TextList => "a list of texts",
        Kind::ChoiceList(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            return format!("a list of some of {}", words.join(", "));
        }
        Kind::WholeList => "a list of whole numbers",
        Kind::TextMap => "a table of texts",
        Kind::WholeMap => "a table of whole numbers",
        Kind::NumberMap => "a table of numbers",
        Kind::Section(_) => "a table of fields",
    };
    text.to_owned()
}

/// A value with its type, for messages.
pub(crate) fn describe(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::Null => "no value".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > LONGEST => {
            let start: String = text.chars().take(LONGEST).collect();
            format!("the text {start:?}…")
        }
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) => format!("a table of {}", fields.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_field_by_table() {
        let cases = [
            ("train", "lerning_rate", "train.learning_rate"),
            ("train", "batchsize", "train.batch_size"),
            ("train", "lr", "train.learning_rate"),
            ("train", "packing", "data.packing"),
            ("train.early_stopping", "patiens", "train.early_stopping.patience"),
            ("lora", "rank", "lora.r"),
            ("lora", "target_module", "lora.target_modules"),
            ("", "max_steps", "train.max_steps"),
            ("", "max_step", "train.max_steps"),
        ];
        for (section, name, nearest) in cases {
            assert_eq!(nearest_field(section, name, false), nearest, "{section}.{name}");
        }
        assert_eq!(nearest_field("", "trian", true), "train");
        assert_eq!(nearest_field("", "Lora", true), "lora");
    }

    #[test]
    fn every_alias_names_a_field() {
        for (alias, target) in ALIASES {
            let known = SECTIONS.iter().any(|section| {
                target
                    .strip_prefix(section.name)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .is_some_and(|name| field(section, name).is_some())
            });
            assert!(known, "{alias} -> {target}");
            let twin = SECTIONS.iter().any(|section| field(section, alias).is_some());
            assert!(!twin, "{alias} is a field");
        }
    }
}
