//! Every field of a run file: one table for the checks, the nearest names and the reference file.

use super::lora_fields::LORA;
use super::train_fields::{EARLY_STOPPING, TRAIN};

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text that is a path.
    Path,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number, not negative.
    Whole,
    /// A finite number.
    Number,
    /// Text, or a list of texts.
    Targets,
    /// A list of texts.
    TextList,
    /// A list of some of a few words.
    ChoiceList(&'static [&'static str]),
    /// A list of whole numbers.
    WholeList,
    /// A table of texts.
    TextMap,
    /// A table of whole numbers.
    WholeMap,
    /// A table of numbers.
    NumberMap,
    /// The section of this name.
    Section(&'static str),
}

/// Whether a field must be in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It must.
    Required,
    /// It need not, and then has the value that the table shows.
    Default,
    /// It need not, and then has no value; the table shows an example.
    Optional,
}

/// A field of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
    /// The default or an example, as TOML.
    pub(crate) value: &'static str,
    /// What it means, in lines.
    pub(crate) doc: &'static str,
}

/// A section; its name is its path (`train.early_stopping`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) fields: &'static [Field],
}

pub(super) const fn required(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    doc: &'static str,
) -> Field {
    Field { name, kind, need: Need::Required, value, doc }
}

pub(super) const fn default(name: &'static str, kind: Kind, value: &'static str, doc: &'static str) -> Field {
    Field { name, kind, need: Need::Default, value, doc }
}

pub(super) const fn optional(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    doc: &'static str,
) -> Field {
    Field { name, kind, need: Need::Optional, value, doc }
}

/// Every section, each below the section that holds it.
pub(crate) const SECTIONS: &[Section] = &[
    Section { name: "model", doc: "The base model and how it is held.", fields: MODEL },
    Section { name: "data", doc: "The records, and how they become rows of tokens.", fields: DATA },
    Section {
        name: "lora",
        doc: "The adapter, with PEFT's fields. Without this section every parameter of the model is trained.",
        fields: LORA,
    },
    Section { name: "train", doc: "The training loop.", fields: TRAIN },
    Section {
        name: "train.early_stopping",
        doc: "Ends the run when validation no longer gets better. Without this section it does not.",
        fields: EARLY_STOPPING,
    },
];

const MODEL: &[Field] = &[
    required(
        "path",
        Kind::Path,
        r#""base-model""#,
        "Hugging Face directory: config.json, safetensors, tokenizer.",
    ),
    default(
        "dtype",
        Kind::Choice(&["f32", "bf16", "f16"]),
        r#""f32""#,
        "Type of the activations and of weights that are not quantized: \"f32\", \"bf16\" or \"f16\".",
    ),
    default(
        "quant",
        Kind::Choice(&["none", "nf4", "fp4", "int8"]),
        r#""none""#,
        "How the frozen projections are stored: \"none\" (as in dtype), \"nf4\" (4 bits, QLoRA), \"fp4\" or \"int8\"; all but \"none\" need [lora].",
    ),
    default(
        "double_quant",
        Kind::Flag,
        "true",
        "With nf4 and fp4: whether the scales of the blocks are quantized too.",
    ),
    default(
        "gradient_checkpointing",
        Kind::Choice(&["none", "block", "block_keep_attention"]),
        r#""none""#,
        "Activations computed again in the backward pass, to save memory: \"none\", \"block\" (all of a block), \"block_keep_attention\".",
    ),
];

const DATA: &[Field] = &[
    required("train", Kind::Path, r#""train.jsonl""#, "Training records, JSON lines."),
    optional(
        "validation",
        Kind::Path,
        r#""validation.jsonl""#,
        "Validation records, JSON lines. By default a part of the training records.",
    ),
    default(
        "validation_fraction",
        Kind::Number,
        "0.05",
        "Without validation: the part of the training records that is held back for it, in [0, 1).\n\
         Records that share a run of 13 words stay together. 0 trains without validation.",
    ),
    optional(
        "test",
        Kind::Path,
        r#""test.jsonl""#,
        "Test records, JSON lines, that the training records must not share text with.",
    ),
    optional(
        "replay",
        Kind::Path,
        r#""general.jsonl""#,
        "General records, JSON lines, mixed into the training set so that the model forgets less of what it\n\
         knew. All of their tokens are trained on. columns, shape and deduplicate do not apply to them.",
    ),
    default(
        "replay_fraction",
        Kind::Number,
        "0.25",
        "With replay: its share of the mixed training set in records, in (0, 1). Its share of the loss is that of\n\
         its tokens, which the run prints.",
    ),
    default(
        "columns",
        Kind::TextMap,
        "{}",
        "Column names: the shape's column = the column in the file, for example\n\
         { prompt = \"question\", completion = \"answer\" }.",
    ),
    optional(
        "shape",
        Kind::Choice(&["text", "completion", "messages", "alpaca", "question"]),
        r#""completion""#,
        "Shape of the records, by default recognised by the columns: \"text\" (text), \"completion\" (prompt,\n\
         completion), \"messages\" (messages), \"alpaca\" (instruction, output and, if there, input) or \"question\"\n\
         (question, answer and, if there, context).",
    ),
    default("max_length", Kind::Whole, "512", "Longest row in tokens; longer records are cut at the end."),
    default(
        "packing",
        Kind::Choice(&["none", "best_fit", "wrapped"]),
        r#""none""#,
        "Whether records share a row: \"none\" (one record in a row), \"best_fit\" (whole records, where they\n\
         fit best) or \"wrapped\" (one after the other, cut at row ends). They never see each other.",
    ),
    default(
        "train_on",
        Kind::Choice(&["completions", "everything"]),
        r#""completions""#,
        "Which tokens are trained: \"completions\" (what the assistant says) or \"everything\".",
    ),
    default(
        "deduplicate",
        Kind::Flag,
        "true",
        "Whether exact duplicates are removed from the training records.",
    ),
    default(
        "leaks",
        Kind::Choice(&["stop", "allow"]),
        r#""stop""#,
        "What happens when two sets share a run of 13 words, or near-duplicates: the run shows the pairs and then\n\
         \"stop\" or \"allow\".",
    ),
    default(
        "near_duplicates",
        Kind::Number,
        "0.8",
        "Similarity (Jaccard, of runs of 5 words) from which records are near-duplicates. They are leaks between\n\
         sets, and stay together when validation records are split off. 0 does not look for them.",
    ),
    optional(
        "benchmarks",
        Kind::TextMap,
        r#"{ gsm8k = "gsm8k-test.jsonl" }"#,
        "Sets by name that the training records must not share text with, beside test. Their columns are\n\
         recognised.",
    ),
    default("seed", Kind::Whole, "42", "Seed of the validation split."),
];

#[cfg(test)]
mod tests {
    use burnisher_eval::Metric;
    use serde_json::Value;

    use super::*;
    use crate::config::{LoraSection, RecordShape, RunConfig, Targets};
    use crate::early_stopping::EarlyStoppingConfig;

    /// A configuration in which every field has a value.
    fn full() -> RunConfig {
        let mut run = RunConfig::new("base-model", "train.jsonl", "out");
        run.data.validation = Some("validation.jsonl".into());
        run.data.test = Some("test.jsonl".into());
        run.data.replay = Some("general.jsonl".into());
        run.data.benchmarks.insert("gsm8k".to_owned(), "gsm8k-test.jsonl".into());
        run.data.columns.insert("prompt".to_owned(), "question".to_owned());
        run.data.shape = Some(RecordShape::Completion);
        let names = Targets::Names(vec!["q_proj".to_owned()]);
        run.lora = Some(LoraSection {
            target_modules: Some(names.clone()),
            exclude_modules: Some(names),
            layers_to_transform: Some(vec![0]),
            modules_to_save: Some(vec!["lm_head".to_owned()]),
            trainable_token_indices: Some(vec![0]),
            feedforward_modules: Some(Targets::Names(vec!["down_proj".to_owned()])),
            ..LoraSection::default()
        });
        run.train.max_steps = Some(1);
        run.train.warmup_steps = Some(1);
        run.train.warmup_ratio = Some(0.5);
        run.train.optim_page_file = Some("pages".into());
        run.train.momentum = Some(0.9);
        run.train.loraplus_lr_ratio = Some(16.0);
        run.train.loraplus_lr_embedding = Some(1e-6);
        run.train.eval_every = Some(1);
        run.train.save_every = Some(1);
        run.train.metric_for_best_model = Some(Metric::RougeL);
        run.train.early_stopping = Some(EarlyStoppingConfig::default());
        run
    }

    #[test]
    fn the_table_has_the_fields_of_the_structs() -> Result<(), serde_json::Error> {
        let run = serde_json::to_value(full())?;
        let mut known = Vec::new();
        let mut found = Vec::new();
        for section in SECTIONS {
            let pointer = format!("/{}", section.name.replace('.', "/"));
            known.extend(section.fields.iter().map(|field| format!("{}.{}", section.name, field.name)));
            let fields = run.pointer(&pointer).and_then(Value::as_object);
            let names = fields.into_iter().flat_map(|fields| fields.keys());
            found.extend(names.map(|name| format!("{}.{name}", section.name)));
        }
        known.sort();
        found.sort();
        assert_eq!(known, found);
        let top: Vec<&String> = run.as_object().into_iter().flat_map(|run| run.keys()).collect();
        let sections: Vec<&str> =
            SECTIONS.iter().map(|section| section.name).filter(|name| !name.contains('.')).collect();
        assert_eq!(top, sections);
        Ok(())
    }
}
