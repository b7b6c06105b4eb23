//! What classes and attributes a task allows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::extraction::{Extraction, Flag};
use super::format::{AnswerFormat, kind};

/// The type of an attribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// Text.
    #[default]
    Text,
    /// A number, or text that is one.
    Number,
    /// `true` or `false`, or the text `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
}

impl AttributeKind {
    fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Boolean, Value::Bool(_)) => true,
            (Self::Number, Value::String(text)) => text.trim().parse::<f64>().is_ok(),
            (Self::Boolean, Value::String(text)) => matches!(text.as_str(), "true" | "false"),
            (Self::List, Value::Array(list)) => list.iter().all(Value::is_string),
            _ => false,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a list of texts",
        }
    }

    fn json_schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Number => json!({"type": "number"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::List => json!({"type": "array", "items": {"type": "string"}}),
        }
    }
}

/// Whether an attribute must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It may be missing.
    #[default]
    Optional,
    /// It may not.
    Required,
}

/// An attribute of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeSchema {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(default)]
    pub kind: AttributeKind,
    /// Whether it must be there.
    #[serde(default)]
    pub presence: Presence,
    /// The values that it may have; empty for any. Of a list, the values of its items.
    #[serde(default)]
    pub values: Vec<String>,
}

impl AttributeSchema {
    /// An optional attribute of any text.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: AttributeKind::Text,
            presence: Presence::Optional,
            values: Vec::new(),
        }
    }

    /// Sets the type.
    #[must_use]
    pub fn with_kind(mut self, kind: AttributeKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets whether it must be there.
    #[must_use]
    pub fn with_presence(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }

    /// Sets the allowed values.
    #[must_use]
    pub fn with_values<V: Into<String>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.values = values.into_iter().map(Into::into).collect();
        self
    }
}

/// A class of extractions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSchema {
    /// Its name.
    pub name: String,
    /// Its attributes.
    #[serde(default)]
    pub attributes: Vec<AttributeSchema>,
}

impl ClassSchema {
    /// A class with the given attributes.
    pub fn new(name: impl Into<String>, attributes: impl IntoIterator<Item = AttributeSchema>) -> Self {
        Self { name: name.into(), attributes: attributes.into_iter().collect() }
    }
}

/// The classes that answers may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The classes.
    pub classes: Vec<ClassSchema>,
}

impl Schema {
    /// A schema of the given classes.
    pub fn new(classes: impl IntoIterator<Item = ClassSchema>) -> Self {
        Self { classes: classes.into_iter().collect() }
    }

    /// What is wrong with an extraction: nothing, or all of it.
    pub fn check(&self, extraction: &Extraction) -> Vec<Flag> {
        let Some(class) = self.classes.iter().find(|class| class.name == extraction.class) else {
            return vec![Flag::UnknownClass];
        };
        let none = Map::new();
        let attributes = extraction.attributes.as_ref().unwrap_or(&none);
        let mut flags = Vec::new();
        for wanted in &class.attributes {
            match attributes.get(&wanted.name) {
                None | Some(Value::Null) if wanted.presence == Presence::Required => {
                    flags.push(Flag::MissingAttribute { attribute: wanted.name.clone() });
                }
                None | Some(Value::Null) => {}
                Some(value) => flags.extend(check_value(wanted, value)),
            }
        }
        let known = |name: &String| class.attributes.iter().any(|attribute| attribute.name == *name);
        let unknown = attributes.keys().filter(|name| !known(name));
        flags.extend(unknown.map(|name| Flag::UnknownAttribute { attribute: name.clone() }));
        flags
    }

    /// The schema of answers in the given format, as JSON Schema for an endpoint's `response_format`.
    ///
    /// ```
    /// use burnisher_data::extract::{AnswerFormat, AttributeSchema, ClassSchema, Schema};
    ///
    /// let schema = Schema::new([ClassSchema::new("drug", [AttributeSchema::new("dose")])]);
    /// let json = schema.to_json_schema(&AnswerFormat::default());
    /// assert_eq!(json["required"][0], "extractions");
    /// ```
    pub fn to_json_schema(&self, format: &AnswerFormat) -> Value {
        let item = |class: &ClassSchema| {
            let attributes: Map<String, Value> =
                class.attributes.iter().map(|a| (a.name.clone(), attribute_json(a))).collect();
            let required: Vec<&String> = class
                .attributes
                .iter()
                .filter(|attribute| attribute.presence == Presence::Required)
                .map(|attribute| &attribute.name)
                .collect();
            let key = format!("{}{}", class.name, format.attribute_suffix);
            json!({
                "type": "object",
                "properties": {
                    class.name.clone(): {"type": "string"},
                    key: {
                        "type": "object",
                        "properties": attributes,
                        "required": required,
                        "additionalProperties": false,
                    },
                },
                "required": [class.name],
                "additionalProperties": false,
            })
        };
        let list = json!({
            "type": "array",
            "items": {"anyOf": self.classes.iter().map(item).collect::<Vec<_>>()},
        });
        match &format.wrapper {
            Some(key) => json!({
                "type": "object",
                "properties": {key.clone(): list},
                "required": [key],
                "additionalProperties": false,
            }),
            None => list,
        }
    }
}

fn attribute_json(attribute: &AttributeSchema) -> Value {
    let mut schema = attribute.kind.json_schema();
    if !attribute.values.is_empty() {
        let place = match attribute.kind {
            AttributeKind::List => &mut schema["items"],
            _ => &mut schema,
        };
        place["enum"] = json!(attribute.values);
    }
    schema
}

fn check_value(wanted: &AttributeSchema, value: &Value) -> Vec<Flag> {
    if !wanted.kind.holds(value) {
        return vec![Flag::WrongType {
            attribute: wanted.name.clone(),
            wanted: wanted.kind.in_words().to_owned(),
            found: kind(value).to_owned(),
        }];
    }
    if wanted.values.is_empty() {
        return Vec::new();
    }
    let single = std::slice::from_ref(value);
    let values = value.as_array().map_or(single, Vec::as_slice);
    let written = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    values
        .iter()
        .map(written)
        .filter(|found| !wanted.values.contains(found))
        .map(|found| Flag::NotAllowed { attribute: wanted.name.clone(), found })
        .collect()
}
