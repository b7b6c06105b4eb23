//! Entities by CoNLL's rules, which need no scheme.

use super::TagSpan;
use super::scheme::TagPosition;
use crate::error::EvalError;

/// Splits a tag into its letter and its type.
fn split(tag: &str, position: TagPosition) -> Option<(char, &str)> {
    let (letter, label) = match position {
        TagPosition::Prefix => {
            let letter = tag.chars().next()?;
            let rest = &tag[letter.len_utf8()..];
            (letter, rest.split_once('-').map_or(rest, |(_, label)| label))
        }
        TagPosition::Suffix => {
            let letter = tag.chars().next_back()?;
            let rest = &tag[..tag.len() - letter.len_utf8()];
            (letter, rest.rsplit_once('-').map_or(rest, |(label, _)| label))
        }
    };
    Some((letter, if label.is_empty() { "_" } else { label }))
}

/// Whether the tag has a letter these rules do not know.
pub(super) fn is_foreign(tag: &str, position: TagPosition) -> bool {
    split(tag, position).is_none_or(|(letter, _)| !matches!(letter, 'B' | 'I' | 'E' | 'S' | 'O'))
}

pub(super) fn spans<S: AsRef<str>>(
    sentences: &[Vec<S>],
    position: TagPosition,
) -> Result<Vec<TagSpan>, EvalError> {
    let mut spans = Vec::new();
    let (mut last, mut last_label) = ('O', "");
    for (sentence, tags) in sentences.iter().enumerate() {
        let mut start = 0;
        // The O behind a sentence ends what is open.
        for (token, tag) in tags.iter().map(AsRef::as_ref).chain(["O"]).enumerate() {
            let (letter, label) = split(tag, position).ok_or_else(|| EvalError::Tag {
                sentence,
                token,
                found: tag.to_owned(),
                wanted: "a letter such as B, I or O",
            })?;
            let changed = last_label != label;
            if ends(last, letter, changed) {
                spans.push(TagSpan { sentence, start, end: token, label: last_label.to_owned() });
            }
            if starts(last, letter, changed) {
                start = token;
            }
            (last, last_label) = (letter, label);
        }
    }
    Ok(spans)
}

fn ends(last: char, letter: char, changed: bool) -> bool {
    match last {
        'E' | 'S' => true,
        'B' | 'I' if matches!(letter, 'B' | 'S' | 'O') => true,
        'O' | '.' => false,
        _ => changed,
    }
}

fn starts(last: char, letter: char, changed: bool) -> bool {
    match letter {
        'B' | 'S' => true,
        'E' | 'I' if matches!(last, 'E' | 'S' | 'O') => true,
        'O' | '.' => false,
        _ => changed,
    }
}
