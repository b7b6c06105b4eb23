use rayon::prelude::*;

use super::options::{Adamw8bit, DecayOrder};
use crate::config::check_block_size;
use crate::dynamic_map::DynamicMap;
use crate::eight_bit::{EightBitState, check_not_negative, largest_magnitude};
use crate::error::QuantError;
use crate::simd::{block_kernels, with_vectors};
use crate::state::check_length;

/// Blocks per parallel task, at least.
pub(crate) const TASK_BLOCKS: usize = 32;

/// The state of AdamW for one parameter: the means of the gradients and of their squares in 8 bits, and the steps
/// taken.
///
/// Blocks of [`Adamw8bit::BLOCK_SIZE`] elements of the flattened parameter; the first mean with the signed dynamic map,
/// the second with the unsigned one. In bitsandbytes' optimizer checkpoints they are `state1` and `absmax1`, `state2`
/// and `absmax2`, and `step`; `qmap1` and `qmap2` are [`DynamicMap::values`].
///
/// ```
/// use burnisher_quant::{Adamw8bit, Adamw8bitState};
///
/// let options = Adamw8bit::new().with_weight_decay(0.0);
/// let mut parameter = vec![1.0f32; 5000];
/// let mut state = Adamw8bitState::zeros(parameter.len());
/// let gradient = parameter.clone();
/// let left_out = state.step(&mut parameter, &gradient, &options, 1e-3)?;
/// assert_eq!((left_out, state.steps()), (0, 1));
/// assert!((parameter[0] - 0.999).abs() < 1e-6);
/// assert_eq!(state.size_bytes(), 2 * (5000 + 4 * 20));
/// # Ok::<(), burnisher_quant::QuantError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Adamw8bitState {
    pub(super) first: EightBitState,
    pub(super) second: EightBitState,
    pub(super) steps: u64,
}

impl Adamw8bitState {
    /// The state of a parameter with `count` elements before its first step.
    pub fn zeros(count: usize) -> Self {
        let zeros = |map| {
            let block_size = Adamw8bit::BLOCK_SIZE;
            let (codes, absmax) = (vec![0; count], vec![0.0; count.div_ceil(block_size)]);
            EightBitState { map, codes, absmax, block_size }
        };
        Self { first: zeros(DynamicMap::Signed), second: zeros(DynamicMap::Unsigned), steps: 0 }
    }

    /// Puts a state together, as from a checkpoint.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] if the means differ in length or block size, [`QuantError::Map`] unless the first has the
    /// signed map and the second the unsigned one, [`QuantError::Negative`] with the index of the first absmax of the
    /// second that is below 0.
    pub fn new(first: EightBitState, second: EightBitState, steps: u64) -> Result<Self, QuantError> {
        for (what, state, wanted) in
            [("first mean", &first, DynamicMap::Signed), ("second mean", &second, DynamicMap::Unsigned)]
        {
            if state.map() != wanted {
                return Err(QuantError::Map { what, found: state.map(), wanted });
            }
        }
        check_length("second mean", second.count(), first.count())?;
        check_length("block of the second mean", second.block_size(), first.block_size())?;
        check_not_negative(second.absmax())?;
        Ok(Self { first, second, steps })
    }

    /// The mean of the gradients.
    pub fn first(&self) -> &EightBitState {
        &self.first
    }

    /// The mean of the squared gradients.
    pub fn second(&self) -> &EightBitState {
        &self.second
    }

    /// The steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The number of elements of the parameter.
    pub fn count(&self) -> usize {
        self.first.count()
    }

    /// The bytes of codes and absmax of both means.
    pub fn size_bytes(&self) -> usize {
        self.first.size_bytes() + self.second.size_bytes()
    }

    /// Takes one step, on all threads of the current rayon pool; returns how many elements it left out.
    ///
    /// With `t` counting this step, `c1 = 1 - beta_1^t` and `c2 = sqrt(1 - beta_2^t)`, per element and in f32, where m
    /// and v are restored from the state and quantized again after the step:
    ///
    /// ```text
    /// v = v * beta_2 + (1 - beta_2) * g * g
    /// m = m * beta_1 + (1 - beta_1) * g
    /// p = p - learning_rate * (c2 / c1) * m / (sqrt(v) + c2 * epsilon)
    /// p = p * (1 - learning_rate * weight_decay)                             (first of all with BeforeUpdate)
    /// ```
    ///
    /// The factors are worked out in f64 and rounded once. The code of m / absmax is the nearest one, but a negative m
    /// never takes the code of zero: it keeps its sign. An element whose gradient, or its square, is not finite is left
    /// out: its m and v become 0 and p stays. The arithmetic of bitsandbytes 0.50.2
    /// (`kOptimizerStatic8bit2StateBlockwise`), but for a square that overflows, where that kernel's state becomes NaN.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless parameter and gradient have one element per code; [`QuantError::OptionValue`] for
    /// options that [`Adamw8bit::validate`] refuses and a learning rate that is not finite. Nothing has changed then.
    pub fn step(
        &mut self,
        parameter: &mut [f32],
        gradient: &[f32],
        options: &Adamw8bit,
        learning_rate: f64,
    ) -> Result<usize, QuantError> {
        let block_size = self.first.block_size;
        let slices = Adamw8bitSlices {
            codes_1: &mut self.first.codes,
            absmax_1: &mut self.first.absmax,
            codes_2: &mut self.second.codes,
            absmax_2: &mut self.second.absmax,
        };
        let left_out =
            slices.step(block_size, self.steps + 1, parameter, gradient, options, learning_rate)?;
        self.steps += 1;
        Ok(left_out)
    }
}

/// The state of AdamW for one parameter wherever it lies, for example in a mapped file: the parts of an
/// [`Adamw8bitState`].
#[derive(Debug)]
pub struct Adamw8bitSlices<'a> {
    /// The codes of the mean of the gradients, of the signed map.
    pub codes_1: &'a mut [u8],
    /// One absmax per block of them.
    pub absmax_1: &'a mut [f32],
    /// The codes of the mean of their squares, of the unsigned map.
    pub codes_2: &'a mut [u8],
    /// One absmax per block of them.
    pub absmax_2: &'a mut [f32],
}

impl Adamw8bitSlices<'_> {
    /// [`Adamw8bitState::step`] number `step`, counted from 1, with blocks of `block_size` elements.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] unless parameter and gradient have one element per code of either mean, and every block an
    /// absmax; [`QuantError::OptionValue`] as [`Adamw8bitState::step`]. Nothing has changed then.
    pub fn step(
        self,
        block_size: usize,
        step: u64,
        parameter: &mut [f32],
        gradient: &[f32],
        options: &Adamw8bit,
        learning_rate: f64,
    ) -> Result<usize, QuantError> {
        check_block_size("state", block_size)?;
        let (count, blocks) = (self.codes_1.len(), self.codes_1.len().div_ceil(block_size));
        check_length("parameter", parameter.len(), count)?;
        check_length("gradient", gradient.len(), count)?;
        check_length("second mean", self.codes_2.len(), count)?;
        check_length("absmax of the first mean", self.absmax_1.len(), blocks)?;
        check_length("absmax of the second mean", self.absmax_2.len(), blocks)?;
        let (factors, kernels) = (Factors::new(options, learning_rate, step)?, block_kernels());
        let left_out = parameter
            .par_chunks_mut(block_size)
            .zip(gradient.par_chunks(block_size))
            .zip(self.codes_1.par_chunks_mut(block_size))
            .zip(self.absmax_1)
            .zip(self.codes_2.par_chunks_mut(block_size))
            .zip(self.absmax_2)
            .with_min_len(TASK_BLOCKS)
            .map_init(
                || (vec![0.0; block_size], vec![0.0; block_size]),
                |(m, v), (((((parameter, gradient), codes_1), absmax_1), codes_2), absmax_2)| {
                    let (m, v) = (&mut m[..parameter.len()], &mut v[..parameter.len()]);
                    (kernels.restore)(DynamicMap::Signed, codes_1, *absmax_1, m);
                    (kernels.restore)(DynamicMap::Unsigned, codes_2, *absmax_2, v);
                    let left_out = factors.update(parameter, gradient, m, v, *absmax_2);
                    *absmax_1 = (kernels.quantize_signed)(m, codes_1);
                    *absmax_2 = (kernels.quantize_unsigned)(v, codes_2);
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
    update: f32,
    epsilon: f32,
    before: f32,
    after: f32,
}

impl Factors {
    fn new(options: &Adamw8bit, learning_rate: f64, step: u64) -> Result<Self, QuantError> {
        options.validate()?;
        if !learning_rate.is_finite() {
            let (name, found) = ("learning_rate", learning_rate);
            return Err(QuantError::OptionValue { name, found, wanted: "a finite number" });
        }
        let Adamw8bit { beta_1, beta_2, epsilon, weight_decay, decay_order } = *options;
        let correction_1 = 1.0 - beta_1.powf(step as f64);
        let correction_2 = (1.0 - beta_2.powf(step as f64)).sqrt();
        let decay = (1.0 - learning_rate * weight_decay) as f32;
        let (before, after) = match decay_order {
            DecayOrder::BeforeUpdate => (decay, 1.0),
            DecayOrder::AfterUpdate => (1.0, decay),
        };
        Ok(Self {
            beta_1: beta_1 as f32,
            rest_1: (1.0 - beta_1) as f32,
            beta_2: beta_2 as f32,
            rest_2: (1.0 - beta_2) as f32,
            update: (-learning_rate * correction_2 / correction_1) as f32,
            epsilon: (correction_2 * epsilon) as f32,
            before,
            after,
        })
    }

    /// Updates the elements of a block, whose restored means are at most `absmax` in magnitude; returns how many were
    /// left out.
    fn update(
        &self,
        parameter: &mut [f32],
        gradient: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        absmax: f32,
    ) -> usize {
        with_vectors(
            #[inline(always)]
            || {
                // Where no square can overflow, nothing is left out. A NaN is larger than any number.
                if largest_magnitude(gradient) < 1e18 && absmax < 1e36 {
                    for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(&mut *m).zip(&mut *v) {
                        *v = *v * self.beta_2 + self.rest_2 * g * g;
                        *m = *m * self.beta_1 + self.rest_1 * g;
                        let step = self.update * (*m / (v.sqrt() + self.epsilon));
                        *p = (*p * self.before + step) * self.after;
                    }
                    return 0;
                }
                let mut left_out = 0u32;
                for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(&mut *m).zip(&mut *v) {
                    let new_v = *v * self.beta_2 + self.rest_2 * g * g;
                    let new_m = *m * self.beta_1 + self.rest_1 * g;
                    let taken = new_v.is_finite();
                    (*m, *v) = if taken { (new_m, new_v) } else { (0.0, 0.0) };
                    let step = self.update * (*m / (v.sqrt() + self.epsilon));
                    let new_p = (*p * self.before + step) * self.after;
                    *p = if taken { new_p } else { *p };
                    left_out += u32::from(!taken);
                }
                left_out as usize
            },
        )
    }
}
