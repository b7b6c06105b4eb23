//! Training language models: token-weighted accumulation, optimizers in 32 and 8 bits, schedules, validation, early
//! stopping, checkpoints that survive a kill at any moment, and resuming bit for bit.
//!
//! [`run`] does all of a [`RunConfig`]: it reads the data and checks it, loads the base model, attaches
//! the adapter, trains, and saves. Below it, [`Trainer`] trains any [`LossModel`] on token batches, and
//! [`Gradients`], [`Optimizer`] and [`Schedule`] make up a loop of one's own.
#![deny(missing_docs)]

mod answerer;
mod answers;
mod ask;
mod atomic;
mod checkpoint;
mod compare;
mod config;
mod config_file;
mod early_stopping;
mod error;
mod evaluate;
mod events;
mod exact_float;
mod gradients;
mod leak_check;
mod loss;
mod loss_scale;
mod memory;
mod optim;
mod progress;
mod rank_allocator;
mod resume;
mod run;
mod schedule;
mod state_file;
mod trainer;

pub use crate::{
    answers::{answers, prompts, text_losses},
    ask::{TaskAnswers, ask_task},
    atomic::{
        checkpoint_path, checkpoints, latest_checkpoint, prune, remove_partials, write as write_file,
        write_atomic, write_dir,
    },
    checkpoint::{BestEvaluation, RunIdentity, TrainerState},
    compare::{CompareConfig, ComparedSystem, compare},
    config::{
        AdapterStart, BaseQuant, BiasMode, Checkpointing, ComputeDtype, DataSection, LeakPolicy, LoraSection,
        LrSchedule, ModelSection, Optim, PackingMode, RecordShape, Resume, RunConfig, Targets, TrainConfig,
        TrainedPart, TrainingMethod,
    },
    early_stopping::{EarlyStopping, EarlyStoppingConfig, EarlyStoppingState},
    error::{ConfigProblem, TrainError},
    evaluate::{SetLoss, evaluate},
    events::{Event, JsonLines, Observer, StopReason},
    gradients::{Gradients, StepLoss},
    loss::LossModel,
    loss_scale::GradScaler,
    memory::{machine_memory_bytes, peak_memory_bytes},
    optim::{DecayRule, LoraFa, LoraPlus, Optimizer, Paging, ParameterGroups, Rule},
    progress::Progress,
    rank_allocator::{RankAllocator, add_orthogonality},
    run::{PreparedData, RunOutcome, prepare_data, run},
    schedule::{Schedule, ScheduleKind, Warmup},
    trainer::{Outcome, Trainer},
};
