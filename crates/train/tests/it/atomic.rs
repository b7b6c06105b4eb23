//! Files and checkpoints that appear whole or not at all: errors, full disks and kills at any moment.

use std::fs;
use std::io;
use std::path::Path;

use burnisher_train::{
    TrainError, checkpoint_path, checkpoints, latest_checkpoint, prune, remove_partials, write_atomic,
    write_dir, write_file,
};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A checkpoint of two files that must agree.
fn save(dir: &Path, step: u64, size: usize) -> Result<(), TrainError> {
    write_dir(&checkpoint_path(dir, step), |inside| {
        let fill = vec![(step % 251) as u8; size];
        write_file(&inside.join("parameters"), &fill)?;
        fs::create_dir(inside.join("adapter")).unwrap();
        write_file(&inside.join("adapter").join("state"), &step.to_le_bytes())
    })
}

fn assert_whole(path: &Path, size: usize) {
    let state = fs::read(path.join("adapter").join("state")).unwrap();
    let step = u64::from_le_bytes(state.try_into().unwrap());
    assert_eq!(path.file_name().unwrap().to_str(), Some(format!("checkpoint-{step}").as_str()));
    assert_eq!(fs::read(path.join("parameters")).unwrap(), vec![(step % 251) as u8; size]);
    assert_eq!(names(path), ["adapter", "parameters"]);
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    write_file(&path, b"old").unwrap();
    write_file(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");

    let error = write_atomic(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no more space"))
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("state.json") && message.ends_with("no more space"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["state.json"]);
}

#[test]
fn a_file_in_no_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    match write_file(&dir.path().join("none").join("file"), b"x") {
        Err(TrainError::Io { path, .. }) => assert!(path.ends_with("none/file")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new").join("out");
    save(&out, 5, 10).unwrap();
    assert_whole(&out.join("checkpoint-5"), 10);

    // A failure leaves the old one of the same name as it is.
    for step in [5, 6] {
        let failed = write_dir(&checkpoint_path(&out, step), |inside| {
            write_file(&inside.join("parameters"), b"half")?;
            write_file(&inside.join("no").join("such"), b"directory")
        });
        assert!(failed.is_err());
        assert_eq!(names(&out), ["checkpoint-5"]);
        assert_whole(&out.join("checkpoint-5"), 10);
    }

    // Written again, it replaces the old one.
    save(&out, 5, 20).unwrap();
    assert_eq!(names(&out), ["checkpoint-5"]);
    assert_whole(&out.join("checkpoint-5"), 20);
}

#[test]
fn the_latest_is_the_largest_number() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(latest_checkpoint(&dir.path().join("none")).unwrap(), None);
    assert_eq!(latest_checkpoint(dir.path()).unwrap(), None);
    for step in [9, 10, 100, 20] {
        save(dir.path(), step, 1).unwrap();
    }
    for other in ["checkpoint-200.partial", "checkpoint-300.deleted", "checkpoint-0400", "best"] {
        fs::create_dir(dir.path().join(other)).unwrap();
    }
    fs::write(dir.path().join("checkpoint-500"), "a file").unwrap();
    assert_eq!(latest_checkpoint(dir.path()).unwrap(), Some(dir.path().join("checkpoint-100")));
    let steps: Vec<u64> = checkpoints(dir.path()).unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [9, 10, 20, 100]);
}

#[test]
fn pruning_keeps_the_newest_and_the_protected() {
    let cases: [(usize, Option<u64>, &[u64]); 6] = [
        (2, None, &[10, 20]),
        (2, Some(2), &[2, 10, 20]),
        (2, Some(20), &[10, 20]),
        (9, None, &[1, 2, 10, 20]),
        (0, Some(1), &[1]),
        (0, None, &[]),
    ];
    for (keep, protect, left) in cases {
        let dir = tempfile::tempdir().unwrap();
        for step in [1, 2, 10, 20] {
            save(dir.path(), step, 1).unwrap();
        }
        prune(dir.path(), keep, protect).unwrap();
        let steps: Vec<u64> = checkpoints(dir.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, left, "keep {keep}, protect {protect:?}");
        assert_eq!(names(dir.path()).len(), left.len());
    }
}

#[test]
fn leftovers_of_a_killed_run_are_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    remove_partials(&dir.join("none")).unwrap();
    save(dir, 1, 1).unwrap();
    save(dir, 2, 1).unwrap();
    save(dir, 3, 1).unwrap();
    fs::create_dir(dir.join("checkpoint-4.partial")).unwrap();
    fs::write(dir.join("checkpoint-4.partial").join("parameters"), "half").unwrap();
    fs::write(dir.join(".state.json.partial"), "half").unwrap();
    // Killed while 1 was removed, after 2 stepped aside, and after 3 was replaced.
    fs::rename(dir.join("checkpoint-1"), dir.join("checkpoint-1.deleted")).unwrap();
    fs::rename(dir.join("checkpoint-2"), dir.join("checkpoint-2.replaced")).unwrap();
    fs::create_dir(dir.join("checkpoint-3.replaced")).unwrap();
    for other in ["notes.partial", "adapter"] {
        fs::write(dir.join(other), "not ours").unwrap();
    }
    remove_partials(dir).unwrap();
    assert_eq!(names(dir), ["adapter", "checkpoint-2", "checkpoint-3", "notes.partial"]);
    assert_whole(&dir.join("checkpoint-2"), 1);
    assert_whole(&dir.join("checkpoint-3"), 1);
}

#[cfg(unix)]
mod processes {
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// The directory in which a child process works; a child is this test binary again.
    const CHILD_DIR: &str = "BURNISHER_TRAIN_ATOMIC_DIR";
    const SIZE: usize = 300_000;

    /// A child that does not outlive its test.
    struct Guarded(Child);

    impl Drop for Guarded {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Runs the ignored test `name` of this binary in `dir`, after the shell commands `before`.
    fn child(name: &str, dir: &Path, before: &str) -> Guarded {
        let child = Command::new("sh")
            .args(["-c", &format!("{before} exec \"$0\" --ignored --exact \"$1\" --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .arg(format!("atomic::processes::{name}"))
            .env(CHILD_DIR, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Guarded(child)
    }

    fn child_dir() -> Option<PathBuf> {
        std::env::var_os(CHILD_DIR).map(PathBuf::from)
    }

    fn newest(dir: &Path) -> u64 {
        checkpoints(dir).unwrap().last().map_or(0, |(step, _)| *step)
    }

    #[test]
    #[ignore = "the child of another test"]
    fn child_saves_until_killed() {
        let Some(dir) = child_dir() else { return };
        remove_partials(&dir).unwrap();
        let mut step = newest(&dir);
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            step += 1;
            save(&dir, step, SIZE).unwrap();
            // Every other one again, to be replaced.
            if step.is_multiple_of(2) {
                save(&dir, step, SIZE).unwrap();
            }
            prune(&dir, 2, None).unwrap();
        }
    }

    #[test]
    fn kills_at_any_moment_leave_whole_checkpoints() {
        let dir = tempfile::tempdir().unwrap();
        let mut before = 0;
        for round in 0..12 {
            let process = child("child_saves_until_killed", dir.path(), "");
            let deadline = Instant::now() + Duration::from_secs(30);
            // Let it get past the last round's checkpoint, then kill it a little later.
            while newest(dir.path()) <= before {
                assert!(Instant::now() < deadline, "the child writes nothing");
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_micros(round * 1700));
            drop(process);
            remove_partials(dir.path()).unwrap();
            let found = checkpoints(dir.path()).unwrap();
            for (_, path) in &found {
                assert_whole(path, SIZE);
            }
            assert_eq!(names(dir.path()).len(), found.len());
            let after = newest(dir.path());
            assert!(after > before, "checkpoint-{before} was there, now the newest is checkpoint-{after}");
            before = after;
        }
    }

    #[test]
    #[ignore = "the child of another test"]
    fn child_runs_into_a_full_disk() {
        let Some(dir) = child_dir() else { return };
        let error = save(&dir, 2, SIZE).unwrap_err();
        let file = dir.join("checkpoint-2.partial").join("parameters");
        match &error {
            TrainError::Io { path, action: "write", source } => {
                assert_eq!(*path, file);
                assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
            }
            other => panic!("{other:?}"),
        }
        assert!(!dir.join("checkpoint-2.partial").exists());
        // Room for something small is left.
        write_file(&dir.join("passed"), b"").unwrap();
    }

    #[test]
    fn a_full_disk_loses_nothing() {
        // 64 blocks of 512 or 1024 bytes. A write beyond them fails with EFBIG if the signal is
        // ignored, and ends the process if not.
        for (limit, passes) in [("trap '' XFSZ; ulimit -f 64;", true), ("ulimit -f 64;", false)] {
            let dir = tempfile::tempdir().unwrap();
            save(dir.path(), 1, SIZE).unwrap();
            let mut process = child("child_runs_into_a_full_disk", dir.path(), limit);
            let status = process.0.wait().unwrap();
            assert!(status.success() || !passes, "{status}");
            assert!(dir.path().join("passed").exists() || !passes);
            remove_partials(dir.path()).unwrap();
            let left: Vec<String> = names(dir.path()).into_iter().filter(|name| name != "passed").collect();
            assert_eq!(left, ["checkpoint-1"]);
            assert_whole(&dir.path().join("checkpoint-1"), SIZE);
        }
    }
}
