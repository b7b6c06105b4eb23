use crate::clean::blocks::{any, find, wide_runs};
use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Removes control characters other than line feed and tab; `\r\n` and `\r` become `\n`.
    ControlCharacters = "control_characters" {
        /// Remove zero-width spaces and joiners, word joiners, soft hyphens and byte order marks as well.
        zero_width / with_zero_width: bool = true,
        /// Remove the marks that change the direction of text as well.
        bidirectional / with_bidirectional: bool = false,
    }
}

impl ControlCharacters {
    fn removes(&self, c: char) -> bool {
        match c {
            '\n' | '\t' => false,
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
            // Joiners shape Arabic and Indic words and build emoji, so they stay between letters: see `edit`.
            '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => self.zero_width,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                self.bidirectional
            }
            _ => false,
        }
    }
}

impl Rule for ControlCharacters {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        let is_control = |b: u8| ((b < 0x20) & (b != b'\n') & (b != b'\t')) | (b == 0x7f);
        let is_wanted = |c| self.removes(c) || self.is_stray(c);
        let has_any =
            any(text.as_bytes(), is_control) || wide_runs(text).any(|(_, run)| run.chars().any(is_wanted));
        if !has_any {
            return None;
        }
        let bytes = text.as_bytes();
        let is_suspect = |b: u8| is_control(b) | (b >= 0x80);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < bytes.len() {
            if is_suspect(bytes[at]) {
                let mut rest = text[at..].chars();
                let c = rest.next().unwrap_or_default();
                self.push(&mut out, c, rest.next());
                at += c.len_utf8();
            } else {
                let end = find(bytes, at, is_suspect).unwrap_or(bytes.len());
                out.push_str(&text[at..end]);
                at = end;
            }
        }
        (out != text).then_some(out)
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            self.push(&mut out, c, rest.peek().copied());
        }
        (out != text).then_some(out)
    }
}

impl ControlCharacters {
    /// Writes what becomes of a character before `next`.
    fn push(&self, out: &mut String, c: char, next: Option<char>) {
        if c == '\r' {
            if next != Some('\n') {
                out.push('\n');
            }
        } else if self.is_stray(c) {
            if joins(out.chars().next_back()) && joins(next) && !next.is_some_and(|c| self.removes(c)) {
                out.push(c);
            }
        } else if !self.removes(c) {
            out.push(c);
        }
    }
}

impl ControlCharacters {
    /// A joiner, which goes unless it stands between two characters that it can join.
    fn is_stray(&self, c: char) -> bool {
        self.zero_width && matches!(c, '\u{200c}' | '\u{200d}')
    }
}

/// Scripts and symbols in which a joiner has a meaning: everything beyond Latin, Greek and Cyrillic.
fn joins(c: Option<char>) -> bool {
    c.is_some_and(|c| c >= '\u{530}' && !matches!(c, '\u{1e00}'..='\u{206f}'))
}
