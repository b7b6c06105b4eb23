//! Word n-grams of records, shared by the split and the leak check.
//!
//! Words: the text is split on white space, every character that is neither letter nor digit is deleted, the
//! rest is lower-cased; words that become empty vanish (`"12/60 = $0.2 - yes!"` → `1260 02 yes`).

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::record::Record;

/// Words per n-gram.
pub(crate) const NGRAM: usize = 13;
/// An n-gram in more than this part of the records is boilerplate.
pub(crate) const COMMON_FRACTION: f64 = 0.01;
/// An n-gram in at most this many records is never boilerplate: in a small set 1 % is less than the two
/// records that one leak makes.
pub(crate) const COMMON_FLOOR: usize = 5;

/// Keeps whole short records apart from n-grams of the same text.
const SHORT_SEED: u64 = 1;

/// Whose words are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeakText {
    /// The user's and the assistant's, read one after the other.
    #[default]
    Conversation,
    /// The user's only: the questions.
    User,
    /// The assistant's only: the answers, and all of a text record.
    Assistant,
}

impl LeakText {
    /// Whose text the turn of a role counts as; `None` if it does not count.
    fn part(self, role: &str) -> Option<SharedPart> {
        match (role, self) {
            ("user", Self::Conversation | Self::User) => Some(SharedPart::User),
            ("assistant", Self::Conversation | Self::Assistant) => Some(SharedPart::Assistant),
            _ => None,
        }
    }
}

/// Whose words an n-gram is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedPart {
    /// The user's only: the question itself.
    User,
    /// The user's and the assistant's: across the end of a turn, or a whole short record.
    Both,
    /// The assistant's only (all of a text record).
    Assistant,
}

#[derive(Debug, Clone, Copy)]
struct Word {
    start: usize,
    end: usize,
    part: SharedPart,
}

/// One n-gram: its hash, where it stands in the text of its [`Grams`], and its speaker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gram {
    pub(crate) hash: u64,
    pub(crate) part: SharedPart,
    start: usize,
    end: usize,
}

/// The n-grams of one record, in order.
#[derive(Debug)]
pub(crate) struct Grams {
    text: String,
    grams: Vec<Gram>,
}

impl Grams {
    /// The `n`-grams over the turns that count, read one after the other; none runs across the text of a turn that does
    /// not, such as a system prompt.
    ///
    /// A record without any n-gram, because it is shorter, is one gram: all of its text that counts, lower-cased and with white space collapsed, but with its punctuation (without it, `3 + 4` and `3 - 4`
    /// would be one record).
    pub(crate) fn of(record: &Record, n: usize, whose: LeakText) -> Self {
        let mut text = String::new();
        let mut words: Vec<Word> = Vec::new();
        let mut grams: Vec<Gram> = Vec::new();
        let close = |text: &str, words: &mut Vec<Word>, grams: &mut Vec<Gram>| {
            grams.extend(words.windows(n).map(|window| gram(text, window)));
            words.clear();
        };
        for (role, turn) in record.turns() {
            match whose.part(role) {
                Some(part) => push_words(&mut text, &mut words, turn, part),
                None => close(&text, &mut words, &mut grams),
            }
        }
        close(&text, &mut words, &mut grams);
        if grams.is_empty() {
            return Self::whole(record, whose);
        }
        Self { text, grams }
    }

    fn whole(record: &Record, whose: LeakText) -> Self {
        let turns = record.turns().into_iter().filter(|(role, _)| whose.part(role).is_some());
        let text = turns.map(|(_, turn)| turn.to_lowercase()).collect::<Vec<_>>().join(" ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut grams = Vec::new();
        if !text.is_empty() {
            let hash = xxh3_64_with_seed(text.as_bytes(), SHORT_SEED);
            grams.push(Gram { hash, part: SharedPart::Both, start: 0, end: text.len() });
        }
        Self { text, grams }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Gram> {
        self.grams.iter()
    }

    pub(crate) fn text(&self, gram: &Gram) -> &str {
        &self.text[gram.start..gram.end]
    }
}

/// Appends the words of `turn` to `text`, one space between any two.
fn push_words(text: &mut String, words: &mut Vec<Word>, turn: &str, part: SharedPart) {
    for raw in turn.split_whitespace() {
        let before = text.len();
        if before > 0 {
            text.push(' ');
        }
        let start = text.len();
        for letter in raw.chars().filter(|letter| letter.is_alphanumeric()) {
            if letter.is_ascii() {
                text.push(letter.to_ascii_lowercase());
            } else {
                text.extend(letter.to_lowercase());
            }
        }
        if text.len() == start {
            text.truncate(before);
        } else {
            words.push(Word { start, end: text.len(), part });
        }
    }
}

/// The n-gram of a window, which is never empty.
fn gram(text: &str, window: &[Word]) -> Gram {
    let (start, end) = (window[0].start, window[window.len() - 1].end);
    let first = window[0].part;
    let part = if window.iter().all(|word| word.part == first) { first } else { SharedPart::Both };
    Gram { hash: xxh3_64(&text.as_bytes()[start..end]), part, start, end }
}

/// `(hash, record)` of every distinct n-gram of every record, sorted; records are numbered from 0.
pub(crate) fn postings(records: &[Record], n: usize, whose: LeakText) -> Vec<(u64, usize)> {
    let mut postings: Vec<(u64, usize)> = records
        .par_iter()
        .enumerate()
        .flat_map_iter(|(index, record)| {
            let mut hashes: Vec<u64> = Grams::of(record, n, whose).iter().map(|gram| gram.hash).collect();
            hashes.sort_unstable();
            hashes.dedup();
            hashes.into_iter().map(move |hash| (hash, index))
        })
        .collect();
    postings.par_sort_unstable();
    postings
}

/// The largest number of records an n-gram may be in without being boilerplate.
pub(crate) fn common_limit(records: usize, fraction: f64) -> usize {
    // The small term keeps a whole number of records whole: 0.29 · 100 is 28.999999999999996.
    let share = (records as f64 * fraction + 1e-9).floor() as usize;
    share.max(COMMON_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, Message, Origin};

    fn record(body: Body) -> Record {
        Record::new(body, Origin::new("a.jsonl", 1))
    }

    fn grams(body: Body, n: usize) -> Vec<(String, SharedPart)> {
        let grams = Grams::of(&record(body), n, LeakText::Conversation);
        grams.iter().map(|gram| (grams.text(gram).to_owned(), gram.part)).collect()
    }

    fn texts(text: &str, n: usize) -> Vec<String> {
        grams(Body::Text(text.to_owned()), n).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn words_are_lower_case_letters_and_digits() {
        for (text, wanted) in [
            ("One, two; THREE", vec!["one two", "two three"]),
            ("a - b", vec!["a b"]),
            ("12/60 = $0.2 yes!", vec!["1260 02", "02 yes"]),
            ("don\u{2019}t\u{a0}stop", vec!["dont stop"]),
            ("\u{c4}RGER na\u{ef}ve \u{bd}", vec!["\u{e4}rger na\u{ef}ve", "na\u{ef}ve \u{bd}"]),
            ("... !!! a\tb\r\n", vec!["a b"]),
        ] {
            assert_eq!(texts(text, 2), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_short_record_is_one_gram_with_its_punctuation() {
        assert_eq!(texts(" 3 + 4\n= Seven ", 13), ["3 + 4 = seven"]);
        assert_eq!(texts(":)", 13), [":)"]);
        assert_eq!(texts("", 13), Vec::<String>::new());
        // The same characters as a whole record and as an n-gram are different grams.
        let (short, long) = (record(Body::Text("a b".into())), record(Body::Text("a b".into())));
        let grams = |record: &Record, n| Grams::of(record, n, LeakText::Conversation);
        let (short, long) = (grams(&short, 3), grams(&long, 2));
        assert_eq!(short.text(&short.grams[0]), long.text(&long.grams[0]));
        assert_ne!(short.grams[0].hash, long.grams[0].hash);
    }

    #[test]
    fn grams_run_across_turns_but_not_across_system_text() {
        let messages = vec![
            Message::new("system", "s t"),
            Message::new("user", "a b"),
            Message::new("assistant", "c d"),
            Message::new("system", "x"),
            Message::new("user", "e f"),
        ];
        assert_eq!(
            grams(Body::Messages(messages), 2),
            [
                ("a b".to_owned(), SharedPart::User),
                ("b c".to_owned(), SharedPart::Both),
                ("c d".to_owned(), SharedPart::Assistant),
                ("e f".to_owned(), SharedPart::User),
            ]
        );
    }

    #[test]
    fn one_side_of_a_conversation() {
        let messages =
            vec![Message::new("user", "a b"), Message::new("assistant", "C - D"), Message::new("user", "e")];
        let record = record(Body::Messages(messages));
        let texts = |n, whose| {
            let grams = Grams::of(&record, n, whose);
            grams.iter().map(|gram| grams.text(gram).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(2, LeakText::User), ["a b"]);
        assert_eq!(texts(2, LeakText::Assistant), ["c d"]);
        assert_eq!(texts(3, LeakText::User), ["a b e"]);
        assert_eq!(texts(3, LeakText::Assistant), ["c - d"]);
    }

    #[test]
    fn the_common_limit_has_a_floor() {
        for (records, limit) in
            [(0, 5), (2, 5), (500, 5), (599, 5), (600, 6), (1000, 10), (8792, 87), (10_000, 100)]
        {
            assert_eq!(common_limit(records, COMMON_FRACTION), limit, "{records}");
        }
        assert_eq!(common_limit(100, 0.29), 29);
        assert_eq!(common_limit(100, 1.0), 100);
    }
}
