//! One Adafactor step.

use burn::tensor::Tensor;

/// Adafactor's options, with the defaults of transformers' `Trainer` (5.23), which sets a rate from outside; the class
/// `Adafactor` by itself has `scale_parameter` and `relative_step` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    /// Added to the squared gradient, 1e-30.
    pub epsilon_gradient: f64,
    /// The least scale of a parameter, 1e-3.
    pub epsilon_parameter: f64,
    /// The largest root mean square of an update, 1.
    pub clip_threshold: f64,
    /// The second moment's decay in step t is `1 − t^decay_rate`; −0.8.
    pub decay_rate: f64,
    /// Decoupled weight decay, 0.
    pub weight_decay: f64,
    /// Whether the rate is multiplied by the root mean square of the parameter; no.
    pub scale_parameter: bool,
    /// Whether the rate is `min(1e-2, 1/√t)` and not the one given; no.
    pub relative_step: bool,
    /// With `relative_step`: whether it is `min(1e-6·t, 1/√t)`; no.
    pub warmup_init: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            epsilon_gradient: 1e-30,
            epsilon_parameter: 1e-3,
            clip_threshold: 1.0,
            decay_rate: -0.8,
            weight_decay: 0.0,
            scale_parameter: false,
            relative_step: false,
            warmup_init: false,
        }
    }
}

impl Adafactor {
    /// The rate of a step, counted from 1, before it is scaled by the parameter.
    pub fn rate(&self, learning_rate: f64, step: u64) -> f64 {
        let step = step as f64;
        match (self.relative_step, self.warmup_init) {
            (false, _) => learning_rate,
            (true, false) => step.sqrt().recip().min(1e-2),
            (true, true) => step.sqrt().recip().min(1e-6 * step),
        }
    }
}

/// The second moment of one parameter.
#[derive(Clone, Debug)]
pub enum AdafactorState {
    /// Of a matrix `[rows, columns]`: the means over its rows and columns.
    Factored {
        /// Mean over the columns, `[rows]`.
        row: Tensor<1>,
        /// Mean over the rows, `[columns]`.
        column: Tensor<1>,
    },
    /// Of a vector: every value.
    Full(Tensor<1>),
}

/// One step of Adafactor (arXiv:1804.04235) as in transformers 5.23, without a first moment; composed of Burn's
/// operations.
///
/// With `β = 1 − t^decay_rate` and `s = g² + ε₁`, a matrix keeps `r ← β·r + (1 − β)·mean over columns of s` and `c` over
/// rows alike; `u = g / √(r/mean(r) · c)`, for a vector `u = g / √v`. Then `u ← u / max(1, RMS(u)/d)`, `α = rate ·
/// max(ε₂, RMS(p))` (or the rate alone), and `p ← p − λ·α·p − α·u`. Plain flattened tensors in f32; `matrix` is the
/// parameter's shape if it has two dimensions; `step` counts from 1.
///
/// # Panics
/// If the state is not that of the shape.
pub fn adafactor_step(
    options: &Adafactor,
    learning_rate: f64,
    step: u64,
    parameter: Tensor<1>,
    matrix: Option<[usize; 2]>,
    gradient: Tensor<1>,
    state: Option<AdafactorState>,
) -> (Tensor<1>, AdafactorState) {
    let mut rate = options.rate(learning_rate, step);
    if options.scale_parameter {
        rate *= rms(&parameter).max(options.epsilon_parameter);
    }
    let decay = 1.0 - (step as f64).powf(options.decay_rate);
    let squares = gradient.clone().square().add_scalar(options.epsilon_gradient);
    let mean = |old: Option<Tensor<1>>, new: Tensor<1>| {
        let new = new.mul_scalar(1.0 - decay);
        match old {
            Some(old) => old.mul_scalar(decay) + new,
            None => new,
        }
    };
    let (update, state) = match matrix {
        Some([rows, columns]) => {
            let (row, column) = match state {
                Some(AdafactorState::Factored { row, column }) => (Some(row), Some(column)),
                Some(AdafactorState::Full(_)) => panic!("adafactor_step: the state of a vector for a matrix"),
                None => (None, None),
            };
            let squares = squares.reshape([rows, columns]);
            let row = mean(row, squares.clone().mean_dim(1).reshape([rows]));
            let column = mean(column, squares.mean_dim(0).reshape([columns]));
            let of_rows = (row.clone() / row.clone().mean()).sqrt().recip().reshape([rows, 1]);
            let of_columns = column.clone().sqrt().recip().reshape([1, columns]);
            let update = gradient.reshape([rows, columns]) * of_rows * of_columns;
            (update.reshape([rows * columns]), AdafactorState::Factored { row, column })
        }
        None => {
            let full = match state {
                Some(AdafactorState::Full(full)) => Some(full),
                Some(AdafactorState::Factored { .. }) => {
                    panic!("adafactor_step: the state of a matrix for a vector")
                }
                None => None,
            };
            let full = mean(full, squares);
            (gradient / full.clone().sqrt(), AdafactorState::Full(full))
        }
    };
    let clip = (rms(&update) / options.clip_threshold).max(1.0);
    let decayed = parameter.mul_scalar(1.0 - options.weight_decay * rate);
    (decayed - update.mul_scalar(rate / clip), state)
}

/// Root mean square; 0 of nothing.
fn rms(x: &Tensor<1>) -> f64 {
    let count = x.dims()[0];
    let sum: f32 = x.clone().square().sum().into_scalar();
    if count == 0 { 0.0 } else { (f64::from(sum) / count as f64).sqrt() }
}
