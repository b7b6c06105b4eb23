use std::str::FromStr;

use super::edit::{ControlCharacters, Mojibake, PersonalData, Unicode, WhiteSpace};
use super::filter::{C4, FineWeb, GopherQuality, GopherRepetition, Language};
use super::step::Step;
use crate::error::DataError;
use crate::source::nearest;

/// A ready-made list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Repairs characters and white space; drops nothing but what is blank.
    Basic,
    /// FineWeb's filters in FineWeb's order, from language identification to the masks for addresses.
    FineWeb,
    /// `Basic` and Gopher's rules.
    Gopher,
    /// `Basic` and C4's rules.
    C4,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::Basic, Self::FineWeb, Self::Gopher, Self::C4];

    /// The name: `basic`, `fineweb`, `gopher` or `c4`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::FineWeb => "fineweb",
            Self::Gopher => "gopher",
            Self::C4 => "c4",
        }
    }

    /// The steps, in order.
    pub fn steps(self) -> Vec<Step> {
        let mut steps: Vec<Step> = vec![
            Mojibake::new().into(),
            ControlCharacters::new().into(),
            Unicode::new().into(),
            WhiteSpace::new().into(),
        ];
        match self {
            Self::Basic => {}
            Self::FineWeb => steps = fineweb(),
            Self::Gopher => steps.extend([GopherRepetition::new().into(), GopherQuality::new().into()]),
            Self::C4 => steps.push(C4::new().into()),
        }
        steps
    }
}

/// The order of FineWeb's script (datatrove 0.10.1, `examples/fineweb.py`), deduplication apart.
fn fineweb() -> Vec<Step> {
    let addresses = PersonalData::new()
        .with_phone(false)
        .with_credit_card(false)
        .with_iban(false)
        .with_ipv6(false)
        .with_api_key(false)
        .with_private_key(false)
        .with_jwt(false);
    vec![
        Language::new().into(),
        GopherRepetition::new().into(),
        GopherQuality::new().into(),
        C4::new().with_terminal_punctuation(false).into(),
        FineWeb::new().into(),
        addresses.into(),
    ]
}

impl FromStr for Preset {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let known = || Self::ALL.iter().map(|preset| preset.as_str());
        Self::ALL.into_iter().find(|preset| preset.as_str() == name).ok_or_else(|| {
            DataError::UnknownInPipeline {
                place: "pipeline".to_owned(),
                what: "preset",
                found: name.to_owned(),
                nearest: nearest(name, known()),
                known: known().map(str::to_owned).collect(),
            }
        })
    }
}
