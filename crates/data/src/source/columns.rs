use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::path;
use crate::error::DataError;
use crate::record::{Origin, Shape};

/// Which column of a file plays which part: canonical name → name in the file.
///
/// `{prompt: question, completion: answer}` reads a file with `question` and `answer` as prompt and
/// completion. The canonical names are `messages`, `conversations`, `prompt`, `completion`, `instruction`,
/// `input`, `output`, `text`, `question`, `context`, `answer` and `answers`. A column that is mapped must be in every record.
///
/// Below a column, a path goes into what it holds: `instances[0].output`, and `sentences[*]` for a list of strings, joined
/// with spaces. A column whose whole name is written so comes first. The column itself then stays in
/// [`Record::extra`](crate::Record::extra).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct ColumnMap(BTreeMap<String, String>);

impl ColumnMap {
    /// A mapping from `(canonical name, column of the file)` pairs.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownColumnMapping`] for a name that no shape knows,
    /// [`DataError::DuplicateColumnMapping`] if two names are mapped to one column.
    pub fn new<N, C>(pairs: impl IntoIterator<Item = (N, C)>) -> Result<Self, DataError>
    where
        N: Into<String>,
        C: Into<String>,
    {
        let map: BTreeMap<String, String> =
            pairs.into_iter().map(|(name, column)| (name.into(), column.into())).collect();
        Self::try_from(map)
    }

    /// True if nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The column of the file that stands for the canonical column `name`: the mapped one, else the name
    /// itself, unless that column of the file is already mapped to another part.
    pub(crate) fn column<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match self.0.get(name) {
            Some(column) => Some(column),
            None if self.0.values().any(|column| column == name) => None,
            None => Some(name),
        }
    }

    /// The column of `object` that stands for the canonical column `name`, if the object has it.
    pub(crate) fn find<'a>(&'a self, object: &Map<String, Value>, name: &'a str) -> Option<&'a str> {
        self.column(name).filter(|column| object.contains_key(*column))
    }

    /// True if a column of the file is mapped to the canonical column `name`.
    pub(crate) fn is_mapped(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// True if a mapping may go into what a column holds.
    pub(crate) fn has_paths(&self) -> bool {
        self.0.values().any(|column| column.contains(['.', '[']))
    }

    /// Adds what the paths of the mapping lead to, as columns of their names.
    pub(crate) fn resolve(&self, object: &mut Map<String, Value>) {
        for column in self.0.values().filter(|column| column.contains(['.', '['])) {
            if !object.contains_key(column)
                && let Some(value) = path::at(object, column)
            {
                object.insert(column.clone(), value);
            }
        }
    }

    /// The object with its mapped columns under their canonical names. Another column that has such a name gets `extra_`
    /// before it.
    pub(crate) fn rename(&self, object: Map<String, Value>) -> Map<String, Value> {
        let names: HashSet<String> = object.keys().chain(self.0.keys()).cloned().collect();
        let rename = |column: String| match self.0.iter().find(|(_, mapped)| **mapped == column) {
            Some((name, _)) => name.clone(),
            None if self.0.contains_key(&column) => free_name(column, |name| names.contains(name)),
            None => column,
        };
        object.into_iter().map(|(column, value)| (rename(column), value)).collect()
    }

    /// Checks that every mapped column is in the record.
    pub(crate) fn check(&self, object: &Map<String, Value>, origin: &Origin) -> Result<(), DataError> {
        match self.0.values().find(|column| !object.contains_key(*column)) {
            Some(column) => Err(missing(object, column, origin)),
            None => Ok(()),
        }
    }
}

impl TryFrom<BTreeMap<String, String>> for ColumnMap {
    type Error = DataError;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, DataError> {
        let known = Shape::canonical_columns();
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, column) in &map {
            if !known.contains(&name.as_str()) {
                let nearest = nearest(name, known.iter().copied());
                return Err(DataError::UnknownColumnMapping { name: name.clone(), nearest });
            }
            if let Some(first) = taken.insert(column, name) {
                return Err(DataError::DuplicateColumnMapping {
                    first: first.to_owned(),
                    second: name.clone(),
                    column: column.clone(),
                });
            }
        }
        Ok(Self(map))
    }
}

impl From<ColumnMap> for BTreeMap<String, String> {
    fn from(map: ColumnMap) -> Self {
        map.0
    }
}

/// The name, with `extra_` before it as often as it takes for no other column to have it.
pub(crate) fn free_name(mut name: String, taken: impl Fn(&str) -> bool) -> String {
    while taken(&name) {
        name.insert_str(0, "extra_");
    }
    name
}

/// The error for a column that `object` does not have.
pub(crate) fn missing(object: &Map<String, Value>, wanted: &str, origin: &Origin) -> DataError {
    DataError::MissingColumn {
        origin: origin.clone(),
        wanted: wanted.to_owned(),
        found: object.keys().cloned().collect(),
        nearest: nearest(wanted, object.keys().map(String::as_str)),
    }
}

/// The name with the smallest edit distance to `wanted`, if that is at most a third of its length (rounded
/// up).
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = wanted.chars().count().div_ceil(3);
    names
        .map(|name| (edit_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// Levenshtein's distance in characters, without regard to case.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("Prompt", "prompt", 0),
            ("qestion", "question", 1),
            ("naïve", "naive", 1),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_column_that_is_mapped_away_plays_one_part_only() {
        let map = ColumnMap::new([("prompt", "text")]).expect("known names");
        assert_eq!(map.column("prompt"), Some("text"));
        assert_eq!(map.column("text"), None);
        assert_eq!(map.column("completion"), Some("completion"));
    }

    #[test]
    fn no_column_is_lost_by_a_new_name() {
        let object = r#"{"a": 0, "text": 1, "prompt": 2, "extra_prompt": 3, "completion": 4, "question": 5}"#;
        let map = [("prompt", "text"), ("completion", "question"), ("question", "completion")];
        let map = ColumnMap::new(map).expect("known names");
        let renamed = map.rename(serde_json::from_str(object).expect("an object"));
        assert_eq!(
            serde_json::to_string(&renamed).expect("an object"),
            r#"{"a":0,"prompt":1,"extra_extra_prompt":2,"extra_prompt":3,"question":4,"completion":5}"#
        );
    }

    #[test]
    fn a_mapping_goes_through_serde_and_is_checked_there() {
        let map: ColumnMap = serde_json::from_str(r#"{"prompt": "question"}"#).expect("known name");
        assert_eq!(serde_json::to_string(&map).expect("a map of strings"), r#"{"prompt":"question"}"#);
        let error = serde_json::from_str::<ColumnMap>(r#"{"promt": "question"}"#).expect_err("unknown name");
        assert!(error.to_string().contains("did you mean \"prompt\"?"), "{error}");
    }
}
