use super::gopher_repetition::repeats;
use crate::clean::chars::{is_space, is_terminal};
use crate::clean::reference;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// FineWeb's own rules (Penedo et al. 2024, arXiv 2406.17557) as datatrove 0.10.1 has them, over words between white space.
    FineWeb = "fineweb" {
        /// Least share of lines that end in a mark that ends sentences, in any script.
        min_terminal_lines / with_min_terminal_lines: f64 = 0.12,
        /// Let texts pass in which no line ends so.
        allow_no_terminal_line / with_allow_no_terminal_line: bool = false,
        /// Greatest share of short lines.
        max_short_lines / with_max_short_lines: f64 = 0.67,
        /// Characters of the longest short line.
        short_line / with_short_line: usize = 30,
        /// Greatest share of characters in lines that repeat an earlier one.
        max_duplicate_characters / with_max_duplicate_characters: f64 = 0.01,
        /// Most line breaks per word.
        max_breaks_per_word / with_max_breaks_per_word: f64 = 0.3,
    }
}

impl Rule for FineWeb {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, table, _) = scratch.analysis(text);
        let part = |start: u32, end: u32| &text[start as usize..end as usize];
        let filled =
            || analysis.lines.iter().filter(|line| !part(line.start, line.end).chars().all(is_space));
        let (mut terminal, mut short) = (0usize, 0usize);
        for line in filled() {
            terminal += usize::from(part(line.start, line.end).ends_with(is_terminal));
            short += usize::from(line.chars as usize <= self.short_line);
        }
        let breaks = analysis.lines.len() - 1;
        let (lines, found) = repeats(filled(), breaks + 1, table);
        if lines == 0 {
            return Drop::new("empty", 0.0);
        }
        let ratio = terminal as f64 / lines as f64;
        if ratio < self.min_terminal_lines && !(terminal == 0 && self.allow_no_terminal_line) {
            return Drop::new("line_punct_ratio", ratio);
        }
        let ratio = short as f64 / lines as f64;
        if ratio > self.max_short_lines {
            return Drop::new("short_line_ratio", ratio);
        }
        let ratio = found.chars as f64 / (analysis.chars - breaks) as f64;
        if ratio > self.max_duplicate_characters {
            return Drop::new("char_dup_ratio", ratio);
        }
        let ratio = breaks as f64 / analysis.words.len() as f64;
        if ratio > self.max_breaks_per_word {
            return Drop::new("list_ratio", ratio);
        }
        None
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        reference::fineweb(self, text)
    }
}
