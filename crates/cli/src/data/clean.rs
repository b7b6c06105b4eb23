use std::path::PathBuf;

use burnisher::data::{Pipeline, Preset};
use burnisher::train::write_file;
use clap::Args;

use super::{input::InputArgs, output::OutputArgs};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The steps, as a file (.toml, .yaml); `burnisher data steps` prints every step.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pipeline: Option<PathBuf>,
    /// Steps that are ready: basic (characters and white space), gopher, c4, fineweb.
    #[arg(long, default_value = "basic")]
    preset: String,
    /// Where the report goes as JSON; it is printed as well.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub(crate) fn run(args: &CleanArgs) -> Outcome {
    let pipeline = match &args.pipeline {
        Some(path) => Pipeline::from_file(path)?,
        None => Pipeline::preset(args.preset.parse::<Preset>()?)?,
    };
    let mut records = args.input.records()?;
    let mut output = args.output.create(args.input.shard)?;
    let mut cleaned = pipeline.stream(records.by_ref());
    for record in cleaned.by_ref() {
        let (place, record) = record?;
        output.write(place, &record)?;
    }
    let report = cleaned.report().clone();
    drop(cleaned);
    records.finish();
    println!("{report}");
    if let Some(path) = &args.report {
        write_file(path, serde_json::to_string_pretty(&report)?.as_bytes())?;
    }
    output.finish()
}

/// `burnisher data steps`.
pub(crate) fn steps() -> Outcome {
    print!("{}", Pipeline::reference_toml());
    Ok(())
}
