//! Every adapter of every place of a model.

use super::{Other, places::on_place};
use crate::{Adaptable, Adapter, EmbeddingAdapter, ParameterMut};

/// An adapter of a place.
pub(super) enum AdapterMut<'a> {
    Projection(&'a mut Adapter),
    Embedding(&'a mut EmbeddingAdapter),
}

impl<'a> From<&'a mut Adapter> for AdapterMut<'a> {
    fn from(adapter: &'a mut Adapter) -> Self {
        Self::Projection(adapter)
    }
}

impl<'a> From<&'a mut EmbeddingAdapter> for AdapterMut<'a> {
    fn from(adapter: &'a mut EmbeddingAdapter) -> Self {
        Self::Embedding(adapter)
    }
}

impl AdapterMut<'_> {
    /// Calls `visit` with every parameter and PEFT's name of it.
    pub(super) fn parameters(&mut self, path: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Projection(adapter) => adapter.parameters(path, visit),
            Self::Embedding(adapter) => adapter.parameters(path, visit),
        }
    }

    /// Trains the parameters that `is_trained` chooses. One that is as it shall be stays the parameter it is.
    pub(super) fn set_trainable(&mut self, is_trained: &dyn Fn(&str) -> bool) {
        self.parameters("", &mut |name, mut parameter| {
            let wanted = is_trained(name);
            if parameter.is_trainable() != wanted {
                parameter.set_trainable(wanted);
            }
        });
    }

    /// The rank of LoRA's factors, if it has them.
    pub(super) fn rank(&self) -> Option<usize> {
        match self {
            Self::Projection(adapter) => adapter.lora().map(|lora| lora.rank()),
            Self::Embedding(EmbeddingAdapter::Lora(lora)) => Some(lora.rank()),
            Self::Embedding(EmbeddingAdapter::Tokens(_)) => None,
        }
    }

    /// Sets the scale and the dropout of LoRA's factors.
    pub(super) fn set_scaling(&mut self, scaling: f64, dropout: f64) {
        match self {
            Self::Projection(Adapter::Lora(lora)) => lora.set_scaling(scaling, dropout),
            Self::Projection(Adapter::Dora(dora)) => dora.lora.set_scaling(scaling, dropout),
            Self::Projection(Adapter::Ia3(_) | Adapter::Vera(_) | Adapter::AdaLora(_)) => {}
            Self::Embedding(EmbeddingAdapter::Lora(lora)) => lora.scaling = scaling,
            Self::Embedding(EmbeddingAdapter::Tokens(_)) => {}
        }
    }
}

/// Calls `visit` with the path, the name and the adapter, for every adapter of every place.
pub(super) fn each_adapter<M: Adaptable>(model: &mut M, visit: &mut dyn FnMut(&str, &str, AdapterMut<'_>)) {
    model.sites(&mut |path, site| {
        on_place!(site, place => {
            let first = place.named.roster.active.first().cloned();
            if let (Some(adapter), Some(name)) = (&mut place.adapter, first) {
                visit(path, &name, adapter.into());
            }
            for Other { adapter, name } in &mut place.others {
                visit(path, name, adapter.into());
            }
        });
    });
}
