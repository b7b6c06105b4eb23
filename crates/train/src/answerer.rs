//! What a model answers to validation records while it is trained.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burnisher_data::{Prompt, Record, Tokenizer};
use burnisher_eval::{BootstrapConfig, Metric, MetricSet};
use burnisher_models::{CausalLm, GenerateConfig, GenerationConfig, stop_ids};
use serde::Serialize;

use crate::{RunConfig, TrainError, answers, prompts, write_file};

/// Asks the model, scores its answers, and keeps them: `OUTPUT/samples/step-N.jsonl`.
pub(crate) struct Answerer {
    tokenizer: Tokenizer,
    prompts: Vec<Prompt>,
    metrics: MetricSet,
    generate: GenerateConfig,
    batch_size: usize,
    dir: PathBuf,
}

/// A line of a samples file.
#[derive(Serialize)]
struct Sample<'a> {
    step: u64,
    origin: String,
    prompt: &'a str,
    reference: &'a str,
    answer: &'a str,
}

impl Answerer {
    /// # Errors
    /// [`TrainError::Data`] for a validation record that asks nothing, with file and line; errors of files.
    pub(crate) fn new(
        config: &RunConfig,
        tokenizer: Tokenizer,
        records: &[Record],
        model: &CausalLm,
    ) -> Result<Self, TrainError> {
        let train = &config.train;
        let asked = &records[..train.eval_examples.min(records.len())];
        let generation = GenerationConfig::from_dir(&config.model.path)?;
        let stops = stop_ids(generation.as_ref(), model, Some(&tokenizer));
        let dir = train.output_dir.join("samples");
        fs::create_dir_all(&dir).map_err(|source| TrainError::io("create", &dir, source))?;
        // The intervals are not asked for.
        let bootstrap = BootstrapConfig::default().with_resamples(1);
        Ok(Self {
            prompts: prompts(asked, &tokenizer)?,
            metrics: MetricSet::from(train.eval_metrics.clone()).with_bootstrap(bootstrap),
            generate: GenerateConfig::new()
                .with_max_new_tokens(train.eval_max_new_tokens)
                .with_stop_ids(stops),
            batch_size: train.batch_size,
            dir,
            tokenizer,
        })
    }

    /// The scores of the model's answers, 0..100; writes the answers.
    pub(crate) fn score(&mut self, model: &CausalLm, step: u64) -> Result<BTreeMap<Metric, f64>, TrainError> {
        let answers =
            answers(model, &self.tokenizer, &self.prompts, &self.generate, self.batch_size, &mut |_| {})?;
        let references: Vec<Vec<&str>> =
            self.prompts.iter().map(|prompt| vec![prompt.reference.trim()]).collect();
        let scores = self.metrics.evaluate(&answers, &references)?;
        write_file(&sample_file(&self.dir, step), self.lines(&answers, step)?.as_bytes())?;
        Ok(scores.into_iter().map(|(metric, score)| (metric, score.value)).collect())
    }

    fn lines(&self, answers: &[String], step: u64) -> Result<String, TrainError> {
        let mut lines = String::new();
        for (prompt, answer) in self.prompts.iter().zip(answers) {
            let sample = Sample {
                step,
                origin: prompt.origin.to_string(),
                prompt: &prompt.question,
                reference: &prompt.reference,
                answer,
            };
            let line = serde_json::to_string(&sample)
                .map_err(|source| TrainError::io("write", &sample_file(&self.dir, step), source.into()))?;
            lines.push_str(&line);
            lines.push('\n');
        }
        Ok(lines)
    }
}

fn sample_file(dir: &Path, step: u64) -> PathBuf {
    dir.join(format!("step-{step}.jsonl"))
}
