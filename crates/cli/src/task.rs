//! `burnisher task`: a model asked as a task file says, and its answers scored.

use std::{io::IsTerminal, path::Path, path::PathBuf, time::Instant};

use burnisher::{
    data::{OnError, Source, SourceRow, Tokenizer},
    eval::{Task, TaskConfig, TaskItem, TaskReport},
    models::{GenerationConfig, stop_ids},
    train::{ask_task, write_file},
};
use serde_json::Value;

use crate::{Outcome, args::TaskArgs, commands::load, eval::check_out};

type Failure = Box<dyn std::error::Error>;

pub(crate) fn run(args: &TaskArgs) -> Outcome {
    let started = Instant::now();
    let mut config = TaskConfig::from_file(&args.task)?;
    if !args.data.is_empty() {
        config.data.clone_from(&args.data);
    }
    check_out(args.out.as_deref(), config.data.iter().chain([&args.task]))?;
    if let Some(shots) = args.num_fewshot {
        config.num_fewshot = shots;
    }
    config.limit = args.limit.or(config.limit);
    let (task, items) = read(config)?;
    let tokenizer = Tokenizer::from_dir(&args.model.model)?;
    let model = load(&args.model)?;
    let generation = GenerationConfig::from_dir(&args.model.model)?;
    let stops = stop_ids(generation.as_ref(), &model, Some(&tokenizer));
    let is_terminal = std::io::stderr().is_terminal();
    let mut progress = |done: usize, count: usize| {
        if is_terminal {
            eprint!("\r{done} of {count}");
        } else if done == count {
            eprintln!("{count} of {count}");
        }
    };
    let answers = ask_task(&task, &items, &model, &tokenizer, &stops, args.batch_size, &mut progress)?;
    if is_terminal {
        eprintln!();
    }
    if answers.truncated > 0 {
        let window = model.config().max_position_embeddings;
        eprintln!(
            "warning: {} of {} prompts lost their beginning: with the answer they do not fit into the model's window of \
             {window} tokens",
            answers.truncated,
            items.len()
        );
    }
    let report = task.score(&items, &answers.responses)?;
    println!("{}", report.to_markdown());
    match &args.out {
        Some(out) => write(&report, args, answers.truncated, started, out),
        None => Ok(()),
    }
}

/// The task, and what it asks about each row.
fn read(config: TaskConfig) -> Result<(Task, Vec<TaskItem>), Failure> {
    if config.data.is_empty() {
        return Err("found no data; wanted `data` in the task file, or --data FILE".into());
    }
    let rows = |paths: &[PathBuf]| -> Result<Vec<SourceRow>, Failure> {
        let source = Source::open_all(paths)?.with_on_error(OnError::Stop);
        Ok(source.read_rows()?)
    };
    let all = rows(&config.data)?;
    let limit = config.limit.unwrap_or(usize::MAX);
    let shots = match &config.examples_data {
        Some(paths) if config.num_fewshot > 0 => rows(paths)?,
        _ => all.clone(),
    };
    let shots: Vec<_> = shots.into_iter().map(|row| row.columns).collect();
    let task = config.init()?.with_fewshot(&shots)?;
    let items: Vec<TaskItem> = all
        .iter()
        .take(limit)
        .map(|row| task.item(&row.columns, &row.origin.to_string()))
        .collect::<Result<_, _>>()?;
    eprintln!("{}: {} of {} rows", task.config().task, items.len(), all.len());
    Ok((task, items))
}

/// The report, with what was measured besides, as JSON and as Markdown beside it.
fn write(report: &TaskReport, args: &TaskArgs, truncated: usize, started: Instant, out: &Path) -> Outcome {
    let mut json = serde_json::to_value(report)?;
    if let Some(fields) = json.as_object_mut() {
        fields.insert("model".to_owned(), Value::from(args.model.model.display().to_string()));
        let adapter = args.model.adapter.as_ref().map(|path| path.display().to_string());
        fields.insert("adapter".to_owned(), adapter.map_or(Value::Null, Value::from));
        fields.insert("truncated".to_owned(), Value::from(truncated));
        fields.insert("seconds".to_owned(), Value::from(started.elapsed().as_secs_f64()));
    }
    write_file(out, serde_json::to_string_pretty(&json)?.as_bytes())?;
    write_file(&out.with_extension("md"), report.to_markdown().as_bytes())?;
    eprintln!("wrote {} and {}", out.display(), out.with_extension("md").display());
    Ok(())
}
