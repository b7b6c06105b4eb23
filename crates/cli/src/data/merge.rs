use std::path::PathBuf;

use burnisher::data::merge_shards;
use clap::Args;

use super::output::make_folder;
use crate::Outcome;

#[derive(Args)]
pub(crate) struct MergeArgs {
    /// What each process wrote, in any order; beside each stands its `.places`.
    #[arg(required = true, value_name = "FILE")]
    shards: Vec<PathBuf>,
    /// Where the records go, in the order of the source.
    #[arg(short, long)]
    out: PathBuf,
}

pub(crate) fn run(args: &MergeArgs) -> Outcome {
    make_folder(&args.out)?;
    let records = merge_shards(&args.shards, &args.out)?;
    println!("{records} records of {} shards in {}", args.shards.len(), args.out.display());
    Ok(())
}
