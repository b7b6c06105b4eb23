//! The device of a training bench, and what is held on a GPU.

use std::{
    error::Error,
    process::Command,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use burn::tensor::Device;
use clap::ValueEnum;

/// Between two looks at the GPU's memory.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where a model is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The processor, with Burn's Flex.
    Flex,
    /// The first NVIDIA GPU; needs a build with the feature cuda.
    Cuda,
}

impl Backend {
    /// The backend's first device.
    ///
    /// # Errors
    /// A text that names the feature which this build lacks.
    pub fn open(self) -> Result<Device, Box<dyn Error>> {
        match self {
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => Err("--device cuda: this build lacks the feature `cuda`; wanted `cargo bench -p \
                               burnisher-benches --features cuda` (or `cuda,cuda-cpp`)"
                .into()),
        }
    }
}

/// Looks at the first GPU's memory twice a second, whoever holds it, until it is asked for the most.
#[derive(Debug)]
pub struct GpuWatch {
    stop: Sender<()>,
    thread: JoinHandle<Option<u64>>,
}

impl GpuWatch {
    /// Starts to look.
    pub fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut peak = used_mb();
            while peak.is_some() && stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(used_mb());
            }
            peak.max(used_mb())
        });
        Self { stop, thread }
    }

    /// The most that was seen, in MiB; `None` without nvidia-smi.
    pub fn finish(self) -> Option<u64> {
        drop(self.stop);
        self.thread.join().ok().flatten()
    }
}

fn used_mb() -> Option<u64> {
    let query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(query).output().ok().filter(|it| it.status.success())?;
    first_number(&String::from_utf8_lossy(&output.stdout))
}

/// nvidia-smi prints a line for each GPU.
fn first_number(text: &str) -> Option<u64> {
    text.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gpu_counts() {
        assert_eq!(first_number("81559\n12\n"), Some(81_559));
        assert_eq!(first_number("[N/A]\n"), None);
        assert_eq!(first_number(""), None);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_names_the_feature() {
        let error = Backend::Cuda.open().err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("--features cuda")));
    }
}
