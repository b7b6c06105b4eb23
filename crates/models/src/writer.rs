//! Writing a Hugging Face directory so that no moment leaves half a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::{INDEX_FILE, SINGLE_FILE, TensorEntry};
use crate::config::{CONFIG_FILE, ModelConfig};
use crate::error::{CheckpointProblem, ModelError};

/// The files next to the weights that describe tokens and generation, and that a derived model keeps.
const COMPANION_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// The header of a safetensors file is padded to this, so that the data behind it is aligned.
const HEADER_ALIGNMENT: usize = 8;

/// How a checkpoint's weights are laid out in files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The most bytes of tensors in one file. A single tensor above it gets a file of its own.
    pub max_shard_bytes: u64,
}

impl WriteOptions {
    /// Files of at most 5 GB.
    pub fn new() -> Self {
        Self { max_shard_bytes: 5_000_000_000 }
    }

    /// Sets the most bytes of tensors in one file.
    #[must_use]
    pub fn with_max_shard_bytes(mut self, max_shard_bytes: u64) -> Self {
        self.max_shard_bytes = max_shard_bytes;
        self
    }
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a checkpoint's weights into `dir`, which is created: `model.safetensors`, or shards and their index where
/// they exceed [`WriteOptions::max_shard_bytes`]. Tensors go to shards in the order given, as in transformers.
///
/// Every file appears whole or not at all, the index last; weights of an earlier checkpoint with other file names are
/// removed after that. Two sharded checkpoints share file names, so to replace one write into a new directory and
/// rename it.
///
/// # Errors
/// [`ModelError::Write`] where a file cannot be written (what stood there is unchanged), and [`ModelError::Tensors`]
/// with every name that is given twice and every shape that does not fit its bytes.
pub fn write_checkpoint(
    dir: impl AsRef<Path>,
    tensors: &[(String, TensorEntry)],
    options: &WriteOptions,
) -> Result<(), ModelError> {
    let dir = dir.as_ref();
    check(dir, tensors)?;
    fs::create_dir_all(dir).map_err(ModelError::write(dir))?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let shards = shards(tensors, options.max_shard_bytes);
    let mut written = BTreeSet::new();
    if let [only] = &shards[..] {
        write_safetensors(dir.join(SINGLE_FILE), only, &metadata)?;
        written.insert(SINGLE_FILE.to_owned());
    } else {
        let mut weight_map = BTreeMap::new();
        for (number, shard) in (1..).zip(&shards) {
            let name = format!("model-{number:05}-of-{:05}.safetensors", shards.len());
            write_safetensors(dir.join(&name), shard, &metadata)?;
            weight_map.extend(shard.iter().map(|(tensor, _)| (tensor, name.clone())));
            written.insert(name);
        }
        let index = json!({
            "metadata": {
                "total_parameters": sum(tensors, |tensor| tensor.shape.iter().product()),
                "total_size": sum(tensors, |tensor| tensor.bytes.len()),
            },
            "weight_map": weight_map,
        });
        write_atomically(&dir.join(INDEX_FILE), |out| out.write_all(format!("{index:#}\n").as_bytes()))?;
        written.insert(INDEX_FILE.to_owned());
    }
    remove_other_weights(dir, &written)
}

/// Writes `config.json` into `dir`.
///
/// # Errors
/// [`ModelError::Write`]; what stood there is unchanged.
pub fn write_config(dir: impl AsRef<Path>, config: &ModelConfig) -> Result<(), ModelError> {
    let path = dir.as_ref().join(CONFIG_FILE);
    write_atomically(&path, |out| out.write_all(config.to_json().as_bytes()))
}

/// Copies the tokenizer, the chat template and `generation_config.json` from one model directory to another, as far as
/// they are there, and returns their names.
///
/// # Errors
/// [`ModelError::Io`] where one cannot be read, [`ModelError::Write`] where one cannot be written.
pub fn copy_tokenizer_files(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
) -> Result<Vec<&'static str>, ModelError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    fs::create_dir_all(to).map_err(ModelError::write(to))?;
    let mut copied = Vec::new();
    for name in COMPANION_FILES {
        let source = from.join(name);
        match fs::read(&source) {
            Ok(bytes) => write_atomically(&to.join(name), |out| out.write_all(&bytes))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ModelError::io(&source)(error)),
        }
        copied.push(name);
    }
    Ok(copied)
}

/// Writes one safetensors file. Tensors are ordered by alignment and then by name, as the safetensors library does, and
/// `metadata` goes into the header's `__metadata__`: the same tensors give the same bytes.
///
/// # Errors
/// [`ModelError::Write`] where the file cannot be written (what stood there is unchanged), and [`ModelError::Tensors`]
/// with every name that is given twice and every shape that does not fit its bytes.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[(String, TensorEntry)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), ModelError> {
    let path = path.as_ref();
    check(path, tensors)?;
    let mut ordered: Vec<&(String, TensorEntry)> = tensors.iter().collect();
    ordered.sort_by(|(left_name, left), (right_name, right)| {
        let by_dtype = right.dtype.to_safetensors().cmp(&left.dtype.to_safetensors());
        by_dtype.then_with(|| left_name.cmp(right_name))
    });
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for (name, tensor) in &ordered {
        let end = offset + tensor.bytes.len();
        let dtype = tensor.dtype.to_string();
        let entry = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    let padding = header.len().next_multiple_of(HEADER_ALIGNMENT) - header.len();
    header.extend(std::iter::repeat_n(' ', padding));
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        ordered.iter().try_for_each(|(_, tensor)| out.write_all(&tensor.bytes))
    })
}

/// Names must differ, and shapes must fit their bytes.
fn check(path: &Path, tensors: &[(String, TensorEntry)]) -> Result<(), ModelError> {
    let file = path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    let problem = |name: &String, found: String, wanted: String| CheckpointProblem::Layout {
        file: file.clone(),
        tensor: name.clone(),
        found,
        wanted,
    };
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for (name, tensor) in tensors {
        if !names.insert(name) || name == "__metadata__" {
            problems.push(problem(name, "a name that is taken".to_owned(), "another".to_owned()));
        }
        let bytes = tensor.shape.iter().try_fold(tensor.dtype.size(), |bytes, &dim| bytes.checked_mul(dim));
        if bytes != Some(tensor.bytes.len()) {
            let found = format!("shape {:?} of {}", tensor.shape, tensor.dtype);
            problems.push(problem(name, found, format!("a shape for its {} bytes", tensor.bytes.len())));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ModelError::Tensors { path: path.to_path_buf(), problems }) }
}

/// Consecutive runs of at most `max_bytes`, at least one.
fn shards(tensors: &[(String, TensorEntry)], max_bytes: u64) -> Vec<&[(String, TensorEntry)]> {
    let mut shards = Vec::new();
    let (mut start, mut held) = (0, 0u64);
    for (at, (_, tensor)) in tensors.iter().enumerate() {
        let bytes = tensor.bytes.len() as u64;
        if at > start && held.saturating_add(bytes) > max_bytes {
            shards.push(&tensors[start..at]);
            (start, held) = (at, 0);
        }
        held = held.saturating_add(bytes);
    }
    shards.push(&tensors[start..]);
    shards
}

fn sum(tensors: &[(String, TensorEntry)], of: impl Fn(&TensorEntry) -> usize) -> usize {
    tensors.iter().map(|(_, tensor)| of(tensor)).sum()
}

/// Removes weights that the checkpoint just written does not have, the single file first: it would be read instead.
fn remove_other_weights(dir: &Path, written: &BTreeSet<String>) -> Result<(), ModelError> {
    let entries = fs::read_dir(dir).map_err(ModelError::io(dir))?;
    let mut stale = vec![SINGLE_FILE.to_owned(), INDEX_FILE.to_owned()];
    for entry in entries {
        let name = entry.map_err(ModelError::io(dir))?.file_name();
        stale.extend(name.into_string().ok().filter(|name| is_shard(name)));
    }
    for name in stale.into_iter().filter(|name| !written.contains(name)) {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ModelError::write(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a name is `model-00001-of-00003.safetensors` with any numbers.
fn is_shard(name: &str) -> bool {
    let numbers = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(a, b)| is_number(a) && is_number(b))
}

/// Writes a temporary file beside `path`, flushes it to the disk and renames it.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), ModelError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    replace(dir, path, write).map_err(ModelError::write(path))
}

fn replace(
    dir: &Path,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-").suffix(".tmp");
    // Temporary files are private; these are to become what the umask makes of any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(dir)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is durable once the directory is; only Unix can open one as a file.
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(sizes: &[usize]) -> Vec<(String, TensorEntry)> {
        let entry = |size: usize| TensorEntry::from_f32(&vec![0.5; size], vec![size]);
        sizes.iter().enumerate().map(|(i, &size)| (format!("t{i}"), entry(size))).collect()
    }

    #[test]
    fn shards_are_consecutive_runs_below_the_limit() {
        #[rustfmt::skip]
        let cases: &[(&[usize], u64, &[usize])] = &[
            (&[], 16, &[0]),
            (&[1, 1, 1], 16, &[3]),
            (&[2, 2, 1], 16, &[2, 1]),
            (&[9, 1], 16, &[1, 1]),
            (&[1, 9, 1], 16, &[1, 1, 1]),
            (&[1, 1, 1], 0, &[1, 1, 1]),
        ];
        for (sizes, limit, expected) in cases {
            let tensors = tensors(sizes);
            let found: Vec<usize> = shards(&tensors, *limit).iter().map(|shard| shard.len()).collect();
            assert_eq!(found, *expected, "{sizes:?} by {limit}");
        }
    }

    #[test]
    fn shard_names_are_recognised() {
        for (name, expected) in [
            ("model-00001-of-00003.safetensors", true),
            ("model-1-of-100000.safetensors", true),
            ("model.safetensors", false),
            ("model-a-of-b.safetensors", false),
            ("model--of-.safetensors", false),
            ("adapter_model.safetensors", false),
        ] {
            assert_eq!(is_shard(name), expected, "{name}");
        }
    }

    #[test]
    fn bytes_equal_those_of_the_safetensors_crate() {
        use bytes::Bytes;
        use safetensors::tensor::TensorView;

        use crate::checkpoint::CheckpointDtype;

        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a.safetensors");
        let entry = |dtype, shape: &[usize], bytes: &'static [u8]| TensorEntry {
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes::from_static(bytes),
        };
        let tensors = [
            ("b".to_owned(), entry(CheckpointDtype::U8, &[3], &[1, 2, 3])),
            ("a".to_owned(), entry(CheckpointDtype::BF16, &[2, 1], &[4, 5, 6, 7])),
            ("c".to_owned(), entry(CheckpointDtype::F32, &[], &[8, 9, 10, 11])),
            ("d".to_owned(), entry(CheckpointDtype::F32, &[0], &[])),
        ];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_safetensors(&path, &tensors, &metadata).expect("writes");
        let views = tensors.iter().map(|(name, entry)| {
            let dtype = entry.dtype.to_safetensors();
            let view = TensorView::new(dtype, entry.shape.clone(), &entry.bytes);
            (name, view.expect("sizes agree"))
        });
        let theirs = safetensors::serialize(views, Some(metadata.into_iter().collect()));
        assert_eq!(fs::read(&path).expect("reads"), theirs.expect("serializes"));
    }

    #[test]
    fn what_contradicts_itself_is_not_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut tensors = tensors(&[2, 3]);
        tensors[1].0 = "t0".to_owned();
        tensors[1].1.shape = vec![4];
        let error = write_checkpoint(dir.path().join("new"), &tensors, &WriteOptions::new());
        let Err(ModelError::Tensors { problems, .. }) = error else {
            panic!("found {error:?}, wanted two problems");
        };
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(!dir.path().join("new").exists());
    }
}
