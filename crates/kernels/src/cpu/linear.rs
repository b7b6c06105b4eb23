//! Projections by frozen weights, and LoRA's sums of products, without an intermediate tensor.

use burn::{
    backend::flex::FlexTensor,
    tensor::{DType, Device, Tensor, TensorData},
};
use half::{bf16, f16};

use super::{
    DTYPES, Value, int8,
    product::{FourBit, Int8, Left, Matrix, Operand, Out, Stored, Term, product},
};
use crate::{FourBitWeight, FrozenWeight, LoraFactors, shared_input::InputPanels};

/// A matrix of Flex whose rows lie without gaps between their values, in f32, bf16 or f16.
pub(crate) struct Held {
    storage: FlexTensor,
    dims: [usize; 2],
}

impl Held {
    pub(crate) fn new(x: &Tensor<2>) -> Option<Self> {
        let storage = super::flex(x, &DTYPES)?;
        let strides = storage.layout().strides();
        let fits = strides[1] == 1 && strides[0] >= 0;
        Some(Self { storage: if fits { storage } else { storage.to_contiguous() }, dims: x.dims() })
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let (layout, [rows, columns]) = (self.storage.layout(), self.dims);
        let start = layout.start_offset();
        let stored = match self.storage.dtype() {
            DType::BF16 => Stored::Bf16(&self.storage.storage::<bf16>()[start..]),
            DType::F16 => Stored::F16(&self.storage.storage::<f16>()[start..]),
            _ => Stored::F32(&self.storage.storage::<f32>()[start..]),
        };
        Matrix { stored, rows, columns, stride: layout.strides()[0] as usize }
    }
}

/// A frozen weight of Flex.
enum Base<'a> {
    Dense(Held),
    FourBit { packed: FlexTensor, absmax: Vec<f32>, weight: &'a FourBitWeight },
    EightBit { codes: FlexTensor, absmax: FlexTensor, dims: [usize; 2] },
}

impl<'a> Base<'a> {
    fn new(weight: &'a FrozenWeight) -> Option<Self> {
        match weight {
            FrozenWeight::Dense(weight) => Held::new(&weight.clone().without_autodiff()).map(Self::Dense),
            FrozenWeight::FourBit(weight) => {
                let (packed, absmax) = weight.on_flex()?;
                Some(Self::FourBit { packed, absmax, weight })
            }
            FrozenWeight::EightBit(weight) => {
                let (codes, absmax) = weight.on_flex()?;
                Some(Self::EightBit { codes, absmax, dims: weight.dims() })
            }
        }
    }

    fn matrix(&self) -> Matrix<'_> {
        match self {
            Self::Dense(held) => held.matrix(),
            Self::FourBit { packed, absmax, weight } => {
                let packed: &[i32] = packed.as_slice().expect("contiguous words");
                let packed = bytemuck::cast_slice(packed);
                let (quant_type, block_size) = (weight.quant_type(), weight.block_size());
                let codes = FourBit { quant_type, packed, absmax, block_size };
                Matrix::new(Stored::FourBit(codes), weight.dims())
            }
            Self::EightBit { codes, absmax, dims } => {
                let codes: &[i32] = codes.as_slice().expect("contiguous words");
                let absmax = absmax.as_slice().expect("contiguous scales");
                let codes = Int8 { codes: bytemuck::cast_slice(codes), absmax };
                Matrix::new(Stored::Int8(codes), *dims)
            }
        }
    }
}

/// A product as a tensor of `dtype`, which is f32, bf16 or f16.
pub(crate) fn tensor_of(
    dims: [usize; 2],
    terms: &[Term<'_>],
    alpha: f32,
    dtype: DType,
    device: &Device,
) -> Tensor<2> {
    let count = dims[0] * dims[1];
    let data = match dtype {
        DType::BF16 => {
            let mut out = bf16::zeros(count);
            product(dims, terms, alpha, Out::Bf16(&mut out));
            TensorData::new(out, dims)
        }
        DType::F16 => {
            let mut out = f16::zeros(count);
            product(dims, terms, alpha, Out::F16(&mut out));
            TensorData::new(out, dims)
        }
        _ => {
            let mut out = vec![0.0f32; count];
            product(dims, terms, alpha, Out::F32(&mut out));
            TensorData::new(out, dims)
        }
    };
    Tensor::from_data(data, (device, dtype))
}

/// `x·Wᵀ` in f32, whatever the dtypes; `None` as [`project`].
pub(crate) fn logits(x: &Tensor<2>, head: &Tensor<2>) -> Option<Tensor<2>> {
    let (input, weight) = (Held::new(x)?, Held::new(head)?);
    let left = Left::new(Operand::plain(input.matrix()));
    let term = Term::new(&left, Operand::transposed(weight.matrix()));
    Some(tensor_of([x.dims()[0], head.dims()[0]], &[term], 1.0, DType::F32, &x.device()))
}

/// `p·W` in `dtype`, with `p` in f32, or rounded to the 16 bits of `W` where that is faster; `None` as [`project`].
pub(crate) fn logits_back(p: &Tensor<2>, head: &Tensor<2>, dtype: DType) -> Option<Tensor<2>> {
    let (input, weight) = (Held::new(p)?, Held::new(head)?);
    let left = Left::rounding(Operand::plain(input.matrix()));
    let term = Term::new(&left, Operand::plain(weight.matrix()));
    DTYPES
        .contains(&dtype)
        .then(|| tensor_of([p.dims()[0], head.dims()[1]], &[term], 1.0, dtype, &p.device()))
}

/// `pᵀ·x` in `dtype`; `None` as [`project`].
pub(crate) fn transposed_times(p: &Tensor<2>, x: &Tensor<2>, dtype: DType) -> Option<Tensor<2>> {
    let (left, right) = (Held::new(p)?, Held::new(x)?);
    let left = Left::new(Operand::transposed(left.matrix()));
    let term = Term::new(&left, Operand::plain(right.matrix()));
    Some(tensor_of([p.dims()[1], x.dims()[1]], &[term], 1.0, dtype, &p.device()))
}

/// `x·Wᵀ` in the dtype of `x`, whose panels these are; `None` unless all are matrices of Flex in f32, bf16, f16 or codes.
pub(crate) fn project(x: &Tensor<2>, panels: &InputPanels, weight: &FrozenWeight) -> Option<Tensor<2>> {
    if let FrozenWeight::EightBit(weight) = weight {
        return int8::project(x, weight);
    }
    let (input, base) = (Held::new(x)?, Base::new(weight)?);
    let left = Left::shared(Operand::plain(input.matrix()), &panels.panels);
    let term = Term::new(&left, Operand::transposed(base.matrix()));
    Some(tensor_of([x.dims()[0], weight.dims()[0]], &[term], 1.0, x.dtype(), &x.device()))
}

/// `dy·W` in the dtype of `dy`; `None` as [`project`].
pub(crate) fn project_back(grad: &Tensor<2>, weight: &FrozenWeight) -> Option<Tensor<2>> {
    let (input, base) = (Held::new(grad)?, Base::new(weight)?);
    let left = Left::new(Operand::plain(input.matrix()));
    let term = Term::new(&left, Operand::plain(base.matrix()));
    Some(tensor_of([grad.dims()[0], weight.dims()[1]], &[term], 1.0, grad.dtype(), &grad.device()))
}

/// The output of a LoRA projection, and `h = s·dropped·Aᵀ` in f32; `dropped` is `x` after dropout, if there is any.
pub(crate) fn lora(
    x: &Tensor<2>,
    panels: &InputPanels,
    dropped: Option<&Tensor<2>>,
    weight: &FrozenWeight,
    adapter: &LoraFactors,
) -> Option<(Tensor<2>, Tensor<2>)> {
    let (input, base) = (Held::new(x)?, Base::new(weight)?);
    let (a, b) = (Held::new(&adapter.a)?, Held::new(&adapter.b)?);
    let dropped = match dropped {
        Some(dropped) => Some(Held::new(dropped)?),
        None => None,
    };
    let ([rows, _], [out, _], rank) = (x.dims(), weight.dims(), adapter.a.dims()[0]);
    let device = x.device();
    let x_left = Left::shared(Operand::plain(input.matrix()), &panels.panels);
    let dropped_left = dropped.as_ref().map(|dropped| Left::new(Operand::plain(dropped.matrix())));
    let inner = Term::new(dropped_left.as_ref().unwrap_or(&x_left), Operand::transposed(a.matrix()));
    let h = tensor_of([rows, rank], &[inner], adapter.scaling as f32, DType::F32, &device);
    let held = Held::new(&h)?;
    let h_left = Left::new(Operand::plain(held.matrix()));
    let terms = [
        Term::new(&x_left, Operand::transposed(base.matrix())),
        Term::new(&h_left, Operand::transposed(b.matrix())),
    ];
    let y = match weight {
        // Its inputs are quantized as well, which no sum of products in floating point does.
        FrozenWeight::EightBit(weight) => {
            int8::project(x, weight)? + tensor_of([rows, out], &terms[1..], 1.0, x.dtype(), &device)
        }
        _ => tensor_of([rows, out], &terms, 1.0, x.dtype(), &device),
    };
    Some((y, h))
}

/// `dh = s·dy·B`, `dA = dhᵀ·dropped` and `dB = dyᵀ·h`, in the adapter's dtype but for `dh` in f32. The panels are those
/// of `grad`.
pub(crate) fn lora_factors_back(
    grad: &Tensor<2>,
    panels: &InputPanels,
    dropped: &Tensor<2>,
    h: &Tensor<2>,
    adapter: &LoraFactors,
) -> Option<[Tensor<2>; 3]> {
    let (grads, dropped, inner) = (Held::new(grad)?, Held::new(dropped)?, Held::new(h)?);
    let b = Held::new(&adapter.b)?;
    let ([rows, out], [rank, inn]) = (grad.dims(), adapter.a.dims());
    let (device, dtype) = (grad.device(), adapter.a.dtype());
    let left = Left::shared(Operand::plain(grads.matrix()), &panels.panels);
    let term = Term::new(&left, Operand::plain(b.matrix()));
    let grad_h = tensor_of([rows, rank], &[term], adapter.scaling as f32, DType::F32, &device);
    let held = Held::new(&grad_h)?;
    let left = Left::new(Operand::transposed(held.matrix()));
    let term = Term::new(&left, Operand::plain(dropped.matrix()));
    let grad_a = tensor_of([rank, inn], &[term], 1.0, dtype, &device);
    // The transpose of dB: its rows are few, and the gradient is read in order.
    let left = Left::new(Operand::transposed(inner.matrix()));
    let term = Term::new(&left, Operand::plain(grads.matrix()));
    let grad_b = tensor_of([rank, out], &[term], 1.0, dtype, &device).transpose();
    Some([grad_h, grad_a, grad_b])
}

/// `dx = dy·W + dh·A` in the dtype of `dy`, whose panels these are.
pub(crate) fn lora_back(
    grad: &Tensor<2>,
    panels: &InputPanels,
    grad_h: &Tensor<2>,
    weight: &FrozenWeight,
    a: &Tensor<2>,
) -> Option<Tensor<2>> {
    let (grads, grad_h, base, a) = (Held::new(grad)?, Held::new(grad_h)?, Base::new(weight)?, Held::new(a)?);
    let lefts = [
        Left::shared(Operand::plain(grads.matrix()), &panels.panels),
        Left::new(Operand::plain(grad_h.matrix())),
    ];
    let terms = [
        Term::new(&lefts[0], Operand::plain(base.matrix())),
        Term::new(&lefts[1], Operand::plain(a.matrix())),
    ];
    Some(tensor_of([grad.dims()[0], weight.dims()[1]], &terms, 1.0, grad.dtype(), &grad.device()))
}
