//! Products of a few rows with a weight's transpose, bound by reading the weight: generation, one token at a time.

use rayon::prelude::*;

use super::{Out, Target, Term};
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
    let inputs: Vec<Vec<f32>> = terms.iter().map(|term| rows_of(level, term)).collect();
    let target = Target::new(out, n);
    (0..n.div_ceil(ROWS)).into_par_iter().for_each(|task| {
        let first = task * ROWS;
        let count = ROWS.min(n - first);
        let mut sums = vec![0.0f32; m * count];
        for (term, x) in terms.iter().zip(&inputs) {
            let depth = term.right.matrix.columns;
            let mut piece = [0.0f32; PIECE];
            for column in 0..count {
                for start in (0..depth).step_by(PIECE) {
                    let weights = &mut piece[..PIECE.min(depth - start)];
                    let weights = match term.right.matrix.as_f32(first + column, start, weights.len()) {
                        Some(stored) => stored,
                        None => {
                            term.right.matrix.read_f32(level, first + column, start, weights);
                            weights
                        }
                    };
                    dots(level, weights, x, start, depth, &mut sums, column, count);
                }
            }
        }
        for (row, sums) in sums.chunks_exact(count.max(1)).enumerate() {
            // SAFETY: a task writes the columns of its own rows of the weight.
            unsafe { target.write(level, row, first, alpha, sums) };
        }
    });
}

fn rows_of(level: Level, term: &Term<'_>) -> Vec<f32> {
    let matrix = term.left.operand.matrix;
    let mut x = vec![0.0; matrix.rows * matrix.columns];
    for (row, out) in x.chunks_exact_mut(matrix.columns.max(1)).enumerate() {
        matrix.read_f32(level, row, 0, out);
    }
    x
}

/// Adds the products of a piece of one weight row with that piece of every row of `x [m, depth]`.
#[allow(clippy::too_many_arguments)]
fn dots(
    level: Level,
    weights: &[f32],
    x: &[f32],
    start: usize,
    depth: usize,
    sums: &mut [f32],
    column: usize,
    count: usize,
) {
    let fuses = level.fuses();
    level.run(
        #[inline(always)]
        || {
            for (row, x) in x.chunks_exact(depth).enumerate() {
                let x = &x[start..][..weights.len()];
                let sum = if fuses { dot::<true>(weights, x) } else { dot::<false>(weights, x) };
                sums[row * count + column] += sum;
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
