use std::path::Path;
use std::time::Instant;

use burnisher_data::{
    BatchConfig, Batches, EncodeConfig, Encoder, Packing, Prompt, Record, Tokenizer, TrainOn, pack,
};
use burnisher_eval::{ComparedExample, Cost, GeneralResult, GeneralTask, SystemResult, TextLoss};
use burnisher_models::{CausalLm, GenerateConfig, GenerationConfig, stop_ids};

use super::config::CompareConfig;
use crate::{TrainError, answers, peak_memory_bytes, prompts, text_losses};

/// What every system is asked, and what it may forget.
pub(super) struct Sets {
    pub(super) test: Vec<Record>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) general: Vec<General>,
    max_length: usize,
}

/// A named set of general records.
pub(super) struct General {
    name: String,
    records: Vec<Record>,
    /// `None` if a record asks nothing.
    prompts: Option<Vec<Prompt>>,
}

impl Sets {
    pub(super) fn new(
        test: Vec<Record>,
        general: Vec<(String, Vec<Record>)>,
        tokenizer: &Tokenizer,
        max_length: usize,
    ) -> Result<Self, TrainError> {
        let prompts_of_test = prompts(&test, tokenizer)?;
        let general = general
            .into_iter()
            .map(|(name, records)| {
                let prompts = prompts(&records, tokenizer).ok();
                General { name, records, prompts }
            })
            .collect();
        Ok(Self { test, prompts: prompts_of_test, general, max_length })
    }

    pub(super) fn examples(&self) -> Vec<ComparedExample> {
        let example = |prompt: &Prompt| ComparedExample {
            origin: prompt.origin.to_string(),
            prompt: prompt.question.clone(),
            references: vec![prompt.reference.trim().to_owned()],
        };
        self.prompts.iter().map(example).collect()
    }

    pub(super) fn tasks(&self, config: &CompareConfig) -> Vec<GeneralTask> {
        let task = |general: &General| {
            let references =
                general.prompts.as_ref()?.iter().map(|prompt| vec![prompt.reference.trim().to_owned()]);
            Some(GeneralTask {
                source: general.name.clone(),
                metric: config.general_metric,
                references: references.collect(),
            })
        };
        self.general.iter().filter_map(task).collect()
    }
}

/// A model, and what it takes to ask it.
pub(super) struct Asked<'a> {
    pub(super) model: &'a CausalLm,
    pub(super) model_dir: &'a Path,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) config: &'a CompareConfig,
    pub(super) note: &'a mut dyn FnMut(&str),
}

impl Asked<'_> {
    /// Answers, losses, and general ability.
    pub(super) fn measure(
        &mut self,
        sets: &Sets,
        mut result: SystemResult,
    ) -> Result<SystemResult, TrainError> {
        let started = Instant::now();
        let answers = self.answers(&sets.prompts)?;
        let seconds = started.elapsed().as_secs_f64();
        result.answers = answers;
        result = result.with_losses(self.losses(&sets.test, sets.max_length, TrainOn::Completions)?);
        for general in &sets.general {
            let losses = self.losses(&general.records, sets.max_length, TrainOn::Everything)?;
            let mut measured = GeneralResult::of_losses(&general.name, losses);
            if let Some(prompts) = &general.prompts {
                measured.answers = Some(self.answers(prompts)?);
            }
            result = result.with_general(measured);
        }
        result.cost =
            Cost { generate_seconds: Some(seconds), peak_memory_bytes: peak_memory_bytes(), ..result.cost };
        Ok(result)
    }

    /// The answers to prompts.
    pub(super) fn answers(&mut self, prompts: &[Prompt]) -> Result<Vec<String>, TrainError> {
        let generation = GenerationConfig::from_dir(self.model_dir)?;
        let stops = stop_ids(generation.as_ref(), self.model, Some(self.tokenizer));
        let config =
            GenerateConfig::new().with_max_new_tokens(self.config.max_new_tokens).with_stop_ids(stops);
        let count = prompts.len();
        let note = &mut self.note;
        let mut said = 0;
        answers(self.model, self.tokenizer, prompts, &config, self.config.batch_size, &mut |done| {
            if done == count || done * 4 / count > said {
                said = done * 4 / count;
                note(&format!("  {done} of {count} answers"));
            }
        })
    }

    fn losses(
        &self,
        records: &[Record],
        max_length: usize,
        part: TrainOn,
    ) -> Result<Vec<TextLoss>, TrainError> {
        let encoder = Encoder::new(self.tokenizer, EncodeConfig::new(max_length).with_train_on(part))?;
        let rows = pack(encoder.encode_all(records)?.encoded, max_length, Packing::None);
        let set = Batches::new(rows, BatchConfig::new(self.tokenizer.padding_id()).with_shuffle(false));
        text_losses(self.model, &set, self.config.batch_size)
    }
}
