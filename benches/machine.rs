//! What a measurement ran on, and what memory it took. Sizes are MiB; what the system does not tell is null.

use std::fs;

use burnisher::train::peak_memory_bytes;
use serde_json::{Value, json};

/// The memory of this process before and during training.
#[derive(Clone, Copy, Debug)]
pub struct MemoryWatch {
    after_model: Option<f64>,
    model_peak: Option<f64>,
    is_reset: bool,
}

/// Numbers of a [`MemoryWatch`].
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The most that the process held, making the model included (VmHWM).
    pub peak_mb: Option<f64>,
    /// The most until the model was ready.
    pub model_peak_mb: Option<f64>,
    /// What it held when the model was ready (VmRSS).
    pub after_model_mb: Option<f64>,
    /// The most since then; unknown where the peak could not be started anew.
    pub train_peak_mb: Option<f64>,
    /// The most since then (or, if unknown, the most of all) above `after_model_mb`.
    pub growth_mb: Option<f64>,
}

impl MemoryWatch {
    /// Notes what the ready model takes, and starts the peak anew.
    pub fn start() -> Self {
        let model_peak = peak_mb();
        Self { after_model: resident_mb(), model_peak, is_reset: reset_peak() }
    }

    /// The numbers so far.
    pub fn read(&self) -> Memory {
        let peak = peak_mb();
        let larger = |(a, b): (f64, f64)| a.max(b);
        Memory {
            peak_mb: peak.zip(self.model_peak).map(larger),
            model_peak_mb: self.model_peak,
            after_model_mb: self.after_model,
            train_peak_mb: peak.filter(|_| self.is_reset),
            growth_mb: peak.zip(self.after_model).map(|(peak, model)| peak - model),
        }
    }
}

fn peak_mb() -> Option<f64> {
    Some(peak_memory_bytes()? as f64 / 1024.0 / 1024.0)
}

fn resident_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// Sets VmHWM to VmRSS (proc(5), `clear_refs`); false where that is not allowed.
fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The processor's name and those of its instruction sets that matter here.
pub fn cpu() -> Value {
    json!({ "model": cpu_model(), "instruction_sets": instruction_sets() })
}

/// The name with family and model, because virtual machines shorten names to `AMD EPYC`.
fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let name = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    })
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;

    let known = [
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avx512f", has!("avx512f")),
        ("avx512bf16", has!("avx512bf16")),
    ];
    known.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> Vec<&'static str> {
    Vec::new()
}

/// The versions that were built in.
pub fn versions() -> Value {
    // All crates of the workspace have one version; Burn's is pinned, so the lock file has one entry of that name.
    let lock = include_str!("../Cargo.lock");
    let burn = lock.split_once("name = \"burn\"\nversion = \"").and_then(|(_, rest)| rest.split_once('"'));
    json!({ "burnisher": env!("CARGO_PKG_VERSION"), "burn": burn.map(|(version, _)| version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_burns_version() {
        assert!(versions()["burn"].as_str().is_some_and(|version| version.starts_with("0.")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn growth_is_what_came_after_the_model() {
        let watch = MemoryWatch::start();
        let held = vec![1u8; 64 << 20];
        assert_eq!(held.iter().map(|&byte| usize::from(byte)).sum::<usize>(), held.len());
        let memory = watch.read();
        assert!(memory.growth_mb.is_some_and(|growth| growth > 60.0), "{memory:?}");
        assert!(memory.peak_mb >= memory.model_peak_mb, "{memory:?}");
    }
}
