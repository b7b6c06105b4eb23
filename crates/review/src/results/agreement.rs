//! How far judges agree about the same pairs.

use std::collections::BTreeMap;

use burnisher_eval::{KappaWeights, Measurement, cohen_kappa, fleiss_kappa, krippendorff_alpha};
use serde::Serialize;

use super::{Outcome, Vote};
use crate::{Plan, ReviewError};

/// Agreement of all judges over three categories: one system, a tie (two bad outputs among them), the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JudgeAgreement {
    /// Pairs of outputs that two or more judges compared; the others say nothing about agreement.
    pub shared: usize,
    /// Krippendorff's alpha over them, categories equal or not; `None` without shared pairs or variation.
    pub alpha: Option<f64>,
    /// The same with a tie between the two systems (ordinal): a tie against a win is half a disagreement.
    pub ordinal_alpha: Option<f64>,
    /// Pairs of outputs that every judge compared, on which Fleiss' kappa rests.
    pub complete: usize,
    /// Fleiss' kappa over them.
    pub fleiss_kappa: Option<f64>,
    /// Each two judges.
    pub judges: Vec<JudgePair>,
}

/// Agreement of two judges.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JudgePair {
    /// One judge.
    pub first: String,
    /// The other.
    pub second: String,
    /// Pairs of outputs that both compared.
    pub shared: usize,
    /// Those about which they say the same.
    pub same: usize,
    /// Cohen's kappa over them; `None` without shared pairs or where both always say the same one thing.
    pub cohen_kappa: Option<f64>,
}

pub(super) fn agreement(plan: &Plan, votes: &[Vote<'_>]) -> Result<JudgeAgreement, ReviewError> {
    let names: Vec<&str> = plan.judges().collect();
    // By item and systems: what each judge says.
    let mut units: BTreeMap<(usize, &str, &str), Vec<Option<Outcome>>> = BTreeMap::new();
    for vote in votes {
        let unit = units.entry((vote.item, vote.first, vote.second));
        unit.or_insert_with(|| vec![None; names.len()])[vote.judge] = Some(vote.outcome.preference());
    }
    let units: Vec<Vec<Option<Outcome>>> = units.into_values().collect();
    let said = |unit: &[Option<Outcome>]| unit.iter().flatten().count();
    let shared = units.iter().filter(|unit| said(unit) > 1).count();
    let alpha = |level| {
        if shared == 0 {
            return Ok(None);
        }
        let rows: Vec<Vec<Option<f64>>> =
            (0..names.len()).map(|judge| units.iter().map(|unit| unit[judge].map(order)).collect()).collect();
        krippendorff_alpha(&rows, level)
    };
    let table: Vec<Vec<u64>> = units
        .iter()
        .filter(|unit| names.len() > 1 && said(unit) == names.len())
        .map(|unit| {
            let count = |outcome| unit.iter().filter(|said| **said == Some(outcome)).count() as u64;
            [Outcome::First, Outcome::Tie, Outcome::Second].map(count).to_vec()
        })
        .collect();
    let mut judges = Vec::new();
    for (first, name) in names.iter().enumerate() {
        for (second, other) in names.iter().enumerate().skip(first + 1) {
            judges.push(judge_pair((name, first), (other, second), &units)?);
        }
    }
    Ok(JudgeAgreement {
        shared,
        alpha: alpha(Measurement::Nominal)?,
        ordinal_alpha: alpha(Measurement::Ordinal)?,
        complete: table.len(),
        fleiss_kappa: if table.is_empty() { None } else { fleiss_kappa(&table)? },
        judges,
    })
}

fn judge_pair(
    (name, first): (&str, usize),
    (other, second): (&str, usize),
    units: &[Vec<Option<Outcome>>],
) -> Result<JudgePair, ReviewError> {
    let both = units.iter().filter_map(|unit| unit[first].zip(unit[second]));
    let (one, two): (Vec<Outcome>, Vec<Outcome>) = both.unzip();
    let kappa = if one.is_empty() { None } else { cohen_kappa(&one, &two, KappaWeights::Unweighted)? };
    Ok(JudgePair {
        first: name.to_owned(),
        second: other.to_owned(),
        shared: one.len(),
        same: one.iter().zip(&two).filter(|(one, two)| one == two).count(),
        cohen_kappa: kappa,
    })
}

/// A tie lies between the systems.
fn order(outcome: Outcome) -> f64 {
    1.0 - outcome.points()
}
