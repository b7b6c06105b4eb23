//! What to extract: instructions, examples, and a schema.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::align::AlignConfig;
use super::extraction::{Extraction, Status};
use super::schema::Schema;
use crate::error::DataError;

/// A text with the extractions that a good answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// Its extractions, in the order of the text.
    pub extractions: Vec<Extraction>,
}

impl Example {
    /// An example.
    pub fn new(text: impl Into<String>, extractions: impl IntoIterator<Item = Extraction>) -> Self {
        Self { text: text.into(), extractions: extractions.into_iter().collect() }
    }
}

/// What to extract.
///
/// ```
/// use burnisher_data::extract::{Example, Extraction, Task};
///
/// let task = Task::new("Extract all drugs, in the text's own words.").with_example(Example::new(
///     "Anna took aspirin.",
///     [Extraction::new("drug", "aspirin").with_attribute("route", "oral")],
/// ));
/// assert!(task.warnings().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// What the model is told to do.
    pub instructions: String,
    /// Examples.
    pub examples: Vec<Example>,
    /// What answers may hold; `None` for anything.
    pub schema: Option<Schema>,
}

/// Something in a task's examples that teaches the model the wrong thing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskWarning {
    /// The example, counted from 0.
    pub example: usize,
    /// The extraction within the example, counted from 0.
    pub extraction: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TaskWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "examples[{}].extractions[{}]: {}", self.example, self.extraction, self.message)
    }
}

impl Task {
    /// A task without examples and schema.
    pub fn new(instructions: impl Into<String>) -> Self {
        Self { instructions: instructions.into(), examples: Vec::new(), schema: None }
    }

    /// Adds an example.
    #[must_use]
    pub fn with_example(mut self, example: Example) -> Self {
        self.examples.push(example);
        self
    }

    /// Sets the schema.
    #[must_use]
    pub fn with_schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Reads a task from a file: TOML where the name ends in `.toml`, else YAML.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file cannot be read, [`DataError::Task`] if it is no task.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let is_toml = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
        let task = if is_toml { Self::from_toml(&text) } else { Self::from_yaml(&text) };
        task.map_err(|error| match error {
            DataError::Task { message, .. } => DataError::Task { path: Some(path.to_owned()), message },
            other => other,
        })
    }

    /// Reads a task from TOML.
    ///
    /// ```
    /// use burnisher_data::extract::Task;
    ///
    /// let task = Task::from_toml(
    ///     r#"
    ///     instructions = "Extract all drugs."
    ///     [[examples]]
    ///     text = "Anna took 100 mg of aspirin."
    ///     extractions = [{ class = "drug", text = "aspirin", attributes = { dose = "100 mg" } }]
    ///     [[schema.classes]]
    ///     name = "drug"
    ///     attributes = [{ name = "dose", presence = "required" }, { name = "route", values = ["oral", "iv"] }]
    ///     "#,
    /// )?;
    /// assert_eq!(task.examples[0].extractions[0].class, "drug");
    /// # Ok::<(), burnisher_data::DataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DataError::Task`] if the text is not TOML or no task.
    pub fn from_toml(text: &str) -> Result<Self, DataError> {
        let file: TaskFile = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        file.check()
    }

    /// Reads a task from YAML, with the same fields as [`Task::from_toml`].
    ///
    /// # Errors
    ///
    /// [`DataError::Task`] if the text is not YAML or no task.
    pub fn from_yaml(text: &str) -> Result<Self, DataError> {
        let file: TaskFile = serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
        file.check()
    }

    /// What the examples do wrong: extractions that do not stand word for word in their own text, or that the
    /// schema does not allow. A model repeats what it is shown, so such extractions would not ground either.
    pub fn warnings(&self) -> Vec<TaskWarning> {
        let align = AlignConfig::default();
        let mut warnings = Vec::new();
        for (number, example) in self.examples.iter().enumerate() {
            let mut aligned = example.extractions.clone();
            align.align(&mut aligned, &example.text);
            for (place, extraction) in aligned.iter().enumerate() {
                let mut warn = |message| {
                    warnings.push(TaskWarning { example: number, extraction: place, message });
                };
                if extraction.status != Status::MatchExact {
                    let (text, status) = (&extraction.text, extraction.status);
                    warn(format!("{text:?} is not word for word in the example's text ({status})"));
                }
                for flag in self.schema.iter().flat_map(|schema| schema.check(extraction)) {
                    warn(flag.to_string());
                }
            }
        }
        warnings
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    instructions: String,
    #[serde(default)]
    examples: Vec<ExampleFile>,
    schema: Option<Schema>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExampleFile {
    text: String,
    #[serde(default)]
    extractions: Vec<ExtractionFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtractionFile {
    class: String,
    text: String,
    attributes: Option<Map<String, Value>>,
}

impl TaskFile {
    fn check(self) -> Result<Task, DataError> {
        if self.instructions.trim().is_empty() {
            return Err(refuse("instructions is empty"));
        }
        let extraction = |file: ExtractionFile| Extraction {
            attributes: file.attributes,
            ..Extraction::new(file.class, file.text)
        };
        let example =
            |file: ExampleFile| Example::new(file.text, file.extractions.into_iter().map(extraction));
        let examples = self.examples.into_iter().map(example).collect();
        Ok(Task { instructions: self.instructions, examples, schema: self.schema })
    }
}

fn refuse(message: impl Into<String>) -> DataError {
    DataError::Task { path: None, message: message.into() }
}
