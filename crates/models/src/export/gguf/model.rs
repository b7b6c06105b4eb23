//! A Hugging Face directory as a GGUF file.

use std::fs;
use std::path::{Path, PathBuf};

use burnisher_kernels::NormWeight;

use super::architecture::{Architecture, rope_factors};
use super::convert::{Change, Converted, RowOrder, dtype_of, stored_as};
use super::{GgmlType, GgufValue, vocabulary, write};
use crate::checkpoint::{Checkpoint, TensorEntry};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layout;

/// The version of ggml's quantized types (`GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u32 = 2;

/// How a GGUF file is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GgufOptions {
    /// The type of the matrices. `None`: that of the embedding in the source. Vectors and norms are f32 in any case.
    pub dtype: Option<GgmlType>,
    /// `general.name`. `None`: the name of the source's directory.
    pub name: Option<String>,
    /// `tokenizer.ggml.pre`, llama.cpp's name of the rules by which a byte-level tokenizer splits text into words.
    /// `None`: the name of the rules in tokenizer.json, where llama.cpp has them.
    pub pre_tokenizer: Option<String>,
}

impl GgufOptions {
    /// The matrices as they are stored, and the directory's name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the type of the matrices.
    #[must_use]
    pub fn with_dtype(mut self, dtype: GgmlType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets llama.cpp's name of the rules that split text into words. Nothing checks that they are the tokenizer's.
    #[must_use]
    pub fn with_pre_tokenizer(mut self, name: impl Into<String>) -> Self {
        self.pre_tokenizer = Some(name.into());
        self
    }
}

/// What was written into a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GgufReport {
    /// The file.
    pub path: PathBuf,
    /// The type of the matrices.
    pub dtype: GgmlType,
    /// Tensors in the file.
    pub tensors: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// What a reader will do otherwise than this crate, in sentences. Empty for most models.
    pub notes: Vec<String>,
}

/// Writes the model in `dir` (config.json, dense weights, tokenizer and chat template) as a GGUF file for llama.cpp: of
/// the families Llama, Mistral, Gemma 1, 2 and 3 (text), Qwen 2 and 3, with a SentencePiece-like or a byte-level BPE tokenizer.
///
/// Weights are read while they are written, a row at a time. Q and K of a Llama change the order of their rows, since
/// llama.cpp turns neighbouring elements where Hugging Face turns the halves of a head; Gemma's norms have 1 added; a
/// tied head is left out; Llama 3's scaling of rotary frequencies becomes a tensor.
///
/// # Errors
/// [`ModelError::Unsupported`] for a model or a tokenizer that llama.cpp would compute otherwise, and for quantized
/// weights: merge and save them dense first. [`ModelError::Gguf`] where the tokenizer contradicts the model. Errors of
/// files; what stood at `out` is unchanged then.
pub fn export_gguf(
    dir: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &GgufOptions,
) -> Result<GgufReport, ModelError> {
    let (dir, out) = (dir.as_ref(), out.as_ref());
    let config = ModelConfig::from_dir(dir)?;
    let architecture = Architecture::of(&config)?;
    if config.quantization.is_some() {
        return Err(ModelError::Unsupported {
            what: format!("GGUF from the quantized weights in {}", dir.display()),
            supported: "dense weights: merge the adapter, or save the model with a dtype, first".to_owned(),
        });
    }
    let checkpoint = Checkpoint::open(dir)?;
    checkpoint.check(&layout::expected(&config), |_| false)?;
    let embedding = checkpoint.tensor(layout::EMBEDDING).and_then(|tensor| stored_as(tensor.dtype));
    let dtype = options.dtype.or(embedding).unwrap_or(GgmlType::F16);
    let mut tensors = Vec::new();
    if let Some(factors) = rope_factors(&config) {
        let entry = TensorEntry::from_f32(&factors, vec![factors.len()]);
        tensors.push(kept("rope_freqs.weight".to_owned(), GgmlType::F32, entry));
    }
    for expected in layout::expected(&config) {
        let Some(name) = architecture.name_of(&expected.name) else {
            return Err(no_name(&expected.name));
        };
        if config.tie_word_embeddings && expected.name.starts_with(layout::HEAD) {
            continue;
        }
        if let Some(entry) = checkpoint.tensor(&expected.name) {
            let dtype = dtype_of(&name, &entry.shape, dtype);
            let change = match architecture.norm_weight {
                NormWeight::OnePlus if name.ends_with("_norm.weight") => Change::AddOne,
                _ => Change::None,
            };
            let rows = rows(architecture, &config, &name);
            tensors.push(Converted { rows, change, ..kept(name, dtype, entry) });
        }
    }
    let mut notes = Architecture::differences(&config);
    let mut metadata = general(architecture, "model", &name(options, dir));
    metadata.push(("general.file_type".to_owned(), GgufValue::U32(dtype.file_type())));
    metadata.extend(architecture.metadata(&config));
    metadata.extend(vocabulary::read(dir, &config, options.pre_tokenizer.as_deref(), &mut notes)?);
    finish(out, dtype, &metadata, &tensors, notes)
}

/// A tensor that only changes its name and its type.
pub(super) fn kept(name: String, dtype: GgmlType, entry: TensorEntry) -> Converted {
    Converted { name, dtype, entry, rows: RowOrder::Kept, change: Change::None }
}

/// The order that rows of a tensor with this GGUF name have in the file.
pub(super) fn rows(architecture: &Architecture, config: &ModelConfig, name: &str) -> RowOrder {
    let turned = [".attn_q.", ".attn_k."].iter().any(|part| name.contains(part));
    match architecture.pairs_are_neighbours && turned {
        true => RowOrder::Pairs { width: config.head_dim },
        false => RowOrder::Kept,
    }
}

/// The name that the options or else the directory give.
pub(super) fn name(options: &GgufOptions, dir: &Path) -> String {
    let of_dir = || {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        dir.file_name().map_or_else(|| "model".to_owned(), |name| name.display().to_string())
    };
    options.name.clone().unwrap_or_else(of_dir)
}

/// The keys that every file has. The architecture comes first, as readers of the first bytes like it.
pub(super) fn general(architecture: &Architecture, kind: &str, name: &str) -> Vec<(String, GgufValue)> {
    let metadata = [
        ("general.architecture", architecture.name.into()),
        ("general.type", kind.into()),
        ("general.name", name.into()),
        ("general.quantization_version", GgufValue::U32(QUANTIZATION_VERSION)),
    ];
    metadata.map(|(key, value)| (key.to_owned(), value)).into()
}

pub(super) fn no_name(parameter: &str) -> ModelError {
    ModelError::Unsupported {
        what: format!("GGUF with `{parameter}`"),
        supported: "the embedding, norms, projections and the head".to_owned(),
    }
}

/// Writes the file and says what is in it.
pub(super) fn finish(
    out: &Path,
    dtype: GgmlType,
    metadata: &[(String, GgufValue)],
    tensors: &[Converted],
    notes: Vec<String>,
) -> Result<GgufReport, ModelError> {
    write::write(out, metadata, tensors)?;
    let bytes = fs::metadata(out).map_err(ModelError::io(out))?.len();
    Ok(GgufReport { path: out.to_path_buf(), dtype, tensors: tensors.len(), bytes, notes })
}
