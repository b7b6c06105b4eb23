//! Metrics of answers while a model is trained: what chooses the best step, and when a run ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use burn::tensor::Device;
use burnisher_eval::{Metric, evaluate};
use burnisher_models::CausalLm;
use burnisher_train::{
    ConfigProblem, EarlyStoppingConfig, Event, LeakPolicy, Outcome, RunConfig, StopReason, TrainError,
    Trainer, run,
};
use serde_json::Value;

use crate::properties::{LENGTHS, adapted, batches, config, trained};

/// A run of eight steps, validated at every second one, whose scores are these; the one before the first step too.
fn scored(dir: &Path, scores: &[f64], patience: u64) -> Result<Outcome<CausalLm>, TrainError> {
    let mut config = config(dir, 8);
    config.eval_metrics = vec![Metric::RougeL];
    config.metric_for_best_model = Some(Metric::RougeL);
    config.early_stopping = Some(EarlyStoppingConfig { patience, min_delta: 0.0 });
    let scores = scores.to_vec();
    let scorer = move |_: &CausalLm, step: u64| -> Result<BTreeMap<Metric, f64>, TrainError> {
        Ok(BTreeMap::from([(Metric::RougeL, scores[step as usize / 2])]))
    };
    Trainer::new(config).score_with(scorer).train(
        adapted("llama3", false, 0.0),
        &batches(&LENGTHS),
        Some(&batches(&[12, 6, 15])),
    )
}

#[test]
fn the_best_score_chooses_the_step_and_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = scored(dir.path(), &[90.0, 10.0, 30.0, 20.0, 30.0], 2).unwrap();
    let best = outcome.best.unwrap();
    assert_eq!((best.step, best.score), (4, Some(30.0)), "the score before training does not count");
    assert_eq!((outcome.steps, outcome.reason), (8, StopReason::EarlyStopping));
    // The model is that of step 4: a run that ends there has the same parameters.
    let other = tempfile::tempdir().unwrap();
    let stopped = scored(other.path(), &[0.0, 40.0, 41.0, 1.0, 1.0], 100).unwrap();
    assert_eq!(stopped.best.unwrap().step, 4);
    assert_eq!(trained(&outcome.model), trained(&stopped.model));
    let last = tempfile::tempdir().unwrap();
    let last = scored(last.path(), &[0.0, 1.0, 2.0, 3.0, 4.0], 100).unwrap();
    assert_ne!(trained(&outcome.model), trained(&last.model));
}

#[test]
fn a_resumed_run_remembers_the_score() {
    let scores = [0.0, 50.0, 40.0, 30.0, 20.0];
    let dir = tempfile::tempdir().unwrap();
    scored(dir.path(), &scores, 100).unwrap();
    for step in [6, 8] {
        std::fs::remove_dir_all(dir.path().join(format!("checkpoint-{step}"))).unwrap();
    }
    let resumed = scored(dir.path(), &scores, 100).unwrap();
    assert_eq!(resumed.best.map(|best| (best.step, best.score)), Some((2, Some(50.0))));
}

#[test]
fn a_score_that_nobody_measures_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 2);
    config.eval_metrics = vec![Metric::RougeL];
    config.metric_for_best_model = Some(Metric::Bleu);
    let fields = |error: TrainError| match error {
        TrainError::Config(problems) => {
            problems.iter().map(|problem: &ConfigProblem| problem.field().to_owned()).collect::<Vec<_>>()
        }
        other => panic!("{other}"),
    };
    let train = |config| {
        Trainer::new(config).train(adapted("llama3", false, 0.0), &batches(&LENGTHS), Some(&batches(&[12])))
    };
    assert_eq!(fields(train(config.clone()).unwrap_err()), ["train.metric_for_best_model"]);
    config.eval_metrics.push(Metric::Bleu);
    assert_eq!(fields(train(config).unwrap_err()), ["train.metric_for_best_model"]);
}

#[test]
fn a_run_keeps_the_answers_of_every_validation() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets");
    let path = |name: &str| -> PathBuf { assets.join(name) };
    let dir = tempfile::tempdir().unwrap();
    let mut config = RunConfig::new(path("base"), path("finance/validation.jsonl"), dir.path());
    config.data.validation_fraction = 0.0;
    config.data.validation = Some(path("finance/test.jsonl"));
    config.data.leaks = LeakPolicy::Allow;
    config.train.max_steps = Some(2);
    config.train.eval_every = Some(1);
    config.train.eval_metrics = vec![Metric::EntityF1, Metric::RougeL];
    config.train.eval_examples = 3;
    config.train.eval_max_new_tokens = 12;
    config.train.metric_for_best_model = Some(Metric::RougeL);
    let (sender, receiver) = mpsc::channel();
    let observer = move |event: &Event| sender.send(event.clone()).unwrap();
    let outcome = run(&config, &Device::flex(), vec![Box::new(observer)], &mut |_| {}).unwrap();
    let mut seen = Vec::new();
    for event in receiver.try_iter() {
        let Event::Evaluated { step, metrics, .. } = event else { continue };
        let text = std::fs::read_to_string(dir.path().join(format!("samples/step-{step}.jsonl"))).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines
                .iter()
                .all(|line| line["step"] == step && line["origin"].as_str().unwrap().contains("test.jsonl"))
        );
        let of = |name: &str| -> Vec<String> {
            lines.iter().map(|line| line[name].as_str().unwrap().trim().to_owned()).collect()
        };
        let references: Vec<Vec<String>> = of("reference").into_iter().map(|text| vec![text]).collect();
        let again = evaluate(&[Metric::EntityF1, Metric::RougeL], &of("answer"), &references).unwrap();
        assert_eq!(metrics, again.into_iter().map(|(metric, score)| (metric, score.value)).collect());
        seen.push((step, metrics[&Metric::RougeL]));
    }
    assert_eq!(seen.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2]);
    let best = outcome.training.best.unwrap();
    let most = seen[1..].iter().map(|(_, score)| *score).fold(f64::MIN, f64::max);
    assert_eq!(best.score, Some(most));
}
