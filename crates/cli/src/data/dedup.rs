use std::path::PathBuf;

use burnisher::data::{
    Keep, MinHashConfig, NearDuplicateConfig, Record, Shingling, SignatureIndex, Sketch, Verify,
};
use clap::{Args, ValueEnum};

use super::{input::InputArgs, output::Output};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct DedupArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Where the records that stay go. With --shard no records are written, only signatures.
    #[arg(short, long, required_unless_present = "signatures")]
    out: Option<PathBuf>,
    /// Remove records that repeat another word for word only.
    #[arg(long, conflicts_with_all = ["near", "simhash"])]
    exact: bool,
    /// Similarity (Jaccard of the word n-grams) from which two records are near-duplicates.
    #[arg(long, default_value_t = 0.8)]
    near: f64,
    /// Words per n-gram.
    #[arg(long, default_value_t = 5)]
    ngram: usize,
    /// Values of a MinHash signature.
    #[arg(long, default_value_t = 128)]
    num_perm: usize,
    /// Take SimHash instead: near-duplicates differ in at most this many of 64 bits.
    #[arg(long, value_name = "BITS")]
    simhash: Option<u32>,
    /// How candidates are checked.
    #[arg(long, value_enum, default_value = "estimated")]
    verify: VerifyArg,
    /// Which record of a group stays: first, longest, or the one with the highest number in a column.
    #[arg(long, default_value = "first", value_name = "first|longest|COLUMN")]
    keep: String,
    /// Signatures of records that are known already (yesterday's data): what repeats them is left out, too; may be
    /// repeated.
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Write the signatures of what is kept, and of what was known, here: tomorrow's `--against`. With --shard, the
    /// signatures of the shard.
    #[arg(long, value_name = "FILE")]
    signatures: Option<PathBuf>,
    /// Signatures that the shards wrote, all of them: nothing is computed again.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["shard", "against"])]
    shards: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum VerifyArg {
    /// Not at all.
    None,
    /// By the similarity that the signatures show.
    Estimated,
    /// By the n-grams themselves.
    Exact,
}

impl DedupArgs {
    fn config(&self) -> NearDuplicateConfig {
        let shingling = Shingling::words(self.ngram);
        let config = match self.simhash {
            Some(bits) => NearDuplicateConfig::simhash(bits),
            None => NearDuplicateConfig::new(self.near)
                .with_minhash(MinHashConfig::new(self.num_perm).with_shingling(shingling)),
        };
        let keep = match self.keep.as_str() {
            "first" => Keep::First,
            "longest" => Keep::Longest,
            column => Keep::Highest { column: column.to_owned() },
        };
        let verify = match self.verify {
            VerifyArg::None => Verify::None,
            VerifyArg::Estimated => Verify::Estimated,
            VerifyArg::Exact => Verify::Exact,
        };
        config.with_verify(verify).with_keep(keep)
    }

    /// What is known already, in one index.
    fn known(&self, sketch: Sketch) -> Result<SignatureIndex, Box<dyn std::error::Error>> {
        let mut known = SignatureIndex::new(sketch)?;
        for path in &self.against {
            let index = SignatureIndex::load(path)?;
            known.append(&index).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(known)
    }
}

pub(crate) fn run(args: &DedupArgs) -> Outcome {
    let config = args.config();
    config.validate()?;
    if let Some(shard) = args.input.shard {
        let ignored =
            [("--out", args.out.is_some()), ("--exact", args.exact), ("--against", !args.against.is_empty())];
        if let Some((option, _)) = ignored.iter().find(|(_, given)| *given) {
            return Err(format!(
                "--shard: found {option}, wanted only --signatures: which records stay is decided in the last run, with \
                 --shards"
            )
            .into());
        }
        let Some(path) = &args.signatures else {
            return Err(
                "--shard: a shard knows a part of the records; wanted --signatures FILE for it, and \
                        --shards with all of them in a last run"
                    .into(),
            );
        };
        let records = args.input.whole()?;
        let mut index = SignatureIndex::new(config.sketch)?;
        index.extend_shard(&records, shard);
        index.save(path)?;
        println!("{} signatures of shard {shard} in {}", index.len(), path.display());
        return Ok(());
    }
    let records = args.input.read()?;
    let (kept, known) = if args.shards.is_empty() {
        let known = args.known(config.sketch)?;
        let kept = match (args.exact, known.is_empty()) {
            (true, _) => {
                let (kept, report) = known.remove_exact_duplicates(records);
                println!("{report}");
                kept
            }
            // Without known records the n-grams themselves can be compared.
            (false, true) => {
                let (kept, report) = burnisher::data::remove_near_duplicates(records, &config)?;
                println!("{report}");
                kept
            }
            (false, false) => {
                let (kept, report) = known.remove_near_duplicates(records, &config)?;
                println!("{report}");
                kept
            }
        };
        (kept, known)
    } else {
        from_shards(args, records, &config)?
    };
    if let Some(path) = &args.signatures {
        let mut index = known;
        index.extend(&kept);
        index.save(path)?;
        println!("{} signatures in {}", index.len(), path.display());
    }
    if let Some(out) = &args.out {
        let mut output = Output::create(out, None)?;
        for (place, record) in (0..).zip(&kept) {
            output.write(place, record)?;
        }
        output.finish()?;
    }
    Ok(())
}

/// The first record of each group, by the signatures that the shards wrote.
fn from_shards(
    args: &DedupArgs,
    records: Vec<Record>,
    config: &NearDuplicateConfig,
) -> Result<(Vec<Record>, SignatureIndex), Box<dyn std::error::Error>> {
    if args.exact || config.keep != Keep::First {
        return Err("--shards: signatures tell which records are near-duplicates and which of them is first; wanted no \
                    --exact and no --keep"
            .into());
    }
    let shards = args.shards.iter().map(SignatureIndex::load).collect::<Result<Vec<_>, _>>()?;
    let index = SignatureIndex::merge(shards)?;
    let same = index.len() == records.len()
        && records.iter().enumerate().all(|(at, record)| index.origin(at).as_ref() == Some(&record.origin));
    if !same {
        return Err(format!(
            "--shards: the signatures are of {} other records than the {} that were read",
            index.len(),
            records.len()
        )
        .into());
    }
    let clusters = index.clusters(config)?;
    let all = records.len();
    let kept: Vec<Record> = records
        .into_iter()
        .zip(&clusters.of)
        .enumerate()
        .filter_map(|(at, (record, first))| (*first == at).then_some(record))
        .collect();
    println!("{} of {all} records removed as near-duplicates", all - kept.len());
    Ok((kept, SignatureIndex::new(*index.sketch())?))
}
