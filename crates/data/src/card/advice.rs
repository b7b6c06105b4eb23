//! What the numbers of a card say about training on the set.

use serde::{Deserialize, Serialize};

use super::DataCard;
use super::measure::SetCard;

/// Examples below which a fine-tuning set is small, and above which more seldom help as much as better ones.
const USUAL: std::ops::RangeInclusive<usize> = 1_000..=10_000;
/// Frequency of the most frequent label over the least frequent one, from which a set is unbalanced.
const UNBALANCED: usize = 10;
/// Duplicates, as a part of the records, that are no cause for a word.
const DUPLICATES: f64 = 0.01;
/// Part of the records that may be longer than the model reads.
const TOO_LONG: f64 = 0.05;
/// Part of the records in other languages than the most frequent one, from which they are mentioned.
const OTHER_LANGUAGES: f64 = 0.05;
/// Unknown tokens, as a part of all, from which the tokenizer does not fit.
const UNKNOWN: f64 = 0.001;
/// Part of another set's words that the trained set should have.
const COVERED: f64 = 0.9;
/// Trained tokens, as a part of all, below which most of the work is reading prompts.
const TRAINED: f64 = 0.05;

/// How grave an [`Advice`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Results would mislead: mend it before training.
    Mend,
    /// It is likely to cost quality.
    Look,
    /// Good to know.
    Note,
}

/// Something that the numbers say, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// How grave it is.
    pub weight: Weight,
    /// What was found, with its numbers.
    pub found: String,
    /// What to do.
    pub action: String,
}

fn advice(weight: Weight, found: String, action: &str) -> Advice {
    Advice { weight, found, action: action.to_owned() }
}

/// All advice, gravest first.
pub(super) fn of(card: &DataCard) -> Vec<Advice> {
    let mut all = Vec::new();
    leaks(card, &mut all);
    if let Some(trained) = card.sets.first() {
        size(card, trained, &mut all);
        duplicates(trained, &mut all);
        balance(trained, &mut all);
        lengths(card, trained, &mut all);
        languages(trained, &mut all);
        answers(trained, &mut all);
    }
    coverage(card, &mut all);
    all.sort_by_key(|advice| advice.weight);
    all
}

fn leaks(card: &DataCard, all: &mut Vec<Advice>) {
    for leak in card.leaks.iter().filter(|leak| leak.leaked > 0) {
        let found = format!(
            "{} of the {} records of {:?} share {} words in a row with the trained set, {} of them in the question",
            leak.leaked, leak.records, leak.set, leak.ngram, leak.leaked_questions
        );
        let weight = if leak.leaked_questions > 0 { Weight::Mend } else { Weight::Look };
        all.push(advice(
            weight,
            found,
            "Take them out of the trained set: scores on leaked records show memory, not skill.",
        ));
    }
}

fn size(card: &DataCard, trained: &SetCard, all: &mut Vec<Advice>) {
    let records = trained.records;
    if records < *USUAL.start() {
        all.push(advice(
            Weight::Look,
            format!("{records} records are trained; 1,000 to 10,000 good ones are usual"),
            "Expect over-fitting: few epochs, a small rank, early stopping on a validation set; more records help most.",
        ));
    } else if records > *USUAL.end() {
        all.push(advice(
            Weight::Note,
            format!("{records} records are trained; 1,000 to 10,000 good ones are usual"),
            "Quality counts more than number here: try a cleaned or sampled tenth first, and compare.",
        ));
    }
    if card.sets.len() == 1 {
        all.push(advice(
            Weight::Look,
            "there is no set to validate on".to_owned(),
            "Split one off before anything else looks at the data; early stopping needs it.",
        ));
    }
}

fn duplicates(trained: &SetCard, all: &mut Vec<Advice>) {
    let part = trained.near_duplicates as f64 / trained.records as f64;
    if part > DUPLICATES {
        let found = format!(
            "{} of {} trained records ({:.1} %) are much like another, {} word for word; the largest group has {}",
            trained.near_duplicates,
            trained.records,
            100.0 * part,
            trained.exact_duplicates,
            trained.largest_cluster
        );
        all.push(advice(
            Weight::Look,
            found,
            "Keep one of each group: repeats are learnt by heart, and straddle splits.",
        ));
    }
}

fn balance(trained: &SetCard, all: &mut Vec<Advice>) {
    for balance in trained.balance.iter().filter(|balance| balance.values.len() == balance.distinct) {
        let (Some(most), Some(least)) = (balance.values.first(), balance.values.last()) else { continue };
        if most.1 >= UNBALANCED * least.1 {
            let found = format!(
                "column {:?} is unbalanced: {:?} occurs {} times, {:?} {} times",
                balance.column, most.0, most.1, least.0, least.1
            );
            all.push(advice(
                Weight::Look,
                found,
                "Stratify the splits by it, report scores per value, and collect or weigh up the rare values.",
            ));
        }
    }
}

fn lengths(card: &DataCard, trained: &SetCard, all: &mut Vec<Advice>) {
    let Some(tokens) = &trained.tokens else { return };
    if let Some(limit) = card.max_length {
        let part = tokens.too_long as f64 / trained.records as f64;
        if part > TOO_LONG {
            let found = format!(
                "{} of {} trained records ({:.1} %) are longer than {limit} tokens; 99 % have at most {}",
                tokens.too_long,
                trained.records,
                100.0 * part,
                tokens.length.p99
            );
            all.push(advice(
                Weight::Look,
                found,
                "Raise max_length, cut them into parts, or leave them out.",
            ));
        } else if tokens.length.p99 * 4 <= limit {
            let found =
                format!("99 % of the trained records have at most {} of {limit} tokens", tokens.length.p99);
            all.push(advice(
                Weight::Note,
                found,
                "Pack them, or lower max_length: padding costs time and memory.",
            ));
        }
        if tokens.nothing_trained > 0 {
            let found = format!(
                "{} trained records have no trained token within {limit} tokens",
                tokens.nothing_trained
            );
            all.push(advice(Weight::Look, found, "Training drops them: shorten their prompts."));
        }
    }
    let part = tokens.trained.total as f64 / tokens.length.total.max(1) as f64;
    if part < TRAINED {
        let found = format!("{:.1} % of the tokens are trained, the rest is read only", 100.0 * part);
        all.push(advice(
            Weight::Note,
            found,
            "Shorter prompts, or several questions in one record, cost less.",
        ));
    }
    if tokens.unknown as f64 > UNKNOWN * tokens.length.total as f64 {
        let found =
            format!("{} of {} tokens are unknown to the tokenizer", tokens.unknown, tokens.length.total);
        all.push(advice(
            Weight::Look,
            found,
            "Clean those characters, or take a base whose tokenizer knows them.",
        ));
    }
}

fn languages(trained: &SetCard, all: &mut Vec<Advice>) {
    let told: Vec<&(String, usize)> = trained.languages.iter().filter(|(name, _)| name != "unsure").collect();
    let sum: usize = told.iter().map(|(_, count)| count).sum();
    let Some((main, most)) = told.first() else { return };
    let others = sum - most;
    if others as f64 > OTHER_LANGUAGES * sum as f64 {
        let found = format!("{others} of {sum} trained records are in another language than {main}");
        all.push(advice(Weight::Look, found, "Filter by language, or stratify by it if that is meant."));
    }
}

fn answers(trained: &SetCard, all: &mut Vec<Advice>) {
    let few = trained.distinct_answers <= 1 && trained.records > 1;
    if few {
        all.push(advice(
            Weight::Mend,
            format!("all {} trained records have the same answer", trained.records),
            "There is nothing to tell apart: check the column that holds the answer.",
        ));
    }
}

fn coverage(card: &DataCard, all: &mut Vec<Advice>) {
    for set in card.vocabulary.iter().filter(|set| set.covered < COVERED) {
        let found = format!(
            "the trained set has {:.1} % of the words of {:?}; {} different words are unseen",
            100.0 * set.covered,
            set.set,
            set.unseen
        );
        all.push(advice(
            Weight::Look,
            found,
            "The two may be of different domains: look at the samples of both.",
        ));
    }
}
