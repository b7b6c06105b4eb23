//! The optimizer over all trained parameters.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use burnisher_kernels::{AdamW, AdamWState, adamw_step};
use burnisher_lora::{Adaptable, visit_parameters};

use crate::{Gradients, TrainError};

/// Which parameters weight decay applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecayRule {
    /// All but biases and normalisation weights, as Hugging Face's `Trainer` does.
    #[default]
    SkipNormsAndBiases,
    /// Every trained parameter, as `torch.optim.AdamW` does by itself.
    All,
}

/// AdamW with state by parameter name, in f32.
///
/// A parameter in 16 bits has an f32 master copy here, which the update goes to: a small step would
/// be lost in the 16-bit value.
#[derive(Clone, Debug)]
pub struct Optimizer {
    options: AdamW,
    decay: DecayRule,
    step: u64,
    states: BTreeMap<String, ParameterState>,
}

#[derive(Clone, Debug)]
struct ParameterState {
    moments: AdamWState<1>,
    master: Option<Tensor<1>>,
}

impl Optimizer {
    /// An optimizer without state.
    pub fn new(options: AdamW, decay: DecayRule) -> Self {
        Self { options, decay, step: 0, states: BTreeMap::new() }
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Applies one step to every trained parameter that has a gradient.
    pub fn step<M: Adaptable>(&mut self, mut model: M, gradients: &Gradients, learning_rate: f64) -> M {
        self.step += 1;
        let (step, states) = (self.step, &mut self.states);
        visit_parameters(&mut model, &mut |name, mut parameter| {
            let Some(gradient) = gradients.get(name).filter(|_| parameter.is_trainable()) else { return };
            let mut options = self.options;
            if self.decay == DecayRule::SkipNormsAndBiases && parameter.shape().len() < 2 {
                options.weight_decay = 0.0;
            }
            let value = parameter.flat();
            let is_half = value.dtype() != DType::F32;
            let (moments, master) = match states.remove(name) {
                Some(state) => (Some(state.moments), state.master),
                None => (None, None),
            };
            let value = master.unwrap_or_else(|| value.cast(FloatDType::F32));
            let (value, moments) =
                adamw_step(&options, learning_rate, step, value, gradient.clone(), moments);
            let master = is_half.then(|| value.clone());
            states.insert(name.to_owned(), ParameterState { moments, master });
            parameter.set_flat(value);
        });
        model
    }

    /// The state as named f32 tensors: `NAME.m`, `NAME.v` and `NAME.master`.
    pub fn to_tensors(&self) -> Vec<(String, Tensor<1>)> {
        let mut tensors = Vec::new();
        for (name, state) in &self.states {
            tensors.push((format!("{name}.m"), state.moments.m.clone()));
            tensors.push((format!("{name}.v"), state.moments.v.clone()));
            if let Some(master) = &state.master {
                tensors.push((format!("{name}.master"), master.clone()));
            }
        }
        tensors
    }

    /// Restores the state written by [`Optimizer::to_tensors`].
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if a moment is missing or of another size than its pair.
    pub fn restore(
        &mut self,
        step: u64,
        mut tensors: BTreeMap<String, Vec<f32>>,
        device: &Device,
    ) -> Result<(), TrainError> {
        let tensor = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), device);
        let names: Vec<String> =
            tensors.keys().filter_map(|key| key.strip_suffix(".m").map(str::to_owned)).collect();
        let mut states = BTreeMap::new();
        for name in names {
            let m = tensors.remove(&format!("{name}.m")).unwrap_or_default();
            let v = tensors.remove(&format!("{name}.v")).unwrap_or_default();
            let master = tensors.remove(&format!("{name}.master"));
            if m.len() != v.len() || master.as_ref().is_some_and(|values| values.len() != m.len()) {
                let found = format!("{} and {} values", m.len(), v.len());
                return Err(TrainError::optimizer_state(&name, &found, "as many first as second moments"));
            }
            let moments = AdamWState { m: tensor(m), v: tensor(v) };
            states.insert(name, ParameterState { moments, master: master.map(tensor) });
        }
        if let Some(name) = tensors.keys().next() {
            return Err(TrainError::optimizer_state(
                name,
                "no first moment",
                "`.m`, `.v` and optionally `.master`",
            ));
        }
        self.step = step;
        self.states = states;
        Ok(())
    }
}
