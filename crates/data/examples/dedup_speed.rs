//! Near-duplicates among 20,000 made-up documents of about 200 words, 4,000 of them near copies: documents per
//! second, from text to clusters, on one thread and on all.
//!
//! `cargo run --release -p burnisher-data --example dedup_speed [DOCUMENTS.jsonl]`: with a file, which holds one
//! JSON string a line, the documents are read instead of made up.

use std::time::Instant;

use burnisher_data::{
    Body, HashFamily, MinHashConfig, NearDuplicateConfig, Origin, Record, Shingling, SignatureIndex, Sketch,
    Verify, WordRule, near_duplicates,
};

const DOCUMENTS: usize = 20_000;
const RUNS: usize = 3;

/// splitmix64 (Steele, Lea, Flood 2014, in Vigna's version).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut state = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// The lines of the file that was named, or four new documents of made-up words, then a copy of one of them in
/// which up to 5 % of the words are others, and so on.
fn documents() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args().nth(1) {
        let lines = std::fs::read_to_string(path)?;
        return Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?);
    }
    let random = &mut Random(1);
    let letter = |random: &mut Random| char::from(b'a' + random.below(26) as u8);
    let words: Vec<String> =
        (0..5000).map(|_| (0..2 + random.below(9)).map(|_| letter(random)).collect()).collect();
    let word = |random: &mut Random| words[random.below(words.len())].as_str();
    let mut documents: Vec<Vec<&str>> = Vec::with_capacity(DOCUMENTS);
    while documents.len() < DOCUMENTS {
        if documents.len() % 5 < 4 {
            let length = 150 + random.below(101);
            documents.push((0..length).map(|_| word(random)).collect());
        } else {
            let mut copy = documents[documents.len() - 1 - random.below(4)].clone();
            for _ in 0..random.below(copy.len() / 20 + 1) {
                let place = random.below(copy.len());
                copy[place] = word(random);
            }
            documents.push(copy);
        }
    }
    Ok(documents.iter().map(|words| words.join(" ")).collect())
}

/// The fastest of some runs, in documents per second, and the texts that would be removed.
fn rate(texts: &[String], config: &NearDuplicateConfig, threads: usize) -> (f64, usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
    let mut best = f64::INFINITY;
    let mut removed = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let clusters = pool.install(|| near_duplicates(texts, config)).expect("the configuration is valid");
        best = best.min(start.elapsed().as_secs_f64());
        removed = texts.len() - clusters.count();
    }
    (texts.len() as f64 / best, removed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts = documents()?;
    let bytes: usize = texts.iter().map(String::len).sum();
    println!("{} documents, {:.1} MB", texts.len(), bytes as f64 / 1e6);

    let new = NearDuplicateConfig::new;
    let datasketch = MinHashConfig::datasketch(128);
    let characters = MinHashConfig::default().with_shingling(Shingling::characters(9));
    let rows = [
        ("fast, 128 permutations", new(0.7)),
        ("fast, not verified", new(0.7).with_verify(Verify::None)),
        ("fast, verified by shingles", new(0.7).with_verify(Verify::Exact)),
        ("fast, 256 permutations", new(0.7).with_minhash(MinHashConfig::new(256))),
        ("fast, 9 characters", new(0.7).with_minhash(characters)),
        ("datasketch affine32", new(0.7).with_minhash(datasketch)),
        ("datasketch legacy", new(0.7).with_minhash(datasketch.with_family(HashFamily::DatasketchLegacy))),
        (
            "datatrove, letters",
            new(0.7).with_minhash(MinHashConfig::new(112).with_family(HashFamily::Datatrove)),
        ),
        ("fast, Python's words", {
            let shingling = Shingling::default().with_words(WordRule::NonWord);
            new(0.7).with_minhash(MinHashConfig::default().with_shingling(shingling))
        }),
        ("SimHash, 3 bits", NearDuplicateConfig::simhash(3)),
    ];
    let all = std::thread::available_parallelism()?.get();
    println!("{:28} {:>14} {:>14} {:>9}", "", "docs/s, 1 thr", format!("docs/s, {all} thr"), "removed");
    for (name, config) in rows {
        let ((one, removed), (many, same)) = (rate(&texts, &config, 1), rate(&texts, &config, all));
        assert_eq!(removed, same, "threads change nothing");
        println!("{name:28} {one:>14.0} {many:>14.0} {removed:>9}");
    }

    let records: Vec<Record> = (1..)
        .zip(texts)
        .map(|(line, text)| Record::new(Body::Text(text), Origin::new("made up", line)))
        .collect();
    let path = std::env::temp_dir().join(format!("dedup-speed-{}.sig", std::process::id()));
    let mut index = SignatureIndex::new(Sketch::MinHash(MinHashConfig::default()))?;
    index.extend(&records);
    let start = Instant::now();
    index.save(&path)?;
    let saved = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let loaded = SignatureIndex::load(&path)?;
    let seconds = start.elapsed().as_secs_f64();
    let size = std::fs::metadata(&path)?.len();
    std::fs::remove_file(&path)?;
    assert_eq!(loaded, index);
    println!("signature file: {:.1} MB, written in {saved:.3} s, read in {seconds:.3} s", size as f64 / 1e6);
    Ok(())
}
