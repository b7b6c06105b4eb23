use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::is_combining_mark;

use super::simplify::simplify_text;

/// What counts as a word of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WordRule {
    /// Runs of letters, digits, marks and `_`, lower-cased. In scripts that are written without spaces (Han, kana,
    /// Thai, Lao, Khmer, Burmese) each letter is a word of its own.
    #[default]
    Letters,
    /// `re.split(r"\W", text.lower())` of Python, without empty words, as text-dedup splits.
    NonWord,
    /// [`simplify_text`] split at white space. datatrove itself splits the simplified text with spaCy.
    Simplified,
}

impl WordRule {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::NonWord => "non-word",
            Self::Simplified => "simplified",
        }
    }
}

/// The words of one text, in one buffer that is used again for the next text.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The words, lower-cased, in order, with at least one space between any two.
    form: Vec<u8>,
    /// Start and end of each word in `form`.
    spans: Vec<(usize, usize)>,
}

impl Words {
    /// Reads the words of `text`.
    pub(crate) fn fill(&mut self, text: &str, rule: WordRule) {
        self.clear();
        match rule {
            WordRule::Letters if text.is_ascii() => self.fill_ascii(text.as_bytes()),
            WordRule::Letters => self.fill_letters(&text.to_lowercase()),
            WordRule::NonWord => {
                for word in PYTHON_WORD.find_iter(&text.to_lowercase()) {
                    self.push(word.as_str().as_bytes());
                }
            }
            WordRule::Simplified => {
                for word in simplify_text(text).split_whitespace() {
                    self.push(word.as_bytes());
                }
            }
        }
    }

    /// Reads a text that is too short for a shingle of words: lower-cased, white space collapsed, punctuation
    /// kept, since without it `3 + 4` and `3 - 4` would be one text.
    pub(crate) fn fill_whole(&mut self, text: &str) {
        self.clear();
        for word in text.to_lowercase().split_whitespace() {
            self.push(word.as_bytes());
        }
    }

    /// Leaves one space between any two words, and nothing else, in [`form`](Self::form).
    pub(crate) fn join(&mut self) {
        let mut end = 0;
        for (number, span) in self.spans.iter_mut().enumerate() {
            if number > 0 {
                self.form[end] = b' ';
                end += 1;
            }
            self.form.copy_within(span.0..span.1, end);
            *span = (end, end + span.1 - span.0);
            end = span.1;
        }
        self.form.truncate(end);
    }

    /// The buffer that the words are in; after [`join`](Self::join) all words with one space between any two.
    pub(crate) fn form(&self) -> &[u8] {
        &self.form
    }

    /// Start and end of each word in [`form`](Self::form).
    pub(crate) fn spans(&self) -> &[(usize, usize)] {
        &self.spans
    }

    fn clear(&mut self) {
        self.form.clear();
        self.spans.clear();
    }

    fn push(&mut self, word: &[u8]) {
        let start = self.form.len();
        self.form.extend_from_slice(word);
        self.close(start);
    }

    /// Ends the word that began at `start`, unless it is empty.
    fn close(&mut self, start: usize) {
        let end = self.form.len();
        if end > start {
            self.spans.push((start, end));
            self.form.push(b' ');
        }
    }

    /// Lower-cases all bytes, then finds the words 64 bytes at a time: nothing is decided byte by byte.
    fn fill_ascii(&mut self, text: &[u8]) {
        self.form.extend(text.iter().map(|byte| lower_or_space(*byte)));
        let mut start = None;
        let mut inside = 0;
        for (block, bytes) in self.form.chunks(64).enumerate() {
            let word = word_bits(bytes);
            let mut edges = word ^ (word << 1 | inside);
            inside = word >> 63;
            while edges != 0 {
                let place = 64 * block + edges.trailing_zeros() as usize;
                edges &= edges - 1;
                start = match start {
                    None => Some(place),
                    Some(start) => {
                        self.spans.push((start, place));
                        None
                    }
                };
            }
        }
        self.spans.extend(start.map(|start| (start, self.form.len())));
    }

    fn fill_letters(&mut self, lower: &str) {
        let mut start = 0;
        let mut bytes = [0; 4];
        // Whether the word that began is one letter of a script without spaces.
        let mut lone = false;
        for letter in lower.chars() {
            let mark = is_combining_mark(letter);
            let part = mark || letter.is_alphanumeric() || letter == '_';
            let alone = part && !mark && is_unspaced(letter);
            if self.form.len() > start && (!part || alone || (lone && !mark)) {
                self.close(start);
                start = self.form.len();
            }
            if part {
                self.form.extend_from_slice(letter.encode_utf8(&mut bytes).as_bytes());
                if !mark {
                    lone = alone;
                }
            }
        }
        self.close(start);
    }
}

/// The lower case of an ASCII letter, digit or `_`; a space for the others.
fn lower_or_space(byte: u8) -> u8 {
    let lower = byte.to_ascii_lowercase();
    if lower.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'_') { lower } else { b' ' }
}

/// One bit for each of up to 64 bytes that is not a space: unlike a space, letters and `_` have bit 6 and
/// digits have bit 4.
fn word_bits(bytes: &[u8]) -> u64 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    eights.iter().chain((!rest.is_empty()).then_some(&last)).enumerate().fold(0, |bits, (number, eight)| {
        let letters = u64::from_le_bytes(*eight);
        let low = (letters >> 4 | letters >> 6) & 0x0101_0101_0101_0101;
        // The product gathers the eight low bits in the highest byte.
        bits | (low.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * number)
    })
}

/// Python's `\w`: letters, numbers and `_`, without marks.
static PYTHON_WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("the pattern is valid"));

/// Whether the letter belongs to a script that is written without spaces between words.
fn is_unspaced(letter: char) -> bool {
    matches!(
        letter,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3005}'..='\u{3007}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff66}'..='\u{ff9f}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, rule: WordRule) -> Vec<String> {
        let mut words = Words::default();
        words.fill(text, rule);
        words.join();
        let form = String::from_utf8(words.form().to_vec()).unwrap();
        words.spans().iter().map(|(start, end)| form[*start..*end].to_owned()).collect()
    }

    #[test]
    fn words_are_lower_case_letters_digits_and_marks() {
        for (text, wanted) in [
            ("", vec![]),
            ("... !!", vec![]),
            ("One, two; THREE_4", vec!["one", "two", "three_4"]),
            ("ÄRGER naïve", vec!["ärger", "naïve"]),
            ("e\u{301}te\u{301}", vec!["e\u{301}te\u{301}"]),
            ("नर्स ने", vec!["नर्स", "ने"]),
            ("护士 met 病人。", vec!["护", "士", "met", "病", "人"]),
            ("が x か\u{3099}く", vec!["が", "x", "か\u{3099}", "く"]),
            ("7時30分", vec!["7", "時", "30", "分"]),
        ] {
            assert_eq!(words(text, WordRule::Letters), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn ascii_is_read_as_any_other_text(text in "[ -~\t\n]{0,200}|([a-zA-Z0-9_]{1,70}[ ,]{1,3}){0,9}") {
            let mut other = Words::default();
            other.fill_letters(&text.to_lowercase());
            other.join();
            let mut ascii = Words::default();
            ascii.fill_ascii(text.as_bytes());
            ascii.join();
            prop_assert_eq!((ascii.form, ascii.spans), (other.form, other.spans));
        }
    }

    #[test]
    fn python_splits_at_marks() {
        assert_eq!(words("It's ÄB_c नर्स", WordRule::NonWord), ["it", "s", "äb_c", "नर", "स"]);
        assert_eq!(words("It's 7.5 - ok", WordRule::Simplified), ["it", "s", "0", "ok"]);
    }
}
