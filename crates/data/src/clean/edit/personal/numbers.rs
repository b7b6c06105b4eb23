//! What begins with digits: addresses, cards, accounts, telephones.

use super::{Find, Kind, is_word, run_end};

/// Digits of the groups in which cards are written.
const CARDS: [&[usize]; 9] =
    [&[4, 4, 4, 4], &[4, 6, 5], &[4, 4, 4, 4, 3], &[16], &[15], &[13], &[14], &[18], &[19]];

/// What the digits from `at` on are, if anything that is wanted.
pub(super) fn find(bytes: &[u8], at: usize, floor: usize, is_on: impl Fn(Kind) -> bool) -> Option<Find> {
    let before = if at > floor { bytes[at - 1] } else { b' ' };
    if is_word(before) {
        return if is_on(Kind::Iban) { iban(bytes, at, floor) } else { None };
    }
    let is_decimal = at >= floor + 2 && matches!(before, b'.' | b',') && bytes[at - 2].is_ascii_digit();
    if is_decimal {
        return None;
    }
    let kinds: [(Kind, fn(&[u8], usize, usize) -> Option<Find>); 3] =
        [(Kind::Ipv4, ipv4), (Kind::CreditCard, card), (Kind::Phone, phone)];
    kinds.iter().find_map(|(kind, find)| if is_on(*kind) { find(bytes, at, floor) } else { None })
}

fn ends_word(bytes: &[u8], end: usize) -> bool {
    bytes.get(end).is_none_or(|b| !is_word(*b))
}

fn is_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

fn ipv4(bytes: &[u8], at: usize, _floor: usize) -> Option<Find> {
    let mut end = at;
    for group in 0..4 {
        if group > 0 {
            if bytes.get(end) != Some(&b'.') {
                return None;
            }
            end += 1;
        }
        let start = end;
        end = run_end(bytes, start, |b| b.is_ascii_digit());
        let value: u16 = match end - start {
            1..=3 => std::str::from_utf8(&bytes[start..end]).ok()?.parse().ok()?,
            _ => return None,
        };
        if value > 255 {
            return None;
        }
    }
    let is_longer = bytes.get(end) == Some(&b'.') && is_digit(bytes, end + 1);
    (ends_word(bytes, end) && !is_longer).then_some(Find { start: at, end, kind: Kind::Ipv4 })
}

/// Groups of digits, all divided by the same space or hyphen; returns the end.
fn groups(bytes: &[u8], at: usize, sizes: &[usize]) -> Option<usize> {
    let (mut end, mut separator) = (at, None);
    for (number, size) in sizes.iter().enumerate() {
        if number > 0 {
            let found = bytes.get(end).copied().filter(|b| matches!(b, b' ' | b'-'))?;
            if separator.is_some_and(|separator| separator != found) {
                return None;
            }
            separator = Some(found);
            end += 1;
        }
        if run_end(bytes, end, |b| b.is_ascii_digit()) != end + size {
            return None;
        }
        end += size;
    }
    let goes_on = separator.is_some_and(|b| bytes.get(end) == Some(&b)) && is_digit(bytes, end + 1);
    (ends_word(bytes, end) && !goes_on).then_some(end)
}

fn card(bytes: &[u8], at: usize, _floor: usize) -> Option<Find> {
    if !matches!(bytes[at], b'2'..=b'6') {
        return None;
    }
    let end = CARDS.iter().find_map(|sizes| groups(bytes, at, sizes))?;
    luhn(&bytes[at..end]).then_some(Find { start: at, end, kind: Kind::CreditCard })
}

/// Luhn's check (ISO/IEC 7812-1): every second digit from the right is doubled, the digit sum divides by 10.
fn luhn(bytes: &[u8]) -> bool {
    let digits = bytes.iter().rev().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit) {
            (0, _) => digit,
            (_, 5..) => 2 * digit - 9,
            _ => 2 * digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// An IBAN whose check digits begin at `at`: ISO 13616, remainder 1 by 97 with the first four characters last.
fn iban(bytes: &[u8], at: usize, floor: usize) -> Option<Find> {
    let start = at.checked_sub(2).filter(|start| *start >= floor)?;
    let begins_word = start == floor || !is_word(bytes[start - 1]);
    let is_country = bytes[start..at].iter().all(u8::is_ascii_uppercase);
    if !begins_word || !is_country || !is_digit(bytes, at + 1) {
        return None;
    }
    let mut code: Vec<u8> = Vec::with_capacity(34);
    let mut end = start;
    let mut longest = None;
    while let Some(b) = bytes.get(end).copied() {
        if b.is_ascii_uppercase() || b.is_ascii_digit() {
            if code.len() == 34 {
                return longest;
            }
            code.push(b);
        } else if !(b == b' ' && code.len().is_multiple_of(4)) {
            break;
        }
        end += 1;
        let is_end = ends_word(bytes, end) && b != b' ';
        if is_end && code.len() >= 15 && remainder(&code) == 1 {
            longest = Some(Find { start, end, kind: Kind::Iban });
        }
    }
    longest
}

fn remainder(code: &[u8]) -> u32 {
    let turned = code[4..].iter().chain(&code[..4]);
    turned.fold(0, |rest, b| match b {
        b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
        _ => (rest * 100 + u32::from(b - b'A') + 10) % 97,
    })
}

fn phone(bytes: &[u8], at: usize, floor: usize) -> Option<Find> {
    let before = if at > floor { bytes[at - 1] } else { b' ' };
    if before == b'+' {
        return international(bytes, at);
    }
    let is_bracketed = before == b'(' && bytes.get(at + 3) == Some(&b')');
    let start = if is_bracketed { at - 1 } else { at };
    if start > floor && matches!(bytes[start - 1], b'-' | b'/') {
        return None;
    }
    let area = run_end(bytes, at, |b| b.is_ascii_digit());
    if area != at + 3 || bytes[at] < b'2' {
        return None;
    }
    let (separator, exchange) = if is_bracketed {
        (b'-', area + 1 + usize::from(bytes.get(area + 1) == Some(&b' ')))
    } else {
        (bytes.get(area).copied().filter(|b| matches!(b, b'-' | b'.'))?, area + 1)
    };
    let is_exchange = run_end(bytes, exchange.min(bytes.len()), |b| b.is_ascii_digit()) == exchange + 3
        && bytes[exchange] >= b'2'
        && bytes.get(exchange + 3) == Some(&separator);
    let end = exchange + 8;
    let is_line = is_exchange && run_end(bytes, exchange + 4, |b| b.is_ascii_digit()) == end;
    let goes_on = bytes.get(end) == Some(&b'-') && is_digit(bytes, end + 1);
    (is_line && ends_word(bytes, end) && !goes_on).then_some(Find { start, end, kind: Kind::Phone })
}

/// `+` and 8 to 15 digits (ITU-T E.164) in groups.
fn international(bytes: &[u8], at: usize) -> Option<Find> {
    let (mut end, mut last, mut digits) = (at, at, 0);
    let mut gap = 0;
    while let Some(b) = bytes.get(end) {
        match b {
            b'0'..=b'9' => {
                (digits, gap) = (digits + 1, 0);
                last = end + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if gap < 2 => gap += 1,
            _ => break,
        }
        end += 1;
    }
    let is_number = (8..=15).contains(&digits) && ends_word(bytes, last);
    is_number.then_some(Find { start: at - 1, end: last, kind: Kind::Phone })
}
