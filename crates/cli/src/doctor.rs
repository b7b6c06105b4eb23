//! `burnisher doctor`: what this program and this machine can do, and what is missing and why.

use burnisher::train::machine_memory_bytes;

use crate::Outcome;

/// A backend: feature, whether it is in this build, what it needs.
const BACKENDS: [(&str, bool, &str); 8] = [
    ("flex", cfg!(feature = "flex"), "nothing; the default"),
    ("ndarray", cfg!(feature = "ndarray"), "nothing; deprecated by Burn, prefer flex"),
    ("wgpu", cfg!(feature = "wgpu"), "a GPU driver for Vulkan, Metal or DirectX 12"),
    ("vulkan", cfg!(feature = "vulkan"), "a Vulkan driver"),
    ("metal", cfg!(feature = "metal"), "macOS"),
    ("cuda", cfg!(feature = "cuda"), "an NVIDIA driver; the build downloads LLVM"),
    ("cuda-cpp", cfg!(feature = "cuda-cpp"), "an NVIDIA driver and NVRTC of the CUDA toolkit"),
    ("rocm", cfg!(feature = "rocm"), "an AMD driver and ROCm; the build downloads LLVM"),
];

pub(crate) fn run() -> Outcome {
    println!("burnisher {}\n", env!("CARGO_PKG_VERSION"));
    println!("Backends");
    for (name, built, needs) in BACKENDS {
        match built {
            true => println!("  {name:<9} built in; needs {needs}"),
            false => {
                println!("  {name:<9} missing: built without it; `--features {name}`, which needs {needs}")
            }
        }
    }
    match std::env::var("BURN_DEVICE") {
        Ok(device) => println!("  BURN_DEVICE asks for {device}"),
        Err(_) => println!("  BURN_DEVICE is not set: the first backend of this build is used"),
    }
    // A backend that is asked for and absent, or finds no device, panics inside Burn.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let works = std::panic::catch_unwind(|| {
        let device = burn::tensor::Device::default();
        let sum: f32 = burn::tensor::Tensor::<1>::ones([4], &device).sum().into_scalar();
        (format!("{device:?}"), sum)
    });
    std::panic::set_hook(hook);
    let failed = match works {
        Ok((device, 4.0)) => {
            println!("  in use: {device}, which adds 1 + 1 + 1 + 1 to 4");
            None
        }
        Ok((device, sum)) => Some(format!("{device} adds 1 + 1 + 1 + 1 to {sum}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("no device works: {}", text.unwrap_or("Burn gave no reason")))
        }
    };

    println!("\nProcessor");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("  {} on {}, {threads} threads", std::env::consts::ARCH, std::env::consts::OS);
    for (name, present, without) in instruction_sets() {
        match present {
            true => println!("  {name:<9} yes"),
            false => println!("  {name:<9} missing: {without}"),
        }
    }

    println!("\nMemory");
    match machine_memory_bytes() {
        Some((all, free)) => println!("  {} of {} available", gibibytes(free), gibibytes(all)),
        None => println!("  unknown: this system does not tell by /proc/meminfo"),
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

/// Instruction sets that the CPU backend uses: name, whether this processor has it, what its absence means.
#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> Vec<(&'static str, bool, &'static str)> {
    use std::arch::is_x86_feature_detected as has;
    vec![
        ("AVX2", has!("avx2"), "products run several times slower"),
        ("FMA", has!("fma"), "products run several times slower"),
        ("AVX-512", has!("avx512f"), "products use AVX2, at about half the width"),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> Vec<(&'static str, bool, &'static str)> {
    Vec::new()
}
