//! The card of data files: `cargo run -p burnisher-data --example data_card -- TRAIN [OTHER …]`.
//!
//! Writes card.md, card.json and card.html into target/data_card.

use std::error::Error;

use burnisher_data::{CardConfig, CardSet, DataCard, Record, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let sets: Vec<Vec<Record>> =
        files.iter().map(|file| Source::open(file)?.read()).collect::<Result<_, _>>()?;
    let sets: Vec<CardSet<'_>> =
        files.iter().zip(&sets).map(|(name, records)| CardSet::new(name, records)).collect();
    let card = DataCard::measure(&sets, None, &CardConfig::new())?;
    for path in card.write("target/data_card")? {
        println!("{}", path.display());
    }
    Ok(())
}
