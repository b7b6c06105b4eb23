//! The `burnisher` program. Exit status: 0 done, 1 an error (on standard error), 2 wrong usage.

mod args;
mod bar;
mod commands;
mod compare;
mod data;
mod doctor;
mod eval;
mod export;
mod logits;
mod metrics;
#[cfg(feature = "review")]
mod review;
mod task;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;

/// What a command can fail with.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let outcome = match Args::parse().command {
        Command::Train(args) => commands::train(&args),
        Command::Generate(args) => commands::generate(&args),
        Command::Eval(args) => {
            eval::check_out(args.out.as_deref(), [&args.data]).and_then(|()| eval::run(&args))
        }
        Command::Task(args) => task::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Data { command } => data::run(&command),
        Command::Metrics(args) => metrics::run(&args),
        #[cfg(feature = "review")]
        Command::Review(args) => review::run(&args),
        Command::Doctor => doctor::run(),
        Command::Export(args) => export::export(&args),
        Command::Merge(args) => export::merge(&args),
        Command::Quantize(args) => commands::quantize(&args),
        Command::Logits(args) => logits::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
