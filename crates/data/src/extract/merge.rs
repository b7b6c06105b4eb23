//! Several passes to one list.

use super::extraction::Extraction;

/// Joins the extractions of several passes over one document: all of the first; of each later one those whose span
/// overlaps none that is kept, and those without a span (langextract 1.7.1,
/// `_merge_non_overlapping_extractions`).
pub fn merge_passes(passes: Vec<Vec<Extraction>>) -> Vec<Extraction> {
    let mut passes = passes.into_iter();
    let mut kept = passes.next().unwrap_or_default();
    for extraction in passes.flatten() {
        let overlaps = |other: &Extraction| match (&extraction.chars, &other.chars) {
            (Some(one), Some(other)) => one.start < other.end && other.start < one.end,
            _ => false,
        };
        if !kept.iter().any(overlaps) {
            kept.push(extraction);
        }
    }
    kept
}
