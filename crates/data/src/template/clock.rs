//! `strftime_now`: today's date in a template.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Seconds since 1970-01-01 00:00 UTC.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A time in UTC, formatted as C's `strftime` does in the C locale.
///
/// Knows `%Y %y %m %d %e %b %B %a %A %H %I %M %S %p %%`, and `%-X` for a number without its leading zero.
///
/// # Errors
///
/// The first directive that is none of these.
pub(super) fn format(directives: &str, seconds: i64) -> Result<String, String> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut letters = directives.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut directive = letters.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = letters.next();
        }
        let number = match directive {
            Some('Y') => {
                out.push_str(&year.to_string());
                continue;
            }
            Some('y') => year.rem_euclid(100),
            Some('m') => month,
            Some('d') => day,
            Some('H') => hour,
            Some('I') => (hour + 11) % 12 + 1,
            Some('M') => minute,
            Some('S') => second % 60,
            Some(directive) => {
                match directive {
                    'e' => out.push_str(&format!("{day:2}")),
                    'b' => out.push_str(&month_name[..3]),
                    'B' => out.push_str(month_name),
                    'a' => out.push_str(&weekday[..3]),
                    'A' => out.push_str(weekday),
                    'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                    '%' => out.push('%'),
                    _ => return Err(format!("%{directive}")),
                }
                continue;
            }
            None => return Err("%".to_owned()),
        };
        out.push_str(&if unpadded { number.to_string() } else { format!("{number:02}") });
    }
    Ok(out)
}

/// Year, month and day of a day number, day 0 being 1970-01-01: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected strings: Python 3's `datetime.strftime`.
    #[test]
    fn formats_as_python() {
        let all = "%d %b %Y|%B %-d, %y|%Y-%m-%d %H:%M:%S|%A %a %I%p|100%%";
        for (seconds, wanted) in [
            (0, "01 Jan 1970|January 1, 70|1970-01-01 00:00:00|Thursday Thu 12AM|100%"),
            (951_782_399, "28 Feb 2000|February 28, 00|2000-02-28 23:59:59|Monday Mon 11PM|100%"),
            (951_782_400, "29 Feb 2000|February 29, 00|2000-02-29 00:00:00|Tuesday Tue 12AM|100%"),
            (1_795_435_445, "23 Nov 2026|November 23, 26|2026-11-23 12:04:05|Monday Mon 12PM|100%"),
            (-86_401, "30 Dec 1969|December 30, 69|1969-12-30 23:59:59|Tuesday Tue 11PM|100%"),
            (4_107_542_399, "28 Feb 2100|February 28, 00|2100-02-28 23:59:59|Sunday Sun 11PM|100%"),
        ] {
            assert_eq!(format(all, seconds).as_deref(), Ok(wanted));
        }
        assert_eq!(format("%e", 0).as_deref(), Ok(" 1"));
        assert_eq!(format("%j", 0), Err("%j".to_owned()));
        assert_eq!(format("100%", 0), Err("%".to_owned()));
        assert!(now() > 1_700_000_000);
    }
}
