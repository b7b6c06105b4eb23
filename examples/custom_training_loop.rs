//! A training loop from the crates' pieces, without the `Trainer`: encode, pack, batch, attach, sum gradients over
//! micro-batches, clip, step, validate, save. For loops that the trainer has no switch for.
//!
//! ```sh
//! cargo run --release --example custom_training_loop
//! ```

use std::{error::Error, path::Path};

use burn::tensor::Device;
use burnisher::{
    data::{BatchConfig, Batches, EncodeConfig, Encoder, Packing, Source, TokenBatch, Tokenizer, pack},
    kernels::{AdamW, DropoutKeys},
    lora::{LoraConfig, TargetModules, attach, save_peft},
    models::{CausalLm, LoadConfig},
    train::{DecayRule, Gradients, Optimizer, Schedule, ScheduleKind, Warmup, evaluate},
};
use burnisher_examples::assets::{self, BASE};
use clap::Parser;

/// LoRA fine-tuning with a loop of one's own.
#[derive(Parser)]
struct Args {
    /// Optimizer steps of 4 packed rows.
    #[arg(long, default_value_t = 60)]
    steps: u64,
}

const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples/custom_training_loop");
const SEED: u64 = 7;
const LENGTH: usize = 512;
/// Rows of a forward pass, and of an optimizer step.
const MICRO_BATCH: usize = 2;
const ROWS_PER_STEP: usize = 4;
const LEARNING_RATE: f64 = 2e-3;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let device = Device::flex();

    // 1. Rows of tokens: what the assistant says is learnt, and records that share a row do not see each other.
    let tokenizer = Tokenizer::from_dir(BASE)?;
    let train = batches(&tokenizer, "train")?;
    let validation = batches(&tokenizer, "validation")?;

    // 2. The frozen base with a fresh adapter, which changes nothing yet.
    let lora = LoraConfig::new(16)
        .with_lora_alpha(32.0)
        .with_lora_dropout(0.05)
        .with_target_modules(TargetModules::AllLinear)
        .with_task_type("CAUSAL_LM")
        .with_base_model_name_or_path(BASE);
    let base = CausalLm::from_pretrained(BASE, &LoadConfig::new(), &device)?;
    let (mut model, report) = attach(&lora, base, SEED, &device)?;
    println!("{report}");

    // 3. Optimizer, learning rates, and rows in an order that is new in each epoch.
    let options = AdamW { weight_decay: 0.0, ..AdamW::default() };
    let mut optimizer = Optimizer::new(options, DecayRule::default());
    let schedule = Schedule::new(ScheduleKind::COSINE, Warmup::Ratio(0.05), args.steps);
    let windows = (0..).flat_map(|epoch| {
        let order = train.order(epoch);
        order.chunks(ROWS_PER_STEP).map(<[usize]>::to_vec).collect::<Vec<_>>()
    });

    // 4. The loop.
    let before = evaluate(&model, &validation, MICRO_BATCH)?;
    for (step, rows) in (0..args.steps).zip(windows) {
        let micro_batches: Vec<TokenBatch> = rows.chunks(MICRO_BATCH).map(|rows| train.batch(rows)).collect();
        // Dropout is a function of seed, step and token, so it does not depend on the micro-batches.
        let keys = |batch: &TokenBatch| Some(DropoutKeys::new(SEED, step, batch.token_keys.as_slice()));
        // Losses are summed over the micro-batches and divided once, by all trained tokens of the step.
        let (mut gradients, loss) = Gradients::of_step(&model, &micro_batches, keys)?;
        let norm = gradients.clip(Some(1.0))?;
        let rate = schedule.lr(step, LEARNING_RATE);
        model = optimizer.step(model, &gradients, rate)?;
        if (step + 1).is_multiple_of(10) || step + 1 == args.steps {
            println!(
                "step {:>3}   loss {:.4} over {} tokens   gradient norm {norm:.3}   rate {rate:.1e}",
                step + 1,
                loss.mean,
                loss.tokens
            );
        }
    }
    let after = evaluate(&model, &validation, MICRO_BATCH)?;
    println!("validation loss (nats per token)   before {:.4}   after {:.4}", before.mean, after.mean);

    // 5. A directory that PEFT reads.
    let adapter = Path::new(OUT).join("adapter");
    save_peft(&model, &lora, &adapter)?;
    println!("adapter: {}", adapter.display());
    Ok(())
}

/// The finance task's set of this name as packed rows.
fn batches(tokenizer: &Tokenizer, name: &str) -> Result<Batches, Box<dyn Error>> {
    let records = Source::open(assets::finance(name))?.read()?;
    let set = Encoder::new(tokenizer, EncodeConfig::new(LENGTH))?.encode_all(&records)?;
    println!("{name}: {}", set.report);
    let rows = pack(set.encoded, LENGTH, Packing::BestFit);
    Ok(Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_seed(SEED)))
}
