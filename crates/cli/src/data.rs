//! `burnisher data`: from raw files to a training set. Each command reads records, says on standard error what it read,
//! writes records, and prints its report.

mod clean;
mod convert;
mod dedup;
mod extract;
mod input;
mod leaks;
mod merge;
mod mix;
mod output;
mod preview;
mod report;
mod split;

use clap::Subcommand;

pub(crate) use input::column_map;

use crate::Outcome;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Clean texts and leave out bad ones, by the steps of a pipeline file or of a preset.
    Clean(clean::CleanArgs),
    /// Print a commented pipeline file with every step of cleaning, its fields and their defaults.
    Steps,
    /// Leave out records that repeat others: word for word, or nearly.
    Dedup(dedup::DedupArgs),
    /// Divide a set into training, validation and test sets (or any others) without text in common.
    Split(split::SplitArgs),
    /// Find records of other sets whose text is in the training set; exit status 1 if there are any.
    Leaks(leaks::LeaksArgs),
    /// Mix several sets: by weights, by temperature, for epochs, with a share of general records.
    Mix(mix::MixArgs),
    /// Show the tokens of records as training sees them: what is learnt, what is only read.
    Preview(preview::PreviewArgs),
    /// Let a model extract things from texts, each found again in its source; JSON lines, a page and a training set.
    Extract(extract::ExtractArgs),
    /// Write the card of a data set: counts, lengths, duplicates, leaks, balance, languages, samples, advice.
    Report(report::ReportArgs),
    /// Read files of any kind and write them as JSON lines.
    Convert(convert::ConvertArgs),
    /// Put together what processes with `--shard` wrote.
    Merge(merge::MergeArgs),
}

pub(crate) fn run(command: &DataCommand) -> Outcome {
    match command {
        DataCommand::Clean(args) => clean::run(args),
        DataCommand::Steps => clean::steps(),
        DataCommand::Dedup(args) => dedup::run(args),
        DataCommand::Split(args) => split::run(args),
        DataCommand::Leaks(args) => leaks::run(args),
        DataCommand::Mix(args) => mix::run(args),
        DataCommand::Preview(args) => preview::run(args),
        DataCommand::Extract(args) => extract::run(args),
        DataCommand::Report(args) => report::run(args),
        DataCommand::Convert(args) => convert::run(args),
        DataCommand::Merge(args) => merge::run(args),
    }
}
