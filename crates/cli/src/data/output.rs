//! Where records go.

use std::path::{Path, PathBuf};

use burnisher::data::{JsonlWriter, Record, Shard, ShardWriter};
use clap::Args;

use crate::Outcome;

#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Where the records go, as JSON lines; `.gz` and `.zst` behind the name pack them. With `--shard`, `.places` beside
    /// it is what `burnisher data merge` needs.
    #[arg(short, long)]
    out: PathBuf,
}

impl OutputArgs {
    pub(super) fn create(&self, shard: Option<Shard>) -> Result<Output, Box<dyn std::error::Error>> {
        Output::create(&self.out, shard)
    }
}

/// Records on their way into a file, which appears when all are written.
pub(super) struct Output {
    path: PathBuf,
    count: usize,
    writer: Writer,
}

enum Writer {
    Whole(JsonlWriter),
    Shard(ShardWriter),
}

impl Output {
    pub(super) fn create(path: &Path, shard: Option<Shard>) -> Result<Self, Box<dyn std::error::Error>> {
        make_folder(path)?;
        let writer = match shard {
            None => Writer::Whole(JsonlWriter::create(path)?),
            Some(shard) => Writer::Shard(ShardWriter::create(path, shard)?),
        };
        Ok(Self { path: path.to_path_buf(), count: 0, writer })
    }

    /// Writes a record; `place` is its place in the whole source.
    pub(super) fn write(&mut self, place: u64, record: &Record) -> Outcome {
        self.count += 1;
        match &mut self.writer {
            Writer::Whole(writer) => writer.write(record)?,
            Writer::Shard(writer) => writer.write(place, record)?,
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Outcome {
        match self.writer {
            Writer::Whole(writer) => {
                writer.finish()?;
            }
            Writer::Shard(writer) => writer.finish()?,
        }
        println!("wrote {} records to {}", self.count, self.path.display());
        Ok(())
    }
}

/// Makes the folder that a file will stand in.
pub(super) fn make_folder(path: &Path) -> Outcome {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    }
    Ok(())
}
