//! How fast JSON lines become records: one by one on one core, and in batches on all.
//!
//! ```text
//! cargo run --release -p burnisher-data --example read_speed [MEGABYTES]
//! ```
//!
//! Writes a file of text records of 1 to 4 KB and one of conversations to a temporary folder, and reads each three times
//! each way. Rates are of the clock and, where the system tells it, of the processor's time of all threads together,
//! which other programs on the machine leave alone. The memory is the process's peak, first after the reading in
//! constant memory.

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
    for kind in [Kind::Text, Kind::Chat] {
        let path = folder.path().join(format!("{kind:?}.jsonl"));
        let bytes = write_records(&path, megabytes * 1_000_000, kind)?;
        measure(&path, bytes as f64 / 1e6, kind)?;
    }
    Ok(())
}

fn measure(path: &Path, megabytes: f64, kind: Kind) -> Result<(), Box<dyn Error>> {
    let rate = |clock: Instant, busy: Option<f64>| {
        let clock = megabytes / clock.elapsed().as_secs_f64();
        let busy = busy.zip(busy_seconds()).map(|(before, after)| megabytes / (after - before));
        let busy = busy.map_or_else(|| "unknown".to_owned(), |busy| format!("{busy:.0}"));
        format!("{clock:.0} MB/s, {busy} MB per second of processor time")
    };
    for _ in 0..3 {
        let (clock, busy) = (Instant::now(), busy_seconds());
        let mut records = 0;
        for record in Source::open(path)?.records()? {
            record?;
            records += 1;
        }
        let rate = rate(clock, busy);
        println!("{kind:?}, one by one: {records} records, {rate}, peak {}", peak_memory());
    }
    for _ in 0..3 {
        let (clock, busy) = (Instant::now(), busy_seconds());
        let records = Source::open(path)?.read()?;
        let rate = rate(clock, busy);
        println!("{kind:?}, all at once, {} threads: {} records, {rate}", threads(), records.len());
    }
    let (clock, busy) = (Instant::now(), busy_seconds());
    let records = IndexedJsonl::open_with(path, &IndexLocation::Memory, Default::default(), None)?;
    println!("{kind:?}, index: {} records, {}", records.len(), rate(clock, busy));
    println!("peak {}", peak_memory());
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Chat,
}

/// Pseudo-random words, about one in eight with an escape.
fn write_records(path: &Path, bytes: usize, kind: Kind) -> Result<usize, Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    let (mut written, mut state) = (0, 1_u64);
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut line = String::new();
    while written < bytes {
        line.clear();
        let mut say = |before: &str, length: usize, after: &str| {
            line.push_str(before);
            let end = line.len() + length;
            while line.len() < end {
                line.push_str(WORDS[draw(WORDS.len())]);
                line.push(' ');
            }
            line.push_str(after);
        };
        match kind {
            Kind::Text => say("{\"text\": \"", 2500, "\", \"source\": \"web\", \"score\": 0.5}\n"),
            Kind::Chat => {
                say("{\"messages\": [{\"role\": \"user\", \"content\": \"", 200, "\"}, ");
                say("{\"role\": \"assistant\", \"content\": \"", 800, "\"}], \"id\": 7}\n");
            }
        }
        file.write_all(line.as_bytes())?;
        written += line.len();
    }
    file.flush()?;
    Ok(written)
}

/// Seconds of the processor that this process took, in steps of 10 ms.
fn busy_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
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
