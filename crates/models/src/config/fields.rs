//! Reading the fields of a JSON object, collecting what is wrong with them.

use serde_json::{Map, Value};

use crate::checkpoint::CheckpointDtype;
use crate::error::ConfigProblem;

/// Sizes above this are no model's; products of two of them still fit into a `usize`.
const MAX_SIZE: u64 = i32::MAX as u64;

/// An object whose fields are read one after the other. Every method returns `None` after noting a problem.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    prefix: String,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, problems: &'a mut Vec<ConfigProblem>) -> Self {
        Self { map, prefix: String::new(), problems }
    }

    /// The fields of the object under `key`; the inner `None` is a key that is missing or null.
    pub(super) fn object(&mut self, key: &str) -> Option<Option<Fields<'_>>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(Value::Object(map)) => Some(Some(Fields {
                map,
                prefix: format!("{}{key}.", self.prefix),
                problems: &mut *self.problems,
            })),
            Some(_) => self.problem(key, "an object or null"),
        }
    }

    /// Whether the key is there and not null.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether the key is there with a null, which does not always mean what its absence means.
    pub(super) fn has_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// Every key.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// Whether the key holds an object of objects.
    pub(super) fn is_nested(&self, key: &str) -> bool {
        let object = self.map.get(key).and_then(Value::as_object);
        object.is_some_and(|object| object.values().any(Value::is_object))
    }

    /// Notes that `key` does not hold what is wanted.
    pub(super) fn problem<T>(&mut self, key: &str, wanted: impl Into<String>) -> Option<T> {
        let found = self.map.get(key).map_or_else(|| "nothing".to_owned(), describe);
        self.note(key, found, wanted);
        None
    }

    /// Notes a problem with a value that the file implies and does not hold.
    pub(super) fn note(&mut self, key: &str, found: impl Into<String>, wanted: impl Into<String>) {
        self.problems.push(ConfigProblem::new(format!("{}{key}", self.prefix), found, wanted));
    }

    /// A field, or `default` where it is missing or null; without a default a missing field is a problem.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        default: Option<T>,
        wanted: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        match (self.map.get(key), default) {
            (None | Some(Value::Null), Some(default)) => Some(default),
            (Some(value), _) => match parse(value) {
                Some(value) => Some(value),
                None => self.problem(key, wanted),
            },
            (None, None) => self.problem(key, wanted),
        }
    }

    /// A positive integer.
    pub(super) fn size(&mut self, key: &str, default: Option<usize>) -> Option<usize> {
        let wanted = format!("an integer from 1 to {MAX_SIZE}");
        self.read(key, default, &wanted, |value| {
            let size = value.as_u64().filter(|size| (1..=MAX_SIZE).contains(size))?;
            usize::try_from(size).ok()
        })
    }

    /// An integer from 0.
    pub(super) fn count(&mut self, key: &str, default: usize) -> Option<usize> {
        self.read(key, Some(default), &format!("an integer from 0 to {MAX_SIZE}"), |value| {
            usize::try_from(value.as_u64().filter(|count| *count <= MAX_SIZE)?).ok()
        })
    }

    /// A list of `count` positive, finite numbers.
    pub(super) fn positives(&mut self, key: &str, count: usize) -> Option<Vec<f64>> {
        self.read(key, None, &format!("a list of {count} positive numbers"), |value| {
            let values = value.as_array().filter(|values| values.len() == count)?;
            values.iter().map(positive).collect()
        })
    }

    /// A positive, finite number; missing is `default`, null is none.
    pub(super) fn positive_or_null(&mut self, key: &str, default: Option<f64>) -> Option<Option<f64>> {
        if self.has_null(key) {
            return Some(None);
        }
        self.read(key, Some(default), "a positive number or null", |value| positive(value).map(Some))
    }

    /// A positive, finite number.
    pub(super) fn positive(&mut self, key: &str, default: Option<f64>) -> Option<f64> {
        self.read(key, default, "a positive number", positive)
    }

    pub(super) fn bool(&mut self, key: &str, default: bool) -> Option<bool> {
        self.read(key, Some(default), "true or false", Value::as_bool)
    }

    /// A string; missing and null are `default`.
    pub(super) fn text(&mut self, key: &str, default: &str) -> Option<String> {
        self.read(key, Some(default.to_owned()), "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A dtype by transformers' name; the inner `None` is a key that is missing or null.
    pub(super) fn dtype(&mut self, key: &str) -> Option<Option<CheckpointDtype>> {
        self.read(key, Some(None), "\"float32\", \"float16\" or \"bfloat16\"", |value| {
            CheckpointDtype::from_config_name(value.as_str()?).map(Some)
        })
    }

    /// A token id. Missing is `default`; null and -1, as old files write it, are none.
    pub(super) fn token(&mut self, key: &str, default: Option<u32>) -> Option<Option<u32>> {
        match self.map.get(key) {
            None => Some(default),
            Some(value) if value.is_null() || value.as_i64() == Some(-1) => Some(None),
            Some(value) => match token(value) {
                Some(id) => Some(Some(id)),
                None => self.problem(key, "a token id or null"),
            },
        }
    }

    /// Token ids: one, a list, or null for none. Missing is `default`.
    pub(super) fn tokens(&mut self, key: &str, default: Option<u32>) -> Option<Vec<u32>> {
        let ids = match self.map.get(key) {
            None => return Some(default.into_iter().collect()),
            Some(Value::Null) => return Some(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(token).collect(),
            Some(value) => token(value).map(|id| vec![id]),
        };
        ids.or_else(|| self.problem(key, "a token id, a list of token ids or null"))
    }
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| *number > 0.0 && number.is_finite())
}

fn token(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// A value as a message shows it.
pub(super) fn describe(value: &Value) -> String {
    const LIMIT: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
