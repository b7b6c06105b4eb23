//! Measures cleaning on one thread: MB/s of all rules but language identification, then of each step alone. Seconds are those of
//! the thread on a core where Linux tells them, so that other programs matter less.
//!
//! ```text
//! cargo run --release -p burnisher-data --example clean_speed -- [FILE.txt | FILE.jsonl]...
//! ```
//!
//! Documents are made of the paragraphs of the text files and of the string lists `source` of the JSONL files, shuffled; without a
//! file, of made-up sentences.

use std::error::Error;
use std::time::Instant;

use burnisher_data::{
    AlphabetRatio, BoilerplateLines, C4, Citations, CleanOutcome, ControlCharacters, FineWeb, GopherQuality,
    GopherRepetition, Language, Length, Matches, Mojibake, PersonalData, Pipeline, Repetition, Step, Unicode,
    WhiteSpace,
};

/// Bytes of text that are cleaned.
const BYTES: usize = 100_000_000;

/// Bytes of a document, about those of a web page.
const DOCUMENT: usize = 3000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paragraphs = Vec::new();
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        if path.ends_with(".jsonl") {
            for line in text.lines() {
                let value: serde_json::Value = serde_json::from_str(line)?;
                let sentences = value["source"].as_array().into_iter().flatten();
                let sentences: Vec<&str> = sentences.filter_map(|sentence| sentence.as_str()).collect();
                paragraphs.extend(sentences.chunks(3).map(|part| part.join(" ")));
            }
        } else {
            let text = text.replace("\r\n", "\n");
            paragraphs.extend(text.split("\n\n").filter(|part| part.len() > 40).map(str::to_owned));
        }
    }
    let mut random = Random(7);
    if paragraphs.is_empty() {
        paragraphs = (0..2000).map(|_| made_up(&mut random)).collect();
    }
    let documents = documents(&paragraphs, &mut random);
    let bytes: usize = documents.iter().map(String::len).sum();
    println!("{} documents, {:.1} MB", documents.len(), bytes as f64 / 1e6);

    let steps: Vec<Step> = vec![
        Mojibake::new().into(),
        ControlCharacters::new().into(),
        Unicode::new().into(),
        WhiteSpace::new().into(),
        BoilerplateLines::new().into(),
        Citations::new().into(),
        PersonalData::new().into(),
        GopherRepetition::new().into(),
        GopherQuality::new().into(),
        C4::new().with_terminal_punctuation(false).into(),
        FineWeb::new().into(),
        Repetition::new().into(),
        Length::new().with_min_words(5).into(),
        Matches::new().with_patterns(vec!["lorem ipsum".to_owned()]).into(),
        AlphabetRatio::new().into(),
    ];
    let all = steps.iter().cloned().fold(Pipeline::builder(), |builder, step| builder.step(step)).build()?;
    measure("all rules but language", &all, &documents, bytes);
    for step in steps.into_iter().chain([Language::new().into()]) {
        let name = step.name();
        measure(name, &Pipeline::builder().step(step).build()?, &documents, bytes);
    }
    Ok(())
}

fn measure(name: &str, pipeline: &Pipeline, documents: &[String], bytes: usize) {
    let (start, clock) = (Instant::now(), core_seconds());
    let kept =
        documents.iter().filter(|text| matches!(pipeline.clean_text(text), CleanOutcome::Kept(_))).count();
    let passed = start.elapsed().as_secs_f64();
    let seconds = clock.zip(core_seconds()).map_or(passed, |(from, to)| to - from);
    let share = 100.0 * kept as f64 / documents.len() as f64;
    println!("{name:24} {:8.1} MB/s   {share:5.1} % kept", bytes as f64 / 1e6 / seconds);
}

/// Seconds that this thread has been on a core.
fn core_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

fn documents(paragraphs: &[String], random: &mut Random) -> Vec<String> {
    let mut documents = Vec::new();
    let mut bytes = 0;
    while bytes < BYTES {
        let mut text = String::with_capacity(DOCUMENT + 1000);
        let wanted = DOCUMENT / 2 + random.below(DOCUMENT);
        while text.len() < wanted {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&paragraphs[random.below(paragraphs.len())]);
        }
        bytes += text.len();
        documents.push(text);
    }
    documents
}

fn made_up(random: &mut Random) -> String {
    const WORDS: [&str; 24] = [
        "the",
        "river",
        "of",
        "a",
        "town",
        "and",
        "had",
        "with",
        "weather",
        "engineer",
        "found",
        "that",
        "bridge",
        "to",
        "be",
        "measured",
        "when",
        "water",
        "rose",
        "quickly",
        "have",
        "seldom",
        "instrument",
        "against",
    ];
    let sentence = |random: &mut Random| {
        let words: Vec<&str> = (0..8 + random.below(14)).map(|_| WORDS[random.below(WORDS.len())]).collect();
        format!("{}.", words.join(" "))
    };
    (0..3 + random.below(4)).map(|_| sentence(random)).collect::<Vec<_>>().join(" ")
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
