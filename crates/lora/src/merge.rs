//! Merging adapters into the base weight, and back.

use burn::tensor::{FloatDType, Tensor};
use burnisher_kernels::all_finite;

use crate::{
    Adaptable, Embedding, LoraError, Projection, Site,
    adapter::Folded,
    parameters::compute_dtype,
    projection::{Unmerged, Weight, frozen},
};

/// Merges every adapter, computed in f32 and rounded once to the base's dtype: `W ← W + s·B·A` for LoRA. A
/// quantized base is dequantized to the dtype that the model computes in, as its projections do it, and stays
/// dense: merging into 4 or 8 bits would lose what was learned. The original weights and the adapters stay for
/// [`unmerge`].
///
/// # Errors
/// [`LoraError::NonFinite`] naming the first module whose merged weight is not finite,
/// [`LoraError::NoBias`] the first whose adapter has a bias and that has none itself; [`LoraError::VirtualTokens`]; the model is not returned
/// then.
pub fn merge<M: Adaptable>(mut model: M) -> Result<M, LoraError> {
    let mut failed = None;
    let compute = compute_dtype(&mut model);
    model.sites(&mut |path, site| {
        if failed.is_none()
            && let Err(error) = merge_one(path, site, compute)
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
    model.sites(&mut |_, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            projection.adapter = None;
            projection.unmerged = None;
        }
        Site::Embedding(embedding) => {
            embedding.adapter = None;
            embedding.unmerged = None;
        }
        Site::Norm(_) | Site::VirtualTokens(_) => {}
    });
    Ok(model)
}

/// Takes merged adapters out again: the original weights, bit for bit, with the adapters active.
pub fn unmerge<M: Adaptable>(mut model: M) -> M {
    model.sites(&mut |_, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            if let Some(original) = projection.unmerged.take() {
                projection.weight = original.weight;
                projection.bias = original.bias;
            }
        }
        Site::Embedding(embedding) => {
            if let Some(original) = embedding.unmerged.take() {
                embedding.weight = original;
            }
        }
        Site::Norm(_) | Site::VirtualTokens(_) => {}
    });
    model
}

fn merge_one(path: &str, site: Site<'_>, compute: FloatDType) -> Result<(), LoraError> {
    match site {
        Site::Projection(projection) | Site::Head(projection) => merge_projection(path, projection, compute),
        Site::Embedding(embedding) => merge_embedding(path, embedding),
        Site::Norm(_) => Ok(()),
        Site::VirtualTokens(tokens) if tokens.embeddings.is_some() => Err(LoraError::VirtualTokens),
        Site::VirtualTokens(_) => Ok(()),
    }
}

fn merge_embedding(path: &str, embedding: &mut Embedding) -> Result<(), LoraError> {
    let Some(adapter) = embedding.adapter.as_ref().filter(|_| embedding.unmerged.is_none()) else {
        return Ok(());
    };
    let table = embedding.weight.val().without_autodiff();
    let dtype = FloatDType::from(table.dtype());
    let merged = adapter.fold(table.cast(FloatDType::F32));
    if !all_finite(&merged) {
        return Err(LoraError::NonFinite { module: path.to_owned() });
    }
    embedding.unmerged = Some(std::mem::replace(&mut embedding.weight, frozen(merged.cast(dtype))));
    Ok(())
}

fn merge_projection(path: &str, projection: &mut Projection, compute: FloatDType) -> Result<(), LoraError> {
    let Some(adapter) = projection.adapter.as_ref().filter(|_| projection.unmerged.is_none()) else {
        return Ok(());
    };
    if adapter.needs_bias() && projection.bias.is_none() {
        return Err(LoraError::NoBias { module: path.to_owned() });
    }
    let (weight, dtype): (Tensor<2>, FloatDType) = match &projection.weight {
        Weight::Dense(weight) => {
            let weight = weight.val().without_autodiff();
            let dtype = FloatDType::from(weight.dtype());
            (weight.cast(FloatDType::F32), dtype)
        }
        quantized => (quantized.dense(compute).cast(FloatDType::F32), compute),
    };
    let own = projection.bias();
    let bias = own.clone().map(|bias| bias.without_autodiff().cast(FloatDType::F32));
    let Folded { weight, bias } = adapter.fold(Folded { weight, bias });
    if !all_finite(&weight) || !bias.as_ref().is_none_or(all_finite) {
        return Err(LoraError::NonFinite { module: path.to_owned() });
    }
    let bias = bias.zip(own).map(|(bias, own)| frozen(bias.cast(FloatDType::from(own.dtype()))));
    projection.unmerged = Some(Unmerged {
        weight: std::mem::replace(&mut projection.weight, Weight::frozen(weight.cast(dtype))),
        bias: std::mem::replace(&mut projection.bias, bias),
    });
    Ok(())
}
