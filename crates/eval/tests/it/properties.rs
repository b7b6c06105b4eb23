//! Laws that hold for any text and any loss.

use burnisher_eval::{
    BootstrapConfig, Comparison, ExactMatchConfig, Metric, MetricSet, TextLoss, answer_exact_match,
    answer_f1, corpus_perplexity, mean_interval, mean_text_perplexity, normalize_answer, porter_stem,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_answer_matches_itself(answer in any::<String>()) {
        prop_assert!(answer_exact_match(&answer, &[&answer]));
        let wanted = if normalize_answer(&answer).is_empty() { 0.0 } else { 1.0 };
        prop_assert_eq!(answer_f1(&answer, &[&answer]), wanted);
        prop_assert!(ExactMatchConfig::new().init().unwrap().matches(&answer, &answer));
    }

    #[test]
    fn f1_is_symmetric_and_bounded(left in "[a-d ]{0,30}", right in "[a-d ]{0,30}") {
        let f1 = answer_f1(&left, &[&right]);
        prop_assert!((0.0..=1.0).contains(&f1));
        prop_assert!((f1 - answer_f1(&right, &[&left])).abs() < 1e-12);
    }

    #[test]
    fn one_text_has_one_perplexity(losses in prop::collection::vec(0.0..20.0f64, 1..40)) {
        let text = TextLoss::from_token_losses(losses, 1);
        let (corpus, mean) = (corpus_perplexity(&[text]).unwrap(), mean_text_perplexity(&[text]).unwrap());
        prop_assert_eq!(corpus, mean);
        prop_assert!(corpus >= 1.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn scores_stay_within_range_and_intervals_around_them(
        rows in prop::collection::vec((answer(), answer()), 1..8),
        seed in any::<u64>(),
    ) {
        let (outputs, references): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|(output, reference)| (output, vec![reference])).unzip();
        let set = MetricSet::new(Metric::OF_ANSWERS).with_bootstrap(few().with_seed(seed));
        for (metric, score) in set.evaluate(&outputs, &references).unwrap() {
            let [low, high] = score.interval;
            for value in [score.value, low, high] {
                prop_assert!((0.0..=100.0 + 1e-9).contains(&value), "{} is {}", metric, value);
            }
            prop_assert!(low <= high);
        }
    }

    #[test]
    fn equal_texts_score_100(texts in prop::collection::vec(answer(), 1..6)) {
        let references: Vec<_> = texts.iter().map(|text| vec![text.clone()]).collect();
        let set = MetricSet::new(Metric::OF_ANSWERS).with_bootstrap(few());
        for (metric, score) in set.evaluate(&texts, &references).unwrap() {
            prop_assert!((score.value - 100.0).abs() < 1e-9, "{} is {}", metric, score.value);
            prop_assert!(score.interval.iter().all(|bound| (bound - 100.0).abs() < 1e-9));
        }
    }

    #[test]
    fn the_order_of_examples_does_not_matter(
        rows in prop::collection::vec((answer(), answer()), 2..8).prop_flat_map(|rows| {
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
    ) {
        let score = |rows: &[(String, String)]| {
            let (outputs, references): (Vec<_>, Vec<_>) =
                rows.iter().map(|(output, reference)| (output, vec![reference])).unzip();
            MetricSet::new(Metric::OF_ANSWERS).with_bootstrap(few()).evaluate(&outputs, &references).unwrap()
        };
        let shuffled = score(&rows.1);
        for (metric, score) in score(&rows.0) {
            prop_assert!((score.value - shuffled[&metric].value).abs() < 1e-9, "{}", metric);
        }
    }

    #[test]
    fn a_system_does_not_differ_from_itself_and_swapping_changes_signs(
        rows in prop::collection::vec((answer(), answer(), answer()), 1..6),
    ) {
        let base: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
        let tuned: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
        let references: Vec<_> = rows.iter().map(|row| vec![row.2.clone()]).collect();
        let compare = |base: &[String], tuned: &[String]| {
            let comparison = Comparison::new(MetricSet::new(Metric::OF_ANSWERS).with_bootstrap(few()));
            comparison.with_base(base.to_vec()).with_tuned(tuned.to_vec()).against(&references).unwrap().metrics
        };
        for (metric, row) in compare(&base, &base) {
            prop_assert_eq!((row.difference, row.interval, row.p_value), (0.0, [0.0, 0.0], 1.0), "{}", metric);
        }
        let backward = compare(&tuned, &base);
        for (metric, row) in compare(&base, &tuned) {
            let other = &backward[&metric];
            prop_assert_eq!(row.difference, -other.difference, "{}", metric);
            prop_assert_eq!((row.base_interval, row.p_value), (other.tuned_interval, other.p_value), "{}", metric);
            prop_assert!((row.interval[0] + other.interval[1]).abs() < 1e-9, "{}", metric);
        }
    }

    #[test]
    fn the_bootstrap_goes_by_its_seed(
        values in prop::collection::vec(0.0..1.0f64, 10..40),
        seed in any::<u64>(),
    ) {
        let run = |seed| mean_interval(&values, &few().with_seed(seed)).unwrap();
        prop_assert_eq!(run(seed), run(seed));
        prop_assert_ne!(run(seed).interval, run(seed ^ 1).interval);
        let (low, high) = values.iter().fold((1.0f64, 0.0f64), |(low, high), v| (low.min(*v), high.max(*v)));
        let [below, above] = run(seed).interval;
        prop_assert!(low - 1e-12 <= below && below <= above && above <= high + 1e-12);
    }

    #[test]
    fn any_text_is_an_answer(output in any::<String>(), braces in r#"[{}"\\:, a\[\]]{0,40}"#) {
        for output in [output, braces] {
            let set = MetricSet::new(Metric::OF_ANSWERS).with_bootstrap(few());
            let scores = set.evaluate(&[output], &[vec![r#"{"a": "b"}"#]]);
            prop_assert!(scores.is_ok());
        }
    }

    #[test]
    fn stems_are_prefixes_with_at_most_one_letter_more(word in "[a-z]{3,14}") {
        let stem = porter_stem(&word);
        prop_assert!(!stem.is_empty() && stem.len() <= word.len() + 1, "{} to {}", word, stem);
        prop_assert_eq!(porter_stem(&word.to_uppercase()), stem);
    }
}

/// An answer in JSON with at least two words, as BLEU-4 needs four and the braces make up the rest.
fn answer() -> impl Strategy<Value = String> {
    ("[a-c]", "[a-c]{1,2}( [a-d]{1,2}){1,4}", 0..4u8)
        .prop_map(|(field, value, number)| format!(r#"{{"{field}": "{value}", "n": {number}}}"#))
}

fn few() -> BootstrapConfig {
    BootstrapConfig::new().with_resamples(40)
}
