//! Sums of matrix products, `out = α·(A₁·B₁ + A₂·B₂ + …)`, over weights as they are stored.
//!
//! The scheme is that of Goto and van de Geijn ("Anatomy of High-Performance Matrix Multiplication", 2008): operands
//! are copied block by block into panels that a micro-kernel reads in order; 16- and 4-bit weights become f32 (or, with
//! AVX-512 BF16, pairs of bf16) in that copy, so that no dense copy of them ever exists. The left operand is packed once
//! for all threads; a task packs the columns that it computes. An element's sum has one order, whatever the number of
//! threads: results are the same bit for bit.

mod four_bit;
mod kernel;
mod pack;
mod skinny;
mod source;

#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    fmt,
    sync::{Arc, OnceLock},
};

use half::{bf16, f16};
use rayon::prelude::*;

pub(crate) use self::source::{FourBit, Int8, Matrix, Stored, nearest_bf16};
use self::{kernel::Kernel, pack::Block};
use super::level::Level;

/// The largest [`Kernel::depth`], which buffers are sized by.
const DEPTH: usize = 384;

/// Columns of a task, about: its block of panels fits the second-level cache beside a block of the left operand's.
const COLUMNS: usize = 128;

/// Panels of the left operand that go through a block of the right one together.
const LEFT_PANELS: usize = 32;

/// The most rows of a task: bounds the sums it holds.
const ROWS: usize = 1024;

/// Rows up to which a product with a weight's transpose reads the weight as it lies, without packing.
const SKINNY: usize = 16;

/// One product of a sum: `left [m, k] · right [k, n]`.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) left: &'a Left<'a>,
    pub(crate) right: Operand<'a>,
}

impl<'a> Term<'a> {
    pub(crate) fn new(left: &'a Left<'a>, right: Operand<'a>) -> Self {
        Self { left, right }
    }

    /// The kernel that multiplies these operands.
    fn kernel(&self, level: Level) -> &'static Kernel {
        let is_half = self.left.may_round || self.left.operand.matrix.is_bf16();
        if is_half && self.right.matrix.fits_bf16() { Kernel::bf16(level) } else { Kernel::f32(level) }
    }
}

/// A left operand, as stored or transposed. It is packed once, in whatever number of products it stands.
pub(crate) struct Left<'a> {
    operand: Operand<'a>,
    /// Whether f32 values may be rounded to bf16 where bf16 products are faster.
    may_round: bool,
    panels: Panels,
}

/// A left operand's panels, packed when they are first wanted.
#[derive(Clone, Default)]
pub(crate) struct Panels {
    /// For words of one f32, and of two bf16.
    packed: Arc<[OnceLock<Packed>; 2]>,
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.packed.each_ref().map(|packed| packed.get().map(|packed| packed.dims));
        f.debug_tuple("Panels").field(&sizes).finish()
    }
}

impl<'a> Left<'a> {
    pub(crate) fn new(operand: Operand<'a>) -> Self {
        Self::shared(operand, &Panels::default())
    }

    /// With panels that are shared: they must be those of this operand's values, of which only the sizes are checked.
    pub(crate) fn shared(operand: Operand<'a>, panels: &Panels) -> Self {
        Self { operand, may_round: false, panels: panels.clone() }
    }

    /// For values that may be rounded to bf16 where bf16 products are faster.
    pub(crate) fn rounding(operand: Operand<'a>) -> Self {
        Self { may_round: true, ..Self::new(operand) }
    }

    fn packed(&self, level: Level, kernel: &'static Kernel) -> &Packed {
        let cell = &self.panels.packed[kernel.per_word - 1];
        // Packed before the cell is taken: a thread that waits in there for its pieces may run a task that wants it.
        let packed = match cell.get() {
            Some(packed) => packed,
            None => {
                let packed = Packed::new(level, kernel, &self.operand);
                cell.get_or_init(|| packed)
            }
        };
        assert!(
            std::ptr::eq(packed.kernel, kernel) && packed.dims == self.operand.dims(),
            "product: panels of another operand or kernel"
        );
        packed
    }
}

/// A matrix, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    matrix: Matrix<'a>,
    is_transposed: bool,
}

impl<'a> Operand<'a> {
    pub(crate) fn plain(matrix: Matrix<'a>) -> Self {
        Self { matrix, is_transposed: false }
    }

    pub(crate) fn transposed(matrix: Matrix<'a>) -> Self {
        Self { matrix, is_transposed: true }
    }

    fn dims(&self) -> [usize; 2] {
        let Matrix { rows, columns, .. } = self.matrix;
        if self.is_transposed { [columns, rows] } else { [rows, columns] }
    }
}

/// Where a product goes, `[m, n]` row-major.
pub(crate) enum Out<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
    F16(&'a mut [f16]),
}

impl Out<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }
}

/// `out [m, n] = alpha · Σ left·right`; without terms or depth, zeros.
///
/// # Panics
/// If the terms' or the output's sizes do not fit.
pub(crate) fn product(dims: [usize; 2], terms: &[Term<'_>], alpha: f32, out: Out<'_>) {
    product_at(Level::current(), dims, terms, alpha, out);
}

/// [`product`] with the instructions of one level.
pub(crate) fn product_at(level: Level, [m, n]: [usize; 2], terms: &[Term<'_>], alpha: f32, out: Out<'_>) {
    for term in terms {
        let ([rows, depth], [inner, columns]) = (term.left.operand.dims(), term.right.dims());
        assert!(
            rows == m && columns == n && depth == inner,
            "product: [{rows}, {depth}]·[{inner}, {columns}] for an output of [{m}, {n}]"
        );
    }
    assert_eq!(out.len(), m * n, "product: an output of [{m}, {n}]");
    if m == 0 || n == 0 {
        return;
    }
    if m <= SKINNY && terms.iter().all(skinny::fits) {
        return skinny::product(level, [m, n], terms, alpha, out);
    }
    let factors = terms.iter().map(|term| Factors {
        left: term.left.packed(level, term.kernel(level)),
        right: term.right,
        depth: term.right.dims()[0],
    });
    let factors: Vec<Factors<'_>> = factors.collect();
    let kernel = Kernel::f32(level);
    let task_columns = COLUMNS.next_multiple_of(kernel.columns);
    let column_tasks = n.div_ceil(task_columns);
    // Few columns: rows are divided too, and their tasks pack the same columns again.
    let shares = (2 * rayon::current_num_threads()).div_ceil(column_tasks).max(m.div_ceil(ROWS));
    let task_rows = m.div_ceil(shares).next_multiple_of(kernel.rows);
    let row_tasks = m.div_ceil(task_rows);
    let target = Target::new(out, n);
    (0..row_tasks * column_tasks).into_par_iter().for_each(|task| {
        let (row, column) = (task % row_tasks * task_rows, task / row_tasks * task_columns);
        let tile = Tile { row, rows: task_rows.min(m - row), column, columns: task_columns.min(n - column) };
        // SAFETY: the tiles of all tasks are disjoint.
        unsafe { tile.compute(kernel, &factors, alpha, &target) };
    });
}

thread_local! {
    /// A buffer that goes from one product to the next: fresh memory costs a page fault every 4 KiB.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// A task's sums and its packed columns.
    static TASK: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// At least `length` words; what they hold is left over.
fn at_least(mut buffer: Vec<f32>, length: usize) -> Vec<f32> {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    buffer
}

/// A term with its left operand packed.
struct Factors<'a> {
    left: &'a Packed,
    right: Operand<'a>,
    depth: usize,
}

/// A left operand's blocks of depth, in each the panels of all rows.
struct Packed {
    words: Vec<f32>,
    kernel: &'static Kernel,
    panels: usize,
    /// Rows and depth.
    dims: [usize; 2],
}

impl Packed {
    fn new(level: Level, kernel: &'static Kernel, left: &Operand<'_>) -> Self {
        let [rows, depth] = left.dims();
        let panels = rows.div_ceil(kernel.rows);
        let words = depth.div_ceil(kernel.per_word);
        let mut buffer = at_least(SCRATCH.take(), panels * kernel.rows * words);
        let mut rest = &mut buffer[..panels * kernel.rows * words];
        let mut pieces = Vec::new();
        for (start, count) in blocks(depth, kernel) {
            let panel = kernel.rows * count.div_ceil(kernel.per_word);
            let (block, later) = rest.split_at_mut(panels * panel);
            rest = later;
            let groups = block.chunks_mut((8 * panel).max(1)).enumerate();
            pieces.extend(groups.map(|(group, piece)| (start, count, group * 8 * kernel.rows, piece)));
        }
        pieces.into_par_iter().for_each(|(start, count, row, piece)| {
            let lanes = (8 * kernel.rows).min(rows - row);
            let panels = Block { width: kernel.rows, first: row, lanes, start, count };
            panels.pack(level, kernel.per_word, &left.matrix, !left.is_transposed, piece);
        });
        Self { words: buffer, kernel, panels, dims: [rows, depth] }
    }

    /// The panels from the one of `row` on, in the block of depth that starts at `start`.
    fn block(&self, start: usize, count: usize, row: usize) -> &[f32] {
        let Kernel { rows, per_word, .. } = *self.kernel;
        let before = self.panels * rows * start.div_ceil(per_word);
        &self.words[before..][row * count.div_ceil(per_word)..]
    }
}

impl Drop for Packed {
    /// The larger buffer is worth keeping: an adapter's operand is small beside its base's.
    fn drop(&mut self) {
        let own = std::mem::take(&mut self.words);
        // At a thread's end its buffer may be gone already.
        let _ = SCRATCH.try_with(|scratch| {
            let kept = scratch.take();
            scratch.set(if own.len() > kept.len() { own } else { kept });
        });
    }
}

/// The blocks of `depth`: first value and number of values.
fn blocks(depth: usize, kernel: &Kernel) -> impl Iterator<Item = (usize, usize)> + use<> {
    let step = kernel.depth * kernel.per_word;
    (0..depth).step_by(step).map(move |start| (start, step.min(depth - start)))
}

/// The part of the output that one task computes.
struct Tile {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

impl Tile {
    /// # Safety
    /// Nobody else writes the tile's rows and columns of the target.
    unsafe fn compute(&self, kernel: &Kernel, terms: &[Factors<'_>], alpha: f32, target: &Target) {
        let level = kernel.level;
        let width = self.columns.next_multiple_of(kernel.columns);
        let height = self.rows.next_multiple_of(kernel.rows);
        let (sums, right) = TASK.take();
        let mut sums = at_least(sums, height * width);
        let mut right = at_least(right, width * kernel.depth);
        let mut adds = false;
        for term in terms {
            let kernel = term.left.kernel;
            for (start, count) in blocks(term.depth, kernel) {
                let words = count.div_ceil(kernel.per_word);
                let panels =
                    Block { width: kernel.columns, first: self.column, lanes: self.columns, start, count };
                let right = &mut right[..width * words];
                panels.pack(level, kernel.per_word, &term.right.matrix, term.right.is_transposed, right);
                let left = term.left.block(start, count, self.row);
                let left = left[..height * words].chunks(LEFT_PANELS * kernel.rows * words);
                for (left, sums) in left.zip(sums.chunks_mut(LEFT_PANELS * kernel.rows * width)) {
                    for (index, right) in right.chunks_exact(kernel.columns * words).enumerate() {
                        let rows = sums.chunks_mut(kernel.rows * width);
                        for (left, sums) in left.chunks_exact(kernel.rows * words).zip(rows) {
                            kernel.run(left, right, &mut sums[index * kernel.columns..], width, adds);
                        }
                    }
                }
                adds = true;
            }
        }
        if !adds {
            sums[..height * width].fill(0.0);
        }
        for (row, sums) in sums.chunks_exact(width).take(self.rows).enumerate() {
            // SAFETY: the caller's promise; a tile lies in the output.
            unsafe { target.write(level, self.row + row, self.column, alpha, &sums[..self.columns]) };
        }
        TASK.set((sums, right));
    }
}

/// An output that several tasks write, each its own part.
struct Target {
    values: Pointer,
    columns: usize,
}

enum Pointer {
    F32(*mut f32),
    Bf16(*mut bf16),
    F16(*mut f16),
}

// SAFETY: tasks write disjoint parts.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

impl Target {
    fn new(out: Out<'_>, columns: usize) -> Self {
        let values = match out {
            Out::F32(values) => Pointer::F32(values.as_mut_ptr()),
            Out::Bf16(values) => Pointer::Bf16(values.as_mut_ptr()),
            Out::F16(values) => Pointer::F16(values.as_mut_ptr()),
        };
        Self { values, columns }
    }

    /// # Safety
    /// The values lie in the output, and nobody else writes them meanwhile.
    unsafe fn write(&self, level: Level, row: usize, column: usize, alpha: f32, values: &[f32]) {
        let start = row * self.columns + column;
        match self.values {
            Pointer::F32(out) => {
                // SAFETY: the caller's promise.
                let out = unsafe { std::slice::from_raw_parts_mut(out.add(start), values.len()) };
                out.iter_mut().zip(values).for_each(|(out, value)| *out = value * alpha);
            }
            Pointer::Bf16(out) => {
                // SAFETY: the caller's promise.
                let out = unsafe { std::slice::from_raw_parts_mut(out.add(start), values.len()) };
                source::round(level, values, alpha, out);
            }
            Pointer::F16(out) => {
                // SAFETY: the caller's promise.
                let out = unsafe { std::slice::from_raw_parts_mut(out.add(start), values.len()) };
                out.iter_mut().zip(values).for_each(|(out, value)| *out = f16::from_f32(value * alpha));
            }
        }
    }
}
