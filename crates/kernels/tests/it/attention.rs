//! Grouped-query attention against a loop over its definition.

use burn::tensor::{Tensor, TensorData};
use burnisher_kernels::{AttentionMask, AttentionOptions, attention};

use crate::support::{assert_close, devices, of_products, values, vec_of};

struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    window: Option<usize>,
    segments: Vec<u32>,
}

fn case(batch: usize, heads: usize, kv_heads: usize, queries: usize, keys: usize, dim: usize) -> Case {
    Case { batch, heads, kv_heads, queries, keys, dim, window: None, segments: vec![1; batch * keys] }
}

/// The definition, in f64, one query at a time.
fn by_loops(case: &Case, q: &[f32], k: &[f32], v: &[f32], scale: f64) -> Vec<f32> {
    let Case { batch, heads, kv_heads, queries, keys, dim, window, segments } = case;
    let (queries, keys, dim) = (*queries, *keys, *dim);
    let mut out = Vec::new();
    for b in 0..*batch {
        for h in 0..*heads {
            let kv = b * kv_heads + h / (heads / kv_heads);
            for i in 0..queries {
                let position = keys - queries + i;
                let sees = |j: usize| {
                    j <= position
                        && window.is_none_or(|w| position - j < w)
                        && segments[b * keys + j] == segments[b * keys + position]
                };
                let dot = |j: usize| -> f64 {
                    let (q, k) = (&q[((b * heads + h) * queries + i) * dim..], &k[(kv * keys + j) * dim..]);
                    (0..dim).map(|d| f64::from(q[d]) * f64::from(k[d])).sum::<f64>() * scale
                };
                let weights: Vec<f64> = (0..keys).map(|j| if sees(j) { dot(j).exp() } else { 0.0 }).collect();
                let sum: f64 = weights.iter().sum();
                out.extend((0..dim).map(|d| {
                    let mixed = (0..keys).map(|j| weights[j] * f64::from(v[(kv * keys + j) * dim + d]));
                    (mixed.sum::<f64>() / sum) as f32
                }));
            }
        }
    }
    out
}

#[test]
fn attention_equals_its_definition() {
    let cases = [
        case(1, 1, 1, 1, 1, 2),
        case(2, 4, 4, 5, 5, 3),
        case(2, 4, 2, 7, 7, 4),
        case(1, 6, 1, 3, 9, 8),
        Case { window: Some(3), ..case(2, 2, 1, 8, 8, 4) },
        Case { window: Some(2), ..case(1, 2, 2, 1, 6, 4) },
        Case { segments: vec![1, 1, 1, 2, 2, 3, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2], ..case(2, 4, 2, 8, 8, 4) },
    ];
    for device in devices() {
        for case in &cases {
            let Case { batch, heads, kv_heads, queries, keys, dim, window, segments } = case;
            let (q, k, v) = (
                values(batch * heads * queries * dim, 1),
                values(batch * kv_heads * keys * dim, 2),
                values(batch * kv_heads * keys * dim, 3),
            );
            let query_segments: Vec<u32> =
                segments.chunks(*keys).flat_map(|row| row[keys - queries..].to_vec()).collect();
            let mask = AttentionMask::causal(*batch, &query_segments, segments, *window, &device);
            let tensor = |values: &[f32], shape| {
                Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device)
                    .autodiff()
                    .require_grad()
            };
            let options = AttentionOptions::new(0.6);
            let (tq, tk, tv) = (
                tensor(&q, [*batch, *heads, *queries, *dim]),
                tensor(&k, [*batch, *kv_heads, *keys, *dim]),
                tensor(&v, [*batch, *kv_heads, *keys, *dim]),
            );
            let got = attention(tq.clone(), tk.clone(), tv.clone(), &mask, options);
            let want = by_loops(case, &q, &k, &v, 0.6);
            let what = format!("{heads}/{kv_heads} heads, {queries} of {keys}, window {window:?}");
            assert_close(&vec_of(&got), &want, of_products(&device, 1e-5), &what);
            let grads = got.sum().backward();
            // Values enter linearly: the gradient's sum is the number of outputs.
            let sum: f32 = vec_of(&tv.grad(&grads).expect("dv")).iter().sum();
            assert_close(
                &[sum],
                &[(batch * heads * queries * dim) as f32],
                of_products(&device, 1e-4),
                &format!("dv of {what}"),
            );
        }
    }
}
