//! Merges a LoRA adapter into its base, checks that the merged model says what the adapted one says, and writes it as
//! a Hugging Face directory: once in bf16 and once in 4 bits (NF4, in bitsandbytes' bytes), each with the tokenizer.
//!
//! ```sh
//! cargo run --release --example merge_and_export
//! cargo run --release --example merge_and_export -- --adapter target/quickstart/adapter
//! ```
//!
//! Without `--adapter` it takes the quickstart's, and if there is none it trains one.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, FloatDType};
use burnisher::{
    data::{Prompt, Source, Tokenizer},
    lora::{load_peft, merge_and_unload},
    models::{CausalLm, GenerateConfig, LoadConfig, WriteOptions, copy_tokenizer_files, stop_ids},
    quant::QuantConfig,
    train::prompts,
};
use burnisher_examples::{
    assets::{self, BASE},
    short_run::train_adapter,
};
use clap::Parser;

/// From an adapter to a model that needs none.
#[derive(Parser)]
struct Args {
    /// PEFT directory of an adapter of the embedded base model.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Optimizer steps of 8 examples, if an adapter has to be trained.
    #[arg(long, default_value_t = 30)]
    steps: u64,
}

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/quickstart/adapter");
const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples/merge_and_export");

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let (device, out) = (Device::flex(), Path::new(OUT));
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    let quickstart = Some(PathBuf::from(QUICKSTART)).filter(|dir| dir.is_dir());
    let adapter = match args.adapter.or(quickstart) {
        Some(dir) => dir,
        None => train_adapter(&out.join("run"), args.steps, &device)?,
    };
    println!("adapter: {}", adapter.display());

    // 1. Beside the base and merged into it: the same function, so the same greedy answers.
    let tokenizer = Tokenizer::from_dir(BASE)?;
    let base = CausalLm::from_pretrained(BASE, &LoadConfig::new(), &device)?;
    let (adapted, _, attached) = load_peft(&adapter, base, false, &device)?;
    let merged = merge_and_unload(adapted.clone())?;
    let mut reports = Source::open(assets::finance("test"))?.read()?;
    reports.truncate(4);
    let reports = prompts(&reports, &tokenizer)?;
    for report in &reports {
        let (beside, inside) = (answer(&adapted, &tokenizer, report)?, answer(&merged, &tokenizer, report)?);
        if beside != inside {
            return Err(format!("the adapted model says {beside}, the merged one {inside}").into());
        }
    }
    println!("merged {} projections: the same answers to {} reports", attached.adapted.len(), reports.len());

    // 2. A directory for transformers: the weights in bf16, as the base has them, and the tokenizer's files.
    let (dense, four_bit) = (out.join("merged"), out.join("merged-nf4"));
    merged.save_pretrained(&dense, Some(FloatDType::BF16), &WriteOptions::new())?;
    copy_tokenizer_files(BASE, &dense)?;

    // 3. The projections in 4 bits; embedding and norms stay in bf16. What it loses is small, but not nothing.
    let load = LoadConfig::new().with_quantize(QuantConfig::nf4().with_double_quant(true));
    let quantized = CausalLm::from_pretrained(&dense, &load, &device)?;
    quantized.save_pretrained(&four_bit, Some(FloatDType::BF16), &WriteOptions::new())?;
    copy_tokenizer_files(BASE, &four_bit)?;

    // 4. Both as any program would load them.
    println!("\nasked   {}\nwanted  {}", reports[0].question, reports[0].reference);
    for (name, dir) in [("bf16", &dense), ("nf4", &four_bit)] {
        let model = CausalLm::from_pretrained(dir, &LoadConfig::new(), &device)?;
        let said = answer(&model, &Tokenizer::from_dir(dir)?, &reports[0])?;
        println!("{name:<7} {said}\n        {} bytes of weights in {}", weight_bytes(dir)?, dir.display());
    }
    Ok(())
}

/// The model's greedy answer.
fn answer(model: &CausalLm, tokenizer: &Tokenizer, prompt: &Prompt) -> Result<String, Box<dyn Error>> {
    let config = GenerateConfig::new().with_stop_ids(stop_ids(None, model, Some(tokenizer)));
    let ids = model.generate_ids(std::slice::from_ref(&prompt.ids), &config)?.remove(0);
    Ok(tokenizer.decode(&ids, true)?)
}

fn weight_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_weights = entry.path().extension().is_some_and(|extension| extension == "safetensors");
        sum += if is_weights { entry.metadata()?.len() } else { 0 };
    }
    Ok(sum)
}
