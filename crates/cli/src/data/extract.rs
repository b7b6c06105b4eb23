use std::{fs, path::PathBuf, time::Duration};

use burnisher::data::extract::{
    AnswerFormat, ChunkConfig, Document, ExtractConfig, Extractor, HttpConfig, Task, TrainingSet, Ungrounded,
    write_jsonl, write_page,
};
use clap::Args;

use super::{input::InputArgs, output::Output};
use crate::{Outcome, bar::Bar};

/// Where the key of an endpoint usually is.
const USUAL_KEY: &str = "OPENAI_API_KEY";

#[derive(Args)]
pub(crate) struct ExtractArgs {
    /// The task: instructions, examples, schema (.toml, .yaml).
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    #[command(flatten)]
    input: InputArgs,
    /// The folder where extractions.jsonl, extractions.html and train.jsonl go; answers are kept in its folder `answers`,
    /// so that the same call goes on where it was stopped.
    #[arg(short, long)]
    out: PathBuf,
    /// Base address of an OpenAI-compatible server, for example http://localhost:8000/v1.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The model's name there.
    #[arg(long)]
    model: String,
    /// The environment variable that holds the key of the endpoint; OPENAI_API_KEY without it, if that is set.
    #[arg(long, value_name = "NAME")]
    api_key_variable: Option<String>,
    /// Requests at the same time.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Requests per minute, at most.
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// How often each part of a text is asked; later answers add what earlier ones did not find.
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// Characters of a text that are asked at once.
    #[arg(long, default_value_t = 1000)]
    max_chars: usize,
    /// Characters of the text before that are shown with them.
    #[arg(long, default_value_t = 0)]
    overlap: usize,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Leave out what cannot be found in the text, instead of marking it.
    #[arg(long)]
    drop_ungrounded: bool,
}

pub(crate) fn run(args: &ExtractArgs) -> Outcome {
    let task = Task::from_file(&args.task)?;
    for warning in task.warnings() {
        eprintln!("{}: {warning}", args.task.display());
    }
    let documents: Vec<Document> = args
        .input
        .read()?
        .iter()
        .map(|record| Document::new(record.origin.to_string(), record.user_and_assistant_text()))
        .collect();
    let mut http =
        HttpConfig::new(&args.endpoint, &args.model).with_timeout(Duration::from_secs(args.timeout));
    if let Some(variable) = &args.api_key_variable {
        http = http.with_api_key_variable(variable);
    } else if std::env::var_os(USUAL_KEY).is_some() {
        http = http.with_api_key_variable(USUAL_KEY);
    }
    if let Some(requests) = args.requests_per_minute {
        http = http.with_requests_per_minute(requests);
    }
    let chunks = ChunkConfig::new(args.max_chars).with_overlap(args.overlap);
    let ungrounded = if args.drop_ungrounded { Ungrounded::Drop } else { Ungrounded::Flag };
    let config =
        ExtractConfig::default().with_chunks(chunks).with_passes(args.passes).with_ungrounded(ungrounded);
    let bar = Bar::stderr("requests");
    let run = Extractor::new(task.clone(), http.init()?)
        .with_config(config)
        .with_concurrency(args.concurrency)
        .with_cache(args.out.join("answers"))
        .run(&documents, |progress| bar.set(progress.requests_done, progress.requests))?;
    drop(bar);
    println!("{}", run.report);
    fs::create_dir_all(&args.out)?;
    write_jsonl(args.out.join("extractions.jsonl"), &run.documents)?;
    write_page(args.out.join("extractions.html"), &args.task.display().to_string(), &run.documents)?;
    let set = TrainingSet::new(&task, &AnswerFormat::default(), chunks, &run.documents);
    println!("{set}");
    let mut output = Output::create(&args.out.join("train.jsonl"), None)?;
    for (place, record) in (0..).zip(&set.records) {
        output.write(place, record)?;
    }
    output.finish()?;
    for document in run.failed() {
        for failure in &document.failures {
            eprintln!("{}: characters {:?}: {}", document.id, failure.chars, failure.reason);
        }
    }
    match run.failed().count() {
        0 => Ok(()),
        failed => Err(format!(
            "{failed} of {} documents have parts without an answer; the same call asks for them again",
            run.documents.len()
        )
        .into()),
    }
}
