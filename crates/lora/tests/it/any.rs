//! Adapters on a Burn module of somebody else.

use std::{collections::BTreeMap, fs};

use burn::{
    module::{Lora, Module, ModuleVisitor, Param, Quantizer},
    nn::{
        Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        LinearLayout,
        conv::{Conv1d, Conv1dConfig},
    },
    tensor::{
        DType, Device, Distribution, FloatDType, Gradients, Int, Tensor, TensorData,
        activation::{gelu, softmax},
        quantization::{Calibration, QuantValue},
    },
};
use burnisher_lora::{
    AdapterTensor, Bias, InitLoraWeights, LoraConfig, LoraError, ModuleLora, PeftFiles, TargetModules,
    attach_to_module, detach_module, load_module_peft, lora_embedding_forward, lora_forward, merge_module,
    save_module_peft, without_adapters,
};
use proptest::prelude::*;

const VOCAB: usize = 11;
const WIDTH: usize = 6;
const CLASSES: usize = 3;
/// Not the rank, nor any width of the model.
const INNER: usize = 10;

#[derive(Module, Debug)]
struct Block {
    query: Linear,
    value: Linear,
    norm: LayerNorm,
    dropout: Dropout,
}

/// A classifier as it might come from another crate.
#[derive(Module, Debug)]
struct Classifier {
    embed: Embedding,
    blocks: Vec<Block>,
    conv: Conv1d,
    gate: Param<Tensor<2>>,
    head: Option<Linear>,
}

impl Classifier {
    fn new(device: &Device) -> Self {
        let block = || Block {
            query: LinearConfig::new(WIDTH, INNER).init(device),
            value: LinearConfig::new(INNER, WIDTH).with_bias(false).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            dropout: DropoutConfig::new(0.0).init(),
        };
        Self {
            embed: EmbeddingConfig::new(VOCAB, WIDTH).init(device),
            blocks: vec![block(), block()],
            conv: Conv1dConfig::new(WIDTH, WIDTH, 1).init(device),
            gate: Param::from_tensor(Tensor::random([WIDTH, WIDTH], Distribution::Default, device)),
            head: Some(LinearConfig::new(WIDTH, CLASSES).init(device)),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let mut x = self.embed.forward(ids);
        for block in &self.blocks {
            let inner = gelu(block.query.forward(block.norm.forward(x.clone())));
            x = x + block.dropout.forward(block.value.forward(inner));
        }
        let x = self.conv.forward(x.swap_dims(1, 2)).swap_dims(1, 2);
        let gate = softmax(self.gate.val(), 1).unsqueeze::<3>();
        let x = x.matmul(gate).mean_dim(1).squeeze_dim::<2>(1);
        self.head.as_ref().expect("a head").forward(x)
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[1, 5, 7, 10], [0, 5, 5, 2]], device)
}

/// A configuration whose adapters change the model from the start.
fn config<const N: usize>(targets: [&str; N]) -> LoraConfig {
    LoraConfig::new(2)
        .with_lora_alpha(3.0)
        .with_init_lora_weights(InitLoraWeights::Random)
        .with_target_modules(TargetModules::suffixes(targets))
}

fn attach<const N: usize>(targets: [&str; N], device: &Device) -> (Classifier, LoraConfig) {
    let config = config(targets);
    let (model, _) = attach_to_module(&config, Classifier::new(device), 7).unwrap();
    (model, config)
}

fn lora(weight: &Param<Tensor<2>>) -> &ModuleLora {
    weight.reparameterization().expect("an adapter")
}

/// The bits of every float parameter by its path; factors are under `….weight.burnisher_lora.a` and `.b`.
#[derive(Default)]
struct Bits {
    path: Vec<String>,
    values: BTreeMap<String, Vec<u32>>,
}

impl Bits {
    fn of<M: Module>(module: &M) -> BTreeMap<String, Vec<u32>> {
        let mut bits = Self::default();
        module.visit(&mut bits);
        bits.values
    }
}

impl ModuleVisitor for Bits {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let bits = param.val().cast(FloatDType::F32).into_data().iter::<f32>().map(f32::to_bits).collect();
        self.values.insert(self.path.join("."), bits);
    }
}

/// The paths of the parameters that have a gradient.
struct WithGradient<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    found: Vec<String>,
}

impl ModuleVisitor for WithGradient<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.val().grad(self.gradients).is_some() {
            self.found.push(self.path.join("."));
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

#[track_caller]
fn assert_close<const D: usize>(found: Tensor<D>, wanted: Tensor<D>, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    for (index, (found, wanted)) in values(found).into_iter().zip(values(wanted)).enumerate() {
        assert!((found - wanted).abs() <= tolerance, "{what} [{index}]: found {found}, wanted {wanted}");
    }
}

#[track_caller]
fn message<T>(result: Result<T, LoraError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn an_unmodified_linear_computes_the_adapter_with_the_gradients_of_its_factors_alone() {
    let device = device();
    let (model, _) = attach(["query"], &device);
    let layer = &model.blocks[1].query;
    let x: Tensor<3> = Tensor::random([2, 3, WIDTH], Distribution::Normal(0.0, 1.0), &device).require_grad();
    let weights: Tensor<3> = Tensor::random([2, 3, INNER], Distribution::Normal(0.0, 1.0), &device);

    // The same by hand: x·W + b + s·(x·Aᵀ)·Bᵀ with s = 3 / 2.
    let leaf = |tensor: Tensor<2>| tensor.without_autodiff().autodiff().require_grad();
    let (a, b) = (leaf(lora(&layer.weight).a()), leaf(lora(&layer.weight).b()));
    assert_eq!((a.dims(), b.dims()), ([2, WIDTH], [INNER, 2]));
    let by_hand = |x: Tensor<3>| {
        let base = x.clone().matmul(layer.weight.base().unsqueeze());
        let low = x.matmul(a.clone().transpose().unsqueeze());
        let bias = layer.bias.as_ref().expect("a bias").val();
        base + bias.unsqueeze() + low.matmul(b.clone().transpose().unsqueeze()).mul_scalar(1.5)
    };
    let wanted = by_hand(x.clone());
    let wanted_gradients = (wanted.clone() * weights.clone()).sum().backward();

    for (what, y) in [("forward", layer.forward(x.clone())), ("lora_forward", lora_forward(layer, x.clone()))]
    {
        assert_close(y.clone(), wanted.clone(), 1e-5, what);
        let gradients = (y * weights.clone()).sum().backward();
        let found = lora(&layer.weight);
        let gradient =
            |tensor: &Tensor<2>, gradients: &Gradients| tensor.grad(gradients).expect("a gradient");
        assert_close(gradient(&found.a(), &gradients), gradient(&a, &wanted_gradients), 1e-5, what);
        assert_close(gradient(&found.b(), &gradients), gradient(&b, &wanted_gradients), 1e-5, what);
        let of_x = |gradients: &Gradients| x.grad(gradients).expect("a gradient");
        assert_close(of_x(&gradients), of_x(&wanted_gradients), 1e-5, what);
        assert!(layer.weight.base().grad(&gradients).is_none(), "{what}");
        assert!(layer.bias.as_ref().unwrap().val().grad(&gradients).is_none(), "{what}");
    }
}

#[test]
fn an_unmodified_embedding_computes_the_adapter() {
    let device = device();
    let (model, _) = attach(["embed"], &device);
    let (layer, ids) = (&model.embed, ids(&device));
    let found = lora(&layer.weight);
    assert_eq!((found.a().dims(), found.b().dims()), ([2, VOCAB], [WIDTH, 2]));
    // peft 0.21: `embedding(ids, A.T) @ B.T * scaling` beside the table's rows.
    let leaf = |tensor: Tensor<2>| tensor.without_autodiff().autodiff().require_grad();
    let (a, b) = (leaf(found.a()), leaf(found.b()));
    let rows: Tensor<1, Int> = ids.clone().reshape([8]);
    let low = a.clone().transpose().select(0, rows.clone());
    let wanted = layer.weight.base().select(0, rows) + low.matmul(b.clone().transpose()).mul_scalar(1.5);
    let wanted = wanted.reshape([2, 4, WIDTH]);
    let wanted_gradients = wanted.clone().powi_scalar(2).sum().backward();
    for (what, y) in [
        ("forward", layer.forward(ids.clone())),
        ("lora_embedding_forward", lora_embedding_forward(layer, ids.clone())),
    ] {
        assert_close(y.clone(), wanted.clone(), 1e-5, what);
        let gradients = y.powi_scalar(2).sum().backward();
        let wanted = |tensor: &Tensor<2>| tensor.grad(&wanted_gradients).expect("a gradient");
        assert_close(found.a().grad(&gradients).expect("a gradient"), wanted(&a), 1e-4, what);
        assert_close(found.b().grad(&gradients).expect("a gradient"), wanted(&b), 1e-4, what);
        assert!(layer.weight.base().grad(&gradients).is_none(), "{what}");
    }
}

#[test]
fn only_factors_get_gradients_in_the_whole_model() {
    let device = device();
    let (model, _) = attach(["embed", "query", "head"], &device);
    let layers = ["embed", "blocks.0.query", "blocks.1.query", "head"];
    let wanted: Vec<String> = layers
        .iter()
        .flat_map(|layer| ["a", "b"].map(|factor| format!("{layer}.weight.burnisher_lora.{factor}")))
        .collect();
    assert_eq!(with_gradient(&model, &device), wanted);
}

#[test]
fn a_fresh_adapter_changes_nothing_and_the_report_counts() {
    let device = device();
    let base = Classifier::new(&device);
    for init in [InitLoraWeights::Kaiming, InitLoraWeights::Gaussian] {
        let config = config(["embed", "query"]).with_init_lora_weights(init);
        let (model, report) = attach_to_module(&config, base.clone(), 7).unwrap();
        assert_close(model.forward(ids(&device)), base.forward(ids(&device)), 1e-6, "logits");
        let factors = 2 * (VOCAB + WIDTH) + 2 * 2 * (WIDTH + INNER);
        assert_eq!((report.trainable, report.total), (factors, base.num_params() + factors));
        let paths: Vec<&str> = report.adapted.iter().map(|module| module.path.as_str()).collect();
        assert_eq!(paths, ["embed", "blocks.0.query", "blocks.1.query"]);
        // A of a linear layer is drawn, B is zero; of an embedding it is the other way round.
        let is_zero = |tensor: Tensor<2>| values(tensor).iter().all(|&value| value == 0.0);
        let (query, embed) = (lora(&model.blocks[0].query.weight), lora(&model.embed.weight));
        assert_eq!((is_zero(query.a()), is_zero(query.b())), (false, true));
        assert_eq!((is_zero(embed.a()), is_zero(embed.b())), (true, false));
    }
}

#[test]
fn factors_depend_on_seed_and_path_alone() {
    let device = device();
    let base = Classifier::new(&device);
    let draw = |config: &LoraConfig, seed| {
        let (model, _) = attach_to_module(config, base.clone(), seed).unwrap();
        bits(lora(&model.blocks[1].query.weight).a())
    };
    let few = config(["blocks.1.query"]);
    let many = few.clone().with_target_modules(TargetModules::AllLinear);
    assert_eq!(draw(&few, 1), draw(&many, 1));
    assert_ne!(draw(&few, 1), draw(&few, 2));
}

#[test]
fn targets_are_chosen_as_in_models_of_this_crate() {
    let device = device();
    let chosen = |targets: TargetModules| {
        let config = LoraConfig::new(2).with_target_modules(targets);
        let (_, report) = attach_to_module(&config, Classifier::new(&device), 7).unwrap();
        report.adapted.into_iter().map(|module| module.path).collect::<Vec<_>>()
    };
    assert_eq!(chosen(TargetModules::suffixes(["value"])), ["blocks.0.value", "blocks.1.value"]);
    assert_eq!(chosen(TargetModules::suffixes(["blocks.1.value", "embed"])), ["embed", "blocks.1.value"]);
    assert_eq!(
        chosen(TargetModules::regex(r"blocks\.0\.(query|value)")),
        ["blocks.0.query", "blocks.0.value"]
    );
    let linear = ["blocks.0.query", "blocks.0.value", "blocks.1.query", "blocks.1.value", "head"];
    assert_eq!(chosen(TargetModules::AllLinear), linear);
}

/// As in PEFT, the layers that numbers count lie in a list that is not at the root.
#[derive(Module, Debug)]
struct Wrapped {
    model: Classifier,
}

#[test]
fn patterns_layers_and_rank_stabilisation_are_honoured() {
    let device = device();
    let config = config(["query", "value", "head"])
        .with_exclude_modules(TargetModules::suffixes(["head"]))
        .with_rank_pattern([("blocks.0.query", 4)])
        .with_alpha_pattern([("value", 5.0)])
        .with_layers_to_transform([0])
        .with_use_rslora(true);
    let base = Wrapped { model: Classifier::new(&device) };
    let (Wrapped { model }, report) = attach_to_module(&config, base, 7).unwrap();
    let found: Vec<_> = report.adapted.iter().map(|m| (m.path.as_str(), m.r, m.scaling)).collect();
    let of_value = 5.0 / 2_f64.sqrt();
    assert_eq!(found, [("model.blocks.0.query", 4, 1.5), ("model.blocks.0.value", 2, of_value)]);
    for (layer, r, scaling) in [(&model.blocks[0].query, 4, 1.5), (&model.blocks[0].value, 2, of_value)] {
        let lora = lora(&layer.weight);
        assert_eq!((lora.a().dims()[0], lora.b().dims()[1], lora.scaling()), (r, r, scaling));
        let delta = lora.b().matmul(lora.a()).transpose().mul_scalar(scaling);
        assert_close(layer.weight.val(), layer.weight.base() + delta, 1e-6, "W + s·Aᵀ·Bᵀ");
    }
    assert!(model.blocks[1].query.weight.reparameterization::<ModuleLora>().is_none());
}

#[test]
fn saved_adapters_come_back_bit_for_bit_in_the_keys_of_peft() {
    let device = device();
    let base = Classifier::new(&device);
    let config = config(["embed", "query"]).with_target_modules(TargetModules::regex("embed|.*query"));
    let (model, _) = attach_to_module(&config, base.clone(), 7).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();

    let files = PeftFiles::read(dir.path()).unwrap();
    let shapes: Vec<(&str, &[usize])> =
        files.tensors.iter().map(|(key, tensor)| (key.as_str(), tensor.shape.as_slice())).collect();
    assert_eq!(
        shapes,
        [
            ("base_model.model.blocks.0.query.lora_A.weight", &[2, WIDTH][..]),
            ("base_model.model.blocks.0.query.lora_B.weight", &[INNER, 2]),
            ("base_model.model.blocks.1.query.lora_A.weight", &[2, WIDTH]),
            ("base_model.model.blocks.1.query.lora_B.weight", &[INNER, 2]),
            ("base_model.model.embed.lora_embedding_A", &[2, VOCAB]),
            ("base_model.model.embed.lora_embedding_B", &[WIDTH, 2]),
        ]
    );
    let a = lora(&model.blocks[0].query.weight).a();
    assert_eq!(files.tensors["base_model.model.blocks.0.query.lora_A.weight"].values, values(a));

    for is_trainable in [true, false] {
        let (again, read, report) = load_module_peft(dir.path(), base.clone(), is_trainable).unwrap();
        assert_eq!(Bits::of(&again), Bits::of(&model));
        assert_eq!((read.r(), read.lora_alpha()), (2, 3.0));
        assert_eq!(report.adapted.len(), 3);
        let found = lora(&again.embed.weight);
        assert_eq!(found.a().is_require_grad(), is_trainable);
        assert_eq!(report.trainable > 0, is_trainable);
        assert_eq!(bits(again.forward(ids(&device))), bits(model.forward(ids(&device))));
        // And once more, from the loaded model with the configuration it came with.
        let second = tempfile::tempdir().unwrap();
        save_module_peft(&again, &read, second.path()).unwrap();
        assert_eq!(PeftFiles::read(second.path()).unwrap().tensors, files.tensors);
    }
}

#[test]
fn an_all_linear_adapter_is_saved_with_the_layers_it_stood_for() {
    let device = device();
    let config = config([]).with_target_modules(TargetModules::AllLinear);
    let (model, _) = attach_to_module(&config, Classifier::new(&device), 7).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let read = PeftFiles::read(dir.path()).unwrap().config;
    let layers = ["blocks.0.query", "blocks.0.value", "blocks.1.query", "blocks.1.value", "head"];
    assert_eq!(read.lora().unwrap().target_modules(), Some(&TargetModules::suffixes(layers)));
}

#[test]
fn files_that_do_not_fit_are_refused_with_every_difference() {
    let device = device();
    let (model, config) = attach(["query", "embed"], &device);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let mut files = PeftFiles::read(dir.path()).unwrap();
    let key = |tail: &str| format!("base_model.model.{tail}");
    files.tensors.remove(&key("blocks.0.query.lora_A.weight"));
    files.tensors.insert(key("head.lora_A.weight"), AdapterTensor::new([2, WIDTH], vec![0.0; 2 * WIDTH]));
    let transposed = AdapterTensor::new([VOCAB, 2], vec![0.0; 2 * VOCAB]);
    files.tensors.insert(key("embed.lora_embedding_A"), transposed);
    // A table of another size is no table of this embedding.
    files.tensors.insert(key("embed.base_layer.weight"), AdapterTensor::new([1, 1], vec![0.0]));
    files.write(dir.path()).unwrap();
    let error = load_module_peft(dir.path(), Classifier::new(&device), false).unwrap_err();
    let LoraError::TensorMismatch(problems) = &error else { panic!("{error}") };
    assert_eq!(problems.missing, [key("blocks.0.query.lora_A.weight")]);
    assert_eq!(problems.unexpected, [key("head.lora_A.weight")]);
    let shapes: Vec<_> =
        problems.shapes.iter().map(|shape| (shape.name.as_str(), &*shape.found, &*shape.wanted)).collect();
    let (table, a) = (key("embed.base_layer.weight"), key("embed.lora_embedding_A"));
    let wanted: [(&str, &[usize], &[usize]); 2] =
        [(&table, &[1, 1], &[VOCAB, WIDTH]), (&a, &[VOCAB, 2], &[2, VOCAB])];
    assert_eq!(shapes, wanted);
}

#[test]
fn the_table_that_peft_saves_beside_an_adapted_embedding_is_no_error() {
    let device = device();
    let (model, config) = attach(["embed"], &device);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let mut files = PeftFiles::read(dir.path()).unwrap();
    let table = AdapterTensor::new([VOCAB, WIDTH], vec![0.0; VOCAB * WIDTH]);
    files.tensors.insert("base_model.model.embed.base_layer.weight".into(), table);
    files.write(dir.path()).unwrap();
    load_module_peft(dir.path(), Classifier::new(&device), false).unwrap();
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let device = device();
    let attach = |config: &LoraConfig| message(attach_to_module(config, Classifier::new(&device), 7));
    let error = attach(&config(["query"]).with_lora_dropout(0.1));
    assert!(
        error.starts_with("not supported: lora_dropout = 0.1 (on a foreign Burn module: 0.0)"),
        "{error}"
    );
    let error = attach(&LoraConfig::new(2));
    assert!(error.starts_with("target_modules is not given"), "{error}");
    let error = attach(&LoraConfig::new(0).with_target_modules(TargetModules::AllLinear));
    assert!(error.starts_with("r is 0"), "{error}");
}

#[test]
fn dropout_of_a_file_is_idle_unless_it_is_trained_further() {
    let device = device();
    let (model, config) = attach(["query"], &device);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config.clone().with_lora_dropout(0.1), dir.path()).unwrap();
    let (_, read, _) = load_module_peft(dir.path(), Classifier::new(&device), false).unwrap();
    assert_eq!(read.lora_dropout(), 0.1);
    let error = message(load_module_peft(dir.path(), Classifier::new(&device), true));
    assert!(error.contains("lora_dropout = 0.1"), "{error}");
}

#[test]
fn targets_that_are_no_layers_or_nothing_at_all_are_refused() {
    let device = device();
    let attach = |target: &str| message(attach_to_module(&config([target]), Classifier::new(&device), 7));
    let matched = "target_modules matches ";
    let only = ": of a foreign Burn module it can change nn::Linear and nn::Embedding";
    for (target, what) in [
        ("norm", "blocks.0.norm (LayerNorm), blocks.1.norm (LayerNorm)"),
        ("conv", "conv (Conv1d)"),
        ("conv.weight", "conv.weight (a parameter [6, 6, 1] of Conv1d)"),
        ("gate", "gate (a parameter [6, 6] of Classifier)"),
    ] {
        assert_eq!(attach(target), format!("{matched}{what}{only}"));
    }
    for nothing in ["q_proj", "uery", "query.weight", "blocks"] {
        let there = "embed, blocks.*.query, blocks.*.value, head";
        assert_eq!(
            attach(nothing),
            format!("target_modules `{nothing}` matches no module; there are {there}")
        );
    }
    let config = config(["query"]).with_rank_pattern([("key", 4)]);
    let error = message(attach_to_module(&config, Classifier::new(&device), 7));
    assert!(error.starts_with("rank_pattern `key` matches no module"), "{error}");
}

/// Types of the user's that are only called like Burn's.
mod theirs {
    use burn::{
        module::{Module, Param},
        tensor::Tensor,
    };

    /// Its weight is `[out, in]`.
    #[derive(Module, Debug)]
    pub(super) struct Linear {
        pub(super) weight: Param<Tensor<2>>,
        pub(super) bias: Param<Tensor<1>>,
    }

    #[derive(Module, Debug)]
    pub(super) struct Embedding {
        pub(super) weight: Param<Tensor<2>>,
        pub(super) scale: Param<Tensor<1>>,
    }

    #[derive(Module, Debug)]
    pub(super) struct Model {
        pub(super) up: Linear,
        pub(super) embed: Embedding,
    }
}

#[derive(Module, Debug)]
enum Choice {
    Dense(Linear),
    Normed(LayerNorm),
}

/// Containers of every kind, and a bias of the module's own.
#[derive(Module, Debug)]
struct Containers {
    choices: [Choice; 2],
    pair: (Linear, Option<Linear>),
    bias: Param<Tensor<1>>,
}

#[test]
fn containers_are_paths() {
    let device = device();
    let linear = || LinearConfig::new(WIDTH, WIDTH).init(&device);
    let base = Containers {
        choices: [
            Choice::Dense(linear()),
            Choice::Normed(LayerNormConfig::new(WIDTH).with_bias(false).init(&device)),
        ],
        pair: (linear(), Some(linear())),
        bias: Param::from_tensor(Tensor::ones([WIDTH], &device)),
    };
    let config = config(["choices.0.Dense", "pair.1"]).with_bias(Bias::All);
    let (model, report) = attach_to_module(&config, base.clone(), 7).unwrap();
    let paths: Vec<&str> = report.adapted.iter().map(|module| module.path.as_str()).collect();
    assert_eq!(paths, ["choices.0.Dense", "pair.1"]);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let tensors = PeftFiles::read(dir.path()).unwrap().tensors;
    let keys: Vec<&str> = tensors.keys().filter_map(|key| key.strip_prefix("base_model.model.")).collect();
    assert_eq!(
        keys,
        [
            "bias",
            "choices.0.Dense.base_layer.bias",
            "choices.0.Dense.lora_A.weight",
            "choices.0.Dense.lora_B.weight",
            "pair.0.bias",
            "pair.1.base_layer.bias",
            "pair.1.lora_A.weight",
            "pair.1.lora_B.weight",
        ]
    );
    let (again, _, _) = load_module_peft(dir.path(), base, false).unwrap();
    assert_eq!(Bits::of(&again), Bits::of(&model));
}

#[test]
fn a_type_that_is_only_called_linear_is_refused() {
    let device = device();
    let zeros = || Param::from_tensor(Tensor::<2>::zeros([5, 3], &device));
    let model = theirs::Model {
        up: theirs::Linear { weight: zeros(), bias: Param::from_tensor(Tensor::zeros([5], &device)) },
        embed: theirs::Embedding { weight: zeros(), scale: Param::from_tensor(Tensor::ones([1], &device)) },
    };
    let error = message(attach_to_module(&config(["up", "embed"]), model, 7));
    assert!(error.starts_with("target_modules matches up (Linear), embed (Embedding): "), "{error}");
}

#[test]
fn a_second_adapter_is_refused_whoever_attached_the_first() {
    let device = device();
    let (model, config) = attach(["query"], &device);
    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&model, &config, dir.path()).unwrap();
    let wanted = "there is an adapter already at blocks.*.query";
    assert!(message(attach_to_module(&config, model.clone(), 7)).starts_with(wanted));
    assert!(message(load_module_peft(dir.path(), model, false)).starts_with(wanted));

    let burns = Classifier::new(&device).apply_lora(Lora::new(2, 4.0));
    for error in [
        message(attach_to_module(&config, burns.clone(), 7)),
        message(load_module_peft(dir.path(), burns.clone(), false)),
        message(merge_module(burns.clone())),
        message(detach_module(burns.clone())),
        message(save_module_peft(&burns, &config, dir.path())),
    ] {
        let wanted = "another reparameterization hangs on embed.weight (lora), blocks.0.query.weight (lora)";
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn saving_what_is_not_there_is_refused() {
    let device = device();
    let (model, config) = attach(["query"], &device);
    let dir = tempfile::tempdir().unwrap();
    let save = |config: &LoraConfig| message(save_module_peft(&model, config, dir.path()));
    let more = config.clone().with_target_modules(TargetModules::suffixes(["query", "value"]));
    assert_eq!(save(&more), "no adapter to save at blocks.*.value");
    let fewer = config.clone().with_target_modules(TargetModules::suffixes(["blocks.0.query"]));
    let error = save(&fewer);
    assert!(error.contains("unexpected: base_model.model.blocks.1.query.lora_A.weight"), "{error}");
    let other_rank = config.with_rank_pattern([("query", 5)]);
    let error = save(&other_rank);
    assert!(error.contains("lora_A.weight: found shape [2, 6], wanted [5, 6]"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn merging_gives_a_plain_model_that_computes_the_same() {
    let device = device();
    let (model, _) = attach(["embed", "query", "head"], &device);
    let with_adapter = model.forward(ids(&device));
    let base = without_adapters(|| model.forward(ids(&device)));
    let distance = (with_adapter.clone() - base).abs().max().into_scalar::<f32>();
    assert!(distance > 1e-2, "the adapter does nothing: {distance}");
    let merged = merge_module(model).unwrap();
    assert_close(merged.forward(ids(&device)), with_adapter, 1e-5, "logits");
    assert!(Bits::of(&merged).keys().all(|path| !path.contains("lora")));
    assert_eq!(merged.num_params(), Classifier::new(&device).num_params());
    assert!(!merged.head.as_ref().unwrap().weight.is_require_grad());
    // A plain model can be adapted again.
    attach_to_module(&config(["head"]), merged, 7).unwrap();
}

#[test]
fn detaching_gives_the_original_bits() {
    let device = device();
    let base = Classifier::new(&device);
    // -0 + 0 is +0: adding a zero delta would show.
    let negative_zero = base.embed.weight.base().without_autodiff().mul_scalar(-0.0).autodiff();
    let base = Classifier { embed: Embedding { weight: Param::from_tensor(negative_zero) }, ..base };
    let (model, _) = attach_to_module(&config(["embed", "query", "head"]), base.clone(), 7).unwrap();
    let plain = detach_module(model.clone()).unwrap();
    assert_eq!(Bits::of(&plain), Bits::of(&base));
    assert_eq!(bits(plain.forward(ids(&device))), bits(base.forward(ids(&device))));
    // Attaching itself leaves the base alone, too.
    let mut adapted = Bits::of(&model);
    adapted.retain(|path, _| !path.contains("burnisher_lora"));
    assert_eq!(adapted, Bits::of(&base));
}

#[test]
fn adapters_can_be_switched_off_for_a_while() {
    let device = device();
    let base = Classifier::new(&device);
    let (model, _) = attach_to_module(&config(["embed", "query"]), base.clone(), 7).unwrap();
    let on = bits(model.forward(ids(&device)));
    let off = bits(base.forward(ids(&device)));
    assert_eq!(bits(without_adapters(|| model.forward(ids(&device)))), off);
    let layer = &model.blocks[0].query;
    let x: Tensor<2> = Tensor::ones([1, WIDTH], &device);
    let split = without_adapters(|| lora_forward(layer, x.clone()));
    assert_eq!(bits(split), bits(base.blocks[0].query.forward(x)));
    // Merging inside is still merging, and a panic switches them on again.
    let merged = without_adapters(|| merge_module(model.clone()).unwrap());
    assert_ne!(bits(merged.forward(ids(&device))), off);
    let panicked = std::panic::catch_unwind(|| without_adapters(|| panic!("on purpose")));
    assert!(panicked.is_err());
    assert_eq!(bits(model.forward(ids(&device))), on);
}

#[test]
fn a_weight_that_would_not_be_finite_is_not_merged() {
    let device = device();
    let mut base = Classifier::new(&device);
    let huge = Tensor::<2>::full([WIDTH, CLASSES], f32::MAX, &device);
    base.head = Some(Linear { weight: Param::from_tensor(huge), bias: None });
    let (model, _) = attach_to_module(&config(["head", "query"]).with_lora_alpha(1e38), base, 7).unwrap();
    let error = message(merge_module(model));
    assert!(error.contains("head") && error.contains("not finite"), "{error}");
}

/// The paths that get a gradient in the whole model.
fn with_gradient(model: &Classifier, device: &Device) -> Vec<String> {
    let gradients = model.forward(ids(device)).powi_scalar(2).sum().backward();
    let mut visitor = WithGradient { path: Vec::new(), gradients: &gradients, found: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

#[test]
fn modules_to_save_are_trained_in_a_copy_and_saved_as_pytorch_has_them() {
    let device = device();
    let base = Classifier::new(&device);
    let config = config(["query"]).with_modules_to_save(["head", "blocks.1.norm", "embed"]);
    let (model, report) = attach_to_module(&config, base.clone(), 7).unwrap();
    assert_eq!(report.saved, ["embed", "blocks.1.norm", "head"]);
    let copied = VOCAB * WIDTH + 2 * WIDTH + WIDTH * CLASSES + CLASSES;
    assert_eq!(report.trainable, copied + 2 * 2 * (WIDTH + INNER));
    let found = with_gradient(&model, &device);
    let wanted = [
        "embed.weight.burnisher_saved.matrix",
        "blocks.0.query.weight.burnisher_lora.a",
        "blocks.0.query.weight.burnisher_lora.b",
        "blocks.1.query.weight.burnisher_lora.a",
        "blocks.1.query.weight.burnisher_lora.b",
        "blocks.1.norm.gamma.burnisher_saved.vector",
        "blocks.1.norm.beta.burnisher_saved.vector",
        "head.weight.burnisher_saved.matrix",
        "head.bias.burnisher_saved.vector",
    ];
    assert_eq!(found, wanted);

    // A step of descent on everything that has a gradient, by hand.
    let trained = descend(model, &device);
    let head = trained.head.as_ref().unwrap();
    assert_ne!(bits(head.weight.val()), bits(head.weight.base()));
    let mut bases = Bits::of(&trained);
    bases.retain(|path, _| !path.contains("burnisher"));
    assert_eq!(bases, Bits::of(&base));

    let dir = tempfile::tempdir().unwrap();
    save_module_peft(&trained, &config, dir.path()).unwrap();
    let tensors = PeftFiles::read(dir.path()).unwrap().tensors;
    let shape = |tail: &str| tensors[&format!("base_model.model.{tail}")].shape.clone();
    assert_eq!(shape("head.weight"), [CLASSES, WIDTH]);
    assert_eq!(shape("head.bias"), [CLASSES]);
    assert_eq!(shape("blocks.1.norm.weight"), [WIDTH]);
    assert_eq!(shape("blocks.1.norm.bias"), [WIDTH]);
    assert_eq!(shape("embed.weight"), [VOCAB, WIDTH]);
    assert_eq!(tensors.len(), 9);
    let transposed = values(head.weight.val().transpose());
    assert_eq!(tensors["base_model.model.head.weight"].values, transposed);

    for is_trainable in [false, true] {
        let (again, _, report) = load_module_peft(dir.path(), base.clone(), is_trainable).unwrap();
        assert_eq!(Bits::of(&again), Bits::of(&trained));
        assert_eq!(report.trainable > 0, is_trainable);
        assert_eq!(bits(again.forward(ids(&device))), bits(trained.forward(ids(&device))));
    }
    let merged = merge_module(trained.clone()).unwrap();
    assert_eq!(bits(merged.head.as_ref().unwrap().weight.base()), bits(head.weight.val()));
    assert_close(merged.forward(ids(&device)), trained.forward(ids(&device)), 1e-5, "logits");
    assert_eq!(Bits::of(&detach_module(trained).unwrap()), Bits::of(&base));
}

/// Subtracts the gradient from every parameter that has one.
fn descend(model: Classifier, device: &Device) -> Classifier {
    struct Descent(Gradients);
    impl burn::module::ModuleMapper for Descent {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(gradient) = param.val().grad(&self.0) else { return param };
            param.map(|value| (value.without_autodiff() - gradient.mul_scalar(0.1)).autodiff().require_grad())
        }
    }
    let gradients = model.forward(ids(device)).powi_scalar(2).sum().backward();
    model.map(&mut Descent(gradients))
}

#[test]
fn biases_are_trained_in_copies_under_the_keys_of_peft() {
    let device = device();
    let base = Classifier::new(&device);
    for (bias, wanted) in [
        (Bias::LoraOnly, &["blocks.0.query.base_layer.bias", "blocks.1.query.base_layer.bias"][..]),
        (
            Bias::All,
            &[
                "blocks.0.norm.bias",
                "blocks.0.query.base_layer.bias",
                "blocks.1.norm.bias",
                "blocks.1.query.base_layer.bias",
                "conv.bias",
                "head.bias",
            ],
        ),
    ] {
        let config = config(["query", "value"]).with_bias(bias);
        let (model, report) = attach_to_module(&config, base.clone(), 7).unwrap();
        assert_eq!(report.biases.len(), wanted.len());
        let trained = descend(model, &device);
        let dir = tempfile::tempdir().unwrap();
        save_module_peft(&trained, &config, dir.path()).unwrap();
        let tensors = PeftFiles::read(dir.path()).unwrap().tensors;
        let keys = tensors.keys().filter_map(|key| key.strip_prefix("base_model.model."));
        let keys: Vec<&str> = keys.filter(|key| key.ends_with("bias")).collect();
        assert_eq!(keys, wanted);
        let (again, _, _) = load_module_peft(dir.path(), base.clone(), true).unwrap();
        assert_eq!(Bits::of(&again), Bits::of(&trained));
        // The split path sees the trained bias.
        let x: Tensor<2> = Tensor::ones([1, WIDTH], &device);
        let layer = &again.blocks[0].query;
        assert_close(lora_forward(layer, x.clone()), layer.forward(x), 1e-5, "y");
        // A model with trained biases is not what a configuration without them describes.
        let error = message(save_module_peft(&again, &config.with_bias(Bias::None), dir.path()));
        assert!(error.contains("unexpected: base_model.model.blocks.0.query.bias"), "{error}");
        assert_eq!(Bits::of(&detach_module(again).unwrap()), Bits::of(&base));
    }
}

#[test]
fn modules_that_cannot_be_saved_whole_are_refused() {
    let device = device();
    let config = config(["query"]).with_modules_to_save(["conv", "gate", "head"]);
    let error = message(attach_to_module(&config, Classifier::new(&device), 7));
    assert_eq!(
        error,
        "modules_to_save matches conv (Conv1d), gate (a parameter [6, 6] of Classifier): of a foreign Burn module it \
         can change nn::Linear, nn::Embedding, nn::LayerNorm and nn::RmsNorm"
    );
}

#[test]
fn evaluation_and_training_modes_keep_the_adapter() {
    let device = device();
    let (model, _) = attach(["query"], &device);
    let evaluated = model.valid();
    let plain = Device::flex();
    let found = evaluated.forward(ids(&plain));
    assert!(!found.is_autodiff());
    assert_close(found, model.forward(ids(&device)).without_autodiff(), 1e-6, "logits");
    let again = evaluated.train();
    let gradients = again.forward(ids(&device)).sum().backward();
    assert!(lora(&again.blocks[0].query.weight).b().grad(&gradients).is_some());
    assert!(again.blocks[0].query.weight.base().grad(&gradients).is_none());
}

#[test]
fn a_model_outside_autodiff_trains_once_it_is_asked_to() {
    let (model, _) = attach(["query"], &Device::flex());
    let model = model.train();
    let gradients = model.forward(ids(&device())).sum().backward();
    assert!(lora(&model.blocks[1].query.weight).a().grad(&gradients).is_some());
    assert!(model.gate.val().grad(&gradients).is_none());
}

/// Before its first use, such a layer says the shape of the transposed weight.
#[test]
fn a_column_major_layer_is_measured_by_its_weight() {
    let device = device();
    let mut base = Classifier::new(&device);
    base.blocks[0].query = LinearConfig::new(WIDTH, INNER).with_layout(LinearLayout::Col).init(&device);
    let (model, _) = attach_to_module(&config(["query"]), base, 7).unwrap();
    let layer = &model.blocks[0].query;
    assert_eq!(lora(&layer.weight).a().dims(), [2, WIDTH]);
    let x: Tensor<2> = Tensor::random([3, WIDTH], Distribution::Default, &device);
    assert_close(lora_forward(layer, x.clone()), layer.forward(x), 1e-5, "y");
}

#[test]
fn a_bf16_weight_is_summed_in_f32_and_rounded_once() {
    let device = Device::flex();
    let half = |tensor: Tensor<2>| Param::from_tensor(tensor.cast(FloatDType::BF16));
    let mut base = Classifier::new(&device);
    let weight = base.blocks[0].query.weight.val();
    base.blocks[0].query = Linear { weight: half(weight), bias: None };
    let (model, _) = attach_to_module(&config(["blocks.0.query"]), base, 7).unwrap();
    let weight = &model.blocks[0].query.weight;
    let lora = lora(weight);
    assert_eq!((lora.a().dtype(), weight.val().dtype()), (DType::F32, DType::BF16));
    let delta = lora.a().transpose().matmul(lora.b().transpose().mul_scalar(lora.scaling()));
    let wanted = (weight.base().cast(FloatDType::F32) + delta).cast(FloatDType::BF16);
    assert_eq!(bits(weight.val().cast(FloatDType::F32)), bits(wanted.cast(FloatDType::F32)));
    let x: Tensor<2> = Tensor::<2>::ones([2, WIDTH], &device).cast(FloatDType::BF16);
    let split = lora_forward(&model.blocks[0].query, x.clone());
    assert_eq!(split.dtype(), DType::BF16);
    let dense = model.blocks[0].query.forward(x);
    // bf16 has 8 bits: two roundings of values below 8.
    assert_close(split.cast(FloatDType::F32), dense.cast(FloatDType::F32), 0.06, "y");
}

#[test]
fn a_weight_quantized_by_burn_keeps_its_codes_and_merges_dense() {
    let device = Device::flex();
    let scheme = device.settings().quantization.scheme.with_value(QuantValue::Q8S);
    let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let mut base = Classifier::new(&device);
    base.blocks[0].query = LinearConfig::new(8, 8).init(&device).quantize_weights(&mut quantizer);
    let (model, _) = attach_to_module(&config(["blocks.0.query"]), base, 7).unwrap();
    let layer = &model.blocks[0].query;
    assert!(!layer.weight.base().dtype().is_float());
    let x: Tensor<2> = Tensor::random([3, 8], Distribution::Default, &device);
    let dense = layer.weight.base().dequantize()
        + lora(&layer.weight).b().matmul(lora(&layer.weight).a()).transpose().mul_scalar(1.5);
    assert_close(layer.weight.val(), dense.clone(), 1e-6, "weight");
    assert_close(lora_forward(layer, x.clone()), layer.forward(x), 1e-5, "y");
    let merged = merge_module(model).unwrap();
    assert_close(merged.blocks[0].query.weight.base(), dense, 1e-6, "merged");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// For every shape and rank: the dense path, the split path and the merged layer agree, and the files hold the factors.
    #[test]
    fn paths_agree_and_files_return_the_factors(
        inn in 1_usize..9, out in 1_usize..9, r in 1_usize..5, rows in 1_usize..4, seed in any::<u64>(),
        alpha in 0.5_f64..8.0, rslora in any::<bool>(), bias in any::<bool>(),
    ) {
        #[derive(Module, Debug)]
        struct One {
            only: Linear,
        }
        let device = Device::flex();
        let base = One { only: LinearConfig::new(inn, out).with_bias(bias).init(&device) };
        let config = LoraConfig::new(r)
            .with_lora_alpha(alpha)
            .with_use_rslora(rslora)
            .with_init_lora_weights(InitLoraWeights::Random)
            .with_target_modules(TargetModules::AllLinear);
        let (model, _) = attach_to_module(&config, base.clone(), seed).unwrap();
        let x: Vec<f32> = (0..rows * inn).map(|index| (index as f32 * 0.7).sin()).collect();
        let x: Tensor<2> = Tensor::from_data(TensorData::new(x, [rows, inn]), &device);
        let y = model.only.forward(x.clone());
        assert_close(lora_forward(&model.only, x.clone()), y.clone(), 1e-4, "split");
        let dir = tempfile::tempdir().unwrap();
        save_module_peft(&model, &config, dir.path()).unwrap();
        let (again, _, _) = load_module_peft(dir.path(), base.clone(), false).unwrap();
        prop_assert_eq!(Bits::of(&again), Bits::of(&model));
        prop_assert_eq!(Bits::of(&detach_module(again).unwrap()), Bits::of(&base));
        assert_close(merge_module(model).unwrap().only.forward(x), y, 1e-5, "merged");
    }
}
