//! Edit distance in a band around the diagonal, with the way there.

const BEAM_WIDTH: usize = 25;
/// Outside the band. Far from overflow, far above any distance.
const FAR: u32 = u32::MAX / 2;

/// One step of turning the prediction into the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Substitute,
    /// A word of the prediction goes.
    Delete,
    /// A word of the reference comes.
    Insert,
    /// Outside the band.
    Unknown,
}

/// The distances of all beginnings of a prediction to all beginnings of a reference, one row per word of the
/// prediction and one before them.
#[derive(Debug)]
pub(super) struct Distances<'a> {
    reference: &'a [u32],
    rows: Vec<Vec<(u32, Step)>>,
}

impl<'a> Distances<'a> {
    pub(super) fn new(prediction: &[u32], reference: &'a [u32]) -> Self {
        let first = (0..=reference.len()).map(|j| (j as u32, Step::Insert)).collect();
        let empty = vec![(FAR, Step::Unknown); reference.len() + 1];
        let mut distances = Self { reference, rows: vec![first] };
        distances.rows.resize(prediction.len() + 1, empty);
        distances.fill(prediction, 0);
        distances
    }

    /// The distance of the whole prediction.
    pub(super) fn total(&self) -> u32 {
        self.rows.last().and_then(|row| row.last()).map_or(0, |cell| cell.0)
    }

    /// As [`total`](Self::total) for another prediction of the same length that begins with the same `same`
    /// words; the rows below become those of that prediction.
    pub(super) fn refill(&mut self, prediction: &[u32], same: usize) -> u32 {
        self.fill(prediction, same);
        self.total()
    }

    fn fill(&mut self, prediction: &[u32], from: usize) {
        let width = self.reference.len() + 1;
        let count = prediction.len();
        let ratio = if count == 0 { 1.0 } else { self.reference.len() as f64 / count as f64 };
        let beam = match ratio / 2.0 > BEAM_WIDTH as f64 {
            true => (ratio / 2.0 + BEAM_WIDTH as f64).ceil() as usize,
            false => BEAM_WIDTH,
        };
        for i in from + 1..=count {
            let middle = (i as f64 * ratio).floor() as usize;
            let start = middle.saturating_sub(beam);
            let end = if i == count { width } else { width.min(middle + beam) };
            let (above, below) = self.rows.split_at_mut(i);
            let (above, row) = (&above[i - 1], &mut below[0]);
            for j in start..end {
                if j == 0 {
                    row[0] = (above[0].0 + 1, Step::Delete);
                    continue;
                }
                let diagonal = match prediction[i - 1] == self.reference[j - 1] {
                    true => (above[j - 1].0, Step::Keep),
                    false => (above[j - 1].0 + 1, Step::Substitute),
                };
                // A cell left of the band still holds what another prediction left there only if it was inside
                // the band then, and the band depends on lengths alone.
                let left = if j > start { row[j - 1].0 } else { FAR };
                let mut best = (FAR, Step::Unknown);
                for step in [diagonal, (above[j].0 + 1, Step::Delete), (left + 1, Step::Insert)] {
                    if best.0 > step.0 {
                        best = step;
                    }
                }
                row[j] = best;
            }
        }
    }

    /// The steps from the beginnings of both to their ends.
    pub(super) fn steps(&self) -> Vec<Step> {
        let (mut i, mut j) = (self.rows.len() - 1, self.reference.len());
        let mut steps = Vec::with_capacity(i + j);
        while i > 0 || j > 0 {
            let step = self.rows[i][j].1;
            match step {
                Step::Keep | Step::Substitute => (i, j) = (i - 1, j - 1),
                Step::Insert => j -= 1,
                Step::Delete => i -= 1,
                // The band always joins the two corners.
                Step::Unknown => break,
            }
            steps.push(step);
        }
        steps.reverse();
        steps
    }
}
