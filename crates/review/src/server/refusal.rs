//! Requests that were refused, and the log of them.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    path::PathBuf,
};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::{ReviewError, judgement::now_ms, log::private, visible::visible};

/// The log of refusals ends here, so that nobody fills the disk by asking.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;
/// Characters of a foreign text that are kept.
const TEXT_LIMIT: usize = 200;
/// Characters of a torn line that are kept: a whole judgement, or nearly.
const TORN_LIMIT: usize = 20_000;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// No `Host` of this server.
    Host,
    /// From the page of another site.
    Origin,
    /// No token, or an unknown one.
    Token,
    /// A token that does not open this.
    Role,
    /// Nothing is there.
    Path,
    /// The path takes other methods.
    Method,
    /// The query is not understood.
    Query,
    /// Another type than JSON.
    MediaType,
    /// Too long, too slow or cut off.
    Body,
    /// A head that does not end, or a client that does not take its answer.
    Slow,
    /// A body that is no judgement.
    Json,
    /// A task that is not the judge's.
    Task,
    /// Scores or a comment that are not allowed.
    Judgement,
    /// The log or a statistic failed.
    Internal,
}

/// A refused request.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) kind: Kind,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into() }
    }
}

impl From<ReviewError> for Refusal {
    fn from(error: ReviewError) -> Self {
        let (status, kind) = match error {
            ReviewError::UnknownTask { .. } => (StatusCode::NOT_FOUND, Kind::Task),
            ReviewError::Judgement { .. } => (StatusCode::UNPROCESSABLE_ENTITY, Kind::Judgement),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // Paths of this machine, which an error of the log names, are no business of a browser.
        let error = match self.kind {
            Kind::Internal => "the server could not do this; its log of refusals says why",
            _ => &self.detail,
        };
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// JSONL of refused requests, and of torn lines that were cut off the log of judgements.
#[derive(Debug)]
pub(super) struct RefusalLog {
    file: File,
    size: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time_ms: u64,
    peer: SocketAddr,
    method: &'a str,
    path: &'a str,
    status: u16,
    kind: Kind,
    detail: &'a str,
}

impl RefusalLog {
    pub(super) fn open(path: PathBuf) -> Result<Self, ReviewError> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = private(&mut options).open(&path)?;
            let size = file.seek(SeekFrom::End(0))?;
            // A line that a killed process left open is ended, so that the next is a line of its own.
            if size > 0 {
                let mut last = [0];
                file.seek(SeekFrom::Start(size - 1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            Ok((file, size))
        };
        let (file, size) = open().map_err(ReviewError::io("open", &path))?;
        Ok(Self { file, size })
    }

    pub(super) fn refused(&mut self, peer: SocketAddr, method: &str, path: &str, refusal: &Refusal) {
        let [method, path, detail] = [method, path, &refusal.detail].map(|text| visible(text, TEXT_LIMIT));
        let line = Line {
            time_ms: now_ms(),
            peer,
            method: &method,
            path: &path,
            status: refusal.status.as_u16(),
            kind: refusal.kind,
            detail: &detail,
        };
        self.write(serde_json::to_vec(&line));
    }

    pub(super) fn torn(&mut self, line: &str) {
        let detail = visible(line, TORN_LIMIT);
        self.write(serde_json::to_vec(&json!({ "time_ms": now_ms(), "kind": "torn", "detail": detail })));
    }

    /// A failing write is let go: refusing must go on when the disk is full.
    fn write(&mut self, line: serde_json::Result<Vec<u8>>) {
        let Ok(mut line) = line else { return };
        if self.size >= SIZE_LIMIT {
            return;
        }
        line.push(b'\n');
        self.size += line.len() as u64;
        if self.size >= SIZE_LIMIT {
            line.extend(b"{\"kind\":\"full\",\"detail\":\"later refusals are not written\"}\n");
        }
        let _ = self.file.write_all(&line);
    }
}
