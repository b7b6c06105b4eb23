//! Dates, times, prices, amounts and other things made of digits.

use super::rng::Rng;

pub(crate) const MONTHS: &[&str] = &[
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

pub(crate) const WEEKDAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(crate) fn year(rng: &mut Rng) -> String {
    rng.between(1995, 2029).to_string()
}

/// A date in one of five spellings. Days end at 28, so that every date exists.
pub(crate) fn date(rng: &mut Rng) -> String {
    let (month, day) = (rng.below(12), rng.between(1, 28));
    let (name, year) = (MONTHS[month], rng.between(2015, 2029));
    match rng.below(6) {
        0 | 1 => format!("{day} {name} {year}"),
        2 => format!("{name} {day}, {year}"),
        3 => format!("{year}-{:02}-{day:02}", month + 1),
        4 => format!("{day} {name}"),
        _ => format!("{name} {day}"),
    }
}

pub(crate) fn time(rng: &mut Rng) -> String {
    format!("{}:{:02}", rng.between(7, 21), rng.below(12) * 5)
}

/// A price in the shops: `$24.50`, `€18`, `39 dollars`, `EUR 120`.
pub(crate) fn price(rng: &mut Rng) -> String {
    let whole = if rng.chance(60) { rng.between(3, 99) } else { rng.between(100, 980) };
    let amount = match rng.below(3) {
        0 => format!("{whole}.{}", rng.choose(&["20", "50", "80", "90", "95", "99"])),
        _ => whole.to_string(),
    };
    in_currency(rng.below(CURRENCIES), &amount)
}

/// A large amount, as for a bridge or a gift: `$4.2 million`.
pub(crate) fn amount(rng: &mut Rng) -> String {
    let style = rng.below(CURRENCIES);
    let amount = match rng.below(5) {
        0 => format!("{},{}00", rng.between(1, 980), rng.between(0, 9)),
        1 => format!("{} million", rng.between(2, 90)),
        2 => format!("{}.{} billion", rng.between(1, 9), rng.between(1, 9)),
        _ => format!("{}.{} million", rng.between(1, 480), rng.between(1, 9)),
    };
    in_currency(style, &amount)
}

/// The number of ways in which [`in_currency`] writes an amount.
pub(crate) const CURRENCIES: usize = 8;

/// The amount with its currency: `$4.2 million`, `€4.2 million`, `EUR 4.2 million`, `4.2 million dollars` and so on.
pub(crate) fn in_currency(style: usize, amount: &str) -> String {
    match style % CURRENCIES {
        0..=2 => format!("${amount}"),
        3 => format!("€{amount}"),
        4 => format!("EUR {amount}"),
        5 => format!("USD {amount}"),
        6 => format!("{amount} dollars"),
        _ => format!("{amount} euros"),
    }
}

/// A number of one to five digits; small numbers are no rarer than large ones.
pub(crate) fn number(rng: &mut Rng) -> String {
    match rng.between(1, 5) {
        1 => rng.between(2, 9),
        2 => rng.between(10, 99),
        3 => rng.between(100, 999),
        4 => rng.between(1000, 9999),
        _ => rng.between(10_000, 99_999),
    }
    .to_string()
}

/// A number below a hundred, as one counts things.
pub(crate) fn count(rng: &mut Rng) -> String {
    rng.between(2, 60).to_string()
}

/// A code such as `KT-4821` or `7B90`.
pub(crate) fn code(rng: &mut Rng) -> String {
    let letters = ["A", "B", "C", "D", "F", "H", "K", "L", "M", "N", "P", "R", "S", "T", "W", "X"];
    let (one, two) = (rng.choose(&letters), rng.choose(&letters));
    match rng.below(3) {
        0 => format!("{one}{two}-{}", rng.between(100, 9999)),
        1 => format!("{one}{}", rng.between(10, 999)),
        _ => format!("{}{one}{}", rng.between(1, 9), rng.between(10, 99)),
    }
}

/// A telephone number in groups of digits.
pub(crate) fn phone(rng: &mut Rng) -> String {
    format!("0{} {} {}", rng.between(20, 99), rng.between(100, 999), rng.between(1000, 9999))
}

pub(crate) fn weight(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => format!("{} g", rng.between(5, 95) * 10),
        1 => format!("{} kg", rng.between(2, 60)),
        _ => format!("{}.{} kg", rng.between(1, 30), rng.between(1, 9)),
    }
}

pub(crate) fn length(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => format!("{} m", rng.between(2, 40)),
        1 => format!("{}.{} m", rng.between(1, 9), rng.between(1, 9)),
        _ => format!("{} cm", rng.between(8, 240)),
    }
}

pub(crate) fn percent(rng: &mut Rng) -> String {
    format!("{}%", rng.between(2, 95))
}

/// A result of a match: `3-1`. Never a draw.
pub(crate) fn score(rng: &mut Rng) -> String {
    let high = rng.between(1, 9);
    format!("{high}-{}", rng.below(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_digits_and_no_quotes() {
        let mut rng = Rng::new(1);
        let kinds: [fn(&mut Rng) -> String; 13] =
            [year, date, time, price, amount, number, count, code, phone, weight, length, percent, score];
        for kind in kinds {
            for _ in 0..100 {
                let text = kind(&mut rng);
                assert!(text.chars().any(|c| c.is_ascii_digit()), "{text}");
                assert!(!text.contains(['"', '\\', '\n']), "{text}");
                assert!(text.len() <= 24, "{text}");
            }
        }
    }

    #[test]
    fn currencies_differ() {
        let all: std::collections::BTreeSet<String> =
            (0..CURRENCIES).map(|style| in_currency(style, "4.2 million")).collect();
        assert_eq!(all.len(), 6);
        assert!(all.contains("4.2 million euros"));
    }
}
