use std::path::Path;

use serde_json::{Map, Value};

use super::edit::{
    BoilerplateLines, Citations, ControlCharacters, Html, LineFinder, Mojibake, PersonalData, Unicode,
    WhiteSpace,
};
use super::filter::{
    Alphabet, AlphabetRatio, C4, C4Paragraphs, Detector, Expressions, FineWeb, GopherQuality,
    GopherRepetition, Language, Length, Matches, Measured, Repetition,
};
use super::rule::Rule;
use super::settings::{Field, Settings};
use crate::tokenizer::Tokenizer;

/// A step's name, what it is for, its fields and their defaults.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) fields: &'static [Field],
    pub(super) defaults: fn() -> Step,
}

/// Declares [`Step`], one variant for each settings type.
macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $type:ident),* $(,)?) => {
        /// One step of a [`Pipeline`](super::Pipeline): its kind and its settings.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Step {
            $($(#[doc = $doc])+ $type($type),)*
        }

        $(impl From<$type> for Step {
            fn from(settings: $type) -> Self {
                Self::$type(settings)
            }
        })*

        /// Every kind of step.
        pub(super) const ALL: &[About] = &[
            $(About {
                name: $type::NAME,
                about: $type::ABOUT,
                fields: $type::FIELDS,
                defaults: || Step::$type($type::default()),
            },)*
        ];

        impl Step {
            /// The name of the step's kind in files and reports.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$type(_) => $type::NAME,)*
                }
            }

            /// The step of that name with these fields, or what the deserializer says.
            pub(super) fn read(name: &str, fields: Map<String, Value>) -> Result<Self, String> {
                let fields = Value::Object(fields);
                match name {
                    $($type::NAME => serde_json::from_value(fields).map(Self::$type),)*
                    _ => unreachable!("names are looked up in ALL first"),
                }
                .map_err(|error| error.to_string())
            }

            /// The settings as an object.
            pub(super) fn values(&self) -> Value {
                match self {
                    $(Self::$type(settings) => serde_json::to_value(settings),)*
                }
                .unwrap_or_default()
            }
        }
    };
}

steps! {
    /// Normal forms.
    Unicode,
    /// Wrongly decoded text.
    Mojibake,
    /// Control and invisible characters.
    ControlCharacters,
    /// Spaces and blank lines.
    WhiteSpace,
    /// HTML to text.
    Html,
    /// Lines around the text of web pages.
    BoilerplateLines,
    /// Marks of wikis.
    Citations,
    /// Personal data and secrets.
    PersonalData,
    /// Gopher's rules of quality.
    GopherQuality,
    /// Gopher's rules against repetition.
    GopherRepetition,
    /// C4's rules.
    C4,
    /// mC4's rule of paragraphs.
    C4Paragraphs,
    /// FineWeb's rules.
    FineWeb,
    /// Language identification.
    Language,
    /// Length in characters, words and tokens.
    Length,
    /// Runs and copies.
    Repetition,
    /// Regular expressions.
    Matches,
    /// Share of letters.
    AlphabetRatio,
}

impl Step {
    /// Compiles the step, or says what is wrong with it.
    pub(super) fn compile(&self, tokenizer: Option<&Tokenizer>) -> Result<Box<dyn Rule>, String> {
        Ok(match self {
            Self::Unicode(settings) => Box::new(settings.clone()),
            Self::Mojibake(settings) => Box::new(settings.clone()),
            Self::ControlCharacters(settings) => Box::new(settings.clone()),
            Self::WhiteSpace(settings) => Box::new(settings.clone()),
            Self::Html(settings) if Html::IS_BUILT => Box::new(settings.clone()),
            Self::Html(_) => {
                return Err(
                    "the step html needs the feature `html` of burnisher-data, which is off".to_owned()
                );
            }
            Self::BoilerplateLines(settings) => Box::new(LineFinder::new(settings)?),
            Self::Citations(settings) => Box::new(settings.clone()),
            Self::PersonalData(settings) => Box::new(settings.clone()),
            Self::GopherQuality(settings) => Box::new(settings.clone()),
            Self::GopherRepetition(settings) => Box::new(settings.clone()),
            Self::C4(settings) => Box::new(settings.clone()),
            Self::C4Paragraphs(settings) => Box::new(settings.clone()),
            Self::FineWeb(settings) => Box::new(settings.clone()),
            Self::Language(settings) => {
                let detector = Detector::new(settings);
                Box::new(
                    detector
                        .map_err(|name| format!("allowed: {name:?} is no language that whatlang knows"))?,
                )
            }
            Self::Length(settings) => {
                Box::new(Measured::new(settings.clone(), tokenizer_of(settings, tokenizer)?))
            }
            Self::Repetition(settings) => Box::new(settings.clone()),
            Self::Matches(settings) => {
                Box::new(Expressions::new(settings).map_err(|error| format!("patterns: {error}"))?)
            }
            Self::AlphabetRatio(settings) => {
                Box::new(Alphabet::new(settings).map_err(|error| format!("alphabet: {error}"))?)
            }
        })
    }
}

/// What tokens are counted with: the step's own tokenizer, else the pipeline's; nothing if there is no limit.
fn tokenizer_of(limits: &Length, pipeline: Option<&Tokenizer>) -> Result<Option<Tokenizer>, String> {
    if limits.min_tokens == 0 && limits.max_tokens == 0 {
        return Ok(None);
    }
    let path: &Path = &limits.tokenizer;
    if path.as_os_str().is_empty() {
        let tokenizer = pipeline.cloned();
        let wanted = || "min_tokens and max_tokens need a tokenizer: name one in `tokenizer`".to_owned();
        return tokenizer.ok_or_else(wanted).map(Some);
    }
    let tokenizer = if path.is_dir() { Tokenizer::from_dir(path) } else { Tokenizer::from_file(path) };
    tokenizer.map(Some).map_err(|error| error.to_string())
}
