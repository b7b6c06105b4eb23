//! The greedy search for words worth moving.

use super::distance::{Distances, Step};

const MAX_SHIFT_SIZE: usize = 10;
const MAX_SHIFT_DISTANCE: usize = 50;
/// Of all rounds of one pair together.
const MAX_CANDIDATES: usize = 1000;

/// Moves of word sequences and edits after them that turn the prediction into the reference.
pub(super) fn edits(prediction: &[u32], reference: &[u32]) -> u64 {
    if reference.is_empty() {
        return prediction.len() as u64;
    }
    let mut words = prediction.to_vec();
    let (mut shifts, mut tried) = (0, 0);
    loop {
        let best = best_shift(&words, reference, &mut tried);
        match best {
            // The move found when the limit is hit is not made.
            Some(shift) if tried < MAX_CANDIDATES && shift.gain > 0 => {
                shifts += 1;
                words = moved(&words, &shift);
            }
            _ => break,
        }
    }
    shifts + u64::from(Distances::new(&words, reference).total())
}

#[derive(Debug, Clone, Copy)]
struct Shift {
    gain: i64,
    start: usize,
    length: usize,
    target: usize,
}

impl Shift {
    /// More gain, then more words, then earlier words, then an earlier target.
    fn beats(&self, other: &Self) -> bool {
        let rank = |shift: &Self| {
            (shift.gain, shift.length, std::cmp::Reverse(shift.start), std::cmp::Reverse(shift.target))
        };
        rank(self) > rank(other)
    }
}

fn best_shift(words: &[u32], reference: &[u32], tried: &mut usize) -> Option<Shift> {
    let mut distances = Distances::new(words, reference);
    let before = i64::from(distances.total());
    let alignment = Alignment::new(&distances.steps());
    let mut best: Option<Shift> = None;
    // Rows up to here are those of `words`, not of a candidate.
    let mut clean = words.len();
    for (start, at, length) in common_runs(words, reference) {
        let wrong = |errors: &[bool], from: usize| errors[from..from + length].contains(&true);
        let home = start as i64..(start + length) as i64;
        if !wrong(&alignment.prediction_errors, start)
            || !wrong(&alignment.reference_errors, at)
            || home.contains(&alignment.targets[at])
        {
            continue;
        }
        let mut last = None;
        for offset in 0..=length {
            // Before the reference word `at`, then behind each word of the run.
            let target = match (at + offset).checked_sub(1) {
                None => 0,
                Some(position) => match alignment.targets.get(position) {
                    Some(target) => (target + 1) as usize,
                    None => break,
                },
            };
            if last == Some(target) {
                continue;
            }
            last = Some(target);
            let mut shift = Shift { gain: 0, start, length, target };
            let candidate = moved(words, &shift);
            let same = start.min(target).min(clean);
            shift.gain = before - i64::from(distances.refill(&candidate, same));
            clean = start.min(target);
            *tried += 1;
            if best.as_ref().is_none_or(|best| shift.beats(best)) {
                best = Some(shift);
            }
        }
        if *tried >= MAX_CANDIDATES {
            break;
        }
    }
    best
}

/// Runs of up to ten words that both have, as start in the words, start in the reference and length.
fn common_runs<'a>(
    words: &'a [u32],
    reference: &'a [u32],
) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
    (0..words.len()).flat_map(move |start| {
        let first = start.saturating_sub(MAX_SHIFT_DISTANCE);
        let end = reference.len().min(start + MAX_SHIFT_DISTANCE + 1);
        (first..end).flat_map(move |at| {
            let run = words[start..].iter().zip(&reference[at..]).take(MAX_SHIFT_SIZE);
            let longest = run.take_while(|(left, right)| left == right).count();
            (1..=longest).map(move |length| (start, at, length))
        })
    })
}

fn moved(words: &[u32], shift: &Shift) -> Vec<u32> {
    let Shift { start, length, target, .. } = *shift;
    let run = &words[start..start + length];
    let mut rest = words.to_vec();
    rest.drain(start..start + length);
    // Targets up to the end of the run mean this many words behind its start.
    let at = if target > start + length { target - length } else { target };
    rest.splice(at.min(rest.len())..at.min(rest.len()), run.iter().copied());
    rest
}

/// Which word of the prediction each word of the reference stands at, and which words are wrong.
struct Alignment {
    /// Per word of the reference; −1 before the prediction.
    targets: Vec<i64>,
    reference_errors: Vec<bool>,
    prediction_errors: Vec<bool>,
}

impl Alignment {
    fn new(steps: &[Step]) -> Self {
        let mut alignment =
            Self { targets: Vec::new(), reference_errors: Vec::new(), prediction_errors: Vec::new() };
        let mut position = -1;
        for step in steps {
            let wrong = *step != Step::Keep;
            if *step != Step::Insert {
                position += 1;
                alignment.prediction_errors.push(wrong);
            }
            if *step != Step::Delete {
                alignment.targets.push(position);
                alignment.reference_errors.push(wrong);
            }
        }
        alignment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_words_is_one_edit() {
        // Snover et al. 2006, section 2: a phrase at the wrong end.
        assert_eq!(edits(&[4, 5, 1, 2, 3], &[1, 2, 3, 4, 5]), 1);
        assert_eq!(edits(&[], &[1, 2]), 2);
        assert_eq!(edits(&[1, 2], &[]), 2);
        assert_eq!(edits(&[1, 2], &[1, 2]), 0);
    }
}
