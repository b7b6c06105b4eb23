//! Foreign text where a letter could do more than be seen: in terminals, logs and tables.

/// Letters that a terminal obeys, that end a line, or that reorder what stands around them (Unicode's `Bidi_Control`,
/// <https://www.unicode.org/reports/tr9/>).
pub(crate) fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first `most` letters of a text, hidden ones as `\u{…}`.
pub(crate) fn visible(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(most) {
        if is_hidden(letter) { shown.extend(letter.escape_unicode()) } else { shown.push(letter) }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn hidden_letters_become_visible() {
        let rows = [
            ("Grüße, 世界 👩‍🚒", "Grüße, 世界 👩‍🚒"),
            ("\u{1b}[2J\u{9b}2J", "\\u{1b}[2J\\u{9b}2J"),
            ("a\u{202e}b\u{2067}c\r\n", "a\\u{202e}b\\u{2067}c\\u{d}\\u{a}"),
        ];
        for (text, wanted) in rows {
            assert_eq!(super::visible(text, 100), wanted);
        }
        assert_eq!(super::visible("\u{202e}äbc", 2), "\\u{202e}ä");
    }
}
