//! The walk through two values side by side.

use serde_json::Value;

use super::{FieldMistake, JsonFieldConfig, JsonFieldExample, ListOrder};
use crate::entities::EntityCounts;

pub(super) fn compare(config: &JsonFieldConfig, found: &Value, wanted: &Value) -> JsonFieldExample {
    let mut walk = Walk { config, example: JsonFieldExample::default() };
    walk.values(&Path::default(), found, wanted);
    let mut example = walk.example;
    example.counts = example.fields.values().sum();
    example.mistakes.sort_by(|left, right| left.path.cmp(&right.path));
    example
}

/// Where a value stands, and the field it counts under: `items[2].price` and `items[].price`.
#[derive(Debug, Clone, Default)]
struct Path {
    place: String,
    field: String,
}

impl Path {
    fn key(&self, key: &str) -> Self {
        let join = |start: &str| if start.is_empty() { key.to_owned() } else { format!("{start}.{key}") };
        Self { place: join(&self.place), field: join(&self.field) }
    }

    fn element(&self, index: usize) -> Self {
        Self { place: format!("{}[{index}]", self.place), field: format!("{}[]", self.field) }
    }
}

struct Walk<'a> {
    config: &'a JsonFieldConfig,
    example: JsonFieldExample,
}

impl Walk<'_> {
    fn values(&mut self, path: &Path, found: &Value, wanted: &Value) {
        match (found, wanted) {
            (Value::Object(found), Value::Object(wanted)) => {
                for (key, wanted) in wanted {
                    self.values(&path.key(key), found.get(key).unwrap_or(&Value::Null), wanted);
                }
                for (key, found) in found.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                    self.values(&path.key(key), found, &Value::Null);
                }
            }
            (Value::Array(found), Value::Array(wanted)) => self.lists(path, found, wanted),
            (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => {
                self.leaves(path, found, |walk, path, leaf| walk.count(path, Some(leaf), None));
                self.leaves(path, wanted, |walk, path, leaf| walk.count(path, None, Some(leaf)));
            }
            _ => {
                let there = |value: &Value| !value.is_null();
                if there(found) || there(wanted) {
                    self.count(path, Some(found).filter(|v| there(v)), Some(wanted).filter(|v| there(v)));
                }
            }
        }
    }

    fn lists(&mut self, path: &Path, found: &[Value], wanted: &[Value]) {
        let mut partners = vec![None; wanted.len()];
        let mut free = vec![true; found.len()];
        match self.config.list_order {
            ListOrder::Fixed => {
                for (at, partner) in partners.iter_mut().enumerate().take(found.len()) {
                    *partner = Some(at);
                    free[at] = false;
                }
            }
            ListOrder::Any => {
                let mut rated = Vec::new();
                for (at, wanted) in wanted.iter().enumerate() {
                    for (index, found) in found.iter().enumerate() {
                        let EntityCounts { tp, fp, fn_ } = compare(self.config, found, wanted).counts;
                        rated.push((std::cmp::Reverse(tp), fp + fn_, at, index));
                    }
                }
                rated.sort_unstable();
                for (_, _, at, index) in rated {
                    if partners[at].is_none() && free[index] {
                        partners[at] = Some(index);
                        free[index] = false;
                    }
                }
            }
        }
        for (at, (wanted, partner)) in wanted.iter().zip(partners).enumerate() {
            let found = partner.map_or(&Value::Null, |index| &found[index]);
            self.values(&path.element(at), found, wanted);
        }
        for (index, found) in found.iter().enumerate().filter(|(index, _)| free[*index]) {
            self.values(&path.element(index), found, &Value::Null);
        }
    }

    /// Visits every value inside that is not null, an object or a list.
    fn leaves(&mut self, path: &Path, value: &Value, visit: fn(&mut Self, &Path, &Value)) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.leaves(&path.key(key), value, visit);
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    self.leaves(&path.element(index), value, visit);
                }
            }
            _ => visit(self, path, value),
        }
    }

    fn count(&mut self, path: &Path, found: Option<&Value>, wanted: Option<&Value>) {
        let equal = match (found, wanted) {
            (Some(found), Some(wanted)) => self.equal(found, wanted),
            _ => false,
        };
        let counts = self.example.fields.entry(path.field.clone()).or_default();
        if equal {
            counts.tp += 1;
            return;
        }
        counts.fp += usize::from(found.is_some());
        counts.fn_ += usize::from(wanted.is_some());
        let (wanted, found) = (wanted.cloned(), found.cloned());
        self.example.mistakes.push(FieldMistake { path: path.place.clone(), wanted, found });
    }

    fn equal(&self, found: &Value, wanted: &Value) -> bool {
        match (found, wanted) {
            (Value::String(found), Value::String(wanted)) => match self.config.ignore_case {
                true => found.trim().to_lowercase() == wanted.trim().to_lowercase(),
                false => found.trim() == wanted.trim(),
            },
            (Value::Number(found), Value::Number(wanted)) => {
                let close = |found: f64, wanted: f64| {
                    (found - wanted).abs() <= self.config.number_tolerance * wanted.abs()
                };
                found == wanted || found.as_f64().zip(wanted.as_f64()).is_some_and(|(f, w)| close(f, w))
            }
            _ => found == wanted,
        }
    }
}
