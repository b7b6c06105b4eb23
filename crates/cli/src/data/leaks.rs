use std::path::PathBuf;

use burnisher::data::{LeakAudit, LeakConfig, LeakText, NearDuplicateConfig, near_duplicate_records};
use clap::{Args, ValueEnum};

use super::{input::NamedInput, input::ReadArgs, output::Output};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct LeaksArgs {
    /// The training set: a file, a folder or a pattern.
    train: PathBuf,
    /// A set that must not be in it: validation, test, a benchmark; may be repeated.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    against: Vec<NamedInput>,
    #[command(flatten)]
    read: ReadArgs,
    /// Words in a row that count as a leak: 13 (GPT-3), 8 (stricter).
    #[arg(long, default_value_t = 13)]
    ngram: usize,
    /// Whose words are compared.
    #[arg(long, value_enum, default_value = "conversation")]
    text: TextArg,
    /// Near-duplicates of this similarity (Jaccard, of 5 words) count as well.
    #[arg(long, value_name = "SIMILARITY")]
    near: Option<f64>,
    /// Write the training set without the leaks here; the exit status is then 0.
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Show every pair instead of the first 20 of each set.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TextArg {
    /// The user's and the assistant's.
    Conversation,
    /// The user's: the questions.
    User,
    /// The assistant's: the answers.
    Assistant,
}

pub(crate) fn run(args: &LeaksArgs) -> Outcome {
    let train = args.read.read(&args.train)?;
    let text = match args.text {
        TextArg::Conversation => LeakText::Conversation,
        TextArg::User => LeakText::User,
        TextArg::Assistant => LeakText::Assistant,
    };
    let mut audit = LeakAudit::new(&train, LeakConfig::default().with_ngram(args.ngram).with_text(text))?;
    for set in &args.against {
        let records = args.read.read(&set.path)?;
        audit = match args.near {
            None => audit.against(&set.name, &records),
            Some(near) => {
                let near = NearDuplicateConfig::new(near);
                let clusters = near_duplicate_records(train.iter().chain(&records), &near)?;
                audit.against_clusters(&set.name, &records, &clusters)?
            }
        };
    }
    let report = audit.finish();
    match args.all {
        true => println!("{report:#}"),
        false => println!("{report}"),
    }
    if let Some(out) = &args.out {
        let (kept, removal) = report.remove(train)?;
        println!("{removal}");
        let mut output = Output::create(out, None)?;
        for (place, record) in (0..).zip(&kept) {
            output.write(place, record)?;
        }
        return output.finish();
    }
    if report.is_empty() {
        return Ok(());
    }
    let leaking = report.sets.iter().filter(|set| !set.is_empty()).count();
    Err(format!(
        "the training set leaks into {leaking} of {} sets; --out FILE writes it without",
        report.sets.len()
    )
    .into())
}
