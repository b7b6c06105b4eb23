//! Writes the data files under `assets`: the three sets of the finance task and the general tasks that forgetting is
//! measured on. The same seed gives the same files.
//!
//! ```sh
//! cargo run --release --example make_data
//! ```

use burnisher_examples::{assets::data_files, generate::write_jsonl};

fn main() -> std::io::Result<()> {
    for (path, rows) in data_files() {
        write_jsonl(&path, &rows)?;
        println!("{}: {} records", path.display(), rows.len());
    }
    Ok(())
}
