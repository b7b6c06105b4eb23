//! Matrices on the host in f64, and their decompositions.
//!
//! Own code, after a look at the libraries. burn-linalg 0.22.1: its SVD takes 5 s for 1024×1024 on one core and
//! panics for matrices of deficient rank (no convergence), which adapters' deltas are; its QR panics in f64.
//! nalgebra 0.35 takes 17 s. faer 0.24 takes 2 s, and minutes to compile. The one in `svd` takes 3 s.

mod svd;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

pub(crate) use self::svd::{Svd, svd};

/// A matrix `[rows, cols]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn new(rows: usize, cols: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * cols, "Matrix::new: {rows}×{cols}");
        Self { rows, cols, values }
    }

    pub(crate) fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        Self::new(rows, cols, values.iter().map(|&value| f64::from(value)).collect())
    }

    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Self::new(rows, cols, vec![0.0; rows * cols])
    }

    /// Each value rounded once.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.cols..][..self.cols]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.cols..][..self.cols]
    }

    pub(crate) fn transpose(&self) -> Self {
        let values = (0..self.cols).flat_map(|col| (0..self.rows).map(move |row| (row, col)));
        let values = values.map(|(row, col)| self.values[row * self.cols + col]).collect();
        Self::new(self.cols, self.rows, values)
    }

    pub(crate) fn first_rows(&self, count: usize) -> Self {
        Self::new(count, self.cols, self.values[..count * self.cols].to_vec())
    }

    pub(crate) fn first_cols(&self, count: usize) -> Self {
        let values = (0..self.rows).flat_map(|row| self.row(row)[..count].iter().copied()).collect();
        Self::new(self.rows, count, values)
    }

    /// The rows of all matrices, in order.
    pub(crate) fn stack(parts: &[&Self]) -> Self {
        let cols = parts.first().map_or(0, |part| part.cols);
        let values: Vec<f64> = parts.iter().flat_map(|part| part.values.iter().copied()).collect();
        Self::new(parts.iter().map(|part| part.rows).sum(), cols, values)
    }

    /// Multiplies row `i` by `factors[i]`.
    pub(crate) fn scale_rows(mut self, factors: &[f64]) -> Self {
        for (row, factor) in factors.iter().enumerate() {
            self.row_mut(row).iter_mut().for_each(|value| *value *= factor);
        }
        self
    }

    /// Multiplies column `j` by `factors[j]`.
    pub(crate) fn scale_cols(mut self, factors: &[f64]) -> Self {
        for row in 0..self.rows {
            self.row_mut(row).iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        self
    }

    /// `self·otherᵀ`, on all threads.
    pub(crate) fn matmul_transposed(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.cols, "Matrix::matmul_transposed: inner dimensions");
        let mut product = Self::zeros(self.rows, other.rows);
        product.values.par_chunks_mut(other.rows.max(1)).enumerate().for_each(|(row, out)| {
            for (index, value) in out.iter_mut().enumerate() {
                *value = dot(self.row(row), other.row(index));
            }
        });
        product
    }

    /// `self·other`, summed in the order of the inner dimension, on all threads.
    pub(crate) fn matmul(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows, "Matrix::matmul: inner dimensions");
        let mut product = Self::zeros(self.rows, other.cols);
        product.values.par_chunks_mut(other.cols.max(1)).enumerate().for_each(|(row, out)| {
            for (inner, &left) in self.row(row).iter().enumerate() {
                out.iter_mut().zip(other.row(inner)).for_each(|(sum, right)| *sum += left * right);
            }
        });
        product
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums at once: one alone waits for itself.
    let (a_parts, a_rest) = a.as_chunks::<8>();
    let (b_parts, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

/// The Householder reflection `1 - tau·v·vᵀ` that turns a vector into a multiple of the first axis, with `v[0] = 1`; and
/// that multiple.
fn reflection(mut v: Vec<f64>) -> (Vec<f64>, f64, f64) {
    let first = v[0];
    if v[1..].iter().all(|value| *value == 0.0) {
        v[0] = 1.0;
        return (v, 0.0, first);
    }
    let beta = -norm(&v).copysign(first);
    let scale = 1.0 / (first - beta);
    v[1..].iter_mut().for_each(|value| *value *= scale);
    v[0] = 1.0;
    (v, (beta - first) / beta, beta)
}

/// `a = q·r`, thin: `q [m, k]` with orthonormal columns, `r [k, n]` upper triangular, `k = min(m, n)`.
///
/// Householder reflections with LAPACK's signs (`dgeqrf`): the diagonal of `r` has the opposite sign of the
/// pivot it came from.
pub(crate) fn qr(a: &Matrix) -> (Matrix, Matrix) {
    let k = a.rows.min(a.cols);
    let (r, reflections) = factor(a);
    let mut q = Matrix::zeros(a.rows, k);
    for diagonal in 0..k {
        q.row_mut(diagonal)[diagonal] = 1.0;
    }
    for (pivot, (v, tau)) in reflections.iter().enumerate().rev() {
        reflect(&mut q, [pivot, pivot], v, *tau);
    }
    (q, r.first_rows(k))
}

/// The triangle, with zeros below, and the vectors `v` and numbers `tau` of the reflections `1 - tau·v·vᵀ`, each from
/// its pivot on.
fn factor(a: &Matrix) -> (Matrix, Vec<(Vec<f64>, f64)>) {
    let mut r = a.clone();
    let reflections = (0..a.rows.min(a.cols)).map(|pivot| {
        let (v, tau, _) = reflection((pivot..a.rows).map(|row| r.row(row)[pivot]).collect());
        reflect(&mut r, [pivot, pivot], &v, tau);
        for row in pivot + 1..a.rows {
            r.row_mut(row)[pivot] = 0.0;
        }
        (v, tau)
    });
    let reflections = reflections.collect();
    (r, reflections)
}

/// Applies `1 - tau·v·vᵀ` to the rows from `top` on, in the columns from `left` on.
fn reflect(matrix: &mut Matrix, [top, left]: [usize; 2], v: &[f64], tau: f64) {
    if tau == 0.0 {
        return;
    }
    let mut projection = vec![0.0; matrix.cols - left];
    for (offset, weight) in v.iter().enumerate() {
        let row = &matrix.row(top + offset)[left..];
        projection.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
    }
    for (offset, weight) in v.iter().enumerate() {
        let row = &mut matrix.row_mut(top + offset)[left..];
        row.iter_mut().zip(&projection).for_each(|(value, sum)| *value -= tau * weight * sum);
    }
}

/// The `rank` leading singular triplets of a matrix, by `iterations` subspace iterations from the random
/// `[n, rank]` start (Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithms 4.4 and 5.1; as
/// torch's `svd_lowrank`, without oversampling).
pub(crate) fn svd_low_rank(a: &Matrix, start: &Matrix, iterations: usize, device: &Device) -> Svd {
    // On the device once: the matrix is large, and everything else thin.
    let large = on_device(a, device);
    let product = |left: Tensor<2>, right: &Matrix| from_device(&left.matmul(on_device(right, device)));
    let mut q = qr(&product(large.clone(), start)).0;
    for _ in 0..iterations {
        q = qr(&product(large.clone().transpose(), &q)).0;
        q = qr(&product(large.clone(), &q)).0;
    }
    let small = product(large.transpose(), &q).transpose();
    let Svd { u, s, vt } = svd(&small);
    Svd { u: q.matmul(&u), s, vt }
}

/// `left·right` by the device's product, which has threads and SIMD.
pub(crate) fn device_product(left: &Matrix, right: &Matrix, device: &Device) -> Matrix {
    from_device(&on_device(left, device).matmul(on_device(right, device)))
}

/// In f64 if the device has it.
fn on_device(matrix: &Matrix, device: &Device) -> Tensor<2> {
    let device = device.clone().without_autodiff();
    let dtype = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let data = TensorData::new(matrix.values.clone(), [matrix.rows, matrix.cols]);
    Tensor::from_data(data, (&device, dtype))
}

fn from_device(tensor: &Tensor<2>) -> Matrix {
    let [rows, cols] = tensor.dims();
    Matrix::new(rows, cols, tensor.to_data().iter::<f64>().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::flex()
    }

    /// Values of some size that follow no simple rule: the rank is full.
    fn sample(rows: usize, cols: usize, phase: f64) -> Matrix {
        let value = |i: usize| ((i * i) as f64 * 0.73 + phase).sin() * (1.0 + (i % 7) as f64);
        Matrix::new(rows, cols, (0..rows * cols).map(value).collect())
    }

    fn far(a: &Matrix, b: &Matrix) -> f64 {
        assert_eq!((a.rows, a.cols), (b.rows, b.cols));
        a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    fn identity(n: usize) -> Matrix {
        let values = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
        Matrix::new(n, n, values)
    }

    #[test]
    fn decompositions_reconstruct_and_are_orthonormal() {
        for (rows, cols) in [(1, 1), (2, 2), (3, 3), (9, 4), (4, 9), (1, 5), (5, 1), (33, 32), (70, 70)] {
            let a = sample(rows, cols, 0.2);
            let k = rows.min(cols);
            let (q, r) = qr(&a);
            assert!(far(&q.matmul(&r), &a) < 1e-12, "{rows}×{cols}");
            assert!(far(&q.transpose().matmul(&q), &identity(k)) < 1e-13, "{rows}×{cols}");
            assert!((1..k).all(|row| r.row(row)[..row].iter().all(|value| *value == 0.0)));

            let Svd { u, s, vt } = svd(&a);
            assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|s| *s >= 0.0));
            assert!(far(&u.clone().scale_cols(&s).matmul(&vt), &a) < 1e-11, "{rows}×{cols}");
            // The longer side is as orthogonal as the shortest direction allows.
            let condition = s[0] / s[k - 1];
            assert!(
                far(&u.transpose().matmul(&u), &identity(k)) < 1e-14 * condition + 1e-13,
                "{rows}×{cols}"
            );
            assert!(
                far(&vt.matmul(&vt.transpose()), &identity(k)) < 1e-14 * condition + 1e-13,
                "{rows}×{cols}"
            );
        }
    }

    #[test]
    fn a_rank_deficient_matrix_decomposes() {
        let a = sample(7, 2, 0.0).matmul(&sample(2, 6, 1.0));
        let (q, r) = qr(&a);
        assert!(far(&q.matmul(&r), &a) < 1e-12);
        let Svd { u, s, vt } = svd(&a);
        assert!(s[2] < 1e-12 * s[0]);
        assert!(far(&u.scale_cols(&s).matmul(&vt), &a) < 1e-11);
        // Rows that repeat, and rows at the edge of rounding.
        let mut repeated = Matrix::stack(&[&sample(3, 6, 0.5), &sample(3, 6, 0.5), &Matrix::zeros(2, 6)]);
        repeated
            .row_mut(6)
            .copy_from_slice(&sample(1, 6, 0.1).values.iter().map(|v| v * 1e-17).collect::<Vec<_>>());
        let Svd { u, s, vt } = svd(&repeated);
        assert!(s[2] > 0.1 && s[3..].iter().all(|s| *s < 1e-14));
        assert!(far(&u.scale_cols(&s).matmul(&vt), &repeated) < 1e-12);
        let zero = Matrix::zeros(4, 3);
        assert!(svd(&zero).s.iter().all(|s| *s == 0.0));
        assert!(far(&qr(&zero).1, &Matrix::zeros(3, 3)) == 0.0);
    }

    /// LAPACK: the first diagonal element of R is minus the norm of a column that starts positive.
    #[test]
    fn signs_of_the_qr_are_those_of_lapack() {
        let (q, r) = qr(&Matrix::new(2, 2, vec![3.0, 2.0, 4.0, 6.0]));
        assert!((r.row(0)[0] + 5.0).abs() < 1e-14 && (r.row(0)[1] + 6.0).abs() < 1e-14);
        assert!((r.row(1)[1] - 2.0).abs() < 1e-14 || (r.row(1)[1] + 2.0).abs() < 1e-14);
        assert!((q.row(0)[0] + 0.6).abs() < 1e-14);
    }

    #[test]
    fn subspace_iteration_finds_the_leading_triplets() {
        let (q, _) = qr(&sample(40, 20, 0.3));
        let (p, _) = qr(&sample(30, 20, 0.9));
        let spectrum: Vec<f64> = (0..20).map(|i| 0.6_f64.powi(i)).collect();
        let a = q.scale_cols(&spectrum).matmul(&p.transpose());
        let Svd { u, s, vt } = svd_low_rank(&a, &sample(30, 4, 2.0), 8, &device());
        assert_eq!((u.rows, u.cols, vt.rows, vt.cols), (40, 4, 4, 30));
        for (found, wanted) in s.iter().zip(&spectrum) {
            assert!((found - wanted).abs() < 1e-3 * wanted, "{found}, not {wanted}");
        }
    }
}
