//! Chosen and rejected outputs, to tune a model on what people preferred.

use std::{collections::BTreeMap, io::Write, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    LogContents, Plan, ReviewError, Study,
    results::{Outcome, votes},
};

/// One line of a file for preference tuning; `prompt`, `chosen`, `rejected` are the columns that DPO trainers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PreferencePair {
    /// What the systems were asked.
    pub prompt: String,
    /// The text that the prompt is about, where the item has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The output that more judges preferred.
    pub chosen: String,
    /// The other.
    pub rejected: String,
    /// Id of the item.
    pub item: String,
    /// The system that wrote the chosen output.
    pub chosen_system: String,
    /// The system that wrote the rejected output.
    pub rejected_system: String,
    /// Judges for the chosen and for the rejected output.
    pub votes: [usize; 2],
    /// Judges who called it a tie or both bad.
    pub undecided: usize,
}

/// Pairs to tune on, and how many were left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PreferenceExport {
    /// The pairs, by item.
    pub pairs: Vec<PreferencePair>,
    /// Pairs of outputs without more judges for one than for the other.
    pub undecided: usize,
    /// Decided pairs that were left out because as many judges or more called both outputs bad.
    pub both_bad: usize,
}

/// What judges preferred, by simple majority, for each pair of outputs.
pub fn preference_pairs(study: &Study, plan: &Plan, log: &LogContents) -> PreferenceExport {
    let mut tallies: BTreeMap<(usize, &str, &str), [usize; 4]> = BTreeMap::new();
    let votes = votes(plan, log);
    for vote in &votes {
        tallies.entry((vote.item, vote.first, vote.second)).or_default()[vote.outcome as usize] += 1;
    }
    let mut export = PreferenceExport::default();
    for ((item, first, second), tally) in tallies {
        let count = |outcome: Outcome| tally[outcome as usize];
        let (one, two) = (count(Outcome::First), count(Outcome::Second));
        if one == two {
            export.undecided += 1;
            continue;
        }
        if count(Outcome::BothBad) >= one.max(two) {
            export.both_bad += 1;
            continue;
        }
        let (chosen, rejected) = if one > two { (first, second) } else { (second, first) };
        let item = &study.items[item];
        let output = |system: &str| item.outputs.get(system).cloned().unwrap_or_default();
        export.pairs.push(PreferencePair {
            prompt: item.prompt.clone(),
            context: item.context.clone(),
            chosen: output(chosen),
            rejected: output(rejected),
            item: item.id.clone(),
            chosen_system: chosen.to_owned(),
            rejected_system: rejected.to_owned(),
            votes: [one.max(two), one.min(two)],
            undecided: count(Outcome::Tie) + count(Outcome::BothBad),
        });
    }
    export
}

impl PreferenceExport {
    /// Writes the pairs as JSONL.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_jsonl(&self, path: impl AsRef<Path>) -> Result<(), ReviewError> {
        let path = path.as_ref();
        let write = || {
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            for pair in &self.pairs {
                serde_json::to_writer(&mut file, pair)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(ReviewError::io("write", path))
    }
}
