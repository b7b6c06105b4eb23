//! Many samples of one model: does one of them pass, and how varied are they?

use std::collections::HashSet;

use crate::error::EvalError;
use crate::interner::Interner;
use crate::text::words;

/// The chance that one of `k` of the samples passes, when `correct` of `samples` do: 1 − C(n − c, k) / C(n, k),
/// without bias (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1), 0..1.
///
/// # Errors
/// `k` of 0 or above the number of samples, more correct samples than samples.
pub fn pass_at_k(samples: u64, correct: u64, k: u64) -> Result<f64, EvalError> {
    const METRIC: &str = "pass@k";
    let refuse = |option, found: u64, wanted| {
        Err(EvalError::Option { metric: METRIC, option, found: found.to_string(), wanted })
    };
    if k == 0 || k > samples {
        return refuse("k", k, "1 up to the number of samples");
    }
    if correct > samples {
        return refuse("correct", correct, "at most the number of samples");
    }
    if samples - correct < k {
        return Ok(1.0);
    }
    let all_fail: f64 = (samples - correct + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product();
    Ok(1.0 - all_fail)
}

/// Mean of [`pass_at_k`] over problems, given as (samples, correct samples).
///
/// # Errors
/// No problems, and as [`pass_at_k`].
pub fn mean_pass_at_k(problems: &[(u64, u64)], k: u64) -> Result<f64, EvalError> {
    if problems.is_empty() {
        return Err(EvalError::Empty { metric: "pass@k" });
    }
    let each = problems.iter().map(|(samples, correct)| pass_at_k(*samples, *correct, k));
    Ok(each.sum::<Result<f64, _>>()? / problems.len() as f64)
}

/// Distinct-n: different n-grams of words over all n-grams of a set of texts, 0..1 (Li et al. 2016, "A
/// Diversity-Promoting Objective Function for Neural Conversation Models"). Words are what white space separates.
///
/// # Errors
/// `n` of 0, texts without any n-gram.
pub fn distinct_n<S: AsRef<str>>(texts: &[S], n: usize) -> Result<f64, EvalError> {
    const METRIC: &str = "distinct-n";
    if n == 0 {
        let (option, found, wanted) = ("n", "0".to_owned(), "at least 1");
        return Err(EvalError::Option { metric: METRIC, option, found, wanted });
    }
    let mut interner = Interner::default();
    let numbered: Vec<Vec<u32>> = texts.iter().map(|text| interner.numbers(words(text.as_ref()))).collect();
    let (mut all, mut different) = (0u64, HashSet::new());
    for gram in numbered.iter().flat_map(|text| text.windows(n)) {
        all += 1;
        different.insert(gram);
    }
    match all {
        0 => Err(EvalError::Empty { metric: METRIC }),
        _ => Ok(different.len() as f64 / all as f64),
    }
}
