use std::collections::HashSet;

use regex::Regex;

use super::{chars, split_lines, words};
use crate::clean::chars::{is_punctuation, strip};
use crate::clean::filter::{Counting, GopherQuality};
use crate::clean::rule::Drop;

/// [`GopherQuality`] of a whole text.
pub(in crate::clean) fn gopher_quality(rule: &GopherQuality, text: &str) -> Option<Drop> {
    let measures = match rule.counting {
        Counting::Datatrove => datatrove(rule, text),
        Counting::Dolma => dolma(rule, text),
    };
    measures.into_iter().find_map(
        |(is_on, is_bad, reason, value)| {
            if is_on && is_bad { Drop::new(reason, value) } else { None }
        },
    )
}

/// Whether a rule is on, whether the text breaks it, the reason and the value.
type Measure = (bool, bool, &'static str, f64);

fn datatrove(rule: &GopherQuality, text: &str) -> Vec<Measure> {
    let words = words(text);
    let solid: Vec<&&str> = words.iter().filter(|word| !word.chars().all(is_punctuation)).collect();
    let count = solid.len() as f64;
    let mut measures = vec![
        (rule.min_words > 0, solid.len() < rule.min_words, "gopher_short_doc", count),
        (rule.max_words > 0, solid.len() > rule.max_words, "gopher_long_doc", count),
    ];
    if words.is_empty() {
        return measures;
    }
    let all = words.len() as f64;
    let mean = solid.iter().map(|word| chars(word)).sum::<usize>() as f64 / count;
    let lines = split_lines(text);
    let share = |found: usize| found as f64 / lines.len().max(1) as f64;
    let bullets = share(lines.iter().filter(|line| strip(line).starts_with(['•', '-'])).count());
    let is_cut = |line: &&&str| strip(line).ends_with("...") || strip(line).ends_with('…');
    let cut = share(lines.iter().filter(is_cut).count());
    let hashes = text.matches('#').count() as f64 / all;
    let ellipses = (text.matches("...").count() + text.matches('…').count()) as f64 / all;
    let letter = Regex::new(r"\p{L}").expect("a constant pattern");
    let lettered = words.iter().filter(|word| letter.is_match(word)).count() as f64 / all;
    let stops: HashSet<&&str> =
        words.iter().filter(|word| rule.stop_words.iter().any(|stop| stop == *word)).collect();
    let symbols = rule.max_symbols_per_word;
    let (least, most) = (rule.min_word_length, rule.max_word_length);
    measures.extend([
        (least > 0.0, mean < least, "gopher_below_avg_threshold", mean),
        (most > 0.0, mean > most, "gopher_above_avg_threshold", mean),
        (symbols > 0.0, hashes > symbols, "gopher_too_many_hashes", hashes),
        (symbols > 0.0, ellipses > symbols, "gopher_too_many_ellipsis", ellipses),
        (rule.max_bullet_lines > 0.0, bullets > rule.max_bullet_lines, "gopher_too_many_bullets", bullets),
        (rule.max_ellipsis_lines > 0.0, cut > rule.max_ellipsis_lines, "gopher_too_many_end_ellipsis", cut),
        (
            rule.min_words_with_letter > 0.0,
            lettered < rule.min_words_with_letter,
            "gopher_below_alpha_threshold",
            lettered,
        ),
        (
            rule.min_stop_words > 0,
            stops.len() < rule.min_stop_words,
            "gopher_enough_stop_words",
            stops.len() as f64,
        ),
    ]);
    measures
}

fn dolma(rule: &GopherQuality, text: &str) -> Vec<Measure> {
    let words = words(text);
    let all = words.len().max(1) as f64;
    let mut lengths: Vec<f64> = words.iter().map(|word| chars(word) as f64).collect();
    lengths.sort_by(f64::total_cmp);
    let middle = |at: usize| lengths.get(at).copied().unwrap_or(0.0);
    let median = f64::midpoint(middle(lengths.len().saturating_sub(1) / 2), middle(lengths.len() / 2));
    let letter = Regex::new(r"\p{L}").expect("a constant pattern");
    let lettered = words.iter().filter(|word| letter.is_match(word)).count() as f64 / all;
    let symbols = words.iter().filter(|word| word.contains(['#', '…'])).count() as f64 / all;
    let stops = words.iter().filter(|word| rule.stop_words.iter().any(|stop| stop == *word)).count();
    let lines: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split('\n').collect() };
    let share = |is_found: fn(&&&str) -> bool| {
        lines.iter().filter(is_found).count() as f64 / lines.len().max(1) as f64
    };
    let bullets = share(|line| line.starts_with(['*', '-']));
    let cut = share(|line| line.ends_with('…'));
    let (least, most) = (rule.min_word_length, rule.max_word_length);
    vec![
        (rule.min_words > 0, words.len() < rule.min_words, "gopher_short_doc", words.len() as f64),
        (rule.max_words > 0, words.len() > rule.max_words, "gopher_long_doc", words.len() as f64),
        (least > 0.0, median < least, "gopher_below_median_threshold", median),
        (most > 0.0, median > most, "gopher_above_median_threshold", median),
        (
            rule.max_symbols_per_word > 0.0,
            symbols > rule.max_symbols_per_word,
            "gopher_too_many_symbols",
            symbols,
        ),
        (rule.max_bullet_lines > 0.0, bullets > rule.max_bullet_lines, "gopher_too_many_bullets", bullets),
        (rule.max_ellipsis_lines > 0.0, cut > rule.max_ellipsis_lines, "gopher_too_many_end_ellipsis", cut),
        (
            rule.min_words_with_letter > 0.0,
            lettered < rule.min_words_with_letter,
            "gopher_below_alpha_threshold",
            lettered,
        ),
        (rule.min_stop_words > 0, stops < rule.min_stop_words, "gopher_enough_stop_words", stops as f64),
    ]
}
