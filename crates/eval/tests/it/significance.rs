//! Intervals and paired tests against sacrebleu 2.6.0: rows, p-values and signatures exact, scores to 1e-9, and so
//! means and half widths when the score is computed in 32 bits as there.

use burnisher_eval::{
    BleuConfig, BleuTokenizer, ChrfConfig, CorpusMetric, PairedTestConfig, Pcg64, SegmentStatistics,
    Signature, TerConfig, resampled_score,
};
use serde_json::Value;

use crate::single::{Mean, Single, check};
use crate::{close, corpus, fixture, list, number, text};

/// Calls a function that is generic over the metric with the metric of a name in the fixture.
macro_rules! with_metric {
    ($name:expr, $function:ident $arguments:tt) => {
        match $name {
            "BLEU" => with_metric!(@ BleuConfig::new().init().unwrap(), $function $arguments),
            "BLEU_zh" => with_metric!(
                @ BleuConfig::new().with_tokenizer(BleuTokenizer::Zh).init().unwrap(), $function $arguments
            ),
            "chrF" | "chrF2" => with_metric!(@ ChrfConfig::new().init().unwrap(), $function $arguments),
            "chrF++" | "chrF2++" => {
                with_metric!(@ ChrfConfig::plus_plus().init().unwrap(), $function $arguments)
            }
            "TER" => with_metric!(@ TerConfig::new().init(), $function $arguments),
            other => panic!("metric {other}"),
        }
    };
    (@ $metric:expr, $function:ident ($($argument:expr),*)) => {{
        let metric = $metric;
        $function(&metric, |references| metric.signature(references), $($argument),*)
    }};
}

#[test]
fn rows_of_segments_match() {
    let (Some(data), Some(texts)) = (fixture("significance.json"), fixture("bleu.json")) else {
        return;
    };
    let mut tried = 0;
    for (name, metrics) in data["segment_stats"].as_object().unwrap() {
        for (metric, rows) in metrics.as_object().unwrap() {
            tried += 1;
            with_metric!(metric.as_str(), check_rows(&texts, name, rows));
        }
    }
    assert_eq!(tried, 6);
}

fn check_rows<M: CorpusMetric>(
    metric: &M,
    _: impl Fn(&[Vec<&str>]) -> Signature,
    texts: &Value,
    name: &str,
    wanted: &Value,
) {
    let (predictions, references) = corpus(texts, name);
    let statistics = SegmentStatistics::new(metric, &predictions, &references).unwrap();
    assert_eq!(statistics.rows().len(), list(wanted).len());
    for (row, wanted) in statistics.rows().zip(list(wanted)) {
        let wanted: Vec<f64> = list(wanted).iter().map(number).collect();
        assert_eq!(row, wanted, "{} of {name}", metric.name());
    }
}

#[test]
fn intervals_of_one_system_match() {
    let (Some(data), Some(texts)) = (fixture("significance.json"), fixture("bleu.json")) else {
        return;
    };
    let runs = list(&data["bootstrap"]);
    assert_eq!(runs.len(), 40);
    for run in runs {
        with_metric!(text(&run["metric"]), check_interval(&texts, run));
    }
}

fn check_interval<M: CorpusMetric>(
    metric: &M,
    signature: impl Fn(&[Vec<&str>]) -> Signature,
    texts: &Value,
    run: &Value,
) {
    let what = format!("{} of {} with seed {}", run["metric"], run["corpus"], run["seed"]);
    let (predictions, references) = corpus(texts, text(&run["corpus"]));
    let statistics = SegmentStatistics::new(metric, &predictions, &references).unwrap();
    let (resamples, seed) = (run["n"].as_u64().unwrap() as usize, run["seed"].as_u64().unwrap());
    close(metric.score_of(&statistics.sums()), number(&run["score"]), &what);
    let interval = resampled_score(metric, &statistics, resamples, seed).unwrap();
    let single = Single(metric);
    let in_single = resampled_score(&single, &statistics, resamples, seed).unwrap();
    let drawn = (Mean::Exact, Pcg64::new(seed), resamples);
    check(&single, &statistics, (in_single, interval), drawn, run, &what);
    assert_eq!(interval.line(metric, &statistics), text(&run["format"]), "{what}");
    let signature = signature(&references).with_bootstrap(resamples).with_seed(seed);
    assert_eq!(signature.to_string(), text(&run["signature"]), "{what}");
}

#[test]
fn paired_tests_match() {
    let (Some(data), Some(texts)) = (fixture("significance.json"), fixture("bleu.json")) else {
        return;
    };
    let mut tried = 0;
    for run in list(&data["paired"]) {
        for (metric, wanted) in run["results"].as_object().unwrap() {
            tried += 1;
            with_metric!(metric.as_str(), check_paired(&texts, run, metric, wanted));
        }
    }
    assert_eq!(tried, 38);
}

fn check_paired<M: CorpusMetric>(
    metric: &M,
    signature: impl Fn(&[Vec<&str>]) -> Signature,
    texts: &Value,
    run: &Value,
    name: &str,
    wanted: &Value,
) {
    let what = format!("{name} of {} by {} with seed {}", run["system"], run["test"], run["seed"]);
    let (predictions, references) = corpus(texts, text(&run["baseline"]));
    let (others, _) = corpus(texts, text(&run["system"]));
    let trials = run["n_samples"].as_u64().unwrap() as usize;
    let resamples = run["n_ar_confidence"].as_i64().unwrap().max(0) as usize;
    let seed = run["seed"].as_u64().unwrap();
    let signature = signature(&references);
    let (config, signature) = match text(&run["test"]) {
        "bs" => (PairedTestConfig::new(), signature.with_bootstrap(trials)),
        "ar" => {
            let signature = if resamples > 0 { signature.with_bootstrap(resamples) } else { signature };
            (PairedTestConfig::approximate_randomization(), signature.with_randomization(trials))
        }
        other => panic!("test {other}"),
    };
    assert_eq!(signature.with_seed(seed).to_string(), text(&run["signatures"][name]), "{what}");
    let rows =
        [&predictions, &others].map(|texts| SegmentStatistics::new(metric, texts, &references).unwrap());
    let config = config.with_trials(trials).with_confidence_resamples(resamples).with_seed(seed);
    let single = Single(metric);
    let result = config.run(metric, &rows[0], &rows[1]).unwrap();
    let in_single = config.run(&single, &rows[0], &rows[1]).unwrap();
    assert!(!result.identical);
    assert_eq!(result.p_value, number(&wanted[1]["p"]), "{what}");

    // The baseline's interval is of a fresh generator; the system's comes after the swaps.
    let mut generators = [Pcg64::new(seed), Pcg64::new(seed)];
    let resamples = if text(&run["test"]) == "bs" { trials } else { resamples };
    if text(&run["test"]) == "ar" {
        generators[1].bools(trials * predictions.len());
    }
    let sides = [(result.baseline, in_single.baseline), (result.system, in_single.system)];
    for (index, ((side, in_single), generator)) in sides.into_iter().zip(generators).enumerate() {
        let wanted = &wanted[index];
        close(side.score, number(&wanted["score"]), &what);
        assert_eq!(side.resampled.is_some(), wanted["mean"].is_number(), "{what}");
        if let (Some(double), Some(got)) = (side.resampled, in_single.resampled) {
            let drawn = (Mean::ByHalves, generator, resamples);
            check(&single, &rows[index], (got, double), drawn, wanted, &what);
        }
    }
}

#[test]
fn identical_systems_have_sacrebleus_p_value_and_say_that_they_are_identical() {
    let (Some(data), Some(texts)) = (fixture("significance.json"), fixture("bleu.json")) else {
        return;
    };
    let bleu = BleuConfig::new().init().unwrap();
    let (predictions, references) = corpus(&texts, "en2");
    let statistics = SegmentStatistics::new(&bleu, &predictions, &references).unwrap();
    for (name, config) in [
        ("paired_identical_bs", PairedTestConfig::new()),
        ("paired_identical_ar", PairedTestConfig::approximate_randomization()),
    ] {
        let result = config.with_trials(200).run(&bleu, &statistics, &statistics).unwrap();
        assert!(result.identical, "{name}");
        assert_eq!(result.p_value, number(&data[name][1]["p"]), "{name}");
        close(result.system.score, number(&data[name][1]["score"]), name);
    }
}
