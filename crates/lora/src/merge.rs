//! Merging adapters into the base weight, and back.

use burn::tensor::{FloatDType, Tensor};
use burnisher_kernels::all_finite;

use crate::{Adaptable, LoraError, Projection, Site, parameters::compute_dtype, projection::Weight};

/// Merges every adapter: `W ← W + s·B·A`, computed in f32 and rounded once to the base's dtype. A
/// quantized base is dequantized to the dtype that the model computes in, as its projections do it, and stays
/// dense: merging into 4 or 8 bits would lose what was learned. The original weights and the adapters stay for
/// [`unmerge`].
///
/// # Errors
/// [`LoraError::NonFinite`] naming the first module whose merged weight is not finite; the model is
/// not returned then.
pub fn merge<M: Adaptable>(mut model: M) -> Result<M, LoraError> {
    let mut failed = None;
    let compute = compute_dtype(&mut model);
    for_each_projection(&mut model, &mut |path, projection| {
        if failed.is_none()
            && let Err(error) = merge_one(path, projection, compute)
        {
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(model),
    }
}

/// Merges every adapter and drops adapters and original weights: a plain model.
///
/// # Errors
/// As [`merge`].
pub fn merge_and_unload<M: Adaptable>(model: M) -> Result<M, LoraError> {
    let mut model = merge(model)?;
    for_each_projection(&mut model, &mut |_, projection| {
        projection.adapter = None;
        projection.unmerged = None;
    });
    Ok(model)
}

/// Takes merged adapters out again: the original weights, bit for bit, with the adapters active.
pub fn unmerge<M: Adaptable>(mut model: M) -> M {
    for_each_projection(&mut model, &mut |_, projection| {
        if let Some(original) = projection.unmerged.take() {
            projection.weight = original;
        }
    });
    model
}

fn for_each_projection<M: Adaptable>(model: &mut M, visit: &mut dyn FnMut(&str, &mut Projection)) {
    model.sites(&mut |path, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site {
            visit(path, projection);
        }
    });
}

fn merge_one(path: &str, projection: &mut Projection, compute: FloatDType) -> Result<(), LoraError> {
    let Some(adapter) = projection.adapter.as_ref().filter(|_| projection.unmerged.is_none()) else {
        return Ok(());
    };
    let (base, dtype): (Tensor<2>, FloatDType) = match &projection.weight {
        Weight::Dense(weight) => {
            let weight = weight.val().without_autodiff();
            let dtype = FloatDType::from(weight.dtype());
            (weight.cast(FloatDType::F32), dtype)
        }
        quantized => (quantized.dense(compute).cast(FloatDType::F32), compute),
    };
    let merged = base + adapter.delta().cast(FloatDType::F32);
    if !all_finite(&merged) {
        return Err(LoraError::NonFinite { module: path.to_owned() });
    }
    let original = std::mem::replace(&mut projection.weight, Weight::frozen(merged.cast(dtype)));
    projection.unmerged = Some(original);
    Ok(())
}
