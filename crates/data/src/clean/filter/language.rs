use whatlang::{Lang, detect};

use crate::clean::rule::{Drop, Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Keeps texts in some languages, told from the first characters by the trigrams of whatlang 0.18.
    ///
    /// Its confidence is not that of fastText, for which FineWeb's 0.65 was chosen; short texts have little of it.
    Language = "language" {
        /// ISO 639-3 codes, two-letter codes or English names (`eng`, `en`, `English`).
        allowed / with_allowed: Vec<String> = vec!["eng".to_owned()],
        /// Least confidence, 0 to 1.
        min_confidence / with_min_confidence: f64 = 0.65,
        /// Characters that are looked at.
        characters / with_characters: usize = 2000,
    }
}

/// Two-letter codes (ISO 639-1) of frequent languages.
const SHORT: [(&str, Lang); 36] = [
    ("ar", Lang::Ara),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("ko", Lang::Kor),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sv", Lang::Swe),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
];

/// [`Language`] with its languages looked up.
#[derive(Debug)]
pub(in crate::clean) struct Detector {
    allowed: Vec<Lang>,
    min_confidence: f64,
    characters: usize,
}

impl Detector {
    /// The detector, or the name that is no language.
    pub(in crate::clean) fn new(settings: &Language) -> Result<Self, String> {
        let allowed: Result<Vec<Lang>, String> = settings.allowed.iter().map(|name| find(name)).collect();
        let (min_confidence, characters) = (settings.min_confidence, settings.characters);
        Ok(Self { allowed: allowed?, min_confidence, characters })
    }
}

fn find(name: &str) -> Result<Lang, String> {
    let lower = name.to_lowercase();
    let short = SHORT.iter().find(|(code, _)| *code == lower).map(|(_, language)| *language);
    short
        .or_else(|| Lang::from_code(&lower))
        .or_else(|| Lang::all().iter().copied().find(|language| language.eng_name().to_lowercase() == lower))
        .ok_or_else(|| name.to_owned())
}

impl Rule for Detector {
    fn checks(&self) -> bool {
        true
    }

    fn check(&self, text: &str, _scratch: &mut Scratch) -> Option<Drop> {
        let end = text.char_indices().nth(self.characters).map_or(text.len(), |(at, _)| at);
        let Some(found) = detect(&text[..end]) else {
            return Drop::new("language_unknown", 0.0);
        };
        if !self.allowed.contains(&found.lang()) {
            return Drop::new(format!("language_{}", found.lang().code()), found.confidence());
        }
        if found.confidence() < self.min_confidence {
            return Drop::new("language_unsure", found.confidence());
        }
        None
    }
}
