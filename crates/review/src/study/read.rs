//! Studies in files: one JSON object, or JSONL with an item a line.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::{Criterion, Judge, Study, StudyOptions};
use crate::ReviewError;

impl Study {
    /// Reads and checks a study.
    ///
    /// A file whose name ends in `.jsonl` or `.ndjson` holds an [`Item`](super::Item) a line; its first line may be
    /// `{"study": {"title": …, "instructions": …, "criteria": […], "options": {…}}}`. Any other file holds one JSON
    /// object with the fields of [`Study`].
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no item (with its number), and whatever [`Study::validate`] finds.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ReviewError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(ReviewError::io("read", path))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines = path.extension().is_some_and(|end| end == "jsonl" || end == "ndjson");
        let study = if lines { from_lines(path, text)? } else { from_object(path, text)? };
        study.validate()?;
        Ok(study)
    }
}

fn from_object(path: &Path, text: &str) -> Result<Study, ReviewError> {
    serde_json::from_str(text).map_err(|source| ReviewError::Json {
        path: path.to_owned(),
        line: source.line(),
        source,
    })
}

/// Everything of a study but its items, in the first line of a JSONL file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    study: HeadFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFields {
    title: Option<String>,
    #[serde(default)]
    instructions: String,
    #[serde(default)]
    criteria: Vec<Criterion>,
    #[serde(default)]
    options: StudyOptions,
}

fn from_lines(path: &Path, text: &str) -> Result<Study, ReviewError> {
    let mut study = Study::new(Vec::new());
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (position, (index, line)) in lines.enumerate() {
        let at_line = |source| ReviewError::Json { path: path.to_owned(), line: index + 1, source };
        if position == 0 && is_head(line) {
            let head = serde_json::from_str::<Head>(line).map_err(at_line)?.study;
            study.title = head.title.unwrap_or(study.title);
            study.instructions = head.instructions;
            study.criteria = head.criteria;
            study.options = head.options;
        } else {
            study.items.push(serde_json::from_str(line).map_err(at_line)?);
        }
    }
    Ok(study)
}

fn is_head(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.get("study").is_some())
}

/// A judge as files name one.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum JudgeEntry {
    Name(String),
    Full(FullJudge),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullJudge {
    name: String,
    token: Option<String>,
}

impl From<JudgeEntry> for Judge {
    fn from(entry: JudgeEntry) -> Self {
        match entry {
            JudgeEntry::Name(name) => Self { name, token: None },
            JudgeEntry::Full(FullJudge { name, token }) => Self { name, token },
        }
    }
}

/// An id: a string, or a whole number as its digits.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an id: a string or a whole number")]
    enum Id {
        Text(String),
        Number(i64),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

/// Outputs by system; a system that comes twice is an error, where a plain map would keep the last.
pub(super) fn outputs<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Outputs;

    impl<'de> Visitor<'de> for Outputs {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of outputs by system")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut outputs = BTreeMap::new();
            while let Some((system, output)) = map.next_entry::<String, String>()? {
                if outputs.contains_key(&system) {
                    return Err(M::Error::custom(format!("the system `{system}` comes twice")));
                }
                outputs.insert(system, output);
            }
            Ok(outputs)
        }
    }

    deserializer.deserialize_map(Outputs)
}
