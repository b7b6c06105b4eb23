//! Matrices on the host in f64, and their decompositions.
//!
//! The singular value decomposition is burn-linalg's, in f64 where the device has it: 1024×1024 takes some
//! 5 s on one core and reconstructs to 2e-14 (f32: 2 s, 1e-5). Its QR is not used: in f64 it panics
//! (0.22.1 multiplies by an f32 identity), and it forms the square Q, 8 s for the same matrix.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// QR sweeps per singular value before burn-linalg gives up; LAPACK allows 6, and finite matrices need 2 or 3.
const SWEEPS: usize = 60;

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

    /// `self·other`, summed in the order of the inner dimension.
    pub(crate) fn matmul(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows, "Matrix::matmul: inner dimensions");
        let mut product = Self::zeros(self.rows, other.cols);
        for row in 0..self.rows {
            let out = &mut product.values[row * other.cols..][..other.cols];
            for (inner, &left) in self.row(row).iter().enumerate() {
                out.iter_mut().zip(other.row(inner)).for_each(|(sum, right)| *sum += left * right);
            }
        }
        product
    }
}

/// `a = u·diag(s)·vt`, thin: `u [m, k]`, `vt [k, n]` with `k = min(m, n)`, `s` descending.
#[derive(Clone, Debug)]
pub(crate) struct Svd {
    pub(crate) u: Matrix,
    pub(crate) s: Vec<f64>,
    pub(crate) vt: Matrix,
}

/// The thin singular value decomposition of a finite matrix.
///
/// # Panics
/// If the iteration does not converge, which has not been seen with finite matrices.
pub(crate) fn svd(a: &Matrix, device: &Device) -> Svd {
    let device = device.clone().without_autodiff();
    let dtype = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let data = TensorData::new(a.values.clone(), [a.rows, a.cols]);
    let tensor = Tensor::<2>::from_data(data, (&device, dtype));
    let (u, s, vt) = burn::linalg::svd::<2, 1>(tensor, SWEEPS);
    let k = a.rows.min(a.cols);
    let read = |data: TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    Svd {
        u: Matrix::new(a.rows, k, read(u.to_data())),
        s: read(s.to_data()),
        vt: Matrix::new(k, a.cols, read(vt.to_data())),
    }
}

/// `a = q·r`, thin: `q [m, k]` with orthonormal columns, `r [k, n]` upper triangular, `k = min(m, n)`.
///
/// Householder reflections with LAPACK's signs (`dgeqrf`): the diagonal of `r` has the opposite sign of the
/// pivot it came from.
pub(crate) fn qr(a: &Matrix) -> (Matrix, Matrix) {
    let k = a.rows.min(a.cols);
    let mut r = a.clone();
    // The vectors `v` of the reflections `1 - tau·v·vᵀ`, each from its pivot on.
    let mut reflections: Vec<(Vec<f64>, f64)> = Vec::with_capacity(k);
    for pivot in 0..k {
        let mut v: Vec<f64> = (pivot..a.rows).map(|row| r.row(row)[pivot]).collect();
        let norm = v.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tail = v[1..].iter().any(|value| *value != 0.0);
        let tau = if tail {
            let beta = -norm.copysign(v[0]);
            let scale = 1.0 / (v[0] - beta);
            let tau = (beta - v[0]) / beta;
            v[1..].iter_mut().for_each(|value| *value *= scale);
            tau
        } else {
            0.0
        };
        v[0] = 1.0;
        reflect(&mut r, pivot, pivot, &v, tau);
        reflections.push((v, tau));
    }
    let mut q = Matrix::zeros(a.rows, k);
    for diagonal in 0..k {
        q.row_mut(diagonal)[diagonal] = 1.0;
    }
    for (pivot, (v, tau)) in reflections.iter().enumerate().rev() {
        reflect(&mut q, pivot, pivot, v, *tau);
    }
    let mut r = r.first_rows(k);
    for row in 1..k {
        r.row_mut(row)[..row].fill(0.0);
    }
    (q, r)
}

/// Applies `1 - tau·v·vᵀ` to the rows from `top` on, in the columns from `left` on.
fn reflect(matrix: &mut Matrix, top: usize, left: usize, v: &[f64], tau: f64) {
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
    let product = |left: &Matrix, right: &Matrix| device_product(left, right, device);
    let transposed = a.transpose();
    let mut q = qr(&product(a, start)).0;
    for _ in 0..iterations {
        q = qr(&product(&transposed, &q)).0;
        q = qr(&product(a, &q)).0;
    }
    let Svd { u, s, vt } = svd(&product(&q.transpose(), a), device);
    Svd { u: q.matmul(&u), s, vt }
}

/// `left·right` by the device's product, which has threads and SIMD.
pub(crate) fn device_product(left: &Matrix, right: &Matrix, device: &Device) -> Matrix {
    let device = device.clone().without_autodiff();
    let dtype = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let tensor = |matrix: &Matrix| {
        let data = TensorData::new(matrix.values.clone(), [matrix.rows, matrix.cols]);
        Tensor::<2>::from_data(data, (&device, dtype))
    };
    let product = tensor(left).matmul(tensor(right)).to_data();
    Matrix::new(left.rows, right.cols, product.iter::<f64>().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::flex()
    }

    /// Values of some size that follow no simple rule.
    pub(crate) fn sample(rows: usize, cols: usize, phase: f64) -> Matrix {
        let values =
            (0..rows * cols).map(|i| (i as f64 * 0.73 + phase).sin() * (1.0 + (i % 7) as f64)).collect();
        Matrix::new(rows, cols, values)
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
        for (rows, cols) in [(1, 1), (3, 3), (9, 4), (4, 9), (1, 5), (5, 1), (33, 32)] {
            let a = sample(rows, cols, 0.2);
            let k = rows.min(cols);
            let (q, r) = qr(&a);
            assert!(far(&q.matmul(&r), &a) < 1e-12, "{rows}×{cols}");
            assert!(far(&q.transpose().matmul(&q), &identity(k)) < 1e-13, "{rows}×{cols}");
            assert!((1..k).all(|row| r.row(row)[..row].iter().all(|value| *value == 0.0)));

            let Svd { u, s, vt } = svd(&a, &device());
            assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|s| *s >= 0.0));
            assert!(far(&u.clone().scale_cols(&s).matmul(&vt), &a) < 1e-11, "{rows}×{cols}");
            assert!(far(&u.transpose().matmul(&u), &identity(k)) < 1e-12, "{rows}×{cols}");
            assert!(far(&vt.matmul(&vt.transpose()), &identity(k)) < 1e-12, "{rows}×{cols}");
        }
    }

    #[test]
    fn a_rank_deficient_matrix_decomposes() {
        let a = sample(7, 2, 0.0).matmul(&sample(2, 6, 1.0));
        let (q, r) = qr(&a);
        assert!(far(&q.matmul(&r), &a) < 1e-12);
        let Svd { u, s, vt } = svd(&a, &device());
        assert!(s[2] < 1e-12 * s[0]);
        assert!(far(&u.scale_cols(&s).matmul(&vt), &a) < 1e-11);
        let zero = Matrix::zeros(4, 3);
        assert!(svd(&zero, &device()).s.iter().all(|s| *s == 0.0));
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
