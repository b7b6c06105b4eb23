//! Tests of the workspace as a whole.

mod external;
mod floors;
mod readme;

use std::path::{Path, PathBuf};

/// The folder that holds the workspace's `Cargo.toml`.
fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/burnisher stands two folders below the root")
        .to_path_buf()
}
