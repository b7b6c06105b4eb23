//! The optimizer over all trained parameters.

mod groups;
mod host;
mod lora_fa;
mod pages;
mod rule;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use burnisher_lora::{Adaptable, ModuleKind, modules, visit_parameters};
use burnisher_quant::Adamw8bit;

pub(crate) use self::state::{parameter_of, wanted_count};
pub use self::{
    groups::{DecayRule, LoraPlus, ParameterGroups},
    lora_fa::LoraFa,
    pages::Paging,
    rule::Rule,
};
use self::{
    host::{HostState, Layout},
    pages::Pages,
    state::{DeviceState, ParameterState, StepOf},
};
use crate::{ConfigProblem, Gradients, TrainError};

/// An optimizer with state by parameter name.
///
/// A parameter in 16 bits has an f32 master copy here, which the update goes to: a small step would be lost in the
/// 16-bit value. State in 8 bits, and all state that is paged, lies on the host whatever the device is.
///
/// ```
/// # use burnisher_train::{DecayRule, Optimizer, Paging, Rule};
/// # use burnisher_kernels::AdamW;
/// # let dir = std::env::temp_dir();
/// let adamw = Optimizer::new(AdamW::default(), DecayRule::default());
/// let paged_adamw_8bit = Optimizer::new(Rule::AdamW8bit(AdamW::default()), DecayRule::default())
///     .with_paging(&Paging::TemporaryIn(dir))?;
/// # Ok::<(), burnisher_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    groups: ParameterGroups,
    step: u64,
    states: BTreeMap<String, ParameterState>,
    pages: Option<Pages>,
    /// The embeddings' weights, which keep 32 bits.
    embeddings: Option<BTreeSet<String>>,
}

impl Optimizer {
    /// An optimizer without state.
    pub fn new(rule: impl Into<Rule>, groups: impl Into<ParameterGroups>) -> Self {
        Self {
            rule: rule.into(),
            groups: groups.into(),
            step: 0,
            states: BTreeMap::new(),
            pages: None,
            embeddings: None,
        }
    }

    /// Keeps the state in a file that is mapped into memory one parameter at a time, with the same values bit for bit.
    /// To be called before the first step.
    ///
    /// # Errors
    /// [`TrainError::Io`] and [`TrainError::PageFile`] for a file that cannot be had; [`TrainError::Config`] for
    /// Adafactor and gradient descent, whose state is not paged.
    pub fn with_paging(mut self, paging: &Paging) -> Result<Self, TrainError> {
        if !self.rule.is_pageable() {
            let wanted = "adamw_torch, adamw_8bit, lion_32bit or lion_8bit";
            return Err(TrainError::Config(vec![ConfigProblem::value(
                "train.optim",
                format!("paged state for {}", self.rule.name()),
                wanted,
            )]));
        }
        self.pages = Some(Pages::open(paging)?);
        Ok(self)
    }

    /// Its arithmetic.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Bytes of all state, wherever it lies, master copies included.
    pub fn state_bytes(&self) -> usize {
        self.states.values().map(ParameterState::bytes).sum()
    }

    /// The rate of the next step for one that a schedule gives: that one, but for Adafactor's relative steps.
    pub fn learning_rate(&self, scheduled: f64) -> f64 {
        match &self.rule {
            Rule::Adafactor(options) => options.rate(scheduled, self.step + 1),
            _ => scheduled,
        }
    }

    /// Applies one step to every trained parameter that has a gradient.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] for a gradient whose square is not finite, where the state is in 8 bits (any other
    /// gradient is taken as it is); [`TrainError::Io`] where paged state cannot be reached; options without meaning.
    pub fn step<M: Adaptable>(
        &mut self,
        mut model: M,
        gradients: &Gradients,
        learning_rate: f64,
    ) -> Result<M, TrainError> {
        if self.rule.is_8bit() && self.embeddings.is_none() {
            let found = modules(&model).into_iter().filter(|module| module.kind == ModuleKind::Embedding);
            self.embeddings = Some(found.map(|module| format!("{}.weight", module.path)).collect());
        }
        self.step += 1;
        let mut failed = None;
        visit_parameters(&mut model, &mut |name, mut parameter| {
            let gradient = gradients.get(name).filter(|_| parameter.is_trainable() && failed.is_none());
            let Some(gradient) = gradient else { return };
            let shape = parameter.shape();
            let (factor, decays) = self.groups.of(name, shape.len());
            let rule = if decays { self.rule } else { self.rule.without_decay() };
            let value = parameter.flat();
            let state = match self.states.remove(name) {
                Some(state) => Ok(state),
                None => self.new_state(name, &value),
            };
            let pages = self.pages.as_ref();
            let stepped = state.and_then(|state| {
                let of = StepOf { name, rule: &rule, learning_rate: learning_rate * factor, step: self.step };
                state.step(pages, &of, value, &shape, gradient)
            });
            match stepped {
                Ok((value, state)) => {
                    self.states.insert(name.to_owned(), state);
                    parameter.set_flat(value);
                }
                Err(error) => failed = Some(error),
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(model),
        }
    }

    /// The state that a parameter with these values begins with.
    fn new_state(&mut self, name: &str, value: &Tensor<1>) -> Result<ParameterState, TrainError> {
        let count = value.dims()[0];
        let master = (value.dtype() != DType::F32).then(|| value.clone().cast(FloatDType::F32));
        let is_embedding = self.embeddings.as_ref().is_some_and(|names| names.contains(name));
        let is_8bit = self.rule.is_8bit() && count >= Adamw8bit::MIN_SIZE && !is_embedding;
        let on_host = is_8bit || self.pages.is_some();
        let Some(layout) = Layout::of(&self.rule, is_8bit).filter(|_| on_host) else {
            return Ok(ParameterState::Device(DeviceState::new(master)));
        };
        let mut state = HostState::zeros(layout, count, master.is_some(), self.pages.as_mut())?;
        if let Some(master) = master {
            state.write(self.pages.as_ref(), "master", master.into_data().as_bytes())?;
        }
        Ok(ParameterState::Host(state))
    }

    /// The state as named tensors, f32 but for codes in U8, as checkpoints hold it.
    ///
    /// | rule | tensors of a parameter |
    /// |---|---|
    /// | AdamW | `NAME.m`, `NAME.v` |
    /// | AdamW in 8 bits | `NAME.state1`, `NAME.absmax1`, `NAME.state2`, `NAME.absmax2` |
    /// | Lion | `NAME.m`; in 8 bits `NAME.state1`, `NAME.absmax1` |
    /// | Adafactor | `NAME.exp_avg_sq_row`, `NAME.exp_avg_sq_col`; of a vector `NAME.exp_avg_sq` |
    /// | gradient descent | `NAME.momentum_buffer` |
    ///
    /// and `NAME.master` of a parameter in 16 bits.
    ///
    /// # Errors
    /// [`TrainError::Io`] where paged state cannot be reached.
    pub fn to_tensors(&self) -> Result<Vec<(String, TensorData)>, TrainError> {
        let listed = self.listed();
        listed.into_iter().map(|(name, ..)| Ok((name.clone(), self.tensor(&name)?))).collect()
    }

    /// Names, dtypes and lengths of [`Optimizer::to_tensors`], in the names' order.
    pub(crate) fn listed(&self) -> Vec<(String, DType, usize)> {
        let of = |(name, state): (&String, &ParameterState)| {
            let parts = state.parts();
            parts
                .into_iter()
                .map(|part| (format!("{name}.{}", part.suffix), part.dtype, part.count))
                .collect()
        };
        let mut listed: Vec<_> = self.states.iter().flat_map::<Vec<_>, _>(of).collect();
        listed.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        listed
    }

    /// One tensor of [`Optimizer::listed`].
    pub(crate) fn tensor(&self, name: &str) -> Result<TensorData, TrainError> {
        let (parameter, suffix) = parameter_of(name).expect("a name that the optimizer lists");
        let state = self.states.get(parameter).expect("a parameter that the optimizer lists");
        state.read(self.pages.as_ref(), suffix)
    }

    /// Restores the state written by [`Optimizer::to_tensors`] after `step` steps.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] naming the parameter whose tensors are not those of this optimizer's rule, or do not
    /// fit each other; nothing has changed then.
    pub fn restore(
        &mut self,
        step: u64,
        mut tensors: BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<(), TrainError> {
        let names: Vec<String> = tensors.keys().cloned().collect();
        self.restore_with(step, &names, device, &mut |name| {
            Ok(tensors.remove(name).expect("a tensor is taken once"))
        })
    }

    /// [`Optimizer::restore`] with one parameter's tensors in memory at a time.
    pub(crate) fn restore_with(
        &mut self,
        step: u64,
        names: &[String],
        device: &Device,
        fetch: &mut dyn FnMut(&str) -> Result<TensorData, TrainError>,
    ) -> Result<(), TrainError> {
        let mut by_parameter: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in names {
            let Some((parameter, suffix)) = parameter_of(name) else {
                return Err(TrainError::optimizer_state(name, "an unknown kind of state", self.rule.name()));
            };
            by_parameter.entry(parameter).or_default().insert(suffix);
        }
        let mut states = BTreeMap::new();
        for (parameter, suffixes) in by_parameter {
            let mut tensors = BTreeMap::new();
            for suffix in suffixes {
                tensors.insert(suffix, fetch(&format!("{parameter}.{suffix}"))?);
            }
            let state =
                ParameterState::from_tensors(&self.rule, parameter, &tensors, self.pages.as_mut(), device)?;
            states.insert(parameter.to_owned(), state);
        }
        self.step = step;
        self.states = states;
        Ok(())
    }
}
