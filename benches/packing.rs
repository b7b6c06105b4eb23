//! What packing is worth: documents of 20 to 100 tokens, 60 in the mean, one per row and padded, or many in a row of
//! 256. Counts labels per second, and prints one JSON object.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench packing
//! cargo bench -p burnisher-benches --bench packing -- --dtype bf16 --layers 4 --steps 20
//! ```
//!
//! `padded` fills every row to `--seq` tokens; `padded_to_longest` to the longest row of its batch, which is what
//! [`Batches`](burnisher::data::Batches) does. The modes take turns, so that all see the same machine.

use std::{error::Error, iter::repeat_n, process::ExitCode};

use burnisher::{
    data::{Packing, TokenBatch},
    kernels::IGNORE_INDEX,
};
use burnisher_benches::{
    LONGEST_SHORT_DOCUMENT, MarkovChain, Options, Spread, StepRecord, cpu, make, print, rounded, set_threads,
    train, versions,
};
use clap::Parser;
use serde_json::{Map, Value, json};

/// Measures padded against packed rows.
#[derive(Parser)]
struct Args {
    /// Cargo adds this; it means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    options: Options,
}

const MODES: [&str; 3] = ["padded", "padded_to_longest", "packed"];

fn main() -> ExitCode {
    print(compare(&Args::parse().options))
}

fn compare(options: &Options) -> Result<Value, Box<dyn Error>> {
    if options.seq < LONGEST_SHORT_DOCUMENT {
        let seq = options.seq;
        return Err(
            format!("--seq {seq}: wanted at least {LONGEST_SHORT_DOCUMENT}, the longest document").into()
        );
    }
    let threads = set_threads(options.threads)?;
    let modes = batches(options);
    let positions = modes.each_ref().map(|mode| Spread::of(mode.iter().map(size)).median);
    let made = make(options, &options.device.open()?)?;
    let records = train(made.model, in_turns(modes), options.learning_rate)?;

    let timed = &records[MODES.len() * options.warmup..];
    let rates: Vec<Spread> = (0..MODES.len()).map(|mode| rate(&records_of(timed, mode))).collect();
    let mut results = Map::new();
    for (mode, name) in MODES.into_iter().enumerate() {
        let records = records_of(timed, mode);
        let result = json!({
            "labels_s": rates[mode].to_json(1),
            "labels_per_step": rounded(Spread::of(records.iter().map(|record| record.labels as f64)).median, 1),
            "positions_per_step": positions[mode],
            "step_s": Spread::of(records.iter().map(StepRecord::seconds)).to_json(4),
        });
        results.insert(name.to_owned(), result);
    }
    let ratio = |mode: usize| rounded(rates[2].median / rates[mode].median, 2);
    Ok(json!({
        "kind": "packing",
        "config": options.to_json(),
        "threads": threads,
        "modes": Value::Object(results),
        "packed_over_padded": ratio(0),
        "packed_over_padded_to_longest": ratio(1),
        "versions": versions(),
        "cpu": cpu(),
    }))
}

/// For each mode, a batch per step. All modes read the same documents.
fn batches(options: &Options) -> [Vec<TokenBatch>; 3] {
    let (steps, rows, length) = (options.all_steps(), options.batch, options.seq);
    let chain = MarkovChain::new(options.sizes().vocab);
    let one_per_row = chain.short_batches((steps * rows) as u64, rows, length, Packing::None);
    let padded = one_per_row.iter().map(|batch| padded_to(batch, length)).collect();
    // 20 is the shortest document: however well they pack, there are enough of them for every row.
    let enough = steps * rows * length.div_ceil(20);
    let mut packed = chain.short_batches(enough as u64, rows, length, Packing::BestFit);
    packed.truncate(steps);
    [padded, one_per_row, packed]
}

/// The same batch with rows of `length` tokens.
fn padded_to(batch: &TokenBatch, length: usize) -> TokenBatch {
    fn wide<T: Copy>(values: &[T], width: usize, length: usize, filler: T) -> Vec<T> {
        let rows = values.chunks(width);
        rows.flat_map(|row| row.iter().copied().chain(repeat_n(filler, length - width))).collect()
    }
    let width = batch.seq_len;
    TokenBatch {
        rows: batch.rows,
        seq_len: length,
        input_ids: wide(&batch.input_ids, width, length, 0),
        labels: wide(&batch.labels, width, length, IGNORE_INDEX),
        position_ids: wide(&batch.position_ids, width, length, 0),
        segment_ids: wide(&batch.segment_ids, width, length, 0),
        token_keys: wide(&batch.token_keys, width, length, u64::MAX),
    }
}

fn size(batch: &TokenBatch) -> f64 {
    (batch.rows * batch.seq_len) as f64
}

/// The first batch of each mode, the second of each, and so on.
fn in_turns([a, b, c]: [Vec<TokenBatch>; 3]) -> Vec<TokenBatch> {
    a.into_iter().zip(b).zip(c).flat_map(|((a, b), c)| [a, b, c]).collect()
}

/// The records of one mode.
fn records_of(records: &[StepRecord], mode: usize) -> Vec<StepRecord> {
    records.iter().skip(mode).step_by(MODES.len()).copied().collect()
}

/// Labels per second of each step.
fn rate(records: &[StepRecord]) -> Spread {
    Spread::of(records.iter().map(|record| record.labels as f64 / record.seconds()))
}
