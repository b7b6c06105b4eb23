//! Fine-tunes the embedded base model on short financial reports, and measures what changed: data check, base, LoRA,
//! tuned, forgetting, report. Offline, on the CPU, in about two minutes.
//!
//! ```sh
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --quant nf4
//! ```

use std::{error::Error, fs, path::PathBuf, time::Instant};

use burn::tensor::Device;
use burnisher::{
    data::{Source, Tokenizer},
    eval::{Comparison, ForgettingConfig, Metric, Report, ReportSample},
    models::{CausalLm, LoadConfig},
    quant::QuantConfig,
    train::{
        BaseQuant, LoraSection, LrSchedule, Progress, RunConfig, Targets, peak_memory_bytes, prompts, run,
        write_file,
    },
};
use burnisher_examples::{
    assets::{self, BASE},
    measure::Measured,
};
use clap::{Parser, ValueEnum};

/// LoRA fine-tuning from checked data to a measured difference.
#[derive(Parser)]
struct Args {
    /// Optimizer steps of 8 records, a quarter of them general ones.
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Test examples that are answered before and after.
    #[arg(long, default_value_t = 200)]
    examples: usize,
    /// How the frozen base is stored.
    #[arg(long, value_enum, default_value = "none")]
    quant: Quant,
    /// Seed of the adapter, of the order of examples, and of dropout.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Where checkpoints, the adapter and the report go; an earlier quick start there is removed.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/quickstart"))]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Quant {
    /// As it is.
    None,
    /// In 4 bits, double-quantized (QLoRA).
    Nf4,
}

/// Marks a directory as the quick start's own.
const STARTED: &str = "quickstart";

fn main() -> Result<(), Box<dyn Error>> {
    let (args, device, started) = (Args::parse(), Device::flex(), Instant::now());
    if args.out.join(STARTED).exists() {
        fs::remove_dir_all(&args.out)?;
    } else if args.out.exists() && fs::read_dir(&args.out)?.next().is_some() {
        return Err(format!("{} holds something else; wanted an empty directory", args.out.display()).into());
    }
    fs::create_dir_all(&args.out)?;
    fs::write(args.out.join(STARTED), "")?;

    // 1. The run, with the fields of a run file. The data is checked when it starts: duplicates, leaks into the
    //    test set, records that are too long.
    let mut config = RunConfig::new(BASE, assets::finance("train"), &args.out);
    config.data.validation = Some(assets::finance("validation"));
    config.data.test = Some(assets::finance("test"));
    // A quarter of the records are general ones, so that the model forgets less of what it knew.
    config.data.replay = Some(assets::replay());
    let mut load = LoadConfig::new();
    if let Quant::Nf4 = args.quant {
        config.model.quant = BaseQuant::Nf4;
        load = load.with_quantize(QuantConfig::nf4().with_double_quant(true));
    }
    let mut lora = LoraSection::default();
    lora.r = 16;
    lora.lora_alpha = 32.0;
    lora.target_modules = Some(Targets::Pattern("all-linear".to_owned()));
    config.lora = Some(lora);
    config.train.max_steps = Some(args.steps);
    config.train.batch_size = 8;
    config.train.learning_rate = 2e-3;
    config.train.schedule = LrSchedule::Cosine;
    config.train.warmup_ratio = Some(0.05);
    config.train.eval_every = Some((args.steps / 4).max(1));
    config.train.save_every = Some(args.steps.max(1));
    config.train.seed = args.seed;

    // 2. The base model on unseen reports, and on general tasks and texts.
    let tokenizer = Tokenizer::from_dir(BASE)?;
    let mut test = Source::open(assets::finance("test"))?.read()?;
    test.truncate(args.examples);
    let general = Source::open(assets::general())?.read()?;
    println!("measuring the base model on {} unseen reports and {} general tasks", test.len(), general.len());
    let base = CausalLm::from_pretrained(BASE, &load, &device)?;
    let before = Measured::new(&base, &tokenizer, &test, &general)?;
    drop(base);

    // 3. Train.
    let outcome = run(&config, &device, vec![Box::new(Progress::stderr())], &mut |line| println!("{line}"))?;
    let training = &outcome.training;

    // 4. The tuned model on the same examples.
    let after = Measured::new(&training.model, &tokenizer, &test, &general)?;

    // 5. What changed.
    let test = prompts(&test, &tokenizer)?;
    let references: Vec<Vec<&str>> = test.iter().map(|prompt| vec![prompt.reference.as_str()]).collect();
    let comparison = Comparison::new(Metric::OF_ANSWERS)
        .with_base(&before.answers)
        .with_tuned(&after.answers)
        .against(&references)?
        .with_losses(&before.losses, &after.losses)?;
    let samples = test.iter().zip(before.answers.iter().zip(&after.answers)).take(3);
    let samples = samples.map(|(prompt, (base, tuned))| ReportSample {
        prompt: prompt.question.clone(),
        reference: prompt.reference.clone(),
        base: base.clone(),
        tuned: tuned.clone(),
    });
    let (first, best) = (training.first_validation, training.best.map(|best| best.loss));
    let trainable = outcome.adapter.as_ref().map(|adapter| adapter.trainable);
    let report = Report::new()
        .with_comparison(comparison)
        .with_general_loss(ForgettingConfig::new().assess(&before.general_losses, &after.general_losses)?)
        .with_general_metrics(before.general_metrics(&after)?)?
        .with_samples(samples)
        .with_field("validation_loss", serde_json::json!({ "base": first, "tuned": best }))?
        .with_field("trainable_parameters", trainable)?
        .with_field("peak_memory_bytes", peak_memory_bytes())?
        .with_field("tokens_per_second", (training.tokens as f64 / training.seconds).round())?
        .with_field("seconds", started.elapsed().as_secs_f64().round())?;
    write_file(&args.out.join("report.json"), serde_json::to_string_pretty(&report)?.as_bytes())?;
    write_file(&args.out.join("report.md"), report.to_markdown().as_bytes())?;
    println!("\n{}", report.to_markdown());
    println!("adapter: {}\nreport:  {}", outcome.saved.display(), args.out.join("report.json").display());
    Ok(())
}
