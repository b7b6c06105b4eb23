//! Models from scratch: the same random values in every storage.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Tensor};
use burnisher_kernels::NormWeight;
use burnisher_lora::{Adaptable, Site, Weight, visit_parameters};
use burnisher_models::{CausalLm, ComputeDtype, LoadConfig, ModelConfig};
use burnisher_quant::{QuantConfig, SourceDtype};

use crate::support::{fixture, models, values};

const SEED: u64 = 7;

/// Tied and untied heads, with biases and without; both forms of norm; fused projections and norms of heads.
fn configs() -> impl Iterator<Item = &'static str> {
    models().into_iter().filter(|name| !["llama3", "llama-sharded", "mistral"].contains(name))
}

fn config(name: &str) -> ModelConfig {
    ModelConfig::from_dir(fixture(&format!("models/{name}"))).unwrap()
}

fn init(name: &str) -> CausalLm {
    CausalLm::init(config(name), SEED, &Device::flex()).unwrap()
}

fn init_with(name: &str, load: &LoadConfig) -> CausalLm {
    CausalLm::init_with(config(name), SEED, load, &Device::flex()).unwrap()
}

/// Dtype and values of every dense parameter, by name.
fn parameters(
    mut model: CausalLm,
    change: impl Fn(Tensor<1>) -> Tensor<1>,
) -> BTreeMap<String, (FloatDType, Vec<f32>)> {
    let mut found = BTreeMap::new();
    visit_parameters(&mut model, &mut |name, parameter| {
        let flat = change(parameter.flat());
        found.insert(name.to_owned(), (FloatDType::from(flat.dtype()), values(&flat)));
    });
    found
}

/// Norms change nothing, biases add nothing, and every weight is another one.
#[test]
fn norms_and_biases_start_neutral() {
    for name in configs() {
        let identity = if config(name).norm_weight == NormWeight::OnePlus { 0.0 } else { 1.0 };
        let mut matrices = Vec::new();
        for (parameter, (_, values)) in parameters(init(name), |flat| flat) {
            if parameter.ends_with("norm.weight") {
                assert!(values.iter().all(|value| *value == identity), "{name}: {parameter}");
            } else if parameter.ends_with(".bias") {
                assert!(values.iter().all(|value| *value == 0.0), "{name}: {parameter}");
            } else {
                assert!(values.iter().all(|value| value.abs() < 0.2), "{name}: {parameter}");
                matrices.push(values[0].to_bits());
            }
        }
        let count = matrices.len();
        matrices.sort_unstable();
        matrices.dedup();
        assert_eq!(matrices.len(), count, "{name}: streams");
    }
}

#[test]
fn bf16_is_the_f32_model_rounded() {
    for name in configs() {
        let got = init_with(name, &LoadConfig::new().with_dtype(ComputeDtype::Bf16));
        let got = parameters(got, |flat| flat);
        let want = parameters(init(name), |flat| flat.cast(FloatDType::BF16));
        assert!(got.keys().eq(want.keys()), "{name}");
        for (parameter, got) in &got {
            assert_eq!(got.0, FloatDType::BF16, "{name}: {parameter}");
            assert!(*got == want[parameter], "{name}: {parameter}");
        }
    }
}

#[test]
fn nf4_is_the_f32_model_quantized() {
    for name in configs() {
        let want = parameters(init(name), |flat| flat);
        for (double_quant, source) in
            [(false, SourceDtype::F32), (true, SourceDtype::F32), (true, SourceDtype::Bf16)]
        {
            let quantize = QuantConfig::nf4().with_double_quant(double_quant).with_source_dtype(source);
            let mut model = init_with(name, &LoadConfig::new().with_quantize(quantize));
            for (parameter, got) in parameters(model.clone(), |flat| flat) {
                assert!(got == want[&parameter], "{name}: {parameter}");
            }
            let per_layer = if model.config().fused_projections { 4 } else { 7 };
            let wanted_projections = per_layer * model.config().num_hidden_layers;
            let mut seen = 0;
            model.sites(&mut |path, site| {
                let Site::Projection(projection) = site else { return };
                let Weight::FourBit(weight) = projection.weight() else { panic!("{name}: {path} is dense") };
                let floats = want[&format!("{path}.weight")].1.iter();
                let floats: Vec<f32> = floats.map(|value| source.round(*value)).collect();
                let state = quantize.quantize(&floats, projection.dims()).unwrap();
                assert!(weight.to_state().unwrap() == state, "{name}: {path}");
                seen += 1;
            });
            assert_eq!(seen, wanted_projections, "{name}");
        }
    }
}
