//! Times of three metrics, for a comparison with the Python tools on the same machine and one core each.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p burnisher-eval --example metric_speed [FOLDER]`
//!
//! FOLDER holds `bleu10k.jsonl`, a prediction and a reference a line, and `rouge2k.jsonl`, a reference and a
//! prediction a line, as `["text", "text"]`. Without it the texts are made up.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use burnisher_eval::{
    BleuConfig, PairedTestConfig, Pcg64, RougeConfig, RougeType, SegmentStatistics, resampled_score,
};

type Pairs = Vec<(String, String)>;

const WORDS: usize = 8000;
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1);
    let (sentences, texts) = match &folder {
        Some(folder) => (
            read(&format!("{folder}/bleu10k.jsonl"))?,
            read(&format!("{folder}/rouge2k.jsonl"))?.into_iter().map(|(a, b)| (b, a)).collect(),
        ),
        None => made_up(),
    };
    let split = |pairs: Vec<(String, String)>| -> (Vec<String>, Vec<Vec<String>>) {
        pairs.into_iter().map(|(prediction, reference)| (prediction, vec![reference])).unzip()
    };

    // 10,000 sentences of 12 to 36 words, a quarter of them changed.
    let (predictions, references) = split(sentences);
    let bleu = BleuConfig::new().init()?;
    let score = bleu.corpus(&predictions, &references)?;
    report(&format!("corpus BLEU, {} pairs", predictions.len()), || bleu.corpus(&predictions, &references))?;
    println!("  {score}");

    // 2,000 pairs of 200 words in lines of 20, half of them changed.
    let (summaries, wanted) = split(texts);
    for stem in [false, true] {
        let rouge = RougeConfig::new().with_use_stemmer(stem).init()?;
        let name = if stem { " stemmed" } else { "" };
        report(&format!("ROUGE-1/2/L/Lsum{name}, {} pairs", summaries.len()), || {
            rouge.corpus(&summaries, &wanted)
        })?;
        println!("  ROUGE-L {:.6}", rouge.corpus(&summaries, &wanted)?[&RougeType::L].fmeasure);
    }

    // 1,000 resamples of 2,000 segments: of one system, and of it beside itself without every fifth word.
    let few = predictions.len().min(2_000);
    let (few, few_references) = (&predictions[..few], &references[..few]);
    let fewer: Vec<String> = few
        .iter()
        .map(|text| text.split_whitespace().enumerate().filter(|(at, _)| at % 5 != 0).map(|(_, word)| word))
        .map(|words| words.collect::<Vec<_>>().join(" "))
        .collect();
    let count = |predictions: &[String]| SegmentStatistics::new(&bleu, predictions, few_references);
    report("BLEU with 1,000 resamples, counting included", || {
        resampled_score(&bleu, &count(few)?, 1000, 12345)
    })?;
    report("paired bootstrap, 1,000 resamples, counting included", || {
        PairedTestConfig::new().run(&bleu, &count(few)?, &count(&fewer)?)
    })?;
    let (base, other) = (count(few)?, count(&fewer)?);
    report("paired bootstrap, 1,000 resamples of counted segments", || {
        PairedTestConfig::new().run(&bleu, &base, &other)
    })?;
    let result = PairedTestConfig::new().run(&bleu, &base, &other)?;
    println!("  BLEU {:.4} and {:.4}, p {:.6}", result.baseline.score, result.system.score, result.p_value);
    Ok(())
}

/// Lines of `["text", "text"]`.
fn read(path: &str) -> Result<Pairs, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Pairs for BLEU and pairs for ROUGE, each of a prediction and its reference.
fn made_up() -> (Pairs, Pairs) {
    let mut generator = Pcg64::new(1);
    let mut pairs = |count: usize, lengths: std::ops::Range<u32>, noise: f64, line: usize| -> Pairs {
        let text =
            |words: &[String]| words.chunks(line).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n");
        let mut pair = || {
            let words = lengths.start + generator.below(lengths.end - lengths.start);
            let reference: Vec<String> = (0..words).map(|_| word(&mut generator)).collect();
            let mut prediction = Vec::new();
            for there in &reference {
                let changed = generator.next_f64() < noise;
                let word = if changed { word(&mut generator) } else { there.clone() };
                if generator.next_f64() >= noise / 3.0 {
                    prediction.push(word);
                }
            }
            (text(&prediction), text(&reference))
        };
        (0..count).map(|_| pair()).collect()
    };
    (pairs(10_000, 12..37, 0.25, 40), pairs(2_000, 200..201, 0.5, 20))
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
