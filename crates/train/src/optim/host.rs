//! State that lies in memory of the host or in a file: 8-bit state, and all that is paged.

use burn::tensor::{DType, Tensor, TensorData};
use burnisher_kernels::{adamw_update, lion_update, update_values};
use burnisher_quant::{Adamw8bit, Adamw8bitSlices, DecayOrder, Lion8bit, QuantError};

use super::{pages::Pages, rule::Rule, state::StepOf};
use crate::TrainError;

/// What is kept for each value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    AdamW,
    AdamW8bit,
    Lion,
    Lion8bit,
}

/// A part of a parameter's state: the end of its name in a checkpoint, its dtype (F32 or U8) and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) suffix: &'static str,
    pub(super) dtype: DType,
    pub(super) count: usize,
}

impl Part {
    fn bytes(&self) -> usize {
        self.count * self.dtype.size()
    }
}

impl Layout {
    /// The layout of a rule's state, in 8 bits or not; `None` for rules whose state stays on the device.
    pub(super) fn of(rule: &Rule, is_8bit: bool) -> Option<Self> {
        match rule {
            Rule::AdamW8bit(_) if is_8bit => Some(Self::AdamW8bit),
            Rule::AdamW(_) | Rule::AdamW8bit(_) => Some(Self::AdamW),
            Rule::Lion8bit(_) if is_8bit => Some(Self::Lion8bit),
            Rule::Lion(_) | Rule::Lion8bit(_) => Some(Self::Lion),
            Rule::Adafactor(_) | Rule::Sgd(_) => None,
        }
    }

    pub(super) fn is_8bit(self) -> bool {
        matches!(self, Self::AdamW8bit | Self::Lion8bit)
    }

    /// The part that has one element per value.
    pub(super) fn first_moment(self) -> &'static str {
        if self.is_8bit() { "state1" } else { "m" }
    }

    /// Ends of names, with the dtype. Those in f32 first, so that they are aligned.
    pub(super) fn suffixes(self) -> &'static [(&'static str, DType)] {
        match self {
            Self::AdamW => &[("m", DType::F32), ("v", DType::F32)],
            Self::AdamW8bit => &[
                ("absmax1", DType::F32),
                ("absmax2", DType::F32),
                ("state1", DType::U8),
                ("state2", DType::U8),
            ],
            Self::Lion => &[("m", DType::F32)],
            Self::Lion8bit => &[("absmax1", DType::F32), ("state1", DType::U8)],
        }
    }

    /// The parts for `count` values, each where it lies.
    pub(super) fn parts(self, count: usize, has_master: bool) -> Vec<Part> {
        let master = has_master.then_some(Part { suffix: "master", dtype: DType::F32, count });
        let own = self.suffixes().iter().map(|&(suffix, dtype)| {
            let count = if suffix.starts_with("absmax") { blocks(count) } else { count };
            Part { suffix, dtype, count }
        });
        master.into_iter().chain(own).collect()
    }
}

/// How many absmax the 8-bit state of `count` values has.
pub(super) fn blocks(count: usize) -> usize {
    count.div_ceil(Adamw8bit::BLOCK_SIZE)
}

/// The state of one parameter.
#[derive(Debug)]
pub(super) struct HostState {
    layout: Layout,
    parts: Vec<Part>,
    has_master: bool,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    /// Words, so that f32 parts are aligned.
    Memory(Vec<u32>),
    Paged(u64),
}

impl HostState {
    /// Zeros; in `pages` if there are any.
    pub(super) fn zeros(
        layout: Layout,
        count: usize,
        has_master: bool,
        pages: Option<&mut Pages>,
    ) -> Result<Self, TrainError> {
        let parts = layout.parts(count, has_master);
        let bytes: usize = parts.iter().map(Part::bytes).sum();
        let storage = match pages {
            Some(pages) => Storage::Paged(pages.allocate(bytes)?),
            None => Storage::Memory(vec![0; bytes.div_ceil(4)]),
        };
        Ok(Self { layout, parts, has_master, storage })
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// The parts' bytes while `run` runs.
    fn with<R>(
        &mut self,
        pages: Option<&Pages>,
        run: impl FnOnce(Vec<&mut [u8]>) -> R,
    ) -> Result<R, TrainError> {
        let (parts, bytes) = (&self.parts, self.bytes());
        match &mut self.storage {
            Storage::Memory(words) => Ok(run(split(parts, bytemuck::cast_slice_mut(words)))),
            Storage::Paged(start) => {
                let pages = pages.expect("state in a file that is open");
                pages.with(*start, bytes, |bytes| run(split(parts, bytes)))
            }
        }
    }

    fn index(&self, suffix: &str) -> usize {
        self.parts.iter().position(|part| part.suffix == suffix).expect("a part of this state")
    }

    /// The values of the part with this end of its name, copied.
    pub(super) fn read(&self, pages: Option<&Pages>, suffix: &str) -> Result<TensorData, TrainError> {
        let index = self.index(suffix);
        let first: usize = self.parts[..index].iter().map(Part::bytes).sum();
        let Part { dtype, count, .. } = self.parts[index];
        let bytes = self.parts[index].bytes();
        let bytes = match &self.storage {
            Storage::Memory(words) => bytemuck::cast_slice(words)[first..first + bytes].to_vec(),
            Storage::Paged(start) => {
                let pages = pages.expect("state in a file that is open");
                pages.with(start + first as u64, bytes, |bytes| bytes.to_vec())?
            }
        };
        Ok(TensorData::from_bytes_vec(bytes, [count], dtype))
    }

    /// Replaces the values of a part by ones that fit.
    pub(super) fn write(
        &mut self,
        pages: Option<&Pages>,
        suffix: &str,
        values: &[u8],
    ) -> Result<(), TrainError> {
        let index = self.index(suffix);
        self.with(pages, |mut parts| parts[index].copy_from_slice(values))
    }

    /// One step, on the f32 copy of the parameter if there is one.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] if elements of the gradient were left out; errors of files and options.
    pub(super) fn step(
        &mut self,
        pages: Option<&Pages>,
        of: &StepOf<'_>,
        parameter: Tensor<1>,
        gradient: &Tensor<1>,
    ) -> Result<Tensor<1>, TrainError> {
        let (layout, has_master) = (self.layout, self.has_master);
        let (parameter, left_out) = self.with(pages, |mut parts| {
            let master = has_master.then(|| parts.remove(0));
            update_values(parameter, gradient, |p, g| {
                if let Some(master) = &master {
                    p.copy_from_slice(bytemuck::cast_slice(master));
                }
                let left_out = update(layout, of, p, g, parts);
                if let Some(master) = master {
                    master.copy_from_slice(bytemuck::cast_slice(p));
                }
                left_out
            })
        })?;
        match left_out? {
            0 => Ok(parameter),
            count => Err(TrainError::non_finite_squares(of.name, count)),
        }
    }
}

/// The bytes of each part.
fn split<'a>(parts: &[Part], mut bytes: &'a mut [u8]) -> Vec<&'a mut [u8]> {
    let mut slices = Vec::with_capacity(parts.len());
    for part in parts {
        let (slice, rest) = bytes.split_at_mut(part.bytes());
        slices.push(slice);
        bytes = rest;
    }
    slices
}

/// The arithmetic of a step over a state's parts; returns how many elements it left out.
fn update(
    layout: Layout,
    of: &StepOf<'_>,
    p: &mut [f32],
    g: &[f32],
    parts: Vec<&mut [u8]>,
) -> Result<usize, QuantError> {
    let StepOf { rule, learning_rate, step, .. } = *of;
    let mut parts = parts.into_iter();
    let mut next = || parts.next().expect("a part of the layout");
    match (layout, rule) {
        (Layout::AdamW, Rule::AdamW(options) | Rule::AdamW8bit(options)) => {
            let (m, v) = (bytemuck::cast_slice_mut(next()), bytemuck::cast_slice_mut(next()));
            adamw_update(options, learning_rate, step, p, g, m, v);
            Ok(0)
        }
        (Layout::AdamW8bit, Rule::AdamW8bit(options)) => {
            let options = Adamw8bit::new()
                .with_betas(options.beta1, options.beta2)
                .with_epsilon(options.epsilon)
                .with_weight_decay(options.weight_decay)
                .with_decay_order(DecayOrder::BeforeUpdate);
            let state = Adamw8bitSlices {
                absmax_1: bytemuck::cast_slice_mut(next()),
                absmax_2: bytemuck::cast_slice_mut(next()),
                codes_1: next(),
                codes_2: next(),
            };
            state.step(Adamw8bit::BLOCK_SIZE, step, p, g, &options, learning_rate)
        }
        (Layout::Lion, Rule::Lion(options) | Rule::Lion8bit(options)) => {
            lion_update(options, learning_rate, p, g, bytemuck::cast_slice_mut(next()));
            Ok(0)
        }
        (Layout::Lion8bit, Rule::Lion8bit(options)) => {
            let options =
                Lion8bit { beta_1: options.beta1, beta_2: options.beta2, weight_decay: options.weight_decay };
            let absmax = bytemuck::cast_slice_mut(next());
            options.step(next(), absmax, p, g, learning_rate)
        }
        (layout, rule) => unreachable!("a state of {layout:?} for {}", rule.name()),
    }
}
