//! Counter-based dropout: a mask is a function of (seed, step, layer, token, feature), so that
//! recomputation, resuming and another split into micro-batches see the same numbers.

use std::sync::Arc;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

#[cfg(feature = "flex")]
use crate::cpu;

/// The keys of one micro-batch's dropout masks.
#[derive(Clone, Debug)]
pub struct DropoutKeys {
    /// The run's seed mixed with the optimizer step.
    base: u64,
    /// One key per token of the micro-batch, row-major: which record, which position.
    tokens: Arc<[u64]>,
}

impl DropoutKeys {
    /// Keys for one micro-batch at optimizer step `step`; `token_keys` names each token of the
    /// batch (row-major), for example by record number and position.
    pub fn new(seed: u64, step: u64, token_keys: impl Into<Arc<[u64]>>) -> Self {
        Self { base: mix(seed ^ mix(step)), tokens: token_keys.into() }
    }

    /// The dropout of one layer: `layer` distinguishes layers, `probability` is in `[0, 1)`.
    pub fn layer(&self, layer: u64, probability: f64) -> Dropout {
        Dropout { base: mix(self.base ^ mix(layer)), tokens: self.tokens.clone(), probability }
    }
}

/// One layer's dropout on an activation `[tokens, features]`.
#[derive(Clone, Debug)]
pub struct Dropout {
    base: u64,
    tokens: Arc<[u64]>,
    probability: f64,
}

impl Dropout {
    /// The mask `[tokens, features]`: 0 with the dropout's probability, else `1 / (1 - p)`.
    ///
    /// # Panics
    /// If `tokens` is not the number of token keys of the micro-batch.
    pub fn mask(&self, tokens: usize, features: usize, dtype: FloatDType, device: &Device) -> Tensor<2> {
        self.check(tokens);
        let mut mask = Vec::with_capacity(tokens * features);
        for token in 0..tokens {
            let row = self.row(token);
            mask.extend((0..features).map(|feature| row.factor(feature)));
        }
        Tensor::<2>::from_data(TensorData::new(mask, [tokens, features]), device).cast(dtype)
    }

    /// The factors of the micro-batch's token number `token`.
    #[inline(always)]
    pub(crate) fn row(&self, token: usize) -> DropoutRow {
        DropoutRow {
            key: mix(self.base ^ mix(self.tokens[token])),
            // Comparing 32 random bits: a probability is met to 2⁻³².
            threshold: (self.probability * 4_294_967_296.0) as u64,
            keep: (1.0 / (1.0 - self.probability)) as f32,
        }
    }

    /// `mask ⊙ x [tokens, features]` in `dtype`, for plain tensors.
    pub(crate) fn apply(&self, x: Tensor<2>, dtype: FloatDType) -> Tensor<2> {
        self.check(x.dims()[0]);
        #[cfg(feature = "flex")]
        if let Some(dropped) = cpu::dropout::dropped(&x, dtype.into(), self) {
            return dropped;
        }
        let [tokens, features] = x.dims();
        let mask = self.mask(tokens, features, dtype, &x.device());
        x.cast(dtype) * mask
    }

    /// `base + mask ⊙ through` in the dtype of `base`, for plain tensors `[tokens, features]`.
    pub(crate) fn add_applied(&self, base: Tensor<2>, through: Tensor<2>) -> Tensor<2> {
        self.check(base.dims()[0]);
        #[cfg(feature = "flex")]
        if cpu::dropout::adds(&base, &through) {
            return cpu::dropout::add_dropped(base, &through, self);
        }
        let dtype = FloatDType::from(base.dtype());
        let within = FloatDType::from(through.dtype());
        base + self.apply(through, within).cast(dtype)
    }

    fn check(&self, tokens: usize) {
        assert_eq!(
            tokens,
            self.tokens.len(),
            "dropout: the activation's tokens must be the micro-batch's token keys"
        );
    }
}

/// The factors of one token: 0, or `1 / (1 - p)`.
#[derive(Clone, Copy)]
pub(crate) struct DropoutRow {
    key: u64,
    threshold: u64,
    keep: f32,
}

impl DropoutRow {
    #[inline(always)]
    pub(crate) fn factor(&self, feature: usize) -> f32 {
        let bits = mix(self.key.wrapping_add(feature as u64)) >> 32;
        if bits < self.threshold { 0.0 } else { self.keep }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters all bits.
#[inline(always)]
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(keys: &[u64], step: u64, layer: u64) -> Vec<f32> {
        let device = Device::flex();
        let dropout = DropoutKeys::new(7, step, keys).layer(layer, 0.25);
        dropout.mask(keys.len(), 64, FloatDType::F32, &device).to_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_token_has_the_same_mask_in_any_micro_batch() {
        let whole = values(&[10, 11, 12, 13], 3, 1);
        assert_eq!(whole[128..], values(&[12, 13], 3, 1));
    }

    #[test]
    fn steps_and_layers_differ() {
        let mask = values(&[1, 2], 3, 1);
        assert_ne!(mask, values(&[1, 2], 4, 1));
        assert_ne!(mask, values(&[1, 2], 3, 2));
    }

    #[test]
    fn the_share_of_zeros_is_the_probability() {
        let keys: Vec<u64> = (0..500).collect();
        let mask = values(&keys, 0, 0);
        let zeros = mask.iter().filter(|&&v| v == 0.0).count() as f64 / mask.len() as f64;
        // 32,000 draws: five standard deviations are 0.0121.
        assert!((zeros - 0.25).abs() < 0.0121, "{zeros}");
        assert!(mask.iter().all(|&v| v == 0.0 || v == 4.0 / 3.0));
    }
}
