//! The one projection type: any storage of the weight, with or without an adapter.

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, FloatDType, Tensor},
};
use burnisher_kernels::{
    DropoutKeys, EightBitWeight, FourBitWeight, FrozenWeight, SharedInput, linear, trained_linear,
};

use crate::{
    adapter::{Adapter, Base, with_bias},
    init::InitialFactors,
    several::{Named, Other},
};

/// How a projection's weight `[out, in]` is stored.
#[derive(Module, Debug)]
pub enum Weight {
    /// Every value; the only form that can be trained itself.
    Dense(Param<Tensor<2>>),
    /// NF4 or FP4, frozen.
    FourBit(FourBitWeight),
    /// LLM.int8, frozen.
    EightBit(EightBitWeight),
}

impl Weight {
    /// A frozen dense weight.
    pub fn frozen(weight: Tensor<2>) -> Self {
        Self::Dense(frozen(weight))
    }

    /// The shape `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(weight) => weight.lazy_shape().dims(),
            Self::FourBit(weight) => weight.dims(),
            Self::EightBit(weight) => weight.dims(),
        }
    }

    /// Whether the weight is held in fewer bits than it is computed in.
    pub fn is_quantized(&self) -> bool {
        !matches!(self, Self::Dense(_))
    }

    /// The weight `[out, in]` in `dtype`: on the tape if it is trained, a copy if it is quantized.
    pub fn dense(&self, dtype: FloatDType) -> Tensor<2> {
        match self {
            Self::Dense(weight) => weight.val().cast(dtype),
            Self::FourBit(weight) => weight.dequantize(dtype),
            Self::EightBit(weight) => weight.dequantize(dtype),
        }
    }

    pub(crate) fn as_frozen(&self) -> FrozenWeight {
        match self {
            Self::Dense(weight) => FrozenWeight::Dense(weight.val()),
            Self::FourBit(weight) => FrozenWeight::FourBit(weight.clone()),
            Self::EightBit(weight) => FrozenWeight::EightBit(weight.clone()),
        }
    }
}

/// A linear layer `y = x·Wᵀ + bias`, which an adapter can change.
#[derive(Module, Debug)]
pub struct Projection {
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    /// Of several adapters, the first in use.
    pub(crate) adapter: Option<Adapter>,
    /// Further adapters, in use or at rest.
    pub(crate) others: Vec<Other<Adapter>>,
    /// Weight and bias as they were, while the adapter is merged into them.
    pub(crate) unmerged: Option<Unmerged>,
    /// The adapter as it started, if that took something out of the weight.
    #[module(skip)]
    pub(crate) initial: Option<InitialFactors>,
    #[module(skip)]
    pub(crate) named: Named,
}

/// The parts of a projection that a merge replaces.
#[derive(Module, Debug)]
pub(crate) struct Unmerged {
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    /// A projection with a frozen bias, if it has one.
    pub fn new(weight: Weight, bias: Option<Tensor<1>>) -> Self {
        let bias = bias.map(frozen);
        Self {
            weight,
            bias,
            adapter: None,
            others: Vec::new(),
            unmerged: None,
            initial: None,
            named: Named::default(),
        }
    }

    /// `[.., in] -> [.., out]`; `keys` switches the adapter's dropout on. `x` is a tensor, or an input that several
    /// projections share.
    ///
    /// # Panics
    /// If the last dimension of `x` is not the weight's `in`, or `x` has another number of rows than
    /// [`with_row_adapters`](crate::with_row_adapters) chose adapters for.
    pub fn forward<const D: usize>(
        &self,
        x: impl Into<SharedInput<D>>,
        keys: Option<&DropoutKeys>,
    ) -> Tensor<D> {
        if self.unmerged.is_some() {
            return self.plain(x);
        }
        if let Some(routes) = &self.named.routes {
            return self.routed(routes, x.into(), keys);
        }
        match &self.adapter {
            _ if self.others_in_use().next().is_some() => self.stacked(x.into(), keys),
            Some(adapter) => adapter.forward(x.into(), self.base(), keys),
            None => self.plain(x),
        }
    }

    /// Weight and bias, for an adapter.
    pub(crate) fn base(&self) -> Base {
        Base { weight: self.weight.as_frozen(), bias: self.bias() }
    }

    /// [`Projection::forward`] without any adapter.
    pub(crate) fn plain<const D: usize>(&self, x: impl Into<SharedInput<D>>) -> Tensor<D> {
        let y = match &self.weight {
            Weight::Dense(weight) if weight.is_require_grad() => trained_linear(x, weight.val()),
            weight => linear(x, &weight.as_frozen()),
        };
        with_bias(y, self.bias())
    }

    /// The same projection over another weight, with the same adapter.
    ///
    /// # Panics
    /// If the shape differs.
    #[must_use]
    pub fn with_weight(self, weight: Weight) -> Self {
        assert_eq!(weight.dims(), self.dims(), "with_weight: the shape must stay");
        Self { weight, ..self }
    }

    /// The shape of the weight, `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        self.weight.dims()
    }

    /// How the weight is stored.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The bias `[out]`, if there is one.
    pub fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }

    /// The attached adapter; of several, the first in use.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// Whether there are adapters, in use or at rest, merged or not.
    pub fn has_adapters(&self) -> bool {
        self.adapter.is_some() || !self.others.is_empty()
    }

    /// Whether the adapter is merged into the weight.
    pub fn is_merged(&self) -> bool {
        self.unmerged.is_some()
    }

    /// The weight `[out, in]` in `dtype`, without the adapter (unless merged); on the tape if it is trained.
    pub fn dense_weight(&self, dtype: FloatDType) -> Tensor<2> {
        self.weight.dense(dtype)
    }

    /// The device that holds the weight.
    pub fn device(&self) -> Device {
        match &self.weight {
            Weight::Dense(weight) => weight.lazy_device(),
            Weight::FourBit(weight) => weight.device(),
            Weight::EightBit(weight) => weight.device(),
        }
        .without_autodiff()
    }
}

/// A parameter that is not trained, outside autodiff.
pub(crate) fn frozen<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), tensor.without_autodiff())
}

/// A trained parameter: an autodiff leaf.
pub(crate) fn trainable<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::from_tensor(tensor.without_autodiff().autodiff())
}
