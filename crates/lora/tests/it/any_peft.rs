//! Adapters on a foreign Burn module against PEFT 0.21.2 on the same PyTorch model (docs/parity/any_module.py).

use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::{Embedding, LayerNorm, LayerNormConfig, Linear},
    tensor::{
        Device, Gradients, Int, Tensor, TensorData,
        activation::{log_softmax, tanh},
    },
};
use burnisher_lora::{LoraConfig, PeftFiles, load_module_peft, merge_module, save_module_peft};
use safetensors::{Dtype, SafeTensors};

/// The PyTorch model of the script, as somebody would write it in Burn.
#[derive(Module, Debug)]
struct Tagger {
    embed: Embedding,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Tagger {
    /// The parameters `PREFIX.NAME`; PyTorch has linear weights as `[out, in]`.
    fn read(reference: &Reference, prefix: &str, device: &Device) -> Self {
        let matrix = |name: &str| reference.matrix(&format!("{prefix}.{name}"), device);
        let vector = |name: &str| {
            let (shape, values) = &reference.floats[&format!("{prefix}.{name}")];
            Param::from_tensor(Tensor::<1>::from_data(TensorData::new(values.clone(), shape.clone()), device))
        };
        let linear = |name: &str, bias| Linear {
            weight: Param::from_tensor(matrix(&format!("{name}.weight")).transpose()),
            bias,
        };
        let mut norm = LayerNormConfig::new(5).init(device);
        norm.gamma = vector("norm.weight");
        norm.beta = Some(vector("norm.bias"));
        Self {
            embed: Embedding { weight: Param::from_tensor(matrix("embed.weight")) },
            norm,
            up: linear("up", Some(vector("up.bias"))),
            down: linear("down", None),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let inner = tanh(self.up.forward(self.norm.forward(self.embed.forward(ids))));
        self.down.forward(inner.mean_dim(1).squeeze_dim::<2>(1))
    }
}

/// What is trained in a folder of the fixtures: the path in Burn, PEFT's name, and whether PyTorch has it transposed.
type Trained = &'static [(&'static str, &'static str, bool)];

const LAYERS: (&str, Trained) = (
    "layers",
    &[
        ("embed.weight.burnisher_lora.a", "embed.lora_embedding_A", false),
        ("embed.weight.burnisher_lora.b", "embed.lora_embedding_B", false),
        ("up.weight.burnisher_lora.a", "up.lora_A.weight", false),
        ("up.weight.burnisher_lora.b", "up.lora_B.weight", false),
        ("down.weight.burnisher_lora.a", "down.lora_A.weight", false),
        ("down.weight.burnisher_lora.b", "down.lora_B.weight", false),
    ],
);

const WHOLE: (&str, Trained) = (
    "whole",
    &[
        ("embed.weight.burnisher_saved.matrix", "embed.weight", false),
        ("norm.gamma.burnisher_saved.vector", "norm.weight", false),
        ("norm.beta.burnisher_saved.vector", "norm.bias", false),
        ("up.weight.burnisher_lora.a", "up.lora_A.weight", false),
        ("up.weight.burnisher_lora.b", "up.lora_B.weight", false),
        ("up.bias.burnisher_saved.vector", "up.base_layer.bias", false),
        ("down.weight.burnisher_saved.matrix", "down.weight", true),
    ],
);

struct Reference {
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: Vec<i32>,
}

impl Reference {
    fn read(folder: &str) -> Self {
        let bytes = fs::read(directory(folder).join("reference.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut floats, mut ids) = (BTreeMap::new(), Vec::new());
        for (name, view) in file.tensors() {
            let words = view.data().as_chunks::<4>().0.iter();
            match view.dtype() {
                Dtype::F32 => {
                    let values = words.map(|raw| f32::from_le_bytes(*raw)).collect();
                    floats.insert(name, (view.shape().to_vec(), values));
                }
                _ => ids = words.map(|raw| i32::from_le_bytes(*raw)).collect(),
            }
        }
        Self { floats, ids }
    }

    fn matrix(&self, name: &str, device: &Device) -> Tensor<2> {
        let (shape, values) = &self.floats[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    fn ids(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), [2, 4]), device)
    }

    #[track_caller]
    fn assert_is<const D: usize>(&self, name: &str, found: Tensor<D>, tolerance: f32) {
        let (shape, wanted) = &self.floats[name];
        assert_eq!(&found.dims().to_vec(), shape, "{name}");
        for (index, (found, wanted)) in found.into_data().iter::<f32>().zip(wanted).enumerate() {
            assert!((found - wanted).abs() <= tolerance, "{name} [{index}]: found {found}, wanted {wanted}");
        }
    }
}

/// Compares each parameter's gradient with the reference's, and notes the parameters that have one.
struct Compare<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    reference: &'a Reference,
    trained: Trained,
    found: Vec<String>,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad(self.gradients) else { return };
        let path = self.path.join(".");
        let known = self.trained.iter().find(|(known, ..)| *known == path);
        let (_, name, is_transposed) = known.unwrap_or_else(|| panic!("{path} has a gradient"));
        let gradient = if *is_transposed { gradient.swap_dims(0, 1) } else { gradient };
        self.reference.assert_is(&format!("grad.base_model.model.{name}"), gradient, 1e-5);
        self.found.push(path);
    }
}

fn directory(folder: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/any_module")).join(folder)
}

fn loaded(folder: &str, reference: &Reference, device: &Device) -> (Tagger, LoraConfig) {
    let base = Tagger::read(reference, "base", device);
    let (model, config, _) = load_module_peft(directory(folder), base, true).unwrap();
    (model, config)
}

#[test]
fn logits_and_every_gradient_are_those_of_peft() {
    for (folder, trained) in [LAYERS, WHOLE] {
        let (reference, device) = (Reference::read(folder), Device::flex().autodiff());
        let (model, _) = loaded(folder, &reference, &device);
        let logits = model.forward(reference.ids(&device));
        reference.assert_is("logits", logits.clone(), 1e-5);
        // The classes are 2 and 0.
        let chosen = Tensor::<2>::from_data([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &device);
        let gradients = (log_softmax(logits, 1) * chosen).sum().neg().backward();
        let (path, found) = (Vec::new(), Vec::new());
        let mut compare = Compare { path, gradients: &gradients, reference: &reference, trained, found };
        model.visit(&mut compare);
        assert_eq!(compare.found, trained.iter().map(|(path, ..)| *path).collect::<Vec<_>>());
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    for (folder, _) in [LAYERS, WHOLE] {
        let (reference, device) = (Reference::read(folder), Device::flex());
        let merged = merge_module(loaded(folder, &reference, &device).0).unwrap();
        // Values up to 10: an f32 there is 1e-6 from the next.
        reference.assert_is("merged.embed.weight", merged.embed.weight.val(), 1e-5);
        reference.assert_is("merged.norm.weight", merged.norm.gamma.val(), 0.0);
        reference.assert_is("merged.up.weight", merged.up.weight.val().transpose(), 1e-5);
        reference.assert_is("merged.up.bias", merged.up.bias.as_ref().unwrap().val(), 0.0);
        reference.assert_is("merged.down.weight", merged.down.weight.val().transpose(), 1e-5);
        reference.assert_is("logits", merged.forward(reference.ids(&device)), 1e-5);
    }
}

#[test]
fn what_peft_wrote_is_written_back_bit_for_bit() {
    for (folder, _) in [LAYERS, WHOLE] {
        let (reference, device) = (Reference::read(folder), Device::flex());
        let (model, config) = loaded(folder, &reference, &device);
        let dir = tempfile::tempdir().unwrap();
        save_module_peft(&model, &config, dir.path()).unwrap();
        let theirs = PeftFiles::read(directory(folder)).unwrap();
        let ours = PeftFiles::read(dir.path()).unwrap();
        assert_eq!(ours.config, theirs.config);
        assert_eq!(ours.tensors, theirs.tensors);
    }
}
