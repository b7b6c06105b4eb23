//! What a model is measured by in the quick start.

use std::{
    error::Error,
    io::{Write, stderr},
};

use burnisher::{
    data::{BatchConfig, Batches, EncodeConfig, Encoder, Packing, Prompt, Record, Tokenizer, TrainOn, pack},
    eval::{Comparison, ComparisonReport, EvalError, Metric, TextLoss},
    models::{CausalLm, GenerateConfig, stop_ids},
    train::{answers, prompts, text_losses},
};

/// Prompts that run together.
const BATCH: usize = 25;

/// A model's answers and losses on the task, and the same on general text.
#[derive(Clone, Debug)]
pub struct Measured {
    /// One answer per record of the task.
    pub answers: Vec<String>,
    /// The loss of each reference answer of the task.
    pub losses: Vec<TextLoss>,
    /// The loss of each general record, over all of its tokens.
    pub general_losses: Vec<TextLoss>,
    general_answers: Vec<String>,
    general_references: Vec<Vec<String>>,
}

impl Measured {
    /// Measures a model, greedily.
    ///
    /// # Errors
    /// Whatever tokenizer and model report.
    pub fn new(
        model: &CausalLm,
        tokenizer: &Tokenizer,
        task: &[Record],
        general: &[Record],
    ) -> Result<Self, Box<dyn Error>> {
        let task_prompts = prompts(task, tokenizer)?;
        let config = GenerateConfig::new().with_max_new_tokens(120).with_stop_ids(stop_ids(
            None,
            model,
            Some(tokenizer),
        ));
        let general_prompts = prompts(general, tokenizer)?;
        let total = task.len() + general.len();
        let answer = |prompts: &[Prompt], before: usize| {
            answers(model, tokenizer, prompts, &config, BATCH, &mut |done| {
                let _ = write!(stderr(), "\r{}/{total} answers", before + done);
            })
        };
        let (answers, general_answers) = (answer(&task_prompts, 0)?, answer(&general_prompts, task.len())?);
        let _ = writeln!(stderr());
        let losses = |records: &[Record], part| -> Result<Vec<TextLoss>, Box<dyn Error>> {
            let encoder = Encoder::new(tokenizer, EncodeConfig::new(512).with_train_on(part))?;
            let rows = pack(encoder.encode_all(records)?.encoded, 512, Packing::None);
            let set = Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_shuffle(false));
            Ok(text_losses(model, &set, BATCH)?)
        };
        Ok(Self {
            answers,
            losses: losses(task, TrainOn::Completions)?,
            general_losses: losses(general, TrainOn::Everything)?,
            general_answers,
            general_references: general_prompts.into_iter().map(|prompt| vec![prompt.reference]).collect(),
        })
    }

    /// The answers to general tasks before (`self`) and after tuning.
    ///
    /// # Errors
    /// If `after` was measured on other tasks.
    pub fn general_metrics(&self, after: &Self) -> Result<ComparisonReport, EvalError> {
        Comparison::new([Metric::ExactMatch, Metric::SquadF1, Metric::RougeL])
            .with_base(&self.general_answers)
            .with_tuned(&after.general_answers)
            .against(&self.general_references)
    }
}
