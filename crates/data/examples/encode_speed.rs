//! How fast records become tokens, beside `encode_batch` of the crate `tokenizers` on the same texts.
//!
//! ```text
//! cargo run --release -p burnisher-data --example encode_speed -- tokenizer.json text.txt
//! ```
//!
//! Eight lines of the text file are a record. The two sides run in turn, each time in a process of its own: what
//! `encode_batch` leaves of the heap slows down whatever runs after it. Medians of all runs are printed.

use std::error::Error;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use burnisher_data::{Body, EncodeConfig, Encoder, Origin, Record, Tokenizer};

/// Processes for each side, and runs in each, of which the first is not counted.
const PROCESSES: usize = 5;
const RUNS: usize = 4;
const LINES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [tokenizer, text] => compare(tokenizer, text),
        [tokenizer, text, side] if side == "own" || side == "batch" => run(tokenizer, &texts(text)?, side),
        _ => Err("usage: encode_speed tokenizer.json text.txt".into()),
    }
}

fn compare(tokenizer: &str, text: &str) -> Result<(), Box<dyn Error>> {
    println!("{} records", texts(text)?.len());
    let sides = ["own", "batch"];
    let mut rates = [const { Vec::new() }; 2];
    for _ in 0..PROCESSES {
        for (side, rates) in sides.iter().zip(&mut rates) {
            let output = Command::new(env::current_exe()?).args([tokenizer, text, side]).output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            for rate in String::from_utf8(output.stdout)?.lines() {
                rates.push(rate.parse::<f64>()?);
            }
        }
    }
    let [own, batch] = rates.map(median);
    println!("Encoder::encode_all        {:>8.0} thousand tokens/s", own / 1e3);
    println!("tokenizers' encode_batch   {:>8.0} thousand tokens/s", batch / 1e3);
    println!("ratio                      {:>8.2}", own / batch);
    Ok(())
}

/// Prints tokens per second of each run but the first.
fn run(tokenizer: &str, texts: &[String], side: &str) -> Result<(), Box<dyn Error>> {
    let own = Tokenizer::from_file(tokenizer)?;
    let encoder = Encoder::new(&own, EncodeConfig::untruncated())?;
    let theirs = tokenizers::Tokenizer::from_file(tokenizer).map_err(|error| error.to_string())?;
    let record = |(number, text): (usize, &String)| {
        Record::new(Body::Text(text.clone()), Origin::new("text", number + 1))
    };
    let records: Vec<Record> = texts.iter().enumerate().map(record).collect();
    for run in 0..RUNS {
        let start = Instant::now();
        let (tokens, seconds) = if side == "own" {
            let tokens = encoder.encode_all(&records)?.report.tokens;
            (tokens, start.elapsed().as_secs_f64())
        } else {
            let inputs = texts.iter().map(String::as_str).collect();
            let encodings = theirs.encode_batch(inputs, true).map_err(|error| error.to_string())?;
            let seconds = start.elapsed().as_secs_f64();
            (encodings.iter().map(|encoding| encoding.get_ids().len()).sum(), seconds)
        };
        if run > 0 {
            println!("{}", tokens as f64 / seconds);
        }
    }
    Ok(())
}

fn texts(path: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    Ok(lines.chunks(LINES).map(|lines| lines.join("\n")).collect())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
