use std::sync::LazyLock;

use regex::Regex;

use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Takes out marks of wikis: `[12]`, `[edit]`, `[citation needed]` and the like. In code, `a[1]` would go too.
    Citations = "citations" {
        /// Numbers and lists of numbers: `[12]`, `[3, 4]`, `[1-5]`.
        numbers / with_numbers: bool = true,
        /// `[edit]`, `[citation needed]`, `[clarification needed]`, `[when?]`, `[who?]`, `[note 1]`.
        notes / with_notes: bool = true,
    }
}

static NUMBERS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\d{1,4}(?:\s?[,;–-]\s?\d{1,4})*\]").expect("a constant pattern"));

static NOTES: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)\[(?:edit|(?:citation|clarification|page|year|sources?|verification) needed|when\?|who\?|according to whom\?|(?:note|nb) \d{1,4})\]";
    Regex::new(pattern).expect("a constant pattern")
});

impl Rule for Citations {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        if !text.contains('[') {
            return None;
        }
        let mut current = text.to_owned();
        // What is taken out may leave another mark behind: `[1[2]2]`.
        loop {
            let mut new = current.clone();
            if self.numbers {
                new = NUMBERS.replace_all(&new, "").into_owned();
            }
            if self.notes {
                new = NOTES.replace_all(&new, "").into_owned();
            }
            if new == current {
                break;
            }
            current = new;
        }
        (current != text).then_some(current)
    }
}
