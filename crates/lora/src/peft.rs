//! PEFT adapter directories: adapter_config.json and adapter_model.safetensors.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{TensorView, serialize},
};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    adapter_config::AdapterConfig,
    error::{LoraError, ShapeProblem, TensorProblems, UnsupportedField},
    fingerprint,
};

const CONFIG_FILE: &str = "adapter_config.json";
const MODEL_FILE: &str = "adapter_model.safetensors";
/// What older versions of PEFT wrote instead: a Python pickle.
const PICKLE_FILE: &str = "adapter_model.bin";

/// Path components after which PEFT puts the adapter's name in memory, and how the rest of the
/// name goes on once the adapter's name is gone.
const NAMED_PARTS: [(&str, &[&str]); 13] = [
    ("lora_A", &["", "weight", "bias"]),
    ("lora_B", &["", "weight", "bias"]),
    ("lora_E", &[""]),
    ("lora_embedding_A", &[""]),
    ("lora_embedding_B", &[""]),
    ("lora_magnitude_vector", &["", "weight"]),
    ("trainable_tokens_delta", &[""]),
    ("ia3_l", &[""]),
    ("vera_lambda_b", &[""]),
    ("vera_lambda_d", &[""]),
    ("vera_A", &[""]),
    ("vera_B", &[""]),
    ("modules_to_save", &["weight", "bias"]),
];

/// Names of tensors in adapter_model.safetensors (peft 0.21, src/peft/utils/save_and_load.py
/// `get_peft_model_state_dict`).
pub(crate) mod keys {
    /// What every name starts with, before the module's path.
    const PREFIX: &str = "base_model.model.";
    const BASE_LAYER: &str = ".base_layer";

    /// A parameter by its path in the model: `PATH.lora_A.weight`, `PATH.lora_B.weight`, the `PATH.weight`
    /// and `PATH.bias` of a module saved whole, the `PATH.bias` of a module without an adapter.
    pub(crate) fn parameter(name: &str) -> String {
        format!("{PREFIX}{name}")
    }

    /// The trained bias of an adapted module, whether `bias` is `all` or `lora_only`.
    pub(crate) fn base_layer_bias(path: &str) -> String {
        format!("{PREFIX}{path}{BASE_LAYER}.bias")
    }

    /// The module's path in the model, from the part of a name before the tensor's own.
    pub(crate) fn module_path(module: &str) -> &str {
        module.strip_prefix(PREFIX).unwrap_or(module)
    }

    /// The frozen weight of an adapted module.
    pub(crate) fn base_layer_weight(path: &str) -> String {
        format!("{PREFIX}{path}{BASE_LAYER}.weight")
    }

    /// A parameter's name with the adapter's name in it, as PEFT has it in memory.
    pub(crate) fn named(name: &str, adapter: &str) -> String {
        for end in [".weight", ".bias"] {
            if let Some(start) = name.strip_suffix(end) {
                return format!("{start}.{adapter}{end}");
            }
        }
        format!("{name}.{adapter}")
    }

    /// What the names of an adapter's parameters add to the path of their module.
    const ENDS: [&str; 12] = [
        ".lora_A.weight",
        ".lora_B.weight",
        ".lora_B.bias",
        ".lora_A",
        ".lora_B",
        ".lora_E",
        ".lora_magnitude_vector",
        ".lora_embedding_A",
        ".lora_embedding_B",
        ".ia3_l",
        ".vera_lambda_b",
        ".vera_lambda_d",
    ];

    /// The end of the name of the embedding's trained rows.
    pub(crate) const TOKENS: &str = ".token_adapter.trainable_tokens_delta";

    /// The values of virtual tokens, which belong to no module.
    pub(crate) const PROMPT: &str = "prompt_embeddings";

    /// VeRA's shared matrices `A` and `B`, which belong to no module.
    pub(crate) const VERA: [&str; 2] = ["base_model.vera_A", "base_model.vera_B"];

    /// The module whose adapter the parameter `name` belongs to.
    pub(crate) fn adapted_module(name: &str) -> Option<&str> {
        ENDS.iter().find_map(|end| name.strip_suffix(end))
    }

    /// For the frozen weight of an adapted module, which PEFT saves along with an adapted head or embedding: the
    /// module's key.
    pub(crate) fn adapted_base(key: &str) -> Option<&str> {
        key.strip_suffix(".weight")?.strip_suffix(BASE_LAYER)
    }
}

/// The number type a tensor has in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdapterDtype {
    /// 32-bit floats, PEFT's choice.
    #[default]
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// Floats of 32 bits without the lower half.
    BF16,
}

impl AdapterDtype {
    fn from_file(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    fn to_file(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }

    /// Values from little-endian bytes, a whole number of them.
    fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect(),
            Self::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|raw| f16::from_le_bytes(*raw).to_f32()).collect()
            }
            Self::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|raw| bf16::from_le_bytes(*raw).to_f32()).collect()
            }
        }
    }

    /// Little-endian bytes of the values, each rounded to the nearest number of this type.
    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    /// Is the value finite, also as a number of this type?
    fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => value.is_finite(),
            Self::F16 => f16::from_f32(value).is_finite(),
            Self::BF16 => bf16::from_f32(value).is_finite(),
        }
    }
}

/// A tensor of an adapter file.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterTensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, row-major, as many as `shape` says.
    pub values: Vec<f32>,
    /// The number type it has in the file.
    pub dtype: AdapterDtype,
}

impl AdapterTensor {
    /// A tensor of 32-bit floats; `values` are row-major.
    ///
    /// # Panics
    /// If `values` has not as many elements as `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "AdapterTensor::new: values must have as many elements as the shape {shape:?}"
        );
        Self { shape, values, dtype: AdapterDtype::F32 }
    }

    /// Sets the number type it has in the file.
    pub fn with_dtype(mut self, dtype: AdapterDtype) -> Self {
        self.dtype = dtype;
        self
    }
}

/// A PEFT adapter directory in memory. Tensor names are those of the file, without the adapter's
/// name.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftFiles {
    /// adapter_config.json.
    pub config: AdapterConfig,
    /// adapter_model.safetensors.
    pub tensors: BTreeMap<String, AdapterTensor>,
}

impl PeftFiles {
    /// Reads an adapter directory. Tensor names may hold the adapter's name
    /// (`lora_A.default.weight`); values become 32-bit floats, exactly.
    ///
    /// # Errors
    /// What [`AdapterConfig::read`] reports; [`LoraError::Read`]; [`LoraError::Safetensors`] for a
    /// truncated file, a lying header, or a tensor that is neither F32, F16 nor BF16;
    /// [`LoraError::NonFiniteTensors`]; [`LoraError::InFile`] if there is only a pickled
    /// adapter_model.bin. Whether the tensors are the right ones says [`PeftFiles::check`].
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, LoraError> {
        let dir = dir.as_ref();
        let config = AdapterConfig::read(dir.join(CONFIG_FILE))?;
        let path = dir.join(MODEL_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pickle = dir.join(PICKLE_FILE);
                if !pickle.exists() {
                    return Err(LoraError::Read { path, source: error });
                }
                let found = format!("a Python pickle, convert it to {MODEL_FILE}");
                let fields = vec![UnsupportedField { field: "format".into(), found }];
                return Err(LoraError::Unsupported { fields }.in_file(pickle));
            }
            Err(source) => return Err(LoraError::Read { path, source }),
        };
        let tensors = decode(&path, &bytes)?;
        Ok(Self { config, tensors })
    }

    /// Writes the directory as PEFT does, creating it if need be. Each file is written beside its
    /// place, synced and renamed: at any moment there is the old file or the new one, whole. Both
    /// are on the disk before the first is renamed, so a full disk leaves the old adapter.
    ///
    /// # Errors
    /// [`LoraError::Config`] if the configuration is not valid, [`LoraError::NonFiniteTensors`],
    /// [`LoraError::Safetensors`] if a tensor has not as many values as its shape says,
    /// [`LoraError::Write`].
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), LoraError> {
        let dir = dir.as_ref();
        self.config.validate()?;
        let (model, config) = (dir.join(MODEL_FILE), dir.join(CONFIG_FILE));
        let bytes = encode(&model, &self.tensors)?;
        fs::create_dir_all(dir).map_err(|source| LoraError::Write { path: dir.into(), source })?;
        let staged_model = stage(dir, &model, &bytes)?;
        let staged_config = stage(dir, &config, self.config.to_json().as_bytes())?;
        // Those of another adapter's base would refuse this one.
        fingerprint::remove(dir)?;
        for (staged, path) in [(staged_model, model), (staged_config, config)] {
            staged.persist(&path).map_err(|error| LoraError::Write { path, source: error.error })?;
        }
        sync_dir(dir).map_err(|source| LoraError::Write { path: dir.into(), source })
    }

    /// Compares the tensors with what a model wants: name and shape of each. The base weight of a module with LoRA,
    /// which PEFT adds if the module is the head or the embedding, may be there if its shape is right.
    ///
    /// # Errors
    /// [`LoraError::TensorMismatch`] with every missing, unexpected and mis-shaped tensor.
    pub fn check(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<(), LoraError> {
        let missing = expected.keys().filter(|&name| !self.tensors.contains_key(name)).cloned().collect();
        let mut problems = TensorProblems { missing, ..TensorProblems::default() };
        for (name, tensor) in &self.tensors {
            match expected.get(name).cloned().or_else(|| base_weight_shape(name, expected)) {
                None => problems.unexpected.push(name.clone()),
                Some(wanted) if wanted != tensor.shape => problems.shapes.push(ShapeProblem {
                    name: name.clone(),
                    found: tensor.shape.clone(),
                    wanted,
                }),
                Some(_) => {}
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(LoraError::TensorMismatch(problems)) }
    }
}

/// The shape of the weight, if `name` is the base weight of a module with LoRA: `[out, in]` from `B [out, r]` and
/// `A [r, in]`; `[vocab, hidden]` from an embedding's `A [r, vocab]` and `B [hidden, r]`.
fn base_weight_shape(name: &str, expected: &BTreeMap<String, Vec<usize>>) -> Option<Vec<usize>> {
    let module = keys::adapted_base(name)?;
    let shape = |end: &str| expected.get(&format!("{module}.{end}")).map(Vec::as_slice);
    let factors = |a: &str, b: &str| match (shape(a)?, shape(b)?) {
        ([_, a], [b, _]) => Some([*a, *b]),
        _ => None,
    };
    let linear = || {
        let found = factors("lora_A.weight", "lora_B.weight").or_else(|| factors("lora_A", "lora_B"));
        found.map(|[inn, out]| vec![out, inn])
    };
    linear().or_else(|| factors("lora_embedding_A", "lora_embedding_B").map(|dims| dims.to_vec()))
}

pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, AdapterTensor>, LoraError> {
    let lies = |message: String| LoraError::Safetensors { path: path.into(), message };
    check_offsets(bytes).map_err(&lies)?;
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| lies(format!("{error} (the file has {} bytes)", bytes.len())))?;
    let mut tensors = BTreeMap::new();
    let mut not_finite = Vec::new();
    let mut names = file.names();
    names.sort_unstable();
    for name in names {
        let view = file.tensor(name).map_err(|error| lies(error.to_string()))?;
        let Some(dtype) = AdapterDtype::from_file(view.dtype()) else {
            let found = view.dtype();
            return Err(lies(format!("{name} is of type {found}, wanted F32, F16 or BF16")));
        };
        let values = dtype.decode(view.data());
        if !values.iter().all(|value| value.is_finite()) {
            not_finite.push(name.to_owned());
        }
        let tensor = AdapterTensor { shape: view.shape().to_vec(), values, dtype };
        let key = without_adapter_name(name);
        if tensors.insert(key.clone(), tensor).is_some() {
            return Err(lies(format!("two tensors are {key}: the file holds several adapters")));
        }
    }
    if !not_finite.is_empty() {
        return Err(LoraError::NonFiniteTensors { path: path.into(), tensors: not_finite });
    }
    Ok(tensors)
}

/// No tensor may claim to end behind the file. safetensors 0.8 adds the claims up before it
/// compares, which overflows for a header made to do so.
fn check_offsets(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("wanted a header, found {} bytes", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(header) = header else {
        let all = bytes.len();
        return Err(format!("the header claims {length} bytes, the file has {all} in all"));
    };
    let header: BTreeMap<String, Value> =
        serde_json::from_slice(header).map_err(|error| format!("the header is no JSON: {error}"))?;
    for (name, entry) in &header {
        let end = entry.get("data_offsets").and_then(|offsets| offsets.get(1));
        let end = end.and_then(Value::as_u64).unwrap_or(0);
        let room = rest.len() as u64 - length;
        if name != "__metadata__" && end > room {
            return Err(format!("{name} claims to end at byte {end} of the data, there are {room}"));
        }
    }
    Ok(())
}

pub(crate) fn encode(path: &Path, tensors: &BTreeMap<String, AdapterTensor>) -> Result<Vec<u8>, LoraError> {
    let not_finite: Vec<String> = tensors
        .iter()
        .filter(|(_, tensor)| !tensor.values.iter().all(|&value| tensor.dtype.holds(value)))
        .map(|(name, _)| name.clone())
        .collect();
    if !not_finite.is_empty() {
        return Err(LoraError::NonFiniteTensors { path: path.into(), tensors: not_finite });
    }
    let encoded: Vec<(&String, &AdapterTensor, Vec<u8>)> =
        tensors.iter().map(|(name, tensor)| (name, tensor, tensor.dtype.encode(&tensor.values))).collect();
    let views = encoded
        .iter()
        .map(|(name, tensor, bytes)| {
            TensorView::new(tensor.dtype.to_file(), tensor.shape.clone(), bytes)
                .map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, SafeTensorError>>();
    // Without the format transformers refuses the file.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    views
        .and_then(|views| serialize(views, Some(metadata)))
        .map_err(|error| LoraError::Safetensors { path: path.into(), message: error.to_string() })
}

/// A tensor's name as PEFT writes it today: `lora_A.default.weight` is `lora_A.weight`,
/// `modules_to_save.default.weight` is `weight`.
fn without_adapter_name(name: &str) -> String {
    for (part, tails) in NAMED_PARTS {
        let Some((head, tail)) = name.split_once(&format!(".{part}")) else { continue };
        // `lora_A` must be a whole component of the path.
        if !(tail.is_empty() || tail.starts_with('.')) {
            continue;
        }
        let tail: Vec<&str> = tail.split('.').skip(1).collect();
        let rest = match tail.as_slice() {
            [rest] if tails.contains(rest) => *rest,
            [_adapter] if tails.contains(&"") => "",
            [_adapter, rest] if tails.contains(rest) => *rest,
            _ => return name.to_owned(),
        };
        return match (part, rest) {
            ("modules_to_save", rest) => format!("{head}.{rest}"),
            // In memory it ends in `weight`, in files it does not.
            (part @ "lora_magnitude_vector", _) => format!("{head}.{part}"),
            (part, "") => format!("{head}.{part}"),
            (part, rest) => format!("{head}.{part}.{rest}"),
        };
    }
    name.to_owned()
}

/// The bytes, on the disk, in a file beside `path` that can be renamed to it.
pub(crate) fn stage(dir: &Path, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, LoraError> {
    let failed = |source| LoraError::Write { path: PathBuf::from(path), source };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".adapter-").suffix(".tmp");
    // A temporary file is the owner's alone; an adapter has the permissions of any new file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(dir).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

/// A file in an existing directory, whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), LoraError> {
    let path = dir.join(name);
    let staged = stage(dir, &path, bytes)?;
    staged.persist(&path).map_err(|error| LoraError::Write { path, source: error.error })?;
    sync_dir(dir).map_err(|source| LoraError::Write { path: dir.into(), source })
}

/// Makes the renames in a directory last. Windows has no such operation.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_put_into_a_key_can_be_removed() {
        for end in ["lora_A.weight", "lora_B.bias", "lora_embedding_A", "lora_magnitude_vector", "ia3_l"] {
            let (name, named) = (format!("m.q.{end}"), keys::named(&format!("m.q.{end}"), "other"));
            assert!(named.contains(".other"), "{named}");
            assert_eq!(without_adapter_name(&named), name);
        }
    }

    #[test]
    fn adapter_names_are_removed_from_keys() {
        for (name, wanted) in [
            ("m.q.lora_A.weight", "m.q.lora_A.weight"),
            ("m.q.lora_A.default.weight", "m.q.lora_A.weight"),
            ("m.q.lora_B.other.bias", "m.q.lora_B.bias"),
            ("m.e.lora_embedding_A", "m.e.lora_embedding_A"),
            ("m.e.lora_embedding_B.default", "m.e.lora_embedding_B"),
            ("m.q.lora_magnitude_vector.default.weight", "m.q.lora_magnitude_vector"),
            ("m.q.lora_A.default", "m.q.lora_A"),
            ("m.q.lora_E.default", "m.q.lora_E"),
            ("m.q.lora_B", "m.q.lora_B"),
            ("m.lm_head.modules_to_save.default.weight", "m.lm_head.weight"),
            ("m.lm_head.modules_to_save.weight", "m.lm_head.weight"),
            ("m.lm_head.weight", "m.lm_head.weight"),
            ("m.e.base_layer.weight", "m.e.base_layer.weight"),
            ("m.e.token_adapter.trainable_tokens_delta.default", "m.e.token_adapter.trainable_tokens_delta"),
            ("m.k.ia3_l.default", "m.k.ia3_l"),
            ("m.k.vera_lambda_d", "m.k.vera_lambda_d"),
            ("base_model.vera_A.default", "base_model.vera_A"),
            // Nothing PEFT ever wrote: left alone, so that a check calls it unexpected.
            ("m.q.lora_A.a.b.weight", "m.q.lora_A.a.b.weight"),
            ("m.lora_Abc.weight", "m.lora_Abc.weight"),
        ] {
            assert_eq!(without_adapter_name(name), wanted, "{name}");
        }
    }
}
