//! One metric over all items: a number for each, and the number of all with its error bars.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use rayon::prelude::*;

use super::metric::TaskMetricName as Name;
use crate::averages::{Averages, ClassCounts, ZeroDivision};
use crate::bleu::{BleuConfig, BleuCounts};
use crate::bootstrap::{BootstrapConfig, Estimate, Resample, bootstrap, bootstrap_stderr, mean, mean_stderr};
use crate::chrf::{ChrfConfig, ChrfCounts};
use crate::entities::{EntityConfig, EntityCounts};
use crate::error::EvalError;
use crate::exact_match::ExactMatch;
use crate::metric::Metric;
use crate::multiple_choice::Chosen;
use crate::perplexity::lm_eval_words;
use crate::rouge::{RougeConfig, RougeType};
use crate::squad::{answer_exact_match, answer_f1};
use crate::ter::{TerConfig, TerCounts};

/// Draws of lm-eval for the standard errors of BLEU, chrF and TER.
const CORPUS_DRAWS: usize = 100;

/// Draws for those that lm-eval does not have or gives no standard error for.
const OTHER_DRAWS: usize = 1000;

/// Nats per word or byte of which exp and its square are numbers.
const LARGEST_LOSS: f64 = 350.0;

/// A metric's numbers.
pub(super) struct Measured {
    pub(super) value: f64,
    /// `None` for a single item.
    pub(super) stderr: Option<f64>,
    pub(super) interval: [f64; 2],
    /// Per item.
    pub(super) items: Vec<f64>,
}

/// The mean of numbers, with lm-eval's standard error.
fn of_mean(items: Vec<f64>, config: &BootstrapConfig) -> Result<Measured, EvalError> {
    let Estimate { value, interval } = bootstrap(&items, config, mean)?;
    let stderr = if items.len() > 1 { Some(mean_stderr(&items)?) } else { None };
    Ok(Measured { value, stderr, interval, items })
}

/// A statistic of all items together, with lm-eval's bootstrapped standard error.
fn of_corpus<C>(
    counts: &[C],
    config: &BootstrapConfig,
    draws: usize,
    statistic: impl Fn(Resample<'_, C>) -> f64,
    each: impl Fn(&C) -> f64,
) -> Result<Measured, EvalError> {
    let Estimate { value, interval } = bootstrap(counts, config, &statistic)?;
    let stderr = if counts.len() > 1 { Some(bootstrap_stderr(counts, draws, &statistic)?) } else { None };
    Ok(Measured { value, stderr, interval, items: counts.iter().map(each).collect() })
}

/// Written answers, `None` where the filters found none.
pub(super) fn texts(
    name: Name,
    exact_match: &ExactMatch,
    answers: &[Option<String>],
    references: &[Vec<String>],
    config: &BootstrapConfig,
) -> Result<Measured, EvalError> {
    let score = |score: &(dyn Fn(&str, &[String]) -> f64 + Sync)| {
        let one = |(answer, references): (&Option<String>, &Vec<String>)| {
            answer.as_ref().map_or(0.0, |answer| 100.0 * score(answer, references))
        };
        of_mean(answers.par_iter().zip(references).map(one).collect(), config)
    };
    let share = |hit: bool| f64::from(u8::from(hit));
    let rouge = |of: RougeType| {
        let rouge = RougeConfig::new().with_types([of]).init()?;
        score(&|answer, references| {
            rouge.score_multi(answer, references).values().map(|score| score.fmeasure).sum()
        })
    };
    let or_empty: Vec<&str> = answers.iter().map(|answer| answer.as_deref().unwrap_or_default()).collect();
    let entities = |of: fn(&EntityCounts) -> f64| {
        let counts = EntityConfig::new().score(&or_empty, references)?.examples;
        of_corpus(&counts, config, OTHER_DRAWS, |sample| of(&sample.sum()), of)
    };
    let chrf = |chrf: ChrfConfig| {
        let chrf = chrf.init()?;
        let counts = counted(&or_empty, references, |answer, references| chrf.counts(answer, references));
        let statistic = |sample: Resample<'_, ChrfCounts>| chrf.score(&total(sample));
        of_corpus(&counts, config, CORPUS_DRAWS, statistic, |counts| chrf.score(counts))
    };
    match name {
        Name::Answer(Metric::ExactMatch) => score(&|answer, references| {
            let answer = exact_match.clean(answer);
            share(references.iter().any(|reference| exact_match.clean(reference) == answer))
        }),
        Name::Answer(Metric::SquadExactMatch) => {
            score(&|answer, references| share(answer_exact_match(answer, references)))
        }
        Name::Answer(Metric::SquadF1) => score(&|answer, references| answer_f1(answer, references)),
        Name::Accuracy => {
            score(&|answer, references| share(references.iter().any(|wanted| wanted == answer)))
        }
        Name::Answer(Metric::Rouge1) => rouge(RougeType::N(1)),
        Name::Answer(Metric::Rouge2) => rouge(RougeType::N(2)),
        Name::Answer(Metric::RougeL) => rouge(RougeType::L),
        Name::Answer(Metric::RougeLsum) => rouge(RougeType::Lsum),
        Name::Answer(Metric::EntityPrecision) => entities(EntityCounts::precision),
        Name::Answer(Metric::EntityRecall) => entities(EntityCounts::recall),
        Name::Answer(Metric::EntityF1) => entities(EntityCounts::f1),
        Name::Answer(Metric::Bleu) => {
            let (corpus, sentence) = (BleuConfig::new().init()?, BleuConfig::for_sentences().init()?);
            let counts =
                counted(&or_empty, references, |answer, references| corpus.counts(answer, references));
            let statistic = |sample: Resample<'_, BleuCounts>| corpus.score(&total(sample)).score;
            of_corpus(&counts, config, CORPUS_DRAWS, statistic, |counts| sentence.score(counts).score)
        }
        Name::Chrf => chrf(ChrfConfig::new()),
        Name::ChrfPlusPlus => chrf(ChrfConfig::new().with_word_order(2)),
        Name::Ter => {
            let ter = TerConfig::new().init();
            let counts = counted(&or_empty, references, |answer, references| ter.counts(answer, references));
            let statistic = |sample: Resample<'_, TerCounts>| ter.score(&total(sample));
            of_corpus(&counts, config, CORPUS_DRAWS, statistic, |counts| ter.score(counts))
        }
        Name::F1Macro => f1_macro(answers, references, config),
        _ => Err(unfit(name, "metrics of written answers")),
    }
}

fn counted<C: Send>(
    answers: &[&str],
    references: &[Vec<String>],
    count: impl Fn(&str, &[String]) -> C + Sync,
) -> Vec<C> {
    answers.par_iter().zip(references).map(|(answer, references)| count(answer, references)).collect()
}

fn total<C: Default + for<'a> std::ops::AddAssign<&'a C>>(sample: Resample<'_, C>) -> C {
    let mut sum = C::default();
    sample.for_each(|counts| sum += counts);
    sum
}

/// Macro F1 over the labels among the references. The label wanted is the reference that the answer equals, else the
/// first.
fn f1_macro(
    answers: &[Option<String>],
    references: &[Vec<String>],
    config: &BootstrapConfig,
) -> Result<Measured, EvalError> {
    let wanted: Vec<&String> = answers
        .iter()
        .zip(references)
        .map(|(answer, references)| match answer {
            Some(answer) => {
                references.iter().find(|reference| *reference == answer).unwrap_or(&references[0])
            }
            None => &references[0],
        })
        .collect();
    let mut labels: BTreeMap<&String, usize> = wanted.iter().map(|label| (*label, 0)).collect();
    labels.values_mut().zip(0..).for_each(|(position, at)| *position = at);
    let pairs: Vec<(usize, Option<usize>)> = wanted
        .iter()
        .zip(answers)
        .map(|(wanted, answer)| {
            (labels[wanted], answer.as_ref().and_then(|answer| labels.get(answer).copied()))
        })
        .collect();
    let statistic = |sample: Resample<'_, (usize, Option<usize>)>| {
        let mut counts = vec![ClassCounts::default(); labels.len()];
        for (wanted, found) in sample {
            counts[*wanted].wanted += 1;
            counts[*wanted].correct += u64::from(*found == Some(*wanted));
            if let Some(found) = found {
                counts[*found].predicted += 1;
            }
        }
        // As scikit-learn, a resample has the labels that occur in it.
        counts.retain(|counts| counts.wanted + counts.predicted > 0);
        100.0 * Averages::of(&counts, 1.0, ZeroDivision::Zero).macro_.f
    };
    let right =
        |(wanted, found): &(usize, Option<usize>)| 100.0 * f64::from(u8::from(*found == Some(*wanted)));
    of_corpus(&pairs, config, OTHER_DRAWS, statistic, right)
}

/// Choices of a model against the right ones.
pub(super) fn choices(
    name: Name,
    chosen: &[Chosen],
    gold: &[Option<usize>],
    config: &BootstrapConfig,
) -> Result<Measured, EvalError> {
    let right = |of: fn(&Chosen) -> Option<usize>| {
        let share = |(chosen, gold): (&Chosen, &Option<usize>)| f64::from(u8::from(of(chosen) == *gold));
        of_mean(chosen.iter().zip(gold).map(share).collect(), config)
    };
    match name {
        Name::Acc => right(|chosen| Some(chosen.likeliest)),
        Name::AccNorm => right(|chosen| Some(chosen.per_character)),
        Name::AccBytes => right(|chosen| Some(chosen.per_byte)),
        Name::AccMutualInfo => right(|chosen| chosen.mutual_information),
        Name::Brier => of_mean(chosen.iter().map(|chosen| chosen.brier).collect(), config),
        _ => Err(unfit(name, "metrics of choices")),
    }
}

/// Losses of whole texts, in nats, with their numbers of tokens.
pub(super) fn losses(
    name: Name,
    losses: &[(f64, usize)],
    texts: &[Vec<String>],
    config: &BootstrapConfig,
) -> Result<Measured, EvalError> {
    let weigh = |weight: fn(&str, usize) -> usize| -> Vec<(f64, f64)> {
        let text = |text: &Vec<String>| text.first().cloned().unwrap_or_default();
        let pair = |((loss, tokens), list): (&(f64, usize), &Vec<String>)| {
            (*loss, weight(&text(list), *tokens) as f64)
        };
        losses.iter().zip(texts).map(pair).collect()
    };
    // One long text of few words has a perplexity beyond all numbers: intervals are drawn before exp.
    let perplexity = |weight| {
        let weighed = weigh(weight);
        let each = |(loss, weight): &(f64, f64)| loss / weight;
        let Estimate { value, interval } = bootstrap(&weighed, config, per_weight)?;
        let exp = |mean: f64| mean.exp().min(f64::MAX);
        let is_finite = weighed.iter().all(|text| each(text) < LARGEST_LOSS);
        let stderr = match is_finite && weighed.len() > 1 {
            true => Some(bootstrap_stderr(&weighed, OTHER_DRAWS, |sample| per_weight(sample).exp())?),
            false => None,
        };
        let items = weighed.iter().map(|text| each(text).exp()).collect();
        Ok(Measured { value: exp(value), stderr, interval: interval.map(exp), items })
    };
    match name {
        Name::Answer(Metric::Perplexity) => perplexity(|_, tokens| tokens),
        Name::WordPerplexity => perplexity(|text, _| lm_eval_words(text)),
        Name::BytePerplexity => perplexity(|text, _| text.len()),
        Name::BitsPerByte => {
            let statistic = |sample: Resample<'_, (f64, f64)>| per_weight(sample) / LN_2;
            let each = |(loss, bytes): &(f64, f64)| loss / bytes / LN_2;
            of_corpus(&weigh(|text, _| text.len()), config, OTHER_DRAWS, statistic, each)
        }
        _ => Err(unfit(name, "metrics of whole texts")),
    }
}

fn per_weight(sample: Resample<'_, (f64, f64)>) -> f64 {
    let (loss, weight) = sample.fold((0.0, 0.0), |sum, text| (sum.0 + text.0, sum.1 + text.1));
    loss / weight
}

fn unfit(name: Name, wanted: &'static str) -> EvalError {
    EvalError::Option { metric: "task", option: "metrics", found: name.to_string(), wanted }
}
