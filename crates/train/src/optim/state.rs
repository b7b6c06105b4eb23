//! The state of one parameter, and its tensors in a checkpoint.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burnisher_kernels::{AdafactorState, AdamWState, adafactor_step, adamw_step, lion_step, sgd_step};

use super::{
    host::{HostState, Layout, Part, blocks},
    pages::Pages,
    rule::Rule,
};
use crate::TrainError;

/// Every end of a state tensor's name.
const SUFFIXES: [&str; 11] = [
    "absmax1",
    "absmax2",
    "exp_avg_sq",
    "exp_avg_sq_col",
    "exp_avg_sq_row",
    "m",
    "master",
    "momentum_buffer",
    "state1",
    "state2",
    "v",
];

/// A state tensor's parameter, and what of it the tensor is.
pub(crate) fn parameter_of(name: &str) -> Option<(&str, &'static str)> {
    let (parameter, end) = name.rsplit_once('.')?;
    SUFFIXES.iter().find(|suffix| **suffix == end).map(|suffix| (parameter, *suffix))
}

/// How many values a state tensor of a parameter of this shape has.
pub(crate) fn wanted_count(suffix: &str, shape: &[usize]) -> usize {
    let count = shape.iter().product();
    match suffix {
        "absmax1" | "absmax2" => blocks(count),
        "exp_avg_sq_row" => shape.first().copied().unwrap_or(0),
        "exp_avg_sq_col" => shape.last().copied().unwrap_or(0),
        _ => count,
    }
}

/// Where the state of a parameter lies.
#[derive(Debug)]
pub(super) enum ParameterState {
    /// As tensors on the parameter's device.
    Device(DeviceState),
    Host(HostState),
}

impl ParameterState {
    pub(super) fn parts(&self) -> Vec<Part> {
        match self {
            Self::Host(state) => state.parts().to_vec(),
            Self::Device(state) => {
                let part = |(suffix, tensor): (_, &Tensor<1>)| Part {
                    suffix,
                    dtype: DType::F32,
                    count: tensor.dims()[0],
                };
                state.tensors().into_iter().map(part).collect()
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Host(state) => state.bytes(),
            Self::Device(state) => {
                state.tensors().iter().map(|(_, tensor)| tensor.dims()[0] * size_of::<f32>()).sum()
            }
        }
    }

    /// The values of the part with this end of its name.
    pub(super) fn read(&self, pages: Option<&Pages>, suffix: &str) -> Result<TensorData, TrainError> {
        match self {
            Self::Host(state) => state.read(pages, suffix),
            Self::Device(state) => {
                let found = state.tensors().into_iter().find(|(known, _)| *known == suffix);
                Ok(found.expect("a part of this state").1.to_data())
            }
        }
    }

    /// # Errors
    /// [`TrainError::Checkpoint`] for restored state that is not that of a parameter of this shape.
    fn check_shape(&self, parameter: &str, shape: &[usize]) -> Result<(), TrainError> {
        let is_matrix = shape.len() == 2;
        for Part { suffix, dtype, count } in self.parts() {
            let is_kind = match suffix {
                "exp_avg_sq" => !is_matrix,
                "exp_avg_sq_row" | "exp_avg_sq_col" => is_matrix,
                _ => true,
            };
            let wanted = wanted_count(suffix, shape);
            if !is_kind || count != wanted {
                let found = format!("{count} values of {dtype:?}");
                let wanted = match is_kind {
                    true => format!("{wanted} for a parameter of shape {shape:?}"),
                    false => format!("the state of a parameter of shape {shape:?}"),
                };
                return Err(TrainError::optimizer_state(&format!("{parameter}.{suffix}"), &found, &wanted));
            }
        }
        Ok(())
    }

    /// One step on a parameter's values, or on their f32 copy if there is one; `shape` is the parameter's.
    pub(super) fn step(
        self,
        pages: Option<&Pages>,
        of: &StepOf<'_>,
        value: Tensor<1>,
        shape: &[usize],
        gradient: &Tensor<1>,
    ) -> Result<(Tensor<1>, Self), TrainError> {
        self.check_shape(of.name, shape)?;
        match self {
            Self::Device(state) => {
                let (value, state) = state.step(of, value, shape, gradient);
                Ok((value, Self::Device(state)))
            }
            Self::Host(mut state) => {
                let value = state.step(pages, of, value.cast(FloatDType::F32), gradient)?;
                Ok((value, Self::Host(state)))
            }
        }
    }

    /// The state that the tensors of a checkpoint make, by the ends of their names.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] unless they are those of the rule and of one length.
    pub(super) fn from_tensors(
        rule: &Rule,
        parameter: &str,
        tensors: &BTreeMap<&str, TensorData>,
        pages: Option<&mut Pages>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let has = |wanted: &[&str]| {
            let found = tensors.keys().filter(|suffix| **suffix != "master");
            found.clone().count() == wanted.len() && found.clone().all(|suffix| wanted.contains(suffix))
        };
        let master = tensors.get("master");
        // Which tensors there are tells whether the state is in 8 bits.
        let layout =
            [true, false].into_iter().filter_map(|is_8bit| Layout::of(rule, is_8bit)).find(|layout| {
                let suffixes: Vec<&str> = layout.suffixes().iter().map(|(suffix, _)| *suffix).collect();
                has(&suffixes)
            });
        if let Some(layout) = layout {
            let count = tensors[layout.first_moment()].num_elements();
            for part in layout.parts(count, master.is_some()) {
                check(parameter, &part, &tensors[part.suffix])?;
            }
            if layout.is_8bit() || pages.is_some() {
                return Self::on_host(layout, count, tensors, pages);
            }
        }
        let tensor = |suffix: &'static str| {
            let data = &tensors[suffix];
            check(parameter, &Part { suffix, dtype: DType::F32, count: data.num_elements() }, data)?;
            Ok::<_, TrainError>(Tensor::<1>::from_data(data.clone(), (device, DType::F32)))
        };
        let moments = match rule {
            Rule::AdamW(_) | Rule::AdamW8bit(_) if has(&["m", "v"]) => {
                Moments::AdamW(AdamWState { m: tensor("m")?, v: tensor("v")? })
            }
            Rule::Lion(_) | Rule::Lion8bit(_) if has(&["m"]) => Moments::Lion(tensor("m")?),
            Rule::Sgd(_) if has(&["momentum_buffer"]) => Moments::Sgd(tensor("momentum_buffer")?),
            Rule::Adafactor(_) if has(&["exp_avg_sq"]) => {
                Moments::Adafactor(AdafactorState::Full(tensor("exp_avg_sq")?))
            }
            Rule::Adafactor(_) if has(&["exp_avg_sq_col", "exp_avg_sq_row"]) => {
                let (row, column) = (tensor("exp_avg_sq_row")?, tensor("exp_avg_sq_col")?);
                Moments::Adafactor(AdafactorState::Factored { row, column })
            }
            _ => {
                let found: Vec<&str> = tensors.keys().copied().collect();
                let found = format!("the tensors {}", found.join(", "));
                let wanted = format!("the state of {}", rule.name());
                return Err(TrainError::optimizer_state(parameter, &found, &wanted));
            }
        };
        let master = master.map(|_| tensor("master")).transpose()?;
        Ok(Self::Device(DeviceState { moments: Some(moments), master }))
    }

    /// The state of a layout from tensors that fit it.
    fn on_host(
        layout: Layout,
        count: usize,
        tensors: &BTreeMap<&str, TensorData>,
        mut pages: Option<&mut Pages>,
    ) -> Result<Self, TrainError> {
        let mut state =
            HostState::zeros(layout, count, tensors.contains_key("master"), pages.as_deref_mut())?;
        for (suffix, data) in tensors {
            state.write(pages.as_deref(), suffix, data.as_bytes())?;
        }
        Ok(Self::Host(state))
    }
}

/// What a step of one parameter is.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepOf<'a> {
    pub(super) name: &'a str,
    pub(super) rule: &'a Rule,
    pub(super) learning_rate: f64,
    /// Counted from 1.
    pub(super) step: u64,
}

/// # Errors
/// [`TrainError::Checkpoint`] for a tensor of another dtype or length, or an absmax that no step leaves behind.
fn check(parameter: &str, part: &Part, data: &TensorData) -> Result<(), TrainError> {
    let Part { suffix, dtype, count } = *part;
    let name = format!("{parameter}.{suffix}");
    if data.dtype() != dtype || data.num_elements() != count {
        let found = format!("{} values of {:?}", data.num_elements(), data.dtype());
        return Err(TrainError::optimizer_state(&name, &found, &format!("{count} of {dtype:?}")));
    }
    let fits = |absmax: f32| absmax.is_finite() && absmax >= 0.0;
    if suffix.starts_with("absmax")
        && let Some(bad) = data.iter::<f32>().find(|absmax| !fits(*absmax))
    {
        return Err(TrainError::optimizer_state(
            &name,
            &format!("the absmax {bad}"),
            "finite ones, 0 or more",
        ));
    }
    Ok(())
}

/// State as f32 tensors, and the f32 copy of a parameter in 16 bits.
#[derive(Debug)]
pub(super) struct DeviceState {
    moments: Option<Moments>,
    master: Option<Tensor<1>>,
}

#[derive(Debug)]
enum Moments {
    AdamW(AdamWState<1>),
    Lion(Tensor<1>),
    Sgd(Tensor<1>),
    Adafactor(AdafactorState),
}

impl DeviceState {
    fn tensors(&self) -> Vec<(&'static str, &Tensor<1>)> {
        let mut tensors = match &self.moments {
            None => Vec::new(),
            Some(Moments::AdamW(AdamWState { m, v })) => vec![("m", m), ("v", v)],
            Some(Moments::Lion(m)) => vec![("m", m)],
            Some(Moments::Sgd(buffer)) => vec![("momentum_buffer", buffer)],
            Some(Moments::Adafactor(AdafactorState::Full(full))) => vec![("exp_avg_sq", full)],
            Some(Moments::Adafactor(AdafactorState::Factored { row, column })) => {
                vec![("exp_avg_sq_row", row), ("exp_avg_sq_col", column)]
            }
        };
        tensors.extend(self.master.as_ref().map(|master| ("master", master)));
        tensors
    }

    /// Before the first step.
    pub(super) fn new(master: Option<Tensor<1>>) -> Self {
        Self { moments: None, master }
    }

    fn step(
        self,
        of: &StepOf<'_>,
        value: Tensor<1>,
        shape: &[usize],
        gradient: &Tensor<1>,
    ) -> (Tensor<1>, Self) {
        let StepOf { rule, learning_rate, step, .. } = *of;
        let has_master = self.master.is_some();
        let value = self.master.unwrap_or_else(|| value.cast(FloatDType::F32));
        let gradient = gradient.clone();
        // Moments are those of the rule: restoring lets no others in.
        let (value, moments) = match (rule, self.moments) {
            (Rule::AdamW(options) | Rule::AdamW8bit(options), moments) => {
                let state = match moments {
                    Some(Moments::AdamW(state)) => Some(state),
                    _ => None,
                };
                let (value, state) = adamw_step(options, learning_rate, step, value, gradient, state);
                (value, Moments::AdamW(state))
            }
            (Rule::Lion(options) | Rule::Lion8bit(options), moments) => {
                let m = match moments {
                    Some(Moments::Lion(m)) => Some(m),
                    _ => None,
                };
                let (value, m) = lion_step(options, learning_rate, value, gradient, m);
                (value, Moments::Lion(m))
            }
            (Rule::Sgd(options), moments) => {
                let buffer = match moments {
                    Some(Moments::Sgd(buffer)) => Some(buffer),
                    _ => None,
                };
                let (value, buffer) = sgd_step(options, learning_rate, value, gradient, buffer);
                (value, Moments::Sgd(buffer))
            }
            (Rule::Adafactor(options), moments) => {
                let state = match moments {
                    Some(Moments::Adafactor(state)) => Some(state),
                    _ => None,
                };
                let matrix = <[usize; 2]>::try_from(shape).ok();
                let (value, state) =
                    adafactor_step(options, learning_rate, step, value, matrix, gradient, state);
                (value, Moments::Adafactor(state))
            }
        };
        let master = has_master.then(|| value.clone());
        (value, Self { moments: Some(moments), master })
    }
}
