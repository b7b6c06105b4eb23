//! The tagging schemes and what each allows, as seqeval 1.2.2 has them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::TagSpan;
use crate::error::EvalError;

/// A way to mark where entities begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum TagScheme {
    /// I inside; B only where an entity follows one of the same type.
    Iob1,
    /// B begins every entity, I goes on.
    Iob2,
    /// I inside; E only where an entity of the same type follows. seqeval's rules for it are known to miss
    /// entities of one E, and so are these.
    Ioe1,
    /// I inside, E ends every entity.
    Ioe2,
    /// B begins, I goes on, E ends, S is an entity of one token.
    Iobes,
    /// B begins, I goes on, L ends, U is an entity of one token.
    Bilou,
}

/// Where in a tag the letter stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagPosition {
    /// `B-PER`.
    #[default]
    Prefix,
    /// `PER-B`.
    Suffix,
}

/// Letters before, letters now, and whether the two types must be equal (`Some(true)`), must differ or either.
type Pattern = (&'static str, &'static str, Option<bool>);

struct Rules {
    letters: &'static str,
    wanted: &'static str,
    starts: &'static [Pattern],
    inside: &'static [Pattern],
    ends: &'static [Pattern],
}

const SAME: Option<bool> = Some(true);
const DIFFERENT: Option<bool> = Some(false);

const INSIDE_AFTER_B: &[Pattern] = &[("BI", "I", SAME)];

static IOB1: Rules = Rules {
    letters: "IOB",
    wanted: "one that begins with I, O or B",
    starts: &[("OB", "I", None), ("I", "I", DIFFERENT), ("IB", "B", SAME)],
    inside: INSIDE_AFTER_B,
    ends: &[("IB", "I", DIFFERENT), ("IB", "O", None), ("I", "B", None), ("B", "B", SAME)],
};

static IOB2: Rules = Rules {
    letters: "IOB",
    wanted: "one that begins with I, O or B",
    starts: &[("IOBESLU", "B", None)],
    inside: INSIDE_AFTER_B,
    ends: &[("IB", "OB", None), ("IB", "I", DIFFERENT)],
};

static IOE1: Rules = Rules {
    letters: "IOE",
    wanted: "one that begins with I, O or E",
    starts: &[("OE", "I", None), ("I", "I", DIFFERENT), ("E", "E", SAME)],
    inside: &[("I", "IE", SAME)],
    ends: &[("I", "IE", DIFFERENT), ("I", "O", None), ("E", "IE", SAME)],
};

static IOE2: Rules = Rules {
    letters: "IOE",
    wanted: "one that begins with I, O or E",
    starts: &[("OE", "IE", None), ("I", "IE", DIFFERENT)],
    inside: &[("I", "IE", SAME)],
    ends: &[("E", "IOBESLU", None)],
};

static IOBES: Rules = Rules {
    letters: "IOBES",
    wanted: "one that begins with I, O, B, E or S",
    starts: &[("IOBESLU", "BS", None)],
    inside: &[("BI", "IE", SAME)],
    ends: &[("SE", "IOBESLU", None)],
};

static BILOU: Rules = Rules {
    letters: "BILOU",
    wanted: "one that begins with B, I, L, O or U",
    starts: &[("IOBESLU", "BU", None)],
    inside: &[("BI", "IL", SAME)],
    ends: &[("UL", "IOBESLU", None)],
};

impl TagScheme {
    /// All schemes.
    pub const ALL: [Self; 6] = [Self::Iob1, Self::Iob2, Self::Ioe1, Self::Ioe2, Self::Iobes, Self::Bilou];

    fn rules(self) -> &'static Rules {
        match self {
            Self::Iob1 => &IOB1,
            Self::Iob2 => &IOB2,
            Self::Ioe1 => &IOE1,
            Self::Ioe2 => &IOE2,
            Self::Iobes => &IOBES,
            Self::Bilou => &BILOU,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Tag<'a> {
    letter: char,
    label: &'a str,
}

fn split(tag: &str, position: TagPosition) -> Option<Tag<'_>> {
    let (letter, rest) = match position {
        TagPosition::Prefix => {
            let letter = tag.chars().next()?;
            (letter, &tag[letter.len_utf8()..])
        }
        TagPosition::Suffix => {
            let letter = tag.chars().next_back()?;
            (letter, &tag[..tag.len() - letter.len_utf8()])
        }
    };
    let label = rest.trim_matches('-');
    Some(Tag { letter, label: if label.is_empty() { "_" } else { label } })
}

fn fits(patterns: &[Pattern], last: Tag<'_>, tag: Tag<'_>) -> bool {
    patterns.iter().any(|(before, now, same)| {
        before.contains(last.letter)
            && now.contains(tag.letter)
            && same.is_none_or(|same| same == (last.label == tag.label))
    })
}

pub(super) fn spans<S: AsRef<str>>(
    sentences: &[Vec<S>],
    scheme: TagScheme,
    position: TagPosition,
) -> Result<Vec<TagSpan>, EvalError> {
    const OUTSIDE: Tag<'static> = Tag { letter: 'O', label: "_" };
    let rules = scheme.rules();
    let mut spans = Vec::new();
    for (sentence, tags) in sentences.iter().enumerate() {
        let mut parsed = Vec::with_capacity(tags.len() + 1);
        for (token, tag) in tags.iter().map(AsRef::as_ref).enumerate() {
            match split(tag, position).filter(|tag| rules.letters.contains(tag.letter)) {
                Some(tag) => parsed.push(tag),
                None => {
                    let (found, wanted) = (tag.to_owned(), rules.wanted);
                    return Err(EvalError::Tag { sentence, token, found, wanted });
                }
            }
        }
        parsed.push(OUTSIDE);
        let (mut at, mut last) = (0, OUTSIDE);
        while at < parsed.len() {
            let tag = parsed[at];
            if fits(rules.starts, last, tag) {
                let start = at;
                at += 1;
                while at < parsed.len() && fits(rules.inside, parsed[at - 1], parsed[at]) {
                    at += 1;
                }
                if at < parsed.len() && fits(rules.ends, parsed[at - 1], parsed[at]) {
                    spans.push(TagSpan { sentence, start, end: at, label: tag.label.to_owned() });
                }
            } else {
                at += 1;
            }
            last = parsed[at - 1];
        }
    }
    Ok(spans)
}

/// The scheme that the letters of tagged sentences speak for, among IOB2, IOE2, IOBES and BILOU; `None` where
/// they speak for none of these, such as when there is no entity.
pub fn detect_scheme<S: AsRef<str>>(sentences: &[Vec<S>], position: TagPosition) -> Option<TagScheme> {
    let mut letters = BTreeSet::new();
    for tag in sentences.iter().flatten() {
        letters.insert(split(tag.as_ref(), position)?.letter);
    }
    letters.remove(&'O');
    let letters: String = letters.into_iter().collect();
    match letters.as_str() {
        "B" | "BI" => Some(TagScheme::Iob2),
        "E" | "EI" => Some(TagScheme::Ioe2),
        "BE" | "BEI" | "BES" | "BEIS" | "S" => Some(TagScheme::Iobes),
        "BL" | "BIL" | "BLU" | "BILU" | "U" => Some(TagScheme::Bilou),
        _ => None,
    }
}
