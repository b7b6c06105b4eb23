use encoding_rs::WINDOWS_1252;

use crate::clean::blocks::any;
use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Repairs UTF-8 that was read as Windows-1252 or Latin-1 (`cafÃ©`, `donâ€™t`).
    ///
    /// A run of characters beyond ASCII is read back as bytes; where those are valid UTF-8 and look less like such damage, they replace the run.
    Mojibake = "mojibake" {}
}

impl Rule for Mojibake {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        let mut current: Option<String> = None;
        // Text may have been damaged more than once; each repair has fewer characters, so this ends.
        while let Some(new) = repair(current.as_deref().unwrap_or(text)) {
            current = Some(new);
        }
        current
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        let mut current: Option<String> = None;
        while let Some(new) = repair_runs(current.as_deref().unwrap_or(text)) {
            current = Some(new);
        }
        current
    }
}

/// One round of repair; `None` if nothing is better.
fn repair(text: &str) -> Option<String> {
    // Every damaged character begins with what the bytes C2 to F4 look like: U+00C2 to U+00F4, which UTF-8 begins with C3.
    if any(text.as_bytes(), |b| b == 0xc3) { repair_runs(text) } else { None }
}

/// The same, run by run of characters beyond ASCII.
fn repair_runs(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut is_better = false;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| c.is_ascii()).unwrap_or(rest.len());
        let run = &rest[..end];
        match reread(run).filter(|new| badness(new) < badness(run)) {
            Some(new) => {
                out.push_str(&new);
                is_better = true;
            }
            None => out.push_str(run),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    is_better.then_some(out)
}

/// The characters as the bytes they were, read as UTF-8; `None` if they are none.
fn reread(run: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(run.len());
    for c in run.chars() {
        bytes.push(byte_of(c)?);
    }
    String::from_utf8(bytes).ok()
}

/// The byte that Windows-1252, or Latin-1 where that has none, reads as this character.
fn byte_of(c: char) -> Option<u8> {
    if let '\u{80}'..='\u{ff}' = c {
        return Some(c as u8);
    }
    let mut buffer = [0; 4];
    let (bytes, _, had_errors) = WINDOWS_1252.encode(c.encode_utf8(&mut buffer));
    if had_errors { None } else { bytes.first().copied() }
}

/// Characters that damage leaves and text seldom has, several in a row counting more.
fn badness(run: &str) -> usize {
    let mut score = 0;
    let mut last_lead = false;
    for c in run.chars() {
        let is_trail = matches!(c, '\u{80}'..='\u{bf}')
            || matches!(
                c,
                '€' | '‚'
                    | 'ƒ'
                    | '„'
                    | '…'
                    | '†'
                    | '‡'
                    | 'ˆ'
                    | '‰'
                    | '‹'
                    | '›'
                    | '•'
                    | '˜'
                    | '™'
            )
            || matches!(c, 'Š' | 'š' | 'Œ' | 'œ' | 'Ž' | 'ž' | 'Ÿ' | '‘' | '’' | '“' | '”' | '–' | '—');
        let is_lead = matches!(c, '\u{c2}'..='\u{f4}');
        // A lead with a trail behind it is what one damaged character looks like.
        score += usize::from(last_lead && is_trail) * 4;
        score += usize::from(matches!(c, '\u{80}'..='\u{9f}' | '\u{fffd}')) * 2;
        last_lead = is_lead;
    }
    score
}
