//! Tokens as a person reads them, with what is trained made visible.

use std::fmt;

use crate::encode::Encoded;
use crate::error::DataError;
use crate::tokenizer::Tokenizer;

/// How a [`Preview`] shows what is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PreviewStyle {
    /// Between `[trained]` and `[/trained]`, for files and terminals without colours.
    #[default]
    Plain,
    /// Trained text in green, the rest dimmed, by ANSI escape sequences. Whoever prints decides, so that NO_COLOR and
    /// pipes are respected there.
    Ansi,
}

/// A run of tokens that are all trained, or all not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviewRun {
    /// The tokens' text, special tokens included.
    pub text: String,
    /// The number of tokens.
    pub tokens: usize,
    /// Whether they are targets.
    pub is_trained: bool,
}

/// An encoded record as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The runs, in order.
    pub runs: Vec<PreviewRun>,
    /// The number of the record in its set.
    pub index: u64,
}

/// Shows an encoded record. A first token is never a target, as in [`Encoded::target_tokens`].
///
/// Where a border between trained and not trained cuts a character that several tokens spell, the pieces are shown as
/// replacement characters (U+FFFD).
///
/// # Errors
///
/// [`DataError::Tokenizer`] if the decoder refuses the tokens.
pub fn preview(encoded: &Encoded, tokenizer: &Tokenizer) -> Result<Preview, DataError> {
    let trained = |at: usize| at > 0 && encoded.loss_mask[at];
    let mut runs = Vec::new();
    // Decoders look at what stands before, for spaces: a run's text is what it adds to the text so far.
    let mut before = String::new();
    let mut start = 0;
    while start < encoded.len() {
        let length = (start..encoded.len()).take_while(|at| trained(*at) == trained(start)).count();
        let whole = tokenizer.decode(&encoded.ids[..start + length], false)?;
        let text = match whole.strip_prefix(before.as_str()) {
            Some(text) => text.to_owned(),
            None => tokenizer.decode(&encoded.ids[start..start + length], false)?,
        };
        runs.push(PreviewRun { text, tokens: length, is_trained: trained(start) });
        before = whole;
        start += length;
    }
    Ok(Preview { runs, index: encoded.index })
}

impl Preview {
    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        self.runs.iter().map(|run| run.tokens).sum()
    }

    /// The number of targets.
    pub fn target_tokens(&self) -> usize {
        self.runs.iter().filter(|run| run.is_trained).map(|run| run.tokens).sum()
    }

    /// The text with what is trained made visible. Control characters other than line breaks and tabs are shown as
    /// escapes, so that no record can write to the terminal.
    pub fn render(&self, style: PreviewStyle) -> String {
        let mut out = String::new();
        for run in &self.runs {
            let (open, close) = match (style, run.is_trained) {
                (PreviewStyle::Plain, true) => ("[trained]", "[/trained]"),
                (PreviewStyle::Plain, false) => ("", ""),
                (PreviewStyle::Ansi, true) => ("\u{1b}[32m", "\u{1b}[0m"),
                (PreviewStyle::Ansi, false) => ("\u{1b}[2m", "\u{1b}[0m"),
            };
            out.push_str(open);
            for letter in run.text.chars() {
                match letter {
                    '\n' | '\t' => out.push(letter),
                    letter if letter.is_control() => out.extend(letter.escape_unicode()),
                    letter => out.push(letter),
                }
            }
            out.push_str(close);
        }
        out
    }
}

impl fmt::Display for Preview {
    /// A line with the counts, then the plain text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "record {}: {} tokens, {} of them trained",
            self.index,
            self.tokens(),
            self.target_tokens()
        )?;
        f.write_str(&self.render(PreviewStyle::Plain))
    }
}
