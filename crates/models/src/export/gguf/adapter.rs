//! A PEFT adapter as a GGUF file that llama.cpp loads beside its base.

use std::collections::BTreeMap;
use std::path::Path;

use burnisher_lora::{AdapterTensor, PeftFiles};

use super::architecture::Architecture;
use super::convert::{Change, Converted, dtype_of};
use super::model::{GgufOptions, GgufReport, finish, general, kept, name, no_name, rows};
use super::{GgmlType, GgufValue};
use crate::checkpoint::TensorEntry;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layout;

/// What PEFT's tensor names begin with.
const PREFIX: &str = "base_model.model.";

/// The ends of the names of A and B: of a projection, and of an embedding.
const ENDS: [[&str; 2]; 2] =
    [[".lora_A.weight", ".lora_B.weight"], [".lora_embedding_A", ".lora_embedding_B"]];

/// A and B of one module.
#[derive(Default)]
struct Factors<'a> {
    a: Option<&'a AdapterTensor>,
    b: Option<&'a AdapterTensor>,
    is_embedding: bool,
}

/// Writes the LoRA adapter in `adapter` (PEFT's directory) as a GGUF file, for the base model whose config.json is in
/// `base`. Adapter and base must be of one model: the base's GGUF file is not read.
///
/// llama.cpp scales an adapter by `adapter.lora.alpha / rank`, one alpha for all modules. It is chosen so that the
/// first module's scaling is exact as it stands; where another's differs (`rank_pattern`, `alpha_pattern`,
/// rank-stabilised scaling with several ranks), B is multiplied by the quotient. B of a Llama's q and k has the order
/// of rows of [`export_gguf`](super::export_gguf).
///
/// [`GgufOptions::dtype`] is that of A and B, f32 if it is not set.
///
/// # Errors
/// [`ModelError::Unsupported`] for a family that has no architecture, for modules that are saved whole, trained biases,
/// initialisations that changed the base, the head of a tied model and the embedding of a Gemma: merge such an adapter instead. [`ModelError::Lora`] where the
/// adapter cannot be read, [`ModelError::Gguf`] where it does not fit. Errors of files; what stood at `out` is
/// unchanged then.
pub fn export_gguf_adapter(
    adapter: impl AsRef<Path>,
    base: impl AsRef<Path>,
    out: impl AsRef<Path>,
    options: &GgufOptions,
) -> Result<GgufReport, ModelError> {
    let (adapter, out) = (adapter.as_ref(), out.as_ref());
    let config = ModelConfig::from_dir(base)?;
    let architecture = Architecture::of(&config)?;
    let files = PeftFiles::read(adapter)?;
    let Some(lora) = files.config.as_lora().filter(|lora| !lora.use_dora()) else {
        let method = if files.config.as_lora().is_some() { "use_dora" } else { files.config.peft_type() };
        return Err(unsupported(method));
    };
    if lora.init_lora_weights().changes_the_base() {
        return Err(unsupported("an initialisation that changed the base"));
    }
    let dtype = options.dtype.unwrap_or(GgmlType::F32);
    let matrices = layout::expected(&config).into_iter();
    let shapes: BTreeMap<String, [usize; 2]> = matrices
        .filter_map(|tensor| Some((tensor.name, <[usize; 2]>::try_from(tensor.shape).ok()?)))
        .collect();
    let mut tensors = Vec::new();
    let mut alpha = None;
    for (module, factors) in modules(&files, &config)? {
        let wrong = |message: String| ModelError::Gguf { path: adapter.to_path_buf(), message };
        let (Some(a), Some(b)) = (factors.a, factors.b) else {
            return Err(wrong(format!("{module} has only one of A and B")));
        };
        let weight = format!("{module}.weight");
        let (Some(parameter), Some(&[out, inn])) = (architecture.name_of(&weight), shapes.get(&weight))
        else {
            return Err(no_name(&weight));
        };
        let (rank, scaling) = lora.scaling_for(module)?;
        let wanted = match factors.is_embedding {
            false => [[rank, inn], [out, rank]],
            true => [[rank, out], [inn, rank]],
        };
        if a.shape != wanted[0] || b.shape != wanted[1] {
            let found = format!("{module} has A {:?} and B {:?}", a.shape, b.shape);
            return Err(wrong(format!("{found}, wanted {:?} and {:?}", wanted[0], wanted[1])));
        }
        let scaled_rank = scaling * rank as f64;
        let alpha = *alpha.get_or_insert(scaled_rank as f32);
        let factor = scaled_rank as f32 / alpha;
        let change = if factor == 1.0 { Change::None } else { Change::Times(factor) };
        let a = if factors.is_embedding { transposed(a) } else { entry(a) };
        for (end, entry) in [("lora_a", a), ("lora_b", entry(b))] {
            let name = format!("{parameter}.{end}");
            let tensor = kept(name, dtype_of(&parameter, &entry.shape, dtype), entry);
            let is_b = end == "lora_b";
            tensors.push(Converted {
                rows: if is_b { rows(architecture, &config, &parameter) } else { tensor.rows },
                change: if is_b { change } else { tensor.change },
                ..tensor
            });
        }
    }
    let Some(alpha) = alpha else {
        return Err(ModelError::Gguf { path: adapter.to_path_buf(), message: "no LoRA factors".to_owned() });
    };
    let mut metadata = general(architecture, "adapter", &name(options, adapter));
    metadata.push(("adapter.type".to_owned(), "lora".into()));
    metadata.push(("adapter.lora.alpha".to_owned(), GgufValue::F32(alpha)));
    finish(out, dtype, &metadata, &tensors, Vec::new())
}

fn unsupported(what: &str) -> ModelError {
    ModelError::Unsupported {
        what: format!("a GGUF adapter with {what}"),
        supported: "LoRA on projections; merge the adapter and export the model instead".to_owned(),
    }
}

/// The factors by module, in the order of their paths.
fn modules<'a>(
    files: &'a PeftFiles,
    config: &ModelConfig,
) -> Result<BTreeMap<&'a str, Factors<'a>>, ModelError> {
    let mut modules: BTreeMap<&str, Factors<'_>> = BTreeMap::new();
    for (key, tensor) in &files.tensors {
        let parameter = key.strip_prefix(PREFIX).unwrap_or(key);
        let found = ENDS.iter().enumerate().find_map(|(kind, ends)| {
            let which = ends.iter().position(|end| parameter.ends_with(end))?;
            Some((kind, which, parameter.strip_suffix(ends[which])?))
        });
        let Some((kind, which, module)) = found else {
            // PEFT saves the frozen weight of an adapted head along with it.
            if parameter.ends_with(".base_layer.weight") {
                continue;
            }
            return Err(unsupported(&format!("`{parameter}`")));
        };
        if module == layout::HEAD && config.tie_word_embeddings {
            return Err(unsupported("the head of a model whose head is the embedding"));
        }
        if kind == 1 && config.embed_scale.is_some() {
            return Err(unsupported("an embedding that the model scales"));
        }
        let factors = modules.entry(module).or_default();
        factors.is_embedding = kind == 1;
        *(if which == 0 { &mut factors.a } else { &mut factors.b }) = Some(tensor);
    }
    Ok(modules)
}

fn entry(tensor: &AdapterTensor) -> TensorEntry {
    TensorEntry::from_f32(&tensor.values, tensor.shape.clone())
}

/// An embedding's A, `[r, vocabulary]`, with one row for every token: llama.cpp looks rows up.
fn transposed(tensor: &AdapterTensor) -> TensorEntry {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let values: Vec<f32> =
        (0..columns * rows).map(|at| tensor.values[at % rows * columns + at / rows]).collect();
    TensorEntry::from_f32(&values, vec![columns, rows])
}
