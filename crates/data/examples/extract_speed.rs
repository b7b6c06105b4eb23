//! How fast text is cut, aligned and shown.
//!
//! ```text
//! cargo run --release -p burnisher-data --example extract_speed
//! ```

use std::hint::black_box;
use std::time::Instant;

use burnisher_data::extract::{
    AlignConfig, ChunkConfig, Extracted, Extraction, Status, WordTokenizer, chunk_text, render_page,
};

/// Words as frequent as in text: the word of rank r about once in r words.
fn text(words: usize, seed: u64) -> Vec<String> {
    let mut state = seed;
    let mut words: Vec<String> = (0..words)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let even = (state >> 33) as f64 / f64::from(1_u32 << 31);
            format!("w{}", (20_000_f64.powf(even)) as u64)
        })
        .collect();
    words.iter_mut().skip(14).step_by(15).for_each(|word| word.push('.'));
    words
}

fn timed<T>(what: &str, units: f64, unit: &str, work: impl Fn() -> T) -> T {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{what:48} {:10.2} ms {:12.1} {unit}", times[2] * 1e3, units / times[2]);
    work()
}

fn main() {
    let words = text(100_000, 7);
    let source = words.join(" ");
    let megabytes = source.len() as f64 / 1e6;
    for tokenizer in [WordTokenizer::Regex, WordTokenizer::Unicode] {
        timed(&format!("tokens, {tokenizer:?}"), megabytes, "MB/s", || tokenizer.tokenize(&source).len());
    }
    timed("tokens and chunks of 1000", megabytes, "MB/s", || {
        chunk_text(&source, WordTokenizer::Unicode, ChunkConfig::new(1000)).len()
    });
    // Every fifth word is another one: nothing of it is exact.
    let mut fuzzy = words[50_000..50_059].to_vec();
    fuzzy.iter_mut().step_by(5).for_each(|word| *word = "else".to_owned());
    for (name, from, to) in [("1,000 characters", 49_970, 50_130), ("100,000 words", 0, words.len())] {
        let source = words[from..to].join(" ");
        let found = timed(&format!("one fuzzy extraction of 59 words in {name}"), 1.0, "/s", || {
            let mut found = [Extraction::new("c", fuzzy.join(" "))];
            AlignConfig::default().align(&mut found, &source);
            found
        });
        assert_eq!(found[0].status, Status::MatchFuzzy);
    }
    let mut exact: Vec<Extraction> =
        words.chunks(50).map(|part| Extraction::new("c", part[10..13].join(" "))).collect();
    timed("2,000 exact extractions in 100,000 words", exact.len() as f64, "/s", || {
        let mut found = exact.clone();
        AlignConfig::default().align(&mut found, &source);
    });
    AlignConfig::default().align(&mut exact, &source);
    let document = [Extracted::new("1", source.clone(), exact)];
    let page = timed("a page of them", megabytes, "MB/s", || render_page("x", &document));
    println!("the page has {:.1} MB", page.map_or(0, |page| page.len()) as f64 / 1e6);
}
