//! Rules of lines.

use super::{chars, counts, repeats, words};
use crate::clean::chars::{is_space, is_terminal};
use crate::clean::filter::{FineWeb, Repetition};
use crate::clean::rule::Drop;

/// [`FineWeb`] of a whole text.
pub(in crate::clean) fn fineweb(rule: &FineWeb, text: &str) -> Option<Drop> {
    let lines: Vec<&str> = text.split('\n').filter(|line| !line.chars().all(is_space)).collect();
    if lines.is_empty() {
        return Drop::new("empty", 0.0);
    }
    let share = |found: usize| found as f64 / lines.len() as f64;
    let ended = lines.iter().filter(|line| line.ends_with(is_terminal)).count();
    if share(ended) < rule.min_terminal_lines && !(ended == 0 && rule.allow_no_terminal_line) {
        return Drop::new("line_punct_ratio", share(ended));
    }
    let short = share(lines.iter().filter(|line| chars(line) <= rule.short_line).count());
    if short > rule.max_short_lines {
        return Drop::new("short_line_ratio", short);
    }
    let breaks = text.matches('\n').count();
    let repeated = repeats(&lines).1 as f64 / (chars(text) - breaks) as f64;
    if repeated > rule.max_duplicate_characters {
        return Drop::new("char_dup_ratio", repeated);
    }
    let breaks = breaks as f64 / words(text).len() as f64;
    if breaks > rule.max_breaks_per_word {
        return Drop::new("list_ratio", breaks);
    }
    None
}

/// [`Repetition`] of a whole text.
pub(in crate::clean) fn repetition(rule: &Repetition, text: &str) -> Option<Drop> {
    let characters: Vec<char> = text.chars().collect();
    let runs = characters.chunk_by(|a, b| a == b).filter(|run| !is_space(run[0])).map(<[char]>::len);
    let run = runs.max().unwrap_or(0);
    if rule.max_character_run > 0 && run > rule.max_character_run {
        return Drop::new("character_run", run as f64);
    }
    let words = words(text);
    let run = words.chunk_by(|a, b| a == b).map(<[&str]>::len).max().unwrap_or(0);
    if rule.max_word_run > 0 && run > rule.max_word_run {
        return Drop::new("word_run", rule.max_word_run as f64 + 1.0);
    }
    let lines: Vec<&str> = text.split('\n').filter(|line| !line.trim().is_empty()).collect();
    let most = counts(&lines).into_values().max().unwrap_or(0);
    if rule.max_line_copies > 0 && most > rule.max_line_copies {
        return Drop::new("line_copies", rule.max_line_copies as f64 + 1.0);
    }
    None
}
