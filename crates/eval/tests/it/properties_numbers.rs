//! Laws of the metrics of numbers, labels and choices.

use burnisher_eval::{
    Battle, BattleOutcome, BootstrapConfig, CalibrationBins, Choice, ClassProbabilities, EvalError,
    ForgettingConfig, ForgettingVerdict, KappaWeights, LossComparison, Measurement, PowerConfig, Question,
    TextLoss, bits_per_byte, bootstrap_stderr, brier_score, calibration, confidence_loss, corpus_perplexity,
    fit_temperature, fleiss_kappa, gwet_ac, krippendorff_alpha, lm_eval_words, mcnemar, mean, mean_pass_at_k,
    mean_stderr, mean_text_perplexity, multiple_choice, pooled_stderr, randolph_kappa, regression,
    weighted_perplexity, win_rates,
};
use proptest::prelude::*;

fn some_losses() -> impl Strategy<Value = Vec<TextLoss>> {
    let text = (0.0..9.0f64, 1..30usize, 1..90usize);
    prop::collection::vec(
        text.prop_map(|(loss, tokens, bytes)| TextLoss { sum: loss * tokens as f64, tokens, bytes }),
        1..12,
    )
}

/// Rows, and the same rows in another order.
fn shuffled<T: std::fmt::Debug + Clone + 'static>(
    rows: impl Strategy<Value = Vec<T>>,
) -> impl Strategy<Value = (Vec<T>, Vec<T>)> {
    rows.prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
}

proptest! {
    #[test]
    fn perplexities_lie_between_the_texts_and_heed_no_order((texts, turned) in shuffled(some_losses())) {
        let all: [fn(&[TextLoss]) -> Result<f64, EvalError>; 3] =
            [corpus_perplexity, mean_text_perplexity, bits_per_byte];
        for perplexity in all {
            let alone: Vec<f64> = texts.iter().map(|text| perplexity(&[*text]).unwrap()).collect();
            let (low, high) = alone.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let value = perplexity(&texts).unwrap();
            prop_assert!(low * (1.0 - 1e-12) <= value && value <= high * (1.0 + 1e-12));
            prop_assert!((value - perplexity(&turned).unwrap()).abs() <= 1e-12 * value);
        }
        let weighted: Vec<(f64, f64)> = texts.iter().map(|text| (text.sum, text.tokens as f64)).collect();
        let corpus = corpus_perplexity(&texts).unwrap();
        prop_assert!((weighted_perplexity(&weighted).unwrap() - corpus).abs() <= 1e-12 * corpus);
    }

    #[test]
    fn words_are_counted_in_any_text(text in any::<String>(), spaced in "[a \u{a0}\n\u{3000}]{0,12}") {
        for text in [text, spaced] {
            prop_assert!((1..=text.chars().count() + 1).contains(&lm_eval_words(&text)));
        }
    }

    #[test]
    fn losses_that_stay_are_no_change_and_swapping_changes_the_sign(
        rows in prop::collection::vec((0.1..9.0f64, 0.1..9.0f64, 1..30usize), 1..8),
    ) {
        let side = |loss: fn(&(f64, f64, usize)) -> f64| -> Vec<TextLoss> {
            rows.iter().map(|row| TextLoss { sum: loss(row) * row.2 as f64, tokens: row.2, bytes: row.2 }).collect()
        };
        let (before, after) = (side(|row| row.0), side(|row| row.1));
        let config = BootstrapConfig::new().with_resamples(40);
        let there = LossComparison::new(&before, &after, &config).unwrap();
        let back = LossComparison::new(&after, &before, &config).unwrap();
        prop_assert_eq!((there.base, there.tuned, there.difference), (back.tuned, back.base, -back.difference));
        prop_assert_eq!((there.base_interval, there.p_value), (back.tuned_interval, back.p_value));
        let same = ForgettingConfig::new().with_bootstrap(config).assess(&before, &before).unwrap();
        prop_assert_eq!((same.loss.difference, same.loss.p_value), (0.0, 1.0));
        prop_assert_eq!(same.verdict, ForgettingVerdict::Unchanged);
    }

    #[test]
    fn choices_have_shares_and_their_order_moves_only_positions(
        questions in prop::collection::vec(
            (prop::collection::vec(("[aß電]{1,4}", -30.0..0.0f64, -30.0..0.0f64), 1..5), any::<prop::sample::Index>()),
            1..8,
        ),
    ) {
        let ask = |turn: bool, sure: bool| -> Vec<Question> {
            let question = |(rows, gold): &(Vec<(String, f64, f64)>, prop::sample::Index)| {
                let gold = gold.index(rows.len());
                let choice = |(at, (text, likelihood, unconditional)): (usize, &(String, f64, f64))| Choice {
                    text: text.clone(),
                    log_likelihood: if !sure { *likelihood } else if at == gold { 0.0 } else { f64::NEG_INFINITY },
                    unconditional: Some(*unconditional),
                };
                let mut choices: Vec<Choice> = rows.iter().enumerate().map(choice).collect();
                if turn {
                    choices.reverse();
                }
                Question { gold: if turn { choices.len() - 1 - gold } else { gold }, choices }
            };
            questions.iter().map(question).collect()
        };
        let (score, turned) = (multiple_choice(&ask(false, false)).unwrap(), multiple_choice(&ask(true, false)).unwrap());
        let shares = |score: &burnisher_eval::MultipleChoiceScore| {
            [score.acc, score.acc_norm, score.acc_bytes, score.acc_mutual_info.unwrap()]
        };
        for (share, turned) in shares(&score).into_iter().zip(shares(&turned)) {
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert_eq!(share, turned);
        }
        prop_assert!((0.0..=2.0).contains(&score.brier) && (score.brier - turned.brier).abs() < 1e-12);
        let sure = multiple_choice(&ask(false, true)).unwrap();
        prop_assert_eq!((sure.acc, sure.acc_norm, sure.acc_bytes, sure.brier), (1.0, 1.0, 1.0, 0.0));
    }

    #[test]
    fn class_probabilities_have_scores_in_range(
        (rows, turned) in shuffled(prop::collection::vec((prop::collection::vec(0.01..1.0f64, 4), 0..4usize), 1..12)),
    ) {
        let scores = |rows: &[(Vec<f64>, usize)]| -> Vec<f64> {
            let share = |row: &Vec<f64>| -> Vec<f64> { row.iter().map(|p| p / row.iter().sum::<f64>()).collect() };
            let shares: Vec<Vec<f64>> = rows.iter().map(|(row, _)| share(row)).collect();
            let wanted: Vec<usize> = rows.iter().map(|(_, wanted)| *wanted).collect();
            let classes = ClassProbabilities::new(&shares, &wanted).unwrap();
            let top = (0..=4).map(|k| classes.top_k_accuracy(k));
            [classes.log_loss(), classes.brier()].into_iter().chain(top).collect()
        };
        let here = scores(&rows);
        prop_assert!(here[0] >= 0.0 && (0.0..=2.0).contains(&here[1]));
        prop_assert!(here[2..].is_sorted() && here[2] == 0.0 && here[6] == 1.0);
        for (here, turned) in here.iter().zip(scores(&turned)) {
            prop_assert!((here - turned).abs() < 1e-12);
        }
        let sure: Vec<Vec<f64>> =
            rows.iter().map(|(_, wanted)| (0..4).map(|at| f64::from(u8::from(at == *wanted))).collect()).collect();
        let wanted: Vec<usize> = rows.iter().map(|(_, wanted)| *wanted).collect();
        let classes = ClassProbabilities::new(&sure, &wanted).unwrap();
        prop_assert!(classes.log_loss() < 1e-15 && classes.brier() == 0.0 && classes.top_k_accuracy(1) == 1.0);
    }

    #[test]
    fn errors_of_numbers_are_ordered_symmetric_and_0_for_equals(
        (rows, turned) in shuffled(prop::collection::vec((-9.0..9.0f64, -9.0..9.0f64), 1..20)),
    ) {
        let score = |rows: &[(f64, f64)], swap: bool| {
            let (left, right): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
            if swap { regression(&right, &left).unwrap() } else { regression(&left, &right).unwrap() }
        };
        let (here, back, other) = (score(&rows, false), score(&rows, true), score(&turned, false));
        prop_assert!(0.0 <= here.mae && here.mae <= here.rmse * (1.0 + 1e-12));
        prop_assert!((here.rmse * here.rmse - here.mse).abs() <= 1e-12 * here.mse);
        prop_assert!(here.r2.is_none_or(|r2| r2 <= 1.0));
        prop_assert_eq!((here.mse, here.mae), (back.mse, back.mae));
        prop_assert_eq!((here.mse, here.median_absolute_error), (other.mse, other.median_absolute_error));
        let wanted: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let same = regression(&wanted, &wanted).unwrap();
        prop_assert_eq!((same.mse, same.mae, same.median_absolute_error), (0.0, 0.0, 0.0));
        prop_assert!(same.r2.is_none_or(|r2| r2 == 1.0));
    }

    #[test]
    fn confidences_have_scores_in_range_and_heed_no_order(
        (rows, turned) in shuffled(prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..20)),
    ) {
        let scores = |rows: &[(f64, bool)]| -> [f64; 3] {
            let (confidences, correct): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let bins = calibration(&confidences, &correct, CalibrationBins::EqualWidth(7)).unwrap();
            [brier_score(&confidences, &correct).unwrap(), confidence_loss(&confidences, &correct).unwrap(), bins.ece]
        };
        let here = scores(&rows);
        prop_assert!((0.0..=1.0).contains(&here[0]) && here[1] >= 0.0);
        for (here, turned) in here.into_iter().zip(scores(&turned)) {
            prop_assert!((here - turned).abs() < 1e-12);
        }
        let correct: Vec<bool> = rows.iter().map(|row| row.1).collect();
        let sure: Vec<f64> = correct.iter().map(|right| f64::from(u8::from(*right))).collect();
        prop_assert_eq!(brier_score(&sure, &correct).unwrap(), 0.0);
        prop_assert!(confidence_loss(&sure, &correct).unwrap() < 1e-11);
    }

    #[test]
    fn a_temperature_never_raises_the_loss(
        rows in prop::collection::vec((prop::collection::vec(-5.0..5.0f64, 3), 0..3usize), 1..12),
    ) {
        let (logits, labels): (Vec<Vec<f64>>, Vec<usize>) = rows.into_iter().unzip();
        let fit = fit_temperature(&logits, &labels).unwrap();
        prop_assert!(fit.temperature > 0.0 && fit.temperature.is_finite());
        prop_assert!(fit.loss_after >= 0.0 && fit.loss_after <= fit.loss_before + 1e-9);
    }

    #[test]
    fn agreement_of_tables_is_at_most_1_and_heeds_no_order(
        (rows, turned) in shuffled(prop::collection::vec((0..5u64, 0..5u64), 1..10)),
    ) {
        // Five raters, three categories.
        let table = |rows: &[(u64, u64)]| -> Vec<Vec<u64>> {
            rows.iter().map(|(a, b)| vec![*a, (*b).min(5 - a), 5 - a - (*b).min(5 - a)]).collect()
        };
        for kappa in [fleiss_kappa, randolph_kappa] {
            let (here, other) = (kappa(&table(&rows)).unwrap(), kappa(&table(&turned)).unwrap());
            prop_assert_eq!(here.is_some(), other.is_some());
            if let (Some(here), Some(other)) = (here, other) {
                prop_assert!((-1.0..=1.0 + 1e-12).contains(&here) && (here - other).abs() < 1e-12);
            }
            let same: Vec<Vec<u64>> = rows.iter().map(|(a, _)| if *a < 3 { vec![5, 0, 0] } else { vec![0, 5, 0] }).collect();
            prop_assert!(kappa(&same).unwrap().is_none_or(|kappa| (kappa - 1.0).abs() < 1e-12));
        }
        let ratings = |rows: &[(u64, u64)]| -> Vec<Vec<Option<f64>>> {
            let column = |part: fn(&(u64, u64)) -> u64| rows.iter().map(|row| Some(part(row) as f64)).collect();
            vec![column(|row| row.0), column(|row| row.1)]
        };
        for weights in [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic] {
            let (here, other) = (gwet_ac(&ratings(&rows), weights).unwrap(), gwet_ac(&ratings(&turned), weights).unwrap());
            prop_assert_eq!(here.is_some(), other.is_some());
            if let (Some(here), Some(other)) = (here, other) {
                prop_assert!(here <= 1.0 + 1e-12 && (here - other).abs() < 1e-12);
            }
        }
        let twice: Vec<(u64, u64)> = rows.iter().map(|row| (row.0, row.0)).collect();
        let alpha = krippendorff_alpha(&ratings(&twice), Measurement::Nominal).unwrap();
        prop_assert!(alpha.is_none_or(|alpha| (alpha - 1.0).abs() < 1e-12));
        let gwet = gwet_ac(&ratings(&twice), KappaWeights::Unweighted).unwrap();
        prop_assert!(gwet.is_none_or(|gwet| (gwet - 1.0).abs() < 1e-12));
    }

    #[test]
    fn standard_errors_heed_no_order_and_are_0_without_variation(
        (values, turned) in shuffled(prop::collection::vec(-9.0..9.0f64, 2..20)),
    ) {
        let error = mean_stderr(&values).unwrap();
        prop_assert!(error >= 0.0 && (error - mean_stderr(&turned).unwrap()).abs() < 1e-12);
        prop_assert!(bootstrap_stderr(&values, 30, mean).unwrap() >= 0.0);
        let constant = vec![values[0]; values.len()];
        prop_assert!(mean_stderr(&constant).unwrap() < 1e-12);
        prop_assert!(bootstrap_stderr(&constant, 30, mean).unwrap() < 1e-12);
        // Equal tasks have the error of one of them, over the root of their number.
        let count = values.len();
        let pooled = pooled_stderr(&[error; 3], &[count; 3]).unwrap();
        prop_assert!((pooled * 3f64.sqrt() - error).abs() <= 1e-12 * error.max(1.0));
    }

    #[test]
    fn more_examples_see_smaller_differences(difference in 0.01..1.0f64, deviation in 0.01..2.0f64) {
        let config = PowerConfig::new();
        let examples = config.examples_for_mean(difference, deviation).unwrap();
        let seen = config.smallest_difference(examples, deviation).unwrap();
        prop_assert!(seen <= difference * (1.0 + 1e-9));
        prop_assert_eq!(config.examples_for_mean(-difference, deviation).unwrap(), examples);
        prop_assert!(config.smallest_difference(2 * examples, deviation).unwrap() < seen);
        prop_assert!(config.examples_for_mean(difference / 2.0, deviation).unwrap() >= examples);
        prop_assert!(config.examples_for_accuracy(difference, 1.0).unwrap() >= 1);
    }

    #[test]
    fn answers_that_differ_nowhere_are_no_evidence(right in prop::collection::vec(any::<bool>(), 1..30)) {
        let same = mcnemar(&right, &right).unwrap();
        prop_assert_eq!((same.only_base, same.only_tuned, same.exact_p, same.chi2_p), (0, 0, 1.0, 1.0));
    }

    #[test]
    fn passes_are_shares_and_heed_no_order(
        (problems, turned) in shuffled(prop::collection::vec((5..20u64, 0..20u64), 1..10)),
    ) {
        let score = |problems: &[(u64, u64)]| {
            let problems: Vec<(u64, u64)> = problems.iter().map(|(n, c)| (*n, *c.min(n))).collect();
            mean_pass_at_k(&problems, 5).unwrap()
        };
        let here = score(&problems);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&here) && (here - score(&turned)).abs() < 1e-12);
        let all: Vec<(u64, u64)> = problems.iter().map(|(n, _)| (*n, *n)).collect();
        prop_assert_eq!(mean_pass_at_k(&all, 5).unwrap(), 1.0);
    }

    #[test]
    fn wins_of_both_sides_add_up(
        (rows, turned) in shuffled(prop::collection::vec((0..3u8, 1..3u8, any::<bool>()), 1..20)),
    ) {
        let rates = |rows: &[(u8, u8, bool)]| {
            let battle = |(first, step, won): &(u8, u8, bool)| {
                let outcome = if *won { BattleOutcome::First } else { BattleOutcome::Tie };
                Battle::new(first.to_string(), ((first + step) % 3).to_string(), outcome)
            };
            win_rates(&rows.iter().map(battle).collect::<Vec<_>>())
        };
        let here = rates(&rows);
        prop_assert_eq!(&here, &rates(&turned));
        for (system, opponents) in &here {
            for (opponent, rate) in opponents {
                let back = here[opponent][system];
                prop_assert_eq!(rate.count, back.count);
                prop_assert!((rate.rate + back.rate - 1.0).abs() < 1e-12 && (0.0..=1.0).contains(&rate.rate));
            }
        }
    }
}
