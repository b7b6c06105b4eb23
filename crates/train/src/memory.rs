//! Memory of this process and this machine.

/// The most memory that this process has held so far, in bytes; `None` where the system does not tell (it does on Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// Lets [`peak_memory_bytes`] count from now on; false where the system does not allow it (Linux does).
pub(crate) fn reset_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Memory of this machine in bytes: all, and what new programs could take.
pub fn machine_memory_bytes() -> Option<(u64, u64)> {
    Some((kibibytes("/proc/meminfo", "MemTotal:")?, kibibytes("/proc/meminfo", "MemAvailable:")?))
}

/// A line such as `VmHWM:   1234 kB`.
fn kibibytes(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_grows_with_what_is_held() {
        let before = peak_memory_bytes().expect("Linux tells");
        let held = vec![1u8; 64 << 20];
        let after = peak_memory_bytes().expect("Linux tells");
        assert!(held.iter().map(|&byte| u64::from(byte)).sum::<u64>() == 64 << 20);
        assert!(after >= before + (32 << 20), "{before} -> {after}");
        let (all, free) = machine_memory_bytes().expect("Linux tells");
        assert!(free <= all && after < all);
    }
}
