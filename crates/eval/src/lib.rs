//! Metrics over strings and numbers: what a model answered against what was wanted.
//!
//! This crate knows nothing of models, tensors or files. Evaluation code generates answers or token
//! losses elsewhere and hands them over.
//!
//! | metric | entry point | range | agrees with |
//! |---|---|---|---|
//! | perplexity of a corpus | [`corpus_perplexity`] | 1.. | `exp(eval_loss)` of transformers' Trainer |
//! | mean perplexity of texts | [`mean_text_perplexity`] | 1.. | `perplexity` of Hugging Face evaluate |
//! | word and byte perplexity | [`weighted_perplexity`] | 1.. | lm-eval 0.4.13 |
//! | bits per byte | [`bits_per_byte`] | 0.. | lm-eval 0.4.13 |
//! | multiple choice: acc, acc_norm, acc_bytes, mutual information, Brier | [`multiple_choice`](fn@multiple_choice) | 0..1, Brier 0..2 | lm-eval 0.4.13 |
//! | exact match | [`ExactMatchConfig`] | 0..1 | `exact_match` of Hugging Face evaluate |
//! | answers in longer outputs | [`AnswerFilter`], [`ChoiceFilter`] | | `regex`, `multi_choice_regex` of lm-eval 0.4.13 |
//! | SQuAD v1.1 EM and F1 | [`squad`](fn@squad) | 0..100 | `squad` of Hugging Face evaluate |
//! | SQuAD v2.0 EM and F1 | [`squad_v2`] | 0..100 | `squad_v2` of Hugging Face evaluate |
//! | word and character error rate | [`corpus_errors`] | 0.. | jiwer 4.0 |
//! | ROUGE-N, -L, -Lsum | [`RougeConfig`] | 0..1 | rouge_score 0.1.2, with its error bars ([`RougeAggregation`]) |
//! | BLEU | [`BleuConfig`] | 0..100 | sacrebleu 2.6.0: `none`, `13a`, `intl`, `char`, `zh` |
//! | chrF, chrF+, chrF++ | [`ChrfConfig`] | 0..100 | sacrebleu 2.6.0 |
//! | TER | [`TerConfig`] | 0.., lower is better | sacrebleu 2.6.0 |
//! | entities as tags: IOB1, IOB2, IOE1, IOE2, IOBES, BILOU | [`TaggingConfig`] | 0..1 | seqeval 1.2.2, default and strict |
//! | entities as spans: strict, exact, partial, type | [`SpanConfig`] | 0..1 | nervaluate 1.2.1, and a matching without order |
//! | field-value pairs in JSON, forgiving | [`EntityConfig`] | 0..100 | (micro averages) |
//! | JSON field by field, with every mistake | [`JsonFieldConfig`] | 0..100 | (micro and macro averages) |
//! | accuracy, P/R/F, MCC, kappa, confusion matrix | [`classify`] | −1..1 | scikit-learn 1.9.1 |
//! | ROC AUC, average precision, log loss, top-k | [`roc_auc`], [`ClassProbabilities`] | 0..1, loss 0.. | scikit-learn 1.9.1 |
//! | errors and correlations of numbers | [`regression`](fn@regression), [`pearson`], [`spearman`], [`kendall`] | | scikit-learn, SciPy 1.17.1 |
//! | ECE, reliability curve, temperature | [`calibration`](fn@calibration), [`fit_temperature`] | 0..1 | Guo et al. 2017 |
//! | agreement: Cohen, Fleiss, Randolph | [`cohen_kappa`], [`fleiss_kappa`], [`randolph_kappa`] | −1..1 | scikit-learn, statsmodels 0.15 |
//! | agreement: Krippendorff, Gwet AC1 and AC2 | [`krippendorff_alpha`], [`gwet_ac`] | ..1 | krippendorff 0.9 |
//! | pass@k, distinct-n | [`pass_at_k`], [`distinct_n`] | 0..1 | Chen et al. 2021, Li et al. 2016 |
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
//! | how good is a model at a task that a file describes? | [`TaskConfig`], [`Task`] |
//!
//! Statistics by themselves:
//!
//! | question | entry point | agrees with |
//! |---|---|---|
//! | how sure is a number? | [`bootstrap`](fn@bootstrap), percentile or BCa ([`IntervalMethod`]) | Efron and Tibshirani 1993 |
//! | which standard error would lm-eval print? | [`mean_stderr`], [`bootstrap_stderr`], [`pooled_stderr`] | lm-eval 0.4.13, the same draws |
//! | which interval would sacrebleu print? | [`resampled_score`] | sacrebleu 2.6.0, the same draws |
//! | and which p-value for two systems? | [`PairedTestConfig`] | its paired bootstrap and approximate randomisation |
//! | do they get different examples right? | [`mcnemar`](fn@mcnemar) | statsmodels 0.15 |
//! | and over many tests? | [`holm`] | Holm 1979 |
//! | how many examples do I need? | [`PowerConfig`] | Connor 1987 |
//! | who wins in pairs? | [`BradleyTerryConfig`], [`EloConfig`], [`win_rates`] | FastChat |
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

mod agreement;
mod answer_filter;
mod averages;
mod bleu;
mod bm25;
mod bootstrap;
mod calibration;
mod chrf;
mod classification;
mod compare;
mod entities;
mod error;
mod error_rate;
mod exact_match;
mod forgetting;
mod interner;
mod json_fields;
mod loss;
mod mcnemar;
mod metric;
mod metric_set;
mod multiple_choice;
mod ngrams;
mod perplexity;
mod porter;
mod power;
mod probabilities;
mod punctuation;
mod ranking;
mod regression;
mod report;
mod rng;
mod rouge;
mod sampling;
mod signature;
mod significance;
mod spans;
mod squad;
mod systems;
mod tagging;
mod task;
mod ter;
mod text;

pub use agreement::{Measurement, cohen_kappa, fleiss_kappa, gwet_ac, krippendorff_alpha, randolph_kappa};
pub use answer_filter::{AnswerFilter, ChoiceFilter, MatchChoice, NO_ANSWER};
pub use averages::{Averages, ClassCounts, ClassScore, ZeroDivision};
pub use bleu::{Bleu, BleuConfig, BleuCounts, BleuScore, BleuTokenizer, Smoothing, reference_lists};
pub use bm25::{Bm25, Bm25Config, Bm25Hit, passages};
pub use bootstrap::{
    BootstrapConfig, Estimate, IntervalMethod, PairedEstimate, Resample, bootstrap, bootstrap_stderr, mean,
    mean_interval, mean_stderr, paired_bootstrap, pooled_stderr,
};
pub use calibration::{
    Calibration, CalibrationBins, ReliabilityBin, TemperatureFit, brier_score, calibration, confidence_loss,
    fit_temperature,
};
pub use chrf::{Chrf, ChrfConfig, ChrfCounts, ChrfOrder};
pub use classification::{Confusion, KappaWeights, classify, classify_labels};
pub use compare::{Comparison, ComparisonReport, MetricComparison};
pub use entities::{EntityConfig, EntityCounts, EntityExample, EntityReport, EntityScore};
pub use error::{EvalError, TaskProblem};
pub use error_rate::{ErrorRate, ErrorUnit, corpus_errors, text_errors};
pub use exact_match::{ExactMatch, ExactMatchConfig};
pub use forgetting::{Forgetting, ForgettingConfig, ForgettingVerdict};
pub use json_fields::{FieldMistake, JsonFieldConfig, JsonFieldExample, JsonFieldReport, ListOrder};
pub use loss::{LossComparison, loss_per_token};
pub use mcnemar::{McNemar, holm, mcnemar};
pub use metric::Metric;
pub use metric_set::{MetricScore, MetricSet, evaluate};
pub use multiple_choice::{Choice, Chosen, MultipleChoiceScore, Question, multiple_choice};
pub use perplexity::{
    TextLoss, bits_per_byte, corpus_perplexity, lm_eval_words, mean_text_perplexity, weighted_perplexity,
};
pub use porter::porter_stem;
pub use power::PowerConfig;
pub use probabilities::{ClassProbabilities, average_precision, roc_auc};
pub use ranking::{
    Battle, BattleOutcome, BradleyTerryConfig, EloConfig, RatedSystem, Ratings, Regularized, WinRate,
    win_rates,
};
pub use regression::{RegressionScore, kendall, pearson, regression, spearman};
pub use report::{Report, ReportSample};
pub use rng::{Mt19937, Pcg64};
pub use rouge::{Rouge, RougeAggregation, RougeConfig, RougeInterval, RougeScore, RougeTokenizer, RougeType};
pub use sampling::{distinct_n, mean_pass_at_k, pass_at_k};
pub use signature::Signature;
pub use significance::{
    CorpusMetric, PairedSide, PairedTest, PairedTestConfig, PairedTestResult, ResampledScore,
    SegmentStatistics, resampled_score,
};
pub use spans::{Span, SpanConfig, SpanCounts, SpanCriterion, SpanMatching, SpanOutcomes, SpanReport};
pub use squad::{
    SquadPart, SquadScore, SquadV2Score, answer_exact_match, answer_exact_match_v2, answer_f1, answer_f1_v2,
    normalize_answer, squad, squad_v2,
};
pub use systems::{
    ComparedExample, Cost, CostMeasure, CurvePoint, CurveSummary, CurveVerdict, DifferingExample, Effect,
    GeneralChange, GeneralResult, GeneralTask, Outcome, Recommendation, ScoreDifference, ShownAnswer,
    SystemKind, SystemPair, SystemResult, SystemScore, SystemSummary, SystemsConfig, SystemsReport,
};
pub use tagging::{TagPosition, TagReading, TagReport, TagScheme, TagSpan, TaggingConfig, detect_scheme};
pub use task::{
    ChoiceAnswer, ChoiceOptions, Choices, Filter, GenerationOptions, Likelihood, PromptForm, RegexOptions,
    TargetTemplate, Task, TaskConfig, TaskItem, TaskItemResult, TaskMetric, TaskMetricName, TaskOutput,
    TaskReport, TaskResponse, TaskScore, TaskSettings,
};
pub use ter::{Ter, TerConfig, TerCounts};
