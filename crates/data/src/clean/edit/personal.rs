mod numbers;
mod secrets;

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::clean::blocks;
use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

/// What is done about personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalAction {
    /// Each find is replaced by its kind: `<EMAIL>`.
    #[default]
    Mask,
    /// The record is dropped.
    Drop,
    /// Finds are only counted.
    Report,
}

settings! {
    /// Finds personal data and secrets by their form; numbers with check digits are checked.
    ///
    /// What datatrove 0.10.1 masks is masked here, with one exception: its expression for IPv4 has no borders and so finds
    /// addresses inside `256.1.1.1` and `1.2.3.4.5`, where here there are none.
    PersonalData = "personal_data" {
        /// What is done: `mask`, `drop` or `report`.
        action / with_action: PersonalAction = PersonalAction::Mask,
        /// E-mail addresses.
        email / with_email: bool = true,
        /// Telephone numbers: with `+` and a country code, or of North America.
        phone / with_phone: bool = true,
        /// Numbers of payment cards with a right Luhn digit.
        credit_card / with_credit_card: bool = true,
        /// IBANs whose remainder by 97 is 1.
        iban / with_iban: bool = true,
        /// IPv4 addresses.
        ipv4 / with_ipv4: bool = true,
        /// IPv6 addresses of three and more groups.
        ipv6 / with_ipv6: bool = true,
        /// Count addresses of private networks and of this machine too.
        private_addresses / with_private_addresses: bool = false,
        /// Keys of AWS, GitHub, Google, Hugging Face, OpenAI and Slack.
        api_key / with_api_key: bool = true,
        /// PEM blocks of private keys.
        private_key / with_private_key: bool = true,
        /// JSON web tokens.
        jwt / with_jwt: bool = true,
    }
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Email,
    Phone,
    CreditCard,
    Iban,
    Ipv4,
    Ipv6,
    ApiKey,
    PrivateKey,
    Jwt,
}

impl Kind {
    /// The name in reports and what stands for a find.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Email => ("email", "<EMAIL>"),
            Self::Phone => ("phone", "<PHONE>"),
            Self::CreditCard => ("credit_card", "<CREDIT_CARD>"),
            Self::Iban => ("iban", "<IBAN>"),
            Self::Ipv4 => ("ipv4", "<IPV4>"),
            Self::Ipv6 => ("ipv6", "<IPV6>"),
            Self::ApiKey => ("api_key", "<API_KEY>"),
            Self::PrivateKey => ("private_key", "<PRIVATE_KEY>"),
            Self::Jwt => ("jwt", "<JWT>"),
        }
    }
}

/// Bytes `start..end` of a text.
#[derive(Debug, Clone, Copy)]
struct Find {
    start: usize,
    end: usize,
    kind: Kind,
}

impl Rule for PersonalData {
    fn checks(&self) -> bool {
        self.action == PersonalAction::Drop
    }

    fn edits(&self) -> bool {
        self.action != PersonalAction::Drop
    }

    fn check(&self, text: &str, scratch: &mut Scratch) -> Option<Drop> {
        self.drop(text, Search::Fast, scratch)
    }

    fn edit(&self, text: &str, scratch: &mut Scratch) -> Option<String> {
        self.mask(text, Search::Fast, scratch)
    }

    fn check_reference(&self, text: &str) -> Option<Drop> {
        self.drop(text, Search::Plain, &mut Scratch::default())
    }

    fn edit_reference(&self, text: &str) -> Option<String> {
        self.mask(text, Search::Plain, &mut Scratch::default())
    }
}

impl PersonalData {
    fn drop(&self, text: &str, search: Search, scratch: &mut Scratch) -> Option<Drop> {
        let finds = self.find(text, search);
        count(&finds, scratch);
        let first = finds.first()?;
        Drop::new(first.kind.names().0, finds.len() as f64)
    }

    fn mask(&self, text: &str, search: Search, scratch: &mut Scratch) -> Option<String> {
        let mut finds = self.find(text, search);
        count(&finds, scratch);
        if finds.is_empty() || self.action == PersonalAction::Report {
            return None;
        }
        let mut masked = mask(text, &finds);
        // With one number masked, its neighbour may be told from it.
        loop {
            finds = self.find(&masked, search);
            if finds.is_empty() {
                return Some(masked);
            }
            count(&finds, scratch);
            masked = mask(&masked, &finds);
        }
    }
}

fn mask(text: &str, finds: &[Find]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for find in finds {
        out.push_str(&text[from..find.start]);
        out.push_str(find.kind.names().1);
        from = find.end;
    }
    out.push_str(&text[from..]);
    out
}

fn count(finds: &[Find], scratch: &mut Scratch) {
    for find in finds {
        *scratch.findings.entry(find.kind.names().0).or_default() += 1;
    }
}

/// A byte at which something may be found: `@`, a digit or a colon.
fn is_trigger(b: u8) -> bool {
    (b.wrapping_sub(b'0') < 11) | (b == b'@')
}

/// How the places are found at which something may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Many bytes at a time.
    Fast,
    /// Byte by byte: the reference.
    Plain,
}

impl Search {
    fn next_trigger(self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Fast => blocks::find(bytes, from, is_trigger),
            Self::Plain => (from..bytes.len()).find(|at| is_trigger(bytes[*at])),
        }
    }
}

impl PersonalData {
    fn is_on(&self, kind: Kind) -> bool {
        match kind {
            Kind::Email => self.email,
            Kind::Phone => self.phone,
            Kind::CreditCard => self.credit_card,
            Kind::Iban => self.iban,
            Kind::Ipv4 => self.ipv4,
            Kind::Ipv6 => self.ipv6,
            Kind::ApiKey => self.api_key,
            Kind::PrivateKey => self.private_key,
            Kind::Jwt => self.jwt,
        }
    }

    /// Everything found, in order and without overlap. Secrets come first: their letters may look like numbers.
    fn find(&self, text: &str, search: Search) -> Vec<Find> {
        let mut finds = Vec::new();
        let mut floor = 0;
        for secret in secrets::find(text, search) {
            if self.is_on(secret.kind) && secret.start >= floor {
                self.find_between(&text[..secret.start], floor, search, &mut finds);
                floor = secret.end;
                finds.push(secret);
            }
        }
        self.find_between(text, floor, search, &mut finds);
        finds
    }

    fn find_between(&self, text: &str, mut floor: usize, search: Search, finds: &mut Vec<Find>) {
        let bytes = text.as_bytes();
        let mut at = floor;
        while let Some(next) = search.next_trigger(bytes, at) {
            at = next;
            let found = match bytes[at] {
                b'@' => email(bytes, at, floor),
                b':' => ipv6(bytes, at, floor),
                _ => numbers::find(bytes, at, floor, |kind| self.is_on(kind)),
            };
            match found.filter(|found| self.is_on(found.kind) && self.counts(text, *found)) {
                Some(found) => {
                    (at, floor) = (found.end, found.end);
                    finds.push(found);
                }
                None if bytes[at].is_ascii_digit() => at = run_end(bytes, at, |b| b.is_ascii_digit()),
                // One look at a run of colons and hexadecimal digits is enough.
                None if bytes[at] == b':' => at = run_end(bytes, at, is_ipv6),
                None => at += 1,
            }
        }
    }

    /// Addresses that are nobody's do not count.
    fn counts(&self, text: &str, found: Find) -> bool {
        let part = &text[found.start..found.end];
        match found.kind {
            Kind::Ipv4 if !self.private_addresses => part.parse().is_ok_and(is_public),
            Kind::Ipv6 if !self.private_addresses => part.parse().is_ok_and(|address: Ipv6Addr| {
                let is_local = address.is_unique_local() || address.is_unicast_link_local();
                !(address.is_loopback() || address.is_unspecified() || is_local)
            }),
            _ => true,
        }
    }
}

/// Python's `ipaddress.is_global`, in the main.
fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_test = (a == 198 && (b == 18 || b == 19)) || (a == 192 && b == 0 && c == 0);
    let is_local = address.is_private() || address.is_loopback() || address.is_link_local();
    !(is_local || is_shared || is_test || address.is_documentation() || a == 0 || a >= 240)
}

fn run_end(bytes: &[u8], at: usize, is_part: impl Fn(u8) -> bool) -> usize {
    at + bytes[at..].iter().take_while(|b| is_part(**b)).count()
}

fn run_start(bytes: &[u8], at: usize, floor: usize, is_part: impl Fn(u8) -> bool) -> usize {
    at - bytes[floor..at].iter().rev().take_while(|b| is_part(**b)).count()
}

/// A letter or digit, of any script.
fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80
}

/// The address around the `@`: a local part of at most 64 bytes, a domain with a dot.
fn email(bytes: &[u8], at: usize, floor: usize) -> Option<Find> {
    let is_local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-.".contains(&b);
    let mut start = run_start(bytes, at, floor.max(at.saturating_sub(64)), is_local);
    start += bytes[start..at].iter().take_while(|b| !b.is_ascii_alphanumeric() && **b != b'_').count();
    if start == at || bytes[at - 1] == b'.' || bytes[start..at].windows(2).any(|pair| pair == b"..") {
        return None;
    }
    let limit = bytes.len().min(at + 256);
    let mut end = run_end(&bytes[..limit], at + 1, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    while end > at + 1 && !bytes[end - 1].is_ascii_alphanumeric() {
        end -= 1;
    }
    let domain = &bytes[at + 1..end];
    let is_label = |label: &[u8]| matches!((label.first(), label.last()), (Some(first), Some(last)) if *first != b'-' && *last != b'-');
    let is_domain = domain.contains(&b'.') && domain.split(|b| *b == b'.').all(is_label);
    is_domain.then_some(Find { start, end, kind: Kind::Email })
}

fn is_ipv6(b: u8) -> bool {
    b.is_ascii_hexdigit() || b == b':'
}

/// The address around the colon: at least three groups and a digit, so that `a::b` in a program is none.
fn ipv6(bytes: &[u8], at: usize, floor: usize) -> Option<Find> {
    let start = run_start(bytes, at, floor.max(at.saturating_sub(5)), is_ipv6);
    let end = run_end(&bytes[..bytes.len().min(at + 48)], at, is_ipv6);
    let before = if start > floor { bytes[start - 1] } else { b' ' };
    let after = bytes.get(end).copied().unwrap_or(b' ');
    if is_word(before) || is_word(after) || is_ipv6(before) {
        return None;
    }
    // A colon behind the address belongs to the sentence.
    let end =
        if bytes[start..end].ends_with(b":") && !bytes[start..end].ends_with(b"::") { end - 1 } else { end };
    let part = std::str::from_utf8(&bytes[start..end]).ok()?;
    let groups = part.split(':').filter(|group| !group.is_empty()).count();
    let is_address =
        groups >= 3 && part.bytes().any(|b| b.is_ascii_digit()) && part.parse::<Ipv6Addr>().is_ok();
    is_address.then_some(Find { start, end, kind: Kind::Ipv6 })
}
