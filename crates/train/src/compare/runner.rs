use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use burn::tensor::Device;
use burnisher_data::{Record, Source, Tokenizer};
use burnisher_eval::{Cost, CurvePoint, SystemKind, SystemResult, SystemsReport};
use burnisher_lora::load_peft;
use burnisher_models::CausalLm;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{CompareConfig, ComparedSystem};
use super::measure::{Asked, Sets};
use super::retrieval::Retrieval;
use crate::memory::reset_peak_memory;
use crate::run::{load_config, read};
use crate::{
    BaseQuant, ConfigProblem, JsonLines, Observer, Progress, RunConfig, TrainError, prompts, run, write_file,
};

/// A system's file: what was measured, and what decided it.
#[derive(Serialize, Deserialize)]
struct Stored {
    identity: Value,
    result: SystemResult,
}

/// Runs a comparison: trains what must be trained, asks every system the same, and writes `systems.md`, `systems.json` and
/// `systems.html` into the output folder.
///
/// A system that was measured already, with the same configuration and data, is not measured again, and a training that
/// was stopped goes on from its last checkpoint: the same call after a crash finishes the work.
///
/// # Errors
///
/// Those of [`run`]; [`TrainError::Config`] for a run without `data.test`; [`TrainError::Eval`] for a report that
/// cannot be made.
pub fn compare(
    config: &CompareConfig,
    device: &Device,
    note: &mut dyn FnMut(&str),
) -> Result<SystemsReport, TrainError> {
    config.validate()?;
    let base_run = RunConfig::from_file(&config.run)?;
    let runs: BTreeMap<ComparedSystem, Option<RunConfig>> = config
        .systems()
        .into_iter()
        .map(|system| Ok((system, config.run_of(system)?)))
        .collect::<Result<_, TrainError>>()?;
    let work = Work::new(config, &base_run, device, note)?;
    let mut results = Vec::new();
    for (system, run) in &runs {
        results.push(work.stored(system.as_str(), run.as_ref(), note, |note| match run {
            Some(run) => work.trained(*system, run, note),
            None => work.untrained(*system, note),
        })?);
    }
    for (name, dir) in &config.adapters {
        results.push(work.stored(name, None, note, |note| work.adapter(name, dir, note))?);
    }
    let report =
        SystemsReport::new(&work.sets.examples(), &results, &work.sets.tasks(config), &config.report())?;
    fs::create_dir_all(&config.output_dir)
        .map_err(|source| TrainError::io("create", &config.output_dir, source))?;
    report.write(&config.output_dir)?;
    Ok(report)
}

struct Work<'a> {
    config: &'a CompareConfig,
    run: &'a RunConfig,
    device: &'a Device,
    tokenizer: Tokenizer,
    sets: Sets,
    /// Stamps of the data files.
    files: Vec<Value>,
    /// Stamps of what retrieval searches.
    documents: Vec<Value>,
}

impl<'a> Work<'a> {
    fn new(
        config: &'a CompareConfig,
        run: &'a RunConfig,
        device: &'a Device,
        note: &mut dyn FnMut(&str),
    ) -> Result<Self, TrainError> {
        let Some(test) = &run.data.test else {
            let found = "none".to_owned();
            let problem =
                ConfigProblem::value("data.test", found, "the file that every system is asked from");
            return Err(TrainError::Config(vec![problem]));
        };
        let tokenizer = Tokenizer::from_dir(&run.model.path)?;
        let first = |mut records: Vec<Record>, count: Option<usize>| {
            records.truncate(count.unwrap_or(usize::MAX));
            records
        };
        let examples = first(read(&run.data, test)?, config.examples);
        let general = config
            .general
            .iter()
            .map(|(name, path)| {
                Ok((name.clone(), first(Source::open(path)?.read()?, config.general_examples)))
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        let empty = std::iter::once(("data.test", &examples))
            .chain(general.iter().map(|(name, records)| (name.as_str(), records)))
            .find(|(_, records)| records.is_empty());
        if let Some((name, _)) = empty {
            let found = "no records".to_owned();
            return Err(TrainError::Config(vec![ConfigProblem::value(name, found, "at least one")]));
        }
        for (name, records) in &general {
            note(&format!("general: {} records of {name}", records.len()));
        }
        note(&format!("{} examples of {}", examples.len(), test.display()));
        let data =
            [Some(&run.data.train), run.data.validation.as_ref(), Some(test), run.data.replay.as_ref()];
        let files = data.into_iter().flatten().chain(config.general.values());
        let files = files.map(|path| source_files(path)).collect::<Result<Vec<_>, _>>()?.concat();
        let documents = config.documents.iter().map(|path| source_files(path));
        let documents = documents.collect::<Result<Vec<_>, _>>()?.concat();
        let sets = Sets::new(examples, general, &tokenizer, run.data.max_length)?;
        Ok(Self { config, run, device, tokenizer, sets, files, documents })
    }

    /// The system's result, from its file if that was made by the same configuration over the same files.
    fn stored(
        &self,
        name: &str,
        run: Option<&RunConfig>,
        note: &mut dyn FnMut(&str),
        make: impl FnOnce(&mut dyn FnMut(&str)) -> Result<SystemResult, TrainError>,
    ) -> Result<SystemResult, TrainError> {
        let identity = json!({
            "run": run.unwrap_or(self.run),
            "files": self.files,
            "base": files_of(&self.run.model.path).iter().map(|file| stamp(file)).collect::<Vec<_>>(),
            "adapter": self.config.adapters.get(name).map(|dir| {
                files_of(dir).iter().map(|file| stamp(file)).collect::<Vec<_>>()
            }),
            "documents": (name == ComparedSystem::Retrieval.as_str()).then(|| {
                let CompareConfig { passages, passage_words, passage_overlap, .. } = self.config;
                json!([self.documents, passages, passage_words, passage_overlap])
            }),
            "asked": [self.sets.test.len(), self.config.max_new_tokens, self.config.batch_size],
            "general": [json!(self.config.general), json!(self.config.general_examples)],
        });
        let path = self.config.output_dir.join(name).join("result.json");
        match fs::read(&path).map(|bytes| serde_json::from_slice::<Stored>(&bytes)) {
            Ok(Ok(stored)) if stored.identity == identity => {
                note(&format!("{name}: measured before, {}", path.display()));
                return Ok(stored.result);
            }
            Ok(stored) => {
                note(&format!("{name}: {} is of another configuration; measured again", path.display()));
                let before = stored.map(|stored| stored.identity).unwrap_or_default();
                if ["run", "files", "base"].iter().any(|part| before[part] != identity[part]) {
                    put_aside(&self.config.output_dir.join(name))?;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => note(&format!("{name}:")),
            Err(source) => return Err(TrainError::io("read", &path, source)),
        }
        let counted = reset_peak_memory();
        let mut result = make(note)?;
        if !counted {
            // What was held before would be counted as this system's.
            result.cost.peak_memory_bytes = None;
        }
        let stored = serde_json::to_vec_pretty(&Stored { identity, result: result.clone() });
        let stored = stored.map_err(|error| TrainError::io("write", &path, error.into()))?;
        let folder = self.config.output_dir.join(name);
        fs::create_dir_all(&folder).map_err(|source| TrainError::io("create", &folder, source))?;
        write_file(&path, &stored)?;
        Ok(result)
    }

    fn asked<'b>(&'b self, model: &'b CausalLm, note: &'b mut dyn FnMut(&str)) -> Asked<'b> {
        let Self { config, tokenizer, .. } = self;
        Asked { model, model_dir: &self.run.model.path, tokenizer, config, note }
    }

    /// The base as it is, dense even where the run quantizes it.
    fn base(&self) -> Result<CausalLm, TrainError> {
        let mut run = self.run.clone();
        run.model.quant = BaseQuant::None;
        Ok(CausalLm::from_pretrained(&run.model.path, &load_config(&run), self.device)?)
    }

    fn untrained(
        &self,
        system: ComparedSystem,
        note: &mut dyn FnMut(&str),
    ) -> Result<SystemResult, TrainError> {
        let model = self.base()?;
        let cost = Cost { base_bytes: weights(&self.run.model.path), ..Cost::default() };
        let mut result =
            SystemResult::new(system.as_str(), system.kind(), Vec::<String>::new()).with_cost(cost);
        if system != ComparedSystem::Retrieval {
            return self.asked(&model, note).measure(&self.sets, result);
        }
        let retrieval = Retrieval::read(self.config)?;
        note(&format!("  {} passages", retrieval.len()));
        let records = self.sets.test.iter().zip(&self.sets.prompts);
        let records: Vec<Record> = records.map(|(record, prompt)| retrieval.before(record, prompt)).collect();
        let started = std::time::Instant::now();
        let answers = self.asked(&model, note).answers(&prompts(&records, &self.tokenizer)?)?;
        // Its weights are the base's: losses and general ability are not measured again.
        result.answers = answers;
        result.cost.generate_seconds = Some(started.elapsed().as_secs_f64());
        result.cost.peak_memory_bytes = crate::peak_memory_bytes();
        Ok(result)
    }

    fn trained(
        &self,
        system: ComparedSystem,
        config: &RunConfig,
        note: &mut dyn FnMut(&str),
    ) -> Result<SystemResult, TrainError> {
        let events = config.train.output_dir.join("metrics.jsonl");
        let observers: Vec<Box<dyn Observer>> =
            vec![Box::new(Progress::stderr()), Box::new(JsonLines::append(&events)?)];
        let outcome = run(config, self.device, observers, note)?;
        let Training { curve, seconds, trainable } = read_events(&events)?;
        // A training that was finished before holds nothing now.
        let trained_now = outcome.training.tokens > 0;
        let cost = Cost {
            train_seconds: Some(seconds),
            trainable_parameters: trainable,
            saved_bytes: weights(&outcome.saved),
            base_bytes: (config.model.quant == BaseQuant::None)
                .then(|| weights(&self.run.model.path))
                .flatten(),
            ..Cost::default()
        };
        let result = SystemResult::new(system.as_str(), system.kind(), Vec::<String>::new())
            .with_cost(cost)
            .with_curve(curve);
        let mut result = self.asked(&outcome.training.model, note).measure(&self.sets, result)?;
        if !trained_now {
            result.cost.peak_memory_bytes = None;
        }
        Ok(result)
    }

    fn adapter(
        &self,
        name: &str,
        dir: &Path,
        note: &mut dyn FnMut(&str),
    ) -> Result<SystemResult, TrainError> {
        let (model, _, report) = load_peft(dir, self.base()?, false, self.device)?;
        let cost = Cost {
            trainable_parameters: Some(report.trainable as u64),
            saved_bytes: weights(dir),
            base_bytes: weights(&self.run.model.path),
            ..Cost::default()
        };
        let result = SystemResult::new(name, SystemKind::Lora, Vec::<String>::new()).with_cost(cost);
        self.asked(&model, note).measure(&self.sets, result)
    }
}

/// What a training's events tell.
#[derive(Default)]
struct Training {
    curve: Vec<CurvePoint>,
    seconds: f64,
    trainable: Option<u64>,
}

/// Reads a training's events: the losses by step, the last word on each, and the seconds of all its parts. Of a part that
/// was killed, the time up to its last step counts, and what it did behind the checkpoint that was resumed does not.
fn read_events(path: &Path) -> Result<Training, TrainError> {
    let text = fs::read_to_string(path).map_err(|source| TrainError::io("read", path, source))?;
    let mut points: BTreeMap<u64, CurvePoint> = BTreeMap::new();
    let (mut training, mut of_this_part) = (Training::default(), 0.0);
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let number = |name: &str| event.get(name).and_then(Value::as_f64);
        let name = event.get("event").and_then(Value::as_str).unwrap_or_default();
        let step = event.get("step").and_then(Value::as_u64);
        match (name, step) {
            ("started", _) => {
                training.seconds += of_this_part;
                of_this_part = 0.0;
                training.trainable = event.get("trainable").and_then(Value::as_u64);
            }
            ("resumed", Some(step)) => points.retain(|at, _| *at <= step),
            ("step" | "evaluated", Some(step)) => {
                let new = CurvePoint { step, train_loss: None, validation_loss: None };
                let point = points.entry(step).or_insert(new);
                if name == "step" {
                    point.train_loss = number("loss");
                } else {
                    point.validation_loss = number("validation_loss");
                }
            }
            _ => {}
        }
        of_this_part = number("seconds").unwrap_or(of_this_part);
    }
    training.seconds += of_this_part;
    training.curve = points.into_values().collect();
    Ok(training)
}

/// Moves a training of other settings out of the way.
fn put_aside(dir: &Path) -> Result<(), TrainError> {
    let run = dir.join("run");
    if !run.exists() {
        return Ok(());
    }
    let aside = (1..).map(|number| dir.join(format!("run-before-{number}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| dir.join("run-before"));
    fs::rename(&run, aside).map_err(|source| TrainError::io("move", &run, source))
}

/// The files of a folder, by name, without those of folders in it.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let files =
        fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Bytes of the weights in a folder.
fn weights(dir: &Path) -> Option<u64> {
    let of_weights = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
    let files = files_of(dir).into_iter().filter(of_weights);
    let sizes: Vec<u64> = files.filter_map(|path| Some(fs::metadata(path).ok()?.len())).collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// The stamps of all files of a source.
fn source_files(path: &Path) -> Result<Vec<Value>, TrainError> {
    Ok(Source::open(path)?.files().iter().map(|file| stamp(file)).collect())
}

/// A file's path, size and time of its last change.
fn stamp(path: &Path) -> Value {
    let of = |metadata: fs::Metadata| {
        let time = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((metadata.len(), time.as_nanos() as u64))
    };
    json!([path, fs::metadata(path).ok().and_then(of)])
}
