//! Writing a checkpoint tensor by tensor, in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::NamedTempFile;

use super::{
    Layout, TensorSpec, WriteOptions, check, remove_other_weights, shards, staged, write_atomically,
};
use crate::{
    checkpoint::{INDEX_FILE, SINGLE_FILE, TensorEntry},
    error::{CheckpointProblem, ModelError},
};

/// A checkpoint whose tensors are known before their values: the values come one by one, in any order, and each goes to
/// its place in the file, so that a checkpoint larger than the memory can be written.
///
/// Nothing is visible before [`CheckpointWriter::finish`]: files are written beside their names and renamed. Tensors
/// and files are laid out as [`write_checkpoint`](crate::write_checkpoint) does it: the same bytes.
///
/// ```
/// use burnisher_models::{CheckpointDtype, CheckpointWriter, TensorEntry, TensorSpec, WriteOptions};
///
/// let dir = tempfile::tempdir()?;
/// let specs = [TensorSpec::new("a", CheckpointDtype::F32, [2]), TensorSpec::new("b", CheckpointDtype::F32, [1])];
/// let mut writer = CheckpointWriter::create(dir.path(), &specs, &WriteOptions::new())?;
/// writer.write("b", &TensorEntry::from_f32(&[3.0], vec![1]))?;
/// writer.write("a", &TensorEntry::from_f32(&[1.0, 2.0], vec![2]))?;
/// writer.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CheckpointWriter {
    dir: PathBuf,
    files: Vec<Staged>,
    places: BTreeMap<String, Place>,
    waiting: BTreeSet<String>,
}

/// A file, its tensors in the order given, the room for its header, and what comes last.
#[derive(Debug)]
struct Staged {
    name: String,
    file: NamedTempFile,
    tensors: Vec<TensorSpec>,
    header_bytes: usize,
    late: BTreeMap<String, TensorEntry>,
}

#[derive(Debug)]
struct Place {
    file: usize,
    offset: u64,
    spec: TensorSpec,
}

impl CheckpointWriter {
    /// Starts a checkpoint of these tensors in `dir`, which is created.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every name that is given twice, and [`ModelError::Write`] where a file cannot be
    /// made.
    pub fn create(
        dir: impl AsRef<Path>,
        tensors: &[TensorSpec],
        options: &WriteOptions,
    ) -> Result<Self, ModelError> {
        let dir = dir.as_ref();
        check(dir, tensors)?;
        fs::create_dir_all(dir).map_err(ModelError::write(dir))?;
        let shards = shards(tensors, options.max_shard_bytes);
        let mut writer = Self {
            dir: dir.to_path_buf(),
            files: Vec::with_capacity(shards.len()),
            places: BTreeMap::new(),
            waiting: tensors.iter().map(|tensor| tensor.name.clone()).collect(),
        };
        for (number, shard) in (1..).zip(&shards) {
            let name = match shards.len() {
                1 => SINGLE_FILE.to_owned(),
                count => format!("model-{number:05}-of-{count:05}.safetensors"),
            };
            writer.start(name, shard)?;
        }
        Ok(writer)
    }

    /// Makes one file with its header and room for its tensors.
    fn start(&mut self, name: String, tensors: &[TensorSpec]) -> Result<(), ModelError> {
        let layout = Layout::new(tensors, &metadata(), 0);
        let path = self.dir.join(&name);
        let begin = || {
            let mut file = staged(&self.dir)?;
            file.write_all(&layout.header)?;
            file.as_file().set_len(layout.header.len() as u64 + layout.bytes)?;
            Ok(file)
        };
        let file = begin().map_err(ModelError::write(&path))?;
        for (spec, offset) in &layout.tensors {
            let offset = layout.header.len() as u64 + offset;
            let place = Place { file: self.files.len(), offset, spec: (*spec).clone() };
            self.places.insert(spec.name.clone(), place);
        }
        let (tensors, header_bytes) = (tensors.to_vec(), layout.header.len());
        self.files.push(Staged { name, file, tensors, header_bytes, late: BTreeMap::new() });
        Ok(())
    }

    /// Writes one tensor to its place.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] for a tensor that was not announced so, or was written before, and
    /// [`ModelError::Write`].
    pub fn write(&mut self, name: &str, tensor: &TensorEntry) -> Result<(), ModelError> {
        let found = format!("{} {:?} of {} bytes", tensor.dtype, tensor.shape, tensor.bytes.len());
        let refuse = |wanted: String| {
            let tensor = name.to_owned();
            let problem = CheckpointProblem::Layout { file: SINGLE_FILE.to_owned(), tensor, found, wanted };
            ModelError::Tensors { path: self.dir.clone(), problems: vec![problem] }
        };
        let Some(place) = self.places.get(name) else {
            return Err(refuse("a tensor that was announced".to_owned()));
        };
        let TensorSpec { dtype, shape, .. } = &place.spec;
        let fits = match place.spec.is_late {
            true => tensor.shape == [tensor.bytes.len()] && tensor.bytes.len() <= shape[0],
            false => *shape == tensor.shape && place.spec.bytes() == Some(tensor.bytes.len()),
        };
        if !fits || *dtype != tensor.dtype {
            let at_most = if place.spec.is_late { "at most " } else { "" };
            return Err(refuse(format!("{dtype} {at_most}{shape:?}")));
        }
        if !self.waiting.remove(name) {
            return Err(refuse("every tensor once".to_owned()));
        }
        let staged = &mut self.files[place.file];
        if place.spec.is_late {
            staged.late.insert(name.to_owned(), tensor.clone());
            return Ok(());
        }
        let path = self.dir.join(&staged.name);
        let put = |file: &mut File| {
            file.seek(SeekFrom::Start(place.offset))?;
            file.write_all(&tensor.bytes)
        };
        put(staged.file.as_file_mut()).map_err(ModelError::write(&path))
    }

    /// Flushes the files to the disk and gives them their names, the index last; weights of an earlier checkpoint with
    /// other file names are removed after that.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every tensor that was not written, and [`ModelError::Write`].
    pub fn finish(self) -> Result<(), ModelError> {
        let Self { dir, mut files, mut places, waiting } = self;
        if !waiting.is_empty() {
            let missing = |tensor: String| {
                let wanted = places[&tensor].spec.shape.clone();
                CheckpointProblem::Missing { tensor, wanted }
            };
            let problems = waiting.into_iter().map(missing).collect();
            return Err(ModelError::Tensors { path: dir, problems });
        }
        for staged in &mut files {
            let path = dir.join(&staged.name);
            staged.end(&mut places).map_err(ModelError::write(&path))?;
        }
        let sum =
            |of: &dyn Fn(&TensorSpec) -> usize| places.values().map(|place| of(&place.spec)).sum::<usize>();
        let index = json!({
            "metadata": {
                "total_parameters": sum(&|spec| spec.shape.iter().product()),
                "total_size": sum(&|spec| spec.bytes().unwrap_or(0)),
            },
            "weight_map": places.iter().map(|(name, place)| (name, files[place.file].name.clone()))
                .collect::<BTreeMap<_, _>>(),
        });
        let is_sharded = files.len() > 1;
        let mut written = BTreeSet::new();
        for Staged { name, file, .. } in files {
            let path = dir.join(&name);
            file.as_file().sync_all().map_err(ModelError::write(&path))?;
            file.persist(&path).map_err(|error| ModelError::write(&path)(error.error))?;
            written.insert(name);
        }
        if is_sharded {
            write_atomically(&dir.join(INDEX_FILE), |out| out.write_all(format!("{index:#}\n").as_bytes()))?;
            written.insert(INDEX_FILE.to_owned());
        }
        #[cfg(unix)]
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(ModelError::write(&dir))?;
        remove_other_weights(&dir, &written)
    }
}

impl Staged {
    /// Writes the late tensors behind the others, and the header with their lengths into the room left for it.
    fn end(&mut self, places: &mut BTreeMap<String, Place>) -> io::Result<()> {
        if self.late.is_empty() {
            return Ok(());
        }
        for tensor in &mut self.tensors {
            if let Some(late) = self.late.get(&tensor.name) {
                tensor.shape.clone_from(&late.shape);
            }
            if let Some(place) = places.get_mut(&tensor.name) {
                place.spec = tensor.clone();
            }
        }
        let layout = Layout::new(&self.tensors, &metadata(), self.header_bytes);
        let file = self.file.as_file_mut();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&layout.header)?;
        for (spec, offset) in &layout.tensors {
            if let Some(late) = self.late.get(&spec.name) {
                file.seek(SeekFrom::Start(layout.header.len() as u64 + offset))?;
                file.write_all(&late.bytes)?;
            }
        }
        file.set_len(layout.header.len() as u64 + layout.bytes)
    }
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}
