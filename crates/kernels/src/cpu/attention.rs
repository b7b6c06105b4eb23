//! Attention over tiles of queries: scores of one tile exist at a time, and only for the keys it sees.

use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use super::{HeadRows, Value, by_dtype, level::Level, tensor, vector};
use crate::{AttentionMask, AttentionOptions};

/// Queries of a tile. With 4,096 keys its scores are 512 KiB.
const TILE: usize = 32;

/// A matrix without gaps, or its transpose.
#[derive(Clone, Copy)]
enum Factor<'a> {
    Plain(&'a [f32]),
    Transposed(&'a [f32]),
}

/// `out = alpha·a·b`, or `out += alpha·a·b`, with `a [m, k]` and `b [k, n]`, on this thread.
fn product([m, n, k]: [usize; 3], out: &mut [f32], add: bool, alpha: f32, a: Factor<'_>, b: Factor<'_>) {
    // The values, and the distances of columns and of rows.
    let parts = |factor, rows: usize, columns: usize| match factor {
        Factor::Plain(values) => (values, 1, columns as isize),
        Factor::Transposed(values) => (values, rows as isize, 1),
    };
    let ((a, a_column, a_row), (b, b_column, b_row)) = (parts(a, m, k), parts(b, k, n));
    assert!(out.len() == m * n && a.len() == m * k && b.len() == k * n, "attention: factors of another size");
    // SAFETY: the three matrices fill their slices, as asserted.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// An output `[batch, t, heads, d]` that several tasks write, each its own heads.
struct Target<V> {
    values: *mut V,
    tokens: usize,
    heads: usize,
    dim: usize,
}

// SAFETY: tasks write disjoint heads; `forward` and `backward` say why.
unsafe impl<V: Send> Send for Target<V> {}
unsafe impl<V: Send> Sync for Target<V> {}

impl<V: Value> Target<V> {
    fn new(values: &mut [V], [tokens, heads, dim]: [usize; 3]) -> Self {
        Self { values: values.as_mut_ptr(), tokens, heads, dim }
    }

    /// Writes the rows of a head's tokens from `first` on.
    ///
    /// # Safety
    /// The batch, head and tokens are in the output, and the head belongs to the calling task.
    unsafe fn write(&self, batch: usize, head: usize, first: usize, rows: &[f32]) {
        for (token, row) in rows.chunks_exact(self.dim.max(1)).enumerate() {
            let start = ((batch * self.tokens + first + token) * self.heads + head) * self.dim;
            // SAFETY: the caller's promise.
            let out = unsafe { std::slice::from_raw_parts_mut(self.values.add(start), self.dim) };
            out.iter_mut().zip(row).for_each(|(out, value)| *out = V::nearest(*value));
        }
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
}

/// A tile's queries, and the keys that one of them sees: `first` to the last query's own.
struct Tile {
    start: usize,
    count: usize,
    first: usize,
    end: usize,
}

impl Tile {
    fn width(&self) -> usize {
        self.end - self.first
    }
}

fn tiles<'a>(shape: &'a Shape, mask: &'a AttentionMask, batch: usize) -> impl Iterator<Item = Tile> + 'a {
    let before = shape.keys - shape.queries;
    (0..shape.queries).step_by(TILE).map(move |start| {
        let count = TILE.min(shape.queries - start);
        let firsts = (start..start + count).map(|query| mask.first_key(batch, query));
        Tile { start, count, first: firsts.min().unwrap_or(0), end: before + start + count }
    })
}

/// Scores `[count, width]` to `softmax`, each row over its own keys and 0 elsewhere; with a soft cap, `slopes` gets its
/// derivative at each score.
fn softmax(
    scores: &mut [f32],
    slopes: Option<&mut [f32]>,
    shape: &Shape,
    mask: &AttentionMask,
    options: AttentionOptions,
    batch: usize,
    tile: &Tile,
) {
    let width = tile.width();
    let before = shape.keys - shape.queries;
    if let Some(cap) = options.softcap {
        soften(scores, slopes, cap as f32);
    }
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

/// `cap·tanh(score / cap)` (Gemma 2, arXiv:2408.00118, §2), and its derivative `1 − tanh²`.
fn soften(scores: &mut [f32], slopes: Option<&mut [f32]>, cap: f32) {
    let factor = 1.0 / cap;
    Level::current().run(
        #[inline(always)]
        || {
            for score in scores.iter_mut() {
                *score = vector::tanh(*score * factor);
            }
        },
    );
    if let Some(slopes) = slopes {
        slopes.iter_mut().zip(scores.iter()).for_each(|(slope, tanh)| *slope = 1.0 - tanh * tanh);
    }
    scores.iter_mut().for_each(|tanh| *tanh *= cap);
}

/// The output of attention as a view of `[batch, t, heads, d]`; `None` unless all are plain tensors of Flex in one of
/// the dtypes of [`Value`].
pub(crate) fn forward(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Option<Tensor<4>> {
    by_dtype!(q.dtype(), forward_of(q, k, v, mask, options))
}

fn forward_of<V: Value>(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Option<Tensor<4>> {
    let (shape, level) = (Shape::new(q, k), Level::current());
    let [queries, keys, values] = [q, k, v].map(HeadRows::<V>::new);
    let (queries, keys, values) = (queries?, keys?, values?);
    let Shape { batch: batches, heads, kv_heads, dim, .. } = shape;
    let mut out = V::zeros(batches * shape.queries * heads * dim);
    let target = Target::new(&mut out, [shape.queries, heads, dim]);
    let groups = heads / kv_heads;
    (0..batches * kv_heads).into_par_iter().for_each(|task| {
        let (batch, kv) = (task / kv_heads, task % kv_heads);
        let [mut k, mut v] = [(); 2].map(|()| vec![0.0f32; shape.keys * dim]);
        keys.read(level, batch, kv, 0, dim, &mut k);
        values.read(level, batch, kv, 0, dim, &mut v);
        let (mut scores, mut q, mut y) = (Vec::new(), vec![0.0; TILE * dim], vec![0.0; TILE * dim]);
        for head in kv * groups..(kv + 1) * groups {
            for tile in tiles(&shape, mask, batch) {
                let (count, width) = (tile.count, tile.width());
                let (q, y) = (&mut q[..count * dim], &mut y[..count * dim]);
                let seen = tile.first * dim..tile.end * dim;
                queries.read(level, batch, head, tile.start, dim, q);
                scores.resize(count * width, 0.0);
                let (k, v) = (Factor::Transposed(&k[seen.clone()]), Factor::Plain(&v[seen]));
                product([count, width, dim], &mut scores, false, options.scale as f32, Factor::Plain(q), k);
                softmax(&mut scores, None, &shape, mask, options, batch, &tile);
                product([count, dim, width], y, false, 1.0, Factor::Plain(&scores), v);
                // SAFETY: each task writes the heads of its own key/value head.
                unsafe { target.write(batch, head, tile.start, y) };
            }
        }
    });
    Some(tensor(out, [batches, shape.queries, heads, dim], &q.device()).swap_dims(1, 2))
}

/// `dq`, `dk`, `dv` with the scores computed again; `None` as [`forward`].
pub(crate) fn backward(
    grad: &Tensor<4>,
    out: &Tensor<4>,
    qkv: [&Tensor<4>; 3],
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Option<[Tensor<4>; 3]> {
    by_dtype!(grad.dtype(), backward_of(grad, out, qkv, mask, options))
}

fn backward_of<V: Value>(
    grad: &Tensor<4>,
    out: &Tensor<4>,
    [q, k, v]: [&Tensor<4>; 3],
    mask: &AttentionMask,
    options: AttentionOptions,
) -> Option<[Tensor<4>; 3]> {
    let (shape, level) = (Shape::new(q, k), Level::current());
    let [grads, outs, queries, keys, values] = [grad, out, q, k, v].map(HeadRows::<V>::new);
    let (grads, outs, queries, keys, values) = (grads?, outs?, queries?, keys?, values?);
    let Shape { batch: batches, heads, kv_heads, dim, .. } = shape;
    let (groups, scale) = (heads / kv_heads, options.scale as f32);
    let mut dq = V::zeros(batches * shape.queries * heads * dim);
    let [mut dk, mut dv] = [(); 2].map(|()| V::zeros(batches * shape.keys * kv_heads * dim));
    let to_q = Target::new(&mut dq, [shape.queries, heads, dim]);
    let [to_k, to_v] = [&mut dk, &mut dv].map(|out| Target::new(out, [shape.keys, kv_heads, dim]));
    (0..batches * kv_heads).into_par_iter().for_each(|task| {
        let (batch, kv) = (task / kv_heads, task % kv_heads);
        let [mut k, mut v, mut dk, mut dv] = [(); 4].map(|()| vec![0.0f32; shape.keys * dim]);
        keys.read(level, batch, kv, 0, dim, &mut k);
        values.read(level, batch, kv, 0, dim, &mut v);
        let [mut q, mut g, mut y, mut dq] = [(); 4].map(|()| vec![0.0f32; TILE * dim]);
        let (mut p, mut ds, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
        for head in kv * groups..(kv + 1) * groups {
            for tile in tiles(&shape, mask, batch) {
                let (count, width) = (tile.count, tile.width());
                let [q, g, y, dq] = [&mut q, &mut g, &mut y, &mut dq].map(|rows| &mut rows[..count * dim]);
                queries.read(level, batch, head, tile.start, dim, q);
                grads.read(level, batch, head, tile.start, dim, g);
                outs.read(level, batch, head, tile.start, dim, y);
                p.resize(count * width, 0.0);
                ds.resize(count * width, 0.0);
                let seen = tile.first * dim..tile.end * dim;
                let (k, v) = (&k[seen.clone()], &v[seen.clone()]);
                let (tall, wide) = ([count, width, dim], [width, dim, count]);
                product(tall, &mut p, false, scale, Factor::Plain(q), Factor::Transposed(k));
                product(tall, &mut ds, false, 1.0, Factor::Plain(g), Factor::Transposed(v));
                slopes.resize(if options.softcap.is_some() { count * width } else { 0 }, 0.0);
                softmax(&mut p, Some(&mut slopes), &shape, mask, options, batch, &tile);
                level.run(
                    #[inline(always)]
                    || {
                        let rows = g.chunks_exact(dim).zip(y.chunks_exact(dim));
                        for ((ds, p), (g, y)) in
                            ds.chunks_exact_mut(width).zip(p.chunks_exact(width)).zip(rows)
                        {
                            let mean = vector::sum_of(g, y, |a, b| a * b);
                            for (ds, p) in ds.iter_mut().zip(p) {
                                *ds = p * (*ds - mean);
                            }
                        }
                        for (ds, slope) in ds.iter_mut().zip(&slopes) {
                            *ds *= slope;
                        }
                    },
                );
                let (transposed, ds) = (Factor::Transposed(&ds), Factor::Plain(&ds));
                product(wide, &mut dv[seen.clone()], true, 1.0, Factor::Transposed(&p), Factor::Plain(g));
                product(wide, &mut dk[seen], true, scale, transposed, Factor::Plain(q));
                product([count, dim, width], dq, false, scale, ds, Factor::Plain(k));
                // SAFETY: each task writes its own key/value head and the heads that share it.
                unsafe { to_q.write(batch, head, tile.start, dq) };
            }
        }
        // SAFETY: as above.
        unsafe {
            to_k.write(batch, kv, 0, &dk);
            to_v.write(batch, kv, 0, &dv);
        }
    });
    let keys = [batches, shape.keys, kv_heads, dim];
    Some([
        tensor(dq, [batches, shape.queries, heads, dim], &q.device()).swap_dims(1, 2),
        tensor(dk, keys, &k.device()).swap_dims(1, 2),
        tensor(dv, keys, &v.device()).swap_dims(1, 2),
    ])
}
