//! The layers of a foreign module, found by walking it.

use std::collections::{BTreeMap, btree_map::Entry};

use burn::{
    module::{Module, ModuleVisitor, Param, Reparameterization},
    tensor::{Bool, Int, Tensor},
};

use super::{
    lora::ModuleLora,
    whole::{TrainedCopy, Whole, of_rank},
};
use crate::{AdapterPlan, Bias, LoraConfig, LoraError, ModuleInfo, ModuleKind, peft::keys, plan};

/// How Burn's traversal calls the state attached to a parameter.
const REPARAMETERIZATION: &str = "Reparameterization";

/// A layer that can carry an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerKind {
    Linear,
    Embedding,
}

impl LayerKind {
    /// The names of `A` and `B` in an adapter file.
    pub(super) fn keys(self, path: &str) -> [String; 2] {
        let names = match self {
            Self::Linear => ["lora_A.weight", "lora_B.weight"],
            Self::Embedding => ["lora_embedding_A", "lora_embedding_B"],
        };
        names.map(|name| keys::parameter(&format!("{path}.{name}")))
    }
}

/// A parameter's name, whether it holds floats, and its shape.
type ParamInfo = (String, bool, Vec<usize>);

/// A struct that holds parameters of its own.
#[derive(Debug)]
struct Owner {
    path: String,
    /// Burn's container type, such as `Struct:Linear`.
    container: String,
    params: Vec<ParamInfo>,
    /// The parameter `weight`, of a layer that may be adapted.
    weight: Option<Tensor<2>>,
}

impl Owner {
    fn type_name(&self) -> &str {
        self.container.split_once(':').map_or(&self.container, |(_, name)| name)
    }

    fn is_norm(&self) -> bool {
        let known = |(name, float, shape): &ParamInfo| {
            *float && shape.len() == 1 && NORM_NAMES.iter().any(|(burn, _)| burn == name)
        };
        !self.path.is_empty() && NORMS.contains(&self.container.as_str()) && self.params.iter().all(known)
    }

    /// The name that PyTorch has for a parameter.
    fn torch_name<'a>(&self, name: &'a str) -> &'a str {
        let known = NORM_NAMES.iter().find(|(burn, _)| self.is_norm() && *burn == name);
        known.map_or(name, |(_, torch)| torch)
    }

    /// Is it what PEFT calls a bias?
    fn is_bias(&self, (name, float, shape): &ParamInfo) -> bool {
        *float && shape.len() == 1 && self.torch_name(name) == "bias"
    }

    /// Burn's names of its layers, checked against their fields: a type of the user's that is also called `Linear` but
    /// holds anything else is no layer to adapt.
    fn kind(&self) -> Option<LayerKind> {
        // A module that is itself a layer has no path to name it by.
        if self.path.is_empty() {
            return None;
        }
        let [inner, outer] = self.weight.as_ref()?.dims();
        let is_bias = |(name, float, shape): &ParamInfo| name == "bias" && *float && *shape == [outer];
        let is_weight =
            |(name, float, shape): &ParamInfo| name == "weight" && *float && *shape == [inner, outer];
        match self.container.as_str() {
            LINEAR if self.params.iter().all(|param| is_weight(param) || is_bias(param)) => {
                Some(LayerKind::Linear)
            }
            EMBEDDING if self.params.iter().all(is_weight) => Some(LayerKind::Embedding),
            _ => None,
        }
    }
}

const LINEAR: &str = "Struct:Linear";
const EMBEDDING: &str = "Struct:Embedding";
/// Burn's normalisations without running statistics.
const NORMS: [&str; 2] = ["Struct:LayerNorm", "Struct:RmsNorm"];
/// PyTorch's names of their parameters.
const NORM_NAMES: [(&str, &str); 2] = [("gamma", "weight"), ("beta", "bias")];

/// What there is in a module: layers, other parameters, adapters.
#[derive(Debug, Default)]
pub(super) struct Survey {
    owners: Vec<Owner>,
    /// Index into `owners` by path.
    index: BTreeMap<String, usize>,
    /// The factors `[A, B]` by the layer's path.
    pub(super) factors: BTreeMap<String, [Option<Tensor<2>>; 2]>,
    /// The copies of parameters that are trained whole, by the parameter's path: their values.
    pub(super) copies: BTreeMap<String, Tensor<1>>,
    /// Parameters with somebody else's reparameterization, and its name.
    foreign: Vec<String>,
    /// Names and container types from the root down to where the walk is.
    stack: Vec<(String, String)>,
}

impl Survey {
    pub(super) fn of<M: Module>(module: &M) -> Self {
        let mut survey = Self::default();
        module.visit(&mut survey);
        survey
    }

    /// A layer's kind and its weight `[in, out]`.
    pub(super) fn layer(&self, path: &str) -> Option<(LayerKind, &Tensor<2>)> {
        let owner = &self.owners[*self.index.get(path)?];
        Some((owner.kind()?, owner.weight.as_ref()?))
    }

    /// Chooses targets as for this crate's own models. Embeddings are adapted when named, not by all-linear.
    ///
    /// # Errors
    /// What [`plan`] reports; [`LoraError::NotALayer`] for targets that are neither `nn::Linear` nor `nn::Embedding`.
    pub(super) fn plan(&self, config: &LoraConfig) -> Result<AdapterPlan, LoraError> {
        let mut infos = Vec::new();
        for owner in &self.owners {
            let kind = match owner.kind() {
                Some(LayerKind::Linear) => ModuleKind::Linear,
                // Adaptable, but not among "all linear": the matching rules know that as a head.
                Some(LayerKind::Embedding) => ModuleKind::Head,
                None => ModuleKind::Norm,
            };
            let has_bias = owner.params.iter().any(|param| owner.is_bias(param));
            if !owner.path.is_empty() {
                infos.push(ModuleInfo { path: owner.path.clone(), kind, has_bias });
            }
            if kind == ModuleKind::Norm {
                let paths = owner.params.iter().map(|(param, ..)| joined(&owner.path, param));
                infos.extend(paths.map(|path| ModuleInfo { path, kind, has_bias: false }));
            }
        }
        let mut plan = plan(config, &infos, "").map_err(|error| match error {
            LoraError::NotAdaptable { modules } => {
                self.not_a_layer("target_modules", &modules, "nn::Linear and nn::Embedding")
            }
            other => other,
        })?;
        // `all` is all: also a bias that is the module's own, at no path.
        if config.bias() == Bias::All
            && let Some(root) = self.index.get("").map(|&index| &self.owners[index])
            && root.params.iter().any(|param| root.is_bias(param))
        {
            plan.biases.push(String::new());
        }
        let not_savable: Vec<String> =
            plan.saved.iter().filter(|path| !self.is_savable(path)).cloned().collect();
        if not_savable.is_empty() {
            return Ok(plan);
        }
        let wanted = "nn::Linear, nn::Embedding, nn::LayerNorm and nn::RmsNorm";
        Err(self.not_a_layer("modules_to_save", &not_savable, wanted))
    }

    /// The parameters that a plan trains whole, in the model's order.
    pub(super) fn whole(&self, plan: &AdapterPlan) -> Vec<Whole> {
        let mut whole = Vec::new();
        for owner in &self.owners {
            let is_saved = plan.saved.contains(&owner.path);
            let is_biased = plan.biases.contains(&owner.path);
            let is_adapted = plan.adapted.iter().any(|module| module.path == owner.path);
            for param in &owner.params {
                if !(is_saved || is_biased && owner.is_bias(param)) {
                    continue;
                }
                let (name, _, shape) = param;
                let key = match owner.torch_name(name) {
                    "bias" if is_adapted => keys::base_layer_bias(&owner.path),
                    name => keys::parameter(&joined(&owner.path, name)),
                };
                whole.push(Whole {
                    owner: owner.path.clone(),
                    path: joined(&owner.path, name),
                    key,
                    shape: shape.clone(),
                    is_transposed: owner.kind() == Some(LayerKind::Linear) && name == "weight",
                });
            }
        }
        whole
    }

    fn is_savable(&self, path: &str) -> bool {
        let owner = self.index.get(path).map(|&index| &self.owners[index]);
        owner.is_some_and(|owner| owner.kind().is_some() || owner.is_norm())
    }

    fn not_a_layer(&self, field: &str, paths: &[String], wanted: &str) -> LoraError {
        let found = paths.iter().map(|path| format!("{path} ({})", self.describe(path))).collect();
        LoraError::NotALayer { field: field.to_owned(), found, wanted: wanted.to_owned() }
    }

    /// What is at a path, for a message.
    fn describe(&self, path: &str) -> String {
        if let Some(&index) = self.index.get(path) {
            return self.owners[index].type_name().to_owned();
        }
        let of = |owner: &Owner| {
            let param = owner.params.iter().find(|(name, ..)| joined(&owner.path, name) == path)?;
            Some(format!("a parameter {:?} of {}", param.2, owner.type_name()))
        };
        self.owners.iter().find_map(of).unwrap_or_default()
    }

    /// # Errors
    /// [`LoraError::HasAdapter`] with every module that something was attached to; as [`Survey::check_own`].
    pub(super) fn check_plain(&self) -> Result<(), LoraError> {
        self.check_own()?;
        let copies = self.copies.keys().cloned();
        let modules: Vec<String> = self.factors.keys().cloned().chain(copies).collect();
        if modules.is_empty() { Ok(()) } else { Err(LoraError::HasAdapter { modules }) }
    }

    /// # Errors
    /// [`LoraError::Reparameterized`] with every parameter that another kind of reparameterization hangs on.
    pub(super) fn check_own(&self) -> Result<(), LoraError> {
        if self.foreign.is_empty() {
            return Ok(());
        }
        Err(LoraError::Reparameterized { parameters: self.foreign.clone() })
    }

    fn names(&self, until: usize) -> String {
        let names: Vec<&str> = self.stack[..until].iter().map(|(name, _)| name.as_str()).collect();
        names.join(".")
    }

    /// Notes a parameter where the walk is; `weight` if it is one of a layer.
    fn note(&mut self, is_float: bool, shape: Vec<usize>, weight: Option<Tensor<2>>) {
        let Some((name, container)) = self.stack.last().cloned() else { return };
        let path = self.names(self.stack.len() - 1);
        let index = match self.index.entry(path) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let owner = Owner { path: new.key().clone(), container, params: Vec::new(), weight: None };
                self.owners.push(owner);
                *new.insert(self.owners.len() - 1)
            }
        };
        let owner = &mut self.owners[index];
        owner.params.push((name, is_float, shape));
        owner.weight = weight.or(owner.weight.take());
    }

    /// Notes a parameter of a reparameterization, at this depth of the stack.
    fn note_attached<const D: usize>(&mut self, depth: usize, param: Option<&Param<Tensor<D>>>) {
        let host = self.names(depth);
        let name = self.stack[depth].0.as_str();
        let part = self.stack.get(depth + 1).map_or("", |(part, _)| part.as_str());
        match (name, part, host.strip_suffix(".weight"), param) {
            (ModuleLora::NAME, "a" | "b", Some(layer), Some(param)) => {
                let factors = self.factors.entry(layer.to_owned()).or_default();
                factors[usize::from(part == "b")] = of_rank::<D, 2>(param).map(|param| param.val());
            }
            (TrainedCopy::NAME, _, _, Some(param)) => {
                let count = param.lazy_shape().num_elements();
                self.copies.insert(host, param.val().without_autodiff().reshape([count]));
            }
            _ => {
                let attached = format!("{host} ({name})");
                if !self.foreign.contains(&attached) {
                    self.foreign.push(attached);
                }
            }
        }
    }

    fn depth_of_attachment(&self) -> Option<usize> {
        self.stack.iter().position(|(_, container)| container == REPARAMETERIZATION)
    }

    fn other<const D: usize>(&mut self, shape: Vec<usize>) {
        match self.depth_of_attachment() {
            Some(depth) => self.note_attached::<D>(depth, None),
            None => self.note(false, shape, None),
        }
    }
}

impl ModuleVisitor for Survey {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.stack.push((name.to_owned(), container_type.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.stack.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(depth) = self.depth_of_attachment() {
            return self.note_attached(depth, Some(param));
        }
        let is_weight = self.stack.last().is_some_and(|(name, container)| {
            name == "weight" && [LINEAR, EMBEDDING].contains(&container.as_str())
        });
        // The value, not `lazy_shape`: before `LinearLayout::Col` is initialised, that is the transposed one.
        match of_rank::<D, 2>(param).filter(|_| is_weight).map(|param| param.base()) {
            Some(weight) => self.note(true, weight.dims().to_vec(), Some(weight)),
            None => self.note(true, param.lazy_shape().to_vec(), None),
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.other::<D>(param.lazy_shape().to_vec());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.other::<D>(param.lazy_shape().to_vec());
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
