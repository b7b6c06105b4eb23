//! The commands: parse, call the facade, print.

use std::{path::Path, time::Instant};

use burn::tensor::Device;
use burnisher::{
    data::{Message, Tokenizer},
    lora::load_peft,
    models::{
        CausalLm, ComputeDtype, GenerateConfig, GenerationConfig, LoadConfig, Quantize, QuantizeReport,
        SampleConfig, Sampling, WriteOptions, quantize_checkpoint, stop_ids,
    },
    quant::QuantConfig,
    train::{JsonLines, Observer, Progress, RunConfig, StopReason, run},
};

use crate::{
    Outcome,
    args::{Dtype, GenerateArgs, ModelArgs, QuantArgs, QuantFormat, QuantizeArgs, TrainArgs},
    bar::Bar,
};

pub(crate) fn train(args: &TrainArgs) -> Outcome {
    let Some(path) = args.config.as_ref().filter(|_| !args.reference) else {
        print!("{}", RunConfig::reference_toml());
        return Ok(());
    };
    let config = RunConfig::from_file_with(path, &args.overrides)?;
    let observers: Vec<Box<dyn Observer>> = vec![
        Box::new(Progress::stderr()),
        Box::new(JsonLines::append(config.train.output_dir.join("metrics.jsonl"))?),
    ];
    let outcome = run(&config, &device(), observers, &mut |line| eprintln!("{line}"))?;
    let training = &outcome.training;
    let reason = match training.reason {
        StopReason::EarlyStopping => "stopped early",
        _ => "done",
    };
    println!("{reason} after {} steps, {:.1} s", training.steps, training.seconds);
    if let Some(best) = training.best {
        match training.first_validation {
            Some(first) => println!("validation loss {first:.4} -> {:.4} (step {})", best.loss, best.step),
            None => println!("validation loss {:.4} (step {})", best.loss, best.step),
        }
        if let (Some(metric), Some(score)) = (config.train.metric_for_best_model, best.score) {
            println!("chosen by {metric}: {score:.2} (step {})", best.step);
        }
    }
    println!("saved {}", outcome.saved.display());
    Ok(())
}

pub(crate) fn generate(args: &GenerateArgs) -> Outcome {
    let tokenizer = Tokenizer::from_dir(&args.model.model)?;
    let model = load(&args.model)?;
    let ids = match tokenizer.chat_template().filter(|_| !args.raw) {
        Some(template) => {
            let prompt = template.render(&[Message::new("user", args.prompt.as_str())], true)?;
            tokenizer.encode(&prompt.text, false)?
        }
        None => tokenizer.encode(&args.prompt, true)?,
    };
    let sampling = match args.temperature {
        None => Sampling::Greedy,
        Some(temperature) => {
            let mut sample = SampleConfig::new(temperature);
            if let Some(k) = args.top_k {
                sample = sample.with_top_k(k);
            }
            if let Some(p) = args.top_p {
                sample = sample.with_top_p(p);
            }
            sample.validate()?;
            Sampling::Random(sample)
        }
    };
    let generation = GenerationConfig::from_dir(&args.model.model)?;
    let config = GenerateConfig::new()
        .with_max_new_tokens(args.max_new_tokens)
        .with_stop_ids(stop_ids(generation.as_ref(), &model, Some(&tokenizer)))
        .with_sampling(sampling, args.seed);
    let started = Instant::now();
    let output = model.generate_ids(&[ids], &config)?.remove(0);
    println!("{}", tokenizer.decode(&output, true)?);
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{} tokens, {:.1} tokens/s", output.len(), output.len() as f64 / seconds.max(1e-9));
    Ok(())
}

pub(crate) fn quantize(args: &QuantizeArgs) -> Outcome {
    check_other_dir("--out", &args.out, "the model", &args.model)?;
    let four_bit = |config: QuantConfig| {
        let block_size = args.block_size.unwrap_or(config.block_size);
        Quantize::from(config.with_block_size(block_size).with_double_quant(args.double_quant))
    };
    let quantize = match args.to {
        QuantFormat::Nf4 => four_bit(QuantConfig::nf4()),
        QuantFormat::Fp4 => four_bit(QuantConfig::fp4()),
        QuantFormat::Int8 if args.double_quant || args.block_size.is_some() => {
            return Err(
                "--double-quant and --block-size are for nf4 and fp4: int8 has one scale per row".into()
            );
        }
        QuantFormat::Int8 => Quantize::int8(),
    };
    let options = WriteOptions::new().with_max_shard_bytes(args.max_shard_mb.saturating_mul(1_000_000));
    let bar = Bar::stderr("tensors");
    let report =
        quantize_checkpoint(&args.model, &args.out, quantize, &args.skip, &options, &mut |done, all| {
            bar.set(done, all)
        })?;
    drop(bar);
    let QuantizeReport { modules, bytes_before, bytes_after, .. } = &report;
    println!(
        "{} -> {}: {bytes_before} -> {bytes_after} bytes, {} modules",
        args.model.display(),
        args.out.display(),
        modules.len()
    );
    if let Some((module, error)) = report.worst() {
        println!("largest relative error {error:.4} ({module})");
    }
    Ok(())
}

/// The model that the arguments describe, with its adapter.
pub(crate) fn load(args: &ModelArgs) -> Result<CausalLm, Box<dyn std::error::Error>> {
    let model = load_base(args)?;
    Ok(match &args.adapter {
        Some(adapter) => load_peft(adapter, model, false, &device())?.0,
        None => model,
    })
}

/// The model that the arguments describe, without the adapter.
pub(crate) fn load_base(args: &ModelArgs) -> Result<CausalLm, Box<dyn std::error::Error>> {
    let dtype = match args.dtype {
        Dtype::F32 => ComputeDtype::F32,
        Dtype::Bf16 => ComputeDtype::Bf16,
    };
    let config = load_config(&args.quant)?.with_dtype(dtype);
    Ok(CausalLm::from_pretrained(&args.model, &config, &device())?)
}

fn load_config(quant: &QuantArgs) -> Result<LoadConfig, String> {
    Ok(match quantize_choice(quant)? {
        Some(quantize) => LoadConfig::new().with_quantize(quantize),
        None => LoadConfig::new(),
    })
}

/// How a dense base is held.
pub(crate) fn quantize_choice(quant: &QuantArgs) -> Result<Option<Quantize>, String> {
    let four_bit = |config: QuantConfig| Quantize::from(config.with_double_quant(!quant.no_double_quant));
    Ok(match quant.quant {
        None => None,
        Some(QuantFormat::Nf4) => Some(four_bit(QuantConfig::nf4())),
        Some(QuantFormat::Fp4) => Some(four_bit(QuantConfig::fp4())),
        Some(QuantFormat::Int8) if quant.no_double_quant => {
            return Err("--no-double-quant is for nf4 and fp4: int8 has one scale per row".to_owned());
        }
        Some(QuantFormat::Int8) => Some(Quantize::int8()),
    })
}

/// Writing over what is read would lose it.
pub(crate) fn check_other_dir(name: &str, out: &Path, input_name: &str, input: &Path) -> Outcome {
    match (std::fs::canonicalize(out), std::fs::canonicalize(input)) {
        (Ok(one), Ok(other)) if one == other => {
            Err(format!("{name} is the directory of {input_name}, {}; wanted another one", input.display())
                .into())
        }
        _ => Ok(()),
    }
}

/// Burn's first backend of this build, or the one that `BURN_DEVICE` names.
pub(crate) fn device() -> Device {
    Device::default()
}
