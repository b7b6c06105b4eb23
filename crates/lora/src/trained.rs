//! Fine-tuning without an adapter: which of a model's own parameters are trained.

use crate::{Adaptable, LoraError, Site, matcher::layer_number, parameters::check_plain, visit_parameters};

/// Makes every parameter trainable: full fine-tuning.
///
/// # Errors
/// [`LoraError::Quantized`] naming every module whose weight is quantized: it cannot be trained.
/// [`LoraError::HasAdapter`] for a model with an adapter, which stands beside frozen weights.
pub fn train_all<M: Adaptable>(model: M) -> Result<M, LoraError> {
    train_modules(model, &|_| true)
}

/// Makes the parameters of the last `count` blocks trainable, and freezes all others: the embedding, the final norm and
/// the head too, as mlx-lm does it (`num_layers`).
///
/// # Errors
/// [`LoraError::Config`] if the model has not as many blocks, or none are asked for; [`LoraError::Quantized`] naming
/// every module of these blocks whose weight is quantized; [`LoraError::HasAdapter`] as [`train_all`].
pub fn train_last_layers<M: Adaptable>(mut model: M, count: usize) -> Result<M, LoraError> {
    let mut layers = 0;
    model.sites(&mut |path, _| layers = layers.max(layer_number(path).map_or(0, |number| number + 1)));
    if count == 0 || count > layers {
        return Err(LoraError::config("the number of last layers", count, &format!("1 to {layers}")));
    }
    train_modules(model, &|path| layer_number(path).is_some_and(|number| number >= layers - count))
}

/// Makes the biases of the projections trainable, and freezes all others: BitFit (Ben Zaken et al. 2022,
/// arXiv:2106.10199). The weights may be quantized.
///
/// # Errors
/// [`LoraError::NoBiases`] if no projection has one; [`LoraError::HasAdapter`] as [`train_all`].
pub fn train_biases<M: Adaptable>(mut model: M) -> Result<M, LoraError> {
    check_plain(&mut model)?;
    let mut found = false;
    visit_parameters(&mut model, &mut |name, mut parameter| {
        let is_bias = name.ends_with(".bias");
        parameter.set_trainable(is_bias);
        found |= is_bias;
    });
    if found { Ok(model) } else { Err(LoraError::NoBiases) }
}

/// Makes the parameters of the chosen modules trainable, and freezes all others.
fn train_modules<M: Adaptable>(mut model: M, is_chosen: &dyn Fn(&str) -> bool) -> Result<M, LoraError> {
    check_plain(&mut model)?;
    let mut modules = Vec::new();
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && projection.weight.is_quantized()
            && is_chosen(path)
        {
            modules.push(path.to_owned());
        }
    });
    if !modules.is_empty() {
        return Err(LoraError::Quantized { modules });
    }
    visit_parameters(&mut model, &mut |name, mut parameter| {
        let path = name.rsplit_once('.').map_or(name, |(path, _)| path);
        parameter.set_trainable(is_chosen(path));
    });
    Ok(model)
}
