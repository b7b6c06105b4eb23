use serde::{Deserialize, Serialize};

use crate::clean::analysis::Analysis;
use crate::clean::blocks::{any_pair, count};
use crate::clean::chars::{LETTER, SOLID, is_space};
use crate::clean::reference;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

/// Whose way of counting a Gopher filter follows. The two differ in ways that change verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// datatrove 0.10.1, which made FineWeb: mean word length, distinct stop words, repeats after the first.
    #[default]
    Datatrove,
    /// dolma 1.0.8: median word length, occurrences of stop words, all copies of what repeats.
    Dolma,
}

settings! {
    /// Gopher's quality rules (Rae et al. 2021, arXiv 2112.11446, table A1) over words between white space.
    GopherQuality = "gopher_quality" {
        /// Whose counting: `datatrove` or `dolma`.
        counting / with_counting: Counting = Counting::Datatrove,
        /// Fewest words (with datatrove: that are more than punctuation); 0 is off.
        min_words / with_min_words: usize = 50,
        /// Most words; 0 is off.
        max_words / with_max_words: usize = 100_000,
        /// Least mean (dolma: median) word length in characters; 0 is off.
        min_word_length / with_min_word_length: f64 = 3.0,
        /// Greatest mean (dolma: median) word length in characters; 0 is off.
        max_word_length / with_max_word_length: f64 = 10.0,
        /// Most `#` and most ellipses per word; 0 is off.
        max_symbols_per_word / with_max_symbols_per_word: f64 = 0.1,
        /// Greatest share of lines that begin with a bullet; 0 is off.
        max_bullet_lines / with_max_bullet_lines: f64 = 0.9,
        /// Greatest share of lines that end with an ellipsis; 0 is off.
        max_ellipsis_lines / with_max_ellipsis_lines: f64 = 0.3,
        /// Least share of words with a letter; 0 is off.
        min_words_with_letter / with_min_words_with_letter: f64 = 0.8,
        /// Fewest stop words (datatrove: distinct ones); 0 is off.
        min_stop_words / with_min_stop_words: usize = 2,
        /// The stop words; case counts.
        stop_words / with_stop_words: Vec<String> =
            ["the", "be", "to", "of", "and", "that", "have", "with"].map(String::from).to_vec(),
    }
}

impl Rule for GopherQuality {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        match self.counting {
            Counting::Datatrove => self.check_datatrove(text, scratch),
            Counting::Dolma => self.check_dolma(text, scratch),
        }
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        reference::gopher_quality(self, text)
    }
}

impl GopherQuality {
    fn check_datatrove(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let (analysis, ..) = scratch.analysis(text);
        let words = &analysis.words;
        let (mut solid, mut solid_chars, mut lettered) = (0usize, 0u64, 0usize);
        for word in words {
            if word.classes & SOLID != 0 {
                solid += 1;
                solid_chars += u64::from(word.chars);
            }
            lettered += usize::from(word.classes & LETTER != 0);
        }
        if self.min_words > 0 && solid < self.min_words {
            return Drop::new("gopher_short_doc", solid as f64);
        }
        if self.max_words > 0 && solid > self.max_words {
            return Drop::new("gopher_long_doc", solid as f64);
        }
        // No word at all: the reference's mean is not a number there, and all that follows divides by zero.
        if words.is_empty() {
            return None;
        }
        let mean = solid_chars as f64 / solid as f64;
        if self.min_word_length > 0.0 && mean < self.min_word_length {
            return Drop::new("gopher_below_avg_threshold", mean);
        }
        if self.max_word_length > 0.0 && mean > self.max_word_length {
            return Drop::new("gopher_above_avg_threshold", mean);
        }
        let all = words.len() as f64;
        if self.max_symbols_per_word > 0.0 {
            let hashes = count(text.as_bytes(), |b| b == b'#') as f64 / all;
            if hashes > self.max_symbols_per_word {
                return Drop::new("gopher_too_many_hashes", hashes);
            }
            let ellipses = count_ellipses(text, analysis.non_ascii) as f64 / all;
            if ellipses > self.max_symbols_per_word {
                return Drop::new("gopher_too_many_ellipsis", ellipses);
            }
        }
        let (bullets, ellipses) = self.line_shares(text, analysis);
        if self.max_bullet_lines > 0.0 && bullets > self.max_bullet_lines {
            return Drop::new("gopher_too_many_bullets", bullets);
        }
        if self.max_ellipsis_lines > 0.0 && ellipses > self.max_ellipsis_lines {
            return Drop::new("gopher_too_many_end_ellipsis", ellipses);
        }
        let lettered = lettered as f64 / all;
        if self.min_words_with_letter > 0.0 && lettered < self.min_words_with_letter {
            return Drop::new("gopher_below_alpha_threshold", lettered);
        }
        if self.min_stop_words > 0 {
            let found = self.distinct_stop_words(text, analysis);
            if found < self.min_stop_words {
                return Drop::new("gopher_enough_stop_words", found as f64);
            }
        }
        None
    }

    /// Shares of lines that begin with a bullet and that end with an ellipsis.
    fn line_shares(&self, text: &str, analysis: &Analysis) -> (f64, f64) {
        let (mut lines, mut bullets, mut ellipses) = (0usize, 0usize, 0usize);
        analysis.each_line(text, |_, line| {
            lines += 1;
            bullets += usize::from(line.trim_start_matches(is_space).starts_with(['•', '-']));
            let line = line.trim_end_matches(is_space);
            ellipses += usize::from(line.ends_with("...") || line.ends_with('…'));
        });
        let lines = lines.max(1) as f64;
        (bullets as f64 / lines, ellipses as f64 / lines)
    }

    /// Counts distinct stop words, up to the number that is wanted.
    fn distinct_stop_words(&self, text: &str, analysis: &Analysis) -> usize {
        let longest = self.stop_words.iter().map(String::len).max().unwrap_or(0);
        let mut found: Vec<&str> = Vec::new();
        for word in &analysis.words {
            if (word.end - word.start) as usize > longest {
                continue;
            }
            let word = &text[word.start as usize..word.end as usize];
            if self.stop_words.iter().any(|stop| stop == word) && !found.contains(&word) {
                found.push(word);
                if found.len() >= self.min_stop_words {
                    break;
                }
            }
        }
        found.len()
    }

    fn check_dolma(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        let measures = super::dolma::quality(text, scratch, &self.stop_words);
        let words = measures.words;
        if self.min_words > 0 && words < self.min_words {
            return Drop::new("gopher_short_doc", words as f64);
        }
        if self.max_words > 0 && words > self.max_words {
            return Drop::new("gopher_long_doc", words as f64);
        }
        for (is_on, is_bad, reason, value) in [
            (
                self.min_word_length > 0.0,
                measures.median_word_length < self.min_word_length,
                "gopher_below_median_threshold",
                measures.median_word_length,
            ),
            (
                self.max_word_length > 0.0,
                measures.median_word_length > self.max_word_length,
                "gopher_above_median_threshold",
                measures.median_word_length,
            ),
            (
                self.max_symbols_per_word > 0.0,
                measures.symbols_per_word > self.max_symbols_per_word,
                "gopher_too_many_symbols",
                measures.symbols_per_word,
            ),
            (
                self.max_bullet_lines > 0.0,
                measures.bullet_lines > self.max_bullet_lines,
                "gopher_too_many_bullets",
                measures.bullet_lines,
            ),
            (
                self.max_ellipsis_lines > 0.0,
                measures.ellipsis_lines > self.max_ellipsis_lines,
                "gopher_too_many_end_ellipsis",
                measures.ellipsis_lines,
            ),
            (
                self.min_words_with_letter > 0.0,
                measures.words_with_letter < self.min_words_with_letter,
                "gopher_below_alpha_threshold",
                measures.words_with_letter,
            ),
            (
                self.min_stop_words > 0,
                measures.stop_words < self.min_stop_words,
                "gopher_enough_stop_words",
                measures.stop_words as f64,
            ),
        ] {
            if is_on && is_bad {
                return Drop::new(reason, value);
            }
        }
        None
    }
}

/// `...` without overlap, and `…`.
fn count_ellipses(text: &str, non_ascii: bool) -> usize {
    let wide = if non_ascii { text.matches('…').count() } else { 0 };
    let has_dots = any_pair(text.as_bytes(), |a, b| (a == b'.') & (b == b'.'));
    wide + if has_dots { text.matches("...").count() } else { 0 }
}
