//! Arithmetic on task vectors: TIES, DARE and their parts, over flat slices.
//!
//! Every operation is the one of peft 0.21 (src/peft/utils/merge_utils.py), in the order of its sums.

use std::ops::{AddAssign, Div, Mul};

use rand_chacha::ChaCha8Rng;

use crate::init::unit;

/// Whose sign wins where task vectors disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MajoritySign {
    /// That of the sum (PEFT's `"total"`, its default).
    #[default]
    Total,
    /// That of more vectors (PEFT's `"frequency"`).
    Frequency,
}

/// f32 where PEFT's rounding is wanted, f64 where it is not.
pub(crate) trait Real:
    Copy + PartialOrd + Default + AddAssign + Mul<Output = Self> + Div<Output = Self>
{
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;

    fn sign(self) -> f64 {
        let value = self.to_f64();
        if value == 0.0 { 0.0 } else { value.signum() }
    }
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }
}

/// `Σ wᵢ·tᵢ`.
pub(crate) fn weighted_sum<T: Real>(tasks: &[Vec<T>], weights: &[T]) -> Vec<T> {
    let mut sum = vec![T::default(); tasks.first().map_or(0, Vec::len)];
    for (task, weight) in tasks.iter().zip(weights) {
        sum.iter_mut().zip(task).for_each(|(sum, value)| *sum += *value * *weight);
    }
    sum
}

/// Zeroes all but the `⌊density·n⌋` values of the largest magnitude; among equal ones the first stay.
pub(crate) fn keep_largest<T: Real>(task: &mut [T], density: f64) {
    let keep = (density * task.len() as f64) as usize;
    if density >= 1.0 || keep >= task.len() {
        return;
    }
    let mut order: Vec<usize> = (0..task.len()).collect();
    let magnitude = |index: usize| task[index].to_f64().abs();
    order.select_nth_unstable_by(keep, |&a, &b| magnitude(b).total_cmp(&magnitude(a)).then(a.cmp(&b)));
    for &index in &order[keep..] {
        task[index] = T::default();
    }
}

/// Keeps each value with probability `density`, divided by it, and zeroes the others.
pub(crate) fn keep_random<T: Real>(task: &mut [T], density: f64, generator: &mut ChaCha8Rng) {
    if density >= 1.0 {
        return;
    }
    let divisor = T::from_f64(density);
    for value in task {
        *value = if unit(generator) < density { *value / divisor } else { T::default() };
    }
}

/// The weighted mean of the values that have the majority's sign, which is found without weights.
pub(crate) fn disjoint_merge<T: Real>(tasks: &[Vec<T>], weights: &[T], method: MajoritySign) -> Vec<T> {
    let count = tasks.first().map_or(0, Vec::len);
    (0..count)
        .map(|index| {
            let mut vote = T::default();
            for task in tasks {
                vote += match method {
                    MajoritySign::Total => task[index],
                    MajoritySign::Frequency => T::from_f64(task[index].sign()),
                };
            }
            let majority = if vote >= T::default() { 1.0 } else { -1.0 };
            let (mut sum, mut kept) = (T::default(), 0);
            for (task, weight) in tasks.iter().zip(weights) {
                if task[index].sign() == majority {
                    sum += task[index] * *weight;
                    kept += 1;
                }
            }
            sum / T::from_f64(f64::from(kept.max(1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_largest_are_kept() {
        let mut task = vec![0.5, -3.0, 2.0, -2.0, 0.0];
        keep_largest(&mut task, 0.5);
        assert_eq!(task, [0.0, -3.0, 2.0, 0.0, 0.0]);
        let mut all = vec![1.0_f32, 2.0];
        keep_largest(&mut all, 1.0);
        assert_eq!(all, [1.0, 2.0]);
        keep_largest(&mut all, 0.3);
        assert_eq!(all, [0.0, 0.0]);
    }

    #[test]
    fn the_majority_decides_by_sum_or_by_number() {
        let tasks = vec![vec![5.0, 0.0, 1.0], vec![-1.0, 0.0, -1.0], vec![-1.0, -2.0, 0.0]];
        let weights = [1.0, 2.0, 3.0];
        // By sum 5 wins alone, then -2, then the sum of 0 counts as positive.
        assert_eq!(disjoint_merge(&tasks, &weights, MajoritySign::Total), [5.0, -6.0, 1.0]);
        // By number the two -1 win: (2·-1 + 3·-1) / 2.
        assert_eq!(disjoint_merge(&tasks, &weights, MajoritySign::Frequency), [-2.5, -6.0, 1.0]);
    }

    #[test]
    fn random_pruning_keeps_the_density_and_the_mean() {
        let mut task = vec![1.0_f64; 20_000];
        keep_random(&mut task, 0.3, &mut ChaCha8Rng::seed_from_u64(1));
        let kept = task.iter().filter(|value| **value != 0.0).count() as f64 / 20_000.0;
        assert!((kept - 0.3).abs() < 0.015, "{kept}");
        assert!(task.iter().all(|value| *value == 0.0 || (value - 1.0 / 0.3).abs() < 1e-12));
    }
}
