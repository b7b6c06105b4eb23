//! The bootstrap against sacrebleu 2.6.0 and rouge_score 0.1.2, whose generators differ from ours: what must agree is
//! the interval up to the noise of 1000 resamples, not its digits.

use burnisher_eval::{
    BleuConfig, BleuCounts, BootstrapConfig, EntityCounts, Resample, RougeConfig, RougeType, TextLoss,
    bootstrap, loss_per_token, mean, mean_interval, paired_bootstrap,
};

use crate::{close, fixture, list, number, text};

#[test]
fn half_widths_and_p_values_of_bleu_agree_with_sacrebleu() {
    let (Some(data), Some(significance)) = (fixture("bleu.json"), fixture("significance.json")) else {
        return;
    };
    let bleu = BleuConfig::new().init().unwrap();
    let counts = |name: &str| -> Vec<BleuCounts> {
        let corpus = &data["corpora"][name];
        let references = list(&corpus["refs"][0]);
        list(&corpus["sys"]).iter().zip(references).map(|(s, r)| bleu.counts(text(s), &[text(r)])).collect()
    };
    let score = |sample: Resample<'_, BleuCounts>| {
        let mut sum = BleuCounts::default();
        sample.for_each(|counts| sum += counts);
        bleu.score(&sum).score
    };
    let run = &list(&significance["paired"])[0];
    assert_eq!(
        (text(&run["baseline"]), text(&run["system"]), text(&run["test"])),
        ("templ", "templ_sysB", "bs")
    );
    let [base, tuned] = [&run["results"]["BLEU"][0], &run["results"]["BLEU"][1]];
    let got =
        paired_bootstrap(&counts("templ"), &counts("templ_sysB"), &BootstrapConfig::new(), score).unwrap();
    for (estimate, wanted) in [(got.base, base), (got.tuned, tuned)] {
        close(estimate.value, number(&wanted["score"]), "score");
        let half = (estimate.interval[1] - estimate.interval[0]) / 2.0;
        let ratio = half / number(&wanted["ci"]);
        assert!((0.85..1.15).contains(&ratio), "half width {half} instead of {wanted}");
    }
    close(got.difference.value, number(&tuned["score"]) - number(&base["score"]), "difference");
    close(got.p_value, number(&tuned["p"]), "p-value");
}

#[test]
fn intervals_of_rouge_agree_with_its_aggregator() {
    let Some(data) = fixture("rouge.json") else {
        return;
    };
    let pairs = list(&data["pairs"]);
    let mut tried = 0;
    for run in list(&data["aggregate"]).iter().filter(|run| run["n_samples"] == 1000) {
        let rouge = RougeConfig::new().with_use_stemmer(run["stemmer"].as_bool().unwrap()).init().unwrap();
        let [first, last] = [0, 1].map(|at| run["pair_indices"][at].as_u64().unwrap() as usize);
        for kind in [RougeType::N(1), RougeType::L] {
            tried += 1;
            let values: Vec<f64> = pairs[first..=last]
                .iter()
                .map(|pair| rouge.score(text(&pair["prediction"]), text(&pair["target"]))[&kind].fmeasure)
                .collect();
            let got = mean_interval(&values, &BootstrapConfig::new()).unwrap();
            let wanted = &run["result"][kind.to_string()];
            for (bound, name) in got.interval.into_iter().zip(["low", "high"]) {
                let wanted = number(&wanted[name][2]);
                assert!((bound - wanted).abs() < 0.01, "{kind}, {name}: {bound} instead of {wanted}");
            }
        }
    }
    assert_eq!(tried, 8);
}

#[test]
fn the_interval_of_a_mean_agrees_with_its_standard_error() {
    // 400 numbers 0..1 in a scattered order: standard deviation 0.2887, standard error 0.01443.
    let values: Vec<f64> = (0..400).map(|i| f64::from(i * 149 % 400) / 399.0).collect();
    let estimate = mean_interval(&values, &BootstrapConfig::new().with_resamples(4000)).unwrap();
    close(estimate.value, 0.5, "mean");
    for (bound, sign) in estimate.interval.into_iter().zip([-1.0, 1.0]) {
        let wanted = 0.5 + sign * 1.96 * 0.01443;
        assert!((bound - wanted).abs() < 0.0025, "{bound} instead of {wanted}");
    }
    let narrow = mean_interval(&values, &BootstrapConfig::new().with_confidence(0.5)).unwrap();
    let width = narrow.interval[1] - narrow.interval[0];
    assert!((width - 2.0 * 0.6745 * 0.01443).abs() < 0.003, "{width}");
}

#[test]
fn p_values_tell_noise_from_a_gain() {
    let base: Vec<f64> = (0..200).map(|i| f64::from(i * 73 % 200)).collect();
    let noise = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let noisy: Vec<f64> = base.iter().enumerate().map(|(i, value)| value + noise(i)).collect();
    let better: Vec<f64> = noisy.iter().map(|value| value + 0.5).collect();
    let p = |tuned: &[f64]| paired_bootstrap(&base, tuned, &BootstrapConfig::new(), mean).unwrap().p_value;
    close(p(&base), 1.0, "identical");
    close(p(&noisy), 1.0, "noise without a difference");
    close(p(&better), 1.0 / 1001.0, "a gain of seven standard errors");
}

/// 0.05 is a fair level: among 100 pairs of systems without a true difference, few differ significantly.
#[test]
fn p_values_are_fair_without_a_true_difference() {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut rejected = 0;
    for seed in 0..100 {
        let base: Vec<f64> = (0..60).map(|_| uniform()).collect();
        let tuned: Vec<f64> = (0..60).map(|_| uniform()).collect();
        let config = BootstrapConfig::new().with_resamples(200).with_seed(seed);
        rejected += u32::from(paired_bootstrap(&base, &tuned, &config, mean).unwrap().p_value < 0.05);
    }
    assert!((1..=12).contains(&rejected), "{rejected} of 100");
}

#[test]
fn statistics_need_not_be_means() {
    let config = BootstrapConfig::new().with_resamples(50);
    let counts = [EntityCounts { tp: 1, fp: 0, fn_: 0 }, EntityCounts { tp: 1, fp: 1, fn_: 2 }];
    let f1 = bootstrap(&counts, &config, |sample| sample.sum::<EntityCounts>().f1()).unwrap();
    close(f1.value, 400.0 / 7.0, "micro F1");
    // Resamples hold one example twice or both once.
    assert_eq!(f1.interval, [40.0, 100.0]);

    let texts = [TextLoss { sum: 1.0, tokens: 1, bytes: 1 }, TextLoss { sum: 9.0, tokens: 3, bytes: 3 }];
    close(
        bootstrap(&texts, &config, |sample| loss_per_token(sample).exp()).unwrap().value,
        2.5f64.exp(),
        "perplexity",
    );

    let median = |sample: Resample<'_, f64>| {
        let mut values: Vec<f64> = sample.copied().collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    assert_eq!(bootstrap(&[3.0, 1.0, 2.0], &config, median).unwrap().value, 2.0);
}
