//! Text to tokens that know where they stand.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use super::classes;

/// What a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Letters.
    Word,
    /// Digits.
    Number,
    /// Everything else that is not white space.
    Punctuation,
}

/// A token and its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The place in code points.
    pub chars: Range<usize>,
    /// The place in bytes.
    pub bytes: Range<usize>,
    /// What it is made of.
    pub kind: TokenKind,
    /// Whether a line ends between the token before and this one.
    pub after_newline: bool,
}

/// How text is cut into the tokens that chunks and alignments are made of.
///
/// Both rules are those of langextract 1.7.1 (`core/tokenizer.py`); neither changes the text, so places hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WordTokenizer {
    /// Runs of letters, runs of digits, runs of one repeated symbol. A Chinese or Japanese clause is a single
    /// token, so only whole clauses align.
    Regex,
    /// Grapheme clusters: one a token in scripts without spaces (Chinese, Japanese, Korean, Thai, Lao, Khmer,
    /// Burmese), letters of one script grouped, digits grouped, equal symbols grouped.
    #[default]
    Unicode,
}

impl WordTokenizer {
    /// Cuts `text` into tokens.
    ///
    /// ```
    /// use burnisher_data::extract::WordTokenizer;
    ///
    /// let text = "血圧は120/80です";
    /// let words = |tokenizer: WordTokenizer| -> Vec<&str> {
    ///     tokenizer.tokenize(text).into_iter().map(|token| &text[token.bytes]).collect()
    /// };
    /// assert_eq!(words(WordTokenizer::Regex), ["血圧は", "120", "/", "80", "です"]);
    /// assert_eq!(words(WordTokenizer::Unicode), ["血", "圧", "は", "120", "/", "80", "で", "す"]);
    /// ```
    pub fn tokenize(self, text: &str) -> Vec<Token> {
        match self {
            Self::Regex => by_class(text),
            Self::Unicode => by_grapheme(text),
        }
    }
}

fn has_newline(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn by_class(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = text.char_indices().enumerate().peekable();
    while let Some((at, (byte, c))) = chars.next() {
        let kind = if classes::is_decimal(c) {
            TokenKind::Number
        } else if classes::is_word_letter(c) {
            TokenKind::Word
        } else if c.is_whitespace() {
            continue;
        } else {
            TokenKind::Punctuation
        };
        let (mut end, mut end_byte) = (at + 1, byte + c.len_utf8());
        let goes_on = |next: char| match kind {
            TokenKind::Number => classes::is_decimal(next),
            TokenKind::Word => classes::is_word_letter(next),
            TokenKind::Punctuation => next == c,
        };
        while let Some((_, (_, next))) = chars.next_if(|(_, (_, next))| goes_on(*next)) {
            end += 1;
            end_byte += next.len_utf8();
        }
        let after_newline = tokens.last().is_some_and(|last| has_newline(&text[last.bytes.end..byte]));
        tokens.push(Token { chars: at..end, bytes: byte..end_byte, kind, after_newline });
    }
    tokens
}

/// What a word of the grapheme rule may go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Script(usize),
    Number,
    Symbol,
    /// A letter that stands alone.
    Single,
}

fn by_grapheme(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Option<(usize, usize, TokenKind, Group)> = None;
    let mut gap_start = 0;
    let mut close = |open: &mut Option<(usize, usize, TokenKind, Group)>, at: usize, byte: usize| {
        if let Some((start, start_byte, kind, _)) = open.take() {
            let after_newline = has_newline(&text[gap_start..start_byte]);
            tokens.push(Token { chars: start..at, bytes: start_byte..byte, kind, after_newline });
            gap_start = byte;
        }
    };
    let mut at = 0;
    for (byte, cluster) in text.grapheme_indices(true) {
        let first = cluster.chars().next().unwrap_or(' ');
        let here = at;
        at += cluster.chars().count();
        if cluster.chars().all(is_python_space) {
            close(&mut open, here, byte);
            continue;
        }
        let (kind, group) = if classes::is_letter(first) {
            let script = if classes::is_unspaced(first) { None } else { classes::script(first) };
            (TokenKind::Word, script.map_or(Group::Single, Group::Script))
        } else if classes::is_number(first) {
            (TokenKind::Number, Group::Number)
        } else {
            (TokenKind::Punctuation, Group::Symbol)
        };
        let merges = open.is_some_and(|(_, start_byte, _, before)| match group {
            Group::Single => false,
            Group::Symbol => before == group && text[start_byte..byte].ends_with(cluster),
            Group::Script(_) | Group::Number => before == group,
        });
        if !merges {
            close(&mut open, here, byte);
            open = Some((here, byte, kind, group));
        }
    }
    close(&mut open, at, text.len());
    tokens
}

/// White space as Python's `str.isspace` sees it: four separators of ASCII more than Unicode's `White_Space`.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
