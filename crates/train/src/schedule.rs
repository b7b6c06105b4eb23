use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate changes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleKind {
    /// Falls in a straight line to 0 at the last step.
    Linear,
    /// Follows a cosine.
    Cosine {
        /// Waves between warm-up and the last step; 0.5 falls from 1 to 0 once.
        num_cycles: f64,
    },
    /// Stays at the base rate.
    Constant,
}

impl ScheduleKind {
    /// The cosine that falls from 1 to 0 once (`num_cycles` = 0.5).
    pub const COSINE: Self = Self::Cosine { num_cycles: 0.5 };
}

/// How long the learning rate rises from 0 to the base rate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Warmup {
    /// A number of optimizer steps.
    Steps(u64),
    /// A part of all steps, from 0 to 1.
    Ratio(f64),
}

impl Warmup {
    /// The warm-up in optimizer steps: the given number, or ⌈total · ratio⌉.
    pub fn steps(self, total_steps: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Ratio(ratio) => (total_steps as f64 * ratio).ceil() as u64,
        }
    }
}

/// The learning rate of every optimizer step.
///
/// With s the step (from 0), w the warm-up and T all steps, the base rate is multiplied by
///
/// ```text
/// s < w      s / max(1, w)
/// Linear     max(0, (T − s) / max(1, T − w))
/// Cosine     max(0, ½ (1 + cos(2π · num_cycles · p))),   p = (s − w) / max(1, T − w)
/// Constant   1
/// ```
///
/// so that the first step of a warm-up runs at rate 0. This is `get_linear_schedule_with_warmup`,
/// `get_cosine_schedule_with_warmup` and `get_constant_schedule_with_warmup` of transformers 5.23
/// (`optimization.py`), in double precision and in the same order of operations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub kind: ScheduleKind,
    /// Warm-up in optimizer steps.
    pub warmup_steps: u64,
    /// All optimizer steps of the run, warm-up included.
    pub total_steps: u64,
}

impl Schedule {
    /// A schedule over `total_steps` optimizer steps.
    pub fn new(kind: ScheduleKind, warmup: Warmup, total_steps: u64) -> Self {
        Self { kind, warmup_steps: warmup.steps(total_steps), total_steps }
    }

    /// The factor of the base rate at optimizer step `step`, counted from 0.
    pub fn multiplier(&self, step: u64) -> f64 {
        let (s, w, t) = (step as f64, self.warmup_steps as f64, self.total_steps as f64);
        if step < self.warmup_steps {
            return s / w.max(1.0);
        }
        let after_warmup = (t - w).max(1.0);
        match self.kind {
            ScheduleKind::Linear => ((t - s) / after_warmup).max(0.0),
            ScheduleKind::Cosine { num_cycles } => {
                let progress = (s - w) / after_warmup;
                (0.5 * (1.0 + (PI * num_cycles * 2.0 * progress).cos())).max(0.0)
            }
            ScheduleKind::Constant => 1.0,
        }
    }

    /// The learning rate at optimizer step `step`, counted from 0: `base · multiplier(step)`.
    pub fn lr(&self, step: u64, base: f64) -> f64 {
        base * self.multiplier(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_as_a_ratio_rounds_up() {
        let cases = [
            (Warmup::Ratio(0.0), 100, 0),
            (Warmup::Ratio(0.1), 100, 10),
            (Warmup::Ratio(0.03), 101, 4),
            (Warmup::Ratio(0.001), 5, 1),
            (Warmup::Ratio(1.0), 7, 7),
            (Warmup::Steps(9), 3, 9),
        ];
        for (warmup, total, steps) in cases {
            assert_eq!(warmup.steps(total), steps, "{warmup:?} of {total}");
        }
    }

    #[test]
    fn the_ends_of_each_curve() {
        for kind in [ScheduleKind::Linear, ScheduleKind::COSINE] {
            let schedule = Schedule::new(kind, Warmup::Steps(2), 10);
            assert_eq!(schedule.multiplier(0), 0.0);
            assert_eq!(schedule.multiplier(1), 0.5);
            assert_eq!(schedule.multiplier(2), 1.0);
            assert_eq!(schedule.multiplier(10), 0.0);
        }
        let constant = Schedule::new(ScheduleKind::Constant, Warmup::Steps(0), 10);
        assert_eq!(constant.multiplier(0), 1.0);
        assert_eq!(constant.multiplier(99), 1.0);
    }

    #[test]
    fn no_steps_at_all_divides_by_nothing() {
        for kind in [ScheduleKind::Linear, ScheduleKind::COSINE, ScheduleKind::Constant] {
            assert!(Schedule::new(kind, Warmup::Steps(0), 0).multiplier(0).is_finite());
        }
    }
}
