//! Products of a few rows with a weight's transpose, bound by reading the weight: generation, one token at a time.

use rayon::prelude::*;

use super::{
    Out, Target, Term,
    four_bit::{self, Rows},
    source::{FourBit, Matrix},
};
use crate::cpu::level::Level;

/// Values of a weight's row that are decoded at a time.
const PIECE: usize = 1024;

/// Rows of a weight per task.
const ROWS: usize = 32;

/// Whether a term is `x·Wᵀ`.
pub(super) fn fits(term: &Term<'_>) -> bool {
    !term.left.operand.is_transposed && term.right.is_transposed
}

/// As [`super::product`], for terms that [`fits`] takes.
pub(super) fn product(level: Level, [m, n]: [usize; 2], terms: &[Term<'_>], alpha: f32, out: Out<'_>) {
    let factors: Vec<Factors<'_>> = terms.iter().map(|term| Factors::new(level, term)).collect();
    let target = Target::new(out, n);
    (0..n.div_ceil(ROWS)).into_par_iter().for_each(|task| {
        let first = task * ROWS;
        let count = ROWS.min(n - first);
        let mut sums = vec![0.0f32; m * count];
        for factors in &factors {
            for column in 0..count {
                factors.add(level, first + column, |row, sum| sums[row * count + column] += sum);
            }
        }
        for (row, sums) in sums.chunks_exact(count.max(1)).enumerate() {
            // SAFETY: a task writes the columns of its own rows of the weight.
            unsafe { target.write(level, row, first, alpha, sums) };
        }
    });
}

/// A term's rows of f32, and its weight.
enum Factors<'a> {
    Plain {
        x: Vec<f32>,
        weight: Matrix<'a>,
    },
    /// With rows in the order in which codes are looked up.
    Codes {
        x: Rows,
        weight: FourBit<'a>,
    },
}

impl<'a> Factors<'a> {
    fn new(level: Level, term: &Term<'a>) -> Self {
        let (matrix, weight) = (term.left.operand.matrix, term.right.matrix);
        let mut x = vec![0.0; matrix.rows * matrix.columns];
        for (row, out) in x.chunks_exact_mut(matrix.columns.max(1)).enumerate() {
            matrix.read_f32(level, row, 0, out);
        }
        match four_bit::codes(level, matrix.rows, &weight) {
            Some(codes) => Self::Codes { x: Rows::new(level, &x, matrix.columns), weight: codes },
            None => Self::Plain { x, weight },
        }
    }

    /// Calls `add` with the number of each row of `x` and its product with a row of the weight, or with parts of it.
    fn add(&self, level: Level, of_weight: usize, mut add: impl FnMut(usize, f32)) {
        let (x, weight) = match self {
            Self::Codes { x, weight } => return x.dots(weight, of_weight, add),
            Self::Plain { x, weight } => (x, weight),
        };
        let depth = weight.columns;
        let mut piece = [0.0f32; PIECE];
        for start in (0..depth).step_by(PIECE) {
            let values = &mut piece[..PIECE.min(depth - start)];
            let values = match weight.as_f32(of_weight, start, values.len()) {
                Some(stored) => stored,
                None => {
                    weight.read_f32(level, of_weight, start, values);
                    values
                }
            };
            dots(level, values, x, start, depth, &mut add);
        }
    }
}

/// Calls `add` with the products of a piece of one weight row with that piece of every row of `x [m, depth]`.
fn dots(
    level: Level,
    weights: &[f32],
    x: &[f32],
    start: usize,
    depth: usize,
    add: &mut impl FnMut(usize, f32),
) {
    let fuses = level.fuses();
    level.run(
        #[inline(always)]
        || {
            for (row, x) in x.chunks_exact(depth).enumerate() {
                let x = &x[start..][..weights.len()];
                add(row, if fuses { dot::<true>(weights, x) } else { dot::<false>(weights, x) });
            }
        },
    );
}

#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            // Not in a closure: only what is inlined here is compiled for the level's instructions.
            lanes[lane] =
                if FUSED { a[lane].mul_add(b[lane], lanes[lane]) } else { lanes[lane] + a[lane] * b[lane] };
        }
    }
    let mut sum = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    for lane in lanes {
        sum += lane;
    }
    sum
}
