//! Laws that hold for any text and any loss.

use burnisher_eval::{
    ExactMatchConfig, TextLoss, answer_exact_match, answer_f1, corpus_perplexity, mean_text_perplexity,
    normalize_answer,
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
