use crate::clean::blocks::{any_pair, find_pair, wide_runs};
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
        if self.unusual && wide_runs(text).any(|(_, run)| run.contains(is_unusual)) {
            return self.tidy(text, &plain_spaces(text), push_line);
        }
        if self.is_tidy(text) { None } else { self.tidy(text, text, push_line) }
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        let plain = if self.unusual { text.replace(is_unusual, " ") } else { text.to_owned() };
        self.tidy(text, &plain, push_words)
    }
}

/// The text with plain spaces for unusual ones.
fn plain_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, run) in wide_runs(text) {
        out.push_str(&text[from..start]);
        out.push_str(&run.replace(is_unusual, " "));
        from = start + run.len();
    }
    out.push_str(&text[from..]);
    out
}

impl WhiteSpace {
    /// What becomes of `text`, which is `input` but for unusual spaces; `push` writes a line without its runs.
    fn tidy(&self, text: &str, input: &str, push: fn(&mut String, &str)) -> Option<String> {
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
            if self.runs { push(&mut out, line) } else { out.push_str(line) }
        }
        if !self.trim {
            let kept = if is_first { blank.saturating_sub(1) } else { blank };
            out.extend(std::iter::repeat_n('\n', kept.min(self.max_blank_lines.saturating_add(1))));
        }
        (out != text).then_some(out)
    }

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

/// The line, which ends in no space, with its indent as it is and each later run of spaces and tabs as one space.
fn push_line(out: &mut String, line: &str) {
    let bytes = line.as_bytes();
    let is_blank = |b: u8| (b == b' ') | (b == b'\t');
    let blanks = |from: usize| bytes[from..].iter().take_while(|b| is_blank(**b)).count();
    let mut from = 0;
    let mut at = blanks(0);
    while let Some(run) = find_pair(bytes, at, |a, b| (a == b'\t') | (is_blank(a) & is_blank(b))) {
        out.push_str(&line[from..run]);
        out.push(' ');
        at = run + blanks(run);
        from = at;
    }
    out.push_str(&line[from..]);
}

/// The same, word by word.
fn push_words(out: &mut String, line: &str) {
    let rest = line.trim_start_matches([' ', '\t']);
    out.push_str(&line[..line.len() - rest.len()]);
    let words: Vec<&str> = rest.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    out.push_str(&words.join(" "));
}
