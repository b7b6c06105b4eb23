//! Where a run begins: which checkpoint it goes on from, and what of the earlier run comes along.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Resume, RunIdentity, TrainConfig, TrainError, TrainerState, atomic, checkpoint};

/// A checkpoint to go on from, inside the output directory.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) path: PathBuf,
    pub(crate) state: TrainerState,
    /// What the user should know about the earlier run.
    pub(crate) warning: Option<String>,
}

/// The checkpoint that `config` goes on from. One outside the output directory is copied into it, with the best
/// validated one beside it: afterwards the run stands on its own.
///
/// # Errors
/// [`TrainError::OutputInUse`] if the output directory holds checkpoints that new ones would be mixed with,
/// [`TrainError::ResumeMismatch`] for a checkpoint of another run, [`TrainError::Checkpoint`] for a position that the run
/// does not come to; errors of files.
pub(crate) fn start(config: &TrainConfig, identity: &RunIdentity) -> Result<Option<Start>, TrainError> {
    let dir = &config.output_dir;
    let present = atomic::checkpoints(dir)?;
    let newest = present.last().map(|(step, _)| *step);
    let in_use = |newest, resume: &str| TrainError::OutputInUse {
        path: dir.clone(),
        newest,
        resume: resume.to_owned(),
    };
    let path = match &config.resume {
        Resume::Never => return newest.map_or(Ok(None), |newest| Err(in_use(newest, "never"))),
        Resume::Auto => match present.last() {
            Some((_, path)) => path.clone(),
            None => return Ok(None),
        },
        Resume::Path(path) => path.clone(),
    };
    let mut state = checkpoint::read_state(&path)?;
    state.identity.check(identity)?;
    state.check(&path)?;
    let source = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let is_inside = same_dir(&source, dir);
    let best = state.best.map(|best| best.step).filter(|step| *step != state.step);
    // What a killed start has copied already may be there.
    let of_this_run = |(step, path): &(u64, PathBuf)| {
        let own = *step == state.step || Some(*step) == best;
        own && checkpoint::read_state(path).is_ok_and(|found| found.identity == state.identity)
    };
    if let Some(newest) = newest.filter(|newest| match is_inside {
        true => *newest > state.step,
        false => !present.iter().all(of_this_run),
    }) {
        return Err(in_use(newest, &path.display().to_string()));
    }
    let mut own = path.clone();
    if !is_inside {
        own = atomic::checkpoint_path(dir, state.step);
        // The best first: until the other is there, the run has not begun here.
        if let Some(step) = best {
            let earlier = atomic::checkpoint_path(&source, step);
            if earlier.is_dir() {
                copy_checkpoint(&earlier, &atomic::checkpoint_path(dir, step))?;
            }
        }
        copy_checkpoint(&path, &own)?;
    }
    let mut warning = None;
    if let Some(step) = best.filter(|step| !atomic::checkpoint_path(dir, *step).is_dir()) {
        state.best = None;
        warning = Some(format!(
            "checkpoint-{step}, the best so far, is not beside {}: the best from here on will count",
            path.display()
        ));
    }
    Ok(Some(Start { path: own, state, warning }))
}

/// Whether two paths lead to one directory; paths that lead nowhere are compared as text.
fn same_dir(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
    };
    real(one) == real(other)
}

fn copy_checkpoint(from: &Path, to: &Path) -> Result<(), TrainError> {
    atomic::write_dir(to, |dir| copy_tree(from, dir).map_err(|source| TrainError::io("copy", from, source)))
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
