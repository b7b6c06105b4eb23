use clap::Args;

use super::{input::InputArgs, output::OutputArgs};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &ConvertArgs) -> Outcome {
    let mut records = args.input.records()?;
    let mut output = args.output.create(args.input.shard)?;
    for record in &mut records {
        let (place, record) = record?;
        output.write(place, &record)?;
    }
    records.finish();
    output.finish()
}
