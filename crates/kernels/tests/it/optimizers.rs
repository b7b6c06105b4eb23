//! Steps of Lion, gradient descent and Adafactor against their formulas in f64, and fast ones against references.

use burn::tensor::{Device, Tensor, TensorData};
use burnisher_kernels::{
    Adafactor, AdamW, AdamWState, Lion, Sgd, adafactor_step, adamw_step, adamw_update, lion_step,
    lion_step_reference, lion_update, sgd_step, sgd_step_reference, update_values,
};

use crate::support::{assert_close, devices, takes_empty, values, vec_of};

fn vector(count: usize, salt: u64, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values(count, salt), [count]), device)
}

#[test]
fn lion_equals_its_formula() {
    let options = Lion { weight_decay: 0.1, ..Lion::default() };
    for device in devices() {
        let (mut parameter, mut momentum) = (vector(37, 1, &device), None);
        let mut want: Vec<(f64, f64)> = values(37, 1).into_iter().map(|p| (f64::from(p), 0.0)).collect();
        for step in 1..=10u64 {
            let lr = 1e-2 / step as f64;
            let (next, m) = lion_step(&options, lr, parameter, vector(37, 100 + step, &device), momentum);
            (parameter, momentum) = (next, Some(m));
            for ((p, m), g) in want.iter_mut().zip(values(37, 100 + step)) {
                let g = f64::from(g);
                *p -= lr * options.weight_decay * *p;
                *p -= lr * (0.9 * *m + 0.1 * g).signum();
                *m = 0.99 * *m + 0.01 * g;
            }
        }
        let want: Vec<f32> = want.iter().map(|state| state.0 as f32).collect();
        assert_close(&vec_of(&parameter), &want, 1e-6, "parameters");
        // Without a gradient there is no direction.
        let zeros = Tensor::<1>::zeros([37], &device);
        let (same, _) = lion_step(&Lion::default(), 1.0, zeros.clone(), zeros, None);
        assert_eq!(vec_of(&same), [0.0; 37]);
    }
}

#[test]
fn gradient_descent_equals_its_formula() {
    let options = Sgd { momentum: 0.9, weight_decay: 0.1 };
    for device in devices() {
        let (mut parameter, mut buffer) = (vector(37, 1, &device), None);
        let mut want: Vec<(f64, f64)> = values(37, 1).into_iter().map(|p| (f64::from(p), 0.0)).collect();
        for step in 1..=10u64 {
            let (next, b) = sgd_step(&options, 1e-2, parameter, vector(37, 100 + step, &device), buffer);
            (parameter, buffer) = (next, Some(b));
            for ((p, b), g) in want.iter_mut().zip(values(37, 100 + step)) {
                *b = 0.9 * *b + f64::from(g) + 0.1 * *p;
                *p -= 1e-2 * *b;
            }
        }
        let want: Vec<f32> = want.iter().map(|state| state.0 as f32).collect();
        assert_close(&vec_of(&parameter), &want, 1e-6, "parameters");
    }
}

/// Root mean square.
fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn adafactor_equals_its_formula() {
    let (rows, columns) = (5, 8);
    let count = rows * columns;
    for device in devices() {
        for (scale_parameter, relative_step, warmup_init) in
            [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
        {
            for matrix in [Some([rows, columns]), None] {
                let options = Adafactor {
                    weight_decay: 0.1,
                    scale_parameter,
                    relative_step,
                    warmup_init,
                    ..Adafactor::default()
                };
                let (mut parameter, mut state) = (vector(count, 1, &device), None);
                let mut p: Vec<f64> = values(count, 1).into_iter().map(f64::from).collect();
                let (mut row, mut column, mut full) = (vec![0.0; rows], vec![0.0; columns], vec![0.0; count]);
                for step in 1..=6u64 {
                    let gradient = vector(count, 100 + step, &device);
                    let (next, new) =
                        adafactor_step(&options, 0.02, step, parameter, matrix, gradient, state);
                    (parameter, state) = (next, Some(new));

                    let g: Vec<f64> = values(count, 100 + step).into_iter().map(f64::from).collect();
                    let t = step as f64;
                    let beta = 1.0 - t.powf(-0.8);
                    let mut rate = match (relative_step, warmup_init) {
                        (false, _) => 0.02,
                        (true, false) => (1.0 / t.sqrt()).min(0.01),
                        (true, true) => (1.0 / t.sqrt()).min(1e-6 * t),
                    };
                    if scale_parameter {
                        rate *= rms(&p).max(1e-3);
                    }
                    let square = |i: usize| g[i] * g[i] + 1e-30;
                    for (i, r) in row.iter_mut().enumerate() {
                        let mean =
                            (0..columns).map(|j| square(i * columns + j)).sum::<f64>() / columns as f64;
                        *r = beta * *r + (1.0 - beta) * mean;
                    }
                    for (j, c) in column.iter_mut().enumerate() {
                        let mean = (0..rows).map(|i| square(i * columns + j)).sum::<f64>() / rows as f64;
                        *c = beta * *c + (1.0 - beta) * mean;
                    }
                    full.iter_mut().enumerate().for_each(|(i, v)| *v = beta * *v + (1.0 - beta) * square(i));
                    let mean_row = row.iter().sum::<f64>() / rows as f64;
                    let second = |i: usize| match matrix {
                        Some(_) => row[i / columns] / mean_row * column[i % columns],
                        None => full[i],
                    };
                    let update: Vec<f64> = (0..count).map(|i| g[i] / second(i).sqrt()).collect();
                    let clip = rms(&update).max(1.0);
                    for (p, u) in p.iter_mut().zip(&update) {
                        *p -= 0.1 * rate * *p + rate * u / clip;
                    }
                }
                let want: Vec<f32> = p.iter().map(|p| *p as f32).collect();
                assert_close(&vec_of(&parameter), &want, 2e-6, &format!("{options:?} {matrix:?}"));
            }
        }
    }
}

#[test]
fn fast_steps_equal_their_references_and_leave_other_owners_alone() {
    let (lion, sgd) =
        (Lion { weight_decay: 0.1, ..Lion::default() }, Sgd { momentum: 0.9, weight_decay: 0.1 });
    for device in devices() {
        for count in [0, 1, 37, 40_001].into_iter().filter(|count| *count > 0 || takes_empty(&device)) {
            let step = |is_lion: bool, is_fast: bool, p: Tensor<1>, g, state| match (is_lion, is_fast) {
                (true, true) => lion_step(&lion, 1e-2, p, g, state),
                (true, false) => lion_step_reference(&lion, 1e-2, p, g, state),
                (false, true) => sgd_step(&sgd, 1e-2, p, g, state),
                (false, false) => sgd_step_reference(&sgd, 1e-2, p, g, state),
            };
            for is_lion in [true, false] {
                let (mut got, mut want) = (vector(count, 1, &device), vector(count, 1, &device));
                let (mut got_state, mut want_state) = (None, None);
                for salt in 10..13 {
                    let owner = got.clone();
                    let before = vec_of(&owner);
                    let (next, state) = step(is_lion, true, got, vector(count, salt, &device), got_state);
                    (got, got_state) = (next, Some(state));
                    let (next, state) = step(is_lion, false, want, vector(count, salt, &device), want_state);
                    (want, want_state) = (next, Some(state));
                    assert_eq!(vec_of(&owner), before, "{count} values: another owner's values");
                    assert_close(&vec_of(&got), &vec_of(&want), 1e-6, &format!("{count} values"));
                }
                let [got, want] = [got_state, want_state].map(|state| vec_of(&state.expect("a state")));
                assert_close(&got, &want, 1e-6, &format!("state of {count} values"));
            }
        }
    }
}

/// What paged state relies on.
#[test]
fn steps_over_slices_equal_those_over_tensors_bit_for_bit() {
    let device = devices().remove(0);
    let adamw = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let lion = Lion { weight_decay: 0.1, ..Lion::default() };
    for count in [1, 37, 40_001] {
        let mut slices = vec![vec![0.0f32; count]; 3];
        let [mut of_adamw, mut of_lion] = [(); 2].map(|()| vector(count, 1, &device));
        let [mut adamw_slice, mut lion_slice] = [(); 2].map(|()| vector(count, 1, &device));
        let (mut moments, mut momentum): (Option<AdamWState<1>>, _) = (None, None);
        for step in 1..=3 {
            let gradient = vector(count, 10 + step, &device);
            let (next, state) = adamw_step(&adamw, 1e-2, step, of_adamw, gradient.clone(), moments);
            (of_adamw, moments) = (next, Some(state));
            let (next, state) = lion_step(&lion, 1e-2, of_lion, gradient.clone(), momentum);
            (of_lion, momentum) = (next, Some(state));
            let [m, v, of_direction] = &mut slices[..] else { unreachable!() };
            (adamw_slice, ()) =
                update_values(adamw_slice, &gradient, |p, g| adamw_update(&adamw, 1e-2, step, p, g, m, v));
            (lion_slice, ()) =
                update_values(lion_slice, &gradient, |p, g| lion_update(&lion, 1e-2, p, g, of_direction));
            assert_eq!(vec_of(&of_adamw), vec_of(&adamw_slice), "AdamW, {count} values, step {step}");
            assert_eq!(vec_of(&of_lion), vec_of(&lion_slice), "Lion, {count} values, step {step}");
        }
        let AdamWState { m, v } = moments.expect("moments");
        let held = [vec_of(&m), vec_of(&v), vec_of(&momentum.expect("a momentum"))];
        assert!(held.iter().zip(&slices).all(|(tensor, slice)| tensor == slice), "state of {count} values");
    }
}
