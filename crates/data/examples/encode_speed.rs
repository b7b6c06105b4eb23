//! How fast records become tokens, beside `encode_batch` of the crate `tokenizers` on the same texts.
//!
//! ```text
//! cargo run --release -p burnisher-data --example encode_speed -- tokenizer.json text.txt
//! ```
//!
//! Eight lines of the text file are a record. Both sides run in turn, and medians of seven runs are printed.

use std::error::Error;
use std::time::Instant;
use std::{env, fs};

use burnisher_data::{Body, EncodeConfig, Encoder, Origin, Record, Tokenizer};

const RUNS: usize = 7;
const LINES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let (Some(tokenizer_path), Some(text_path)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err("usage: encode_speed tokenizer.json text.txt".into());
    };
    let text = fs::read_to_string(&text_path)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let texts: Vec<String> = lines.chunks(LINES).map(|lines| lines.join("\n")).collect();
    let record = |(number, text): (usize, &String)| {
        Record::new(Body::Text(text.clone()), Origin::new(text_path.as_str(), number + 1))
    };
    let records: Vec<Record> = texts.iter().enumerate().map(record).collect();
    println!("{} records, {} bytes", records.len(), text.len());

    let tokenizer = Tokenizer::from_file(&tokenizer_path)?;
    let encoder = Encoder::new(&tokenizer, EncodeConfig::untruncated())?;
    let theirs = tokenizers::Tokenizer::from_file(&tokenizer_path).map_err(|error| error.to_string())?;

    let (mut own_rates, mut batch_rates) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        let tokens = encoder.encode_all(&records)?.report.tokens;
        own_rates.push(tokens as f64 / start.elapsed().as_secs_f64());

        let start = Instant::now();
        let encodings = theirs
            .encode_batch(texts.iter().map(String::as_str).collect(), true)
            .map_err(|error| error.to_string())?;
        let tokens: usize = encodings.iter().map(|encoding| encoding.get_ids().len()).sum();
        batch_rates.push(tokens as f64 / start.elapsed().as_secs_f64());
    }
    let (own, batch) = (median(own_rates), median(batch_rates));
    println!("Encoder::encode_all          {:>8.0} thousand tokens/s", own / 1e3);
    println!("tokenizers' encode_batch     {:>8.0} thousand tokens/s", batch / 1e3);
    println!("ratio                        {:>8.2}", own / batch);
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
