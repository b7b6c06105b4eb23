//! Metrics over strings and numbers: what a model answered against what was wanted.
//!
//! This crate knows nothing of models, tensors or files. Evaluation code generates answers or token
//! losses elsewhere and hands them over.
//!
//! | metric | entry point | range | agrees with |
//! |---|---|---|---|
//! | perplexity of a corpus | [`corpus_perplexity`] | 1.. | `exp(eval_loss)` of transformers' Trainer |
//! | mean perplexity of texts | [`mean_text_perplexity`] | 1.. | `perplexity` of Hugging Face evaluate |
//! | bits per byte | [`bits_per_byte`] | 0.. | lm-eval 0.4.13 |
//! | exact match | [`ExactMatchConfig`] | 0..1 | `exact_match` of Hugging Face evaluate |
//! | SQuAD v1.1 EM and F1 | [`squad`] | 0..100 | `squad` of Hugging Face evaluate |
//! | entity precision, recall, F1 | [`EntityConfig`] | 0..100 | (micro averages of field-value pairs) |
//! | ROUGE-N, -L, -Lsum | [`RougeConfig`] | 0..1 | rouge_score 0.1.2 |
//! | BLEU | [`BleuConfig`] | 0..100 | sacrebleu 2.6.0: `none`, `13a`, `intl`, `char`, `zh` |
//!
//! The two perplexities are different numbers, so they have different names.
//!
//! On top of the metrics, with all scores 0..100 and with intervals from [`bootstrap`](fn@bootstrap) and
//! [`paired_bootstrap`]:
//!
//! | question | entry point |
//! |---|---|
//! | how good is this system? | [`evaluate`], [`MetricSet`] |
//! | is the tuned system better than the base? | [`Comparison`] |
//! | is its loss lower? | [`LossComparison`] |
//! | has it forgotten anything? | [`ForgettingConfig`] |
//! | all of it in one file | [`Report`] |
//! | which of several systems to take? | [`SystemsReport`] |
//!
//! # Example
//!
//! ```
//! use burnisher_eval::{TextLoss, corpus_perplexity, squad};
//!
//! let score = squad(&["The Central Station"], &[vec!["central station", "main station"]])?;
//! assert_eq!((score.exact_match, score.f1), (100.0, 100.0));
//!
//! let texts = [TextLoss::from_token_losses([0.5, 1.5], 7), TextLoss::from_token_losses([1.0], 3)];
//! assert!((corpus_perplexity(&texts)? - 1f64.exp()).abs() < 1e-12);
//! # Ok::<(), burnisher_eval::EvalError>(())
//! ```
#![deny(missing_docs)]

mod bleu;
mod bm25;
mod bootstrap;
mod compare;
mod entities;
mod error;
mod exact_match;
mod forgetting;
mod loss;
mod metric;
mod metric_set;
mod perplexity;
mod porter;
mod report;
mod rouge;
mod squad;
mod systems;
mod text;

pub use bleu::{Bleu, BleuConfig, BleuCounts, BleuScore, BleuTokenizer, Smoothing, reference_lists};
pub use bm25::{Bm25, Bm25Config, Bm25Hit, passages};
pub use bootstrap::{
    BootstrapConfig, Estimate, PairedEstimate, Resample, bootstrap, mean, mean_interval, paired_bootstrap,
};
pub use compare::{Comparison, ComparisonReport, MetricComparison};
pub use entities::{EntityConfig, EntityCounts, EntityExample, EntityReport, EntityScore};
pub use error::EvalError;
pub use exact_match::{ExactMatch, ExactMatchConfig};
pub use forgetting::{Forgetting, ForgettingConfig, ForgettingVerdict};
pub use loss::{LossComparison, loss_per_token};
pub use metric::Metric;
pub use metric_set::{MetricScore, MetricSet, evaluate};
pub use perplexity::{TextLoss, bits_per_byte, corpus_perplexity, mean_text_perplexity};
pub use porter::porter_stem;
pub use report::{Report, ReportSample};
pub use rouge::{Rouge, RougeConfig, RougeScore, RougeTokenizer, RougeType};
pub use squad::{SquadScore, answer_exact_match, answer_f1, normalize_answer, squad};
pub use systems::{
    ComparedExample, Cost, CostMeasure, CurvePoint, CurveSummary, CurveVerdict, DifferingExample, Effect,
    GeneralChange, GeneralResult, GeneralTask, Outcome, Recommendation, ScoreDifference, ShownAnswer,
    SystemKind, SystemPair, SystemResult, SystemScore, SystemSummary, SystemsConfig, SystemsReport,
};
