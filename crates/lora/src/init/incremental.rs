//! The principal components of rows that come in batches.

use burn::tensor::Device;

use crate::{
    init::random::subspace_start,
    linalg::{Matrix, Svd, svd, svd_low_rank},
};

/// Subspace iterations of an update of a large matrix, as in peft 0.21 (src/peft/utils/incremental_pca.py).
const ITERATIONS: usize = 4;

/// The leading principal components of all rows so far (Ross et al. 2008, "Incremental learning for robust visual
/// tracking", as in scikit-learn's `IncrementalPCA`).
#[derive(Clone, Debug)]
pub(crate) struct IncrementalPca {
    limit: usize,
    rows: usize,
    mean: Vec<f64>,
    /// The sum of squared distances from the mean.
    spread: f64,
    /// Rows of unit length, by falling singular value.
    components: Matrix,
    singular: Vec<f64>,
    /// The cosine of each component with the one of the update before; empty after the first.
    cosines: Vec<f64>,
}

impl IncrementalPca {
    /// At most `limit` components of rows of `features` values.
    pub(crate) fn new(limit: usize, features: usize) -> Self {
        Self {
            limit: limit.min(features),
            rows: 0,
            mean: vec![0.0; features],
            spread: 0.0,
            components: Matrix::zeros(0, features),
            singular: Vec::new(),
            cosines: Vec::new(),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn components(&self) -> &Matrix {
        &self.components
    }

    pub(crate) fn singular(&self) -> &[f64] {
        &self.singular
    }

    /// The share of the whole variance that each component explains.
    pub(crate) fn explained(&self) -> Vec<f64> {
        let share = |s: &f64| if self.spread > 0.0 { s * s / self.spread } else { 0.0 };
        self.singular.iter().map(share).collect()
    }

    /// Whether the first `count` components were the same before the last update, to a cosine of `tau`.
    pub(crate) fn is_settled(&self, count: usize, tau: f64) -> bool {
        self.rows > 0
            && self.cosines.len() >= count
            && self.cosines[..count].iter().all(|cosine| *cosine >= tau)
    }

    /// Takes in rows `[n, features]`; `path` chooses the random start for a large matrix.
    pub(crate) fn update(&mut self, batch: &Matrix, path: &str, device: &Device) {
        if batch.rows == 0 {
            return;
        }
        let (seen, new) = (self.rows as f64, batch.rows as f64);
        let mut mean = vec![0.0; batch.cols];
        for row in 0..batch.rows {
            mean.iter_mut().zip(batch.row(row)).for_each(|(sum, value)| *sum += value / new);
        }
        let mut centred = batch.clone();
        for row in 0..batch.rows {
            centred.row_mut(row).iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        }
        let weight = seen * new / (seen + new);
        let shift: Vec<f64> =
            self.mean.iter().zip(&mean).map(|(old, new)| weight.sqrt() * (old - new)).collect();
        let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        self.spread += squares(&centred.values) + squares(&shift);
        let before = self.components.clone().scale_rows(&self.singular);
        let stacked = if self.rows == 0 {
            centred
        } else {
            Matrix::stack(&[&before, &centred, &Matrix::new(1, batch.cols, shift)])
        };
        let (components, singular) = self.leading(&stacked, path, device);
        self.cosines = if self.rows == 0 { Vec::new() } else { cosines(&components, &self.components) };
        self.mean
            .iter_mut()
            .zip(&mean)
            .for_each(|(old, new)| *old += (new - *old) * (batch.rows as f64 / (seen + batch.rows as f64)));
        (self.components, self.singular) = (components, singular);
        self.rows += batch.rows;
    }

    fn leading(&self, stacked: &Matrix, path: &str, device: &Device) -> (Matrix, Vec<f64>) {
        let sketch = 2 * self.limit;
        let Svd { s, vt, .. } = if 2 * sketch < stacked.rows.min(stacked.cols) {
            svd_low_rank(stacked, &subspace_start(path, stacked.cols, sketch), ITERATIONS, device)
        } else {
            svd(stacked)
        };
        let count = self.limit.min(s.len());
        let mut components = vt.first_rows(count);
        // The largest entry is positive: the sign does not depend on the algorithm.
        for row in 0..count {
            let largest = components.row(row).iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
            if largest.is_some_and(|largest| largest < 0.0) {
                components.row_mut(row).iter_mut().for_each(|value| *value = -*value);
            }
        }
        (components, s[..count].to_vec())
    }
}

fn cosines(new: &Matrix, old: &Matrix) -> Vec<f64> {
    (0..new.rows.min(old.rows))
        .map(|row| new.row(row).iter().zip(old.row(row)).map(|(a, b)| a * b).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, features: usize) -> Matrix {
        let values = (0..count * features).map(|i| {
            let (row, col) = ((i / features) as f64, (i % features) as f64);
            2.0 + (row * 0.37).sin() * (col * 0.21).cos() * 5.0 + (row * 1.7 + col * 2.3).sin()
        });
        Matrix::new(count, features, values.collect())
    }

    /// With room for every component nothing is lost: batches give what all rows at once give.
    #[test]
    fn batches_equal_the_whole() {
        let device = Device::flex();
        let all = rows(30, 8);
        let mut whole = IncrementalPca::new(8, 8);
        whole.update(&all, "m", &device);
        let mut parts = IncrementalPca::new(8, 8);
        for (start, end) in [(0, 11), (11, 12), (12, 30)] {
            let part = Matrix::new(end - start, 8, all.values[start * 8..end * 8].to_vec());
            parts.update(&part, "m", &device);
        }
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far(parts.singular(), whole.singular()) < 1e-9);
        assert!(far(&parts.explained(), &whole.explained()) < 1e-12);
        assert!((parts.explained().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(far(parts.components.row(0), whole.components.row(0)) < 1e-9);
        assert!(far(&parts.mean, &whole.mean) < 1e-12);
    }

    #[test]
    fn the_same_rows_again_settle_the_components() {
        let device = Device::flex();
        let mut pca = IncrementalPca::new(2, 8);
        pca.update(&rows(40, 8), "m", &device);
        assert!(!pca.is_settled(2, 0.99));
        pca.update(&rows(40, 8), "m", &device);
        assert!(pca.is_settled(2, 0.99) && !pca.is_settled(3, 0.99));
    }

    #[test]
    fn a_large_batch_by_subspace_iterations_has_the_components_of_the_exact_one() {
        let device = Device::flex();
        let batch = rows(60, 50);
        let mut fast = IncrementalPca::new(2, 50);
        fast.update(&batch, "m", &device);
        let mut exact = IncrementalPca::new(50, 50);
        exact.update(&batch, "m", &device);
        let cosine: f64 =
            fast.components.row(0).iter().zip(exact.components.row(0)).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{cosine}");
        assert!((fast.explained()[0] - exact.explained()[0]).abs() < 1e-6);
    }
}
