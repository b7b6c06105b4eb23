//! Documents in, extractions out.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use rayon::prelude::*;

use super::answers::{Answers, From};
use super::cache::DiskCache;
use super::chunk::{Chunk, chunks};
use super::config::ExtractConfig;
use super::copied::Copied;
use super::document::{ChunkFailure, Document, Extracted};
use super::extraction::Extraction;
use super::model::{LanguageModel, ModelError, Request};
use super::prompt::{chunk_context, messages};
use super::report::{Progress, Run, assemble};
use super::task::Task;
use crate::error::DataError;

/// Asks a model for the extractions of documents and finds each in its source.
///
/// ```
/// use burnisher_data::extract::{Answer, Document, Extractor, ModelError, Request, Status, Task};
///
/// let model = |_: &Request| -> Result<Answer, ModelError> {
///     Ok(Answer::new(r#"{"extractions": [{"drug": "aspirin"}, {"drug": "morphine"}]}"#))
/// };
/// let documents = [Document::new("1", "Anna took Aspirin.")];
/// let run = Extractor::new(Task::new("Extract all drugs."), model).run(&documents, |_| {})?;
/// let found = &run.documents[0].extractions;
/// assert_eq!((found[0].status, found[0].chars.clone()), (Status::MatchExact, Some(10..17)));
/// assert_eq!((found[1].status, found[1].chars.clone()), (Status::Ungrounded, None));
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Extractor<M> {
    task: Task,
    model: M,
    config: ExtractConfig,
    cache: Option<PathBuf>,
}

impl<M: LanguageModel> Extractor<M> {
    /// An extractor with the default configuration and without a cache.
    pub fn new(task: Task, model: M) -> Self {
        Self { task, model, config: ExtractConfig::default(), cache: None }
    }

    /// Sets the configuration.
    #[must_use]
    pub fn with_config(mut self, config: ExtractConfig) -> Self {
        self.config = config;
        self
    }

    /// Keeps answers in a folder (see [`DiskCache`]): the same run after a crash asks only what is missing.
    #[must_use]
    pub fn with_cache(mut self, dir: impl AsRef<Path>) -> Self {
        self.cache = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets the requests at the same time.
    #[must_use]
    pub fn with_concurrency(mut self, requests: usize) -> Self {
        self.config.concurrency = requests;
        self
    }

    /// Sets how often every chunk is asked.
    #[must_use]
    pub fn with_passes(mut self, passes: u32) -> Self {
        self.config.passes = passes;
        self
    }

    /// Runs over all documents. The result has every document, in the given order and whatever the number of threads;
    /// what could not be asked or read is listed in [`Extracted::failures`]. `observer` is called after each
    /// request, from several threads.
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] as [`ExtractConfig::validate`]; the errors of [`DiskCache::open`].
    pub fn run(&self, documents: &[Document], observer: impl Fn(&Progress) + Sync) -> Result<Run, DataError> {
        self.config.validate()?;
        let disk = self.cache.as_ref().map(DiskCache::open).transpose()?;
        let plan: Vec<Vec<Chunk>> = documents
            .par_iter()
            .map(|document| {
                let tokens = self.config.align.tokenizer.tokenize(&document.text);
                chunks(&document.text, &tokens, self.config.chunks)
            })
            .collect();
        let mut jobs = Vec::new();
        for (document, chunks) in plan.iter().enumerate() {
            for pass in 0..self.config.passes {
                jobs.extend((0..chunks.len()).map(|chunk| Job { document, pass, chunk }));
            }
        }
        let work = Work {
            extractor: self,
            documents,
            plan: &plan,
            identity: self.model.identity(),
            answers: Answers::new(disk),
            copied: Copied::new(&self.task),
            stopped: OnceLock::new(),
            next: AtomicUsize::new(0),
            progress: Mutex::new(Progress::new(documents.len(), jobs.len())),
            left: plan
                .iter()
                .map(|chunks| AtomicUsize::new(chunks.len() * self.config.passes as usize))
                .collect(),
            outcomes: jobs.iter().map(|_| OnceLock::new()).collect(),
        };
        work.progress().documents_done = plan.iter().filter(|chunks| chunks.is_empty()).count();
        thread::scope(|scope| {
            for _ in 0..self.config.concurrency.min(jobs.len()) {
                scope.spawn(|| work.go(&jobs, &observer));
            }
        });
        let progress = work.progress().clone();
        let mut outcomes = work.outcomes.into_iter();
        let mut extracted = Vec::with_capacity(documents.len());
        let mut report = super::report::RunReport::new(&progress);
        for (document, chunks) in documents.iter().zip(&plan) {
            let (mut passes, mut failures) = (Vec::new(), Vec::new());
            for pass in 0..self.config.passes {
                let mut of_pass = Vec::new();
                for (number, chunk) in chunks.iter().enumerate() {
                    match outcomes.next().and_then(OnceLock::into_inner) {
                        Some(Ok(found)) => of_pass.extend(found),
                        other => failures.push(ChunkFailure {
                            chunk: number,
                            pass,
                            chars: chunk.chars.clone(),
                            reason: other.and_then(Result::err).unwrap_or_else(|| "not asked".to_owned()),
                        }),
                    }
                }
                passes.push(of_pass);
            }
            let extractions = assemble(passes, &self.config, &mut report);
            let (id, text) = (document.id.clone(), document.text.clone());
            extracted.push(Extracted { id, text, extractions, failures });
        }
        Ok(Run { documents: extracted, report })
    }
}

#[derive(Debug, Clone, Copy)]
struct Job {
    document: usize,
    pass: u32,
    chunk: usize,
}

/// The aligned extractions of a chunk, or why there are none.
type Outcome = Result<Vec<Extraction>, String>;

#[derive(Debug)]
struct Work<'a, M> {
    extractor: &'a Extractor<M>,
    documents: &'a [Document],
    plan: &'a [Vec<Chunk>],
    identity: String,
    answers: Answers,
    copied: Copied,
    /// Why nothing more is asked.
    stopped: OnceLock<String>,
    next: AtomicUsize,
    progress: Mutex<Progress>,
    left: Vec<AtomicUsize>,
    outcomes: Vec<OnceLock<Outcome>>,
}

impl<M: LanguageModel> Work<'_, M> {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go(&self, jobs: &[Job], observer: &(impl Fn(&Progress) + Sync)) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            let (outcome, calls) = self.ask(*job);
            let failed = outcome.is_err();
            // Each number is handed out once.
            let _ = self.outcomes[number].set(outcome);
            let last = self.left[job.document].fetch_sub(1, Ordering::AcqRel) == 1;
            let now = {
                let mut progress = self.progress();
                progress.requests_done += 1;
                progress.asked += calls.asked;
                progress.kept += calls.kept;
                progress.failed += usize::from(failed);
                progress.documents_done += usize::from(last);
                progress.clone()
            };
            observer(&now);
        }
    }

    fn ask(&self, job: Job) -> (Outcome, Calls) {
        let config = &self.extractor.config;
        let (document, chunks) = (&self.documents[job.document], &self.plan[job.document]);
        let chunk = &chunks[job.chunk];
        let text = &document.text[chunk.bytes.clone()];
        let before = job.chunk.checked_sub(1).map(|before| {
            let tail = &document.text[chunks[before].bytes.clone()];
            (tail, config.context_chars)
        });
        let context = chunk_context(before, document.context.as_deref());
        let task = &self.extractor.task;
        let mut request =
            Request::new(messages(task, &config.format, config.style, text, context.as_deref()));
        (request.temperature, request.max_tokens) = (config.temperature, config.max_tokens);
        request.pass = job.pass;
        let mut calls = Calls::default();
        let mut reason = String::new();
        for attempt in 0..config.attempts {
            request.attempt = attempt;
            let step = u64::from(job.pass) * u64::from(config.attempts) + u64::from(attempt);
            request.seed = config.seed.map(|seed| seed.wrapping_add(step));
            let answer = match self.answer(&request, &mut calls) {
                Ok(answer) => answer,
                Err(error) => return (Err(error), calls),
            };
            match config.format.parse(&answer.text) {
                Ok(found) => return (Ok(self.ground(found, text, chunk)), calls),
                Err(error) => reason = error.to_string(),
            }
            if answer.finish_reason.as_deref() == Some("length") {
                reason.push_str(" (the model reached its limit of tokens)");
            }
        }
        (Err(reason), calls)
    }

    fn answer(&self, request: &Request, calls: &mut Calls) -> Result<super::model::Answer, String> {
        let key = request.key(&self.identity);
        let readable =
            |answer: &super::model::Answer| self.extractor.config.format.parse(&answer.text).is_ok();
        let asked = self.answers.get(&key, readable, || match self.stopped.get() {
            Some(reason) => {
                let message = format!("not asked, because the run stopped: {reason}");
                Err(ModelError::Refused { message })
            }
            None => {
                calls.asked += 1;
                self.extractor.model.complete(request)
            }
        });
        match asked {
            Ok((answer, from)) => {
                calls.kept += usize::from(from == From::Kept);
                Ok(answer)
            }
            Err(error) => {
                let message = error.to_string();
                if matches!(error, ModelError::Fatal { .. }) {
                    // The first reason is the one to show.
                    let _ = self.stopped.set(message.clone());
                }
                Err(message)
            }
        }
    }

    /// Spans in the document, and flags.
    fn ground(&self, mut found: Vec<Extraction>, text: &str, chunk: &Chunk) -> Vec<Extraction> {
        self.extractor.config.align.align(&mut found, text);
        for extraction in &mut found {
            let by = |at: &mut std::ops::Range<usize>, offset| *at = at.start + offset..at.end + offset;
            extraction.chars.iter_mut().for_each(|at| by(at, chunk.chars.start));
            extraction.tokens.iter_mut().for_each(|at| by(at, chunk.tokens.start));
            if let Some(schema) = &self.extractor.task.schema {
                extraction.flags = schema.check(extraction);
            }
            extraction.flags.extend(self.copied.check(extraction));
        }
        found
    }
}

#[derive(Debug, Default)]
struct Calls {
    asked: usize,
    kept: usize,
}
