use crate::clean::chars::{is_space, strip};

/// What dolma 1.0.8's tagger `c4_v1` measures in a text, naughty words apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct C4Measures {
    /// Lines between `\n`.
    pub lines: usize,
    /// Lines that do not end in `. ? ! "`.
    pub lines_without_punctuation: usize,
    /// Lines of fewer than three words.
    pub short_lines: usize,
    /// A word is "javascript".
    pub javascript: bool,
    /// A line holds "lorem ipsum".
    pub lorem_ipsum: bool,
    /// There is a `{`.
    pub curly_bracket: bool,
}

impl C4Measures {
    /// Measures a text.
    pub fn of(text: &str) -> Self {
        let mut measures = Self { curly_bracket: text.contains('{'), ..Self::default() };
        for line in text.split('\n') {
            let line = line.to_lowercase();
            let line = strip(&line);
            let words = || line.split(is_space).filter(|word| !word.is_empty());
            measures.lines += 1;
            measures.lines_without_punctuation += usize::from(!line.ends_with(['.', '?', '!', '"']));
            measures.short_lines += usize::from(words().take(3).count() < 3);
            measures.javascript |= words().any(|word| word == "javascript");
            measures.lorem_ipsum |= line.contains("lorem ipsum");
        }
        measures
    }
}
