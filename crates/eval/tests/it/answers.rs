//! Answers found, chosen and counted, against lm-eval 0.4.13 and jiwer 4.0.

use burnisher_eval::{
    AnswerFilter, Choice, ChoiceFilter, ErrorUnit, ExactMatchConfig, MatchChoice, NO_ANSWER, Question,
    corpus_errors, distinct_n, mean_pass_at_k, multiple_choice, pass_at_k, text_errors,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{close, fixture, list, number, text};

#[test]
fn answers_are_found() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let cases = list(&data["answer_extraction"]);
    assert_eq!(cases.len(), 5);
    for case in cases {
        let (name, options) = (text(&case["name"]), &case["options"]);
        let choice = match options.get("group_select").and_then(Value::as_i64) {
            None | Some(0) => MatchChoice::First,
            Some(-1) => MatchChoice::Last,
            other => panic!("group_select {other:?}"),
        };
        let pattern = text(&options["regex_pattern"]);
        let rows = list(&case["inputs"]).iter().map(text).zip(list(&case["outputs"]).iter().map(text));
        for (index, (input, wanted)) in rows.enumerate() {
            let got = if name == "multi_choice_regex" {
                let choices: Vec<&str> = list(&case["choices"][index]).iter().map(text).collect();
                let ignores = |option: &str| options.get(option).is_some_and(|value| *value == true);
                ChoiceFilter::new(pattern, choice)
                    .unwrap()
                    .with_ignore_case(ignores("ignore_case"))
                    .with_ignore_punctuation(ignores("ignore_punctuation"))
                    .find(input, &choices)
                    .unwrap()
            } else {
                AnswerFilter::new(pattern, choice).unwrap().find(input)
            };
            assert_eq!(got.as_deref().unwrap_or(NO_ANSWER), wanted, "{name} of {input}");
        }
    }
    let ready = [AnswerFilter::gsm8k_strict().unwrap(), AnswerFilter::gsm8k_flexible().unwrap()];
    for (case, filter) in cases.iter().zip(ready) {
        for (input, wanted) in list(&case["inputs"]).iter().zip(list(&case["outputs"])) {
            assert_eq!(filter.find(text(input)).as_deref().unwrap_or(NO_ANSWER), text(wanted));
        }
    }
    let error = AnswerFilter::new("(", MatchChoice::First).unwrap_err();
    assert_eq!(error.to_string(), "answer filter: pattern `(` is not a regular expression");
    let gsm8k = ExactMatchConfig::gsm8k().init().unwrap();
    assert!(gsm8k.matches("$1,250.", "So much.\n#### 1250"));
}

#[test]
fn choices_match() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let items = list(&data["multiple_choice"]);
    assert_eq!(items.len(), 40);
    let questions: Vec<Question> = items
        .iter()
        .map(|item| Question {
            choices: (0..list(&item["choices"]).len())
                .map(|at| Choice {
                    text: text(&item["choices"][at]).to_owned(),
                    log_likelihood: number(&item["loglikelihoods"][at]),
                    unconditional: Some(number(&item["unconditional"][at])),
                })
                .collect(),
            gold: item["gold"].as_u64().unwrap() as usize,
        })
        .collect();
    let score = multiple_choice(&questions).unwrap();
    for (index, (chosen, item)) in score.chosen.iter().zip(items).enumerate() {
        let gold = questions[index].gold;
        let got = [chosen.likeliest, chosen.per_character, chosen.per_byte];
        let wanted: Vec<usize> = serde_json::from_value(item["pred"].clone()).unwrap();
        assert_eq!(got.as_slice(), wanted, "item {index}");
        let right = chosen.mutual_information == Some(gold);
        assert_eq!(f64::from(u8::from(right)), number(&item["acc_mutual_info"]), "item {index}");
        close(chosen.brier, number(&item["brier_item"]), &format!("item {index}"));
    }
    let mean = |name: &str| items.iter().map(|item| number(&item[name])).sum::<f64>() / items.len() as f64;
    close(score.acc, mean("acc"), "acc");
    close(score.acc_norm, mean("acc_norm"), "acc_norm");
    close(score.acc_bytes, mean("acc_bytes"), "acc_bytes");
    close(score.acc_mutual_info.unwrap(), mean("acc_mutual_info"), "acc_mutual_info");
    close(score.brier, mean("brier_item"), "brier");
    close(score.acc, number(&data["stderr"]["acc_mean"]), "mean");
    let lost = Question { choices: Vec::new(), gold: 0 };
    assert_eq!(
        multiple_choice(&[lost]).unwrap_err().to_string(),
        "multiple choice: the right answer of question 0 is 0 of 0 answers, wanted one of the answers, from 0"
    );
}

#[test]
fn error_rates_match() {
    let Some(data) = fixture("qa.json") else {
        return;
    };
    let wanted = &data["wer_cer"];
    let items = list(&wanted["items"]);
    assert_eq!(items.len(), 16);
    let side = |name: &str| -> Vec<&str> { items.iter().map(|item| text(&item[name])).collect() };
    let (found, references) = (side("hyp"), side("ref"));
    for (unit, name) in [(ErrorUnit::Words, "wer"), (ErrorUnit::Characters, "cer")] {
        for (index, item) in items.iter().enumerate() {
            let rate = text_errors(found[index], references[index], unit).rate();
            close(rate, number(&item[name]), &format!("{name} of item {index}"));
        }
        let corpus = corpus_errors(&found, &references, unit).unwrap();
        close(corpus.rate(), number(&wanted[format!("corpus_{name}")]), name);
    }
}

#[test]
fn samples_by_hand() {
    close(pass_at_k(5, 2, 1).unwrap(), 0.4, "one of five");
    close(pass_at_k(5, 2, 3).unwrap(), 1.0 - 1.0 / 10.0, "C(3, 3) / C(5, 3)");
    assert_eq!(pass_at_k(5, 3, 3).unwrap(), 1.0);
    assert_eq!(pass_at_k(5, 0, 3).unwrap(), 0.0);
    close(mean_pass_at_k(&[(5, 2), (5, 0)], 1).unwrap(), 0.2, "mean");
    assert_eq!(
        pass_at_k(5, 2, 6).unwrap_err().to_string(),
        "pass@k: found k = 6, wanted 1 up to the number of samples"
    );
    close(distinct_n(&["a b a b", "a b"], 1).unwrap(), 2.0 / 6.0, "words");
    close(distinct_n(&["a b a b", "a b"], 2).unwrap(), 2.0 / 4.0, "pairs");
    assert!(distinct_n(&["a"], 2).is_err() && distinct_n(&["a"], 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn error_rates_are_distances(left in any::<String>(), right in "[ab ]{0,12}") {
        for unit in [ErrorUnit::Words, ErrorUnit::Characters] {
            prop_assert_eq!(text_errors(&left, &left, unit).edits, 0);
            prop_assert_eq!(text_errors(&left, &right, unit).edits, text_errors(&right, &left, unit).edits);
        }
    }

    #[test]
    fn more_tries_pass_no_less(samples in 1..30u64, correct in 0..30u64) {
        let correct = correct.min(samples);
        let mut last = 0.0;
        for k in 1..=samples {
            let p = pass_at_k(samples, correct, k).unwrap();
            prop_assert!(p >= last - 1e-12 && p <= 1.0);
            last = p;
        }
        prop_assert_eq!(last, f64::from(u8::from(correct > 0)));
    }

    #[test]
    fn filters_take_any_text(input in any::<String>(), answer in any::<String>()) {
        let filter = ChoiceFilter::new(r"(\([A-Z]\))", MatchChoice::Last).unwrap().with_ignore_punctuation(true);
        prop_assert!(filter.find(&input, &[answer, String::new()]).is_ok());
        AnswerFilter::gsm8k_flexible().unwrap().find(&input);
    }
}
