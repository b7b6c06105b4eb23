//! Devices, reproducible values and comparison.

use burn::tensor::{Device, Tensor, TensorData};

/// The devices to test on: Flex, ndarray and CUDA, those of this build.
pub(crate) fn devices() -> Vec<Device> {
    vec![
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        Device::ndarray(),
        #[cfg(feature = "cuda")]
        Device::cuda(0),
    ]
}

/// Whether the device takes tensors without elements: burn-ndarray 0.22.1 divides by zero in a product without rows,
/// burn-cubecl 0.22.1 subtracts with overflow in the length of a buffer.
pub(crate) fn takes_empty(device: &Device) -> bool {
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)]
    if *device == Device::ndarray() {
        return false;
    }
    !is_cuda(device)
}

/// The tolerance for what holds matrix products of f32 values: `exact`, and on CUDA at least 2⁻⁹.
///
/// There cubek-matmul 0.3.1 rounds both factors to TF32, whose unit roundoff is 2⁻¹¹; the references multiply
/// there too, in another order.
pub(crate) fn of_products(device: &Device, exact: f32) -> f32 {
    if is_cuda(device) { exact.max(1.0 / 512.0) } else { exact }
}

pub(crate) fn is_cuda(device: &Device) -> bool {
    #[cfg(feature = "cuda")]
    return *device == Device::cuda(0);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        false
    }
}

/// Values in about [-1, 1] without structure, the same on every platform.
pub(crate) fn values(count: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

pub(crate) fn matrix(rows: usize, columns: usize, salt: u64, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values(rows * columns, salt), [rows, columns]), device)
}

pub(crate) fn vec_of<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().without_autodiff().to_data().iter::<f32>().collect()
}

/// Every element within `tolerance` of the reference's largest magnitude.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance * scale.max(1e-6),
            "{what}[{index}]: got {got}, want {want}, scale {scale}"
        );
    }
}
