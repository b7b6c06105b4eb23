//! The tightest part of a source that holds enough of an extraction, in order.

use std::ops::Range;

/// For falling numbers `k` of matched tokens, from all down to `needed`: the shortest window of `source` (of equals,
/// the first) that has a common subsequence of length `k` with `extraction`; the first with
/// `k / length >= min_density` is returned.
///
/// The windows are found by the combing of all substrings at once (Alves, Cáceres, Song 2008, "An all-substrings
/// common subsequence algorithm"; Tiskin's seaweeds): O(n·m) for `n` tokens of source and `m` of extraction, and O(n)
/// for each `k`, where a dynamic programme over `k` takes O(n·m²).
pub(super) fn tightest(
    source: &[u32],
    extraction: &[u32],
    needed: usize,
    min_density: f64,
) -> Option<Range<usize>> {
    let starts = comb(source, extraction);
    let mut ends_by_start = vec![usize::MAX; source.len()];
    for (end, start) in starts.iter().enumerate() {
        if let Some(start) = start {
            ends_by_start[*start] = end;
        }
    }
    (needed.max(1)..=extraction.len()).rev().find_map(|wanted| {
        let window = shortest(&starts, &ends_by_start, wanted)?;
        (wanted as f64 / window.len() as f64 >= min_density).then_some(window)
    })
}

/// For each place `j` of the source, the place `h` such that the longest common subsequence of `source[s..e]` with the
/// extraction is the number of `j` in `s..e` with `h < s`; `None` is below every place.
fn comb(source: &[u32], extraction: &[u32]) -> Vec<Option<usize>> {
    let mut places: Vec<Option<usize>> = (0..source.len()).map(Some).collect();
    for token in extraction {
        let mut carried = None;
        for (place, found) in places.iter_mut().zip(source) {
            if found == token || *place < carried {
                std::mem::swap(place, &mut carried);
            }
        }
    }
    places
}

/// The shortest, then first, window with at least `wanted` matches.
fn shortest(starts: &[Option<usize>], ends_by_start: &[usize], wanted: usize) -> Option<Range<usize>> {
    let (mut end, mut matches) = (0, 0);
    let mut best: Option<Range<usize>> = None;
    for (start, freed) in ends_by_start.iter().copied().enumerate() {
        let counts = |at: usize| starts[at].is_none_or(|place| place < start);
        while matches < wanted && end < starts.len() {
            matches += usize::from(counts(end));
            end += 1;
        }
        if matches < wanted {
            break;
        }
        if best.as_ref().is_none_or(|best| end - start < best.len()) {
            best = Some(start..end);
        }
        // On to the next start: the token at `start` leaves, and the place that hangs on it begins to count.
        matches -= usize::from(counts(start));
        matches += usize::from(freed > start && freed < end);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{shortest, tightest};
    use std::collections::BTreeMap;
    use std::ops::Range;

    /// The dynamic programme: for each end, the latest start with `k` matches.
    fn reference(source: &[u32], extraction: &[u32]) -> BTreeMap<usize, Range<usize>> {
        let (n, m) = (source.len(), extraction.len());
        let mut best: BTreeMap<usize, Range<usize>> = BTreeMap::new();
        for start in 0..n {
            let mut row = vec![0; m + 1];
            for (end, token) in source.iter().enumerate().skip(start) {
                let mut next = row.clone();
                for j in 0..m {
                    next[j + 1] = if *token == extraction[j] { row[j] + 1 } else { next[j].max(row[j + 1]) };
                }
                row = next;
                for k in 1..=row[m] {
                    let window = start..end + 1;
                    if best.get(&k).is_none_or(|known: &Range<usize>| window.len() < known.len()) {
                        best.insert(k, window);
                    }
                }
            }
        }
        best
    }

    #[test]
    fn windows_are_those_of_the_dynamic_programme() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..400 {
            let letters = 2 + round % 5;
            let source: Vec<u32> = (0..random(40)).map(|_| random(letters) as u32).collect();
            let extraction: Vec<u32> = (0..random(12)).map(|_| random(letters + 1) as u32).collect();
            let wanted = reference(&source, &extraction);
            let starts = super::comb(&source, &extraction);
            let mut ends = vec![usize::MAX; source.len()];
            for (end, start) in starts.iter().enumerate() {
                if let Some(start) = start {
                    ends[*start] = end;
                }
            }
            for k in 1..=extraction.len() {
                assert_eq!(
                    shortest(&starts, &ends, k),
                    wanted.get(&k).cloned(),
                    "{source:?} {extraction:?} {k}"
                );
            }
            let loosest = wanted.iter().next_back().map(|(_, window)| window.clone());
            assert_eq!(tightest(&source, &extraction, 1, 0.0), loosest);
        }
    }
}
