//! The four steps by which mteval-v13a and Tercom set punctuation apart.
//!
//! Their patterns name ASCII characters only, so they run over bytes: a byte of a longer character is copied as
//! it is, and nothing is ever put between two bytes of one.

/// Spaces around all ASCII punctuation but `'`, `,`, `-` and `.`.
pub(crate) fn split_symbols(text: &str) -> String {
    rewrite(text, |bytes, out| {
        for byte in bytes {
            match byte {
                b' '..=b'&' | b'('..=b'+' | b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~' => {
                    out.extend([b' ', *byte, b' ']);
                }
                _ => out.push(*byte),
            }
        }
    })
}

/// Sets full stop and comma apart unless between digits, and a dash that follows a digit.
pub(crate) fn split_stops(text: &str) -> String {
    let text = rewrite(text, |bytes, out| {
        pairs(bytes, out, |first, second| {
            (!first.is_ascii_digit() && is_stop(second)).then_some([first, b' ', second, b' '])
        });
    });
    let text = rewrite(&text, |bytes, out| {
        pairs(bytes, out, |first, second| {
            (is_stop(first) && !second.is_ascii_digit()).then_some([b' ', first, b' ', second])
        });
    });
    rewrite(&text, |bytes, out| {
        pairs(bytes, out, |first, second| {
            (first.is_ascii_digit() && second == b'-').then_some([first, b' ', b'-', b' '])
        });
    })
}

fn is_stop(byte: u8) -> bool {
    matches!(byte, b'.' | b',')
}

/// Replaces pairs of bytes from left to right, none of them twice.
fn pairs(bytes: &[u8], out: &mut Vec<u8>, replace: impl Fn(u8, u8) -> Option<[u8; 4]>) {
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        match bytes.get(at + 1).and_then(|second| replace(*first, *second)) {
            Some(four) => {
                out.extend(four);
                at += 2;
            }
            None => {
                out.push(*first);
                at += 1;
            }
        }
    }
}

fn rewrite(text: &str, write: impl FnOnce(&[u8], &mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(text.len() + text.len() / 2 + 8);
    write(text.as_bytes(), &mut out);
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    proptest! {
        #[test]
        fn the_byte_steps_are_the_patterns(text in "[ -~éß電.,0-9-]{0,40}") {
            let mut wanted = text.clone();
            for (find, put) in [
                (r"([\{-~\[-` -\&\(-\+:-@/])", " $1 "),
                (r"([^0-9])([.,])", "$1 $2 "),
                (r"([.,])([^0-9])", " $1 $2"),
                (r"([0-9])(-)", "$1 $2 "),
            ] {
                wanted = Regex::new(find).unwrap().replace_all(&wanted, put).into_owned();
            }
            prop_assert_eq!(split_stops(&split_symbols(&text)), wanted);
        }
    }
}
