//! Models from scratch: the same random values in every storage.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Tensor};
use burnisher_lora::{Adaptable, Site, Weight, visit_parameters};
use burnisher_models::{CausalLm, ComputeDtype, LoadConfig, ModelConfig};
use burnisher_quant::{QuantConfig, SourceDtype};

use crate::support::{fixture, values};

const SEED: u64 = 7;

/// A tied and two untied heads, one with biases; both forms of norm.
const CONFIGS: [&str; 3] = ["llama2", "llama-bias-linear", "gemma"];

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

#[test]
fn bf16_is_the_f32_model_rounded() {
    for name in CONFIGS {
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
    for name in CONFIGS {
        let want = parameters(init(name), |flat| flat);
        for (double_quant, source) in
            [(false, SourceDtype::F32), (true, SourceDtype::F32), (true, SourceDtype::Bf16)]
        {
            let quantize = QuantConfig::nf4().with_double_quant(double_quant).with_source_dtype(source);
            let mut model = init_with(name, &LoadConfig::new().with_quantize(quantize));
            for (parameter, got) in parameters(model.clone(), |flat| flat) {
                assert!(got == want[&parameter], "{name}: {parameter}");
            }
            let wanted_projections = 7 * model.config().num_hidden_layers;
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
