//! The adapters of one place of a model.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{FloatDType, Tensor},
};
use burnisher_kernels::{DropoutKeys, SharedInput};

use super::{Roster, route::Routes};
use crate::{Adapter, Embedding, EmbeddingAdapter, Projection, adapter::dropped};

/// An adapter that is not the first in use.
#[derive(Module, Debug)]
pub(crate) struct Other<A> {
    pub(crate) adapter: A,
    #[module(skip)]
    pub(crate) name: String,
}

/// What a place knows of the model's adapters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) roster: Arc<Roster>,
    /// The choice for each row of a batch, if there is one: it goes before what is in use.
    pub(crate) routes: Option<Arc<Routes>>,
}

/// Does the same to a projection or an embedding, with all their adapters.
macro_rules! on_place {
    ($site:expr, $place:ident => $body:expr) => {
        match $site {
            crate::Site::Projection($place) | crate::Site::Head($place) => $body,
            crate::Site::Embedding($place) => $body,
            crate::Site::Norm(_) | crate::Site::VirtualTokens(_) => {}
        }
    };
}
pub(crate) use on_place;

/// Puts the first adapter of `active` in its place, and all others beside it in the order of `roster`.
pub(super) fn arrange<A>(
    first: &mut Option<A>,
    others: &mut Vec<Other<A>>,
    was_first: Option<&String>,
    roster: &Roster,
) {
    if let (Some(adapter), Some(name)) = (first.take(), was_first) {
        others.push(Other { adapter, name: name.clone() });
    }
    others.sort_by_key(|other| roster.position(&other.name));
    if let Some(at) = others.iter().position(|other| roster.active.first() == Some(&other.name)) {
        *first = Some(others.remove(at).adapter);
    }
}

/// The adapter of that name.
fn find<'a, A>(first: &'a Option<A>, others: &'a [Other<A>], named: &Named, name: &str) -> Option<&'a A> {
    match named.roster.active.first().is_some_and(|first| first == name) {
        true => first.as_ref(),
        false => others.iter().find(|other| other.name == name).map(|other| &other.adapter),
    }
}

/// The adapters in use beside the first.
fn in_use<'a, A>(others: &'a [Other<A>], named: &'a Named) -> impl Iterator<Item = &'a A> {
    let names: &[String] =
        if others.is_empty() { &[] } else { named.roster.active.get(1..).unwrap_or_default() };
    let find = move |name: &String| others.iter().find(|other| other.name == *name);
    names.iter().filter_map(find).map(|other| &other.adapter)
}

impl Projection {
    pub(crate) fn adapter_named(&self, name: &str) -> Option<&Adapter> {
        find(&self.adapter, &self.others, &self.named, name)
    }

    pub(crate) fn others_in_use(&self) -> impl Iterator<Item = &Adapter> {
        in_use(&self.others, &self.named)
    }

    /// The first adapter in use, and what the others add.
    pub(crate) fn stacked<const D: usize>(&self, x: SharedInput<D>, keys: Option<&DropoutKeys>) -> Tensor<D> {
        let added = self.others_in_use().filter_map(Adapter::lora).map(|lora| {
            let input = x.tensor().clone();
            lora.added(match lora.dropout(keys) {
                Some(dropout) => dropped(input, &dropout),
                None => input,
            })
        });
        let added = added.reduce(|sum, added| sum + added);
        let y = match &self.adapter {
            Some(adapter) => adapter.forward(x, self.base(), keys),
            None => self.plain(x),
        };
        match added {
            Some(added) => {
                let dtype = FloatDType::from(y.dtype());
                y + added.cast(dtype)
            }
            None => y,
        }
    }

    /// One product with the base weight for all rows, and to each what its own adapter adds.
    pub(crate) fn routed<const D: usize>(
        &self,
        routes: &Routes,
        x: SharedInput<D>,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        let dims = x.tensor().dims();
        let length = routes.length(&dims[..D - 1]);
        if let Some(name) = routes.only() {
            return match self.adapter_named(name) {
                Some(adapter) => adapter.forward(x, self.base(), keys),
                None => self.plain(x),
            };
        }
        let [out, inn] = self.dims();
        let y: Tensor<D> = self.plain(&x);
        let y_dims = y.dims();
        let dtype = FloatDType::from(y.dtype());
        // [rows, length·width]
        let by_row = |x: Tensor<D>, width: usize| x.reshape([routes.rows, length * width]);
        let mut y = by_row(y, out);
        for group in &routes.groups {
            let Some(lora) = self.adapter_named(&group.name).and_then(Adapter::lora) else { continue };
            let input = x.tensor().clone();
            let input = match lora.dropout(keys) {
                Some(dropout) => dropped(input, &dropout),
                None => input,
            };
            let count = group.rows.len();
            let own = group.of(by_row(input, inn)).reshape([count * length, inn]);
            let added = lora.added(own).cast(dtype).reshape([count, length * out]);
            y = group.add_to(y, added);
        }
        y.reshape(y_dims)
    }
}

impl Embedding {
    pub(crate) fn adapter_named(&self, name: &str) -> Option<&EmbeddingAdapter> {
        find(&self.adapter, &self.others, &self.named, name)
    }

    pub(crate) fn others_in_use(&self) -> impl Iterator<Item = &EmbeddingAdapter> {
        in_use(&self.others, &self.named)
    }

    /// `base [batch, t, hidden]` of `ids`, and to each row what its own adapter adds.
    pub(crate) fn routed(&self, routes: &Routes, base: Tensor<3>, ids: &[u32]) -> Tensor<3> {
        let [batch, length, hidden] = base.dims();
        routes.length(&[batch, length]);
        let dtype = FloatDType::from(base.dtype());
        let mut y = base.reshape([batch, length * hidden]);
        for group in &routes.groups {
            let Some(EmbeddingAdapter::Lora(lora)) = self.adapter_named(&group.name) else { continue };
            let own: Vec<u32> =
                group.rows.iter().flat_map(|&row| &ids[row * length..][..length]).copied().collect();
            let added = lora.forward(&own, group.rows.len(), self.scale).cast(dtype);
            y = group.add_to(y, added.reshape([group.rows.len(), length * hidden]));
        }
        y.reshape([batch, length, hidden])
    }
}
