mod check;
mod dtype;
mod entry;
mod header;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

pub use self::check::{ExpectedTensor, Presence};
pub use self::dtype::CheckpointDtype;
pub use self::entry::TensorEntry;
use self::header::{Header, Span};
use crate::error::{CheckpointProblem, ModelError};

/// The file of a checkpoint that is not sharded.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";

/// The file that says which shard holds which tensor.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// What a message calls a checkpoint's files.
const WEIGHT_EXTENSIONS: [&str; 6] = ["safetensors", "bin", "pt", "pth", "gguf", "h5"];

/// The tensors of a Hugging Face directory, memory-mapped: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names. Where both are there the single file wins, as in transformers.
///
/// Opening reads and checks every header and no weight. Tensors are parts of the mapping: it lives as long as one
/// of them does, and replacing the files by renaming (as this crate's writer does) leaves it alone.
///
/// ```no_run
/// # fn main() -> Result<(), burnisher_models::ModelError> {
/// let checkpoint = burnisher_models::Checkpoint::open("llama-3.2-1b")?;
/// for name in checkpoint.names() {
///     println!("{name} {:?}", checkpoint.tensor(name).map(|tensor| tensor.shape));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Located>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Located {
    file: usize,
    span: Span,
}

impl Checkpoint {
    /// Maps the checkpoint in `dir` and checks its headers.
    ///
    /// # Errors
    /// [`ModelError::Io`] where the directory or the index cannot be read, [`ModelError::Json`] where the index is no
    /// JSON, [`ModelError::Checkpoint`] where the directory holds no checkpoint, and [`ModelError::Tensors`] with
    /// every problem of every file: shards that are missing or cut off, headers that lie, tensors that the index
    /// places wrongly, tensors in two shards.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ModelError> {
        let dir = dir.as_ref();
        let mut problems = Vec::new();
        let weight_map = weight_map(dir, &mut problems)?.unwrap_or_default();
        let mut names: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
        if weight_map.is_empty() && problems.is_empty() {
            names.insert(SINGLE_FILE);
        }

        let mut checkpoint = Self {
            dir: dir.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        let mut opened: Vec<&str> = Vec::new();
        for name in names {
            match open_file(&dir.join(name), name) {
                Ok((bytes, header)) => {
                    opened.push(name);
                    checkpoint.add(bytes, header, &opened, &mut problems);
                }
                Err(more) => problems.extend(more),
            }
        }
        let misplaced: Vec<_> = weight_map
            .iter()
            // A shard that could not be opened and a tensor in two shards are problems already.
            .filter(|(tensor, file)| opened.contains(&file.as_str()) && !is_duplicate(tensor, &problems))
            .filter_map(|(tensor, file)| checkpoint.misplaced(tensor, file, &opened))
            .collect();
        problems.extend(misplaced);
        if problems.is_empty() {
            Ok(checkpoint)
        } else {
            Err(ModelError::Tensors { path: dir.to_path_buf(), problems })
        }
    }

    /// Maps one safetensors file, whatever its name, and checks its header.
    ///
    /// # Errors
    /// [`ModelError::Io`] where it cannot be read, and [`ModelError::Tensors`] with every problem of its header.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let bytes = map_file(path).map_err(ModelError::io(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let header = header::parse(&name, &bytes)
            .map_err(|problems| ModelError::Tensors { path: path.to_path_buf(), problems })?;
        let mut checkpoint = Self {
            dir: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        // One header names no tensor twice.
        checkpoint.add(bytes, header, &[&*name], &mut Vec::new());
        Ok(checkpoint)
    }

    /// Takes in one file, whose name is the last of `opened`.
    fn add(&mut self, bytes: Bytes, header: Header, opened: &[&str], problems: &mut Vec<CheckpointProblem>) {
        let file = self.files.len();
        self.files.push(bytes);
        self.metadata.extend(header.metadata);
        for (tensor, span) in header.tensors {
            if let Some(other) = self.tensors.get(&tensor) {
                problems.push(CheckpointProblem::Duplicate {
                    tensor,
                    first: opened[other.file].to_owned(),
                    second: opened[file].to_owned(),
                });
            } else {
                self.tensors.insert(tensor, Located { file, span });
            }
        }
    }

    /// The problem of a tensor that is not in the file the index names.
    fn misplaced(&self, tensor: &str, file: &str, opened: &[&str]) -> Option<CheckpointProblem> {
        let holder = self.tensors.get(tensor).map(|located| opened[located.file]);
        (holder != Some(file)).then(|| CheckpointProblem::NotInShard {
            tensor: tensor.to_owned(),
            file: file.to_owned(),
            holder: holder.map(str::to_owned),
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tensors' names in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and tensors, in byte order of the names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, TensorEntry)> {
        self.names().filter_map(|name| Some((name, self.tensor(name)?)))
    }

    /// The text entries of the files' headers (`format`: `pt`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// A tensor by name. Its bytes share the mapping, and are aligned for its dtype: where a file is not (which no
    /// writer of the last years produces) they are copied.
    pub fn tensor(&self, name: &str) -> Option<TensorEntry> {
        let Located { file, span } = self.tensors.get(name)?;
        let bytes = self.files[*file].slice(span.range.clone());
        let aligned = (bytes.as_ptr() as usize).is_multiple_of(span.dtype.size());
        Some(TensorEntry {
            dtype: span.dtype,
            shape: span.shape.clone(),
            bytes: if aligned { bytes } else { entry::copy_aligned(&bytes) },
        })
    }

    /// A hash that tells this checkpoint from others: every tensor's name, dtype and shape, and the first and last 4 KiB
    /// of its bytes (XXH3, 64 bits). Enough for models trained differently, without reading them through.
    pub fn fingerprint(&self) -> u64 {
        const EDGE: usize = 4096;
        let mut hash = Xxh3::new();
        for (name, Located { file, span }) in &self.tensors {
            hash.update(name.as_bytes());
            hash.update(format!("{} {:?}", span.dtype, span.shape).as_bytes());
            let bytes = &self.files[*file][span.range.clone()];
            hash.update(&bytes[..bytes.len().min(EDGE)]);
            hash.update(&bytes[bytes.len().saturating_sub(EDGE)..]);
        }
        hash.digest()
    }

    /// Reads one tensor through for infinities and NaN. Dtypes that have none, and names that are not there, pass.
    ///
    /// # Errors
    /// [`ModelError::NonFinite`] with the first such value.
    pub fn check_finite(&self, name: &str) -> Result<(), ModelError> {
        match self.tensor(name).and_then(|tensor| tensor.first_non_finite()) {
            None => Ok(()),
            Some((index, value)) => Err(ModelError::NonFinite {
                path: Some(self.dir.clone()),
                tensor: name.to_owned(),
                index,
                value,
            }),
        }
    }
}

fn is_duplicate(name: &str, problems: &[CheckpointProblem]) -> bool {
    problems
        .iter()
        .any(|problem| matches!(problem, CheckpointProblem::Duplicate { tensor, .. } if tensor == name))
}

/// The index's map from tensor to shard, or `None` for a checkpoint in one file.
fn weight_map(
    dir: &Path,
    problems: &mut Vec<CheckpointProblem>,
) -> Result<Option<BTreeMap<String, String>>, ModelError> {
    if dir.join(SINGLE_FILE).is_file() {
        return Ok(None);
    }
    let path = dir.join(INDEX_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_checkpoint(dir)),
        Err(error) => return Err(ModelError::io(&path)(error)),
    };
    let index: Map<String, Value> =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path, source })?;
    let mut problem = |found: String, wanted: &str| {
        problems.push(CheckpointProblem::File {
            file: INDEX_FILE.to_owned(),
            found,
            wanted: wanted.to_owned(),
        });
    };
    let mut weight_map = BTreeMap::new();
    match index.get("weight_map") {
        Some(Value::Object(entries)) if !entries.is_empty() => {
            for (tensor, file) in entries {
                match file.as_str() {
                    // A name with a path in it would read files that are not the checkpoint's.
                    Some(name) if Path::new(name).file_name() == Some(OsStr::new(name)) => {
                        weight_map.insert(tensor.clone(), name.to_owned());
                    }
                    _ => problem(
                        format!("`weight_map`: `{tensor}` in {file}"),
                        "the name of a file in this directory",
                    ),
                }
            }
        }
        Some(Value::Object(_)) => problem("an empty `weight_map`".to_owned(), "a shard for every tensor"),
        _ => problem("no `weight_map` object".to_owned(), "a shard for every tensor"),
    }
    Ok(Some(weight_map))
}

/// What to say about a directory without a checkpoint: what it holds instead.
fn no_checkpoint(dir: &Path) -> ModelError {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(source) => {
            return ModelError::Io { path: dir.to_path_buf(), source };
        }
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| WEIGHT_EXTENSIONS.iter().any(|known| name.extension() == Some(OsStr::new(known))))
        .map(|name| name.display().to_string())
        .collect();
    found.sort();
    let found = if found.is_empty() { "no weights".to_owned() } else { found.join(", ") };
    ModelError::Checkpoint {
        path: dir.to_path_buf(),
        message: format!("found {found}, wanted {SINGLE_FILE} or {INDEX_FILE}"),
    }
}

fn open_file(path: &Path, name: &str) -> Result<(Bytes, Header), Vec<CheckpointProblem>> {
    let bytes = map_file(path).map_err(|error| {
        vec![CheckpointProblem::File {
            file: name.to_owned(),
            found: match error.kind() {
                io::ErrorKind::NotFound => "no such file".to_owned(),
                _ => error.to_string(),
            },
            wanted: "a safetensors file that can be read".to_owned(),
        }]
    })?;
    let header = header::parse(name, &bytes)?;
    Ok((bytes, header))
}

/// A file as memory that is read from it on demand.
pub(crate) fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // SAFETY: the mapping is read-only and private. Another process that truncates the file while it is mapped makes
    // reads fault, as for every mapped file; writers that replace files by renaming, as ours does, cannot.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}
