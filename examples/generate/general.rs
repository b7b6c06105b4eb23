//! The general world: prose and tasks without any financial report.

mod copying;
mod documents;
mod extract;
mod facts;
mod questions;

use super::names::Realm;
use super::rng::Rng;
use super::scene::Scene;

/// How a kind of task is written: the task and its answer.
type Task = fn(&mut Scene) -> (String, String);

/// The kinds of tasks and how often each occurs, in percent.
const TASKS: &[(usize, Task)] = &[
    (46, extract::extract),
    (14, copying::form),
    (10, copying::copy),
    (8, copying::look_up),
    (4, copying::compare),
    (4, copying::list),
    (10, questions::question),
    (4, questions::chat),
];

/// The first `count` short texts of this seed: stories, diaries, how-tos, descriptions, notices, dialogues,
/// catalogues and weather notes, of 20 to 120 words.
pub fn general_documents(seed: u64, count: usize) -> Vec<String> {
    (0..count)
        .map(|record| {
            let rng = Rng::keyed(seed, "general documents", record);
            documents::document(&mut Scene::new(rng, Realm::General))
        })
        .collect()
}

/// The first `count` tasks of this seed, each with its answer.
///
/// Most ask for facts of a mail, product note, news item, booking, parcel note, journey, event, repair note,
/// match report, member's card or library note, as a JSON object with the keys that the task names. The others
/// copy, look up, compare, list, answer questions about a few sentences, and tell who said what in a chat.
pub fn general_instructions(seed: u64, count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|record| {
            let mut rng = Rng::keyed(seed, "general instructions", record);
            let task = *rng.weighted(TASKS);
            task(&mut Scene::new(rng, Realm::General))
        })
        .collect()
}

/// The first `count` repetitions of this seed: rows of names, numbers and made-up words to be copied as they are. They
/// teach a small model to look back and copy long before other tasks do.
pub fn general_repetitions(seed: u64, count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|record| {
            let rng = Rng::keyed(seed, "general repetitions", record);
            copying::repetition(&mut Scene::new(rng, Realm::General))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of the finance task that pre-training must not know.
    const FINANCE_WORDS: &[&str] = &[
        "revenue",
        "revenues",
        "profit",
        "profits",
        "quarter",
        "quarters",
        "fiscal",
        "earnings",
        "turnover",
        "sales",
        "dividend",
        "analyst",
        "analysts",
        "shareholder",
        "shareholders",
        "investor",
        "investors",
        "executive",
        "ceo",
        "income",
        "margin",
        "period",
        "half",
        "rival",
        "forecast",
        "results",
    ];

    fn all_texts() -> Vec<String> {
        let mut texts = general_documents(11, 1500);
        texts.extend(
            general_instructions(11, 3000).into_iter().map(|(task, answer)| format!("{task}\n{answer}")),
        );
        texts
    }

    #[test]
    fn a_seed_gives_the_same_texts() {
        assert_eq!(general_documents(1, 20), general_documents(1, 20));
        assert_eq!(general_instructions(1, 20), general_instructions(1, 40)[..20]);
        assert_ne!(general_documents(1, 20), general_documents(2, 20));
        assert_ne!(general_instructions(1, 20), general_instructions(2, 20));
    }

    #[test]
    fn there_is_no_word_of_finance() {
        for text in all_texts() {
            for word in text.split(|c: char| !c.is_alphabetic()) {
                assert!(!FINANCE_WORDS.contains(&word.to_lowercase().as_str()), "{word} in {text}");
            }
        }
    }

    #[test]
    fn texts_are_short_filled_in_and_rarely_repeated() {
        let texts = all_texts();
        for text in &texts {
            assert!((6..=800).contains(&text.len()), "{} bytes: {text}", text.len());
            assert!(
                !text.contains(['[', ']', '|']) && !text.contains("  ") && !text.contains("//"),
                "{text}"
            );
            assert!(!text.ends_with(' ') && !text.starts_with(' '), "{text:?}");
        }
        let mean = texts.iter().map(String::len).sum::<usize>() / texts.len();
        assert!((150..=350).contains(&mean), "{mean}");
        let distinct: std::collections::BTreeSet<&String> = texts.iter().collect();
        assert!(distinct.len() * 100 >= texts.len() * 98, "{} of {}", distinct.len(), texts.len());
    }

    #[test]
    fn every_kind_of_task_occurs() {
        let tasks = general_instructions(5, 2000);
        let json = tasks.iter().filter(|(_, answer)| answer.starts_with("{\"")).count();
        assert!((700..=1300).contains(&json), "{json}");
        for phrase in ["Repeat: ", "larger", "Who said", "Where does", "Look up", "Extract ", "comes first"] {
            assert!(tasks.iter().any(|(task, _)| task.contains(phrase)), "{phrase}");
        }
    }
}
