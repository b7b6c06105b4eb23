//! JSON by hand, as far as common lines need it.

use serde_json::Value;

/// Levels of lists and objects in a value, beyond which the reference, which has a limit, reads the line.
const LEVELS: usize = 100;

/// Goes through the JSON of a line. `None` is no judgement: it leaves the line to the reference.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is not white space; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.at += blank.unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes past `byte`, which must be next.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Goes past the comma after an element, true, or past the bracket that closes the list or object.
    pub(super) fn has_more(&mut self, close: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        (byte == b',' || byte == close).then_some(byte == b',')
    }

    /// The string that is next, in the scratch if it has escapes.
    pub(super) fn string<'s>(&mut self, scratch: &'s mut String) -> Option<&'s str>
    where
        'a: 's,
    {
        self.take(b'"')?;
        let first = self.at;
        let mut start = first;
        scratch.clear();
        loop {
            let rest = self.text.as_bytes().get(start..)?;
            let end = start + run(rest)?;
            match self.text.as_bytes()[end] {
                b'"' if start == first => {
                    self.at = end + 1;
                    return Some(&self.text[start..end]);
                }
                b'"' => {
                    self.at = end + 1;
                    scratch.push_str(&self.text[start..end]);
                    return Some(scratch);
                }
                b'\\' => scratch.push_str(&self.text[start..end]),
                _ => return None,
            }
            scratch.push(match self.text.as_bytes().get(end + 1)? {
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                escaped @ (b'"' | b'\\' | b'/') => char::from(*escaped),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                _ => {
                    // Escapes by number are pairs at times.
                    self.at = first - 1;
                    *scratch = self.parsed()?;
                    return Some(scratch);
                }
            });
            start = end + 2;
        }
    }

    /// The string that is next, or null.
    pub(super) fn text(&mut self, scratch: &mut String) -> Option<Option<String>> {
        if self.peek()? == b'"' {
            return self.string(scratch).map(|text| Some(text.to_owned()));
        }
        self.text[self.at..].starts_with("null").then(|| self.at += "null".len())?;
        Some(None)
    }

    /// The value that is next.
    pub(super) fn value(&mut self, scratch: &mut String) -> Option<Value> {
        if self.peek()? == b'"' {
            return self.string(scratch).map(Value::from);
        }
        let value = self.parsed()?;
        (levels(&value) <= LEVELS).then_some(value)
    }

    /// The value that is next, as the reference reads it.
    fn parsed<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many bytes stand before the first one that a JSON string does not have as it is: a quote, a backslash, a control
/// character. Eight are looked at together: `(x - 0x01…) & !x & 0x80…` marks the bytes of `x` that are 0, and at times
/// bytes behind the first of them.
fn run(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let escape = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = (quote | escape | below(word, b' ')) & HIGH;
        if found != 0 {
            return Some(8 * number + found.trailing_zeros() as usize / 8);
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    rest.iter().position(special).map(|at| bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn runs_end_at_every_place() {
        for special in [0_u8, 9, 31, b'"', b'\\'] {
            for place in 0..20 {
                let mut bytes = [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff, 0xa2, 0xdc].repeat(3);
                assert_eq!(run(&bytes), None);
                bytes[place] = special;
                assert_eq!(run(&bytes), Some(place), "{special} at {place}");
                bytes[place + 1] = b'"';
                assert_eq!(run(&bytes), Some(place), "{special} at {place}");
            }
        }
    }
}
