//! Fast paths of Flex in f32, over slices. Every function here has its reference in `ops`.
//!
//! Work is cut into pieces of a fixed size, whatever the number of threads: on one machine results are the same, and a
//! resumed run goes on bit for bit.

pub(crate) mod attention;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod level;
pub(crate) mod linear;
pub(crate) mod product;
mod vector;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::{DType, Device, Tensor, TensorData},
};

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

/// A contiguous tensor's values.
fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice().expect("a contiguous f32 tensor")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// Rows of the last dimension of a `[batch, heads, t, d]` tensor, wherever the other strides lead.
struct HeadRows {
    storage: FlexTensor,
    start: usize,
    strides: [usize; 3],
}

impl HeadRows {
    fn new(x: FlexTensor) -> Self {
        let fits = |x: &FlexTensor| {
            let strides = x.layout().strides();
            strides[3] == 1 && strides.iter().all(|&stride| stride >= 0)
        };
        let storage = if fits(&x) { x } else { x.to_contiguous() };
        let layout = storage.layout();
        let strides = [0, 1, 2].map(|axis| layout.strides()[axis] as usize);
        Self { start: layout.start_offset(), strides, storage }
    }

    /// All values of the storage; rows start at [`HeadRows::at`].
    fn all(&self) -> &[f32] {
        self.storage.storage::<f32>()
    }

    fn at(&self, batch: usize, head: usize, token: usize) -> usize {
        self.start + batch * self.strides[0] + head * self.strides[1] + token * self.strides[2]
    }

    /// Distance between the rows of two neighbouring tokens.
    fn token_stride(&self) -> usize {
        self.strides[2]
    }
}
