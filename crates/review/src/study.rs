//! What is judged: items with the outputs of two or more systems, criteria, judges.

mod predictions;
mod read;
mod validate;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use predictions::JoinReport;
pub(crate) use validate::check_name;

use crate::draw::sha256_hex;

/// A human evaluation: what is shown, to whom, and what is asked.
///
/// In a JSON file it is an object with these fields; [`Study::from_file`] also reads JSONL with one [`Item`] a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Study {
    /// Heading of the page and of the results.
    #[serde(default = "untitled")]
    pub title: String,
    /// What judges are told before they begin; plain text.
    #[serde(default)]
    pub instructions: String,
    /// Questions about each output beside the preference.
    #[serde(default)]
    pub criteria: Vec<Criterion>,
    /// Seed, blinding, repeats and judges.
    #[serde(default)]
    pub options: StudyOptions,
    /// What is judged.
    pub items: Vec<Item>,
}

/// One prompt with the outputs of the systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Item {
    /// Unique in the study; a number in a file is read as its digits.
    #[serde(deserialize_with = "read::id")]
    pub id: String,
    /// What the systems were asked.
    pub prompt: String,
    /// A good answer, shown on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A text that the prompt is about, shown on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Output by name of the system; two or more.
    #[serde(deserialize_with = "read::outputs")]
    pub outputs: BTreeMap<String, String>,
}

/// A question about each of the two outputs, answered on a scale of whole numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Criterion {
    /// Name, unique in the study.
    pub name: String,
    /// What the judge should look at.
    #[serde(default)]
    pub description: String,
    /// Lowest score.
    pub min: i64,
    /// Highest score; at most 10 above the lowest.
    pub max: i64,
    /// Whether a judgement needs scores for it.
    #[serde(default)]
    pub need: Need,
}

/// Whether an answer may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// It may.
    #[default]
    Optional,
    /// It may not.
    Required,
}

/// Whether judges see which system wrote what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blinding {
    /// Names of systems and ids of items never reach a judge's browser.
    #[default]
    Blind,
    /// The names stand above the outputs.
    Open,
}

/// How a study is run. The default is seed 0, blind, no repeats, every pair of systems, no judges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StudyOptions {
    /// Decides order, sides and repeats, together with the judge and the item. Judges should not know it: whoever knows
    /// it and guesses names of systems and ids of items can compute which side is whose.
    pub seed: u64,
    /// Whether judges see the names of systems.
    pub blinding: Blinding,
    /// Share of the items, 0..1, of which a judge sees one pair a second time with the sides swapped.
    pub repeats: f64,
    /// At most this many pairs of an item for each judge, drawn for each judge; all pairs without it.
    pub pairs_per_item: Option<usize>,
    /// Who judges; in a file a name or `{"name": …, "token": …}`.
    pub judges: Vec<Judge>,
    /// The secret that opens the results; drawn by the server without it.
    pub owner_token: Option<String>,
}

/// Somebody who judges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "read::JudgeEntry")]
#[non_exhaustive]
pub struct Judge {
    /// Name, unique in the study.
    pub name: String,
    /// The secret in the judge's link, 16 to 128 letters, digits, `-` or `_`; drawn by the server without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

fn untitled() -> String {
    "Which answer is better?".to_owned()
}

impl Study {
    /// A blind study of these items, without criteria and judges.
    pub fn new(items: Vec<Item>) -> Self {
        Self {
            title: untitled(),
            instructions: String::new(),
            criteria: Vec::new(),
            options: StudyOptions::default(),
            items,
        }
    }

    /// Sets the heading.
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets what judges are told.
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }

    /// Asks for scores too.
    pub fn with_criteria(mut self, criteria: impl IntoIterator<Item = Criterion>) -> Self {
        self.criteria = criteria.into_iter().collect();
        self
    }

    /// Runs it this way.
    pub fn with_options(mut self, options: StudyOptions) -> Self {
        self.options = options;
        self
    }

    /// The systems of all items, sorted by name.
    pub fn systems(&self) -> BTreeSet<&str> {
        self.items.iter().flat_map(|item| item.outputs.keys()).map(String::as_str).collect()
    }

    /// A SHA-256 of everything that a judgement depends on: items, criteria, seed, blinding, repeats, pairs. Title,
    /// instructions, judges and tokens may change while a study runs.
    pub fn digest(&self) -> String {
        let options = &self.options;
        let parts = (
            &self.items,
            &self.criteria,
            options.seed,
            options.blinding,
            options.repeats,
            options.pairs_per_item,
        );
        sha256_hex(serde_json::to_string(&parts).unwrap_or_default().as_bytes())
    }
}

impl Item {
    /// An item without reference and context.
    pub fn new<S: Into<String>>(
        id: impl Into<String>,
        prompt: impl Into<String>,
        outputs: impl IntoIterator<Item = (S, S)>,
    ) -> Self {
        let outputs = outputs.into_iter().map(|(system, text)| (system.into(), text.into())).collect();
        Self { id: id.into(), prompt: prompt.into(), reference: None, context: None, outputs }
    }

    /// Adds a good answer.
    pub fn with_reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Adds the text that the prompt is about.
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }
}

impl Criterion {
    /// An optional criterion with the scale `min..=max`.
    pub fn new(name: impl Into<String>, min: i64, max: i64) -> Self {
        Self { name: name.into(), description: String::new(), min, max, need: Need::default() }
    }

    /// Says what to look at.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets whether a judgement needs it.
    pub fn with_need(mut self, need: Need) -> Self {
        self.need = need;
        self
    }
}

impl StudyOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws order, sides and repeats with this seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Hides or shows the names of systems.
    pub fn with_blinding(mut self, blinding: Blinding) -> Self {
        self.blinding = blinding;
        self
    }

    /// Shows this share of the items a second time.
    pub fn with_repeats(mut self, share: f64) -> Self {
        self.repeats = share;
        self
    }

    /// Shows a judge at most this many pairs of an item.
    pub fn with_pairs_per_item(mut self, pairs: usize) -> Self {
        self.pairs_per_item = Some(pairs);
        self
    }

    /// Sets who judges.
    pub fn with_judges(mut self, judges: impl IntoIterator<Item = Judge>) -> Self {
        self.judges = judges.into_iter().collect();
        self
    }

    /// Sets the secret that opens the results.
    pub fn with_owner_token(mut self, token: impl Into<String>) -> Self {
        self.owner_token = Some(token.into());
        self
    }
}

impl Judge {
    /// A judge whose token is drawn by the server.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), token: None }
    }

    /// Sets the secret of the judge's link.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}
