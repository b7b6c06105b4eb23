//! The fields of the section `train`.

use super::Optim;
use super::fields::{Field, Kind, default, optional, required};

/// [`Metric::OF_ANSWERS`](burnisher_eval::Metric::OF_ANSWERS) by name.
pub(super) const METRICS: &[&str] = &[
    "exact_match",
    "squad_exact_match",
    "squad_f1",
    "entity_precision",
    "entity_recall",
    "entity_f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "bleu",
];

pub(super) const TRAIN: &[Field] = &[
    required("output_dir", Kind::Path, r#""out""#, "Where checkpoints, metrics and the result go."),
    default("epochs", Kind::Whole, "3", "Passes over the training rows."),
    optional("max_steps", Kind::Whole, "1000", "Optimizer steps of the whole run; counts instead of epochs."),
    default("batch_size", Kind::Whole, "4", "Rows in a forward pass."),
    default("gradient_accumulation_steps", Kind::Whole, "1", "Forward passes in an optimizer step."),
    default("learning_rate", Kind::Number, "2e-4", "Learning rate after the warm-up."),
    default(
        "schedule",
        Kind::Choice(&["linear", "cosine", "constant"]),
        r#""linear""#,
        "How the learning rate falls to 0 after the warm-up: \"linear\", \"cosine\" or \"constant\" (not at all).",
    ),
    optional(
        "warmup_steps",
        Kind::Whole,
        "100",
        "Optimizer steps in which the learning rate rises from 0. By default none.",
    ),
    optional(
        "warmup_ratio",
        Kind::Number,
        "0.03",
        "The warm-up as a part of all steps, in [0, 1], rounded up; instead of warmup_steps.",
    ),
    default(
        "optim",
        Kind::Choice(Optim::NAMES),
        r#""adamw_torch""#,
        "The optimizer: \"adamw_torch\", \"lion_32bit\", \"adafactor\" or \"sgd\"; with its state in 8 bits \"adamw_8bit\" or\n\
         \"lion_8bit\"; with its state in a file, one parameter's in memory at a time, \"paged_adamw_32bit\",\n\
         \"paged_adamw_8bit\", \"paged_lion_32bit\" or \"paged_lion_8bit\".",
    ),
    optional(
        "optim_page_file",
        Kind::Path,
        r#""state.pages""#,
        "With a paged optimizer: the file of its state, which goes away at the end. By default one in output_dir.",
    ),
    default(
        "weight_decay",
        Kind::Number,
        "0.0",
        "Weight decay, decoupled but for \"sgd\"; not on biases and norms.",
    ),
    default(
        "beta1",
        Kind::Number,
        "0.9",
        "AdamW's decay of the first moment, or the part of the momentum in Lion's direction, in [0, 1).",
    ),
    default(
        "beta2",
        Kind::Number,
        "0.999",
        "AdamW's decay of the second moment, or Lion's of its momentum (0.99 in its paper), in [0, 1).",
    ),
    default("epsilon", Kind::Number, "1e-8", "AdamW's epsilon."),
    optional(
        "momentum",
        Kind::Number,
        "0.9",
        "With \"sgd\": what remains of the earlier direction, in [0, 1).",
    ),
    default(
        "scale_parameter",
        Kind::Flag,
        "false",
        "With \"adafactor\": whether the rate is multiplied by the root mean square of each parameter.",
    ),
    default(
        "relative_step",
        Kind::Flag,
        "false",
        "With \"adafactor\": whether the rate is min(1e-2, 1/sqrt(t)) in step t, whatever learning_rate is.",
    ),
    default("warmup_init", Kind::Flag, "false", "With relative_step: whether it is min(1e-6 t, 1/sqrt(t))."),
    optional("loraplus_lr_ratio", Kind::Number, "16.0", "LoRA+: the learning rate of B over that of A."),
    optional(
        "loraplus_lr_embedding",
        Kind::Number,
        "1e-6",
        "With loraplus_lr_ratio: the learning rate of an embedding's adapters.",
    ),
    default("fp16", Kind::Flag, "false", "Whether the model computes in f16, with the loss scaled."),
    default("bf16", Kind::Flag, "false", "Whether the model computes in bf16."),
    default(
        "max_grad_norm",
        Kind::Number,
        "1.0",
        "Largest L2 norm of all gradients together; longer ones are scaled down. 0 turns this off.",
    ),
    default("log_every", Kind::Whole, "10", "Optimizer steps between two reports."),
    optional(
        "eval_every",
        Kind::Whole,
        "100",
        "Optimizer steps between two validations. By default an epoch. The last step is always validated.",
    ),
    default(
        "eval_metrics",
        Kind::ChoiceList(METRICS),
        "[]",
        "Metrics of the model's answers to validation records, measured with every validation; the answers are kept\n\
         in output_dir/samples. By default none: answers take time.",
    ),
    default("eval_examples", Kind::Whole, "32", "With eval_metrics: the first validation records, so many."),
    default("eval_max_new_tokens", Kind::Whole, "128", "With eval_metrics: tokens of an answer, at most."),
    optional(
        "metric_for_best_model",
        Kind::Choice(METRICS),
        r#""rougeL""#,
        "The one of eval_metrics that chooses the best step and that early_stopping watches. By default the\n\
         validation loss.",
    ),
    optional(
        "save_every",
        Kind::Whole,
        "100",
        "Optimizer steps between two checkpoints. By default an epoch. The last step is always saved.",
    ),
    default("keep_checkpoints", Kind::Whole, "2", "Newest checkpoints that are kept, besides the best."),
    default("seed", Kind::Whole, "42", "Seed of the order of rows, of fresh adapters and of dropout."),
    default(
        "resume",
        Kind::Path,
        r#""auto""#,
        "Where the run begins: \"auto\" (at the newest checkpoint in output_dir, if there is one), \"never\" (at\n\
         step 0), or at the checkpoint with this path.",
    ),
    optional("early_stopping", Kind::Section("train.early_stopping"), "", ""),
];

pub(super) const EARLY_STOPPING: &[Field] = &[
    default(
        "patience",
        Kind::Whole,
        "3",
        "Validations in a row without an improvement after which the run stops.",
    ),
    default(
        "min_delta",
        Kind::Number,
        "0.0",
        "A validation counts as an improvement if it is better than the last improvement by more than this: in nats\n\
         per token, or in the points (0 to 100) of metric_for_best_model.",
    ),
];

#[cfg(test)]
mod tests {
    use burnisher_eval::Metric;

    use super::METRICS;

    #[test]
    fn every_metric_of_answers_has_its_name_here() {
        assert_eq!(METRICS, Metric::OF_ANSWERS.map(Metric::name));
    }
}
