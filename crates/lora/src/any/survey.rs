//! The layers of a foreign module, found by walking it.

use std::{
    any::Any,
    collections::{BTreeMap, btree_map::Entry},
};

use burn::{
    module::{Module, ModuleVisitor, Param, Reparameterization},
    tensor::{Bool, Int, Tensor},
};

use super::lora::ModuleLora;
use crate::{AdapterPlan, LoraConfig, LoraError, ModuleInfo, ModuleKind, peft::keys, plan};

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

/// A struct that holds parameters of its own.
#[derive(Debug)]
struct Owner {
    path: String,
    /// Burn's container type, such as `Struct:Linear`.
    container: String,
    /// Its parameters: name, whether it holds floats, shape.
    params: Vec<(String, bool, Vec<usize>)>,
    /// The parameter `weight`, of a layer that may be adapted.
    weight: Option<Tensor<2>>,
}

impl Owner {
    /// Burn's names of its layers, checked against their fields: a type of the user's that is also called `Linear` but
    /// holds anything else is no layer to adapt.
    fn kind(&self) -> Option<LayerKind> {
        // A module that is itself a layer has no path to name it by.
        if self.path.is_empty() {
            return None;
        }
        let [inner, outer] = self.weight.as_ref()?.dims();
        let is_bias =
            |(name, float, shape): &(String, bool, Vec<usize>)| name == "bias" && *float && *shape == [outer];
        let is_weight = |(name, float, shape): &(String, bool, Vec<usize>)| {
            name == "weight" && *float && *shape == [inner, outer]
        };
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

/// What there is in a module: layers, other parameters, adapters.
#[derive(Debug, Default)]
pub(super) struct Survey {
    owners: Vec<Owner>,
    /// Index into `owners` by path.
    index: BTreeMap<String, usize>,
    /// The factors `[A, B]` by the layer's path.
    pub(super) factors: BTreeMap<String, [Option<Tensor<2>>; 2]>,
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
        let mut types = BTreeMap::new();
        for owner in &self.owners {
            let has_bias = owner.params.iter().any(|(name, ..)| name == "bias");
            let mut push = |path: String, kind: ModuleKind, what: String| {
                infos.push(ModuleInfo { path: path.clone(), kind, has_bias });
                types.insert(path, what);
            };
            let name = owner.container.split_once(':').map_or(owner.container.as_str(), |(_, name)| name);
            match owner.kind() {
                Some(LayerKind::Linear) => push(owner.path.clone(), ModuleKind::Linear, name.to_owned()),
                // Adaptable, but not among "all linear": the matching rules know that as a head.
                Some(LayerKind::Embedding) => push(owner.path.clone(), ModuleKind::Head, name.to_owned()),
                None => {
                    if !owner.path.is_empty() {
                        push(owner.path.clone(), ModuleKind::Norm, name.to_owned());
                    }
                    for (param, _, shape) in &owner.params {
                        let what = format!("a parameter {shape:?} of {name}");
                        push(joined(&owner.path, param), ModuleKind::Norm, what);
                    }
                }
            }
        }
        plan(config, &infos, "").map_err(|error| match error {
            LoraError::NotAdaptable { modules } => {
                let what = |path: &String| types.get(path).map_or("", String::as_str);
                let targets = modules.iter().map(|path| format!("{path} ({})", what(path))).collect();
                LoraError::NotALayer { targets }
            }
            other => other,
        })
    }

    /// # Errors
    /// [`LoraError::HasAdapter`] with every adapted layer; as [`Survey::check_own`].
    pub(super) fn check_plain(&self) -> Result<(), LoraError> {
        self.check_own()?;
        if self.factors.is_empty() {
            return Ok(());
        }
        Err(LoraError::HasAdapter { modules: self.factors.keys().cloned().collect() })
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
        let name = &self.stack[depth].0;
        let (layer, is_weight) = match host.strip_suffix(".weight") {
            Some(layer) => (layer, true),
            None => (host.as_str(), false),
        };
        let factor = self.stack.get(depth + 1).map(|(factor, _)| factor.as_str());
        let slot = match factor {
            Some("a") if name == ModuleLora::NAME && is_weight => 0,
            Some("b") if name == ModuleLora::NAME && is_weight => 1,
            _ => {
                let attached = format!("{host} ({name})");
                if !self.foreign.contains(&attached) {
                    self.foreign.push(attached);
                }
                return;
            }
        };
        let factors = self.factors.entry(layer.to_owned()).or_default();
        factors[slot] = param.and_then(matrix).map(Param::val);
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
        match matrix(param).filter(|_| is_weight).map(Param::base) {
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

fn matrix<const D: usize>(param: &Param<Tensor<D>>) -> Option<&Param<Tensor<2>>> {
    (param as &dyn Any).downcast_ref()
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
