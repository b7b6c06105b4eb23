use crate::clean::blocks::{any_pair, wide_runs};
use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Tidies white space: runs of spaces, spaces at the end of lines, blank lines, unusual spaces, the two ends.
    WhiteSpace = "white_space" {
        /// Make a run of spaces and tabs inside a line one space; the indent of a line stays.
        runs / with_runs: bool = true,
        /// Most blank lines in a row.
        max_blank_lines / with_max_blank_lines: usize = 2,
        /// Make no-break and other unusual spaces plain ones.
        unusual / with_unusual: bool = true,
        /// Cut white space from both ends of a text, apart from the indent of its first line.
        trim / with_trim: bool = true,
    }
}

/// A space that is neither the plain one nor a line break.
fn is_unusual(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

impl Rule for WhiteSpace {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        let has_unusual = self.unusual && wide_runs(text).any(|run| run.contains(is_unusual));
        if !has_unusual && self.is_tidy(text) { None } else { self.edit_reference(text) }
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        let plain;
        let mut input = text;
        if self.unusual && text.contains(is_unusual) {
            plain = text.replace(is_unusual, " ");
            input = &plain;
        }
        let mut out = String::with_capacity(input.len());
        let mut blank = 0;
        let mut is_first = true;
        for line in input.split('\n') {
            let line = line.trim_end_matches([' ', '\t', '\r']);
            if line.is_empty() {
                blank += 1;
                continue;
            }
            if is_first {
                let kept = if self.trim { 0 } else { blank.min(self.max_blank_lines) };
                out.extend(std::iter::repeat_n('\n', kept));
            } else {
                out.extend(std::iter::repeat_n('\n', blank.min(self.max_blank_lines) + 1));
            }
            (blank, is_first) = (0, false);
            if self.runs { push_line(&mut out, line) } else { out.push_str(line) }
        }
        if !self.trim {
            let kept = if is_first { blank.saturating_sub(1) } else { blank };
            out.extend(std::iter::repeat_n('\n', kept.min(self.max_blank_lines + 1)));
        }
        (out != text).then_some(out)
    }
}

impl WhiteSpace {
    /// A quick look that finds most texts tidy and calls no untidy text so.
    fn is_tidy(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let is_odd =
            |a: u8, b: u8| ((a == b' ') & ((b == b' ') | (b == b'\n'))) | (b == b'\t') | (b == b'\r');
        let is_edge = |b: Option<&u8>| b.is_none_or(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        !is_edge(bytes.first())
            && !is_edge(bytes.last())
            && !any_pair(bytes, is_odd)
            && !self.has_many_blanks(text)
    }

    fn has_many_blanks(&self, text: &str) -> bool {
        let mut blank = 0;
        any_pair(text.as_bytes(), |a, b| (a == b'\n') & (b == b'\n'))
            && text.split('\n').any(|line| {
                blank = if line.is_empty() { blank + 1 } else { 0 };
                blank > self.max_blank_lines
            })
    }
}

/// The line with its indent as it is and each later run of spaces and tabs as one space.
fn push_line(out: &mut String, line: &str) {
    let bytes = line.as_bytes();
    let indent = bytes.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let is_blank = |b: u8| (b == b' ') | (b == b'\t');
    let has_run = bytes[indent..].windows(2).any(|pair| is_blank(pair[0]) & is_blank(pair[1]));
    if !has_run && !line[indent..].contains('\t') {
        out.push_str(line);
        return;
    }
    out.push_str(&line[..indent]);
    let words = line[indent..].split([' ', '\t']).filter(|word| !word.is_empty());
    for (number, word) in words.enumerate() {
        if number > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}
