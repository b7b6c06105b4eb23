//! Losses of two models on the same texts.

use burnisher_eval::{
    BootstrapConfig, ForgettingConfig, ForgettingVerdict, LossComparison, TextLoss, corpus_perplexity,
};

use crate::close;

fn texts(rows: &[(f64, usize)]) -> Vec<TextLoss> {
    rows.iter().map(|(sum, tokens)| TextLoss { sum: *sum, tokens: *tokens, bytes: 0 }).collect()
}

#[test]
fn tokens_weigh_the_same() {
    let (base, tuned) = (texts(&[(2.0, 1), (3.0, 9)]), texts(&[(1.0, 1), (5.0, 9)]));
    let loss = LossComparison::new(&base, &tuned, &BootstrapConfig::new()).unwrap();
    close(loss.base, 0.5, "base");
    close(loss.tuned, 0.6, "tuned");
    close(loss.difference, 0.1, "difference");
    close(loss.relative_change, 20.0, "relative change");
    close(loss.base_perplexity, corpus_perplexity(&base).unwrap(), "base perplexity");
    close(loss.tuned_perplexity, corpus_perplexity(&tuned).unwrap(), "tuned perplexity");
    assert_eq!((loss.count, loss.tokens), (2, 10));
    // A resample is the first text twice, both, or the second twice.
    close(loss.interval[0], -1.0, "lower bound");
    close(loss.interval[1], 2.0 / 9.0, "upper bound");
}

#[test]
fn verdicts_go_by_the_threshold() {
    let before = texts(&[(20.0, 10); 4]);
    let rows = [
        (
            2.0,
            5.0,
            ForgettingVerdict::Unchanged,
            "(+0.0 %, ",
            ": unchanged within 5 %; the interval includes no change.",
        ),
        (2.08, 5.0, ForgettingVerdict::Unchanged, "(+4.0 %, ", ": unchanged within 5 %."),
        (2.12, 5.0, ForgettingVerdict::Worse, "(+6.0 %, ", ": worse by more than 5 %."),
        (1.8, 5.0, ForgettingVerdict::Better, "(-10.0 %, ", ": better by more than 5 %."),
        (2.08, 3.0, ForgettingVerdict::Worse, "(+4.0 %, ", ": worse by more than 3 %."),
    ];
    for (loss, threshold, verdict, change, end) in rows {
        let after = texts(&[(10.0 * loss, 10); 4]);
        let found = ForgettingConfig::new().with_threshold(threshold).assess(&before, &after).unwrap();
        let sentence = found.to_string();
        assert_eq!(found.verdict, verdict, "{sentence}");
        assert!(sentence.contains(change) && sentence.ends_with(end), "{sentence}");
    }
    let found = ForgettingConfig::new().assess(&before, &texts(&[(21.2, 10); 4])).unwrap();
    assert_eq!(
        found.to_string(),
        "General loss 2.000 before and 2.120 after tuning (+6.0 %, perplexity 7.39 and 8.33; difference +0.120, \
         95 % interval +0.120 to +0.120, 4 texts, 40 tokens): worse by more than 5 %."
    );
}

#[test]
fn wrong_input_is_an_error() {
    let config = BootstrapConfig::new();
    let compare = |base: &[(f64, usize)], tuned: &[(f64, usize)]| {
        LossComparison::new(&texts(base), &texts(tuned), &config).unwrap_err().to_string()
    };
    let rows = [
        (compare(&[], &[]), "loss comparison: found no examples, wanted at least one"),
        (
            compare(&[(1.0, 1)], &[(1.0, 1), (1.0, 1)]),
            "loss comparison: found 1 examples of the base and 2 of the tuned system, wanted equally many",
        ),
        (
            compare(&[(1.0, 1), (1.0, 2)], &[(1.0, 1), (1.0, 3)]),
            "loss comparison: text 1 has 2 tokens for the base and 3 for the tuned model, wanted the same tokens",
        ),
        (
            compare(&[(1.0, 1)], &[(f64::NAN, 1)]),
            "loss comparison, tuned: the loss of text 0 is NaN, wanted a finite number",
        ),
        (
            compare(&[(0.0, 1)], &[(1.0, 1)]),
            "loss comparison: found a base loss of 0 per token, wanted one above 0",
        ),
        (
            compare(&[(1.0, 1)], &[(1e6, 1)]),
            "bootstrap: the statistic is inf on the examples (perplexity of a loss of 1000000), wanted a finite number",
        ),
        (
            ForgettingConfig::new().with_threshold(-1.0).assess(&[], &[]).unwrap_err().to_string(),
            "forgetting: found threshold = -1, wanted a finite number of at least 0",
        ),
    ];
    for (got, wanted) in rows {
        assert_eq!(got, wanted);
    }
}
