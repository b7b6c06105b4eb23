//! Times of three metrics on synthetic text, for a comparison with the Python tools on the same machine.
//!
//! `cargo run --release -p burnisher-eval --example metric_speed`

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use burnisher_eval::{
    BleuConfig, CorpusMetric, PairedTestConfig, Pcg64, RougeConfig, RougeType, SegmentStatistics,
    resampled_score,
};

const WORDS: usize = 8000;
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut generator = Pcg64::new(1);
    let pairs = |count: usize, lengths: std::ops::Range<u32>, noise: f64, generator: &mut Pcg64| {
        let row = |_| {
            let words = lengths.start + generator.below(lengths.end - lengths.start);
            let reference: Vec<String> = (0..words).map(|_| word(generator)).collect();
            let prediction: Vec<String> = reference
                .iter()
                .filter_map(|word_there| {
                    let changed = generator.next_f64() < noise;
                    let word = if changed { word(generator) } else { word_there.clone() };
                    (generator.next_f64() >= noise / 3.0).then_some(word)
                })
                .collect();
            (prediction, reference)
        };
        (0..count).map(row).collect::<Vec<_>>()
    };

    // 10,000 sentences of 12 to 36 words, a quarter of them changed.
    let sentences = pairs(10_000, 12..37, 0.25, &mut generator);
    let predictions: Vec<String> = sentences.iter().map(|(words, _)| words.join(" ")).collect();
    let references: Vec<Vec<String>> = sentences.iter().map(|(_, words)| vec![words.join(" ")]).collect();
    let bleu = BleuConfig::new().init()?;
    let score = bleu.corpus(&predictions, &references)?;
    report("corpus BLEU, 10,000 pairs", || bleu.corpus(&predictions, &references))?;
    println!("  {score}");

    // 2,000 pairs of 200 words in lines of 20, half of them changed.
    let lines = |words: &[String]| words.chunks(20).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n");
    let texts = pairs(2_000, 200..201, 0.5, &mut generator);
    let summaries: Vec<String> = texts.iter().map(|(words, _)| lines(words)).collect();
    let wanted: Vec<Vec<String>> = texts.iter().map(|(_, words)| vec![lines(words)]).collect();
    for stem in [false, true] {
        let rouge = RougeConfig::new().with_use_stemmer(stem).init()?;
        let name =
            if stem { "ROUGE-1/2/L/Lsum stemmed, 2,000 pairs" } else { "ROUGE-1/2/L/Lsum, 2,000 pairs" };
        report(name, || rouge.corpus(&summaries, &wanted))?;
        println!("  ROUGE-L {:.4}", rouge.corpus(&summaries, &wanted)?[&RougeType::L].fmeasure);
    }

    // 1,000 resamples of 2,000 segments: one system with its counting, and two systems already counted.
    let (few, few_references) = (&predictions[..2_000], &references[..2_000]);
    let statistics = SegmentStatistics::new(&bleu, few, few_references)?;
    report("BLEU with 1,000 resamples of 2,000 segments", || {
        let statistics = SegmentStatistics::new(&bleu, few, few_references)?;
        resampled_score(&bleu, &statistics, 1000, 12345)
    })?;
    let other = SegmentStatistics::new(&bleu, &predictions[2_000..4_000], few_references)?;
    report("paired bootstrap, 1,000 resamples of 2,000 segments", || {
        PairedTestConfig::new().run(&bleu, &statistics, &other)
    })?;
    println!("  BLEU {:.2} and {:.2}", bleu.score_of(&statistics.sums()), bleu.score_of(&other.sums()));
    Ok(())
}

/// Words by Zipf's law, some with a comma or a full stop behind them.
fn word(generator: &mut Pcg64) -> String {
    let rank = ((WORDS as f64).powf(generator.next_f64()) - 1.0) as u32;
    let syllables = ["ka", "to", "mi", "ren", "sal", "do", "vi", "pel", "nu", "gar"];
    let mut word: String =
        rank.to_string().bytes().map(|digit| syllables[usize::from(digit - b'0')]).collect();
    match generator.below(20) {
        0 => word.push(','),
        1 => word.push('.'),
        _ => {}
    }
    word
}

fn report<T, E>(name: &str, mut run: impl FnMut() -> Result<T, E>) -> Result<(), E> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        black_box(run()?);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.4} s (median of {RUNS}, {:.4} to {:.4})",
        times[RUNS / 2],
        times[0],
        times[RUNS - 1]
    );
    Ok(())
}
