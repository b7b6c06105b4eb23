//! Keys and tokens, which begin with known letters.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Find, Kind, Search, is_word, run_end};

/// How a key begins, what follows and how many characters of it at least.
struct Form {
    prefix: &'static str,
    is_part: fn(u8) -> bool,
    least: usize,
    most: usize,
}

const fn form(prefix: &'static str, is_part: fn(u8) -> bool, least: usize, most: usize) -> Form {
    Form { prefix, is_part, least, most }
}

/// Lengths as the providers give them; where a length is not fixed, the shortest in use.
const FORMS: [Form; 12] = [
    form("AKIA", is_upper, 16, 16),
    form("ASIA", is_upper, 16, 16),
    form("ghp_", is_alphanumeric, 36, 255),
    form("gho_", is_alphanumeric, 36, 255),
    form("ghu_", is_alphanumeric, 36, 255),
    form("ghs_", is_alphanumeric, 36, 255),
    form("ghr_", is_alphanumeric, 36, 255),
    form("github_pat_", is_token, 40, 255),
    form("sk-", is_token, 20, 255),
    form("AIza", is_token, 35, 35),
    form("hf_", is_alphanumeric, 30, 60),
    form("xoxb-", is_token, 24, 255),
];

const PEM: &str = "-----BEGIN ";
const JWT: &str = "eyJ";

static STARTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    // No prefix holds another, so all kinds of match find the same; only this one lets the crate use vector instructions.
    let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).clone();
    builder.build(FORMS.iter().map(|form| form.prefix).chain([PEM, JWT])).expect("a constant list")
});

fn is_upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn is_alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// Where a prefix begins and its number, in order and without overlap.
fn starts(text: &str, search: Search) -> Vec<(usize, usize)> {
    if search == Search::Fast {
        return STARTS.find_iter(text).map(|hit| (hit.start(), hit.pattern().as_usize())).collect();
    }
    let prefixes = || FORMS.iter().map(|form| form.prefix).chain([PEM, JWT]).enumerate();
    let (mut at, mut found) = (0, Vec::new());
    while at < text.len() {
        match prefixes().find(|(_, prefix)| text.as_bytes()[at..].starts_with(prefix.as_bytes())) {
            Some((number, prefix)) => {
                found.push((at, number));
                at += prefix.len();
            }
            None => at += 1,
        }
    }
    found
}

/// Every secret, in order and without overlap.
pub(super) fn find(text: &str, search: Search) -> impl Iterator<Item = Find> {
    let bytes = text.as_bytes();
    let mut floor = 0;
    starts(text, search).into_iter().filter_map(move |(start, prefix)| {
        let is_inside = bytes[start] != b'-' && start > 0 && is_word(bytes[start - 1]);
        if start < floor || is_inside {
            return None;
        }
        let found = match FORMS.get(prefix) {
            Some(form) => key(bytes, start, form),
            None if bytes[start] == b'-' => private_key(text, start),
            None => json_web_token(bytes, start),
        }?;
        floor = found.end;
        Some(found)
    })
}

fn key(bytes: &[u8], start: usize, form: &Form) -> Option<Find> {
    let from = start + form.prefix.len();
    // No further than a key can be long, so that many beginnings in one run cost no more than one each.
    let end = run_end(&bytes[..bytes.len().min(from + form.most + 1)], from, form.is_part);
    let tail = &bytes[from..end];
    // Words joined by hyphens are no key.
    let is_random = tail.iter().any(u8::is_ascii_digit) && tail.iter().any(u8::is_ascii_alphabetic);
    let fits = (form.least..=form.most).contains(&tail.len()) && is_random;
    (fits && bytes.get(end).is_none_or(|b| !is_word(*b))).then_some(Find { start, end, kind: Kind::ApiKey })
}

/// From the line that begins a private key to the one that ends it, or to the end of the text.
fn private_key(text: &str, start: usize) -> Option<Find> {
    let rest = &text[start + PEM.len()..];
    let label = rest.find("-----").map(|end| &rest[..end]).filter(|label| label.len() <= 40)?;
    if !label.contains("PRIVATE KEY") {
        return None;
    }
    let tail = format!("-----END {label}-----");
    let end = rest.find(&tail).map_or(text.len(), |at| start + PEM.len() + at + tail.len());
    Some(Find { start, end, kind: Kind::PrivateKey })
}

/// Three parts of base64url divided by dots; header and payload both begin with `{"`.
fn json_web_token(bytes: &[u8], start: usize) -> Option<Find> {
    if start > 0 && is_token(bytes[start - 1]) {
        return None;
    }
    let header = run_end(bytes, start, is_token);
    let payload_start = header + 1;
    if bytes.get(header) != Some(&b'.') || !bytes[payload_start..].starts_with(JWT.as_bytes()) {
        return None;
    }
    let payload = run_end(bytes, payload_start, is_token);
    if bytes.get(payload) != Some(&b'.') {
        return None;
    }
    let end = run_end(bytes, payload + 1, is_token);
    (end > payload + 10).then_some(Find { start, end, kind: Kind::Jwt })
}
