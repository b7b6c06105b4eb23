//! Gradients of one optimizer step: token-weighted accumulation and global-norm clipping.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor};
use burnisher_data::TokenBatch;
use burnisher_kernels::{DropoutKeys, all_finite};
use burnisher_lora::visit_parameters;

use crate::{LossModel, TrainError};

/// Accumulated gradients by parameter name, flattened, f32, outside autodiff.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor<1>>,
}

/// The loss of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Mean loss per label in nats, over all micro-batches of the step.
    pub mean: f64,
    /// Labels in all micro-batches.
    pub tokens: usize,
}

impl Gradients {
    /// The gradient of the mean loss over all labels of all micro-batches.
    ///
    /// The losses are summed, the labels counted, and the division is done once, so that any split
    /// into micro-batches gives the same gradient (up to rounding).
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] if a micro-batch's loss is not finite, [`TrainError::NoTargets`] if
    /// there is no label; errors of [`LossModel::check_batch`].
    pub fn of_step<M: LossModel>(
        model: &M,
        micro_batches: &[TokenBatch],
        dropout: impl Fn(&TokenBatch) -> Option<DropoutKeys>,
    ) -> Result<(Self, StepLoss), TrainError> {
        Self::of_scaled_step(model, micro_batches, dropout, 1.0)
    }

    /// [`Gradients::of_step`] times `scale`, which the loss is multiplied by before the backward pass: what f16 would
    /// lose as too small is kept. [`Gradients::unscale`] comes next. The loss returned is not scaled.
    ///
    /// # Errors
    /// As [`Gradients::of_step`]. A gradient that is not finite is none.
    pub fn of_scaled_step<M: LossModel>(
        model: &M,
        micro_batches: &[TokenBatch],
        dropout: impl Fn(&TokenBatch) -> Option<DropoutKeys>,
        scale: f64,
    ) -> Result<(Self, StepLoss), TrainError> {
        let tokens: usize = micro_batches.iter().map(TokenBatch::target_tokens).sum();
        if tokens == 0 {
            return Err(TrainError::NoTargets);
        }
        let mut gradients = Self::default();
        let mut sum = 0.0;
        for batch in micro_batches.iter().filter(|batch| batch.target_tokens() > 0) {
            model.check_batch(batch)?;
            let loss = model.summed_loss(batch, dropout(batch).as_ref());
            let value: f32 = loss.sum.clone().without_autodiff().into_scalar();
            if !value.is_finite() {
                return Err(TrainError::non_finite_loss(value, model.first_non_finite(batch)));
            }
            sum += f64::from(value);
            let mut tape = loss.sum.div_scalar(tokens as f64 / scale).backward();
            visit_parameters(&mut model.clone(), &mut |name, parameter| {
                if parameter.is_trainable()
                    && let Some(gradient) = parameter.take_gradient(&mut tape)
                {
                    gradients.add(name, gradient.cast(FloatDType::F32));
                }
            });
        }
        Ok((gradients, StepLoss { mean: sum / tokens as f64, tokens }))
    }

    pub(crate) fn add(&mut self, name: &str, gradient: Tensor<1>) {
        let sum = match self.by_name.remove(name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_name.insert(name.to_owned(), sum);
    }

    /// Replaces the gradient of a parameter, flattened, if there is one.
    pub(crate) fn change(&mut self, name: &str, change: impl FnOnce(Tensor<1>) -> Tensor<1>) {
        if let Some(gradient) = self.by_name.remove(name) {
            self.by_name.insert(name.to_owned(), change(gradient));
        }
    }

    /// The gradient of a parameter, flattened.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        self.by_name.get(name)
    }

    /// Names and gradients, in the names' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.by_name.iter().map(|(name, gradient)| (name.as_str(), gradient))
    }

    /// Divides all gradients by `scale`. Returns the first parameter whose gradient was not finite, if there is one.
    pub fn unscale(&mut self, scale: f64) -> Option<String> {
        let mut non_finite = None;
        let scaled = std::mem::take(&mut self.by_name).into_iter().map(|(name, gradient)| {
            if non_finite.is_none() && !all_finite(&gradient) {
                non_finite = Some(name.clone());
            }
            (name, gradient.mul_scalar(scale.recip()))
        });
        self.by_name = scaled.collect();
        non_finite
    }

    /// Scales all gradients so that their common L2 norm is at most `max_norm`, and returns the norm
    /// before (`torch.nn.utils.clip_grad_norm_`, 2.15: factor `max_norm / (norm + 1e-6)`).
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] with the first parameter whose gradient is not finite.
    pub fn clip(&mut self, max_norm: Option<f64>) -> Result<f64, TrainError> {
        let mut squares = 0.0;
        for (name, gradient) in &self.by_name {
            let square: f32 = gradient.clone().square().sum().into_scalar();
            if square.is_finite() {
                squares += f64::from(square);
                continue;
            }
            // A large gradient's square leaves the range of f32 before the gradient does.
            let largest: f32 = gradient.clone().abs().max().into_scalar();
            let scaled: f32 = gradient.clone().div_scalar(largest).square().sum().into_scalar();
            if !largest.is_finite() || !scaled.is_finite() {
                return Err(TrainError::non_finite_gradient(name));
            }
            squares += f64::from(largest).powi(2) * f64::from(scaled);
        }
        let norm = squares.sqrt();
        if let Some(max_norm) = max_norm.filter(|max| norm + 1e-6 > *max) {
            let factor = max_norm / (norm + 1e-6);
            // Moved, not cloned, so that the only owner's memory is written in place.
            let scaled = std::mem::take(&mut self.by_name).into_iter();
            self.by_name = scaled.map(|(name, gradient)| (name, gradient.mul_scalar(factor))).collect();
        }
        Ok(norm)
    }
}
