//! Structured answers field by field: which values are right, wrong, missing or made up, and where.

mod compare;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entities::{EntityCounts, EntityScore};
use crate::error::{EvalError, check_pairs};

const METRIC: &str = "json fields";

/// Whether the order of a list means anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ListOrder {
    /// It does not: elements are paired so that those with the most equal values come together first.
    #[default]
    Any,
    /// It does: the first with the first, and so on.
    Fixed,
}

/// How values are compared. The default wants equal values, and numbers equal to twelve digits.
///
/// Every value that is not an object or a list is one field: `patient.age`, or `items[].price` for all elements of
/// a list together. Null, empty objects and empty lists stand for nothing. White space at the ends of a text
/// does not count, and no value of one type equals one of another: `"12"` is not `12`.
/// ([`EntityConfig`](crate::EntityConfig) is the forgiving one, and forgets which values belong together.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JsonFieldConfig {
    /// Compare texts in lower case. Names of fields always heed case.
    pub ignore_case: bool,
    /// Largest difference of equal numbers, relative to the wanted one.
    pub number_tolerance: f64,
    /// Whether the order of lists counts.
    pub list_order: ListOrder,
}

impl Default for JsonFieldConfig {
    fn default() -> Self {
        Self { ignore_case: false, number_tolerance: 1e-12, list_order: ListOrder::Any }
    }
}

/// One value that is not as wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldMistake {
    /// Where: `items[2].price`, elements counted as in the reference, or as in the prediction where the
    /// reference has none.
    pub path: String,
    /// The value wanted; `None` for a made-up one.
    pub wanted: Option<Value>,
    /// The value found; `None` for a missing one.
    pub found: Option<Value>,
}

/// One answer against its reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JsonFieldExample {
    /// Over all fields. A wrong value is both made up and missed.
    pub counts: EntityCounts,
    /// Per field.
    pub fields: BTreeMap<String, EntityCounts>,
    /// Every value that is not as wanted, in the order of the paths.
    pub mistakes: Vec<FieldMistake>,
}

/// Answers against references over a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JsonFieldReport {
    /// Over all values: each weighs the same.
    pub micro: EntityScore,
    /// Mean F1 over the fields, 0..100: each field weighs the same.
    pub macro_f1: f64,
    /// Per cent of answers without any mistake.
    pub exact: f64,
    /// Per field.
    pub fields: BTreeMap<String, EntityScore>,
    /// Positions of the answers that are no JSON. All values of their references count as missed.
    pub unparsable: Vec<usize>,
    /// Per answer, in the order given.
    pub examples: Vec<JsonFieldExample>,
}

impl JsonFieldConfig {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares texts in lower case, or not.
    pub fn with_ignore_case(mut self, ignore: bool) -> Self {
        self.ignore_case = ignore;
        self
    }

    /// Numbers may differ by this much, relative to the wanted one.
    pub fn with_number_tolerance(mut self, tolerance: f64) -> Self {
        self.number_tolerance = tolerance;
        self
    }

    /// Heeds the order of lists, or not.
    pub fn with_list_order(mut self, order: ListOrder) -> Self {
        self.list_order = order;
        self
    }

    /// One answer against its reference; `None` for an answer that is no JSON.
    pub fn example(&self, prediction: Option<&Value>, reference: &Value) -> JsonFieldExample {
        compare::compare(self, prediction.unwrap_or(&Value::Null), reference)
    }

    /// Answers as text against references.
    ///
    /// An answer is the whole text, or else the first JSON object in it, alone, in a code fence or amid prose.
    ///
    /// # Errors
    /// No examples, not equally many, a tolerance that is negative or not finite.
    pub fn score<P: AsRef<str>>(
        &self,
        predictions: &[P],
        references: &[Value],
    ) -> Result<JsonFieldReport, EvalError> {
        check_pairs(METRIC, predictions.len(), references.len())?;
        if !(self.number_tolerance >= 0.0 && self.number_tolerance.is_finite()) {
            let (option, found) = ("number_tolerance", self.number_tolerance.to_string());
            let wanted = "a finite number of at least 0";
            return Err(EvalError::Option { metric: METRIC, option, found, wanted });
        }
        let mut unparsable = Vec::new();
        let mut fields: BTreeMap<String, EntityCounts> = BTreeMap::new();
        let mut examples = Vec::with_capacity(predictions.len());
        for (index, (prediction, reference)) in predictions.iter().zip(references).enumerate() {
            let found = parse(prediction.as_ref());
            if found.is_none() {
                unparsable.push(index);
            }
            let example = self.example(found.as_ref(), reference);
            for (field, counts) in &example.fields {
                *fields.entry(field.clone()).or_default() += *counts;
            }
            examples.push(example);
        }
        let fields: BTreeMap<String, EntityScore> =
            fields.into_iter().map(|(field, counts)| (field, counts.into())).collect();
        let wrong = |(index, example): &(usize, &JsonFieldExample)| {
            example.mistakes.is_empty() && !unparsable.contains(index)
        };
        let exact = examples.iter().enumerate().filter(wrong).count();
        let macro_f1 = match fields.is_empty() {
            true => 100.0,
            false => fields.values().map(|score| score.f1).sum::<f64>() / fields.len() as f64,
        };
        Ok(JsonFieldReport {
            micro: examples.iter().map(|example| &example.counts).sum::<EntityCounts>().into(),
            macro_f1,
            exact: 100.0 * exact as f64 / examples.len() as f64,
            fields,
            unparsable,
            examples,
        })
    }
}

fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| crate::entities::find_object(text).map(Value::Object))
}
