//! Cleaning: a list of steps that repair, shorten and drop texts, with a report of what each did.

mod analysis;
mod blocks;
mod chars;
mod edit;
mod file;
mod filter;
mod preset;
mod reference;
mod report;
mod rule;
mod run;
mod settings;
mod step;
mod stream;
mod table;

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

pub use self::edit::{
    BoilerplateLines, Citations, ControlCharacters, Html, Mojibake, NormalForm, PersonalAction, PersonalData,
    Unicode, WhiteSpace,
};
pub use self::filter::{
    AlphabetRatio, C4, C4Measures, C4Paragraphs, Counting, EmptyLines, FineWeb, GopherMeasures,
    GopherQuality, GopherRepetition, Language, Length, MatchAction, Matches, Repetition,
};
pub use self::preset::Preset;
pub use self::report::{CleanReport, Sample, StepReport};
use self::rule::{Rule, Scratch};
pub use self::run::clean;
pub use self::step::Step;
pub use self::stream::{Cleanable, Cleaned};
use crate::error::DataError;
use crate::tokenizer::Tokenizer;

/// A list of cleaning steps, ready to run.
///
/// Steps run in order. A step changes texts, drops them, or both. On a [`Record`](crate::Record) the changes apply to
/// every text of its body, and what drops looks at all that user and assistant say, as one text. Results do not depend on
/// the number of threads. Where the reference filters compare lines or n-grams, 64-bit hashes are compared here.
///
/// ```
/// use burnisher_data::{CleanOutcome, Pipeline};
///
/// let pipeline = Pipeline::from_toml(
///     r#"
///     steps = [
///         "unicode",
///         { step = "personal_data", phone = false },
///         { step = "length", min_words = 3 },
///     ]"#,
/// )?;
/// let text = pipeline.clean_text("Write to anna@example.org today.");
/// assert_eq!(text, CleanOutcome::Kept("Write to <EMAIL> today.".into()));
/// assert!(matches!(pipeline.clean_text("Too short"), CleanOutcome::Dropped { step, .. } if step == "length"));
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    steps: Vec<Step>,
    rules: Arc<[NamedRule]>,
}

#[derive(Debug)]
struct NamedRule {
    name: String,
    rule: Box<dyn Rule>,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum CleanOutcome<'t> {
    /// It stays, perhaps changed.
    Kept(Cow<'t, str>),
    /// A step dropped it.
    Dropped {
        /// The step.
        step: String,
        /// The rule; names are the reference's where there is one.
        reason: String,
        /// The number that broke the rule.
        value: f64,
    },
}

/// Collects the steps of a [`Pipeline`].
#[derive(Clone, Default)]
pub struct PipelineBuilder {
    steps: Vec<Step>,
    tokenizer: Option<Tokenizer>,
}

impl std::fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineBuilder").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl PipelineBuilder {
    /// Adds a step at the end.
    #[must_use]
    pub fn step(mut self, step: impl Into<Step>) -> Self {
        self.steps.push(step.into());
        self
    }

    /// Adds the steps of a preset at the end.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.steps.extend(preset.steps());
        self
    }

    /// The tokenizer of `length` steps that name none.
    #[must_use]
    pub fn tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Compiles the steps.
    ///
    /// # Errors
    ///
    /// [`DataError::Pipeline`] for a regular expression that does not parse, an unknown language, limits in tokens without
    /// a tokenizer, and a step whose feature is off.
    pub fn build(self) -> Result<Pipeline, DataError> {
        build("pipeline", self.steps, self.tokenizer.as_ref())
    }
}

fn build(place: &str, steps: Vec<Step>, tokenizer: Option<&Tokenizer>) -> Result<Pipeline, DataError> {
    let mut rules: Vec<NamedRule> = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        let rule = step.compile(tokenizer).map_err(|message| DataError::Pipeline {
            place: format!("{place}: steps[{number}] ({})", step.name()),
            message,
        })?;
        let same = steps[..number].iter().filter(|other| other.name() == step.name()).count();
        let suffix = if same == 0 { String::new() } else { format!("#{}", same + 1) };
        rules.push(NamedRule { name: format!("{}{suffix}", step.name()), rule });
    }
    Ok(Pipeline { steps, rules: rules.into() })
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Pipeline {
    /// A pipeline put together in code.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }

    /// A ready-made pipeline; `"fineweb".parse()` gives a [`Preset`] by name.
    ///
    /// # Errors
    ///
    /// None with the presets of this version.
    pub fn preset(preset: Preset) -> Result<Self, DataError> {
        Self::builder().preset(preset).build()
    }

    /// Reads a pipeline from a file: YAML if its name ends in `yaml` or `yml`, else TOML.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] for a file that cannot be read, else as [`Pipeline::from_toml`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        build(&path.display().to_string(), file::read(path)?, None)
    }

    /// Reads a pipeline from TOML: a list `steps`, each a name or a table with the name in `step` and fields beside it.
    /// [`Pipeline::reference_toml`] prints them all.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownInPipeline`] for an unknown step or field, with the nearest known name, and
    /// [`DataError::Pipeline`] for what does not parse or compile.
    pub fn from_toml(text: &str) -> Result<Self, DataError> {
        build("TOML", file::from_toml("TOML", text)?, None)
    }

    /// Reads a pipeline from YAML, of the same form.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::from_toml`].
    pub fn from_yaml(text: &str) -> Result<Self, DataError> {
        build("YAML", file::from_yaml("YAML", text)?, None)
    }

    /// Every step with its fields, their defaults and what they mean, as a file to start from.
    pub fn reference_toml() -> String {
        file::reference()
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// An empty report of this pipeline.
    fn report(&self) -> CleanReport {
        CleanReport::new(self.rules.iter().map(|named| named.name.clone()))
    }

    /// Cleans one text.
    pub fn clean_text<'t>(&self, text: &'t str) -> CleanOutcome<'t> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.forget();
            let mut text = Cow::Borrowed(text);
            for NamedRule { name, rule } in self.rules.iter() {
                scratch.findings.clear();
                let drop = run::too_large(&text)
                    .or_else(|| if rule.checks() { rule.check(&text, scratch) } else { None })
                    .or_else(|| {
                        let new = if rule.edits() { rule.edit(&text, scratch) } else { None };
                        text = Cow::Owned(new?);
                        scratch.follow();
                        run::nothing_left(&text)
                    });
                if let Some(drop) = drop {
                    let (reason, value) = (drop.reason.into_owned(), drop.value);
                    return CleanOutcome::Dropped { step: name.clone(), reason, value };
                }
            }
            CleanOutcome::Kept(text)
        })
    }

    /// [`Pipeline::clean_text`] by the definition of every rule, without shortcuts and by strings in place of hashes: to test the
    /// fast code against, and many times slower.
    pub fn clean_text_reference<'t>(&self, text: &'t str) -> CleanOutcome<'t> {
        let mut text = Cow::Borrowed(text);
        for NamedRule { name, rule } in self.rules.iter() {
            let drop = run::too_large(&text)
                .or_else(|| if rule.checks() { rule.check_reference(&text) } else { None })
                .or_else(|| {
                    text = Cow::Owned(if rule.edits() { rule.edit_reference(&text) } else { None }?);
                    run::nothing_left(&text)
                });
            if let Some(drop) = drop {
                let (reason, value) = (drop.reason.into_owned(), drop.value);
                return CleanOutcome::Dropped { step: name.clone(), reason, value };
            }
        }
        CleanOutcome::Kept(text)
    }

    /// Cleans records as they come, in parallel and in order; errors pass through. See [`Cleaned`].
    pub fn stream<I, T>(&self, records: I) -> Cleaned<'_, I::IntoIter, T>
    where
        I: IntoIterator<Item = Result<T, DataError>>,
        T: Cleanable,
    {
        Cleaned::new(self, records.into_iter())
    }
}
