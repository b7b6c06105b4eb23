//! Fast paths of Flex in f32, bf16 and f16, over slices. They compute in f32 and round what they store. Every operation has its reference in `ops`, dropout in `dropout`.
//!
//! Work is cut into pieces of a fixed size, whatever the number of threads: on one machine results are the same, and a
//! resumed run goes on bit for bit.

pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod int8;
pub(crate) mod level;
pub(crate) mod linear;
pub(crate) mod product;
pub(crate) mod scale;
pub(crate) mod update;
mod vector;

use std::marker::PhantomData;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Device, Tensor, TensorData},
};
use half::{bf16, f16, vec::HalfBitsVecExt};

use self::level::Level;

/// The tensor's storage if it is a plain tensor of Flex in one of `dtypes`.
pub(crate) fn flex<const D: usize>(x: &Tensor<D>, dtypes: &[DType]) -> Option<FlexTensor> {
    if !dtypes.contains(&x.dtype()) {
        return None;
    }
    x.clone().try_into_primitive::<Flex>().ok()
}

/// The tensor's storage if it is a plain f32 tensor of Flex.
pub(crate) fn flex_f32<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    flex(x, &[DType::F32])
}

/// What fast paths read and write: they compute in f32.
pub(crate) trait Value: burn::tensor::Element + bytemuck::Pod + Send + Sync {
    const DTYPE: DType;
    fn widen(self) -> f32;
    /// The nearest value, ties to even.
    fn nearest(value: f32) -> Self;
    /// Zeros in memory that nobody has written yet.
    fn zeros(count: usize) -> Vec<Self>;
}

impl Value for f32 {
    const DTYPE: DType = DType::F32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }

    fn zeros(count: usize) -> Vec<Self> {
        vec![0.0; count]
    }
}

impl Value for bf16 {
    const DTYPE: DType = DType::BF16;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        product::nearest_bf16(value)
    }

    fn zeros(count: usize) -> Vec<Self> {
        // Zeros of a type that is not the language's own would be written one by one.
        vec![0u16; count].reinterpret_into()
    }
}

impl Value for f16 {
    const DTYPE: DType = DType::F16;

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn zeros(count: usize) -> Vec<Self> {
        vec![0u16; count].reinterpret_into()
    }
}

/// The dtypes of [`Value`].
const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// Calls `$function::<V>` with the value type of a tensor's dtype; `None` for another dtype.
macro_rules! by_dtype {
    ($dtype:expr, $function:ident $arguments:tt) => {
        match $dtype {
            burn::tensor::DType::F32 => $function::<f32> $arguments,
            burn::tensor::DType::BF16 => $function::<half::bf16> $arguments,
            burn::tensor::DType::F16 => $function::<half::f16> $arguments,
            _ => None,
        }
    };
}
use by_dtype;

/// The storage of a plain tensor of Flex of one value type, without gaps.
fn contiguous<V: Value, const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    flex(x, &[V::DTYPE]).map(|x| x.to_contiguous())
}

/// The values of a small plain tensor of Flex, as f32.
fn floats<const D: usize>(x: &Tensor<D>) -> Option<Vec<f32>> {
    let storage = flex(x, &DTYPES)?.to_contiguous();
    by_dtype!(x.dtype(), floats_of(&storage))
}

fn floats_of<V: Value>(x: &FlexTensor) -> Option<Vec<f32>> {
    Some(values::<V>(x).iter().map(|value| value.widen()).collect())
}

/// A contiguous tensor's values.
fn values<V: Value>(x: &FlexTensor) -> &[V] {
    x.as_slice().expect("a contiguous tensor of this dtype")
}

fn tensor<V: Value, const D: usize>(values: Vec<V>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, V::DTYPE))
}

/// A small tensor in `dtype`, which is one of [`DTYPES`].
fn tensor_in<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    match dtype {
        DType::BF16 => tensor(values.into_iter().map(<bf16 as Value>::nearest).collect(), shape, device),
        DType::F16 => tensor(values.into_iter().map(<f16 as Value>::nearest).collect(), shape, device),
        _ => tensor(values, shape, device),
    }
}

/// Rows of the last dimension of a `[batch, heads, t, d]` tensor, wherever the other strides lead.
struct HeadRows<V> {
    storage: FlexTensor,
    start: usize,
    strides: [usize; 3],
    of: PhantomData<V>,
}

impl<V: Value> HeadRows<V> {
    fn new(x: &Tensor<4>) -> Option<Self> {
        let x = flex(x, &[V::DTYPE])?;
        let fits = |x: &FlexTensor| {
            let strides = x.layout().strides();
            strides[3] == 1 && strides.iter().all(|&stride| stride >= 0)
        };
        let storage = if fits(&x) { x } else { x.to_contiguous() };
        let layout = storage.layout();
        let strides = [0, 1, 2].map(|axis| layout.strides()[axis] as usize);
        Some(Self { start: layout.start_offset(), strides, storage, of: PhantomData })
    }

    /// One token's values of one head.
    fn row(&self, batch: usize, head: usize, token: usize, width: usize) -> &[V] {
        let [batches, heads, tokens] = self.strides;
        &self.storage.storage::<V>()[self.start + batch * batches + head * heads + token * tokens..][..width]
    }

    /// The values of a head's tokens from `first` on as f32, one row after the other.
    fn read(&self, level: Level, batch: usize, head: usize, first: usize, width: usize, out: &mut [f32]) {
        level.run(
            #[inline(always)]
            || {
                for (token, out) in out.chunks_exact_mut(width).enumerate() {
                    let row = self.row(batch, head, first + token, width);
                    for (out, value) in out.iter_mut().zip(row) {
                        *out = value.widen();
                    }
                }
            },
        );
    }
}
