//! A model's adaptable places and its parameters, by Hugging Face's names.

use burn::{
    module::Param,
    tensor::{DType, FloatDType, Gradients, Tensor, TensorData},
};
use burnisher_kernels::update_values;

use crate::{
    Embedding, LoraError, ModuleInfo, ModuleKind, Projection, VirtualTokens,
    peft::keys,
    projection::{Weight, frozen, trainable},
    several::Other,
};

/// A place of a model that a fine-tuning method can change.
#[derive(Debug)]
pub enum Site<'a> {
    /// A linear layer inside the model.
    Projection(&'a mut Projection),
    /// The output projection to the vocabulary, when it has a weight of its own.
    Head(&'a mut Projection),
    /// The token embedding.
    Embedding(&'a mut Embedding),
    /// A normalisation's weight.
    Norm(&'a mut Param<Tensor<1>>),
    /// Trained tokens before every text, if there are any. The path is their name in files, `prompt_embeddings`.
    VirtualTokens(&'a mut VirtualTokens),
}

impl Site<'_> {
    /// Whether adapters are attached, in use or at rest, merged or not.
    pub fn has_adapter(&self) -> bool {
        match self {
            Self::Projection(projection) | Self::Head(projection) => projection.has_adapters(),
            Self::Embedding(embedding) => embedding.has_adapters(),
            Self::VirtualTokens(tokens) => tokens.embeddings.is_some(),
            Self::Norm(_) => false,
        }
    }

    /// Whether its adapter is merged into its weight.
    pub fn is_merged(&self) -> bool {
        match self {
            Self::Projection(projection) | Self::Head(projection) => projection.is_merged(),
            Self::Embedding(embedding) => embedding.is_merged(),
            Self::Norm(_) | Self::VirtualTokens(_) => false,
        }
    }
}

/// A model whose places can be listed by module path, for example
/// `model.layers.0.self_attn.q_proj`.
pub trait Adaptable: Clone {
    /// Hugging Face's `model_type`, which chooses the default `target_modules`.
    fn model_type(&self) -> &str;

    /// Whether the output projection shares the embedding's weight.
    fn is_head_tied(&self) -> bool;

    /// Calls `visit` with every place and its module path, always in the same order.
    fn sites(&mut self, visit: &mut dyn FnMut(&str, Site<'_>));
}

/// A parameter of rank 1 or 2.
#[derive(Debug)]
pub enum ParameterMut<'a> {
    /// A bias or a normalisation's weight.
    Vector(&'a mut Param<Tensor<1>>),
    /// A weight or an adapter's factor.
    Matrix(&'a mut Param<Tensor<2>>),
}

/// Does the same to a parameter of either rank.
macro_rules! on_parameter {
    ($self:expr, $param:ident => $body:expr) => {
        match $self {
            ParameterMut::Vector($param) => $body,
            ParameterMut::Matrix($param) => $body,
        }
    };
}

impl ParameterMut<'_> {
    /// Whether the parameter receives gradients.
    pub fn is_trainable(&self) -> bool {
        on_parameter!(self, p => p.is_require_grad())
    }

    /// The parameter's shape.
    pub fn shape(&self) -> Vec<usize> {
        on_parameter!(self, p => p.lazy_shape().to_vec())
    }

    /// The number of values.
    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The values outside autodiff, flattened.
    pub fn flat(&self) -> Tensor<1> {
        let count = self.elements();
        on_parameter!(self, p => {
            let value = p.val().without_autodiff();
            // In Burn's reshape a 0 stands for the dimension as it is.
            match count {
                0 => Tensor::zeros([0], (&value.device(), value.dtype())),
                _ => value.reshape([count]),
            }
        })
    }

    /// Takes the parameter's gradient, flattened; `None` if the loss does not depend on it.
    pub fn take_gradient(&self, gradients: &mut Gradients) -> Option<Tensor<1>> {
        let count = Some(self.elements()).filter(|count| *count > 0)?;
        on_parameter!(self, p => p.val().grad_remove(gradients).map(|grad| grad.reshape([count])))
    }

    /// Replaces the values by flattened ones; the parameter stays trainable or frozen, and keeps its dtype.
    ///
    /// # Panics
    /// If the number of values differs.
    pub fn set_flat(&mut self, values: Tensor<1>) {
        if self.elements() == 0 && values.dims() == [0] {
            return;
        }
        on_parameter!(self, p => {
            let was_trainable = p.is_require_grad();
            let dtype = FloatDType::from(p.val().dtype());
            let value = values.reshape(p.lazy_shape()).cast(dtype);
            **p = if was_trainable { trainable(value) } else { frozen(value) };
        })
    }

    /// [`ParameterMut::set_flat`] that writes into the memory the parameter has, where nobody else holds it and the
    /// device is Flex. `values` are row-major.
    ///
    /// # Panics
    /// If the number of values differs.
    pub(crate) fn overwrite(&mut self, values: Vec<f32>) {
        on_parameter!(self, p => {
            let (shape, was_trainable) = (p.lazy_shape(), p.is_require_grad());
            let count = values.len();
            let device = p.lazy_device().without_autodiff();
            let empty = frozen(Tensor::empty(vec![1; shape.to_vec().len()], &device));
            let old = std::mem::replace(&mut **p, empty).into_value().without_autodiff();
            let values = Tensor::from_data(TensorData::new(values, [count]), (&device, DType::F32));
            let (new, ()) = update_values(old.reshape([count]), &values, |old, new| old.copy_from_slice(new));
            let new = new.reshape(shape);
            **p = if was_trainable { trainable(new) } else { frozen(new) };
        })
    }

    /// Makes the parameter trainable or frozen.
    pub fn set_trainable(&mut self, is_trainable: bool) {
        on_parameter!(self, p => {
            let value = p.val();
            **p = if is_trainable { trainable(value) } else { frozen(value) };
        })
    }
}

/// Calls `visit` with every dense parameter and its name: the checkpoint's name
/// (`model.norm.weight`), or PEFT's for adapters (`….q_proj.lora_A.weight`). Quantized weights are no
/// parameters.
///
/// Of several adapters, the first in use has PEFT's names in files, and all others those that PEFT has in memory, with the
/// adapter's name in them (`….q_proj.lora_A.NAME.weight`).
pub fn visit_parameters<M: Adaptable>(model: &mut M, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
    model.sites(&mut |path, site| match site {
        Site::Projection(projection) | Site::Head(projection) => {
            if let Weight::Dense(weight) = &mut projection.weight {
                visit(&format!("{path}.weight"), ParameterMut::Matrix(weight));
            }
            if let Some(bias) = &mut projection.bias {
                visit(&format!("{path}.bias"), ParameterMut::Vector(bias));
            }
            if let Some(adapter) = &mut projection.adapter {
                adapter.parameters(path, visit);
            }
            for Other { name, adapter } in &mut projection.others {
                adapter.parameters(path, &mut |own, parameter| visit(&keys::named(own, name), parameter));
            }
        }
        Site::Embedding(embedding) => {
            visit(&format!("{path}.weight"), ParameterMut::Matrix(&mut embedding.weight));
            if let Some(adapter) = &mut embedding.adapter {
                adapter.parameters(path, visit);
            }
            for Other { name, adapter } in &mut embedding.others {
                adapter.parameters(path, &mut |own, parameter| visit(&keys::named(own, name), parameter));
            }
        }
        Site::Norm(weight) => visit(&format!("{path}.weight"), ParameterMut::Vector(weight)),
        Site::VirtualTokens(tokens) => {
            if let Some(embeddings) = &mut tokens.embeddings {
                visit(path, ParameterMut::Matrix(embeddings));
            }
        }
    });
}

/// The model's modules, as targets are chosen from them.
pub fn modules<M: Adaptable>(model: &M) -> Vec<ModuleInfo> {
    let mut found = Vec::new();
    model.clone().sites(&mut |path, site| {
        let (kind, has_bias) = match &site {
            Site::Projection(projection) => (ModuleKind::Linear, projection.bias.is_some()),
            Site::Head(projection) => (ModuleKind::Head, projection.bias.is_some()),
            Site::Embedding(_) => (ModuleKind::Embedding, false),
            Site::Norm(_) => (ModuleKind::Norm, false),
            Site::VirtualTokens(_) => return,
        };
        found.push(ModuleInfo { path: path.to_owned(), kind, has_bias });
    });
    found
}

/// How many values are trained, and how many there are (a quantized weight counts its values).
pub fn count_parameters<M: Adaptable>(model: &M) -> (usize, usize) {
    let (mut trained, mut total) = (0, 0);
    let mut copy = model.clone();
    visit_parameters(&mut copy, &mut |_, parameter| {
        total += parameter.elements();
        trained += if parameter.is_trainable() { parameter.elements() } else { 0 };
    });
    copy.sites(&mut |_, site| {
        if let Site::Projection(projection) | Site::Head(projection) = site
            && projection.weight.is_quantized()
        {
            total += projection.dims().iter().product::<usize>();
        }
    });
    (trained, total)
}

/// # Errors
/// [`LoraError::HasAdapter`] naming every module that has an adapter, merged or not.
pub(crate) fn check_plain<M: Adaptable>(model: &mut M) -> Result<(), LoraError> {
    let mut modules = Vec::new();
    model.sites(&mut |path, site| {
        if site.has_adapter() {
            modules.push(path.to_owned());
        }
    });
    if modules.is_empty() { Ok(()) } else { Err(LoraError::HasAdapter { modules }) }
}

/// The dtype that a model computes in: that of its embedding, which no quantization touches.
pub(crate) fn compute_dtype<M: Adaptable>(model: &mut M) -> FloatDType {
    let mut dtype = FloatDType::F32;
    model.sites(&mut |_, site| {
        if let Site::Embedding(embedding) = site {
            dtype = FloatDType::from(embedding.weight.val().dtype());
        }
    });
    dtype
}
