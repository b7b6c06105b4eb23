//! AdamW against its formula in f64.

use burn::tensor::{Tensor, TensorData};
use burnisher_kernels::{AdamW, adamw_step, adamw_step_reference};

use crate::support::{assert_close, devices, takes_empty, values, vec_of};

#[test]
fn ten_steps_equal_the_formula() {
    let options = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let count = 37;
    for device in devices() {
        let start = values(count, 1);
        let vector = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), &device);
        let mut parameter = vector(start.clone());
        let mut state = None;
        let mut want: Vec<(f64, f64, f64)> = start.iter().map(|&p| (f64::from(p), 0.0, 0.0)).collect();
        for step in 1..=10u64 {
            let gradient = values(count, 100 + step);
            let lr = 1e-2 / step as f64;
            let (next, moments) = adamw_step(&options, lr, step, parameter, vector(gradient.clone()), state);
            (parameter, state) = (next, Some(moments));
            for ((p, m, v), g) in want.iter_mut().zip(&gradient) {
                let g = f64::from(*g);
                *p *= 1.0 - lr * options.weight_decay;
                *m = options.beta1 * *m + (1.0 - options.beta1) * g;
                *v = options.beta2 * *v + (1.0 - options.beta2) * g * g;
                let m_hat = *m / (1.0 - options.beta1.powi(step as i32));
                let v_hat = *v / (1.0 - options.beta2.powi(step as i32));
                *p -= lr * m_hat / (v_hat.sqrt() + options.epsilon);
            }
        }
        let want: Vec<f32> = want.iter().map(|state| state.0 as f32).collect();
        assert_close(&vec_of(&parameter), &want, 1e-6, "parameters");
    }
}

#[test]
fn a_step_equals_the_reference_and_leaves_other_owners_alone() {
    let options = AdamW { weight_decay: 0.1, ..AdamW::default() };
    for device in devices() {
        for count in [0, 1, 37, 40_001].into_iter().filter(|count| *count > 0 || takes_empty(&device)) {
            let vector =
                |salt| Tensor::<1>::from_data(TensorData::new(values(count, salt), [count]), &device);
            let (mut got, mut want, mut states) = (vector(1), vector(1), [None, None]);
            for step in 1..=3 {
                let owner = got.clone();
                let before = vec_of(&owner);
                let [of_got, of_want] = states;
                let (next, got_state) = adamw_step(&options, 1e-2, step, got, vector(9 + step), of_got);
                got = next;
                let (next, want_state) =
                    adamw_step_reference(&options, 1e-2, step, want, vector(9 + step), of_want);
                want = next;
                assert_eq!(vec_of(&owner), before, "{count} values, step {step}: another owner's values");
                for (got, want) in
                    [(&got, &want), (&got_state.m, &want_state.m), (&got_state.v, &want_state.v)]
                {
                    assert_close(&vec_of(got), &vec_of(want), 1e-6, &format!("{count} values, step {step}"));
                }
                states = [Some(got_state), Some(want_state)];
            }
        }
    }
}
