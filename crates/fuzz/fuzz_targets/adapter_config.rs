//! adapter_config.json of every method. A configuration that was read is valid, and written reads equal.
#![no_main]

use burnisher_lora::{AdapterConfig, PeftFiles, obstacles};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice(data) else {
        return;
    };
    let config = match AdapterConfig::from_json(value) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    config.validate().unwrap();
    let text = config.to_json();
    let again = AdapterConfig::from_json(serde_json::from_str(&text).unwrap()).unwrap();
    // The text, since a file without a `peft_version` gets one.
    assert_eq!(again.to_json(), text);
    if let Some(lora) = config.as_lora() {
        let _ = lora.scaling_for("model.layers.0.self_attn.q_proj");
    }
    obstacles(&PeftFiles { config, tensors: Default::default() });
});
