//! How fast JSON lines become records: one by one on one core, and in batches on all.
//!
//! ```text
//! cargo run --release -p burnisher-data --example read_speed [MEGABYTES]
//! ```
//!
//! Writes a file of text records of 1 to 4 KB to a temporary folder and reads it three times each way; the memory is the
//! process's peak after the reading in constant memory, before the one that keeps all records.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use burnisher_data::{IndexLocation, IndexedJsonl, Source};

const WORDS: [&str; 16] = [
    "the",
    "model",
    "of",
    "water",
    "\\\"quoted\\\"",
    "learns",
    "from",
    "größer",
    "every",
    "record",
    "and",
    "line.\\n",
    "then",
    "forgets",
    "it",
    "again,",
];

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes: usize = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("records.jsonl");
    let bytes = write_records(&path, megabytes * 1_000_000)?;
    let rate = |start: Instant| bytes as f64 / 1e6 / start.elapsed().as_secs_f64();

    for _ in 0..3 {
        let start = Instant::now();
        let mut records = 0;
        for record in Source::open(&path)?.records()? {
            records += record?.trained_text().len().min(1);
        }
        println!("one by one: {records} records, {:.0} MB/s, peak {}", rate(start), peak_memory());
    }
    for _ in 0..3 {
        let start = Instant::now();
        let records = Source::open(&path)?.read()?.len();
        println!("all at once, {} threads: {records} records, {:.0} MB/s", threads(), rate(start));
    }
    let start = Instant::now();
    let records = IndexedJsonl::open_with(&path, &IndexLocation::Memory, Default::default(), None)?;
    println!("index: {} records, {:.0} MB/s", records.len(), rate(start));
    println!("peak {}", peak_memory());
    Ok(())
}

/// Pseudo-random words, about one in eight with an escape.
fn write_records(path: &Path, bytes: usize) -> Result<usize, Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut written, mut state) = (0, 1_u64);
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut line = String::new();
    while written < bytes {
        line.clear();
        line.push_str("{\"text\": \"");
        let length = 1000 + draw(3000);
        while line.len() < length {
            line.push_str(WORDS[draw(WORDS.len())]);
            line.push(' ');
        }
        line.push_str(&format!("\", \"source\": \"web\", \"score\": 0.{}}}\n", draw(1000)));
        file.write_all(line.as_bytes())?;
        written += line.len();
    }
    file.flush()?;
    Ok(written)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// `VmHWM` of this process, where the system tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "memory unknown".to_owned(), |line| line.trim().to_owned())
}
