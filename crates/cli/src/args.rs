//! The command line.

use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};

use crate::data::DataCommand;

/// Fine-tunes large language models: LoRA, QLoRA, full parameters.
///
/// Models are Hugging Face directories, adapters are PEFT directories. Exit status: 0 done, 1 an
/// error (its text stands on standard error), 2 wrong usage. BURN_DEVICE chooses the backend (flex, cuda, wgpu, …);
/// `burnisher doctor` says which there are.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Fine-tune as a TOML or YAML file says; goes on where a stopped run was. Checkpoints, metrics.jsonl and the
    /// result (`adapter` or `model`) go to `train.output_dir`; `--reference` prints every field.
    Train(TrainArgs),
    /// From raw files to a training set: clean, de-duplicate, split, find leaks, mix, preview, extract, report.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Continue a prompt, with or without an adapter.
    Generate(GenerateArgs),
    /// Answer the questions of a data file and score the answers; with an adapter, before and after.
    Eval(EvalArgs),
    /// Ask a model what a task file (YAML, TOML) says, and score its answers: texts up to stop strings, multiple choice by
    /// likelihood, perplexity of texts; as lm-evaluation-harness does.
    Task(TaskArgs),
    /// Compare base, retrieval, LoRA, QLoRA, full fine-tuning and given adapters on the same examples, as a TOML or YAML
    /// file says; goes on where it was stopped. Writes systems.md, systems.json and systems.html.
    Compare(CompareArgs),
    /// Score a file of predictions and references (JSON lines), as JSON.
    Metrics(MetricsArgs),
    /// Let people judge the answers of systems, blind and side by side, on a page that this program serves.
    #[cfg(feature = "review")]
    Review(crate::review::ReviewArgs),
    /// What this program and this machine can do, and what is missing and why.
    Doctor,
    /// Merge an adapter into its base model and write the result as a dense Hugging Face directory, one tensor after
    /// the other.
    Merge(MergeArgs),
    /// Write a model with quantized projections, as bitsandbytes stores them. One tensor after the other: the dense
    /// model need not fit into memory.
    Quantize(QuantizeArgs),
    /// Write a complete dense Hugging Face directory in 16 bits, with an adapter merged in, and a GGUF file for
    /// llama.cpp if you like.
    Export(ExportArgs),
    /// Logits and per-token losses of token ids in a safetensors file.
    Logits(LogitsArgs),
}

#[derive(Arguments)]
pub(crate) struct TrainArgs {
    /// The run file (.toml, .yaml, .yml).
    #[arg(required_unless_present = "reference")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one field, for example `--set train.max_steps=100`; may be repeated.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Prints a commented run file with every field and its default, and ends.
    #[arg(long)]
    pub(crate) reference: bool,
}

/// A base model and what is put on it.
#[derive(Arguments)]
pub(crate) struct ModelArgs {
    /// Hugging Face directory of the base model.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// PEFT directory of an adapter.
    #[arg(long)]
    pub(crate) adapter: Option<PathBuf>,
    /// The dtype of activations and dense weights.
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: Dtype,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
}

/// A dense base that is held in 4 or 8 bits.
#[derive(Arguments)]
pub(crate) struct QuantArgs {
    /// Hold the base's projections so, as the adapter's training did with `quant: nf4` (or fp4, int8). A checkpoint
    /// that is stored quantized needs no such word.
    #[arg(long, value_enum)]
    pub(crate) quant: Option<QuantFormat>,
    /// With nf4 and fp4: leave the scales of the blocks in 32 bits, as training did with `double_quant: false`.
    #[arg(long, requires = "quant")]
    pub(crate) no_double_quant: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

/// The dtype of written weights.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum StoredDtype {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

/// The numbers of a GGUF file's matrices.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum GgufFormat {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits with an f16 scale for 32 values.
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Arguments)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The prompt; with a chat template it is a user's message unless `--raw` is given.
    #[arg(long)]
    pub(crate) prompt: String,
    /// Take the prompt as it is, without the chat template.
    #[arg(long)]
    pub(crate) raw: bool,
    /// At most this many new tokens.
    #[arg(long, default_value_t = 128)]
    pub(crate) max_new_tokens: usize,
    /// Sample with this temperature; greedy without it.
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    /// Sample from the smallest set of tokens with this probability.
    #[arg(long, requires = "temperature")]
    pub(crate) top_p: Option<f64>,
    /// Sample from this many tokens.
    #[arg(long, requires = "temperature")]
    pub(crate) top_k: Option<usize>,
    /// Seed of sampling.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Arguments)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// JSONL file with prompts and answers (completion, messages or alpaca shape).
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// A column of the file under another name, for example `prompt=question`; may be repeated.
    #[arg(long, value_name = "NAME=COLUMN")]
    pub(crate) columns: Vec<String>,
    /// Metrics, separated by commas: exact_match, squad_exact_match, squad_f1, entity_precision, entity_recall,
    /// entity_f1, rouge1, rouge2, rougeL, rougeLsum, bleu. Loss and perplexity are always measured.
    #[arg(long, value_delimiter = ',', default_value = "exact_match,squad_f1,rougeL")]
    pub(crate) metrics: Vec<String>,
    /// Only the first records of the file.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// At most this many new tokens per answer.
    #[arg(long, default_value_t = 128)]
    pub(crate) max_new_tokens: usize,
    /// Prompts that are answered together.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_size: usize,
    /// Longest record in tokens when the loss is measured; longer ones are cut.
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_length: usize,
    /// Seed of the bootstrap intervals.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where the report, which is printed as Markdown, goes as JSON (`.json`), with the Markdown beside it (`.md`).
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Arguments)]
pub(crate) struct CompareArgs {
    /// The comparison (.toml, .yaml, .yml): `run` names a run file, `output_dir` where all goes; the documentation of
    /// `CompareConfig` lists the fields.
    pub(crate) config: PathBuf,
}

#[derive(Arguments)]
pub(crate) struct MetricsArgs {
    /// JSON lines with `prediction` and `reference` (or a list `references`).
    pub(crate) file: PathBuf,
    /// Metrics, separated by commas: exact_match, squad_exact_match, squad_f1, entity_precision, entity_recall,
    /// entity_f1, rouge1, rouge2, rougeL, rougeLsum, bleu (these with intervals), chrf, chrf++, ter, wer, cer, labels
    /// (accuracy, F1, Matthews), tags (entities of lists of tags, as seqeval).
    #[arg(long, value_delimiter = ',', default_value = "exact_match,squad_f1,rougeL,bleu")]
    pub(crate) metrics: Vec<String>,
    /// The field of the prediction.
    #[arg(long, default_value = "prediction")]
    pub(crate) prediction: String,
    /// The field of the reference; with an `s` behind it, a list of them.
    #[arg(long, default_value = "reference")]
    pub(crate) reference: String,
    /// Seed of the bootstrap intervals.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Arguments)]
pub(crate) struct MergeArgs {
    /// Hugging Face directory of the base model.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// PEFT directory of the adapter.
    #[arg(long)]
    pub(crate) adapter: PathBuf,
    /// Where the merged model goes; not the directory of the model or the adapter.
    #[arg(long)]
    pub(crate) out: PathBuf,
    // All weights are then those that the quantized base computed with, plus the adapter.
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
    /// The dtype to write; the base model's own without it.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<StoredDtype>,
}

#[derive(Arguments)]
pub(crate) struct ExportArgs {
    /// Hugging Face directory of the base model.
    #[arg(value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// PEFT directory of an adapter to merge in.
    #[arg(long)]
    pub(crate) adapter: Option<PathBuf>,
    /// Where the model goes; not the directory of the model or the adapter.
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
    /// The dtype to write; without it the base model's own if it has 16 bits, else bf16.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<StoredDtype>,
    /// Write a GGUF file as well, from the weights as they were written, named after the model and its numbers, into the
    /// same directory.
    #[arg(long, value_enum, value_name = "TYPE", num_args = 0..=1, default_missing_value = "f16")]
    pub(crate) gguf: Option<GgufFormat>,
    /// The largest file of weights, in MB.
    #[arg(long, default_value_t = 5000)]
    pub(crate) max_shard_mb: u64,
}

#[derive(Arguments)]
pub(crate) struct QuantizeArgs {
    /// Hugging Face directory of the model.
    #[arg(value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The form of the projections.
    #[arg(long, value_enum, default_value = "nf4")]
    pub(crate) to: QuantFormat,
    /// Where the quantized model goes; not the directory of the model.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Quantize the scales of the 4-bit blocks as well: 0.127 bits a value for them in place of 0.5.
    #[arg(long)]
    pub(crate) double_quant: bool,
    /// Values per 4-bit block: a power of two from 32 to 4096; 64 without it.
    #[arg(long)]
    pub(crate) block_size: Option<usize>,
    /// A projection to leave as it is, by its path or the end of it (`down_proj`); may be repeated. `lm_head` and the
    /// embedding always stay as they are.
    #[arg(long, value_name = "MODULE", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// The largest file of weights, in MB.
    #[arg(long, default_value_t = 5000)]
    pub(crate) max_shard_mb: u64,
}

/// The form of quantized projections.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantFormat {
    /// 4-bit NormalFloat (QLoRA).
    Nf4,
    /// bitsandbytes' 4-bit float.
    Fp4,
    /// 8 bits with a scale per row (LLM.int8).
    Int8,
}

#[derive(Arguments)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Safetensors file with `input_ids` [rows, t] and optionally `attention_mask` and `labels` of the
    /// same shape, all I64 (or I32).
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// Where `logits` [rows, t, vocab] and, with labels, `token_losses` [rows, t − 1] go, as F32.
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Arguments)]
pub(crate) struct TaskArgs {
    /// The task file (.yaml, .yml, .toml).
    pub(crate) task: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Files, folders or patterns with the rows, in place of the task's `data`: .jsonl, .json, .csv, .tsv, .parquet, .conll.
    #[arg(long, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Examples before each prompt, in place of the task's `num_fewshot`.
    #[arg(long)]
    pub(crate) num_fewshot: Option<usize>,
    /// The first rows only.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Prompts that run together.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_size: usize,
    /// Write the report with every answer here (.json), and beside it as Markdown.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}
