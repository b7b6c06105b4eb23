//! Which found span is held against which wanted one.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{Span, SpanConfig, SpanCriterion, SpanOutcomes};

/// How found and wanted spans of a document are paired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanMatching {
    /// As nervaluate 1.2.1: found spans one after the other, each against the first wanted span it is right for,
    /// or else the first it overlaps. Where spans overlap each other, the result depends on their order.
    #[default]
    InOrder,
    /// The best pairs first: right ones, then those that overlap most. Does not depend on the order of spans.
    BestFirst,
}

/// What a pair of spans is worth; the better, the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Correct,
    /// Half right under [`SpanCriterion::Partial`], wrong under the others.
    Overlap,
}

impl SpanConfig {
    pub(super) fn match_spans(
        &self,
        criterion: SpanCriterion,
        document: usize,
        found: &[&Span],
        wanted: &[&Span],
        outcomes: &mut SpanOutcomes,
    ) {
        let pairs = match self.matching {
            SpanMatching::InOrder => self.in_order(criterion, found, wanted),
            SpanMatching::BestFirst => self.best_first(criterion, found, wanted),
        };
        let mut matched = vec![false; wanted.len()];
        for (index, pair) in pairs.into_iter().enumerate() {
            let list = match pair {
                Some((Verdict::Correct, _)) => &mut outcomes.correct,
                Some((Verdict::Overlap, _)) if criterion == SpanCriterion::Partial => &mut outcomes.partial,
                Some((Verdict::Overlap, _)) => &mut outcomes.incorrect,
                None => &mut outcomes.spurious,
            };
            list.push((document, index));
            if let Some((_, partner)) = pair {
                matched[partner] = true;
            }
        }
        let missed = matched.iter().enumerate().filter(|(_, matched)| !**matched);
        outcomes.missed.extend(missed.map(|(index, _)| (document, index)));
    }

    fn verdict(&self, criterion: SpanCriterion, found: &Span, wanted: &Span) -> Option<Verdict> {
        let same_place = found.start == wanted.start && found.end == wanted.end;
        let same_label = found.label == wanted.label;
        let share = found.overlap(wanted) as f64 / (wanted.end - wanted.start) as f64 * 100.0;
        let overlaps = share >= self.min_overlap_percentage;
        let correct = match criterion {
            SpanCriterion::Strict => same_place && same_label,
            SpanCriterion::Exact | SpanCriterion::Partial => same_place,
            SpanCriterion::EntType => overlaps && same_label,
        };
        if correct { Some(Verdict::Correct) } else { overlaps.then_some(Verdict::Overlap) }
    }

    fn in_order(
        &self,
        criterion: SpanCriterion,
        found: &[&Span],
        wanted: &[&Span],
    ) -> Vec<Option<(Verdict, usize)>> {
        let mut free = vec![true; wanted.len()];
        let partner = |found: &&Span| {
            let rated =
                wanted.iter().enumerate().filter(|(index, _)| free[*index]).filter_map(|(index, wanted)| {
                    let verdict = self.verdict(criterion, found, wanted)?;
                    // Among wanted spans of the right label the one with the closest bounds is taken.
                    let distance = match (criterion, verdict) {
                        (SpanCriterion::EntType, Verdict::Correct) => distance(found, wanted),
                        _ => 0,
                    };
                    Some((verdict, distance, index))
                });
            let best = rated.min();
            if let Some((_, _, index)) = best {
                free[index] = false;
            }
            best.map(|(verdict, _, index)| (verdict, index))
        };
        found.iter().map(partner).collect()
    }

    fn best_first(
        &self,
        criterion: SpanCriterion,
        found: &[&Span],
        wanted: &[&Span],
    ) -> Vec<Option<(Verdict, usize)>> {
        let mut rated = Vec::new();
        for (at, span) in found.iter().enumerate() {
            for (index, other) in wanted.iter().enumerate() {
                if let Some(verdict) = self.verdict(criterion, span, other) {
                    let same_label = span.label == other.label;
                    let rank = (verdict, Reverse(span.overlap(other)), distance(span, other), !same_label);
                    rated.push((rank, *span, *other, at, index));
                }
            }
        }
        // Spans equal in all respects may swap places without changing any count.
        rated.sort();
        let mut pairs = vec![None; found.len()];
        let mut free = vec![true; wanted.len()];
        for ((verdict, ..), _, _, at, index) in rated {
            if free[index] && pairs[at].is_none() {
                free[index] = false;
                pairs[at] = Some((verdict, index));
            }
        }
        pairs
    }
}

fn distance(left: &Span, right: &Span) -> usize {
    left.start.abs_diff(right.start) + left.end.abs_diff(right.end)
}
