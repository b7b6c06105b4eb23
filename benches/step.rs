//! Training steps through the public API, each with its times.

use std::{error::Error, time::Instant};

use burnisher::{
    data::TokenBatch,
    kernels::AdamW,
    models::CausalLm,
    train::{DecayRule, Gradients, Optimizer},
};
use serde_json::{Value, json};

use crate::{
    Backend, GpuWatch, MarkovChain, MemoryWatch, Options, cpu, machine::Memory, make, set_threads, versions,
};

/// Norm that gradients are clipped to.
const MAX_NORM: f64 = 1.0;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// Mean loss per label in nats.
    pub loss: f64,
    /// Labels of the step.
    pub labels: usize,
    /// Seconds of forward and backward pass.
    pub forward_backward: f64,
    /// Seconds of clipping and AdamW.
    pub optimizer: f64,
}

impl StepRecord {
    /// Seconds of the whole step.
    pub fn seconds(&self) -> f64 {
        self.forward_backward + self.optimizer
    }
}

/// Trains on each batch in turn: forward, loss, backward, clip, AdamW without weight decay.
///
/// # Errors
/// A loss or gradient that is not finite, a batch without labels, a device that failed.
pub fn train(
    mut model: CausalLm,
    batches: Vec<TokenBatch>,
    learning_rate: f64,
) -> Result<Vec<StepRecord>, Box<dyn Error>> {
    let options = AdamW { weight_decay: 0.0, ..AdamW::default() };
    let mut adamw = Optimizer::new(options, DecayRule::default());
    let mut records = Vec::with_capacity(batches.len());
    let device = model.device();
    for batch in batches {
        let start = Instant::now();
        let (mut gradients, loss) = Gradients::of_step(&model, &[batch], |_| None)?;
        // Flex computes at once. A GPU has finished only the loss here; wait for the backward pass.
        device.sync()?;
        let forward_backward = start.elapsed().as_secs_f64();
        gradients.clip(Some(MAX_NORM))?;
        model = adamw.step(model, &gradients, learning_rate)?;
        drop(gradients);
        device.sync()?;
        let optimizer = start.elapsed().as_secs_f64() - forward_backward;
        records.push(StepRecord { loss: loss.mean, labels: loss.tokens, forward_backward, optimizer });
    }
    Ok(records)
}

/// Median, least and most of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (count, half) = (values.len(), values.len() / 2);
        let median =
            if count.is_multiple_of(2) { (values[half - 1] + values[half]) / 2.0 } else { values[half] };
        Self { median, min: values[0], max: values[count - 1] }
    }

    /// The three numbers, to `digits` digits after the point.
    pub fn to_json(self, digits: i32) -> Value {
        json!({
            "median": rounded(self.median, digits),
            "min": rounded(self.min, digits),
            "max": rounded(self.max, digits),
        })
    }
}

/// `value` to `digits` digits after the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// Makes the model that the options describe, trains it, and reports speed, memory and losses.
///
/// `tokens_per_step` counts every token of the batch once, as other programs do; the first of a row has no label.
///
/// # Errors
/// Options that do not fit each other, and [`train`]'s.
pub fn measure(options: &Options) -> Result<Value, Box<dyn Error>> {
    let threads = set_threads(options.threads)?;
    let device = options.device.open()?;
    let made = make(options, &device)?;
    let chain = MarkovChain::new(options.sizes().vocab);
    let batches = chain.batches(options.all_steps(), options.batch, options.seq);
    device.sync()?;
    let watch = MemoryWatch::start();
    let gpu = (options.device == Backend::Cuda).then(GpuWatch::start);
    let records = train(made.model, batches, options.learning_rate)?;
    let gpu_peak_mb = gpu.and_then(GpuWatch::finish);
    let Memory { peak_mb, model_peak_mb, after_model_mb, train_peak_mb, growth_mb } = watch.read();

    let timed = &records[options.warmup..];
    let seconds = Spread::of(timed.iter().map(StepRecord::seconds));
    let tokens = (options.batch * options.seq) as f64;
    let median = |value: fn(&StepRecord) -> f64| rounded(Spread::of(timed.iter().map(value)).median, 4);
    let mb = |value: Option<f64>| value.map(|value| rounded(value, 1));
    let losses: Vec<f64> = records.iter().map(|record| rounded(record.loss, 5)).collect();
    Ok(json!({
        "kind": "train",
        "config": options.to_json(),
        "threads": threads,
        "params_base": made.base_parameters,
        "params_trainable": made.trainable_parameters,
        "tokens_per_step": tokens as usize,
        "tok_s_median": rounded(tokens / seconds.median, 1),
        "tok_s_best": rounded(tokens / seconds.min, 1),
        "step_s": seconds.to_json(4),
        "fwd_bwd_s_median": median(|record| record.forward_backward),
        "opt_s_median": median(|record| record.optimizer),
        "peak_mb": mb(peak_mb),
        "model_peak_mb": mb(model_peak_mb),
        "after_model_mb": mb(after_model_mb),
        "train_peak_mb": mb(train_peak_mb),
        "growth_mb": mb(growth_mb),
        "gpu_peak_mb": gpu_peak_mb,
        "losses": losses,
        "versions": versions(),
        "cpu": cpu(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(rounded(1.23456, 2), 1.23);
    }
}
