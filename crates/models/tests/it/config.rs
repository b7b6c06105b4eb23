//! Configurations: the fixtures in both spellings, transformers' defaults, and everything that can be wrong.

use std::fs;
use std::path::Path;

use burnisher_kernels::{Activation, NormWeight};
use burnisher_models::{
    CheckpointDtype, Family, GenerationConfig, LayerType, LlamaShape, ModelConfig, ModelError,
    QuantizationConfig, QuantizationMethod, RopeScaling,
};
use burnisher_quant::QuantType;
use serde_json::{Map, Value, json};

use crate::support::{fixture, models};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("reads")).expect("JSON")
}

fn parse(config: &Value) -> Result<ModelConfig, ModelError> {
    ModelConfig::from_json(&config.to_string(), "config.json")
}

/// The smallest configuration of a family: sizes have no defaults.
fn minimal(model_type: &str) -> Value {
    json!({
        "model_type": model_type,
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
    })
}

/// `base` with the entries of `changes` in place of its own.
fn with(mut base: Value, changes: Value) -> Value {
    let changes = changes.as_object().expect("an object").clone();
    base.as_object_mut().expect("an object").extend(changes);
    base
}

fn problems(config: &Value) -> Vec<String> {
    match parse(config) {
        Err(ModelError::Config { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("found {other:?} for {config}, wanted problems"),
    }
}

/// Everything but the text of the file.
fn architecture(config: &ModelConfig) -> String {
    let c = config;
    let sizes = (c.family, c.vocab_size, c.hidden_size, c.intermediate_size, c.num_hidden_layers);
    let heads = (c.num_attention_heads, c.num_key_value_heads, c.head_dim, &c.rope, &c.sliding_rope);
    let windows = (c.sliding_window, &c.layer_types);
    let scores = (c.attention_scale, c.attn_logit_softcapping, c.final_logit_softcapping, c.qk_norm);
    let projections = (c.attention_bias, c.output_bias, c.mlp_bias, c.fused_projections);
    let parts = (c.rms_norm_eps, c.norm_weight, c.output_norms, c.hidden_act, c.embed_scale);
    let tokens = (c.tie_word_embeddings, c.bos_token_id, &c.eos_token_ids, c.pad_token_id);
    let rest = (c.max_position_embeddings, c.dtype, &c.quantization);
    format!("{sizes:?} {heads:?} {windows:?} {scores:?} {projections:?} {parts:?} {tokens:?} {rest:?}")
}

#[test]
fn both_spellings_describe_the_same_model() {
    for name in models() {
        let dir = fixture(&format!("models/{name}"));
        let new = ModelConfig::from_dir(&dir).expect("a valid config");
        let path = dir.join("config_v4.json");
        let old = ModelConfig::from_json(&fs::read_to_string(&path).expect("reads"), &path)
            .expect("a valid config");
        assert_eq!(architecture(&new), architecture(&old), "{name}");
        for (config, file) in [(&new, dir.join("config.json")), (&old, path)] {
            let written: Value = serde_json::from_str(&config.to_json()).expect("JSON");
            assert_eq!(written, read(&file), "{name}");
        }
    }
}

#[test]
fn fixtures_have_their_architecture() {
    let config =
        |name: &str| ModelConfig::from_dir(fixture(&format!("models/{name}"))).expect("a valid config");

    let llama = config("llama2");
    assert_eq!((llama.family, llama.model_type()), (Family::Llama, "llama"));
    assert_eq!((llama.vocab_size, llama.hidden_size, llama.intermediate_size), (400, 64, 160));
    assert_eq!((llama.num_hidden_layers, llama.num_attention_heads, llama.num_key_value_heads), (2, 4, 4));
    assert_eq!((llama.head_dim, llama.rms_norm_eps, llama.max_position_embeddings), (16, 1e-5, 256));
    assert_eq!((llama.hidden_act, llama.norm_weight), (Activation::Silu, NormWeight::Plain));
    assert_eq!((llama.rope.theta, llama.rope.scaling), (1e4, RopeScaling::None));
    assert_eq!((llama.bos_token_id, llama.eos_token_ids, llama.pad_token_id), (Some(1), vec![2], Some(0)));
    assert_eq!((llama.sliding_window, llama.embed_scale, llama.quantization), (None, None, None));
    assert_eq!(llama.dtype, Some(CheckpointDtype::F32));
    assert!(!llama.tie_word_embeddings && !llama.attention_bias && !llama.mlp_bias);

    let llama3 = config("llama3");
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 64,
    };
    assert_eq!((llama3.rope.theta, &llama3.rope.scaling), (5e5, &scaling));
    assert_eq!((llama3.dtype, llama3.tie_word_embeddings), (Some(CheckpointDtype::BF16), true));
    assert_eq!(llama3.heads_per_group(), 2);

    let linear = config("llama-bias-linear");
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert_eq!((linear.head_dim, linear.dtype), (24, Some(CheckpointDtype::F16)));
    assert!(linear.attention_bias && linear.mlp_bias);

    let mistral = config("mistral");
    assert_eq!((mistral.family, mistral.sliding_window), (Family::Mistral, Some(8)));

    let gemma = config("gemma");
    assert_eq!((gemma.family, gemma.head_dim, gemma.embed_scale), (Family::Gemma, 32, Some(8.0)));
    assert_eq!((gemma.hidden_act, gemma.norm_weight), (Activation::GeluTanh, NormWeight::OnePlus));
    assert!(gemma.tie_word_embeddings);
}

#[test]
fn later_families_have_their_architecture() {
    use LayerType::{Full, Sliding};
    if !models().contains(&"gemma2") {
        return;
    }
    let config =
        |name: &str| ModelConfig::from_dir(fixture(&format!("models/{name}"))).expect("a valid config");

    let gemma2 = config("gemma2");
    assert_eq!(gemma2.layer_types, [Sliding, Full, Sliding, Full]);
    let windows = [0, 1, 2, 3].map(|layer| gemma2.window(layer));
    assert_eq!(windows, [Some(8), None, Some(8), None]);
    assert_eq!((gemma2.attn_logit_softcapping, gemma2.final_logit_softcapping), (Some(5.0), Some(4.0)));
    assert_eq!((gemma2.attention_scale, gemma2.sliding_rope), (24f64.powf(-0.5), None));
    assert_eq!((gemma2.hidden_act, gemma2.norm_weight), (Activation::GeluTanh, NormWeight::OnePlus));
    assert!(gemma2.output_norms && !gemma2.qk_norm);

    let gemma3 = config("gemma3");
    assert_eq!((gemma3.family, gemma3.model_type()), (Family::Gemma3Text, "gemma3_text"));
    assert_eq!(gemma3.layer_types, [Sliding, Sliding, Full, Sliding]);
    assert_eq!((gemma3.rope.theta, gemma3.rope.scaling), (1e6, RopeScaling::Linear { factor: 8.0 }));
    let sliding = gemma3.sliding_rope.expect("frequencies of its own");
    assert_eq!((sliding.theta, sliding.scaling), (1e4, RopeScaling::None));
    assert_eq!((gemma3.attn_logit_softcapping, gemma3.final_logit_softcapping), (None, None));
    assert_eq!((gemma3.attention_scale, gemma3.head_dim), (20f64.powf(-0.5), 24));
    assert!(gemma3.output_norms && gemma3.qk_norm);

    let qwen2 = config("qwen2");
    assert_eq!((qwen2.family, qwen2.sliding_window, qwen2.rope.theta), (Family::Qwen2, None, 1e6));
    assert_eq!((qwen2.attention_bias, qwen2.output_bias, qwen2.mlp_bias), (true, false, false));

    let qwen3 = config("qwen3");
    assert_eq!((qwen3.family, qwen3.head_dim, qwen3.attention_bias), (Family::Qwen3, 32, false));
    assert!(qwen3.qk_norm && !qwen3.output_norms && qwen3.tie_word_embeddings);

    let phi3 = config("phi3");
    assert_eq!(
        (phi3.family, phi3.sliding_window, phi3.layer_types),
        (Family::Phi3, Some(10), vec![Sliding; 2])
    );
    assert!(phi3.fused_projections && !phi3.attention_bias);
}

#[test]
fn missing_keys_have_the_defaults_of_transformers() {
    let config = |model_type| parse(&minimal(model_type)).expect("a valid config");

    let llama = config("llama");
    assert_eq!((llama.num_key_value_heads, llama.head_dim, llama.max_position_embeddings), (16, 4, 2048));
    assert_eq!((llama.rms_norm_eps, llama.rope.theta, llama.hidden_act), (1e-6, 1e4, Activation::Silu));
    assert_eq!((llama.bos_token_id, llama.eos_token_ids, llama.pad_token_id), (Some(1), vec![2], None));
    assert_eq!((llama.sliding_window, llama.dtype, llama.tie_word_embeddings), (None, None, false));

    let mistral = config("mistral");
    assert_eq!((mistral.num_key_value_heads, mistral.head_dim), (8, 4));
    assert_eq!((mistral.sliding_window, mistral.max_position_embeddings), (Some(4096), 131_072));

    let gemma = config("gemma");
    assert_eq!((gemma.num_key_value_heads, gemma.head_dim, gemma.max_position_embeddings), (16, 256, 8192));
    assert_eq!((gemma.bos_token_id, gemma.eos_token_ids, gemma.pad_token_id), (Some(2), vec![1], Some(0)));
    assert_eq!((gemma.hidden_act, gemma.tie_word_embeddings), (Activation::GeluTanh, true));

    let gemma2 = config("gemma2");
    assert_eq!((gemma2.num_key_value_heads, gemma2.head_dim, gemma2.max_position_embeddings), (4, 256, 8192));
    assert_eq!((gemma2.attn_logit_softcapping, gemma2.final_logit_softcapping), (Some(50.0), Some(30.0)));
    assert_eq!((gemma2.sliding_window, gemma2.attention_scale), (Some(4096), 1.0 / 16.0));
    assert_eq!((gemma2.bos_token_id, gemma2.eos_token_ids, gemma2.pad_token_id), (Some(2), vec![1], Some(0)));

    let gemma3 =
        parse(&with(minimal("gemma3_text"), json!({"num_hidden_layers": 7}))).expect("a valid config");
    let full = |config: &ModelConfig| -> Vec<usize> {
        (0..config.num_hidden_layers).filter(|layer| config.window(*layer).is_none()).collect()
    };
    assert_eq!((full(&gemma3), gemma3.max_position_embeddings), (vec![5], 131_072));
    assert_eq!((gemma3.rope.theta, gemma3.sliding_rope.map(|rope| rope.theta)), (1e6, Some(1e4)));
    assert_eq!((gemma3.attn_logit_softcapping, gemma3.final_logit_softcapping), (None, None));

    let qwen2 = parse(&with(minimal("qwen2"), json!({"num_attention_heads": 32}))).expect("a valid config");
    assert_eq!((qwen2.num_key_value_heads, qwen2.head_dim, qwen2.max_position_embeddings), (32, 2, 32_768));
    assert_eq!((qwen2.sliding_window, full(&qwen2)), (None, vec![0, 1]));
    assert_eq!((qwen2.bos_token_id, qwen2.eos_token_ids, qwen2.pad_token_id), (None, vec![], None));

    let qwen3 = parse(&with(minimal("qwen3"), json!({"num_attention_heads": 32}))).expect("a valid config");
    assert_eq!((qwen3.num_key_value_heads, qwen3.head_dim, qwen3.attention_bias), (32, 128, false));

    let phi3 = config("phi3");
    assert_eq!((phi3.num_key_value_heads, phi3.head_dim, phi3.max_position_embeddings), (16, 4, 4096));
    assert_eq!((phi3.rms_norm_eps, phi3.sliding_window), (1e-5, None));
    assert_eq!(
        (phi3.bos_token_id, phi3.eos_token_ids, phi3.pad_token_id),
        (Some(1), vec![32_000], Some(32_000))
    );
}

/// Which layers have a window, from what the families' files say about it.
#[test]
fn layers_have_the_windows_of_transformers() {
    let layers = |changes: Value| with(json!({"num_hidden_layers": 5, "num_attention_heads": 32}), changes);
    let types = |names: [&str; 5]| names.map(|name| format!("{name}_attention"));
    let mixed = types(["full", "sliding", "full", "full", "sliding"]);
    for (model_type, changes, sliding) in [
        ("mistral", json!({"sliding_window": 3}), vec![0, 1, 2, 3, 4]),
        ("phi3", json!({"sliding_window": 3}), vec![0, 1, 2, 3, 4]),
        ("phi3", json!({"sliding_window": null}), vec![]),
        ("qwen2", json!({"sliding_window": 3, "max_window_layers": 2}), vec![]),
        (
            "qwen2",
            json!({"sliding_window": 3, "max_window_layers": 2, "use_sliding_window": true}),
            vec![2, 3, 4],
        ),
        (
            "qwen2",
            json!({"sliding_window": 3, "max_window_layers": 0, "use_sliding_window": true}),
            vec![0, 1, 2, 3, 4],
        ),
        ("qwen3", json!({"sliding_window": 3, "use_sliding_window": true}), vec![]),
        ("qwen3", json!({"sliding_window": 3, "use_sliding_window": true, "layer_types": mixed}), vec![1, 4]),
        ("gemma2", json!({"sliding_window": 3}), vec![0, 2, 4]),
        (
            "gemma2",
            json!({"sliding_window": 3, "sliding_window_pattern": 3, "layer_types": mixed}),
            vec![1, 4],
        ),
        ("gemma3_text", json!({"sliding_window": 3}), vec![0, 1, 2, 3, 4]),
        ("gemma3_text", json!({"sliding_window": 3, "sliding_window_pattern": 2}), vec![0, 2, 4]),
        ("gemma3_text", json!({"sliding_window_pattern": 2, "layer_types": mixed}), vec![1, 4]),
    ] {
        let config = parse(&with(minimal(model_type), layers(changes.clone()))).expect("a valid config");
        let found: Vec<usize> = (0..5).filter(|layer| config.window(*layer).is_some()).collect();
        assert_eq!(found, sliding, "{model_type} {changes}");
    }
}

#[test]
fn rotary_embeddings_are_read_in_every_spelling() {
    let gemma3 = |changes: Value| parse(&with(minimal("gemma3_text"), changes)).expect("a valid config");
    let linear = RopeScaling::Linear { factor: 8.0 };
    let nested = json!({
        "full_attention": {"rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
    });
    for (changes, full, sliding) in [
        (json!({"rope_theta": 5.0, "rope_local_base_freq": 7.0}), (5.0, RopeScaling::None), 7.0),
        (json!({"rope_scaling": {"rope_type": "linear", "factor": 8}}), (1e6, linear.clone()), 1e4),
        (json!({"rope_parameters": nested}), (1e6, linear.clone()), 7.0),
        (json!({"rope_parameters": nested, "rope_theta": 5.0}), (5.0, linear), 7.0),
        (json!({"rope_parameters": {"full_attention": null}}), (1e6, RopeScaling::None), 1e4),
    ] {
        let config = gemma3(changes.clone());
        let own = config.sliding_rope.expect("frequencies of its own");
        assert_eq!((config.rope.theta, config.rope.scaling), full, "{changes}");
        assert_eq!((own.theta, own.scaling), (sliding, RopeScaling::None), "{changes}");
    }

    // Heads of 4 values, two pairs; turned in part, one.
    let phi3 = |changes: Value| {
        let lengths = json!({"max_position_embeddings": 4096, "original_max_position_embeddings": 64});
        parse(&with(with(minimal("phi3"), lengths), changes)).expect("a valid config").rope
    };
    let long = |key: &str, name: &str, changes: Value| {
        let scaling = json!({"short_factor": [1, 1.5], "long_factor": [2, 4]});
        phi3(json!({key: with(with(scaling, json!({name: "longrope"})), changes)}))
    };
    let scaling = |attention_factor: f64| RopeScaling::LongRope {
        short_factor: vec![1.0, 1.5],
        long_factor: vec![2.0, 4.0],
        attention_factor,
        original_max_position_embeddings: 64,
    };
    // 64 times the context of pre-training.
    assert_eq!(long("rope_scaling", "type", json!({})).scaling, scaling(2f64.sqrt()));
    assert_eq!(long("rope_scaling", "type", json!({"type": "su"})).scaling, scaling(2f64.sqrt()));
    assert_eq!(long("rope_parameters", "rope_type", json!({"factor": 1})).scaling, scaling(1.0));
    assert_eq!(
        long("rope_parameters", "rope_type", json!({"attention_factor": 1.25})).scaling,
        scaling(1.25)
    );
    let part = phi3(json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}));
    assert_eq!((part.partial_rotary_factor, part.rotary_dim(4)), (0.5, 2));
    assert_eq!(phi3(json!({"partial_rotary_factor": 0.5})).rotary_dim(4), 2);
}

#[test]
fn values_are_read_as_transformers_reads_them() {
    let nulls = json!({
        "num_key_value_heads": null, "head_dim": null, "sliding_window": null, "bos_token_id": null,
        "eos_token_id": null, "rope_parameters": null, "rope_scaling": null, "quantization_config": null, "dtype": null,
    });
    let config = parse(&with(minimal("mistral"), nulls)).expect("a valid config");
    assert_eq!((config.num_key_value_heads, config.head_dim, config.sliding_window), (16, 4, None));
    assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![]));

    let several = json!({"eos_token_id": [2, 7], "pad_token_id": -1, "num_attention_heads": 4, "num_key_value_heads": 2});
    let config = parse(&with(minimal("llama"), several)).expect("a valid config");
    assert_eq!((config.eos_token_ids, config.pad_token_id), (vec![2, 7], None));

    // Biases and windows are options of some families only.
    let options = json!({"attention_bias": true, "mlp_bias": true, "sliding_window": 8});
    for (model_type, expected) in
        [("llama", (true, true, None)), ("mistral", (false, false, Some(8))), ("gemma", (true, false, None))]
    {
        let config = parse(&with(minimal(model_type), options.clone())).expect("a valid config");
        let found = (config.attention_bias, config.mlp_bias, config.sliding_window);
        assert_eq!(found, expected, "{model_type}");
    }

    // The base beside the scaling's other parameters wins over the old place.
    let rope = json!({"rope_theta": 5.0, "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 7.0}});
    let config = parse(&with(minimal("llama"), rope)).expect("a valid config");
    assert_eq!((config.rope.theta, config.rope.scaling), (7.0, RopeScaling::Linear { factor: 2.0 }));
    let rope = json!({"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.5}});
    let config = parse(&with(minimal("llama"), rope)).expect("a valid config");
    assert_eq!((config.rope.theta, config.rope.scaling), (5.0, RopeScaling::Linear { factor: 2.5 }));
}

/// v4 Gemma took tanh-GELU whatever `hidden_act` said; v5 believes it.
#[test]
fn an_old_gemma_says_gelu_and_means_its_approximation() {
    for (changes, expected) in [
        (json!({"hidden_act": "gelu"}), Some(Activation::GeluTanh)),
        (json!({"hidden_act": "gelu", "hidden_activation": null}), Some(Activation::GeluTanh)),
        (json!({"hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}), Some(Activation::GeluTanh)),
        (json!({"hidden_activation": "gelu"}), None),
        (json!({"hidden_act": "gelu", "rope_parameters": {"rope_theta": 1e4}}), None),
    ] {
        let found = parse(&with(minimal("gemma"), changes.clone())).ok().map(|config| config.hidden_act);
        assert_eq!(found, expected, "{changes}");
    }
}

#[test]
fn an_unknown_architecture_names_the_known_ones() {
    let wanted = "wanted one of llama, mistral, gemma, gemma2, gemma3_text, qwen2, qwen3, phi3";
    for (config, found) in [
        (json!({"model_type": "gpt2", "hidden_size": "?"}), "\"gpt2\""),
        (json!({"model_type": 3}), "3"),
        (json!({}), "nothing"),
    ] {
        assert_eq!(problems(&config), [format!("`model_type`: found {found}, {wanted}")]);
    }
    let error = parse(&json!({"model_type": "phi"})).expect_err("an unknown architecture");
    assert_eq!(error.to_string(), format!("config.json: `model_type`: found \"phi\", {wanted}"));

    // Text and images.
    let both =
        json!({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": {}});
    let wanted = wanted.replace("wanted", "wanted a text model alone,");
    assert_eq!(problems(&both), [format!("`model_type`: found \"gemma3\", {wanted}")]);
}

#[test]
fn every_problem_is_listed_at_once() {
    let found = problems(&json!({
        "model_type": "llama",
        "vocab_size": "100",
        "hidden_size": 65,
        "intermediate_size": 0,
        "num_hidden_layers": 2000000000,
        "num_attention_heads": 4,
        "num_key_value_heads": 3,
        "rms_norm_eps": -1.0,
        "hidden_act": "relu",
        "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
        "partial_rotary_factor": 0.5,
        "attention_bias": "no",
        "attention_dropout": 0.1,
        "eos_token_id": [2, "x"],
        "bos_token_id": 1.5,
        "dtype": "int3",
        "quantization_config": {"quant_method": "gptq", "bits": 4},
    }));
    assert_eq!(
        found,
        [
            "`vocab_size`: found \"100\", wanted an integer from 1 to 2147483647",
            "`intermediate_size`: found 0, wanted an integer from 1 to 2147483647",
            "`num_hidden_layers`: found 2000000000, wanted at most 10000",
            "`hidden_size`: found 65, wanted a multiple of num_attention_heads, 4, or a head_dim",
            "`num_key_value_heads`: found 3, wanted a divisor of num_attention_heads, 4",
            "`rms_norm_eps`: found -1.0, wanted a positive number",
            "`hidden_act`: found \"relu\", wanted \"silu\" or \"gelu_pytorch_tanh\"",
            "`partial_rotary_factor`: found 0.5, wanted 1.0",
            "`rope_scaling.rope_type`: found \"yarn\", wanted default, linear or llama3",
            "`attention_bias`: found \"no\", wanted true or false",
            "`bos_token_id`: found 1.5, wanted a token id or null",
            "`eos_token_id`: found [2,\"x\"], wanted a token id, a list of token ids or null",
            "`dtype`: found \"int3\", wanted \"float32\", \"float16\" or \"bfloat16\"",
            "`quantization_config.quant_method`: found \"gptq\", wanted \"bitsandbytes\"",
            "`attention_dropout`: found 0.1, wanted 0.0: attention weights are not dropped",
        ]
    );
    let sizes =
        ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"];
    let wanted = "wanted an integer from 1 to 2147483647";
    let expected = sizes.map(|size| format!("`{size}`: found nothing, {wanted}"));
    assert_eq!(problems(&json!({"model_type": "llama"})), expected);
}

#[test]
fn each_rule_has_its_message() {
    let llama3 = |changes| {
        let complete = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
        json!({"rope_parameters": with(complete, changes)})
    };
    let nf4 = |changes| {
        let complete = json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"});
        json!({"quantization_config": with(complete, changes)})
    };
    for (model_type, changes, expected) in [
        ("llama", json!({"head_dim": 15}), "`head_dim`: found 15, wanted an even number: RoPE turns pairs"),
        (
            "llama",
            json!({"rope_scaling": "linear"}),
            "`rope_scaling`: found \"linear\", wanted an object or null",
        ),
        ("llama", json!({"rope_theta": 0}), "`rope_theta`: found 0, wanted a positive number"),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "`rope_scaling.factor`: found nothing, wanted a positive number",
        ),
        (
            "llama",
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            "`rope_parameters`: found {\"full_attention\":{\"rope_type\":\"default\"}}, wanted one set of parameters for all \
          layers",
        ),
        (
            "llama",
            llama3(json!({"high_freq_factor": 1.0})),
            "`rope_parameters.high_freq_factor`: found 1.0, wanted more than low_freq_factor, 1",
        ),
        (
            "llama",
            llama3(json!({"original_max_position_embeddings": null})),
            "`rope_parameters.original_max_position_embeddings`: found null, wanted an integer from 1 to 2147483647",
        ),
        (
            "mistral",
            json!({"sliding_window": 0}),
            "`sliding_window`: found 0, wanted an integer from 1 to 2147483647",
        ),
        (
            "gemma2",
            json!({"sliding_window": null}),
            "`sliding_window`: found null, wanted a window for the layers that slide",
        ),
        (
            "qwen3",
            json!({"num_attention_heads": 32, "layer_types": ["full_attention", "sliding_attention"]}),
            "`sliding_window`: found nothing, wanted a window for the layers that slide",
        ),
        (
            "gemma2",
            json!({"layer_types": ["full_attention", "chunked_attention"]}),
            "`layer_types`: found [\"full_attention\",\"chunked_attention\"], wanted 2 entries, \"full_attention\" or \
             \"sliding_attention\"",
        ),
        (
            "gemma2",
            json!({"layer_types": ["full_attention"]}),
            "`layer_types`: found [\"full_attention\"], wanted 2 entries, \"full_attention\" or \"sliding_attention\"",
        ),
        (
            "gemma2",
            json!({"final_logit_softcapping": 0}),
            "`final_logit_softcapping`: found 0, wanted a positive number or null",
        ),
        (
            "gemma2",
            json!({"query_pre_attn_scalar": -1}),
            "`query_pre_attn_scalar`: found -1, wanted a positive number",
        ),
        (
            "gemma3_text",
            json!({"attn_logit_softcapping": 50.0}),
            "`attn_logit_softcapping`: found 50.0, wanted null: transformers applies none in a gemma3_text",
        ),
        (
            "gemma3_text",
            json!({"rope_parameters": {"rope_theta": 1.0}}),
            "`rope_parameters.rope_theta`: found 1.0, wanted nothing: parameters stand under full_attention and \
             sliding_attention",
        ),
        (
            "gemma3_text",
            json!({"rope_scaling": {"type": "linear", "factor": 8.0}}),
            "`rope_scaling.rope_type`: found nothing, wanted what `type` says, which transformers 5 does not read here",
        ),
        (
            "gemma3_text",
            json!({"rope_parameters": {}, "rope_scaling": {"rope_type": "default"}}),
            "`rope_scaling`: found {\"rope_type\":\"default\"}, wanted null beside rope_parameters",
        ),
        (
            "phi3",
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            "`rope_scaling.type`: found \"linear\", wanted default or longrope",
        ),
        (
            "phi3",
            json!({"rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0]}}),
            "`rope_scaling.long_factor`: found [1.0], wanted a list of 2 positive numbers",
        ),
        // Found when the fuzz targets were written: its attention factor was infinite.
        (
            "phi3",
            json!({"original_max_position_embeddings": 1,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0, 1.0]}}),
            "`rope_scaling.attention_factor`: found nothing, wanted a positive number",
        ),
        (
            "phi3",
            json!({"partial_rotary_factor": 0.75}),
            "`partial_rotary_factor`: found 0.75, wanted a part of the head's 4 values that is an even number of them",
        ),
        (
            "phi3",
            json!({"resid_pdrop": 0.1}),
            "`resid_pdrop`: found 0.1, wanted 0.0: only adapters' inputs are dropped",
        ),
        (
            "gemma",
            json!({"use_bidirectional_attention": true}),
            "`use_bidirectional_attention`: found true, wanted false or null",
        ),
        (
            "llama",
            json!({"quantization_config": {"load_in_4bit": null}}),
            "`quantization_config.load_in_4bit`: found null, wanted true, or load_in_8bit true, and not both",
        ),
        (
            "llama",
            json!({"quantization_config": {"load_in_4bit": true, "bnb_4bit_quant_type": 4}}),
            "`quantization_config.bnb_4bit_quant_type`: found 4, wanted a string",
        ),
        (
            "llama",
            nf4(json!({"bnb_4bit_quant_type": "int4"})),
            "`quantization_config.bnb_4bit_quant_type`: found \"int4\", wanted \"nf4\" or \"fp4\"",
        ),
        (
            "llama",
            nf4(json!({"bnb_4bit_quant_storage": "bfloat16"})),
            "`quantization_config.bnb_4bit_quant_storage`: found \"bfloat16\", wanted \"uint8\"",
        ),
        (
            "llama",
            nf4(json!({"llm_int8_skip_modules": "lm_head"})),
            "`quantization_config.llm_int8_skip_modules`: found \"lm_head\", wanted a list of module names or null",
        ),
    ] {
        assert_eq!(problems(&with(minimal(model_type), changes)), [expected]);
    }
}

#[test]
fn files_that_are_no_configuration_are_errors() {
    for text in ["", "{", "[]", "null", "\u{feff}{}"] {
        let error = ModelConfig::from_json(text, "config.json").expect_err("no configuration");
        assert!(matches!(error, ModelError::Json { .. }), "{text}: {error}");
    }
    let error = ModelConfig::from_dir(fixture("nowhere")).expect_err("no file");
    assert!(matches!(error, ModelError::Io { .. }), "{error}");
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn a_four_bit_checkpoint_keeps_its_quantization() {
    let dir = fixture("bnb/ckpt_nf4_double");
    let config = ModelConfig::from_dir(&dir).expect("a valid config");
    let method = QuantizationMethod::FourBit { quant_type: QuantType::Nf4, double_quant: true };
    let expected = QuantizationConfig::new(method);
    assert_eq!(config.quantization, Some(expected.clone()));

    // Dense again, and quantized again: the file is transformers', key by key.
    let dense = config.clone().with_quantization(None);
    assert_eq!(dense.quantization, None);
    let mut wanted = read(&dir.join("config.json"));
    let keys = wanted.as_object_mut().expect("an object");
    let quantization = keys.remove("quantization_config");
    assert_eq!(serde_json::from_str::<Value>(&dense.to_json()).expect("JSON"), wanted);
    let again = dense.with_quantization(Some(expected));
    let written: Value = serde_json::from_str(&again.to_json()).expect("JSON");
    assert_eq!(written.get("quantization_config"), quantization.as_ref());
}

#[test]
fn a_new_llama_writes_the_file_of_transformers() {
    let shape = LlamaShape {
        vocab_size: 400,
        hidden_size: 64,
        intermediate_size: 160,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        pad_token_id: Some(0),
        ..LlamaShape::default()
    };
    let config = ModelConfig::llama(shape.clone()).expect("a valid shape");
    let dir = fixture("models/llama2");
    assert_eq!(
        serde_json::from_str::<Value>(&config.to_json()).expect("JSON"),
        read(&dir.join("config.json"))
    );
    assert_eq!(architecture(&config), architecture(&ModelConfig::from_dir(&dir).expect("a valid config")));

    let config = config.with_dtype(CheckpointDtype::BF16);
    assert_eq!(config.dtype, Some(CheckpointDtype::BF16));
    assert_eq!(
        parse(&serde_json::from_str(&config.to_json()).expect("JSON")).expect("a valid config"),
        config
    );

    let wrong = LlamaShape { vocab_size: 0, num_key_value_heads: 3, dtype: CheckpointDtype::U8, ..shape };
    let Err(ModelError::Config { problems, .. }) = ModelConfig::llama(wrong) else {
        panic!("a shape that fits nothing was taken");
    };
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["vocab_size", "num_key_value_heads", "dtype"]);
}

#[test]
fn the_old_spelling_stays_when_the_dtype_changes() {
    let path = fixture("models/llama3/config_v4.json");
    let config =
        ModelConfig::from_json(&fs::read_to_string(&path).expect("reads"), &path).expect("a valid config");
    let written: Map<String, Value> =
        serde_json::from_str(&config.with_dtype(CheckpointDtype::F32).to_json()).expect("JSON");
    assert_eq!(written["torch_dtype"], "float32");
    assert!(!written.contains_key("dtype"));
}

#[test]
fn generation_configs_are_optional_and_checked() {
    let config = GenerationConfig::from_dir(fixture("models/llama2")).expect("a valid file").expect("a file");
    assert_eq!((config.bos_token_id, config.eos_token_ids, config.pad_token_id), (Some(1), vec![2], Some(0)));
    assert_eq!((config.do_sample, config.temperature, config.top_k, config.top_p), (false, None, None, None));
    assert_eq!(GenerationConfig::from_dir(fixture("nowhere")).expect("no file is no error"), None);

    let text = r#"{"eos_token_id": [1, 2], "do_sample": true, "temperature": 0.6, "top_k": 50, "top_p": 0.9,
                   "repetition_penalty": 1.1, "max_new_tokens": 256, "num_beams": 1}"#;
    let config = GenerationConfig::from_json(text, "g.json").expect("a valid file");
    assert_eq!((config.eos_token_ids, config.do_sample, config.temperature), (vec![1, 2], true, Some(0.6)));
    assert_eq!((config.top_k, config.top_p), (Some(50), Some(0.9)));
    assert_eq!((config.repetition_penalty, config.max_new_tokens), (Some(1.1), Some(256)));

    let text =
        r#"{"eos_token_id": "</s>", "temperature": -1, "top_k": 0.5, "top_p": 2, "max_new_tokens": "many"}"#;
    let error = GenerationConfig::from_json(text, "g.json").expect_err("wrong values");
    assert_eq!(
        error.to_string(),
        "g.json: 5 problems\
         \n  - `eos_token_id`: found \"</s>\", wanted a token id, a list of token ids or null\
         \n  - `temperature`: found -1, wanted a number from 0\
         \n  - `top_k`: found 0.5, wanted an integer from 0\
         \n  - `top_p`: found 2, wanted a number above 0, at most 1\
         \n  - `max_new_tokens`: found \"many\", wanted an integer from 0"
    );
}
