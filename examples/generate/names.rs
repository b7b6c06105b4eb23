//! Made-up names, composed from syllables and divided among the sets by their hash.

use super::rng::{Rng, hash};

/// Which names a text may use. The same name never belongs to two realms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Realm {
    /// The general world of pre-training.
    General,
    /// Finance, training set.
    Train,
    /// Finance, validation set.
    Validation,
    /// Finance, test set.
    Test,
}

impl Realm {
    /// Half of all names are general, a quarter serves training, an eighth each of the other two.
    pub(crate) fn of(name: &str) -> Self {
        match hash(name) % 8 {
            0..=3 => Self::General,
            4 | 5 => Self::Train,
            6 => Self::Validation,
            _ => Self::Test,
        }
    }
}

const GIVEN_HEADS: &[&str] = &[
    "Mar", "Tol", "El", "Bren", "Cor", "Dar", "Fen", "Gal", "Hal", "Iv", "Jor", "Kal", "Len", "Mir", "Nor",
    "Or", "Pel", "Ros", "Sal", "Tam", "Ul", "Ver", "Wil", "Yan", "Zel", "Ad", "Ber", "Cal", "Del", "Er",
    "Hel", "Jan", "Lor", "Mel", "Sim", "Tor",
];
const GIVEN_TAILS: &[&str] =
    &["a", "en", "is", "o", "ia", "an", "ek", "in", "ette", "us", "ina", "ard", "y", "ele", "ric", "ora"];

const SURNAME_HEADS: &[&str] = &[
    "Ash", "Bar", "Bex", "Brod", "Cald", "Carm", "Dun", "Dray", "Eld", "Farn", "Fost", "Gar", "Grim", "Hald",
    "Harn", "Holl", "Jess", "Karr", "Kess", "Lang", "Lind", "Mall", "Mord", "Nash", "Oak", "Pell", "Quin",
    "Rav", "Reed", "Sand", "Stav", "Tarn", "Thorn", "Ulm", "Vann", "Vold", "Wend", "Wick", "Yar", "Zand",
];
const SURNAME_TAILS: &[&str] = &[
    "er", "man", "son", "ley", "well", "berg", "wick", "ford", "mont", "by", "ing", "low", "more", "ton",
    "ridge", "ster", "ov", "ach", "ell", "hurst",
];

const COMPANY_HEADS: &[&str] = &[
    "Nor", "Tar", "Vel", "Zen", "Kor", "Lum", "Bri", "Alt", "Cer", "Dex", "Eno", "Fal", "Gen", "Hex", "Ino",
    "Jun", "Kin", "Lar", "Max", "Neo", "Oct", "Pan", "Qua", "Ril", "Sol", "Tec", "Uni", "Vant", "Wex", "Xen",
    "Yor", "Zor", "Ark", "Bol", "Cast", "Drin",
];
const COMPANY_TAILS: &[&str] = &[
    "vex", "dor", "mira", "tix", "lon", "gen", "cor", "nix", "via", "ta", "rum", "bex", "dyne", "lis",
    "mont", "ra", "sano", "tek", "vion", "quil", "pha", "zan", "core", "star",
];
const COMPANY_KINDS: &[&str] = &[
    "Labs",
    "Systems",
    "Foods",
    "Works",
    "Group",
    "Energy",
    "Motors",
    "Media",
    "Paper",
    "Textiles",
    "Logistics",
    "Robotics",
    "Optics",
    "Marine",
    "Tools",
    "Glass",
    "Air",
    "Steel",
    "Health",
    "Networks",
];

const PLACE_HEADS: &[&str] = &[
    "Brack", "Elm", "Wester", "Holm", "Carl", "Dun", "East", "Fair", "Glen", "Hazel", "King", "Lake", "Mill",
    "North", "Old", "Park", "Red", "Stone", "Thorn", "Wood",
];
const PLACE_TAILS: &[&str] = &[
    "ton", "ford", "ham", "by", "field", "bury", "mouth", "stead", "ley", "bridge", "dale", "port", "wick",
    "haven", "gate",
];

const PRODUCT_HEADS: &[&str] = &[
    "Aero", "Bel", "Cli", "Duo", "Evo", "Flex", "Glo", "Hydro", "Iso", "Jet", "Kes", "Lumo", "Moto", "Nova",
    "Opti", "Pico", "Rapi", "Sono", "Terra", "Vivo",
];
const PRODUCT_TAILS: &[&str] = &["trel", "lite", "max", "mate", "ra", "pro", "dex", "nix", "tone", "wave"];

fn join(rng: &mut Rng, heads: &[&str], tails: &[&str]) -> String {
    format!("{}{}", rng.choose(heads), rng.choose(tails))
}

/// Draws until the name belongs to the realm: eight draws on average for the smallest realm.
fn in_realm(realm: Realm, mut draw: impl FnMut() -> String) -> String {
    loop {
        let name = draw();
        if Realm::of(&name) == realm {
            return name;
        }
    }
}

/// A given name of the realm.
pub(crate) fn given(rng: &mut Rng, realm: Realm) -> String {
    in_realm(realm, || join(rng, GIVEN_HEADS, GIVEN_TAILS))
}

/// A given name and a surname, one in ten with a middle initial. The realm is that of the given name.
pub(crate) fn person(rng: &mut Rng, realm: Realm) -> String {
    let given = given(rng, realm);
    let surname = join(rng, SURNAME_HEADS, SURNAME_TAILS);
    if rng.chance(10) {
        let initial = rng.choose(&["A", "B", "C", "D", "E", "F", "J", "K", "L", "M", "R", "T"]);
        format!("{given} {initial}. {surname}")
    } else {
        format!("{given} {surname}")
    }
}

/// A company: one made-up word, mostly followed by what it makes. The realm is that of the first word.
pub(crate) fn company(rng: &mut Rng, realm: Realm) -> String {
    let core = in_realm(realm, || join(rng, COMPANY_HEADS, COMPANY_TAILS));
    if rng.chance(75) { format!("{core} {}", rng.choose(COMPANY_KINDS)) } else { core }
}

/// A town. Towns are shared by all realms.
pub(crate) fn place(rng: &mut Rng) -> String {
    join(rng, PLACE_HEADS, PLACE_TAILS)
}

/// A product: a made-up word, often with a model number.
pub(crate) fn product(rng: &mut Rng) -> String {
    let word = join(rng, PRODUCT_HEADS, PRODUCT_TAILS);
    match rng.below(3) {
        0 => word,
        1 => format!("{word} {}", rng.between(2, 90) * 10),
        _ => format!("{word} {}{}", rng.choose(&["A", "C", "G", "S", "T", "X"]), rng.between(1, 9)),
    }
}

/// A word without meaning in small letters: two or three syllables.
pub(crate) fn nonsense(rng: &mut Rng) -> String {
    let syllables = ["ba", "do", "fi", "ga", "ke", "lu", "mo", "na", "pi", "ro", "sa", "tu", "vo", "ze"];
    (0..rng.between(2, 3)).map(|_| *rng.choose(&syllables)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_realm() {
        let mut rng = Rng::new(1);
        for realm in [Realm::General, Realm::Train, Realm::Validation, Realm::Test] {
            for _ in 0..200 {
                let (person, company) = (person(&mut rng, realm), company(&mut rng, realm));
                for name in [&person, &company] {
                    let first = name.split(' ').next().expect("split yields at least one part");
                    assert_eq!(Realm::of(first), realm, "{name}");
                }
            }
        }
    }

    #[test]
    fn names_are_many() {
        let mut rng = Rng::new(2);
        let people: std::collections::BTreeSet<String> =
            (0..1000).map(|_| person(&mut rng, Realm::Test)).collect();
        assert!(people.len() > 980, "{}", people.len());
    }
}
