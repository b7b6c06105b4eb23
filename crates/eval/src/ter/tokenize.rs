//! Tercom's normalisation, as sacrebleu 2.6.0 has it.

use super::TerConfig;
use crate::punctuation::{split_stops, split_symbols};
use crate::text::collapse;

pub(super) fn tokenize(text: &str, config: &TerConfig) -> String {
    let mut text = if config.case_sensitive { text.to_owned() } else { text.to_lowercase() };
    if config.normalized {
        text = normalize(&text);
        if config.asian_support {
            text = split_asian(&text);
        }
    }
    if config.no_punct {
        text.retain(|c| !matches!(c, '.' | ',' | '?' | ':' | ';' | '!' | '"' | '(' | ')'));
        if config.asian_support {
            text.retain(|c| !is_asian_punctuation(c));
        }
    }
    collapse(&text)
}

fn normalize(text: &str) -> String {
    // A line break before a hyphen, not after one: sacrebleu's pattern has the two in this order.
    let mut text = text.replace("\n-", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    split_stops(&split_symbols(&format!(" {text} ")).replace("'s ", " 's "))
}

/// Every ideograph is a word. sacrebleu's rules for kana want the text to begin with them, which the space put
/// before it prevents, so kana stay together here too.
fn split_asian(text: &str) -> String {
    let mut out = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if is_ideograph(c) || is_asian_punctuation(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// U+3200 to U+3F22 is sacrebleu's; the block ends at U+32FF.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{31c0}'..='\u{31ef}' | '\u{2e80}'..='\u{2eff}'
        | '\u{3300}'..='\u{33ff}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{3f22}')
}

fn is_asian_punctuation(c: char) -> bool {
    matches!(c,
        '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{ff61}'..='\u{ff65}'
        | '\u{30fb}' | '\u{ff0e}' | '\u{ff0c}' | '\u{ff1f}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff01}' | '\u{ff02}'
        | '\u{ff08}' | '\u{ff09}')
}
