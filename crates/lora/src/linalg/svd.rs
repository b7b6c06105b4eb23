//! The singular value decomposition (Golub and Kahan 1965; Golub and Van Loan, Matrix Computations, 8.6).

use rayon::prelude::*;

use super::{Matrix, dot, factor, norm, reflect, reflection};

/// QR steps per singular value at most; two or three are the rule.
const STEPS: usize = 75;

/// Rotations that are collected before they are applied.
const ROTATIONS: usize = 1 << 14;

/// Rows of `V` that are rotated together.
const LANES: usize = 16;

/// `a = u·diag(s)·vt`, thin: `u [m, k]`, `vt [k, n]` with `k = min(m, n)`, `s` descending. Singular values below the
/// rounding error of the largest are 0, and their vectors on the longer side zeros.
#[derive(Clone, Debug)]
pub(crate) struct Svd {
    pub(crate) u: Matrix,
    pub(crate) s: Vec<f64>,
    pub(crate) vt: Matrix,
}

/// The thin singular value decomposition of a finite matrix.
///
/// The triangle of `a = q·r` becomes bidiagonal, that diagonal by implicit QR steps. Only the right side is accumulated:
/// `u = a·v/s`, whose columns are orthogonal to `ε·s₁/sᵢ`.
pub(crate) fn svd(a: &Matrix) -> Svd {
    if a.rows < a.cols {
        let Svd { u, s, vt } = svd(&a.transpose());
        return Svd { u: vt.transpose(), s, vt: u.transpose() };
    }
    let largest = a.values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        let mut vt = Matrix::zeros(a.cols, a.cols);
        (0..a.cols).for_each(|index| vt.row_mut(index)[index] = 1.0);
        return Svd { u: Matrix::zeros(a.rows, a.cols), s: vec![0.0; a.cols], vt };
    }
    // Squares neither overflow nor vanish.
    let scaled: Vec<f64> = a.values.iter().map(|value| value / largest).collect();
    let scaled = Matrix::new(a.rows, a.cols, scaled);
    let (bidiagonal, v) = bidiagonalized(factor(&scaled).0.first_rows(a.cols));
    let (values, columns) = diagonalized(bidiagonal, v);

    let mut order: Vec<usize> = (0..a.cols).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let mut vt = Matrix::zeros(a.cols, a.cols);
    for (row, column) in order.iter().enumerate() {
        columns.copy_column(*column, vt.row_mut(row));
    }
    let product = scaled.matmul_transposed(&vt);
    let floor = values[order[0]].abs() * f64::EPSILON * a.cols as f64;
    let lengths: Vec<f64> = order.iter().map(|index| values[*index].abs()).collect();
    let inverse: Vec<f64> = lengths.iter().map(|s| if *s > floor { 1.0 / s } else { 0.0 }).collect();
    let s = lengths.iter().map(|s| if *s > floor { s * largest } else { 0.0 }).collect();
    Svd { u: product.scale_cols(&inverse), s, vt }
}

/// The diagonal, and what is above it.
struct Bidiagonal {
    d: Vec<f64>,
    e: Vec<f64>,
}

/// `bᵀ·b = vᵀ·rᵀ·r·v` for a bidiagonal `b`: the left reflections are of no interest.
fn bidiagonalized(mut r: Matrix) -> (Bidiagonal, Matrix) {
    let n = r.cols;
    let (mut d, mut e, mut rights) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    for pivot in 0..n {
        let (v, tau, diagonal) = reflection((pivot..n).map(|row| r.row(row)[pivot]).collect());
        reflect(&mut r, [pivot, pivot], &v, tau);
        d.push(diagonal);
        if pivot + 1 == n {
            break;
        }
        let (v, tau, above) = reflection(r.row(pivot)[pivot + 1..].to_vec());
        e.push(above);
        for row in pivot + 1..n {
            let row = &mut r.row_mut(row)[pivot + 1..];
            let weight = tau * dot(row, &v);
            row.iter_mut().zip(&v).for_each(|(value, part)| *value -= weight * part);
        }
        rights.push((v, tau));
    }
    let mut v = Matrix::zeros(n, n);
    (0..n).for_each(|index| v.row_mut(index)[index] = 1.0);
    for (pivot, (reflector, tau)) in rights.iter().enumerate().rev() {
        reflect(&mut v, [pivot + 1, pivot + 1], reflector, *tau);
    }
    (Bidiagonal { d, e }, v)
}

/// A rotation of columns `first` and `second`: `(c·x + s·y, c·y - s·x)`.
#[derive(Clone, Copy)]
struct Rotation {
    first: usize,
    second: usize,
    c: f64,
    s: f64,
}

/// `V`, in panels of [`LANES`] rows, each column by column: rotations run through a panel in the cache.
struct Columns {
    rows: usize,
    panels: Vec<Vec<[f64; LANES]>>,
    waiting: Vec<Rotation>,
}

impl Columns {
    fn new(v: &Matrix) -> Self {
        let panels = (0..v.rows).step_by(LANES).map(|top| {
            let value =
                |col: usize, lane: usize| if top + lane < v.rows { v.row(top + lane)[col] } else { 0.0 };
            (0..v.cols).map(|col| std::array::from_fn(|lane| value(col, lane))).collect()
        });
        Self { rows: v.rows, panels: panels.collect(), waiting: Vec::with_capacity(ROTATIONS) }
    }

    fn rotate(&mut self, rotation: Rotation) {
        self.waiting.push(rotation);
        if self.waiting.len() == ROTATIONS {
            self.apply();
        }
    }

    fn apply(&mut self) {
        let waiting = &self.waiting;
        self.panels.par_iter_mut().for_each(|panel| {
            for Rotation { first, second, c, s } in waiting {
                let (x, y) = (panel[*first], panel[*second]);
                panel[*first] = std::array::from_fn(|lane| c * x[lane] + s * y[lane]);
                panel[*second] = std::array::from_fn(|lane| c * y[lane] - s * x[lane]);
            }
        });
        self.waiting.clear();
    }

    fn copy_column(&self, column: usize, out: &mut [f64]) {
        let values = self.panels.iter().flat_map(|panel| panel[column]).take(self.rows);
        out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
    }
}

/// The singular values with any sign, and the columns of `V`.
fn diagonalized(mut b: Bidiagonal, v: Matrix) -> (Vec<f64>, Columns) {
    let mut columns = Columns::new(&v);
    let n = b.d.len();
    let size = norm(&b.d).max(norm(&b.e));
    let tiny = f64::EPSILON * size;
    let mut last = n.saturating_sub(1);
    let mut steps = STEPS * n;
    while last > 0 && steps > 0 {
        for k in 0..last {
            if b.e[k].abs() <= f64::EPSILON * (b.d[k].abs() + b.d[k + 1].abs()) || b.e[k].abs() <= 0.1 * tiny
            {
                b.e[k] = 0.0;
            }
        }
        if b.e[last - 1] == 0.0 {
            last -= 1;
            continue;
        }
        let first = (0..last).rev().find(|k| b.e[*k] == 0.0).map_or(0, |k| k + 1);
        steps -= 1;
        if b.d[last].abs() <= 0.1 * tiny {
            clear_column(&mut b, first, last, &mut columns);
        } else if let Some(zero) = (first..last).find(|k| b.d[*k].abs() <= 0.1 * tiny) {
            clear_row(&mut b, zero, last);
        } else {
            step(&mut b, first, last, &mut columns);
        }
    }
    columns.apply();
    (b.d, columns)
}

/// `(c, s, r)` with `c·x + s·y = r` and `c·y - s·x = 0`.
fn rotation(x: f64, y: f64) -> (f64, f64, f64) {
    let r = x.hypot(y);
    if r == 0.0 { (1.0, 0.0, 0.0) } else { (x / r, y / r, r) }
}

/// A diagonal element is 0: rotations from the left remove the one beside it.
fn clear_row(b: &mut Bidiagonal, zero: usize, last: usize) {
    b.d[zero] = 0.0;
    let mut bulge = std::mem::take(&mut b.e[zero]);
    for k in zero + 1..=last {
        let (c, s, r) = rotation(b.d[k], bulge);
        b.d[k] = r;
        if k < last {
            bulge = -s * b.e[k];
            b.e[k] *= c;
        }
    }
}

/// The last diagonal element is 0: rotations from the right remove the one above it.
fn clear_column(b: &mut Bidiagonal, first: usize, last: usize, columns: &mut Columns) {
    b.d[last] = 0.0;
    let mut bulge = std::mem::take(&mut b.e[last - 1]);
    for k in (first..last).rev() {
        let (c, s, r) = rotation(b.d[k], bulge);
        b.d[k] = r;
        columns.rotate(Rotation { first: k, second: last, c, s });
        if k > first {
            bulge = -s * b.e[k - 1];
            b.e[k - 1] *= c;
        }
    }
}

/// An implicit QR step of `bᵀ·b` with Wilkinson's shift, from `first` to `last`.
fn step(b: &mut Bidiagonal, first: usize, last: usize, columns: &mut Columns) {
    let Bidiagonal { d, e } = b;
    let above = if last - 1 > first { e[last - 2] } else { 0.0 };
    let (high, low) =
        (d[last - 1] * d[last - 1] + above * above, d[last] * d[last] + e[last - 1] * e[last - 1]);
    let beside = d[last - 1] * e[last - 1];
    let half = (high - low) / 2.0;
    let shift = low - beside * beside / (half + half.hypot(beside).copysign(half));
    let (mut y, mut z) = (d[first] * d[first] - shift, d[first] * e[first]);
    for k in first..last {
        let (c, s, r) = rotation(y, z);
        if k > first {
            e[k - 1] = r;
        }
        columns.rotate(Rotation { first: k, second: k + 1, c, s });
        (y, e[k]) = (c * d[k] + s * e[k], c * e[k] - s * d[k]);
        z = s * d[k + 1];
        d[k + 1] *= c;
        let (c, s, r) = rotation(y, z);
        d[k] = r;
        (y, d[k + 1]) = (c * e[k] + s * d[k + 1], c * d[k + 1] - s * e[k]);
        if k + 1 < last {
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
    }
    e[last - 1] = y;
}
