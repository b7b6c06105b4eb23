//! Human evaluation: people compare the outputs of systems, blind and side by side.
//!
//! | step | entry point |
//! |---|---|
//! | what is judged, by whom | [`Study`], from a file or from the answers of systems |
//! | who sees which pair when and on which side | [`Plan`], drawn from the seed |
//! | a page on this machine | [`serve`], [`Server`] |
//! | a page in a file, for a machine without the server | [`offline_page`] |
//! | what such a page saved, into the log | [`import()`] |
//! | every judgement, on the disk before it is confirmed | [`JudgementLog`], [`read_log`] |
//! | win rates, ratings, agreement, biases | [`Results`] |
//! | chosen and rejected outputs to tune on | [`preference_pairs`] |
//!
//! # Example
//!
//! ```no_run
//! use burnisher_review::{Judge, ServeConfig, Study, StudyOptions, serve};
//!
//! let (study, joined) = Study::from_predictions([("base", "base.jsonl"), ("tuned", "tuned.jsonl")])?;
//! println!("{} items", joined.items);
//! let options = StudyOptions::new().with_seed(7).with_judges([Judge::new("Ada"), Judge::new("Grace")]);
//! serve(study.with_options(options), ServeConfig::new("judgements.jsonl"), |server| {
//!     for (judge, link) in &server.links().judges {
//!         println!("{judge}: {link}");
//!     }
//!     println!("results: {}", server.links().owner);
//! })?;
//! # Ok::<(), burnisher_review::ReviewError>(())
//! ```
#![deny(missing_docs)]

mod dpo;
mod draw;
mod error;
mod import;
mod judgement;
mod log;
mod page;
mod plan;
mod results;
mod server;
mod study;
mod view;
mod visible;

pub use dpo::{PreferenceExport, PreferencePair, preference_pairs};
pub use error::ReviewError;
pub use import::{ImportReport, RefusedLine, import};
pub use judgement::{Judgement, Origin, Record, SideScores, Verdict};
pub use log::{JudgementLog, LogContents, read_log};
pub use page::offline_page;
pub use plan::{Plan, Showing, Task};
pub use results::{
    Consistency, CriterionScore, ExcludedJudge, IntervalKind, JudgeAgreement, JudgeConsistency, JudgePair,
    JudgeProgress, MetricAgreement, MetricScores, PairResult, PositionBias, Rate, Rating, Results,
    ResultsConfig, SystemResult,
};
pub use server::{Links, ServeConfig, Server, serve};
pub use study::{Blinding, Criterion, Item, JoinReport, Judge, Need, Study, StudyOptions};
