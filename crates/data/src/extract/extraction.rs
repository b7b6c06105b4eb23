//! What was extracted, and how sure it is that the source says it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How an extraction's text was found in its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Token by token, ignoring case.
    MatchExact,
    /// Only its beginning stands in the source.
    MatchLesser,
    /// Enough of its tokens stand near each other, in order.
    MatchFuzzy,
    /// Not found: the extraction has no span, and none is made up.
    #[default]
    Ungrounded,
}

impl Status {
    /// `match_exact`, `match_lesser`, `match_fuzzy`, `ungrounded`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MatchExact => "match_exact",
            Self::MatchLesser => "match_lesser",
            Self::MatchFuzzy => "match_fuzzy",
            Self::Ungrounded => "ungrounded",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something to look at in an extraction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "flag")]
#[non_exhaustive]
pub enum Flag {
    /// The source does not say it word for word, but a few-shot example does: the model repeats its prompt.
    CopiedFromExample {
        /// The example, counted from 0.
        example: usize,
    },
    /// The schema has no such class.
    UnknownClass,
    /// The schema wants an attribute that is not there.
    MissingAttribute {
        /// The attribute.
        attribute: String,
    },
    /// The schema's class has no such attribute.
    UnknownAttribute {
        /// The attribute.
        attribute: String,
    },
    /// An attribute has another type than the schema says.
    WrongType {
        /// The attribute.
        attribute: String,
        /// The type of the schema.
        wanted: String,
        /// The type of the answer.
        found: String,
    },
    /// An attribute's value is none of those that the schema lists.
    NotAllowed {
        /// The attribute.
        attribute: String,
        /// The value.
        found: String,
    },
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopiedFromExample { example } => write!(f, "copied from example {example}"),
            Self::UnknownClass => f.write_str("class is not in the schema"),
            Self::MissingAttribute { attribute } => write!(f, "attribute {attribute:?} is missing"),
            Self::UnknownAttribute { attribute } => write!(f, "attribute {attribute:?} is not in the schema"),
            Self::WrongType { attribute, wanted, found } => {
                write!(f, "attribute {attribute:?} must be {wanted}, found {found}")
            }
            Self::NotAllowed { attribute, found } => {
                write!(f, "attribute {attribute:?} is {found}, which the schema does not list")
            }
        }
    }
}

/// One thing that a model found in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extraction {
    /// Its class (`medication`).
    pub class: String,
    /// Its text as the model wrote it.
    pub text: String,
    /// Its attributes; `None` where the answer had none.
    pub attributes: Option<Map<String, Value>>,
    /// Its number in the model's answer, counted from 1.
    pub index: usize,
    /// The number of the answer's object in which it stood, counted from 0.
    pub group: usize,
    /// How it was found in the source.
    pub status: Status,
    /// Its place in the source, in code points; `None` exactly where `status` is [`Status::Ungrounded`].
    pub chars: Option<Range<usize>>,
    /// Its place in the source, in tokens; `None` as `chars`, and after reading from a file.
    pub tokens: Option<Range<usize>>,
    /// What to look at.
    pub flags: Vec<Flag>,
}

impl Extraction {
    /// An extraction that is not aligned yet.
    pub fn new(class: impl Into<String>, text: impl Into<String>) -> Self {
        Self { class: class.into(), text: text.into(), ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.get_or_insert_default().insert(name.into(), value.into());
        self
    }
}
