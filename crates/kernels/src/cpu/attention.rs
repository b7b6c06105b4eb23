//! Attention over tiles of queries: scores of one tile exist at a time, and only for the keys it sees.

use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::{HeadRows, flex_f32, level::Level, tensor, vector};
use crate::AttentionMask;

/// Queries of a tile. With 4,096 keys its scores are 512 KiB.
const TILE: usize = 32;

/// A matrix `[rows, cols]` inside a buffer; columns are `col` apart, rows `row`.
#[derive(Clone, Copy)]
struct Matrix {
    data: *mut f32,
    row: usize,
    col: usize,
}

impl Matrix {
    /// A matrix that products only read. Creating it is safe; [`product`] says what must hold.
    fn read(data: &[f32], row: usize, col: usize) -> Self {
        Self { data: data.as_ptr().cast_mut(), row, col }
    }

    fn transposed(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }
}

/// `out = alpha·a·b`, or `out += alpha·a·b`, with `a [m, k]` and `b [k, n]`.
///
/// # Safety
/// Every element of the three matrices lies in its buffer; `out` is written by nobody else.
unsafe fn product([m, n, k]: [usize; 3], out: Matrix, add: bool, alpha: f32, a: Matrix, b: Matrix) {
    let stride = |value: usize| value as isize;
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data,
            stride(out.col),
            stride(out.row),
            add,
            a.data,
            stride(a.col),
            stride(a.row),
            b.data,
            stride(b.col),
            stride(b.row),
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A buffer that several threads write, each its own part.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: tasks write disjoint heads; `forward` and `backward` say why.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Rows of `row` values from `start` on.
    ///
    /// # Safety
    /// The part must lie in the buffer and belong to the calling task.
    unsafe fn part(self, start: usize, row: usize) -> Matrix {
        // SAFETY: the caller's promise.
        Matrix { data: unsafe { self.0.add(start) }, row, col: 1 }
    }
}

struct Shape {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
}

impl Shape {
    fn new(q: &Tensor<4>, k: &Tensor<4>) -> Self {
        let [batch, heads, queries, dim] = q.dims();
        let [_, kv_heads, keys, _] = k.dims();
        Self { batch, heads, kv_heads, queries, keys, dim }
    }

    /// Where a head's first row stands in `[batch, t, heads, d]`, the layout of what is written.
    fn head_start(&self, batch: usize, head: usize, tokens: usize, heads: usize) -> usize {
        (batch * tokens * heads + head) * self.dim
    }
}

/// A tile's queries, and the keys that one of them sees: `first` to the last query's own.
struct Tile {
    start: usize,
    count: usize,
    first: usize,
    end: usize,
}

fn tiles<'a>(shape: &'a Shape, mask: &'a AttentionMask, batch: usize) -> impl Iterator<Item = Tile> + 'a {
    let before = shape.keys - shape.queries;
    (0..shape.queries).step_by(TILE).map(move |start| {
        let count = TILE.min(shape.queries - start);
        let firsts = (start..start + count).map(|query| mask.first_key(batch, query));
        Tile { start, count, first: firsts.min().unwrap_or(0), end: before + start + count }
    })
}

/// Scores `[count, width]` to `softmax`, each row over its own keys and 0 elsewhere.
fn softmax(scores: &mut [f32], shape: &Shape, mask: &AttentionMask, batch: usize, tile: &Tile) {
    let width = tile.end - tile.first;
    let before = shape.keys - shape.queries;
    Level::current().run(
        #[inline(always)]
        || {
            for (index, row) in scores.chunks_exact_mut(width).enumerate() {
                let query = tile.start + index;
                let seen = mask.first_key(batch, query) - tile.first..before + query + 1 - tile.first;
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
                let row = &mut row[seen];
                let largest = vector::largest(row);
                for value in row.iter_mut() {
                    *value = vector::exp(*value - largest);
                }
                let factor = 1.0 / vector::sum_of(row, row, |value, _| value);
                for value in row.iter_mut() {
                    *value *= factor;
                }
            }
        },
    );
}

/// The output of attention as a view of `[batch, t, heads, d]`; `None` unless all are plain f32 tensors of Flex.
pub(crate) fn forward(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: &AttentionMask,
    scale: f32,
) -> Option<Tensor<4>> {
    let shape = Shape::new(q, k);
    let [queries, keys, values] = [q, k, v].map(|x| flex_f32(x).map(HeadRows::new));
    let (queries, keys, values) = (queries?, keys?, values?);
    let Shape { batch: batches, heads, kv_heads, dim, .. } = shape;
    let mut out = vec![0.0f32; batches * shape.queries * heads * dim];
    let target = Shared::new(&mut out);
    (0..batches * heads).into_par_iter().for_each(|task| {
        let (batch, head) = (task / heads, task % heads);
        let kv = head / (heads / kv_heads);
        let mut scores = Vec::new();
        for tile in tiles(&shape, mask, batch) {
            let width = tile.end - tile.first;
            scores.resize(tile.count * width, 0.0);
            let own = Matrix { data: scores.as_mut_ptr(), row: width, col: 1 };
            let rows = |x: &HeadRows, head, token| {
                Matrix::read(&x.all()[x.at(batch, head, token)..], x.token_stride(), 1)
            };
            let (q, k, v) = (
                rows(&queries, head, tile.start),
                rows(&keys, kv, tile.first),
                rows(&values, kv, tile.first),
            );
            let start = shape.head_start(batch, head, shape.queries, heads) + tile.start * heads * dim;
            // SAFETY: a tile's rows lie in their tensors; each task writes the rows of its own head.
            unsafe { product([tile.count, width, dim], own, false, scale, q, k.transposed()) };
            softmax(&mut scores, &shape, mask, batch, &tile);
            unsafe { product([tile.count, dim, width], target.part(start, heads * dim), false, 1.0, own, v) };
        }
    });
    Some(tensor(out, [batches, shape.queries, heads, dim], &q.device()).swap_dims(1, 2))
}

/// `dq`, `dk`, `dv` with the scores computed again; `None` as [`forward`].
pub(crate) fn backward(
    grad: &Tensor<4>,
    out: &Tensor<4>,
    [q, k, v]: [&Tensor<4>; 3],
    mask: &AttentionMask,
    scale: f32,
) -> Option<[Tensor<4>; 3]> {
    let shape = Shape::new(q, k);
    let [grads, outs, queries, keys, values] = [grad, out, q, k, v].map(|x| flex_f32(x).map(HeadRows::new));
    let (grads, outs, queries, keys, values) = (grads?, outs?, queries?, keys?, values?);
    let Shape { batch: batches, heads, kv_heads, dim, .. } = shape;
    let groups = heads / kv_heads;
    let mut dq = vec![0.0f32; batches * shape.queries * heads * dim];
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0f32; batches * shape.keys * kv_heads * dim]);
    let (to_q, to_k, to_v) = (Shared::new(&mut dq), Shared::new(&mut dk), Shared::new(&mut dv));
    (0..batches * kv_heads).into_par_iter().for_each(|task| {
        let (batch, kv) = (task / kv_heads, task % kv_heads);
        let (mut weights, mut slopes) = (Vec::new(), Vec::new());
        for head in kv * groups..(kv + 1) * groups {
            for tile in tiles(&shape, mask, batch) {
                let width = tile.end - tile.first;
                weights.resize(tile.count * width, 0.0);
                slopes.resize(tile.count * width, 0.0);
                let p = Matrix { data: weights.as_mut_ptr(), row: width, col: 1 };
                let ds = Matrix { data: slopes.as_mut_ptr(), row: width, col: 1 };
                let rows = |x: &HeadRows, head, token| {
                    Matrix::read(&x.all()[x.at(batch, head, token)..], x.token_stride(), 1)
                };
                let (q, g) = (rows(&queries, head, tile.start), rows(&grads, head, tile.start));
                let (k, v) = (rows(&keys, kv, tile.first), rows(&values, kv, tile.first));
                let q_start = shape.head_start(batch, head, shape.queries, heads) + tile.start * heads * dim;
                let kv_start =
                    shape.head_start(batch, kv, shape.keys, kv_heads) + tile.first * kv_heads * dim;
                let (tall, wide) = ([tile.count, width, dim], [width, dim, tile.count]);
                // SAFETY: as in `forward`; each task writes the rows of its own key/value head and of its queries.
                unsafe {
                    product(tall, p, false, scale, q, k.transposed());
                    product(tall, ds, false, 1.0, g, v.transposed());
                }
                softmax(&mut weights, &shape, mask, batch, &tile);
                let row = |x: &HeadRows, index| x.at(batch, head, tile.start + index);
                Level::current().run(
                    #[inline(always)]
                    || {
                        for index in 0..tile.count {
                            let (at_grad, at_out) = (row(&grads, index), row(&outs, index));
                            let (g, o) = (&grads.all()[at_grad..][..dim], &outs.all()[at_out..][..dim]);
                            let mean = vector::sum_of(g, o, |a, b| a * b);
                            let part = index * width..(index + 1) * width;
                            for (slope, weight) in slopes[part.clone()].iter_mut().zip(&weights[part]) {
                                *slope = weight * (*slope - mean);
                            }
                        }
                    },
                );
                // SAFETY: as above.
                unsafe {
                    product(wide, to_v.part(kv_start, kv_heads * dim), true, 1.0, p.transposed(), g);
                    product(wide, to_k.part(kv_start, kv_heads * dim), true, scale, ds.transposed(), q);
                    product([tile.count, dim, width], to_q.part(q_start, heads * dim), false, scale, ds, k);
                }
            }
        }
    });
    let keys = [batches, shape.keys, kv_heads, dim];
    Some([
        tensor(dq, [batches, shape.queries, heads, dim], &q.device()).swap_dims(1, 2),
        tensor(dk, keys, &k.device()).swap_dims(1, 2),
        tensor(dv, keys, &v.device()).swap_dims(1, 2),
    ])
}
