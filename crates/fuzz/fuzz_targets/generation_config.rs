//! generation_config.json. What was read samples.
#![no_main]

use burnisher_models::{GenerationConfig, Sampling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match GenerationConfig::from_json(text, "generation_config.json") {
        Ok(config) => {
            let sampling = Sampling::from_generation_config(&config);
            match sampling.pick(&[0.5, -1.0, f32::NEG_INFINITY, 3.0], &[0, 3, 3], 7, 1) {
                Ok(token) => assert!(token < 4 && token != 2),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
