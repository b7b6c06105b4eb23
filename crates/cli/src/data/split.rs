use std::path::PathBuf;
use std::str::FromStr;

use burnisher::data::{
    Assign, NearDuplicateConfig, PartSize, Record, SplitPlan, TextGroups, near_duplicate_records,
};
use clap::{Args, ValueEnum};

use super::{input::InputArgs, output::Output};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    input: InputArgs,
    /// A part and its size: a share (`validation=0.1`), a number of records (`test=500`) or the rest (`train=rest`);
    /// may be repeated. Without any: train=rest, validation=0.1, test=0.1.
    #[arg(long = "part", value_name = "NAME=SIZE")]
    parts: Vec<Part>,
    /// The folder where NAME.jsonl of each part goes.
    #[arg(short, long)]
    out: PathBuf,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Give every part the same mix of this column's values.
    #[arg(long, value_name = "COLUMN")]
    stratify: Option<String>,
    /// Keep records with the same value of this column in one part: one patient, one author, one document.
    #[arg(long, value_name = "COLUMN")]
    group: Option<String>,
    /// Earliest records to the first part, latest to the last, by this column (numbers or ISO dates).
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Choose the part by a hash of the record alone, so that shards, and later records, need no others. Similar texts
    /// are then not kept together.
    #[arg(long, conflicts_with_all = ["time", "stratify"])]
    by_hash: bool,
    /// Which texts stay in one part.
    #[arg(long, value_enum, default_value = "both")]
    together: Together,
    /// Similarity (Jaccard, of 5 words) from which texts are near-duplicates.
    #[arg(long, default_value_t = 0.7)]
    near: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Together {
    /// Texts that share 13 words in a row, and near-duplicates.
    Both,
    /// Texts that share 13 words in a row.
    Ngrams,
    /// Near-duplicates.
    Near,
    /// None: texts are not compared.
    None,
}

#[derive(Clone)]
struct Part {
    name: String,
    size: PartSize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = "NAME=SIZE, for example validation=0.1, test=500 or train=rest";
        let (name, size) = text.split_once('=').ok_or_else(|| format!("wanted {wanted}"))?;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        if !plain {
            return Err(format!("{name:?} is no name of a file; wanted letters, digits, - and _"));
        }
        let size = match (size, size.parse::<usize>(), size.parse::<f64>()) {
            ("rest", ..) => PartSize::Rest,
            (_, Ok(count), _) => PartSize::Count(count),
            (_, _, Ok(fraction)) => PartSize::Fraction(fraction),
            _ => return Err(format!("{size:?} is no size; wanted {wanted}")),
        };
        Ok(Self { name: name.to_owned(), size })
    }
}

pub(crate) fn run(args: &SplitArgs) -> Outcome {
    if args.input.shard.is_some() && !args.by_hash {
        return Err("--shard: a shard does not know the other records; wanted --by-hash beside it".into());
    }
    let sizes: Vec<(String, PartSize)> = match args.parts.is_empty() {
        false => args.parts.iter().map(|part| (part.name.clone(), part.size)).collect(),
        true => [
            ("train", PartSize::Rest),
            ("validation", PartSize::Fraction(0.1)),
            ("test", PartSize::Fraction(0.1)),
        ]
        .map(|(name, size)| (name.to_owned(), size))
        .into(),
    };
    let records = args.input.read_with_places()?;
    let (places, records): (Vec<u64>, Vec<Record>) = records.into_iter().unzip();
    let mut plan = SplitPlan::new(sizes.clone()).with_seed(args.seed);
    if let Some(column) = &args.stratify {
        plan = plan.with_stratify(column);
    }
    if let Some(column) = &args.group {
        plan = plan.with_group(column);
    }
    let together = if args.by_hash { Together::None } else { args.together };
    if matches!(together, Together::Near | Together::None) {
        plan = plan.with_text_groups(TextGroups::Off);
    }
    if matches!(together, Together::Near | Together::Both) {
        let near = NearDuplicateConfig::new(args.near);
        plan = plan.with_clusters(&near_duplicate_records(&records, &near)?);
    }
    plan = match (&args.time, args.by_hash) {
        (Some(column), _) => plan.with_assign(Assign::ByTime(column.clone())),
        (None, true) => plan.with_assign(Assign::ByHash),
        (None, false) => plan,
    };
    let (assigned, report) = plan.assign(&records)?;
    println!("{report}");
    std::fs::create_dir_all(&args.out)?;
    for (part, (name, _)) in sizes.iter().enumerate() {
        let mut output = Output::create(&args.out.join(format!("{name}.jsonl")), args.input.shard)?;
        for (at, record) in records.iter().enumerate().filter(|(at, _)| assigned[*at] == part) {
            output.write(places[at], record)?;
        }
        output.finish()?;
    }
    Ok(())
}
