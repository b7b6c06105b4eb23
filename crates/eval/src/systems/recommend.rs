//! Which system to take, and why.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::curve::CurveVerdict;
use super::input::{CostMeasure, SystemKind};
use super::score::{Effect, GeneralChange, ScoreDifference, SystemPair};
use super::{SystemSummary, SystemsConfig};
use crate::metric::Metric;

/// Examples below which percentile intervals are too narrow ([`bootstrap`](fn@crate::bootstrap)).
const FEW: usize = 30;

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// There was nothing but the base.
    OnlyBase,
    /// No useful gain was shown, and one may be hidden by the small number of examples.
    TooFewExamples,
    /// No useful gain was shown, and none is likely.
    NothingBeatsBase,
    /// Systems beat the base, but all of them lost general ability.
    AllForgot,
    /// Retrieval beats the base and nothing trained is worth more.
    RetrievalSuffices,
    /// A trained system is worth its cost.
    Trained,
}

/// The system to take: the cheapest that beats the base by a useful difference, is not shown to be worse than the
/// best such, and kept its general ability. The base if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Its name.
    pub system: String,
    /// What the comparison came to.
    pub outcome: Outcome,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// What to be careful about, in sentences.
    pub cautions: Vec<String>,
}

/// Cheaper first: base, retrieval, trained; these by the chosen measure, unknown last, then by the others.
pub(super) fn by_cost(measure: CostMeasure, left: &SystemSummary, right: &SystemSummary) -> Ordering {
    let class = |kind: SystemKind| match kind {
        SystemKind::Base => 0,
        SystemKind::Retrieval => 1,
        _ => 2,
    };
    let measures = [measure].into_iter().chain(CostMeasure::ALL);
    let of = |measure: CostMeasure, system: &SystemSummary| measure.of(&system.cost).unwrap_or(f64::INFINITY);
    class(left.kind)
        .cmp(&class(right.kind))
        .then_with(|| {
            measures
                .map(|measure| of(measure, left).total_cmp(&of(measure, right)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
        .then_with(|| left.name.cmp(&right.name))
}

struct Advisor<'a> {
    config: &'a SystemsConfig,
    base: &'a SystemSummary,
    /// All but the base, best first.
    others: Vec<&'a SystemSummary>,
    pairs: &'a [SystemPair],
    count: usize,
}

/// `ranked` holds every system, best first.
pub(super) fn recommend(
    config: &SystemsConfig,
    ranked: &[&SystemSummary],
    pairs: &[SystemPair],
    count: usize,
) -> Recommendation {
    let Some(base) = ranked.iter().copied().find(|system| system.kind == SystemKind::Base) else {
        unreachable!("a comparison has a base")
    };
    let others = ranked.iter().copied().filter(|system| system.kind != SystemKind::Base).collect();
    Advisor { config, base, others, pairs, count }.advise()
}

impl Advisor<'_> {
    fn advise(&self) -> Recommendation {
        let mut reasons = Vec::new();
        let mut cautions = Vec::new();
        let improved: Vec<&SystemSummary> =
            self.others.iter().copied().filter(|system| self.beats_base(system)).collect();
        let kept: Vec<&SystemSummary> =
            improved.iter().copied().filter(|system| !system.has_forgotten()).collect();
        let (chosen, outcome) = match kept.first() {
            Some(best) => {
                let chosen = self.cheapest(best, &kept, &mut reasons);
                let outcome = match chosen.kind {
                    SystemKind::Retrieval => Outcome::RetrievalSuffices,
                    _ => Outcome::Trained,
                };
                (chosen, outcome)
            }
            None => (self.base, self.stay(&improved, &mut reasons)),
        };
        if outcome == Outcome::RetrievalSuffices {
            reasons.push("Retrieval suffices: no training is needed for this quality.".to_owned());
        }
        if self.count < FEW {
            cautions.push(format!(
                "{} examples are few: intervals of fewer than {FEW} come out too narrow.",
                self.count
            ));
        }
        self.passed_over(chosen, &kept, &mut cautions);
        self.look_at(chosen, &mut cautions);
        Recommendation { system: chosen.name.clone(), outcome, reasons, cautions }
    }

    fn metric(&self) -> Metric {
        self.config.primary
    }

    fn versus_base(&self, system: &SystemSummary) -> Option<ScoreDifference> {
        system.scores.get(&self.metric()).and_then(|score| score.versus_base)
    }

    fn beats_base(&self, system: &SystemSummary) -> bool {
        self.versus_base(system).is_some_and(|difference| {
            difference.effect == Effect::Better
                && difference.gain(self.metric()) >= self.config.minimal_difference
        })
    }

    /// The cheapest of `kept` that is as good as `best`, with the reasons.
    fn cheapest<'b>(
        &self,
        best: &'b SystemSummary,
        kept: &[&'b SystemSummary],
        reasons: &mut Vec<String>,
    ) -> &'b SystemSummary {
        let as_good = |system: &SystemSummary| {
            self.pair(best, system).is_none_or(|difference| {
                difference.effect != Effect::Better
                    || difference.gain(self.metric()) < self.config.minimal_difference
            })
        };
        let chosen = kept
            .iter()
            .copied()
            .filter(|system| as_good(system))
            .min_by(|left, right| by_cost(self.config.cost, left, right))
            .unwrap_or(best);
        if let Some(difference) = self.versus_base(chosen) {
            reasons.push(format!(
                "{} beats {} in {} by {}.",
                chosen.name,
                self.base.name,
                self.metric(),
                self.words(&difference)
            ));
        }
        // What ranks higher either lost general ability or was not shown to beat the base.
        let among = if best.rank == 1 { "" } else { " of those that qualify" };
        if chosen.name == best.name {
            reasons.push(format!("It scores highest{among}, and nothing cheaper is as good."));
        } else if let Some(difference) = self.pair(best, chosen) {
            let relation = match difference.effect {
                Effect::Better => "is better by less than is useful",
                _ => "is not shown to be better",
            };
            reasons.push(format!(
                "{} scores highest{among} but {relation}: {}.",
                best.name,
                self.words(&difference)
            ));
            let (cheap, dear) = (self.config.cost.of(&chosen.cost), self.config.cost.of(&best.cost));
            reasons.push(match (cheap, dear) {
                _ if !chosen.kind.is_trained() && best.kind.is_trained() => {
                    format!("{} needs no training, {} does.", chosen.name, best.name)
                }
                (Some(cheap), Some(dear)) if cheap > 0.0 => format!(
                    "{} is the cheaper of the two: the {} of {} is {:.2} times as much.",
                    chosen.name,
                    self.config.cost.words(),
                    best.name,
                    dear / cheap
                ),
                _ => format!("{} is the cheaper of the two, as far as costs were measured.", chosen.name),
            });
        }
        if let Some(general) = general_words(&chosen.general) {
            reasons.push(general);
        }
        chosen
    }

    /// Why to stay with the base.
    fn stay(&self, improved: &[&SystemSummary], reasons: &mut Vec<String>) -> Outcome {
        let Some(best) = self.others.first() else {
            reasons
                .push(format!("{} is the only system: there is nothing to compare it with.", self.base.name));
            return Outcome::OnlyBase;
        };
        if !improved.is_empty() {
            reasons.push(format!(
                "Every system that beats {} lost general ability beyond the tolerance.",
                self.base.name
            ));
            return Outcome::AllForgot;
        }
        let metric = self.metric();
        let useful = self.config.minimal_difference;
        if let Some(difference) = self.versus_base(best) {
            let relation = match difference.effect {
                Effect::Better => "is better by less than is useful",
                Effect::Unclear => "is not shown to differ",
                Effect::Worse => "is worse",
            };
            reasons.push(format!(
                "Nothing beats {}: the best other system, {}, {relation} in {metric}: {}.",
                self.base.name,
                best.name,
                self.words(&difference)
            ));
        }
        let hidden = self.others.iter().filter_map(|system| self.versus_base(system)).filter(|difference| {
            difference.effect != Effect::Worse && difference.largest_gain(metric) >= useful
        });
        let widest = hidden.map(|difference| (difference.interval[1] - difference.interval[0]) / 2.0);
        let Some(half) = widest.max_by(f64::total_cmp) else {
            return Outcome::NothingBeatsBase;
        };
        let mut text = format!(
            "{} examples are too few to tell: differences of up to about {half:.2} hide in chance",
            self.count
        );
        if useful > 0.0 {
            let needed = (self.count as f64 * (half / useful).powi(2)).ceil().max(self.count as f64 + 1.0);
            text.push_str(&format!(", and to see one of {useful} takes about {needed:.0}"));
        }
        reasons.push(text + ".");
        Outcome::TooFewExamples
    }

    /// Systems that score higher than the chosen one and were not taken.
    fn passed_over(&self, chosen: &SystemSummary, kept: &[&SystemSummary], cautions: &mut Vec<String>) {
        for system in &self.others {
            if system.has_forgotten() {
                let lost: Vec<String> =
                    system.general.iter().filter(|change| change.is_forgotten()).map(change_words).collect();
                cautions.push(format!("{} lost general ability: {}.", system.name, lost.join("; ")));
            } else if system.rank < chosen.rank
                && chosen.kind != SystemKind::Base
                && !kept.iter().any(|other| other.name == system.name)
            {
                cautions.push(format!(
                    "{} scores higher than {}, but its gain over {} is not shown.",
                    system.name, chosen.name, self.base.name
                ));
            }
        }
    }

    /// What to know of the chosen system and of the trainings.
    fn look_at(&self, chosen: &SystemSummary, cautions: &mut Vec<String>) {
        if chosen.kind.is_trained() && chosen.general.is_empty() {
            cautions.push(format!("Whether {} forgot anything was not measured.", chosen.name));
        }
        for system in &self.others {
            let Some(curve) = &system.curve else { continue };
            match curve.verdict {
                CurveVerdict::OverFitted => cautions.push(format!(
                    "{} over-fitted: its validation loss was least at step {} and rose by {:.1} % until the end; the \
                     weights of that step are those to have, and Burnisher's training keeps them by itself.",
                    system.name,
                    curve.best_step.unwrap_or_default(),
                    curve.rise.unwrap_or_default()
                )),
                CurveVerdict::Diverged => cautions.push(format!(
                    "{} has {} losses that are no finite numbers: its training diverged.",
                    system.name, curve.not_finite
                )),
                CurveVerdict::StillFalling => cautions.push(format!(
                    "{}'s validation loss was still falling at the end: longer training may improve it.",
                    system.name
                )),
                CurveVerdict::TooShort | CurveVerdict::Settled => {}
            }
        }
        let unparsable = chosen.scores.values().find_map(|score| score.unparsable);
        if let Some(unparsable @ 1..) = unparsable {
            cautions.push(format!(
                "{unparsable} of {} answers of {} hold no JSON object.",
                self.count, chosen.name
            ));
        }
    }

    fn pair(&self, first: &SystemSummary, second: &SystemSummary) -> Option<ScoreDifference> {
        let found = self.pairs.iter().find(|pair| pair.first == first.name && pair.second == second.name);
        found.map(|pair| pair.difference)
    }

    fn words(&self, difference: &ScoreDifference) -> String {
        let ScoreDifference { value, interval: [low, high], corrected_p, .. } = difference;
        let confidence = 100.0 * self.config.metrics.bootstrap().confidence;
        format!("{value:+.2} ({confidence} % interval {low:+.2} to {high:+.2}, corrected p {corrected_p:.3})")
    }
}

fn general_words(general: &[GeneralChange]) -> Option<String> {
    let worst = general
        .iter()
        .filter_map(|change| Some((change.source.as_str(), change.loss?)))
        .max_by(|left, right| left.1.loss.relative_change.total_cmp(&right.1.loss.relative_change))?;
    Some(format!(
        "Its general loss changed by at most {:+.1} % ({}), within the tolerance of {} %.",
        worst.1.loss.relative_change, worst.0, worst.1.threshold
    ))
}

fn change_words(change: &GeneralChange) -> String {
    match (&change.loss, &change.score) {
        (_, Some(score))
            if score.versus_base.is_some_and(|difference| difference.effect == Effect::Worse) =>
        {
            let metric = change.metric.map_or_else(String::new, |metric| format!(" in {metric}"));
            let difference = score.versus_base.map_or(0.0, |difference| difference.value);
            format!("{} {difference:+.2}{metric}", change.source)
        }
        (Some(loss), _) => format!("{} {:+.1} % loss", change.source, loss.loss.relative_change),
        _ => change.source.clone(),
    }
}
