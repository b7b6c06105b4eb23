use serde::{Deserialize, Serialize};

/// When to stop a run whose validation no longer gets better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStoppingConfig {
    /// Evaluations in a row without an improvement after which the run stops. Default 3.
    pub patience: u64,
    /// A validation counts as an improvement if it is better than the last improvement by more than this: in nats
    /// per token, or in the points of `metric_for_best_model`. Default 0.
    pub min_delta: f64,
}

impl Default for EarlyStoppingConfig {
    fn default() -> Self {
        Self { patience: 3, min_delta: 0.0 }
    }
}

/// What early stopping remembers, for the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingState {
    /// The last validation loss that counted as an improvement, in nats per token; minus the score where a metric of
    /// answers is watched.
    #[serde(with = "crate::exact_float::option")]
    pub best: Option<f64>,
    /// Evaluations since then.
    pub waited: u64,
}

/// Stops a run whose validation loss no longer falls.
///
/// A loss counts as an improvement if it is below the last improvement by more than `min_delta`; the
/// first finite loss always is one. After `patience` evaluations in a row without one the run stops.
/// A loss that is not a number is no improvement.
///
/// ```
/// use burnisher_train::{EarlyStopping, EarlyStoppingConfig, EarlyStoppingState};
///
/// let config = EarlyStoppingConfig { patience: 2, min_delta: 0.0 };
/// let mut early = EarlyStopping::resume(Some(config), EarlyStoppingState::default());
/// let stops: Vec<bool> = [3.0, 2.5, 2.6, 2.5].map(|loss| early.update(loss)).to_vec();
/// assert_eq!(stops, [false, false, false, true]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    config: Option<EarlyStoppingConfig>,
    state: EarlyStoppingState,
}

impl EarlyStopping {
    /// Goes on from `state`, the default one at the start of a run. Without a configuration it never
    /// stops.
    pub fn resume(config: Option<EarlyStoppingConfig>, state: EarlyStoppingState) -> Self {
        Self { config, state }
    }

    /// Takes note of a validation loss (nats per token), or of minus a score; true if the run shall stop.
    pub fn update(&mut self, loss: f64) -> bool {
        let Some(config) = self.config else {
            return false;
        };
        let improved = match self.state.best {
            Some(best) => loss < best - config.min_delta,
            None => loss.is_finite(),
        };
        if improved {
            self.state = EarlyStoppingState { best: Some(loss), waited: 0 };
            return false;
        }
        self.state.waited += 1;
        self.has_stopped()
    }

    /// Whether the run has waited as long as it may: a stopped run that is begun again does not go on.
    pub fn has_stopped(&self) -> bool {
        self.config.is_some_and(|config| self.state.waited >= config.patience)
    }

    /// What a checkpoint must hold for a resumed run to stop where an uninterrupted one would.
    pub fn state(&self) -> EarlyStoppingState {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(patience: u64, min_delta: f64) -> EarlyStopping {
        let config = EarlyStoppingConfig { patience, min_delta };
        EarlyStopping::resume(Some(config), EarlyStoppingState::default())
    }

    #[test]
    fn stops_by_table() {
        let nan = f64::NAN;
        // Patience, min_delta, losses, and the evaluation that stops, if one does.
        let cases: [(u64, f64, &[f64], Option<usize>); 6] = [
            (2, 0.0, &[3.0, 2.0, 2.0, 1.9, 2.5, 2.4], Some(5)),
            (1, 0.0, &[3.0, 3.0], Some(1)),
            (2, 0.5, &[3.0, 2.6, 2.4, 2.0], None),
            (2, 0.5, &[3.0, 2.9, 2.8], Some(2)),
            (2, 0.0, &[nan, 3.0, nan, nan], Some(3)),
            (1, 0.0, &[nan], Some(0)),
        ];
        for (patience, min_delta, losses, stop) in cases {
            let mut early = early(patience, min_delta);
            let found = losses.iter().position(|&loss| early.update(loss));
            assert_eq!(found, stop, "{losses:?}");
        }
    }

    #[test]
    fn never_stops_without_a_configuration() {
        let mut early = EarlyStopping::resume(None, EarlyStoppingState::default());
        assert!((0..100).all(|_| !early.update(1.0)));
    }

    #[test]
    fn goes_on_after_a_round_trip() -> Result<(), serde_json::Error> {
        let losses = [2.5, 2.0, 2.25, 2.125];
        for cut in 0..losses.len() {
            let (mut whole, mut part) = (early(2, 0.0), early(2, 0.0));
            for (i, &loss) in losses.iter().enumerate() {
                if i == cut {
                    let state = serde_json::from_str(&serde_json::to_string(&part.state())?)?;
                    part = EarlyStopping::resume(part.config, state);
                }
                assert_eq!(whole.update(loss), part.update(loss), "cut {cut}, loss {i}");
            }
            assert_eq!(whole, part);
        }
        Ok(())
    }
}
