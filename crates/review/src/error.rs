//! The one error type of this crate.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::visible::visible;

/// Why a study, a judgement, a log or a server was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReviewError {
    /// A file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or a line of it is not what it should be.
    #[error("{}, line {line}: {}", path.display(), visible(&source.to_string(), 300))]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A study cannot be judged as it stands.
    #[error("study: {place}: found {found}, wanted {wanted}")]
    Study {
        /// The item, criterion or option.
        place: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        wanted: &'static str,
    },
    /// A judge who is not in the study.
    #[error("found the judge `{found}`, wanted one of {wanted}")]
    UnknownJudge {
        /// The name found.
        found: String,
        /// The names known, separated by commas.
        wanted: String,
    },
    /// A task that this judge was not given.
    #[error("the judge `{judge}` has no task `{found}` in this study")]
    UnknownTask {
        /// The judge.
        judge: String,
        /// The beginning of the id found.
        found: String,
    },
    /// A judgement whose scores or comment are not allowed.
    #[error("judgement of task `{task}`: {place}: found {found}, wanted {wanted}")]
    Judgement {
        /// The task.
        task: String,
        /// The criterion or the comment.
        place: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        wanted: String,
    },
    /// A log or saved answers that belong to another study, or to the same one with other items, criteria or seed.
    #[error("{}: found judgements of study {found}, wanted {wanted}; items, criteria, seed or repeats were changed", path.display())]
    ForeignLog {
        /// The log.
        path: PathBuf,
        /// The digest in the log.
        found: String,
        /// The digest of the study.
        wanted: String,
    },
    /// A line of a log that does not fit the study.
    #[error("{}, line {line}: {source}", path.display())]
    LogLine {
        /// The log or export.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What does not fit.
        source: Box<ReviewError>,
    },
    /// Another process writes this log.
    #[error("{}: another process holds this log; stop the server or import that writes it first", path.display())]
    LogInUse {
        /// The log.
        path: PathBuf,
    },
    /// An earlier write failed and could not be taken back.
    #[error("{}: an earlier write failed half-way; start the server again to repair the log", path.display())]
    LogBroken {
        /// The log.
        path: PathBuf,
    },
    /// The server could not listen.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file of secrets that others on this machine can read or change.
    #[error("{}: found the mode {mode:o}, wanted a file for its owner alone (`chmod 600`)", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A page could not be made.
    #[error("page: {0}")]
    Page(#[from] minijinja::Error),
    /// A statistic could not be computed.
    #[error(transparent)]
    Eval(#[from] burnisher_eval::EvalError),
}

impl ReviewError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn study(place: impl Into<String>, found: impl Into<String>, wanted: &'static str) -> Self {
        Self::Study { place: place.into(), found: found.into(), wanted }
    }
}
