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
//!
//! The two perplexities are different numbers, so they have different names.
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

mod error;
mod exact_match;
mod perplexity;
mod squad;

pub use error::EvalError;
pub use exact_match::{ExactMatch, ExactMatchConfig};
pub use perplexity::{TextLoss, bits_per_byte, corpus_perplexity, mean_text_perplexity};
pub use squad::{SquadScore, answer_exact_match, answer_f1, normalize_answer, squad};
