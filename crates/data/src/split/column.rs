//! Columns that a split looks at: groups, strata and times.

use std::cmp::Ordering;

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::error::DataError;
use crate::record::{Body, Record};

/// The value of a column: one that the shape does not know, else one of the shape's.
///
/// # Errors
///
/// [`DataError::MissingColumn`], [`DataError::WrongType`] if it is no string, number or boolean.
pub(super) fn value(record: &Record, column: &str) -> Result<Value, DataError> {
    let value = record.extra.get(column).cloned().or_else(|| of_shape(record, column).map(Value::from));
    let Some(value) = value else {
        let mut found: Vec<String> = record.extra.keys().cloned().collect();
        found.extend(record.shape().required_columns().iter().map(|name| (*name).to_owned()));
        let origin = record.origin.clone();
        return Err(DataError::MissingColumn { origin, wanted: column.to_owned(), found, nearest: None });
    };
    let found = match &value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => return Ok(value),
        Value::Null => "null",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let (origin, column) = (record.origin.clone(), column.to_owned());
    Err(DataError::WrongType { origin, column, wanted: "a string, a number or a boolean", found })
}

/// The same as a text: a string without quotes.
pub(super) fn key(record: &Record, column: &str) -> Result<String, DataError> {
    Ok(match value(record, column)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn of_shape<'a>(record: &'a Record, column: &str) -> Option<&'a str> {
    match (&record.body, column) {
        (Body::Text(text), "text") => Some(text),
        (Body::Completion { prompt, .. }, "prompt") => Some(prompt),
        (Body::Completion { completion, .. }, "completion") => Some(completion),
        (Body::Alpaca { instruction, .. }, "instruction") => Some(instruction),
        (Body::Alpaca { input, .. }, "input") => Some(input),
        (Body::Alpaca { output, .. }, "output") => Some(output),
        (Body::Question { question, .. }, "question") => Some(question),
        (Body::Question { context, .. }, "context") => Some(context),
        (Body::Question { answer, .. }, "answer") => Some(answer),
        _ => None,
    }
}

/// A hash of what a record says: shape, roles and words, without regard to case and white space (XXH3, 64 bits).
pub(super) fn content_hash(record: &Record, seed: u64) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    hash.update(record.shape().as_str().as_bytes());
    for (role, text) in record.turns() {
        // No text holds these bytes, so that turns and words do not run into each other.
        hash.update(&[0xff]);
        hash.update(role.as_bytes());
        hash.update(&[0xff]);
        for word in text.to_lowercase().split_whitespace() {
            hash.update(word.as_bytes());
            hash.update(&[0xfe]);
        }
    }
    hash.digest()
}

/// A point in time: a number of any unit, or a date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Time {
    Number(f64),
    /// Seconds since 1970 in UTC, and nanoseconds.
    Date(i64, u32),
}

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Date(a, x), Self::Date(b, y)) => (a, x).cmp(&(b, y)),
            (Self::Number(_), Self::Date(..)) => Ordering::Less,
            (Self::Date(..), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// The times of all records: all numbers, or all dates (ISO 8601: `2024`, `2024-05`, `2024-05-17`, and with `T` or a
/// space `09:30`, `09:30:15`, `09:30:15.25`, then `Z` or an offset; without one, UTC).
///
/// # Errors
///
/// As [`value`]; [`DataError::InvalidTime`] for a string that is no such date, or another kind than the first record's.
pub(super) fn times(records: &[Record], column: &str) -> Result<Vec<Time>, DataError> {
    let mut times: Vec<Time> = Vec::with_capacity(records.len());
    for record in records {
        let value = value(record, column)?;
        let time = match &value {
            Value::Number(number) => number.as_f64().map(Time::Number),
            Value::String(text) => parse_date(text.trim()),
            _ => None,
        };
        let same_kind = |time: &Time| {
            times.first().is_none_or(|first| std::mem::discriminant(first) == std::mem::discriminant(time))
        };
        let Some(time) = time.filter(same_kind) else {
            let wanted = match times.first() {
                None => "a number or an ISO 8601 date",
                Some(Time::Number(_)) => "a number, as in the first record",
                Some(Time::Date(..)) => "an ISO 8601 date, as in the first record",
            };
            let (origin, column) = (record.origin.clone(), column.to_owned());
            return Err(DataError::InvalidTime { origin, column, found: value.to_string(), wanted });
        };
        times.push(time);
    }
    Ok(times)
}

fn parse_date(text: &str) -> Option<Time> {
    let split = text.find(['T', 't', ' ']);
    let (date, clock) = split.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let mut fields = date.split('-');
    let year = number(fields.next()?, 4)?;
    let month = fields.next().map_or(Some(1), |month| number(month, 2))?;
    let day = fields.next().map_or(Some(1), |day| number(day, 2))?;
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) * 86_400;
    let (seconds, nanoseconds) = clock.map_or(Some((0, 0)), parse_clock)?;
    Some(Time::Date(midnight + seconds, nanoseconds))
}

/// Seconds after midnight, in UTC, and nanoseconds.
fn parse_clock(text: &str) -> Option<(i64, u32)> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) if text[at..].eq_ignore_ascii_case("z") => (&text[..at], 0),
        Some(at) => {
            let sign = if text.as_bytes()[at] == b'-' { -1 } else { 1 };
            let zone = text[at + 1..].replace(':', "");
            let hours = number(zone.get(..2)?, 2)?;
            let minutes = if zone.len() == 2 { 0 } else { number(zone.get(2..)?, 2)? };
            (&text[..at], sign * (hours * 3600 + minutes * 60))
        }
        None => (text, 0),
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, ""), |(clock, fraction)| (clock, fraction));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let mut fields = clock.split(':');
    let hours = number(fields.next()?, 2)?;
    let minutes = number(fields.next()?, 2)?;
    let seconds = fields.next().map_or(Some(0), |seconds| number(seconds, 2))?;
    if fields.next().is_some() || hours > 24 || minutes > 59 || seconds > 60 {
        return None;
    }
    let nanoseconds = format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()?;
    Some((hours * 3600 + minutes * 60 + seconds - offset, nanoseconds))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let valid = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar; years begin in March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month < 3);
    let month = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected seconds: `datetime.fromisoformat(..).timestamp()` of Python 3.12.
    #[test]
    fn dates() {
        for (text, wanted) in [
            ("1970", Some((0, 0))),
            ("2024-02", Some((1_706_745_600, 0))),
            ("2024-02-29", Some((1_709_164_800, 0))),
            ("2000-03-01T00:00:00Z", Some((951_868_800, 0))),
            ("2024-05-17 09:30", Some((1_715_938_200, 0))),
            ("2024-05-17T09:30:15.25+02:00", Some((1_715_931_015, 250_000_000))),
            ("2024-05-17T09:30:15-0130", Some((1_715_943_615, 0))),
            ("1969-12-31T23:59:59", Some((-1, 0))),
            ("2023-02-29", None),
            ("2024-13-01", None),
            ("24-05-17", None),
            ("17.05.2024", None),
            ("2024-05-17T", None),
            ("2024-05-17T9:30", None),
            ("2024-05-17T09:30:15+é1", None),
            ("", None),
        ] {
            let wanted = wanted.map(|(seconds, nanoseconds)| Time::Date(seconds, nanoseconds));
            assert_eq!(parse_date(text), wanted, "{text}");
        }
    }
}
