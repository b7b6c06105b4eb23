//! `kill -9` and a full disk: nothing that was saved is lost, and the run goes on.

use std::{fs, path::Path, process::Stdio, thread::sleep, time::Duration};

use crate::support::{program, small_run, succeed};

fn parameters(dir: &Path, step: u64) -> Vec<u8> {
    fs::read(dir.join(format!("out/checkpoint-{step}/parameters.safetensors")))
        .expect("a complete checkpoint")
}

/// Starts a run and kills it (SIGKILL on Unix) as soon as it has written the checkpoint of `step`, or a later one.
pub(crate) fn kill_after(config: &Path, out: &Path, step: u64) {
    let mut child = program()
        .args(["train", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let steps = || -> Vec<u64> {
        let names = fs::read_dir(out).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()).collect()
    };
    let mut saved = false;
    for _ in 0..24_000 {
        saved = steps().iter().any(|found| *found >= step);
        if saved {
            break;
        }
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(saved, "no checkpoint of step {step} within two minutes");
    assert!(!status.success(), "the run was done before it could be killed");
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = "max_steps = 24\nsave_every = 1\nkeep_checkpoints = 3";
    let config = small_run(whole.path(), 30, options);
    succeed(&["train", config.to_str().unwrap()]);
    let config = small_run(killed.path(), 30, options);
    for step in [2, 5, 6, 11] {
        kill_after(&config, &killed.path().join("out"), step);
    }
    let (_, err) = succeed(&["train", config.to_str().unwrap()]);
    assert!(err.contains("resumed at step"), "{err}");
    assert!(parameters(whole.path(), 24) == parameters(killed.path(), 24), "resumed parameters differ");
    let adapter = |dir: &Path| fs::read(dir.join("out/adapter/adapter_model.safetensors")).unwrap();
    assert!(adapter(whole.path()) == adapter(killed.path()), "adapters differ");
}

/// A file system that is really full, where the test may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_stops_the_run_with_its_checkpoints_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 30, "max_steps = 6\nsave_every = 2");
    fs::create_dir(dir.path().join("out")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=240k none {out} || {{ echo no-mount; exit 0; }}; {binary} train {config} >{log} 2>&1; \
         echo status $?; ls {out}; cp {out}/checkpoint-2/trainer_state.json {kept}",
        out = dir.path().join("out").display(),
        binary = env!("CARGO_BIN_EXE_burnisher"),
        config = config.display(),
        log = dir.path().join("log").display(),
        kept = dir.path().join("kept").display(),
    );
    // A mount namespace of its own: nothing is mounted for anyone else, and it is gone with the process.
    let command = ["--mount", "--map-root-user", "--user", "bash", "-c", &script];
    let output = std::process::Command::new("unshare").args(command).env("BURN_DEVICE", "flex").output();
    let Ok(output) = output else { return println!("skipped: no `unshare`") };
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("no-mount") || !output.status.success() && text.is_empty() {
        return println!("skipped: no permission to mount a tmpfs");
    }
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(text.contains("status 1") && text.contains("checkpoint-2\n"), "{text}\n{log}");
    assert!(log.contains("cannot") && log.contains("No space left"), "{log}");
    assert!(fs::read_to_string(dir.path().join("kept")).unwrap().contains("\"step\": 2"));
}

#[test]
fn a_full_disk_stops_the_run_with_its_checkpoints_whole() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 30, "max_steps = 6\nsave_every = 2");
    succeed(&["train", config.to_str().unwrap(), "--set", "train.max_steps=6"]);
    let before = parameters(dir.path(), 6);
    fs::remove_dir_all(dir.path().join("out/checkpoint-6")).unwrap();
    // 16 KiB per file: the parameters of a checkpoint do not fit.
    let binary = env!("CARGO_BIN_EXE_burnisher");
    let script = format!("trap '' XFSZ; ulimit -f 16; exec {binary} train {}", config.display());
    let output =
        std::process::Command::new("bash").args(["-c", &script]).env("BURN_DEVICE", "flex").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot") && error.contains("checkpoint-6"), "{error}");
    let left: Vec<_> =
        fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().any(|name| name == "checkpoint-4"), "{left:?}");
    assert!(!left.iter().any(|name| name == "checkpoint-6"), "{left:?}");
    succeed(&["train", config.to_str().unwrap()]);
    assert!(parameters(dir.path(), 6) == before, "the run went on");
}
