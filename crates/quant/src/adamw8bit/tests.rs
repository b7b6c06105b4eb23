use super::step::TASK_BLOCKS;
use super::{Adamw8bit, Adamw8bitState, DecayOrder};
use crate::dynamic_map::DynamicMap;
use crate::eight_bit::EightBitState;
use crate::error::QuantError;

/// One element after the other, with the definition of the codes: what a step must do.
fn step_reference(
    state: &mut Adamw8bitState,
    parameter: &mut [f32],
    gradient: &[f32],
    options: &Adamw8bit,
    learning_rate: f64,
) {
    state.steps += 1;
    let step = state.steps as f64;
    let correction_1 = 1.0 - options.beta_1.powf(step);
    let correction_2 = (1.0 - options.beta_2.powf(step)).sqrt();
    let update = (-learning_rate * correction_2 / correction_1) as f32;
    let decay = (1.0 - learning_rate * options.weight_decay) as f32;
    let (mut m, mut v) = (state.first.dequantize(), state.second.dequantize());
    for (i, g) in gradient.iter().enumerate() {
        let next_v = v[i] * options.beta_2 as f32 + ((1.0 - options.beta_2) as f32 * g) * g;
        if !next_v.is_finite() {
            (m[i], v[i]) = (0.0, 0.0);
            continue;
        }
        v[i] = next_v;
        m[i] = m[i] * options.beta_1 as f32 + (1.0 - options.beta_1) as f32 * g;
        if options.decay_order == DecayOrder::BeforeUpdate {
            parameter[i] *= decay;
        }
        parameter[i] += update * (m[i] / (v[i].sqrt() + (correction_2 * options.epsilon) as f32));
        if options.decay_order == DecayOrder::AfterUpdate {
            parameter[i] *= decay;
        }
    }
    for (mean, values) in [(&mut state.first, &m), (&mut state.second, &v)] {
        let (table, signed) = (mean.map.table(), mean.map == DynamicMap::Signed);
        for (i, value) in values.iter().enumerate() {
            let start = i - i % mean.block_size;
            let block = &values[start..values.len().min(start + mean.block_size)];
            let absmax = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            let relative = if absmax == 0.0 { 0.0 } else { value / absmax };
            let mut code = table.nearest_reference(relative);
            if signed && table.values[usize::from(code)].is_sign_negative() != value.is_sign_negative() {
                code = if *value > 0.0 { code + 1 } else { code - 1 };
            }
            mean.codes[i] = code;
            mean.absmax[i / mean.block_size] = absmax;
        }
    }
}

/// Gradients of very different sizes, with zeros and, if wanted, what is not finite among them.
fn gradient(count: usize, step: usize, bad: bool) -> Vec<f32> {
    let value = |i: usize| match i % 97 {
        13 => 0.0,
        14 => -0.0,
        50 if bad => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30][i / 97 % 4],
        _ => (i as f32 * 0.37 + step as f32).sin() * 10f32.powi((i + step) as i32 % 9 - 7),
    };
    (0..count).map(value).collect()
}

#[test]
fn a_step_equals_the_definition_at_every_size() {
    for decay_order in [DecayOrder::AfterUpdate, DecayOrder::BeforeUpdate] {
        let options = Adamw8bit::new().with_betas(0.8, 0.99).with_decay_order(decay_order);
        for count in [0, 1, 2, 255, 256, 257, 511, 256 * TASK_BLOCKS * 2 + 77] {
            let start: Vec<f32> = (0..count).map(|i| (i as f32 * 0.11).cos()).collect();
            let (mut parameter, mut wanted_parameter) = (start.clone(), start);
            let (mut state, mut wanted) = (Adamw8bitState::zeros(count), Adamw8bitState::zeros(count));
            for step in 0..5 {
                let gradient = gradient(count, step, true);
                let bad = gradient.iter().filter(|g| !(**g * **g).is_finite()).count();
                let left_out = state.step(&mut parameter, &gradient, &options, 0.01).expect("lengths fit");
                assert_eq!(left_out, bad, "{count} elements, step {step}");
                step_reference(&mut wanted, &mut wanted_parameter, &gradient, &options, 0.01);
                assert_eq!(parameter, wanted_parameter, "{count} elements, step {step}");
                assert_eq!(state, wanted, "{count} elements, step {step}");
            }
            assert!(parameter.iter().all(|p| p.is_finite()));
            assert!(state.first.absmax.iter().chain(&state.second.absmax).all(|x| x.is_finite()));
        }
    }
}

#[test]
fn what_is_left_out_keeps_its_parameter_and_forgets_its_means() {
    let mut parameter = vec![1.0; 300];
    let mut state = Adamw8bitState::zeros(300);
    let options = Adamw8bit::new();
    let good = vec![0.5; 300];
    state.step(&mut parameter, &good, &options, 0.1).expect("lengths fit");
    let before = parameter.clone();
    let mut gradient = good;
    gradient[299] = f32::NAN;
    assert_eq!(state.step(&mut parameter, &gradient, &options, 0.1).expect("lengths fit"), 1);
    assert_eq!(parameter[299], before[299]);
    assert_ne!(parameter[298], before[298]);
    assert_eq!((state.first.dequantize()[299], state.second.dequantize()[299]), (0.0, 0.0));
}

#[test]
fn wrong_options_and_lengths_are_refused_and_change_nothing() {
    let mut state = Adamw8bitState::zeros(3);
    let mut parameter = [1.0; 3];
    let message = |result: Result<usize, QuantError>| result.expect_err("an error").to_string();
    let options = Adamw8bit::new();
    let found = message(state.step(&mut parameter, &[0.1; 2], &options, 0.1));
    assert_eq!(found, "gradient: found 2 elements, wanted 3");
    let found = message(state.step(&mut parameter[..2], &[0.1; 3], &options, 0.1));
    assert_eq!(found, "parameter: found 2 elements, wanted 3");
    let found = message(state.step(&mut parameter, &[0.1; 3], &options, f64::NAN));
    assert_eq!(found, "option learning_rate is NaN, wanted a finite number");
    let found = message(state.step(&mut parameter, &[0.1; 3], &options.with_betas(0.9, 1.0), 0.1));
    assert_eq!(found, "option beta_2 is 1, wanted a number from 0 up to, not including, 1");
    let found = message(state.step(&mut parameter, &[0.1; 3], &options.with_weight_decay(-0.1), 0.1));
    assert_eq!(found, "option weight_decay is -0.1, wanted a finite number, not negative");
    assert_eq!((parameter, state), ([1.0; 3], Adamw8bitState::zeros(3)));
}

#[test]
fn means_that_do_not_fit_are_refused() {
    let zeros = |count, map, block_size| EightBitState::zeros(count, map, block_size).expect("a block size");
    let first = zeros(300, DynamicMap::Signed, 256);
    let message = |second| Adamw8bitState::new(first.clone(), second, 7).expect_err("an error").to_string();
    assert_eq!(
        message(zeros(300, DynamicMap::Signed, 256)),
        "second mean: found the map Signed, wanted Unsigned"
    );
    assert_eq!(message(zeros(299, DynamicMap::Unsigned, 256)), "second mean: found 299 elements, wanted 300");
    assert_eq!(
        message(zeros(300, DynamicMap::Unsigned, 64)),
        "block of the second mean: found 64 elements, wanted 256"
    );
    let negative = EightBitState::new(DynamicMap::Unsigned, vec![0; 300], vec![1.0, -2.0], 256);
    assert_eq!(
        message(negative.expect("parts that fit")),
        "found -2 at index 1, wanted no negative values for the unsigned map"
    );
    let state = Adamw8bitState::new(first.clone(), zeros(300, DynamicMap::Unsigned, 256), 7);
    assert_eq!(state.expect("means that fit").steps(), 7);
}
