//! An LLM.int8 weight on a Burn device.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    module::Module,
    tensor::{DType, Device, FloatDType, Int, Tensor},
};
use burnisher_quant::{INT8_PRODUCT_STEP, Int8Weight, QuantError};

use crate::{
    four_bit::panels,
    ops::precision::float_dtype,
    packed::{BYTES, floats, read_bytes, read_floats, unpack, words},
};

/// bitsandbytes' default of the magnitude from which on an input is an outlier (`llm_int8_threshold`).
pub const INT8_THRESHOLD: f32 = 6.0;

/// A weight `[out, in]` of LLM.int8 (Dettmers et al. 2022): 8-bit codes and one absmax per row.
///
/// A projection quantizes its input's rows, too, and multiplies integers; columns of the input with a magnitude from
/// the threshold on are multiplied in f32. Which columns those are depends on all rows of the input. The arithmetic is
/// that of [`Int8Weight::project_reference`]; the gradient of the input is that of the restored weight, as in
/// bitsandbytes 0.50.2 (`MatMul8bitLt`).
///
/// The codes travel as 32-bit words, because not every backend stores bytes. A Burn module without parameters.
#[derive(Module, Debug)]
pub struct EightBitWeight {
    words: Tensor<1, Int>,
    absmax: Tensor<1>,
    #[module(skip)]
    dims: [usize; 2],
    #[module(skip)]
    threshold: f32,
}

impl EightBitWeight {
    /// Moves a quantized weight to a device; the threshold is [`INT8_THRESHOLD`].
    pub fn from_int8(weight: &Int8Weight, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        Self {
            words: words(bytemuck::cast_slice(weight.codes()), &device),
            absmax: floats(weight.absmax().to_vec(), &device),
            dims: weight.shape(),
            threshold: INT8_THRESHOLD,
        }
    }

    /// Sets the magnitude from which on an input is an outlier (`llm_int8_threshold`).
    ///
    /// # Panics
    /// Unless it is above 0; infinity means no outliers.
    #[must_use]
    pub fn with_threshold(self, threshold: f32) -> Self {
        assert!(threshold > 0.0, "threshold of outliers: found {threshold}, wanted a number above 0");
        Self { threshold, ..self }
    }

    /// Reads the quantized weight back, byte for byte as it came.
    ///
    /// # Errors
    /// None for a weight made by [`EightBitWeight::from_int8`]; the parts are checked again.
    pub fn to_int8(&self) -> Result<Int8Weight, QuantError> {
        let codes = read_bytes(&self.words, self.dims[0] * self.dims[1]);
        let codes = codes.into_iter().map(u8::cast_signed).collect();
        Int8Weight::new(codes, read_floats(&self.absmax), self.dims)
    }

    /// The shape `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        self.dims
    }

    /// The magnitude from which on an input is an outlier.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Bytes the weight holds on its device.
    pub fn size_bytes(&self) -> usize {
        (self.words.dims()[0] + self.absmax.dims()[0]) * 4
    }

    /// The device that holds the weight.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    /// The codes as words, and the absmax, both contiguous; `None` elsewhere than on Flex.
    #[cfg(feature = "flex")]
    pub(crate) fn on_flex(&self) -> Option<(FlexTensor, FlexTensor)> {
        use burn::backend::Flex;

        let codes = self.words.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        let absmax = self.absmax.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        Some((codes, absmax))
    }

    /// The whole weight `[out, in]`, dense: a copy of full size.
    pub fn dequantize(&self, dtype: FloatDType) -> Tensor<2> {
        self.rows(0, self.dims[0]).cast(dtype)
    }

    /// `x·Wᵀ` by tensor operations, panel by panel: `[n, in] -> [n, out]`, in the dtype of `x`. The reference.
    pub(crate) fn project(&self, x: Tensor<2>) -> Tensor<2> {
        let (dtype, [rows, inn]) = (float_dtype(&x), x.dims());
        if rows * inn == 0 || self.dims[0] == 0 {
            return Tensor::zeros([rows, self.dims[0]], (&x.device(), x.dtype()));
        }
        let x = x.cast(FloatDType::F32);
        let size = x.clone().abs();
        let is_outlier = size.clone().greater_equal_elem(self.threshold);
        let outlying = is_outlier.clone().any_dim(0).expand([rows, inn]);
        let absmax = size.mask_fill(is_outlier, 0.0).max_dim(1);
        let is_zero = absmax.clone().equal_elem(0.0).expand([rows, inn]);
        let scaled = x.clone() * absmax.clone().recip().mul_scalar(127.0);
        let codes = scaled.round().clamp(-127.0, 127.0).mask_fill(is_zero, 0.0);
        let codes = codes.mask_fill(outlying.clone(), 0.0);
        let outliers = x.mask_fill(outlying.bool_not(), 0.0);
        let parts = panels(self.dims).map(|(start, count)| {
            let weights = self.codes(start, count).float().cast(FloatDType::F32).transpose();
            let scale = self.absmax.clone().narrow(0, start, count).reshape([1, count]);
            let products = codes.clone().matmul(weights) * absmax.clone().matmul(scale) * INT8_PRODUCT_STEP;
            products + outliers.clone().matmul(self.rows(start, count).transpose())
        });
        Tensor::cat(parts.collect(), 1).cast(dtype)
    }

    /// `dy·W` with the restored weight, panel by panel: `[n, out] -> [n, in]`.
    pub(crate) fn project_back(&self, grad: Tensor<2>) -> Tensor<2> {
        let dtype = float_dtype(&grad);
        let zero = Tensor::zeros([grad.dims()[0], self.dims[1]], (&grad.device(), grad.dtype()));
        panels(self.dims).fold(zero, |sum, (start, count)| {
            sum + grad.clone().narrow(1, start, count).matmul(self.rows(start, count).cast(dtype))
        })
    }

    /// The rows in f32, panel by panel.
    pub(crate) fn dense_panels(&self) -> impl Iterator<Item = Tensor<2>> {
        panels(self.dims).map(|(start, count)| self.rows(start, count))
    }

    /// The codes of rows `start..start + count`, `[count, in]`.
    fn codes(&self, start: usize, count: usize) -> Tensor<2, Int> {
        let (first, len) = (start * self.dims[1], count * self.dims[1]);
        let (word, end) = (first / 4, (first + len).div_ceil(4));
        let bytes = unpack(self.words.clone().narrow(0, word, end - word), BYTES, 255, (end - word) * 4);
        // Flipping the sign bit and taking 128 off gives a byte its sign.
        let codes = bytes.narrow(0, first - word * 4, len).bitwise_xor_scalar(128).sub_scalar(128);
        codes.reshape([count, self.dims[1]])
    }

    /// Rows `start..start + count` restored, in f32, `[count, in]`.
    fn rows(&self, start: usize, count: usize) -> Tensor<2> {
        let inn = self.dims[1];
        if count * inn == 0 {
            return Tensor::zeros([count, inn], (&self.words.device(), DType::F32));
        }
        let scale = self.absmax.clone().narrow(0, start, count).reshape([count, 1]);
        self.codes(start, count).float().cast(FloatDType::F32) * scale * (1.0f32 / 127.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic values without structure, about normal; some above the threshold.
    fn values(count: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 131) % 1009) as f32 / 504.5 - 1.0;
        (0..count).map(|i| value(i) * if i % 97 == seed { 9.0 } else { 1.0 }).collect()
    }

    #[test]
    fn tensors_equal_the_slices() {
        let device = Device::flex();
        for (rows, inn, out) in [(1, 1, 1), (3, 5, 7), (4, 64, 9), (5, 1030, 300), (0, 8, 4)] {
            let state = Int8Weight::quantize(&values(out * inn, 3), [out, inn]).unwrap();
            let weight = EightBitWeight::from_int8(&state, &device);
            assert_eq!(weight.to_int8().unwrap(), state);
            let restored: Vec<f32> = weight.dequantize(FloatDType::F32).to_data().try_to_vec().unwrap();
            assert_eq!(restored, state.dequantize(), "[{out}, {inn}]");
            let x = values(rows * inn, 5);
            let wanted = state.project_reference(&x, Some(INT8_THRESHOLD)).unwrap();
            let x = Tensor::<1>::from_floats(&x[..], &device).reshape([rows, inn]);
            let found: Vec<f32> = weight.project(x).to_data().try_to_vec().unwrap();
            for (found, wanted) in found.iter().zip(&wanted) {
                let tolerance = 1e-5 * wanted.abs().max(1.0) * (inn as f32).sqrt();
                assert!((found - wanted).abs() <= tolerance, "[{rows}, {inn}] -> {out}: {found} {wanted}");
            }
        }
    }
}
