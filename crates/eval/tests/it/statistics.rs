//! Standard errors against lm-eval 0.4.13, McNemar's test against statsmodels 0.15, BCa by its laws.

use burnisher_eval::{
    BootstrapConfig, IntervalMethod, McNemar, Resample, bootstrap, bootstrap_stderr, mcnemar, mean,
    mean_stderr, paired_bootstrap, pooled_stderr,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{close, fixture, list, number, text};

#[test]
fn standard_errors_match() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let acc: Vec<f64> = list(&data["multiple_choice"]).iter().map(|item| number(&item["acc"])).collect();
    let wanted = &data["stderr"];
    close(mean_stderr(&acc).unwrap(), number(&wanted["acc_mean_stderr"]), "mean");
    let pooled = pooled_stderr(&[0.02, 0.05, 0.01], &[100, 50, 400]).unwrap();
    close(pooled, number(&wanted["pooled_sample_stderr"]), "pooled");
    assert!(mean_stderr(&[1.0]).is_err() && pooled_stderr(&[0.1], &[1]).is_err());
}

#[test]
fn resampled_standard_errors_match() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let runs = list(&data["bootstrap_stderr"]);
    assert_eq!(runs.len(), 12);
    for run in runs {
        let iterations = run["iters"].as_u64().unwrap() as usize;
        let name = text(&run["metric"]);
        let got = if name == "matthews_corrcoef" {
            let pair = |row: &Value| (row[0].as_u64().unwrap(), row[1].as_u64().unwrap());
            let items: Vec<(u64, u64)> = list(&run["items"]).iter().map(pair).collect();
            bootstrap_stderr(&items, iterations, |sample| {
                let (wanted, found): (Vec<u64>, Vec<u64>) = sample.copied().unzip();
                burnisher_eval::classify(&found, &wanted).unwrap().mcc()
            })
        } else {
            let items: Vec<f64> = list(&run["items"]).iter().map(number).collect();
            bootstrap_stderr(&items, iterations, |sample| match name {
                "median" => {
                    let mut values: Vec<f64> = sample.copied().collect();
                    values.sort_by(f64::total_cmp);
                    values[values.len() / 2]
                }
                "perplexity" => (-mean(sample)).exp(),
                other => panic!("metric {other}"),
            })
        };
        close(got.unwrap(), number(&run["stderr"]), &format!("{name} with {iterations}"));
    }
}

#[test]
fn mcnemars_test_matches() {
    let Some(data) = fixture("classification.json") else {
        return;
    };
    let runs = list(&data["mcnemar"]);
    assert_eq!(runs.len(), 4);
    for run in runs {
        let what = run["table"].to_string();
        let cell = |row: usize, column: usize| run["table"][row][column].as_u64().unwrap();
        let test = McNemar::of_counts(cell(0, 1), cell(1, 0));
        close(test.exact_p, number(&run["exact_p"]), &what);
        // Without a differing example statsmodels divides 0 by 0; nothing speaks for a difference then.
        if run["chi2"] == "NaN" {
            assert_eq!((test.chi2, test.chi2_p, test.chi2_continuity_p), (0.0, 1.0, 1.0));
            continue;
        }
        close(test.chi2_continuity, number(&run["chi2_cc"]), &what);
        close(test.chi2_continuity_p, number(&run["chi2_cc_p"]), &what);
        close(test.chi2, number(&run["chi2"]), &what);
        close(test.chi2_p, number(&run["chi2_p"]), &what);
    }
    let test = mcnemar(&[true, true, false, false], &[true, false, true, true]).unwrap();
    assert_eq!((test.only_base, test.only_tuned), (1, 2));
}

#[test]
fn bca_moves_against_the_skew_and_is_the_percentile_interval_without() {
    let skewed: Vec<f64> = (0..60).map(|n| f64::from(n).powi(4)).collect();
    let config = BootstrapConfig::new();
    let plain = bootstrap(&skewed, &config, mean).unwrap();
    let bca = bootstrap(&skewed, &config.with_method(IntervalMethod::Bca), mean).unwrap();
    assert_eq!(plain.value, bca.value);
    assert!(bca.interval[0] > plain.interval[0] && bca.interval[1] > plain.interval[1], "{plain:?} {bca:?}");
    let constant = bootstrap(&[2.0; 9], &config.with_method(IntervalMethod::Bca), mean).unwrap();
    assert_eq!(constant.interval, [2.0, 2.0]);
    let paired = paired_bootstrap(&skewed, &skewed, &config.with_method(IntervalMethod::Bca), mean).unwrap();
    assert_eq!((paired.difference.interval, paired.base), ([0.0, 0.0], bca));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bca_goes_along_when_the_scale_changes(
        values in prop::collection::vec(0.0..1.0f64, 5..30),
        // Powers of two, which round nothing: others may make two equal resamples unequal, and the bias counts those.
        factor in prop::sample::select(vec![-4.0, -2.0, -0.5, 0.5, 2.0, 8.0f64]),
    ) {
        let config = BootstrapConfig::new().with_resamples(200).with_method(IntervalMethod::Bca);
        let scaled = |sample: Resample<'_, f64>| factor * mean(sample);
        let [low, high] = bootstrap(&values, &config, mean).unwrap().interval.map(|bound| factor * bound);
        let got = bootstrap(&values, &config, scaled).unwrap().interval;
        let wanted = if factor > 0.0 { [low, high] } else { [high, low] };
        for (got, wanted) in got.into_iter().zip(wanted) {
            prop_assert!((got - wanted).abs() < 1e-6, "{} instead of {}", got, wanted);
        }
    }
}
