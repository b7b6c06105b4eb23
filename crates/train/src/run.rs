//! A whole run: data, base model, adapter, training, result.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burnisher_data::{
    BatchConfig, Batches, ColumnMap, DuplicateReport, EncodeConfig, Encoded, Encoder, LeakAuditReport,
    Record, Source, SplitConfig, Tokenizer, TrainOn, ValidationSize, pack, remove_exact_duplicates,
    split_together,
};
use burnisher_lora::{AdapterConfig, AttachReport, attach, save_peft, train_all};
use burnisher_models::{
    CausalLm, Checkpoint, GradientCheckpointing, LoadConfig, Quantize, WriteOptions, copy_tokenizer_files,
};
use burnisher_quant::QuantConfig;

use crate::answerer::Answerer;
use crate::leak_check::LeakCheck;
use crate::{
    BaseQuant, Checkpointing, ComputeDtype, DataSection, Observer, Outcome, RunConfig, TrainConfig,
    TrainError, Trainer,
};

/// The sets of a run, tokenised and packed, and what happened to the records on the way.
#[derive(Debug)]
pub struct PreparedData {
    /// The training set.
    pub train: Batches,
    /// The validation set, if there is one.
    pub validation: Option<Batches>,
    /// The records of the validation set, in its order.
    pub validation_records: Vec<Record>,
    /// What was read, removed, dropped and truncated, and which leaks were found: lines to print.
    pub notes: Vec<String>,
    /// Leaks between the sets; empty unless `data.leaks` allows them.
    pub leaks: Vec<LeakAuditReport>,
}

/// What a run ended with.
#[derive(Debug)]
pub struct RunOutcome {
    /// The training's outcome, with the model.
    pub training: Outcome<CausalLm>,
    /// What was trained, when an adapter was.
    pub adapter: Option<AttachReport>,
    /// Where the adapter (a PEFT directory) or the model (a Hugging Face directory) was saved.
    pub saved: PathBuf,
}

/// Runs `config`: reads and checks the data, loads the base model, attaches the adapter, trains, and
/// saves the result to `OUTPUT/adapter`, or `OUTPUT/model` in full-parameter mode.
///
/// `note` is told what happened to the data; `observers` see the training's events.
///
/// # Errors
/// [`TrainError`] for every problem of the configuration, the data, the model, and the run itself.
pub fn run(
    config: &RunConfig,
    device: &Device,
    observers: Vec<Box<dyn Observer>>,
    note: &mut dyn FnMut(&str),
) -> Result<RunOutcome, TrainError> {
    config.validate()?;
    let tokenizer = Tokenizer::from_dir(&config.model.path)?;
    let data = prepare_data(&config.data, &tokenizer, config.train.seed)?;
    data.notes.iter().for_each(|line| note(line));
    let model = CausalLm::from_pretrained(&config.model.path, &load_config(config), device)?;
    let rows_per_step = config.train.batch_size * config.train.gradient_accumulation_steps;
    let steps = config.train.total_steps(data.train.len().div_ceil(rows_per_step) as u64);
    let lora = config.adapter_config(steps);
    let (model, adapter) = match &lora {
        Some(lora) => {
            let (model, report) = attach(lora, model, config.train.seed, device)?;
            note(&report.to_string());
            (model, Some(report))
        }
        None => (train_all(model)?, None),
    };
    let model = model.with_gradient_checkpointing(checkpointing(config));
    check_vocabulary(&model, &data, &tokenizer)?;
    let base = Checkpoint::open(&config.model.path)?.fingerprint();
    // However f16 was asked for, its gradients need the scale.
    let fp16 = config.compute_dtype() == ComputeDtype::F16;
    let mut trainer = Trainer::new(TrainConfig { fp16, ..config.train.clone() })
        .observe_all(observers)
        .identify("the weights in model.path", format!("{base:016x}"))
        .identify("model.dtype", format!("{:?}", config.compute_dtype()))
        .identify("model.quant", format!("{:?}", config.model.quant))
        .identify("model.double_quant", config.model.double_quant.to_string());
    if let Some(lora) = lora.clone() {
        // The path of the base may be written in another way; its weights are compared.
        let section = config.adapter().and_then(|section| section.to_adapter_config(steps, ""));
        trainer =
            trainer.identify("the section lora", section.map(|config| config.to_json()).unwrap_or_default());
        if let AdapterConfig::AdaLora(config) = &lora {
            trainer = trainer.allocate_ranks(config);
        }
        trainer = trainer.export_with(move |model: &CausalLm, dir| {
            save_peft(model, &lora, dir.join("adapter"))?;
            Ok(())
        });
    }
    if !config.train.eval_metrics.is_empty() {
        let mut answerer = Answerer::new(config, tokenizer, &data.validation_records, &model)?;
        trainer = trainer.score_with(move |model: &CausalLm, step| answerer.score(model, step));
    }
    let training = trainer.train(model, &data.train, data.validation.as_ref())?;
    let output = &config.train.output_dir;
    let saved = match &lora {
        Some(lora) => {
            let dir = output.join("adapter");
            save_peft(&training.model, lora, &dir)?;
            dir
        }
        None => {
            let dir = output.join("model");
            training.model.save_pretrained(&dir, None, &WriteOptions::new())?;
            copy_tokenizer_files(&config.model.path, &dir)?;
            dir
        }
    };
    Ok(RunOutcome { training, adapter, saved })
}

/// Every token of the data must have an embedding.
fn check_vocabulary(model: &CausalLm, data: &PreparedData, tokenizer: &Tokenizer) -> Result<(), TrainError> {
    let vocab_size = model.config().vocab_size;
    let sets = std::iter::once(&data.train).chain(&data.validation);
    let token = sets.map(Batches::largest_token).max().unwrap_or(0);
    if (token as usize) < vocab_size {
        return Ok(());
    }
    let text = tokenizer.id_to_token(token).unwrap_or_else(|| "unknown to the tokenizer".to_owned());
    Err(TrainError::Vocabulary { token, text, vocab_size })
}

/// Reads, de-duplicates, splits, checks for leaks, tokenises and packs the records of a run, and mixes in those of
/// `data.replay`.
///
/// # Errors
/// [`TrainError::Data`] for wrong records, with file and line; [`TrainError::Leak`] with the pairs when
/// sets share text and `data.leaks` does not allow it.
pub fn prepare_data(
    config: &DataSection,
    tokenizer: &Tokenizer,
    seed: u64,
) -> Result<PreparedData, TrainError> {
    let mut notes = Vec::new();
    let records = read(config, &config.train)?;
    notes.push(format!("{}: {} records", config.train.display(), records.len()));
    let records = match config.deduplicate {
        true => {
            let (records, report): (Vec<Record>, DuplicateReport) = remove_exact_duplicates(records);
            notes.push(report.to_string());
            records
        }
        false => records,
    };
    let mut leaks = LeakCheck::new(config);
    let mut held_out = Vec::new();
    if let Some(path) = &config.test {
        held_out.push(("test", read(config, path)?));
    }
    for (name, path) in &config.benchmarks {
        held_out.push((name.as_str(), Source::open(path)?.read()?));
    }
    let named = || held_out.iter().map(|(name, set)| (*name, set.as_slice()));
    // Before the split: what is held back for validation chooses the best step.
    leaks.compare("data.train", &records, named())?;
    let (train, validation) = match &config.validation {
        Some(path) => (records, Some(read(config, path)?)),
        None if config.validation_fraction > 0.0 => {
            let size = ValidationSize::Fraction(config.validation_fraction);
            let clusters = leaks.clusters(records.iter())?.unwrap_or_default();
            let parts = split_together(records, SplitConfig::new(size).with_seed(config.seed), &clusters)?;
            let share = 100.0 * config.validation_fraction;
            notes.push(format!(
                "split: {} for training, {} for validation ({share} % asked for; records that share 13 words and \
                 near-duplicates stay together)",
                parts.train.len(),
                parts.validation.len(),
            ));
            (parts.train, Some(parts.validation))
        }
        None => (records, None),
    };
    if config.validation.is_some()
        && let Some(validation) = &validation
    {
        leaks.compare("data.train", &train, [("validation", validation.as_slice())])?;
        leaks.compare("data.validation", validation, named())?;
    }
    let replay = match &config.replay {
        Some(path) => Some(read_replay(config, path, train.len(), &mut notes)?),
        None => None,
    };
    if let Some(replay) = &replay {
        let validation = validation.as_deref().map(|set| ("validation", set));
        leaks.compare("data.replay", replay, named().chain(validation))?;
    }
    let leaks = leaks.finish(&mut notes)?;
    let encode = |records: &[Record], part: TrainOn| {
        let encode = EncodeConfig::new(config.max_length).with_train_on(part);
        Encoder::new(tokenizer, encode)?.encode_all(records)
    };
    let batches = |rows, shuffle| {
        let rows = pack(rows, config.max_length, config.packing.into());
        Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_seed(seed).with_shuffle(shuffle))
    };
    let mut set = encode(&train, config.train_on.into())?;
    notes.push(format!("training: {}", set.report));
    if let Some(replay) = &replay {
        let mut replay = encode(replay, TrainOn::Everything)?;
        let targets = |encoded: &[Encoded]| encoded.iter().map(|one| one.target_tokens()).sum::<usize>();
        let (own, general) = (targets(&set.encoded), targets(&replay.encoded));
        let share = 100.0 * general as f64 / (own + general).max(1) as f64;
        notes.push(format!("replay: {}; {share:.1} % of all targets", replay.report));
        // The number of a record decides its dropout: no two records of a set share one.
        replay.encoded.iter_mut().for_each(|encoded| encoded.index += train.len() as u64);
        set.encoded.extend(replay.encoded);
    }
    let train = batches(set.encoded, true);
    let (validation, validation_records) = match validation {
        Some(records) => {
            let set = encode(&records, config.train_on.into())?;
            notes.push(format!("validation: {}", set.report));
            (Some(batches(set.encoded, false)), records)
        }
        None => (None, Vec::new()),
    };
    Ok(PreparedData { train, validation, validation_records, notes, leaks })
}

/// The records of the replay file that make `replay_fraction` of a set with `train` other records, spread evenly over
/// the file, or all if there are fewer.
fn read_replay(
    config: &DataSection,
    path: &Path,
    train: usize,
    notes: &mut Vec<String>,
) -> Result<Vec<Record>, TrainError> {
    let records = Source::open(path)?.read()?;
    let (found, share) = (records.len(), config.replay_fraction);
    let wanted = (train as f64 * share / (1.0 - share)).round().max(1.0) as usize;
    let taken = wanted.min(found);
    notes.push(format!(
        "replay: {taken} of {found} records of {} beside {train} ({:.1} %, {:.1} % asked for)",
        path.display(),
        100.0 * taken as f64 / (train + taken).max(1) as f64,
        100.0 * share,
    ));
    let spread = |index: usize| (index + 1) * taken / found > index * taken / found;
    let records = records.into_iter().enumerate().filter(|(index, _)| spread(*index));
    Ok(records.map(|(_, record)| record).collect())
}

pub(crate) fn read(config: &DataSection, path: &Path) -> Result<Vec<Record>, TrainError> {
    let source = Source::open(path)?
        .with_columns(ColumnMap::new(config.columns.clone())?)
        .with_shape(config.shape.map(Into::into));
    Ok(source.read()?)
}

fn checkpointing(config: &RunConfig) -> GradientCheckpointing {
    match config.model.gradient_checkpointing {
        Checkpointing::None => GradientCheckpointing::None,
        Checkpointing::Block => GradientCheckpointing::Block,
        Checkpointing::BlockKeepAttention => GradientCheckpointing::BlockKeepAttention,
    }
}

pub(crate) fn load_config(config: &RunConfig) -> LoadConfig {
    let dtype = match config.compute_dtype() {
        ComputeDtype::F32 => burnisher_models::ComputeDtype::F32,
        ComputeDtype::Bf16 => burnisher_models::ComputeDtype::Bf16,
        ComputeDtype::F16 => burnisher_models::ComputeDtype::F16,
    };
    let load = LoadConfig::new().with_dtype(dtype);
    let four_bit = |quant: QuantConfig| quant.with_double_quant(config.model.double_quant);
    match config.model.quant {
        BaseQuant::None => load,
        BaseQuant::Nf4 => load.with_quantize(four_bit(QuantConfig::nf4())),
        BaseQuant::Fp4 => load.with_quantize(four_bit(QuantConfig::fp4())),
        BaseQuant::Int8 => load.with_quantize(Quantize::int8()),
    }
}
