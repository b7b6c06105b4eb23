//! A study from the answers of systems, one JSONL file for each.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::Path,
};

use serde::Deserialize;

use super::{Item, Study, read};
use crate::ReviewError;

/// What became of the answers in the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JoinReport {
    /// Items in the study.
    pub items: usize,
    /// Ids that are in the study although some systems have no answer to them, with those systems.
    pub incomplete: Vec<(String, Vec<String>)>,
    /// Ids left out because only one system answered them, with that system.
    pub left_out: Vec<(String, String)>,
}

/// A line of a file of answers; other columns are allowed and not read.
#[derive(Deserialize)]
struct Row {
    #[serde(deserialize_with = "read::id")]
    id: String,
    prompt: Option<String>,
    reference: Option<String>,
    context: Option<String>,
    #[serde(alias = "prediction", alias = "answer", alias = "response")]
    output: String,
}

impl Study {
    /// Joins the answers of systems by id: one `(system, JSONL file)` each.
    ///
    /// A line has `id`, `output` (or `prediction`, `answer`, `response`), and in at least one of the files `prompt`;
    /// `reference` and `context` are optional. Items stand in the order of their first appearance.
    ///
    /// # Errors
    /// A file that cannot be read, a line without id or output, an id or a system that comes twice, files that differ
    /// about a prompt, reference or context, an item without a prompt, no item that two systems answered.
    pub fn from_predictions<S: Into<String>, P: AsRef<Path>>(
        files: impl IntoIterator<Item = (S, P)>,
    ) -> Result<(Self, JoinReport), ReviewError> {
        let mut join = Join::default();
        for (system, path) in files {
            join.file(system.into(), path.as_ref())?;
        }
        join.finish()
    }
}

#[derive(Default)]
struct Join {
    systems: Vec<String>,
    rows: Vec<Joined>,
    places: HashMap<String, usize>,
}

struct Joined {
    id: String,
    prompt: Option<String>,
    reference: Option<String>,
    context: Option<String>,
    outputs: BTreeMap<String, String>,
}

impl Join {
    fn file(&mut self, system: String, path: &Path) -> Result<(), ReviewError> {
        if self.systems.contains(&system) {
            return Err(ReviewError::study("systems", format!("`{system}` twice"), "each system once"));
        }
        let text = fs::read_to_string(path).map_err(ReviewError::io("read", path))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut seen = HashSet::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row: Row = serde_json::from_str(line).map_err(|source| ReviewError::Json {
                path: path.to_owned(),
                line: index + 1,
                source,
            })?;
            let place = || format!("{}, line {}", path.display(), index + 1);
            if !seen.insert(row.id.clone()) {
                return Err(ReviewError::study(
                    place(),
                    format!("the id `{}` twice", row.id),
                    "each id once",
                ));
            }
            let at = *self.places.entry(row.id.clone()).or_insert_with(|| {
                self.rows.push(Joined {
                    id: row.id.clone(),
                    prompt: None,
                    reference: None,
                    context: None,
                    outputs: BTreeMap::new(),
                });
                self.rows.len() - 1
            });
            let joined = &mut self.rows[at];
            let fields = [
                ("prompt", &mut joined.prompt, row.prompt),
                ("reference", &mut joined.reference, row.reference),
                ("context", &mut joined.context, row.context),
            ];
            for (field, known, found) in fields {
                match (&known, found) {
                    (Some(known), Some(found)) if **known != found => {
                        let found = format!("another {field} for `{}` than in the files before", joined.id);
                        return Err(ReviewError::study(place(), found, "the same in every file"));
                    }
                    (None, found) => *known = found,
                    _ => {}
                }
            }
            joined.outputs.insert(system.clone(), row.output);
        }
        self.systems.push(system);
        Ok(())
    }

    fn finish(self) -> Result<(Study, JoinReport), ReviewError> {
        let mut report = JoinReport::default();
        let mut items = Vec::new();
        for row in self.rows {
            if row.outputs.len() < 2 {
                report.left_out.extend(row.outputs.into_keys().map(|system| (row.id.clone(), system)));
                continue;
            }
            let Some(prompt) = row.prompt else {
                let place = format!("item `{}`", row.id);
                return Err(ReviewError::study(place, "no prompt", "a prompt in at least one file"));
            };
            let missing: Vec<String> =
                self.systems.iter().filter(|system| !row.outputs.contains_key(*system)).cloned().collect();
            if !missing.is_empty() {
                report.incomplete.push((row.id.clone(), missing));
            }
            let Joined { id, reference, context, outputs, .. } = row;
            items.push(Item { id, prompt, reference, context, outputs });
        }
        report.items = items.len();
        let study = Study::new(items);
        study.validate()?;
        Ok((study, report))
    }
}
