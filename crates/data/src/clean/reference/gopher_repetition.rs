use super::{chars, copies, counts, most_frequent, ngrams, repeats, words};
use crate::clean::chars::strip;
use crate::clean::filter::{Counting, GopherRepetition};
use crate::clean::rule::Drop;

/// [`GopherRepetition`] of a whole text.
pub(in crate::clean) fn gopher_repetition(rule: &GopherRepetition, text: &str) -> Option<Drop> {
    if text.is_empty() {
        return Drop::new("empty", 0.0);
    }
    match rule.counting {
        Counting::Datatrove => datatrove(rule, text),
        Counting::Dolma => dolma(rule, text),
    }
}

/// A measure above its limit; a limit of 0 is off.
fn above(value: f64, limit: f64, reason: &'static str) -> Option<Drop> {
    if limit > 0.0 && value > limit { Drop::new(reason, value) } else { None }
}

fn datatrove(rule: &GopherRepetition, text: &str) -> Option<Drop> {
    let all = chars(text) as f64;
    let paragraphs = split_at_runs(strip(text), "\n\n");
    let (items, characters) = repeats(&paragraphs);
    let drop = above(items as f64 / paragraphs.len() as f64, rule.max_duplicate_paragraphs, "dup_para_frac")
        .or_else(|| {
            let limit = rule.max_duplicate_paragraph_characters;
            above(characters as f64 / all, limit, "dup_para_char_frac")
        });
    if drop.is_some() {
        return drop;
    }
    let lines = split_at_runs(text, "\n");
    let (items, characters) = repeats(&lines);
    let drop =
        above(items as f64 / lines.len() as f64, rule.max_duplicate_lines, "dup_line_frac").or_else(|| {
            let limit = rule.max_duplicate_line_characters;
            above(characters as f64 / all, limit, "dup_line_char_frac")
        });
    if drop.is_some() {
        return drop;
    }
    let words = words(text);
    for &(n, limit) in &rule.top_ngrams {
        let ngrams = ngrams(&words, n, " ");
        if let Some((at, count)) = most_frequent(&ngrams) {
            let share = (chars(&ngrams[at]) * count) as f64 / all;
            if share > limit {
                return Drop::new(format!("top_{n}_gram"), share);
            }
        }
    }
    for &(n, limit) in &rule.duplicate_ngrams {
        let share = repeated(&ngrams(&words, n, ""), n) as f64 / all;
        if share > limit {
            return Drop::new(format!("duplicated_{n}_n_grams"), share);
        }
    }
    None
}

/// Characters of n-grams that repeat an earlier one; after a repeat its n words are skipped.
fn repeated(ngrams: &[String], n: usize) -> usize {
    let (mut at, mut seen, mut found) = (0, Vec::new(), 0);
    while let Some(ngram) = ngrams.get(at) {
        if seen.contains(&ngram) {
            found += chars(ngram);
            at += n;
        } else {
            seen.push(ngram);
            at += 1;
        }
    }
    found
}

/// The parts between breaks of a text, a break being `mark` and every `\n` behind it.
fn split_at_runs<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        parts.push(&rest[..at]);
        rest = rest[at..].trim_start_matches('\n');
    }
    parts.push(rest);
    parts
}

fn dolma(rule: &GopherRepetition, text: &str) -> Option<Drop> {
    let lines: Vec<&str> = text.split('\n').collect();
    let words = words(text);
    let solid = chars(&words.concat()).max(1) as f64;
    let (items, characters) = copies(&lines);
    let drop =
        above(items as f64 / lines.len() as f64, rule.max_duplicate_lines, "dup_line_frac").or_else(|| {
            above(characters as f64 / solid, rule.max_duplicate_line_characters, "dup_line_char_frac")
        });
    if drop.is_some() {
        return drop;
    }
    for &(n, limit) in &rule.top_ngrams {
        let top = most_frequent(&ngrams(&words, n, " "));
        let share =
            top.map_or(0.0, |(at, count)| (count * chars(&words[at..at + n].concat())) as f64 / solid);
        if share > limit {
            return Drop::new(format!("top_{n}_gram"), share);
        }
    }
    for &(n, limit) in &rule.duplicate_ngrams {
        let ngrams = ngrams(&words, n, " ");
        let counts = counts(&ngrams);
        // Without the n - 1 spaces.
        let length = |ngram: &&String| chars(ngram) + 1 - n;
        let all: usize = ngrams.iter().map(|ngram| length(&ngram)).sum();
        let copied: usize =
            ngrams.iter().filter(|ngram| counts[ngram.as_str()] > 1).map(|ngram| length(&ngram)).sum();
        let share = copied as f64 / all.max(1) as f64;
        if share > limit {
            return Drop::new(format!("duplicated_{n}_n_grams"), share);
        }
    }
    None
}
