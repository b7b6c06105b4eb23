//! Validation loss.

use burnisher_data::Batches;

use crate::{LossModel, TrainError};

/// A loss over a whole set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetLoss {
    /// Mean loss per label in nats, over the whole set.
    pub mean: f64,
    /// Labels in the set.
    pub tokens: usize,
}

/// The mean loss per label over a set, without dropout and without gradients.
///
/// # Errors
/// [`TrainError::NoTargets`] if the set has no label, [`TrainError::NonFinite`] if the loss is not finite; errors
/// of [`LossModel::check_batch`].
pub fn evaluate<M: LossModel>(model: &M, set: &Batches, batch_size: usize) -> Result<SetLoss, TrainError> {
    let model = model.valid();
    let (mut sum, mut tokens) = (0.0, 0);
    let rows: Vec<usize> = (0..set.len()).collect();
    for rows in rows.chunks(batch_size.max(1)) {
        let batch = set.batch(rows);
        if batch.target_tokens() == 0 {
            continue;
        }
        model.check_batch(&batch)?;
        let loss = model.summed_loss(&batch, None);
        let value: f32 = loss.sum.into_scalar();
        if !value.is_finite() {
            return Err(TrainError::non_finite_loss(value, model.first_non_finite(&batch)));
        }
        sum += f64::from(value);
        tokens += loss.tokens;
    }
    if tokens == 0 {
        return Err(TrainError::NoTargets);
    }
    Ok(SetLoss { mean: sum / tokens as f64, tokens })
}
