//! How long the hub is waited for, and how often it is asked again.

use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Error, Timeout};

use crate::error::DataError;

/// The longest wait that the server may ask for: the hub counts requests in windows of five minutes.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Waits and tries; the defaults are those of `huggingface_hub` 1.x (`constants.py`, `http_backoff`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) max_retries: u32,
    pub(super) first_wait: Duration,
    pub(super) max_wait: Duration,
    pub(super) etag_timeout: Duration,
    pub(super) download_timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            max_retries: 5,
            first_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(8),
            etag_timeout: Duration::from_secs(10),
            download_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Asking again may help, after the time that the server asks for.
    Passing { message: String, asked: Option<Duration> },
    /// Asking again will not help.
    Lasting { status: Option<StatusCode>, message: String },
}

impl Failure {
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self::Passing { message: message.into(), asked: None }
    }

    pub(super) fn lasting(message: impl Into<String>) -> Self {
        Self::Lasting { status: None, message: message.into() }
    }

    /// What a broken request means; `patience` is the time that it had.
    pub(super) fn of_request(error: Error, patience: Duration) -> Self {
        match error {
            Error::Timeout(Timeout::PerRead) => {
                Self::passing(format!("no byte came for {} s", patience.as_secs_f64()))
            }
            Error::Timeout(what) => {
                Self::passing(format!("timeout after {} s: {what}", patience.as_secs_f64()))
            }
            // This is how a certificate that is refused comes.
            Error::Io(error) if error.kind() == ErrorKind::InvalidData => Self::lasting(error.to_string()),
            Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed | Error::Protocol(_) => {
                Self::passing(error.to_string())
            }
            other => Self::lasting(other.to_string()),
        }
    }

    /// What a status that is no success means.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, message: String) -> Self {
        match status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
            true => Self::Passing { message, asked: asked_wait(status, headers, SystemTime::now()) },
            false => Self::Lasting { status: Some(status), message },
        }
    }
}

impl Patience {
    /// Repeats a request until it comes to something.
    pub(super) fn repeat<T>(
        &self,
        url: &str,
        mut request: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, DataError> {
        let mut tries = 0;
        loop {
            match request() {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    tries += 1;
                    self.pause(url, failure, tries)?;
                }
            }
        }
    }

    /// Waits until the request may be sent again, `tries` having failed in a row.
    ///
    /// # Errors
    ///
    /// [`DataError::Hub`] if it shall not be.
    pub(super) fn pause(&self, url: &str, failure: Failure, tries: u32) -> Result<(), DataError> {
        let given_up = |mut message: String| {
            if tries > 1 {
                message.push_str(&format!(", after {tries} tries"));
            }
            Err(DataError::Hub { url: shown(url), message })
        };
        let (message, asked) = match failure {
            Failure::Passing { message, asked } if tries <= self.max_retries => (message, asked),
            Failure::Passing { message, .. } | Failure::Lasting { message, .. } => return given_up(message),
        };
        if let Some(asked) = asked.filter(|asked| *asked > LONGEST_ASKED) {
            return given_up(format!("{message}; it asks to wait for {} s", asked.as_secs()));
        }
        let wait = self.wait(tries, asked);
        tracing::warn!(url = shown(url), cause = message, tries, ?wait, "the hub is asked again");
        thread::sleep(wait);
        Ok(())
    }

    /// Twice as long each time, of which a random part, so that many machines do not come back at once.
    fn wait(&self, tries: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_wait.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
        let share = RandomState::new().hash_one(tries) % 1024;
        doubled.min(self.max_wait).mul_f64(0.5 + share as f64 / 2048.0).max(asked.unwrap_or_default())
    }
}

/// An address as messages show it: without a password, and without a query, which may be a signature.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    match scheme {
        "" => format!("{host}{path}"),
        scheme => format!("{scheme}://{host}{path}"),
    }
}

/// The wait that `Retry-After` asks for (seconds or a date), or, with 429, the hub's `RateLimit` (`"api";r=0;t=55`): of
/// the policy that allows no more requests.
fn asked_wait(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
    if let Some(after) = text("retry-after") {
        return seconds(after).or_else(|| Some(date(after)?.duration_since(now).unwrap_or_default()));
    }
    if status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    text("ratelimit")?.split(',').find_map(|policy| {
        let value = |name: &str| policy.split(';').find_map(|part| part.trim().strip_prefix(name));
        value("r=").is_none_or(|left| left == "0").then(|| seconds(value("t=")?)).flatten()
    })
}

/// A date of HTTP (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut parts = text.split_once(", ")?.1.split([' ', ':']);
    let mut number = || parts.next()?.parse::<u16>().ok().map(u64::from);
    let day = number()?;
    let month = MONTHS.find(parts.next()?)? as u64 / 3;
    let mut number = || parts.next()?.parse::<u16>().ok().map(u64::from);
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    // Years that begin in March, so that the leap day is the last.
    let (year, month) = if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_shorter_than_asked() {
        let patience = Patience::default();
        for (tries, whole) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (u32::MAX, 8)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..50 {
                let wait = patience.wait(tries, None);
                assert!(whole / 2 <= wait && wait <= whole, "{tries}: {wait:?}");
            }
            assert_eq!(patience.wait(tries, Some(Duration::from_secs(60))), Duration::from_secs(60));
        }
        let apart: std::collections::BTreeSet<_> = (0..50).map(|_| patience.wait(4, None)).collect();
        assert!(apart.len() > 10, "{apart:?}");
    }

    /// Dates by `date -u -d ... +%s`.
    #[test]
    fn the_server_says_how_long_to_wait() {
        let now = UNIX_EPOCH + Duration::from_secs(1_709_210_000);
        for (name, text, wanted) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "Thu, 29 Feb 2024 12:34:56 GMT", Some(96)),
            ("retry-after", "Fri, 01 Mar 2024 00:00:00 GMT", Some(41_200)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("ratelimit", "\"api\";r=0;t=55", Some(55)),
            ("ratelimit", "\"api\";r=0", None),
            ("ratelimit", "\"api\";r=499;t=287", None),
            ("ratelimit", "\"api\";r=499;t=287, \"pages\";r=0;t=12", Some(12)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, text.parse().expect("a header"));
            let asked = |status| asked_wait(status, &headers, now);
            let wanted = wanted.map(Duration::from_secs);
            assert_eq!(asked(StatusCode::TOO_MANY_REQUESTS), wanted, "{name}: {text}");
            let wanted = wanted.filter(|_| name == "retry-after");
            assert_eq!(asked(StatusCode::SERVICE_UNAVAILABLE), wanted, "{name}: {text}, 503");
        }
        assert_eq!(
            date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(UNIX_EPOCH + Duration::from_secs(784_111_777))
        );
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (url, wanted) in [
            ("https://a.b/c/d?sign=1", "https://a.b/c/d"),
            ("http://user:pass@a.b:8080/c@d", "http://a.b:8080/c@d"),
            ("a.b", "a.b"),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }
}
