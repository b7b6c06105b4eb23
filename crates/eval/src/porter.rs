//! Porter's stemmer with the extensions of NLTK.

/// Words whose stem the rules would miss. NLTK 3.8.1, `PorterStemmer`, mode `NLTK_EXTENSIONS`.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffix, replacement. The first suffix that fits decides, also when its condition then fails.
type Rules = [(&'static str, &'static str)];

const STEP_2: [(&str, &str); 22] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
];

const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const STEP_4: [(&str, &str); 19] = [
    ("al", ""),
    ("ance", ""),
    ("ence", ""),
    ("er", ""),
    ("ic", ""),
    ("able", ""),
    ("ible", ""),
    ("ant", ""),
    ("ement", ""),
    ("ment", ""),
    ("ent", ""),
    ("ion", ""),
    ("ou", ""),
    ("ism", ""),
    ("ate", ""),
    ("iti", ""),
    ("ous", ""),
    ("ive", ""),
    ("ize", ""),
];

/// The stem of an English word, in lower case.
///
/// Porter (1980), "An algorithm for suffix stripping", with the irregular words and changed rules of NLTK
/// 3.8.1's `PorterStemmer` (mode `NLTK_EXTENSIONS`), which is the stemmer of rouge_score. A word with a
/// character outside ASCII is only lower-cased.
pub fn porter_stem(word: &str) -> String {
    let word = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 || !word.is_ascii() {
        return word;
    }
    let steps = [step_1a, step_1b, step_1c, step_2, step_3, step_4, step_5a, step_5b];
    steps.into_iter().fold(word, |word, step| step(word))
}

fn step_1a(word: String) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return replace(&word, "ies", "ie");
    }
    apply(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_, _| true)
}

fn step_1b(word: String) -> String {
    if word.ends_with("ied") {
        return replace(&word, "ied", if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word };
    }
    let has_vowel = |stem: &&str| consonants(stem).contains(&false);
    let Some(stem) = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix).filter(has_vowel))
    else {
        return word;
    };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    match stem.as_bytes() {
        [.., before, last] if before == last && consonants(stem).ends_with(&[true]) => {
            let keeps_both = matches!(last, b'l' | b's' | b'z');
            stem[..stem.len() - usize::from(!keeps_both)].to_owned()
        }
        _ if measure(stem) == 1 && ends_cvc(stem) => format!("{stem}e"),
        _ => stem.to_owned(),
    }
}

fn step_1c(word: String) -> String {
    apply(word, &[("y", "i")], |_, stem| stem.len() > 1 && consonants(stem).ends_with(&[true]))
}

fn step_2(word: String) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(format!("{stem}al"));
    }
    // NLTK measures the word without its last three letters for `logi`, not without all four.
    apply(word, &STEP_2, |suffix, stem| match suffix {
        "logi" => measure(&format!("{stem}l")) > 0,
        _ => measure(stem) > 0,
    })
}

fn step_3(word: String) -> String {
    apply(word, &STEP_3, |_, stem| measure(stem) > 0)
}

fn step_4(word: String) -> String {
    apply(word, &STEP_4, |suffix, stem| {
        measure(stem) > 1 && (suffix != "ion" || stem.ends_with('s') || stem.ends_with('t'))
    })
}

fn step_5a(word: String) -> String {
    apply(word, &[("e", "")], |_, stem| match measure(stem) {
        0 => false,
        1 => !ends_cvc(stem),
        _ => true,
    })
}

fn step_5b(word: String) -> String {
    apply(word, &[("ll", "l")], |_, stem| measure(&format!("{stem}l")) > 1)
}

/// Replaces the first suffix of `rules` that fits if `condition(suffix, stem)` holds.
fn apply(word: String, rules: &Rules, condition: impl Fn(&str, &str) -> bool) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if condition(suffix, stem) { format!("{stem}{replacement}") } else { word };
        }
    }
    word
}

fn replace(word: &str, suffix: &str, replacement: &str) -> String {
    format!("{}{replacement}", word.strip_suffix(suffix).unwrap_or(word))
}

/// Which letters are consonants: `y` is a vowel after a consonant and a consonant elsewhere.
fn consonants(word: &str) -> Vec<bool> {
    let mut kinds = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        kinds.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => kinds.last().is_none_or(|before| !before),
            _ => true,
        });
    }
    kinds
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// Consonant, vowel, consonant other than w, x, y; NLTK also takes two letters, vowel and consonant.
fn ends_cvc(stem: &str) -> bool {
    match consonants(stem)[..] {
        [false, true] => true,
        [.., true, false, true] => !stem.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_nltk_that_differ_from_porters() {
        let rows = [
            ("Skies", "sky"),
            ("dies", "die"),
            ("died", "die"),
            ("cried", "cri"),
            ("enjoy", "enjoy"),
            ("by", "by"),
            ("happy", "happi"),
            ("geology", "geolog"),
            ("basically", "basic"),
            ("sleeping", "sleep"),
            ("hopping", "hop"),
            ("naïve", "naïve"),
        ];
        for (word, stem) in rows {
            assert_eq!(porter_stem(word), stem, "of {word}");
        }
    }
}
