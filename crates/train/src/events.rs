use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use burnisher_eval::Metric;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::error::TrainError;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// All steps are done.
    Completed,
    /// The validation loss, or the metric that was watched, no longer got better.
    EarlyStopping,
}

/// What happens in a training run.
///
/// Losses are means per label in nats; steps are optimizer steps, counted from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The run goes on from a checkpoint. Comes before [`Event::Started`].
    Resumed {
        /// Steps done before.
        step: u64,
        /// The checkpoint.
        path: PathBuf,
    },
    /// The run begins.
    Started {
        /// Values that are trained.
        trainable: usize,
        /// Values of the whole model.
        total: usize,
        /// Rows of the training set.
        rows: usize,
        /// Steps of the whole run.
        total_steps: u64,
    },
    /// A step was done; comes every `log_every` steps, at the first and at the last.
    Step {
        /// The step.
        step: u64,
        /// Steps of the whole run.
        total_steps: u64,
        /// Loss of this step.
        loss: f64,
        /// Learning rate of this step.
        learning_rate: f64,
        /// L2 norm of all gradients before clipping.
        grad_norm: f64,
        /// Labels trained so far, in resumed runs before this one too.
        tokens: u64,
        /// Labels per second since the last event of this kind.
        tokens_per_second: f64,
        /// Wall time of this run in seconds.
        seconds: f64,
    },
    /// A step in f16 changed nothing: a gradient was not finite.
    Skipped {
        /// The step.
        step: u64,
        /// The first parameter whose gradient is not finite.
        tensor: String,
        /// What the loss is multiplied by from here on.
        loss_scale: f64,
        /// Steps that were skipped so far, in resumed runs before this one too.
        skipped: u64,
    },
    /// The validation set was measured.
    Evaluated {
        /// The step, 0 before the first.
        step: u64,
        /// Loss over the whole validation set.
        validation_loss: f64,
        /// Labels in the validation set.
        tokens: u64,
        /// Scores of the answers to validation records, 0..100, if `eval_metrics` asks for them.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metrics: BTreeMap<Metric, f64>,
        /// Whether this is the best validation so far: the lowest loss, or the best `metric_for_best_model`.
        best: bool,
    },
    /// A checkpoint was written.
    Saved {
        /// The step.
        step: u64,
        /// The checkpoint.
        path: PathBuf,
    },
    /// Something that does not stop the run but should be read.
    Warning(#[serde(serialize_with = "message")] String),
    /// The run ended.
    Finished {
        /// The last step.
        step: u64,
        /// Why it ended.
        reason: StopReason,
        /// Wall time of this run in seconds.
        seconds: f64,
    },
}

/// An internally tagged variant must be a map: `{"event": "warning", "message": …}`.
fn message<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Warning", 1)?;
    fields.serialize_field("message", text)?;
    fields.end()
}

/// Sees the events of a run, one after the other.
pub trait Observer: Send {
    /// Called at every event, on the thread that trains.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}

/// Writes every event as one line of JSON.
///
/// A resumed run appends to the file; a later line for a step stands for an earlier one. A line is
/// written whole or, if the process is killed meanwhile, cut off when the file is opened again. A
/// write that fails is logged once and ends the writing, not the run.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: Option<File>,
}

impl JsonLines {
    /// Opens `path` (for example `metrics.jsonl` in the output directory) for appending; makes the file
    /// and its directory if need be.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the file cannot be opened.
    pub fn append(path: impl Into<PathBuf>) -> Result<Self, TrainError> {
        let path = path.into();
        match open(&path) {
            Ok(file) => Ok(Self { path, file: Some(file) }),
            Err(source) => Err(TrainError::io("open", &path, source)),
        }
    }
}

impl Observer for JsonLines {
    fn on_event(&mut self, event: &Event) {
        let Some(file) = &mut self.file else {
            return;
        };
        let written = serde_json::to_vec(event).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "events are no longer written");
            self.file = None;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole_lines = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    if whole_lines < bytes.len() {
        file.set_len(whole_lines as u64)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_one_flat_object() -> Result<(), serde_json::Error> {
        let cases = [
            (Event::Warning("slow".to_owned()), r#"{"event":"warning","message":"slow"}"#),
            (
                Event::Saved { step: 5, path: PathBuf::from("out/checkpoint-5") },
                r#"{"event":"saved","step":5,"path":"out/checkpoint-5"}"#,
            ),
            (
                Event::Finished { step: 9, reason: StopReason::EarlyStopping, seconds: 1.5 },
                r#"{"event":"finished","step":9,"reason":"early_stopping","seconds":1.5}"#,
            ),
        ];
        for (event, line) in cases {
            assert_eq!(serde_json::to_string(&event)?, line);
        }
        Ok(())
    }

    #[test]
    fn appends_and_cuts_a_torn_line() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("new").join("metrics.jsonl");
        JsonLines::append(&path)?.on_event(&Event::Warning("one".to_owned()));
        let mut torn = fs::read(&path)?;
        torn.extend_from_slice(b"{\"event\":\"st");
        fs::write(&path, &torn)?;
        JsonLines::append(&path)?.on_event(&Event::Warning("two".to_owned()));
        let text = fs::read_to_string(&path)?;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [r#"{"event":"warning","message":"one"}"#, r#"{"event":"warning","message":"two"}"#]
        );
        Ok(())
    }

    #[test]
    fn a_closure_observes() {
        let mut seen = Vec::new();
        let mut observer = |event: &Event| seen.push(event.clone());
        observer.on_event(&Event::Warning("w".to_owned()));
        assert_eq!(seen, [Event::Warning("w".to_owned())]);
    }
}
