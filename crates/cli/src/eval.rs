//! `burnisher eval`: answers and losses over a data file, with and without an adapter, as a table and as JSON.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Instant,
};

use burnisher::{
    data::{BatchConfig, Batches, EncodeConfig, Encoder, Packing, Prompt, Record, Source, Tokenizer, pack},
    eval::{
        BootstrapConfig, Comparison, ForgettingConfig, Metric, MetricSet, Report, ReportSample, TextLoss,
        bootstrap, loss_per_token,
    },
    lora::load_peft,
    models::{CausalLm, GenerateConfig, GenerationConfig, stop_ids},
    train::{answers, peak_memory_bytes, prompts, text_losses, write_file},
};
use serde_json::{Value, json};

use crate::{
    Outcome,
    args::EvalArgs,
    commands::{device, load_base},
    data::column_map,
};

/// Examples with their answers that a report shows.
const SAMPLES: usize = 3;

pub(crate) fn run(args: &EvalArgs) -> Outcome {
    let started = Instant::now();
    let mut metrics = args.metrics.iter().map(|name| name.parse()).collect::<Result<Vec<Metric>, _>>()?;
    // It comes from the losses, asked for or not.
    metrics.retain(|metric| *metric != Metric::Perplexity);
    if metrics.is_empty() {
        return Err(
            "--metrics: found only perplexity, which is always measured; wanted a metric of answers".into()
        );
    }
    let tokenizer = Tokenizer::from_dir(&args.model.model)?;
    let set = Set::read(args, &tokenizer)?;
    let base = load_base(&args.model)?;
    let config = BootstrapConfig::default().with_seed(args.seed);
    let base_result = set.measure(args, &base, &tokenizer, "base")?;
    let mut report = match &args.model.adapter {
        None => alone(&set, &metrics, &base_result, &config)?,
        Some(adapter) => {
            let (tuned, _, _) = load_peft(adapter, base, false, &device())?;
            let tuned = set.measure(args, &tuned, &tokenizer, "with adapter")?;
            compared(&set, &metrics, &base_result, &tuned, config)?
        }
    };
    let fields = [
        ("model", json!(args.model.model)),
        ("adapter", json!(args.model.adapter)),
        ("data", json!(args.data)),
        ("examples", json!(set.prompts.len())),
        ("peak_memory_bytes", json!(peak_memory_bytes())),
        ("seconds", json!(started.elapsed().as_secs_f64())),
    ];
    for (name, value) in fields {
        report = report.with_field(name, value)?;
    }
    if let Some(out) = &args.out {
        write_file(out, serde_json::to_string_pretty(&report)?.as_bytes())?;
        write_file(&out.with_extension("md"), report.to_markdown().as_bytes())?;
        eprintln!("wrote {} and {}", out.display(), out.with_extension("md").display());
    }
    println!("{}", report.to_markdown());
    Ok(())
}

/// The records in their two forms: questions to answer, and rows to predict.
struct Set {
    prompts: Vec<Prompt>,
    rows: Batches,
}

/// What one system did on a set.
struct Measured {
    answers: Vec<String>,
    losses: Vec<TextLoss>,
}

impl Set {
    fn read(args: &EvalArgs, tokenizer: &Tokenizer) -> Result<Self, Box<dyn std::error::Error>> {
        let mut records: Vec<Record> =
            Source::open(&args.data)?.with_columns(column_map(&args.columns)?).read()?;
        records.truncate(args.limit.unwrap_or(usize::MAX));
        let encoded = Encoder::new(tokenizer, EncodeConfig::new(args.max_length))?.encode_all(&records)?;
        eprintln!("{}: {}", args.data.display(), encoded.report);
        let rows = pack(encoded.encoded, args.max_length, Packing::None);
        let rows = Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_shuffle(false));
        Ok(Self { prompts: prompts(&records, tokenizer)?, rows })
    }

    fn references(&self) -> Vec<Vec<String>> {
        self.prompts.iter().map(|prompt| vec![prompt.reference.trim().to_owned()]).collect()
    }

    fn measure(
        &self,
        args: &EvalArgs,
        model: &CausalLm,
        tokenizer: &Tokenizer,
        name: &str,
    ) -> Result<Measured, Box<dyn std::error::Error>> {
        let vocab = model.config().vocab_size;
        if self.rows.largest_token() as usize >= vocab {
            let found = self.rows.largest_token();
            return Err(format!("the data holds token {found}, the model's vocabulary has {vocab}").into());
        }
        let generation = GenerationConfig::from_dir(&args.model.model)?;
        let config = GenerateConfig::new().with_max_new_tokens(args.max_new_tokens).with_stop_ids(stop_ids(
            generation.as_ref(),
            model,
            Some(tokenizer),
        ));
        let (count, is_terminal) = (self.prompts.len(), std::io::stderr().is_terminal());
        let mut progress = |done: usize| {
            if is_terminal {
                eprint!("\r{name}: {done} of {count} answers");
            } else if done == count {
                eprintln!("{name}: {count} answers");
            }
        };
        let answers = answers(model, tokenizer, &self.prompts, &config, args.batch_size, &mut progress)?;
        if is_terminal {
            eprintln!();
        }
        Ok(Measured { answers, losses: text_losses(model, &self.rows, args.batch_size)? })
    }
}

/// One system: its scores with their intervals, as free fields of a report.
fn alone(
    set: &Set,
    metrics: &[Metric],
    result: &Measured,
    config: &BootstrapConfig,
) -> Result<Report, Box<dyn std::error::Error>> {
    let scores = MetricSet::from(metrics.to_vec())
        .with_bootstrap(*config)
        .evaluate(&result.answers, &set.references())?;
    let loss = bootstrap(&result.losses, config, loss_per_token)?;
    let perplexity = bootstrap(&result.losses, config, |texts| loss_per_token(texts).exp())?;
    let mut report = Report::new();
    for (name, estimate) in [("loss", loss), ("perplexity", perplexity)] {
        report =
            report.with_field(name, json!({ "value": estimate.value, "interval": estimate.interval }))?;
    }
    for (metric, score) in scores {
        report = report.with_field(metric.to_string(), serde_json::to_value(score)?)?;
    }
    let samples: Vec<Value> = set
        .prompts
        .iter()
        .zip(&result.answers)
        .take(SAMPLES)
        .map(|(prompt, answer)| json!({ "prompt": prompt.question, "reference": prompt.reference, "answer": answer }))
        .collect();
    Ok(report.with_field("answers", samples)?)
}

/// Two systems on the same examples.
fn compared(
    set: &Set,
    metrics: &[Metric],
    base: &Measured,
    tuned: &Measured,
    config: BootstrapConfig,
) -> Result<Report, Box<dyn std::error::Error>> {
    let comparison = Comparison::new(MetricSet::from(metrics.to_vec()).with_bootstrap(config))
        .with_base(&base.answers)
        .with_tuned(&tuned.answers)
        .against(&set.references())?
        .with_losses(&base.losses, &tuned.losses)?;
    let loss = ForgettingConfig::new().with_bootstrap(config).assess(&base.losses, &tuned.losses)?;
    let samples = set.prompts.iter().zip(base.answers.iter().zip(&tuned.answers)).take(SAMPLES);
    let samples = samples.map(|(prompt, (base, tuned))| ReportSample {
        prompt: prompt.question.clone(),
        reference: prompt.reference.clone(),
        base: base.clone(),
        tuned: tuned.clone(),
    });
    Ok(Report::new()
        .with_comparison(comparison)
        .with_samples(samples)
        .with_field("loss", serde_json::to_value(loss.loss)?)?)
}

/// Finds out before the work whether a report can be written to `out` without replacing one of the inputs.
pub(crate) fn check_out<'a>(out: Option<&Path>, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Outcome {
    let Some(out) = out else { return Ok(()) };
    if out.extension().is_none_or(|extension| extension != "json") || out.is_dir() {
        return Err(format!("--out: found {}, wanted a file that ends in .json", out.display()).into());
    }
    for input in inputs {
        if let (Ok(one), Ok(other)) = (fs::canonicalize(out), fs::canonicalize(input))
            && one == other
        {
            return Err(format!("--out is {}, which is read; wanted another file", out.display()).into());
        }
    }
    if let Some(parent) = out.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| format!("cannot create {}: {error}", parent.display()))?;
    }
    Ok(())
}
