//! config.json. A configuration that was read is consistent, and written reads equal; a model of it is not in an empty
//! checkpoint.
#![no_main]

use std::sync::LazyLock;

use burn::tensor::Device;
use burnisher_fuzz::Scratch;
use burnisher_models::{CausalLm, LoadConfig, ModelConfig, write_safetensors};
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new("model_config");
    write_safetensors(scratch.dir().join("model.safetensors"), &[], &Default::default()).unwrap();
    scratch
});

fuzz_target!(|text: &str| {
    let config = match ModelConfig::from_json(text, "config.json") {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(config.num_attention_heads, config.heads_per_group() * config.num_key_value_heads);
    assert_eq!(config.layer_types.len(), config.num_hidden_layers);
    assert_eq!(config.head_dim % 2, 0);
    assert!(config.rms_norm_eps.is_finite() && config.attention_scale.is_finite());
    assert!([config.hidden_size, config.vocab_size, config.head_dim].iter().all(|size| *size > 0));
    for layer in 0..config.num_hidden_layers {
        assert!(config.window(layer).is_none_or(|window| window > 0));
    }
    // NaN and infinities stand in no JSON file; what is computed from one must not hold them either.
    let shown = format!("{config:?}");
    assert!(!shown.contains("NaN") && !shown.contains(": inf"), "{shown}");
    let again = ModelConfig::from_json(&config.to_json(), "written").unwrap();
    assert_eq!(again, config);
    // Every missing tensor is named.
    if config.num_hidden_layers < 4 {
        SCRATCH.write("config.json", text.as_bytes());
        let error = CausalLm::from_pretrained(SCRATCH.dir(), &LoadConfig::new(), &Device::flex()).err();
        assert!(error.is_some_and(|error| !error.to_string().is_empty()));
    }
});
