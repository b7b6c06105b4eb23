//! The rules straight from their definitions, on strings: what the fast code is tested against.

mod c4;
mod gopher_quality;
mod gopher_repetition;
mod lines;

pub(super) use c4::c4;
pub(super) use gopher_quality::gopher_quality;
pub(super) use gopher_repetition::gopher_repetition;
pub(super) use lines::{fineweb, repetition};

use std::collections::HashMap;

use super::chars::{is_odd_break, is_space};

/// Python's `str.split`.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

/// Python's `str.splitlines`.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| c == '\n' || is_odd_break(c)).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let after = &rest[end..];
        let line_break =
            if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = &after[line_break..];
    }
    lines
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Every n words in a row, with `between` between them.
fn ngrams(words: &[&str], n: usize, between: &str) -> Vec<String> {
    if n == 0 { Vec::new() } else { words.windows(n).map(|ngram| ngram.join(between)).collect() }
}

/// How often each item occurs.
fn counts<T: AsRef<str>>(items: &[T]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item.as_ref()).or_default() += 1;
    }
    counts
}

/// The first of the most frequent items and its count.
fn most_frequent<T: AsRef<str>>(items: &[T]) -> Option<(usize, usize)> {
    let counts = counts(items);
    let most = *counts.values().max()?;
    items.iter().position(|item| counts[item.as_ref()] == most).map(|at| (at, most))
}

/// Items that repeat an earlier one, and their characters.
fn repeats(items: &[&str]) -> (usize, usize) {
    let repeated: Vec<&&str> = items
        .iter()
        .enumerate()
        .filter(|(at, item)| items[..*at].contains(item))
        .map(|(_, item)| item)
        .collect();
    (repeated.len(), repeated.iter().map(|item| chars(item)).sum())
}

/// Of items of which there is another copy: how many, and their characters.
fn copies(items: &[&str]) -> (usize, usize) {
    let counts = counts(items);
    let copied: Vec<&&str> = items.iter().filter(|item| counts[**item] > 1).collect();
    (copied.len(), copied.iter().map(|item| chars(item)).sum())
}
