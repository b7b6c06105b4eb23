//! Fine-tunes the embedded base model with LoRA on generated financial reports, and shows what changed.
//!
//! ```sh
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --quant nf4
//! ```

use std::{error::Error, fs, path::PathBuf};

use burn::tensor::Device;
use burnisher::{
    data::{Message, Tokenizer},
    lora::load_peft,
    models::{CausalLm, GenerateConfig, LoadConfig, stop_ids},
    train::{BaseQuant, LoraSection, LrSchedule, Progress, RunConfig, Targets, run},
};
use burnisher_examples::generate::{FinanceExample, Split, finance_examples, write_jsonl};
use clap::{Parser, ValueEnum};

/// LoRA fine-tuning from generated data to a saved adapter.
#[derive(Parser)]
struct Args {
    /// Optimizer steps of 8 examples.
    #[arg(long, default_value_t = 150)]
    steps: u64,
    /// How the frozen base is stored.
    #[arg(long, value_enum, default_value = "none")]
    quant: Quant,
    /// Where data, checkpoints and the adapter go; emptied first.
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

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/base");
const SEED: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let device = Device::flex();
    if args.out.exists() {
        fs::remove_dir_all(&args.out)?;
    }

    // 1. Data: reports with the entities to extract. Validation has templates of its own.
    let path = |name: &str| args.out.join(name);
    for (name, count, split) in
        [("train.jsonl", 1500, Split::Train), ("validation.jsonl", 100, Split::Validation)]
    {
        let rows: Vec<_> =
            finance_examples(SEED, count, split).iter().map(FinanceExample::to_messages).collect();
        write_jsonl(path(name), &rows)?;
    }

    // 2. The run: base model, data, adapter, training. The same fields as in a run file.
    let mut config = RunConfig::new(BASE, path("train.jsonl"), &args.out);
    config.data.validation = Some(path("validation.jsonl"));
    if let Quant::Nf4 = args.quant {
        config.model.quant = BaseQuant::Nf4;
    }
    let mut lora = LoraSection::default();
    lora.r = 16;
    lora.lora_alpha = 32.0;
    lora.target_modules = Some(Targets::Pattern("all-linear".to_owned()));
    config.lora = Some(lora);
    config.train.max_steps = Some(args.steps);
    config.train.batch_size = 8;
    config.train.learning_rate = 4e-3;
    config.train.schedule = LrSchedule::Cosine;
    config.train.warmup_ratio = Some(0.05);
    config.train.eval_every = Some((args.steps / 2).max(1));
    config.train.save_every = Some(args.steps.max(1));

    // 3. Train.
    let outcome = run(&config, &device, vec![Box::new(Progress::stderr())], &mut |line| println!("{line}"))?;
    let training = &outcome.training;
    let before = training.first_validation.ok_or("the run began without validation")?;
    let after = training.best.ok_or("the run ended without validation")?.loss;
    println!();
    println!("validation loss (nats per token)   before {before:.4}   after {after:.4}");
    println!(
        "{} steps, {:.0} s, {:.0} trained tokens/s",
        training.steps,
        training.seconds,
        training.tokens as f64 / training.seconds
    );
    println!("adapter: {}", outcome.saved.display());

    // 4. One unseen report, with the base model and with the adapter.
    let tokenizer = Tokenizer::from_dir(BASE)?;
    let base = CausalLm::from_pretrained(BASE, &LoadConfig::new(), &device)?;
    let (tuned, _, _) = load_peft(&outcome.saved, base.clone(), false, &device)?;
    let example = finance_examples(SEED, 1, Split::Test).remove(0);
    let template = tokenizer.chat_template().ok_or("the base model has a chat template")?;
    let prompt = template.render(&[Message::new("user", example.user())], true)?.text;
    println!("\nreport   {}\nwanted   {}", example.report, example.answer_json());
    for (name, model) in [("base", &base), ("tuned", &tuned)] {
        let ids = tokenizer.encode(&prompt, false)?;
        let config = GenerateConfig::new().with_stop_ids(stop_ids(None, model, Some(&tokenizer)));
        let answer = model.generate_ids(&[ids], &config)?.remove(0);
        println!("{name:<8} {}", tokenizer.decode(&answer, true)?);
    }
    Ok(())
}
