//! Near-duplicates of 20,000 synthetic documents of about 200 words, 20 % of them near copies: documents per
//! second on one thread and on all.
//!
//! `cargo run --release -p burnisher-data --example dedup_speed [FILE.txt]` — with a file, its words, in its
//! order of pairs, make the documents; else words are made up.

use std::time::Instant;

use burnisher_data::{
    HashFamily, MinHashConfig, NearDuplicateConfig, Shingling, SignatureIndex, Sketch, Verify, WordRule,
    near_duplicates,
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

/// 5,000 made-up words of 2 to 10 letters, or the words of the file that was named.
fn words(random: &mut Random) -> Result<Vec<String>, std::io::Error> {
    if let Some(path) = std::env::args().nth(1) {
        return Ok(std::fs::read_to_string(path)?.split_whitespace().map(str::to_owned).collect());
    }
    let letter = |random: &mut Random| char::from(b'a' + random.below(26) as u8);
    Ok((0..5000).map(|_| (0..2 + random.below(9)).map(|_| letter(random)).collect()).collect())
}

/// Four new documents, then a copy of one of them in which up to 5 % of the words are others.
fn documents(words: &[String], random: &mut Random) -> Vec<String> {
    let mut documents: Vec<Vec<&str>> = Vec::with_capacity(DOCUMENTS);
    while documents.len() < DOCUMENTS {
        let word = |random: &mut Random| words[random.below(words.len())].as_str();
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
    documents.iter().map(|words| words.join(" ")).collect()
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
    let mut random = Random(1);
    let words = words(&mut random)?;
    let texts = documents(&words, &mut random);
    let bytes: usize = texts.iter().map(String::len).sum();
    println!(
        "{} documents, {:.1} MB, {} of them near copies",
        texts.len(),
        bytes as f64 / 1e6,
        texts.len() / 5
    );

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

    let records: Vec<burnisher_data::Record> = (1..)
        .zip(texts)
        .map(|(line, text)| {
            burnisher_data::Record::new(
                burnisher_data::Body::Text(text),
                burnisher_data::Origin::new("made up", line),
            )
        })
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
