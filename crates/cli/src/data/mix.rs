use std::{path::PathBuf, str::FromStr};

use burnisher::data::{MixConfig, MixShares, MixSource, Record};
use clap::Args;

use super::{input::NamedInput, input::ReadArgs, output::Output};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct MixArgs {
    /// The sets, each with a weight if you like: `law=law.jsonl:2`.
    #[arg(required = true, value_name = "[NAME=]FILE[:WEIGHT]")]
    sets: Vec<WeightedInput>,
    #[command(flatten)]
    read: ReadArgs,
    /// Where the mixture goes, in its order.
    #[arg(short, long)]
    out: PathBuf,
    /// Records of the mixture; without it all that the sets give.
    #[arg(long)]
    records: Option<usize>,
    /// Draw by the sets' sizes to the power of 1/T instead of equally: 1 every record alike, more favours small sets.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// How often each record may come, at most.
    #[arg(long, default_value_t = 1.0)]
    max_epochs: f64,
    /// General records that are mixed in against forgetting.
    #[arg(long, value_name = "[NAME=]FILE")]
    replay: Option<NamedInput>,
    /// Their share of the mixture.
    #[arg(long, default_value_t = 0.1, requires = "replay")]
    replay_share: f64,
    /// Seed of the order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone)]
struct WeightedInput {
    input: NamedInput,
    weight: f64,
}

impl FromStr for WeightedInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let weighted = text.rsplit_once(':').and_then(|(file, weight)| Some((file, weight.parse().ok()?)));
        let (file, weight) = weighted.unwrap_or((text, 1.0));
        Ok(Self { input: file.parse()?, weight })
    }
}

pub(crate) fn run(args: &MixArgs) -> Outcome {
    let inputs = args.sets.iter().map(|set| &set.input).chain(&args.replay);
    let records: Vec<Vec<Record>> =
        inputs.map(|input| args.read.read(&input.path)).collect::<Result<_, _>>()?;
    let sources = args.sets.iter().zip(&records).map(|(set, records)| {
        MixSource::new(&set.input.name, records.len())
            .with_weight(set.weight)
            .with_max_epochs(args.max_epochs)
    });
    let mut config = MixConfig::new(sources).with_seed(args.seed);
    if let Some(temperature) = args.temperature {
        config = config.with_shares(MixShares::Temperature(temperature));
    }
    if let (Some(replay), Some(records)) = (&args.replay, records.last()) {
        config = config.with_replay(MixSource::new(&replay.name, records.len()), args.replay_share);
    }
    let order = config.order()?;
    let mut output = Output::create(&args.out, None)?;
    let mut count = 0;
    for (source, index) in order.iter().take(args.records.unwrap_or(usize::MAX)) {
        output.write(count, &records[source][index])?;
        count += 1;
    }
    println!("{}", order.report(count));
    if let Some(wanted) = args.records.filter(|wanted| (*wanted as u64) > count) {
        eprintln!("{count} of {wanted} records: the sets are used up; --max-epochs lets records come again");
    }
    output.finish()
}
