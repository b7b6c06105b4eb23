//! A 4-bit weight on a Burn device.

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::{
    module::Module,
    tensor::{DType, Device, FloatDType, Int, Tensor, TensorData},
};
use burnisher_quant::{Absmax, QuantError, QuantState, QuantType, SourceDtype};

use crate::{
    ops::precision::float_dtype,
    packed::{BYTES, floats, read_bytes, read_floats, unpack, words},
};

/// Elements of a dequantized panel: 1 MiB of f32 stays in a core's second-level cache.
const PANEL: usize = 1 << 18;

/// An NF4 or FP4 weight `[out, in]` in bitsandbytes' bytes, with plain or double-quantized scales.
///
/// The packed bytes travel as 32-bit words, because not every backend stores bytes. A Burn module
/// without parameters: it moves between devices and is not recorded.
#[derive(Module, Debug)]
pub struct FourBitWeight {
    words: Tensor<1, Int>,
    scales: Scales,
    #[module(skip)]
    layout: Layout,
}

#[derive(Clone, Debug)]
struct Layout {
    quant_type: QuantType,
    dims: [usize; 2],
    block_size: usize,
    source_dtype: SourceDtype,
}

/// One scale per block, as stored.
#[derive(Module, Debug)]
enum Scales {
    Plain(Tensor<1>),
    Nested(NestedScales),
}

/// 8-bit codes of the signed dynamic map, as words; one f32 scale per `block_size` of them.
#[derive(Module, Debug)]
struct NestedScales {
    words: Tensor<1, Int>,
    absmax: Tensor<1>,
    #[module(skip)]
    offset: f32,
    #[module(skip)]
    block_size: usize,
}

/// The panels of a weight `[out, in]`: `(first row, rows)`.
pub(crate) fn panels([out, inn]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> + use<> {
    let step = (PANEL / inn.max(1)).clamp(1, out.max(1));
    (0..out).step_by(step).map(move |start| (start, step.min(out - start)))
}

impl FourBitWeight {
    /// Moves a quantized weight to a device.
    pub fn from_state(state: &QuantState, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let scales = match state.absmax() {
            Absmax::Plain(absmax) => Scales::Plain(floats(absmax.clone(), &device)),
            Absmax::Nested { codes, nested_absmax, offset, block_size } => Scales::Nested(NestedScales {
                words: words(codes, &device),
                absmax: floats(nested_absmax.clone(), &device),
                offset: *offset,
                block_size: *block_size,
            }),
        };
        let layout = Layout {
            quant_type: state.quant_type(),
            dims: state.shape(),
            block_size: state.block_size(),
            source_dtype: state.source_dtype(),
        };
        Self { words: words(state.packed(), &device), scales, layout }
    }

    /// Reads the quantized weight back, byte for byte as it came.
    ///
    /// # Errors
    /// None for a weight made by [`FourBitWeight::from_state`]; the parts are checked again.
    pub fn to_state(&self) -> Result<QuantState, QuantError> {
        let Layout { quant_type, dims, block_size, source_dtype } = self.layout.clone();
        let elements = dims[0] * dims[1];
        let absmax = match &self.scales {
            Scales::Plain(absmax) => Absmax::Plain(read_floats(absmax)),
            Scales::Nested(nested) => Absmax::Nested {
                codes: read_bytes(&nested.words, elements.div_ceil(block_size)),
                nested_absmax: read_floats(&nested.absmax),
                offset: nested.offset,
                block_size: nested.block_size,
            },
        };
        let packed = read_bytes(&self.words, elements.div_ceil(2));
        QuantState::new(quant_type, packed, absmax, dims, block_size, source_dtype)
    }

    /// The shape `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        self.layout.dims
    }

    /// The code: NF4 or FP4.
    pub fn quant_type(&self) -> QuantType {
        self.layout.quant_type
    }

    /// The dtype the weight was quantized from.
    pub fn source_dtype(&self) -> SourceDtype {
        self.layout.source_dtype
    }

    /// Bytes the weight holds on its device.
    pub fn size_bytes(&self) -> usize {
        let scales = match &self.scales {
            Scales::Plain(absmax) => absmax.dims()[0] * 4,
            Scales::Nested(nested) => (nested.words.dims()[0] + nested.absmax.dims()[0]) * 4,
        };
        self.words.dims()[0] * 4 + scales
    }

    /// Elements per scale.
    #[cfg(feature = "flex")]
    pub(crate) fn block_size(&self) -> usize {
        self.layout.block_size
    }

    /// The packed words, which are contiguous, and the scales with double quantization undone; `None` elsewhere.
    #[cfg(feature = "flex")]
    pub(crate) fn on_flex(&self) -> Option<(FlexTensor, Vec<f32>)> {
        use burn::backend::Flex;

        let contiguous = |x: FlexTensor| x.to_contiguous();
        let packed = self.words.clone().try_into_primitive::<Flex>().ok().map(contiguous)?;
        let absmax = match &self.scales {
            Scales::Plain(absmax) => {
                let absmax = absmax.clone().try_into_primitive::<Flex>().ok().map(contiguous)?;
                absmax.as_slice::<f32>()?.to_vec()
            }
            Scales::Nested(NestedScales { words, absmax, offset, block_size }) => {
                let codes = words.clone().try_into_primitive::<Flex>().ok().map(contiguous)?;
                let absmax = absmax.clone().try_into_primitive::<Flex>().ok().map(contiguous)?;
                let codes: &[u8] = bytemuck::cast_slice(codes.as_slice::<i32>()?);
                let [out, inn] = self.layout.dims;
                let nested = Absmax::Nested {
                    codes: codes[..(out * inn).div_ceil(self.layout.block_size)].to_vec(),
                    nested_absmax: absmax.as_slice::<f32>()?.to_vec(),
                    offset: *offset,
                    block_size: *block_size,
                };
                nested.values()
            }
        };
        Some((packed, absmax))
    }

    /// The device that holds the weight.
    pub fn device(&self) -> Device {
        self.words.device()
    }

    /// The whole weight `[out, in]`, dense: a copy of full size.
    pub fn dequantize(&self, dtype: FloatDType) -> Tensor<2> {
        self.rows(0, self.layout.dims[0], &self.absmax()).cast(dtype)
    }

    /// `x·Wᵀ` panel by panel: `[n, in] -> [n, out]`.
    pub(crate) fn project(&self, x: Tensor<2>) -> Tensor<2> {
        let (dtype, absmax) = (float_dtype(&x), self.absmax());
        if self.layout.dims[0] == 0 {
            return Tensor::zeros([x.dims()[0], 0], (&x.device(), x.dtype()));
        }
        let outs = self
            .panels()
            .map(|(start, count)| x.clone().matmul(self.rows(start, count, &absmax).cast(dtype).transpose()));
        Tensor::cat(outs.collect(), 1)
    }

    /// `dy·W` panel by panel: `[n, out] -> [n, in]`.
    pub(crate) fn project_back(&self, grad: Tensor<2>) -> Tensor<2> {
        let (dtype, absmax) = (float_dtype(&grad), self.absmax());
        let zero = Tensor::zeros([grad.dims()[0], self.layout.dims[1]], (&grad.device(), grad.dtype()));
        self.panels().fold(zero, |sum, (start, count)| {
            let panel = self.rows(start, count, &absmax).cast(dtype);
            sum + grad.clone().narrow(1, start, count).matmul(panel)
        })
    }

    /// The rows in f32, panel by panel.
    pub(crate) fn dense_panels(&self) -> impl Iterator<Item = Tensor<2>> {
        let absmax = self.absmax();
        self.panels().map(move |(start, count)| self.rows(start, count, &absmax))
    }

    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        panels(self.layout.dims)
    }

    /// One f32 scale per block, double quantization undone.
    fn absmax(&self) -> Tensor<1> {
        match &self.scales {
            Scales::Plain(absmax) => absmax.clone(),
            Scales::Nested(NestedScales { words, absmax, offset, block_size }) => {
                let [out, inn] = self.layout.dims;
                let blocks = (out * inn).div_ceil(self.layout.block_size);
                let table = floats(burnisher_quant::dynamic_map_signed().to_vec(), &words.device());
                let values = table.select(0, unpack(words.clone(), BYTES, 255, blocks));
                values * repeat(absmax.clone(), *block_size, 0, blocks) + *offset
            }
        }
    }

    /// Rows `start..start + count` as f32, `[count, in]`.
    fn rows(&self, start: usize, count: usize, absmax: &Tensor<1>) -> Tensor<2> {
        let inn = self.layout.dims[1];
        let (first, len) = (start * inn, count * inn);
        #[cfg(feature = "flex")]
        if let Some(values) = self.range_on_flex(first, len, absmax) {
            return values.reshape([count, inn]);
        }
        self.range_reference(first, len, absmax).reshape([count, inn])
    }

    /// Elements `first..first + len` by tensor operations: the reference, on every backend.
    fn range_reference(&self, first: usize, len: usize, absmax: &Tensor<1>) -> Tensor<1> {
        if len == 0 {
            return Tensor::zeros([0], (&self.words.device(), DType::F32));
        }
        // bitsandbytes puts the first of two values into a byte's high nibble.
        const SHIFTS: [i32; 8] = [4, 0, 12, 8, 20, 16, 28, 24];
        let (word, end) = (first / 8, (first + len).div_ceil(8));
        let codes = unpack(self.words.clone().narrow(0, word, end - word), SHIFTS, 15, (end - word) * 8);
        let codes = codes.narrow(0, first - word * 8, len);
        let table = floats(self.layout.quant_type.levels().to_vec(), &self.words.device());
        let (block, last) = (first / self.layout.block_size, (first + len).div_ceil(self.layout.block_size));
        let absmax = absmax.clone().narrow(0, block, last - block);
        table.select(0, codes)
            * repeat(absmax, self.layout.block_size, first - block * self.layout.block_size, len)
    }

    /// The same on Flex: the quantization crate's slices, one piece per thread.
    #[cfg(feature = "flex")]
    fn range_on_flex(&self, first: usize, len: usize, absmax: &Tensor<1>) -> Option<Tensor<1>> {
        use burn::backend::Flex;
        use rayon::prelude::*;

        let words = self.words.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        let scales = absmax.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        let (words, scales): (&[i32], &[f32]) = (words.as_slice()?, scales.as_slice()?);
        let packed: &[u8] = bytemuck::cast_slice(words);
        let mut out = vec![0.0f32; len];
        // A multiple of every block size, so that pieces start where blocks do if `first` does.
        const PIECE: usize = 1 << 14;
        out.par_chunks_mut(PIECE).enumerate().for_each(|(i, piece)| {
            self.layout.quant_type.dequantize_range(
                packed,
                scales,
                self.layout.block_size,
                first + i * PIECE,
                piece,
            );
        });
        Some(Tensor::from_data(TensorData::new(out, [len]), &self.words.device()))
    }
}

/// Each value `times` times, then `count` of them from `skip` on.
fn repeat(values: Tensor<1>, times: usize, skip: usize, count: usize) -> Tensor<1> {
    let n = values.dims()[0];
    values.reshape([n, 1]).expand([n, times]).reshape([n * times]).narrow(0, skip, count)
}

#[cfg(test)]
mod tests {
    use burnisher_quant::QuantConfig;

    use super::*;

    /// Deterministic values without structure, about normal.
    fn weights(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * ((i * 31 % 17) as f32 / 17.0)).collect()
    }

    #[test]
    fn the_flex_path_equals_the_reference_and_the_slices() {
        let device = Device::flex();
        for (out, inn) in [(1, 1), (3, 5), (7, 63), (4, 64), (5, 65), (300, 1030)] {
            for (quant_type, double_quant) in [
                (QuantType::Nf4, false),
                (QuantType::Nf4, true),
                (QuantType::Fp4, false),
                (QuantType::Fp4, true),
            ] {
                let values = weights(out * inn);
                let config = QuantConfig::new(quant_type).with_double_quant(double_quant);
                let state = config.quantize(&values, [out, inn]).unwrap();
                let weight = FourBitWeight::from_state(&state, &device);
                assert_eq!(weight.to_state().unwrap(), state);
                let want = state.dequantize();
                let got: Vec<f32> = weight.dequantize(FloatDType::F32).to_data().try_to_vec().unwrap();
                assert_eq!(got, want, "[{out}, {inn}] {quant_type:?} double {double_quant}");
                let reference = weight.range_reference(0, out * inn, &weight.absmax());
                assert_eq!(reference.to_data().try_to_vec::<f32>().unwrap(), want);
                let tail = weight.range_reference(inn / 2, out * inn - inn / 2, &weight.absmax());
                assert_eq!(tail.to_data().try_to_vec::<f32>().unwrap(), want[inn / 2..]);
            }
        }
    }

    #[test]
    fn panels_cover_every_row_once() {
        let device = Device::flex();
        let state = QuantConfig::nf4().quantize(&weights(700 * 1000), [700, 1000]).unwrap();
        let weight = FourBitWeight::from_state(&state, &device);
        let panels: Vec<_> = weight.panels().collect();
        assert!(panels.len() > 1);
        assert_eq!(panels.iter().map(|p| p.1).sum::<usize>(), 700);
    }
}
