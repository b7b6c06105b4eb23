//! An adapter on a foreign Burn module against PEFT 0.21.2 on the same PyTorch model (docs/parity/any_module.py).

use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::{
    module::{Module, Param},
    nn::{Embedding, LayerNorm, LayerNormConfig, Linear},
    tensor::{
        Device, Int, Tensor, TensorData,
        activation::{log_softmax, tanh},
    },
};
use burnisher_lora::{LoraConfig, ModuleLora, PeftFiles, load_module_peft, merge_module, save_module_peft};
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

    /// The adapted weights by PEFT's names of `A` and `B`.
    fn adapted(&self) -> [(&Param<Tensor<2>>, [&'static str; 2]); 3] {
        [
            (&self.embed.weight, ["embed.lora_embedding_A", "embed.lora_embedding_B"]),
            (&self.up.weight, ["up.lora_A.weight", "up.lora_B.weight"]),
            (&self.down.weight, ["down.lora_A.weight", "down.lora_B.weight"]),
        ]
    }
}

struct Reference {
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: Vec<i32>,
}

impl Reference {
    fn read() -> Self {
        let bytes = fs::read(directory().join("reference.safetensors")).unwrap();
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
    fn assert_is(&self, name: &str, found: Tensor<2>, tolerance: f32) {
        let (shape, wanted) = &self.floats[name];
        assert_eq!(&found.dims().to_vec(), shape, "{name}");
        for (index, (found, wanted)) in found.into_data().iter::<f32>().zip(wanted).enumerate() {
            assert!((found - wanted).abs() <= tolerance, "{name} [{index}]: found {found}, wanted {wanted}");
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/any_module"))
}

fn loaded(reference: &Reference, device: &Device) -> (Tagger, LoraConfig) {
    let base = Tagger::read(reference, "base", device);
    let (model, config, report) = load_module_peft(directory(), base, true).unwrap();
    let ranks: Vec<_> = report.adapted.iter().map(|module| (module.path.as_str(), module.r)).collect();
    assert_eq!(ranks, [("embed", 2), ("up", 3), ("down", 2)]);
    (model, config)
}

#[test]
fn logits_and_every_gradient_are_those_of_peft() {
    let (reference, device) = (Reference::read(), Device::flex().autodiff());
    let (model, _) = loaded(&reference, &device);
    let logits = model.forward(reference.ids(&device));
    reference.assert_is("logits", logits.clone(), 1e-5);
    // The classes are 2 and 0.
    let chosen = Tensor::<2>::from_data([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &device);
    let gradients = (log_softmax(logits, 1) * chosen).sum().neg().backward();
    for (weight, names) in model.adapted() {
        let lora = weight.reparameterization::<ModuleLora>().expect("an adapter");
        for (factor, name) in [lora.a(), lora.b()].into_iter().zip(names) {
            let gradient = factor.grad(&gradients).expect("a gradient");
            reference.assert_is(&format!("grad.base_model.model.{name}"), gradient, 1e-5);
        }
        assert!(weight.base().grad(&gradients).is_none());
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    let (reference, device) = (Reference::read(), Device::flex());
    let merged = merge_module(loaded(&reference, &device).0).unwrap();
    // Values up to 10: an f32 there is 1e-6 from the next.
    reference.assert_is("merged.embed.weight", merged.embed.weight.val(), 1e-5);
    reference.assert_is("merged.up.weight", merged.up.weight.val().transpose(), 1e-5);
    reference.assert_is("merged.down.weight", merged.down.weight.val().transpose(), 1e-5);
    reference.assert_is("logits", merged.forward(reference.ids(&device)), 1e-5);
}

#[test]
fn what_peft_wrote_is_written_back_bit_for_bit() {
    let (reference, device) = (Reference::read(), Device::flex());
    let (model, config) = loaded(&reference, &device);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let (theirs, ours) = (PeftFiles::read(directory()).unwrap(), PeftFiles::read(dir.path()).unwrap());
    assert_eq!(ours.config, theirs.config);
    assert_eq!(ours.tensors, theirs.tensors);
}
