//! Dynamic loss scaling for training in f16.

use serde::{Deserialize, Serialize};

/// The factor of the loss that keeps f16 gradients from becoming 0, by the rule and with the defaults of
/// `torch.amp.GradScaler` (2.15).
///
/// It begins at 65536. Gradients that are not finite mean that it was too large: the step is skipped, and the scale
/// halved. After 2000 steps in a row with finite ones it is doubled.
///
/// ```
/// use burnisher_train::GradScaler;
///
/// let mut scaler = GradScaler::new();
/// scaler.update(true);
/// assert_eq!((scaler.scale(), scaler.skipped()), (32768.0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradScaler {
    #[serde(with = "crate::exact_float")]
    scale: f64,
    good_steps: u64,
    skipped: u64,
}

impl GradScaler {
    /// The scale of the first step.
    pub const INITIAL: f64 = 65536.0;
    /// What the scale is multiplied by after [`GradScaler::GROWTH_INTERVAL`] steps.
    pub const GROWTH: f64 = 2.0;
    /// What the scale is multiplied by when gradients are not finite.
    pub const BACKOFF: f64 = 0.5;
    /// Steps in a row with finite gradients after which the scale grows.
    pub const GROWTH_INTERVAL: u64 = 2000;
    /// The trainer stops where the scale falls below this: it is no longer the scale that makes gradients overflow.
    /// PyTorch has no such end; Megatron-LM and DeepSpeed end here too.
    pub const FLOOR: f64 = 1.0;

    /// The scaler of a new run.
    pub fn new() -> Self {
        Self { scale: Self::INITIAL, good_steps: 0, skipped: 0 }
    }

    /// The factor of the next step's loss.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Steps that were skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether there is a run that has it after `step` steps.
    pub(crate) fn is_possible(&self, step: u64) -> bool {
        let counted = self.good_steps.checked_add(self.skipped).is_some_and(|counted| counted <= step);
        self.scale.is_finite() && self.scale > 0.0 && self.good_steps < Self::GROWTH_INTERVAL && counted
    }

    /// To be called after every step, with whether a gradient was not finite.
    pub fn update(&mut self, found_non_finite: bool) {
        if found_non_finite {
            self.scale *= Self::BACKOFF;
            self.good_steps = 0;
            self.skipped += 1;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == Self::GROWTH_INTERVAL {
            let grown = self.scale * Self::GROWTH;
            // PyTorch's scale is an f32.
            if grown <= f64::from(f32::MAX) {
                self.scale = grown;
            }
            self.good_steps = 0;
        }
    }
}

impl Default for GradScaler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` steps of which those in `bad` overflow; the scale after each.
    fn scales(steps: u64, bad: &[u64]) -> Vec<f64> {
        let mut scaler = GradScaler::new();
        let step = |step| {
            scaler.update(bad.contains(&step));
            scaler.scale()
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn the_scale_grows_after_2000_good_steps_and_falls_at_once() {
        let found = scales(6002, &[0, 1, 4000, 5999]);
        let wanted = |step: u64| match step {
            0 => 32768.0,
            // Counted from the second bad step: 2000 good ones end with step 2001.
            1..2001 => 16384.0,
            2001..4000 => 32768.0,
            4000..5999 => 16384.0,
            _ => 8192.0,
        };
        for (step, found) in (0u64..).zip(found) {
            assert_eq!(found, wanted(step), "step {step}");
        }
        assert_eq!(scales(2000, &[]).last(), Some(&131_072.0));
    }

    #[test]
    fn the_scale_stays_an_f32() {
        let mut scaler = GradScaler { scale: 2f64.powi(127), good_steps: 1999, skipped: 0 };
        scaler.update(false);
        assert_eq!((scaler.scale(), scaler.good_steps), (2f64.powi(127), 0));
    }

    #[test]
    fn it_comes_back_from_json_as_it_was() -> Result<(), serde_json::Error> {
        let mut scaler = GradScaler::new();
        [true, false, true, false, false].into_iter().for_each(|bad| scaler.update(bad));
        assert_eq!(serde_json::from_str::<GradScaler>(&serde_json::to_string(&scaler)?)?, scaler);
        Ok(())
    }
}
