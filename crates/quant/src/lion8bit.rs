//! Lion with its state in 8 bits.

use rayon::prelude::*;

use crate::adamw8bit::{Adamw8bit, TASK_BLOCKS};
use crate::dynamic_map::DynamicMap;
use crate::error::QuantError;
use crate::simd::{block_kernels, with_vectors};
use crate::state::check_length;

/// The options of Lion with its state in 8 bits (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023;
/// bitsandbytes' `Lion8bit`).
///
/// The state is one code of the signed dynamic map per element and an absmax per block of [`Adamw8bit::BLOCK_SIZE`]
/// elements of the flattened parameter; all of them start at 0.
///
/// ```
/// use burnisher_quant::Lion8bit;
///
/// let options = Lion8bit { beta_1: 0.9, beta_2: 0.99, weight_decay: 0.0 };
/// let (mut parameter, mut codes, mut absmax) = (vec![1.0f32; 300], vec![0; 300], vec![0.0; 2]);
/// let left_out = options.step(&mut codes, &mut absmax, &mut parameter, &[0.5; 300], 1e-3)?;
/// assert_eq!((left_out, parameter[299]), (0, 0.999));
/// # Ok::<(), burnisher_quant::QuantError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion8bit {
    /// The part of the momentum in the direction of a step.
    pub beta_1: f64,
    /// What remains of the momentum in each step.
    pub beta_2: f64,
    /// Decoupled from the gradient; times the learning rate, the part of the parameter that a step takes away.
    pub weight_decay: f64,
}

impl Lion8bit {
    /// Takes one step, on all threads of the current rayon pool; returns how many elements it left out.
    ///
    /// Per element and in f32, with `m` restored from its code and quantized again after the step:
    ///
    /// ```text
    /// p = p * (1 - learning_rate * weight_decay)
    /// p = p - learning_rate * sign(m * beta_1 + (1 - beta_1) * g)
    /// m = m * beta_2 + (1 - beta_2) * g
    /// ```
    ///
    /// The sign of 0 is 0. A code is the nearest one, but keeps the sign of a negative `m`. An element whose gradient is
    /// not finite is left out: its `m` becomes 0 and `p` stays. The arithmetic of bitsandbytes 0.50.2
    /// (`kOptimizerStatic8bit1StateBlockwise`).
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless parameter and gradient have one element per code, and every block an absmax;
    /// [`QuantError::OptionValue`] unless both betas are in [0, 1), the weight decay is finite and not negative, and the
    /// learning rate finite. Nothing has changed then.
    pub fn step(
        &self,
        codes: &mut [u8],
        absmax: &mut [f32],
        parameter: &mut [f32],
        gradient: &[f32],
        learning_rate: f64,
    ) -> Result<usize, QuantError> {
        let block_size = Adamw8bit::BLOCK_SIZE;
        check_length("parameter", parameter.len(), codes.len())?;
        check_length("gradient", gradient.len(), codes.len())?;
        check_length("absmax", absmax.len(), codes.len().div_ceil(block_size))?;
        let Self { beta_1, beta_2, weight_decay } = *self;
        Adamw8bit::new().with_betas(beta_1, beta_2).with_weight_decay(weight_decay).validate()?;
        if !learning_rate.is_finite() {
            let (name, found) = ("learning_rate", learning_rate);
            return Err(QuantError::OptionValue { name, found, wanted: "a finite number" });
        }
        let factors = Factors {
            beta_1: beta_1 as f32,
            rest_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            rest_2: (1.0 - beta_2) as f32,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            rate: learning_rate as f32,
        };
        let kernels = block_kernels();
        let left_out = parameter
            .par_chunks_mut(block_size)
            .zip(gradient.par_chunks(block_size))
            .zip(codes.par_chunks_mut(block_size))
            .zip(absmax)
            .with_min_len(TASK_BLOCKS)
            .map_init(
                || vec![0.0; block_size],
                |m, (((parameter, gradient), codes), absmax)| {
                    let m = &mut m[..parameter.len()];
                    (kernels.restore)(DynamicMap::Signed, codes, *absmax, m);
                    let left_out = factors.update(parameter, gradient, m);
                    *absmax = (kernels.quantize_signed)(m, codes);
                    left_out
                },
            )
            .sum();
        Ok(left_out)
    }
}

/// The factors of one step.
struct Factors {
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    decay: f32,
    rate: f32,
}

impl Factors {
    /// Updates the elements of a block; returns how many were left out.
    fn update(&self, parameter: &mut [f32], gradient: &[f32], m: &mut [f32]) -> usize {
        // Selections of bits, and the factors at hand: the compiler makes vectors of the loop.
        let Self { beta_1, rest_1, beta_2, rest_2, decay, rate } = *self;
        let (rate, sign) = (rate.to_bits(), (-0.0f32).to_bits());
        with_vectors(
            #[inline(always)]
            || {
                let mut left_out = 0u32;
                for ((p, g), m) in parameter.iter_mut().zip(gradient).zip(&mut *m) {
                    let taken = u32::from(g.is_finite()).wrapping_neg();
                    let direction = *m * beta_1 + rest_1 * g;
                    let moves = u32::from(direction != 0.0).wrapping_neg();
                    let step = f32::from_bits(((direction.to_bits() & sign) ^ rate) & moves);
                    let (new_p, new_m) = (*p * decay - step, *m * beta_2 + rest_2 * g);
                    *p = f32::from_bits(new_p.to_bits() & taken | p.to_bits() & !taken);
                    *m = f32::from_bits(new_m.to_bits() & taken);
                    left_out += taken & 1 ^ 1;
                }
                left_out as usize
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eight_bit::EightBitState;

    const OPTIONS: Lion8bit = Lion8bit { beta_1: 0.9, beta_2: 0.99, weight_decay: 0.1 };

    fn gradient(count: usize, step: usize) -> Vec<f32> {
        let value = |i: usize| match i % 97 {
            13 => 0.0,
            50 => [f32::NAN, f32::INFINITY][i / 97 % 2],
            _ => (i as f32 * 0.37 + step as f32).sin() * 10f32.powi((i + step) as i32 % 9 - 7),
        };
        (0..count).map(value).collect()
    }

    /// One element after the other; the codes by the definition of the map.
    fn step_reference(
        codes: &mut [u8],
        absmax: &mut [f32],
        parameter: &mut [f32],
        gradient: &[f32],
        rate: f32,
    ) {
        let map = DynamicMap::Signed.values();
        for (block, absmax) in absmax.iter_mut().enumerate() {
            let range = block * 256..codes.len().min(block * 256 + 256);
            let mut m: Vec<f32> = range.clone().map(|i| map[usize::from(codes[i])] * *absmax).collect();
            for (m, i) in m.iter_mut().zip(range.clone()) {
                let g = gradient[i];
                if !g.is_finite() {
                    *m = 0.0;
                    continue;
                }
                let direction = *m * 0.9f64 as f32 + (1.0 - 0.9f64) as f32 * g;
                parameter[i] *= (1.0 - f64::from(rate) * 0.1) as f32;
                if direction != 0.0 {
                    parameter[i] -= rate * direction.signum();
                }
                *m = *m * 0.99f64 as f32 + (1.0 - 0.99f64) as f32 * g;
            }
            *absmax = m.iter().fold(0.0f32, |largest, m| largest.max(m.abs()));
            for (m, i) in m.iter().zip(range) {
                let relative = if *absmax == 0.0 { *m } else { m / *absmax };
                let code = DynamicMap::Signed.table().nearest_reference(relative);
                codes[i] = if code == 127 && relative.is_sign_negative() { 126 } else { code };
            }
        }
    }

    #[test]
    fn a_step_equals_the_definition_at_every_size() {
        for count in [0, 1, 255, 256, 257, 256 * TASK_BLOCKS * 2 + 77] {
            let start: Vec<f32> = (0..count).map(|i| (i as f32 * 0.11).cos()).collect();
            let blocks = count.div_ceil(256);
            let (mut parameter, mut codes, mut absmax) = (start.clone(), vec![0; count], vec![0.0; blocks]);
            let (mut wanted, mut wanted_codes, mut wanted_absmax) = (start, codes.clone(), absmax.clone());
            for step in 0..5 {
                let gradient = gradient(count, step);
                let bad = gradient.iter().filter(|g| !g.is_finite()).count();
                let rate = 0.0625;
                let left_out = OPTIONS
                    .step(&mut codes, &mut absmax, &mut parameter, &gradient, f64::from(rate))
                    .expect("lengths fit");
                step_reference(&mut wanted_codes, &mut wanted_absmax, &mut wanted, &gradient, rate);
                assert_eq!(left_out, bad, "{count} elements, step {step}");
                assert_eq!(parameter, wanted, "{count} elements, step {step}");
                assert_eq!(
                    (&codes, &absmax),
                    (&wanted_codes, &wanted_absmax),
                    "{count} elements, step {step}"
                );
            }
            EightBitState::new(DynamicMap::Signed, codes, absmax, 256).expect("a state that can be stored");
        }
    }

    #[test]
    fn wrong_options_and_lengths_are_refused() {
        let message = |options: Lion8bit, absmax: usize, gradient: usize, rate| {
            let (mut codes, mut absmax) = (vec![0; 300], vec![0.0; absmax]);
            let gradient = vec![1.0; gradient];
            options
                .step(&mut codes, &mut absmax, &mut [1.0; 300], &gradient, rate)
                .expect_err("an error")
                .to_string()
        };
        assert_eq!(message(OPTIONS, 1, 300, 0.1), "absmax: found 1 elements, wanted 2");
        assert_eq!(message(OPTIONS, 2, 299, 0.1), "gradient: found 299 elements, wanted 300");
        assert_eq!(message(OPTIONS, 2, 300, f64::NAN), "option learning_rate is NaN, wanted a finite number");
        let options = Lion8bit { beta_2: 1.0, ..OPTIONS };
        assert_eq!(
            message(options, 2, 300, 0.1),
            "option beta_2 is 1, wanted a number from 0 up to, not including, 1"
        );
    }
}
