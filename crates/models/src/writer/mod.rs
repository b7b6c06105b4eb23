//! Writing a Hugging Face directory so that no moment leaves half a file.

mod layout;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

pub use self::layout::TensorSpec;
use self::layout::{Layout, check, shards};
pub use self::stream::CheckpointWriter;
use crate::checkpoint::{INDEX_FILE, SINGLE_FILE, TensorEntry};
use crate::config::{CONFIG_FILE, ModelConfig};
use crate::error::ModelError;

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
    let specs = specs(dir.as_ref(), tensors)?;
    let mut writer = CheckpointWriter::create(dir, &specs, options)?;
    tensors.iter().try_for_each(|(name, tensor)| writer.write(name, tensor))?;
    writer.finish()
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
    let specs = specs(path, tensors)?;
    let layout = Layout::new(&specs, metadata, 0);
    let bytes: BTreeMap<&str, &TensorEntry> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_atomically(path, |out| {
        out.write_all(&layout.header)?;
        layout.tensors.iter().try_for_each(|(spec, _)| out.write_all(&bytes[spec.name.as_str()].bytes))
    })
}

/// The tensors without their bytes. Names must differ, and shapes must fit the bytes.
fn specs(path: &Path, tensors: &[(String, TensorEntry)]) -> Result<Vec<TensorSpec>, ModelError> {
    let specs: Vec<TensorSpec> = tensors
        .iter()
        .map(|(name, tensor)| TensorSpec::new(name, tensor.dtype, tensor.shape.clone()))
        .collect();
    let given: Vec<usize> = tensors.iter().map(|(_, tensor)| tensor.bytes.len()).collect();
    layout::check_bytes(path, &specs, &given)?;
    Ok(specs)
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

/// A file in `dir` that is nobody's yet.
fn staged(dir: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-").suffix(".tmp");
    // Temporary files are private; these are to become what the umask makes of any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir)
}

fn replace(
    dir: &Path,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = staged(dir)?;
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
