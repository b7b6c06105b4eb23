//! Merging adapters into the base weight, and back.

use burn::tensor::{FloatDType, Tensor};
use burnisher_kernels::all_finite;

use crate::{
    Adaptable, Adapter, Embedding, LoraError, Projection, Site,
    adapter::Folded,
    parameters::compute_dtype,
    projection::{Unmerged, Weight, frozen},
    several::{Named, check_no_routes},
};

/// Merges the adapter, or all that are in use of several, computed in f32 and rounded once to the base's dtype: `W ← W + s·B·A` for LoRA. A
/// quantized base is dequantized to the dtype that the model computes in, as its projections do it, and stays
/// dense: merging into 4 or 8 bits would lose what was learned. The original weights and the adapters stay for
/// [`unmerge`].
///
/// # Errors
/// [`LoraError::NonFinite`] naming the first module whose merged weight is not finite,
/// [`LoraError::NoBias`] the first whose adapter has a bias and that has none itself; the model is not returned
/// then. [`LoraError::VirtualTokens`], [`LoraError::Several`] while rows of a batch have adapters of their own.
pub fn merge<M: Adaptable>(mut model: M) -> Result<M, LoraError> {
    check_no_routes(&mut model, "merge")?;
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

/// Merges as [`merge`] and drops all adapters, also those at rest, and original weights: a plain model.
///
/// # Errors
/// As [`merge`].
pub fn merge_and_unload<M: Adaptable>(model: M) -> Result<M, LoraError> {
    let mut model = merge(model)?;
    model.sites(&mut |_, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            projection.adapter = None;
            projection.others.clear();
            projection.unmerged = None;
            projection.named = Named::default();
        }
        Site::Embedding(embedding) => {
            embedding.adapter = None;
            embedding.others.clear();
            embedding.unmerged = None;
            embedding.named = Named::default();
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
    if !embedding.has_adapters() || embedding.is_merged() {
        return Ok(());
    }
    let table = embedding.weight.val().without_autodiff();
    let dtype = FloatDType::from(table.dtype());
    let adapters = embedding.adapter.iter().chain(embedding.others_in_use());
    let merged = adapters.fold(table.cast(FloatDType::F32), |table, adapter| adapter.fold(table));
    if !all_finite(&merged) {
        return Err(LoraError::NonFinite { module: path.to_owned() });
    }
    embedding.unmerged = Some(std::mem::replace(&mut embedding.weight, frozen(merged.cast(dtype))));
    Ok(())
}

fn merge_projection(path: &str, projection: &mut Projection, compute: FloatDType) -> Result<(), LoraError> {
    if !projection.has_adapters() || projection.is_merged() {
        return Ok(());
    }
    let in_use: Vec<&Adapter> = projection.adapter.iter().chain(projection.others_in_use()).collect();
    if in_use.is_empty() {
        // Nothing changes, and unmerging finds what it looks for.
        let (weight, bias) = (projection.weight.clone(), projection.bias.clone());
        projection.unmerged = Some(Unmerged { weight, bias });
        return Ok(());
    }
    if in_use.iter().any(|adapter| adapter.needs_bias()) && projection.bias.is_none() {
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
    let folded = Folded { weight, bias };
    let Folded { weight, bias } = in_use.into_iter().fold(folded, |base, adapter| adapter.fold(base));
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
