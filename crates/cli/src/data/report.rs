use std::path::PathBuf;

use burnisher::data::{CardConfig, CardSet, DataCard, Record, Tokenizer};
use clap::Args;

use super::input::{NamedInput, ReadArgs};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// The sets, the trained one first: files, folders or patterns, each with a name before it if you like
    /// (`train=data/*.jsonl`).
    #[arg(required = true, value_name = "[NAME=]FILE")]
    sets: Vec<NamedInput>,
    #[command(flatten)]
    read: ReadArgs,
    /// Where card.md, card.json and card.html go.
    #[arg(short, long)]
    out: PathBuf,
    /// Hugging Face directory of the model (or a tokenizer.json): lengths are then in tokens.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Tokens that the model reads at once.
    #[arg(long)]
    max_length: Option<usize>,
    /// A column whose values are counted; may be repeated. Without it, columns with few different values.
    #[arg(long = "label", value_name = "COLUMN")]
    labels: Vec<String>,
    /// Words in a row that count as a leak.
    #[arg(long, default_value_t = 13)]
    ngram: usize,
    /// Similarity (Jaccard, of 5 words) from which two records are near-duplicates.
    #[arg(long, default_value_t = 0.8)]
    near: f64,
    /// Records shown per set.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// Seed that chooses them.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The title of the card.
    #[arg(long, default_value = "Data card")]
    title: String,
}

pub(crate) fn run(args: &ReportArgs) -> Outcome {
    let tokenizer = args.model.as_deref().map(tokenizer).transpose()?;
    let sets: Vec<Vec<Record>> =
        args.sets.iter().map(|set| args.read.read(&set.path)).collect::<Result<_, _>>()?;
    let sets: Vec<CardSet<'_>> =
        args.sets.iter().zip(&sets).map(|(set, records)| CardSet::new(&set.name, records)).collect();
    let config = CardConfig::new()
        .with_title(&args.title)
        .with_max_length(args.max_length)
        .with_labels(&args.labels)
        .with_ngram(args.ngram)
        .with_near_threshold(args.near)
        .with_samples(args.samples)
        .with_seed(args.seed);
    let card = DataCard::measure(&sets, tokenizer.as_ref(), &config)?;
    for set in &card.sets {
        println!(
            "{}: {} records, {} near-duplicates ({} exact)",
            set.name, set.records, set.near_duplicates, set.exact_duplicates
        );
    }
    for advice in &card.advice {
        println!("{}. {}", advice.found, advice.action);
    }
    for path in card.write(&args.out)? {
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The tokenizer of a model's directory, or of a file.
pub(super) fn tokenizer(path: &std::path::Path) -> Result<Tokenizer, Box<dyn std::error::Error>> {
    Ok(if path.is_dir() { Tokenizer::from_dir(path)? } else { Tokenizer::from_file(path)? })
}
