//! Looking for infinities and NaN.

use burn::tensor::{FloatDType, Tensor};

/// Whether every value is finite.
///
/// `x − x` is 0 for finite values and NaN for all others, so no sum can overflow.
pub fn all_finite<const D: usize>(x: &Tensor<D>) -> bool {
    let x = x.clone().without_autodiff();
    let sum: f32 = (x.clone() - x).cast(FloatDType::F32).sum().into_scalar();
    sum == 0.0
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn one_bad_value_is_enough_and_large_ones_are_fine() {
        let device = Device::flex();
        for (bad, finite) in
            [(f32::MAX, true), (f32::INFINITY, false), (f32::NEG_INFINITY, false), (f32::NAN, false)]
        {
            let mut values = vec![f32::MAX; 1000];
            values[777] = bad;
            assert_eq!(all_finite(&Tensor::<1>::from_floats(values.as_slice(), &device)), finite, "{bad}");
        }
        assert!(all_finite(&Tensor::<1>::zeros([0], &device)));
    }
}
