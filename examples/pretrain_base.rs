//! Makes `assets/base`, the small base model that the other examples fine-tune: trains a tokenizer and
//! pre-trains a Llama in full-parameter mode on generated text. Stopped, it goes on where it was.
//!
//! ```sh
//! cargo run --release --example pretrain_base
//! ```

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::tensor::{Device, FloatDType};
use burnisher::{
    data::{
        BatchConfig, Batches, Body, EncodeConfig, Encoder, Message, Origin, Packing, Record, Tokenizer,
        TrainOn, pack,
    },
    lora::train_all,
    models::{CausalLm, CheckpointDtype, LlamaShape, ModelConfig, WriteOptions, copy_tokenizer_files},
    train::{LrSchedule, Progress, TrainConfig, Trainer},
};
use burnisher_examples::assets::{PRETRAINING_SEED as SEED, PRETRAINING_TASKS};
use burnisher_examples::generate::{
    general_documents, general_instructions, general_repetitions, tokenizer_config_json, train_tokenizer,
};
use clap::Parser;
use serde_json::json;

/// Pre-trains the embedded base model.
#[derive(Parser)]
struct Args {
    /// Optimizer steps of 8 rows of up to 256 tokens.
    #[arg(long, default_value_t = 8000)]
    steps: u64,
    /// Where the model goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/base"))]
    out: PathBuf,
    /// Where checkpoints go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/pretrain"))]
    work: PathBuf,
}

const VOCABULARY: usize = 1024;
const LENGTH: usize = 256;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let started = Instant::now();
    let device = Device::flex();
    // Beside the weights only when they are there too: a stopped run leaves the old model whole.
    let tokenizer_dir = args.work.join("tokenizer");
    let tokenizer = make_tokenizer(&tokenizer_dir)?;

    let train = batches(SEED, [6_000, PRETRAINING_TASKS, 20_000], &tokenizer)?;
    let held_out = batches(SEED + 1, [60, 300, 30], &tokenizer)?;
    println!("{} rows, {} tokens; vocabulary {}", train.len(), train.target_tokens(), tokenizer.vocab_size());

    let config = ModelConfig::llama(LlamaShape {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 128,
        intermediate_size: 352,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        max_position_embeddings: 1024,
        tie_word_embeddings: true,
        // One over the root of the width: at transformers' 0.02 so narrow a model hardly attends at first.
        initializer_range: 0.088,
        bos_token_id: tokenizer.bos_id(),
        eos_token_ids: tokenizer.eos_id().into_iter().collect(),
        pad_token_id: tokenizer.pad_id(),
        ..LlamaShape::default()
    })?;
    let model = train_all(CausalLm::init(config, SEED, &device)?)?;

    let mut run = TrainConfig::default();
    run.output_dir = args.work;
    run.max_steps = Some(args.steps);
    run.batch_size = 8;
    run.learning_rate = 4e-3;
    run.schedule = LrSchedule::Cosine;
    run.warmup_ratio = Some(0.05);
    run.weight_decay = 0.05;
    run.beta2 = 0.98;
    run.log_every = 20;
    run.eval_every = Some((args.steps / 4).max(1));
    run.save_every = Some((args.steps / 8).max(1));
    let outcome = Trainer::new(run).observe(Progress::stderr()).train(model, &train, Some(&held_out))?;

    outcome.model.save_pretrained(&args.out, Some(FloatDType::BF16), &WriteOptions::new())?;
    copy_tokenizer_files(&tokenizer_dir, &args.out)?;
    let record = json!({
        "steps": outcome.steps,
        "tokens_in_last_run": outcome.tokens,
        "held_out_loss": outcome.best.map(|best| best.loss),
        "seconds_of_last_run": started.elapsed().as_secs(),
        "seed": SEED,
        "stored_dtype": CheckpointDtype::BF16.to_string(),
    });
    fs::write(args.out.join("pretraining.json"), format!("{record:#}\n"))?;
    println!("{record:#}");
    Ok(())
}

/// Trains the tokenizer on a sample of the text, and writes its files.
fn make_tokenizer(out: &Path) -> Result<Tokenizer, Box<dyn Error + Send + Sync>> {
    fs::create_dir_all(out)?;
    let mut texts = general_documents(SEED, 3000);
    texts.extend(
        general_instructions(SEED, 6000).into_iter().map(|(user, answer)| format!("{user}\n{answer}")),
    );
    let tokenizer = train_tokenizer(&texts, VOCABULARY)?;
    tokenizer.save(out.join("tokenizer.json"), false)?;
    fs::write(out.join("tokenizer_config.json"), format!("{:#}\n", tokenizer_config_json()))?;
    Ok(Tokenizer::from_dir(out)?)
}

/// Rows of prose, of tasks with their answers, and of repetitions.
///
/// Prose and every third task are learnt as a whole, of the other tasks only the answers: most of a task's words cannot
/// be predicted, and finding and copying the right ones is the skill that counts.
fn batches(
    seed: u64,
    [documents, tasks, repetitions]: [usize; 3],
    tokenizer: &Tokenizer,
) -> Result<Batches, Box<dyn Error + Send + Sync>> {
    let (mut whole, mut answers) = (Vec::new(), Vec::new());
    let origin = |number| Origin::new("generated", number);
    for (index, text) in general_documents(seed, documents).into_iter().enumerate() {
        whole.push(Record::new(Body::Text(text), origin(index + 1)));
    }
    let chat =
        |user, answer| Body::Messages(vec![Message::new("user", user), Message::new("assistant", answer)]);
    for (index, (user, answer)) in general_instructions(seed, tasks).into_iter().enumerate() {
        let set = if index % 3 == 0 { &mut whole } else { &mut answers };
        set.push(Record::new(chat(user, answer), origin(documents + index + 1)));
    }
    for (index, (user, answer)) in general_repetitions(seed, repetitions).into_iter().enumerate() {
        answers.push(Record::new(chat(user, answer), origin(documents + tasks + index + 1)));
    }
    let mut encoded = Vec::new();
    for (records, part) in [(whole, TrainOn::Everything), (answers, TrainOn::Completions)] {
        let config = EncodeConfig::new(LENGTH).with_train_on(part);
        encoded.extend(Encoder::new(tokenizer, config)?.encode_all(&records)?.encoded);
    }
    let rows = pack(encoded, LENGTH, Packing::BestFit);
    Ok(Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_seed(SEED)))
}
