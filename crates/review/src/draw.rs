//! Random draws that depend on what they decide, never on when they are made.

use sha2::{Digest, Sha256};

/// 128 random bits for (seed, purpose, parts): the beginning of a SHA-256 over all of them, each with its
/// length, so that no two lists of parts run together.
pub(crate) fn draw(seed: u64, purpose: &str, parts: &[&str]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    for part in std::iter::once(&purpose).chain(parts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
