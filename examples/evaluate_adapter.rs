//! Compares the base model with an adapter: extracts entities from unseen financial reports with both, scores the
//! answers with bootstrap intervals, and asks whether the adapter cost the model what it could do before.
//!
//! ```sh
//! cargo run --release --example evaluate_adapter
//! cargo run --release --example evaluate_adapter -- --adapter target/quickstart/adapter --examples 200
//! ```
//!
//! Without `--adapter` it trains a short one first.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use burnisher::{
    data::{BatchConfig, Batches, EncodeConfig, Encoder, Packing, Source, Tokenizer, TrainOn, pack},
    eval::{Comparison, ForgettingConfig, Metric, Report, ReportSample},
    lora::load_peft,
    models::{CausalLm, GenerateConfig, LoadConfig, stop_ids},
    train::{answers, prompts, text_losses},
};
use burnisher_examples::{
    assets::{self, BASE},
    short_run::train_adapter,
};
use clap::Parser;

/// Base against adapter on the test set of the finance task.
#[derive(Parser)]
struct Args {
    /// PEFT directory of an adapter of the embedded base model.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Optimizer steps of 8 examples, if an adapter has to be trained.
    #[arg(long, default_value_t = 80)]
    steps: u64,
    /// Test examples; intervals are too narrow below about 30.
    #[arg(long, default_value_t = 60)]
    examples: usize,
}

const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples/evaluate_adapter");
const BATCH: usize = 16;
const LENGTH: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (device, out) = (Device::flex(), Path::new(OUT));
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    let adapter = match args.adapter {
        Some(dir) => dir,
        None => train_adapter(&out.join("run"), args.steps, &device)?,
    };
    let tokenizer = Tokenizer::from_dir(BASE)?;
    let base = CausalLm::from_pretrained(BASE, &LoadConfig::new(), &device)?;
    let (tuned, _, attached) = load_peft(&adapter, base.clone(), false, &device)?;

    // 1. The answers of both to the same prompts. The test set shares neither templates nor names with training.
    let mut records = Source::open(assets::finance("test"))?.read()?;
    records.truncate(args.examples);
    let prompts = prompts(&records, &tokenizer)?;
    let config = GenerateConfig::new().with_stop_ids(stop_ids(None, &base, Some(&tokenizer)));
    let ask = |name: &str, model: &CausalLm| {
        let mut progress = |done: usize| eprintln!("{name}: {done} of {} answers", prompts.len());
        answers(model, &tokenizer, &prompts, &config, BATCH, &mut progress)
    };
    let (before, after) = (ask("base", &base)?, ask("tuned", &tuned)?);

    // 2. Scores with intervals of the difference, from the same resamples for both.
    let references: Vec<Vec<&str>> = prompts.iter().map(|prompt| vec![prompt.reference.as_str()]).collect();
    let comparison = Comparison::new([Metric::EntityF1, Metric::ExactMatch, Metric::RougeL])
        .with_base(&before)
        .with_tuned(&after)
        .against(&references)?;

    // 3. The loss on general tasks, which neither pre-training nor the adapter has seen: one text per row.
    let general = Source::open(assets::general())?.read()?;
    let encoder = Encoder::new(&tokenizer, EncodeConfig::new(LENGTH).with_train_on(TrainOn::Everything))?;
    let rows = pack(encoder.encode_all(&general)?.encoded, LENGTH, Packing::None);
    let general = Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_shuffle(false));
    let losses = |model: &CausalLm| text_losses(model, &general, BATCH);
    let forgetting = ForgettingConfig::new().assess(&losses(&base)?, &losses(&tuned)?)?;

    // 4. All of it in one report: Markdown to read, JSON to keep.
    let samples = prompts.iter().zip(before.into_iter().zip(after)).take(2);
    let samples = samples.map(|(prompt, (base, tuned))| ReportSample {
        prompt: prompt.question.clone(),
        reference: prompt.reference.clone(),
        base,
        tuned,
    });
    let report = Report::new()
        .with_comparison(comparison)
        .with_general_loss(forgetting)
        .with_samples(samples)
        .with_field("adapter", adapter.display().to_string())?
        .with_field("trainable_parameters", attached.trainable)?;
    println!("{}", report.to_markdown());
    fs::create_dir_all(out)?;
    fs::write(out.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    println!("report: {}", out.join("report.json").display());
    Ok(())
}
