//! Which characters are letters, digits and of which script, as ranges: the regex engine knows Unicode, and asking
//! it once for every character is faster than asking it for each character of a text.

use std::sync::LazyLock;

use regex::Regex;

/// Sorted, disjoint ranges of characters, both ends included.
#[derive(Debug)]
struct Ranges(Vec<(char, char)>);

impl Ranges {
    fn of(class: &str, every: &str) -> Self {
        let runs = Regex::new(&format!("{class}+")).expect("a class written in this file");
        let ends = |run: &str| Some((run.chars().next()?, run.chars().next_back()?));
        Self(runs.find_iter(every).filter_map(|run| ends(run.as_str())).collect())
    }

    fn contains(&self, c: char) -> bool {
        let after = self.0.partition_point(|range| range.0 <= c);
        after > 0 && c <= self.0[after - 1].1
    }
}

#[derive(Debug)]
struct Classes {
    word_letters: Ranges,
    decimal: Ranges,
    letters: Ranges,
    numbers: Ranges,
    unspaced: Ranges,
    scripts: [Ranges; 6],
}

/// The planes that hold letters, digits and marks; what lies between them is unassigned or private.
static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    let every: String = (0..0x4_0000_u32).chain(0xE_0000..0xE_1000).filter_map(char::from_u32).collect();
    let of = |class: &str| Ranges::of(class, &every);
    Classes {
        word_letters: of(r"[\w&&[^\d_]]"),
        decimal: of(r"\d"),
        letters: of(r"\p{L}"),
        numbers: of(r"\p{N}"),
        unspaced: of(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"),
        scripts: ["Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari"]
            .map(|script| of(&format!(r"\p{{{script}}}"))),
    }
});

/// `\w` without digits and the underscore.
pub(super) fn is_word_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { CLASSES.word_letters.contains(c) }
}

/// `\d`: the decimal digits of all scripts.
pub(super) fn is_decimal(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { CLASSES.decimal.contains(c) }
}

/// General category L.
pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { CLASSES.letters.contains(c) }
}

/// General category N.
pub(super) fn is_number(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { CLASSES.numbers.contains(c) }
}

/// A script that puts no spaces between words.
pub(super) fn is_unspaced(c: char) -> bool {
    !c.is_ascii() && CLASSES.unspaced.contains(c)
}

/// The number of the character's script among the six whose letters are grouped into words.
pub(super) fn script(c: char) -> Option<usize> {
    if c.is_ascii() {
        return Some(0);
    }
    CLASSES.scripts.iter().position(|ranges| ranges.contains(c))
}
