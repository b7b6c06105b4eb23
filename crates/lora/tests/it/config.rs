//! adapter_config.json: every file PEFT 0.21.2 wrote for the fixtures, and files nobody should write.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burnisher_lora::{
    AdaLoraConfig, AdapterConfig, Bias, Ia3Config, InitLoraWeights, LoraConfig, LoraError, TargetModules,
    VeraConfig,
};
use serde_json::{Value, json};

/// A file of the fixtures: the committed subset first, else the shared set. `None` (said on stdout) if
/// neither is there; in CI that is a failure.
pub(crate) fn fixture(path: &str) -> Option<PathBuf> {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let found = ["models/tests/fixtures", "../../shared/fixtures/models"]
        .into_iter()
        .map(|set| PathBuf::from(crates).join(set).join(path))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{path}: no ../shared");
        println!("skipped: no ../shared ({path})");
    }
    found
}

/// The adapters this crate supports, as PEFT wrote them.
pub(crate) const SUPPORTED: &[&str] = &[
    "peft/llama2/lora_qv",
    "peft/llama2/lora_all_linear",
    "peft/llama2/rslora",
    "peft/llama2/rank_pattern",
    "peft/llama2/regex_target",
    "peft/llama2/exclude_modules",
    "peft/llama2/layers_to_transform",
    "peft/llama2/modules_to_save_lm_head",
    "peft/llama2/modules_to_save_embed_and_head",
    "peft/llama2/lm_head_target",
    "peft/llama2/r1_high_alpha",
    "peft/llama2/dora",
    "peft/llama2/dora_all_linear",
    "peft/llama2/rsdora",
    "peft/llama2/lora_bias",
    "peft/llama2/embed_tokens",
    "peft/llama2/trainable_tokens",
    "peft/llama2/pissa/converted_lora",
    "peft/llama3/lora_qv",
    "peft/llama-sharded/lora_qv",
    "peft/llama-bias-linear/lora_qv",
    "peft/mistral/lora_qv",
    "peft/gemma/lora_qv",
    "peft/llama2/pissa",
    "peft/llama2/pissa_niter_4",
    "peft/llama2/olora",
    "peft/llama2/loftq4_iter1",
    "peft/llama2/loftq4_iter5",
    "peft/qwen2/bias_all",
    "peft/qwen2/bias_lora_only",
    "peft/qwen2/dora",
    "peft/qwen2/lora_bias",
    "merge/a",
    "merge/b",
    "merge/c",
    "bnb/qlora_nf4_double",
];

/// Those of other methods than LoRA.
pub(crate) const OTHERS: &[&str] = &[
    "peft/llama2/ia3",
    "peft/llama2/ia3_attn",
    "peft/llama2/vera",
    "peft/llama2/vera_all",
    "peft/llama2/vera_no_projection",
];

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The parsed text is equal, and so is the text: lists keep their order.
#[test]
fn configs_of_peft_are_written_back_unchanged() {
    for name in SUPPORTED.iter().chain(OTHERS) {
        let Some(path) = fixture(&format!("{name}/adapter_config.json")) else { continue };
        let config = AdapterConfig::read(&path).unwrap();
        let extra = match &config {
            AdapterConfig::Lora(config) => config.extra(),
            AdapterConfig::Ia3(config) => config.extra(),
            AdapterConfig::Vera(config) => config.extra(),
            other => panic!("{other:?}"),
        };
        assert!(extra.is_empty(), "{name}: {extra:?}");
        let written = config.to_json();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), json_of(&path), "{name}");
        assert_eq!(written, fs::read_to_string(&path).unwrap(), "{name}");
    }
}

#[test]
fn what_is_not_implemented_is_named() {
    let cases: &[(&str, &[(&str, &str)])] =
        &[("llama2/ia3", &[("peft_type", "\"IA3\"")]), ("llama2/vera", &[("peft_type", "\"VERA\"")])];
    for (name, wanted) in cases {
        let Some(path) = fixture(&format!("peft/{name}/adapter_config.json")) else { continue };
        let error = LoraConfig::read(&path).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("adapter_config.json"), "{message}");
        let LoraError::InFile { source, .. } = error else { panic!("{name}: {error:?}") };
        let LoraError::Unsupported { fields } = *source else { panic!("{name}: {source:?}") };
        let found: Vec<(&str, &str)> =
            fields.iter().map(|field| (field.field.as_str(), field.found.as_str())).collect();
        assert_eq!(found, *wanted, "{name}");
        for (field, value) in *wanted {
            assert!(message.contains(&format!("{field} = {value}")), "{message}");
        }
    }
}

/// `scaling` of reference.json is PEFT's `module.scaling["default"]`.
#[test]
fn scalings_are_those_of_peft() {
    for name in SUPPORTED {
        if !name.starts_with("peft/") || name.ends_with("converted_lora") {
            continue;
        }
        let Some(path) = fixture(&format!("{name}/adapter_config.json")) else { continue };
        let Some(reference) = fixture(&format!("{name}/reference.json")) else { continue };
        let config = LoraConfig::read(path).unwrap();
        let reference = json_of(&reference);
        let scalings = reference["scaling"].as_object().unwrap();
        assert!(!scalings.is_empty());
        for (module, wanted) in scalings {
            assert_eq!(Some(config.scaling_for(module).unwrap().1), wanted.as_f64(), "{name} {module}");
        }
    }
}

#[test]
fn the_first_pattern_that_matches_a_path_wins() {
    let config = LoraConfig::new(8)
        .with_lora_alpha(16.0)
        .with_rank_pattern([("q_proj", 4), ("layers.0.self_attn.q_proj", 2), (r"mlp\..*", 32), ("^head", 1)])
        .with_alpha_pattern([("layers.[01].*", 64.0)]);
    for (path, wanted) in [
        ("model.layers.0.self_attn.q_proj", (4, 16.0)),
        ("model.layers.9.self_attn.q_proj", (4, 4.0)),
        ("model.layers.9.mlp.up_proj", (32, 0.5)),
        ("model.layers.9.self_attn.v_proj", (8, 2.0)),
        // A key stands for whole path components, and `^` for the start of the path.
        ("model.layers.9.self_attn.my_q_proj", (8, 2.0)),
        ("head", (1, 16.0)),
        ("model.head", (8, 2.0)),
    ] {
        assert_eq!(config.scaling_for(path).unwrap(), wanted, "{path}");
    }
    let rank_stabilised = LoraConfig::new(16).with_lora_alpha(8.0).with_use_rslora(true);
    assert_eq!(rank_stabilised.scaling_for("anything").unwrap(), (16, 2.0));
}

/// Only `peft_type` is required; the rest has PEFT's defaults, which are not those of TRL or others.
#[test]
fn absent_fields_have_the_defaults_of_peft() {
    let config = LoraConfig::from_json(json!({"peft_type": "LORA"})).unwrap();
    assert_eq!(config, LoraConfig::new(8));
    assert_eq!(config.scaling_for("q_proj").unwrap(), (8, 1.0));
    let nulls = json!({"peft_type": "LORA", "r": null, "loftq_config": null, "use_dora": null, "bias": null});
    assert_eq!(LoraConfig::from_json(nulls).unwrap(), config);
}

#[test]
fn forms_that_other_versions_wrote_are_read() {
    let read = |field: &str, value: Value| {
        LoraConfig::from_json(json!({"peft_type": "LORA", field: value})).unwrap()
    };
    let all_linear = read("target_modules", json!("All-Linear"));
    assert_eq!(all_linear.target_modules(), Some(&TargetModules::AllLinear));
    assert_eq!(read("layers_to_transform", json!(3)).layers_to_transform(), Some(&[3][..]));
    assert_eq!(read("init_lora_weights", json!("Gaussian")).init_lora_weights(), InitLoraWeights::Gaussian);
    assert_eq!(read("init_lora_weights", json!(false)).init_lora_weights(), InitLoraWeights::Random);
    assert_eq!(read("bias", json!("lora_only")).bias(), Bias::LoraOnly);
    assert_eq!(read("runtime_config", json!({"a": 1})), LoraConfig::new(8));
}

#[test]
fn unknown_fields_are_kept_and_written_back() {
    let mut file =
        json!({"peft_type": "LORA", "r": 4, "a_new_field": {"b": [1, 2.5], "a": "é"}, "zeta": null});
    let config = LoraConfig::from_json(file.clone()).unwrap();
    let names: Vec<&String> = config.extra().keys().collect();
    assert_eq!(names.len(), 2);
    let written = config.to_json();
    assert!(written.contains("\"\\u00e9\""), "{written}");
    let again: Value = serde_json::from_str(&written).unwrap();
    for field in ["r", "a_new_field", "zeta"] {
        assert_eq!(again[field], file[field].take(), "{field}");
    }
    assert_eq!(again["inference_mode"], true);
    assert_eq!(again["peft_version"], "0.21.2");
    // Reading it again gives the same configuration, but for the version now noted.
    assert_eq!(LoraConfig::from_json(again).unwrap().extra(), config.extra());
}

#[test]
fn alphas_are_whole_numbers_where_they_can_be() {
    let written = |config: LoraConfig| serde_json::from_str::<Value>(&config.to_json()).unwrap();
    let whole = LoraConfig::new(8).with_lora_alpha(16.0).with_alpha_pattern([("q", 3.0), ("a", 0.5)]);
    let whole = written(whole);
    assert_eq!(whole["lora_alpha"], json!(16));
    assert_eq!(whole["alpha_pattern"], json!({"q": 3, "a": 0.5}));
    assert_eq!(written(LoraConfig::new(8).with_lora_alpha(11.3))["lora_alpha"], json!(11.3));
}

/// The order of patterns decides which one wins: it survives the file.
#[test]
fn patterns_keep_their_order() {
    let config = LoraConfig::new(8).with_rank_pattern([("v_proj", 2), ("layers.0.*", 4)]);
    let again = LoraConfig::from_json(serde_json::from_str(&config.to_json()).unwrap()).unwrap();
    assert_eq!(again.rank_pattern(), config.rank_pattern());
}

#[test]
fn values_of_the_wrong_type_are_named() {
    for (field, value, found) in [
        ("r", json!("eight"), "\"eight\""),
        ("r", json!(0), "0"),
        ("r", json!(-1), "-1"),
        ("r", json!(7.5), "7.5"),
        ("lora_alpha", json!("16"), "\"16\""),
        ("lora_alpha", json!(0), "0"),
        ("lora_dropout", json!(1.0), "1"),
        ("lora_dropout", json!(-0.1), "-0.1"),
        ("target_modules", json!(7), "7"),
        ("target_modules", json!(["q_proj", 1]), "[\"q_proj\",1]"),
        ("target_modules", json!([]), "an empty list"),
        ("modules_to_save", json!("lm_head"), "\"lm_head\""),
        ("rank_pattern", json!({"q": "x"}), "{\"q\":\"x\"}"),
        ("bias", json!("some"), "\"some\""),
        ("use_rslora", json!("yes"), "\"yes\""),
        ("task_type", json!("CHAT"), "\"CHAT\""),
    ] {
        let error = LoraConfig::from_json(json!({"peft_type": "LORA", field: value})).unwrap_err();
        let message = error.to_string();
        let LoraError::Config { field: named, found: shown, .. } = error else { panic!("{message}") };
        assert_eq!((named.as_str(), shown.as_str()), (field, found), "{message}");
    }
    for (file, found) in [(json!({"r": 8}), "missing"), (json!({"peft_type": 3}), "3"), (json!([1]), "[1]")] {
        let error = LoraConfig::from_json(file).unwrap_err();
        assert!(matches!(&error, LoraError::Config { found: shown, .. } if shown == found), "{error}");
    }
}

#[test]
fn rules_between_fields_are_those_of_peft() {
    let list = TargetModules::suffixes(["q_proj"]);
    let base = LoraConfig::new(8);
    let cases = [
        (
            base.clone().with_target_modules(TargetModules::regex(".*q")).with_layers_to_transform([0]),
            "layers_to_transform",
        ),
        (
            base.clone().with_target_modules(TargetModules::AllLinear).with_layers_to_transform([0]),
            "layers_to_transform",
        ),
        (
            base.clone().with_target_modules(TargetModules::AllLinear).with_layers_pattern(["layers"]),
            "layers_pattern",
        ),
        (
            base.clone().with_target_modules(list.clone()).with_layers_pattern(["layers"]),
            "layers_to_transform",
        ),
        (base.clone().with_exclude_modules(TargetModules::AllLinear), "exclude_modules"),
        (base.clone().with_target_modules(TargetModules::regex("(?=q)")), "target_modules"),
        (base.clone().with_exclude_modules(TargetModules::regex("a)(b")), "exclude_modules"),
        (base.clone().with_rank_pattern([("(", 4)]), "rank_pattern"),
        (base.clone().with_rank_pattern([("q", 0)]), "rank_pattern[\"q\"]"),
        (base.clone().with_alpha_pattern([("q", f64::NAN)]), "alpha_pattern[\"q\"]"),
        (base.clone().with_lora_dropout(f64::NAN), "lora_dropout"),
        (
            base.clone().with_target_modules(list).with_layers_to_transform([0]).with_layers_pattern(["["]),
            "layers_pattern",
        ),
    ];
    for (config, wanted) in cases {
        let error = config.validate().unwrap_err();
        assert!(matches!(&error, LoraError::Config { field, .. } if field == wanted), "{wanted}: {error}");
    }
}

#[test]
fn files_that_are_no_config_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter_config.json");
    let error = LoraConfig::read(&path).unwrap_err();
    assert!(matches!(&error, LoraError::Read { path: named, .. } if *named == path), "{error}");
    for text in ["", "{\"peft_type\": \"LORA\"", "{\"peft_type\": \"LORA\"} x", "{\"lora_alpha\": NaN}"] {
        fs::write(&path, text).unwrap();
        let error = LoraConfig::read(&path).unwrap_err();
        assert!(matches!(&error, LoraError::Json { path: named, .. } if *named == path), "{error}");
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
}

#[test]
fn an_unknown_method_is_named_with_the_known_ones() {
    let error = AdapterConfig::from_json(json!({"peft_type": "LOKR", "r": 8})).unwrap_err();
    let message = error.to_string();
    assert!(matches!(&error, LoraError::UnknownPeftType { found, .. } if found == "LOKR"), "{message}");
    assert!(
        ["LOKR", "ADALORA", "IA3", "LORA", "VERA"].iter().all(|name| message.contains(name)),
        "{message}"
    );
    let error = AdapterConfig::from_json(json!({"r": 8})).unwrap_err().to_string();
    assert!(error.contains("peft_type"), "{error}");
}

#[test]
fn other_methods_have_the_defaults_of_peft() {
    let adalora = AdapterConfig::from_json(json!({"peft_type": "ADALORA", "total_step": 100})).unwrap();
    assert_eq!(adalora, AdaLoraConfig::new(100).into());
    for (value, wanted) in [
        (json!({"peft_type": "ADALORA"}), "total_step is missing"),
        (json!({"peft_type": "ADALORA", "total_step": 0}), "total_step is 0"),
        (json!({"peft_type": "ADALORA", "total_step": 10, "tinit": 5, "tfinal": 5}), "total_step is 10"),
        (json!({"peft_type": "ADALORA", "total_step": 10, "deltaT": 0}), "deltaT is 0"),
        (json!({"peft_type": "ADALORA", "total_step": 10, "beta1": 1.0}), "beta1 is 1"),
        (
            json!({"peft_type": "ADALORA", "total_step": 10, "orth_reg_weight": -0.5}),
            "orth_reg_weight is -0.5",
        ),
        (json!({"peft_type": "ADALORA", "total_step": 10, "target_r": 13}), "target_r is 13"),
        (json!({"peft_type": "ADALORA", "total_step": 10, "use_dora": true}), "use_dora"),
        (json!({"peft_type": "ADALORA", "total_step": 10, "alpha_pattern": {"q": 3}}), "alpha_pattern"),
        (
            json!({"peft_type": "ADALORA", "total_step": 10, "rank_pattern": {"q.lora_E": [1]}}),
            "rank_pattern is",
        ),
        (
            json!({"peft_type": "ADALORA", "total_step": 10, "init_r": 1, "target_r": 1,
                "rank_pattern": {"q.lora_E": [true, false]}}),
            "2 triplets of q",
        ),
    ] {
        let error = AdapterConfig::from_json(value.clone()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{value}: {error}");
    }
    let ia3 = AdapterConfig::from_json(json!({"peft_type": "IA3"})).unwrap();
    assert_eq!(ia3, Ia3Config::new().into());
    let vera = AdapterConfig::from_json(json!({"peft_type": "VERA"})).unwrap();
    assert_eq!(vera, VeraConfig::new(256).into());
    for (file, field) in [
        (json!({"peft_type": "IA3", "fan_in_fan_out": true}), "fan_in_fan_out = true"),
        (json!({"peft_type": "IA3", "init_ia3_weights": false}), "init_ia3_weights = false"),
        (json!({"peft_type": "VERA", "init_weights": false}), "init_weights = false"),
        (json!({"peft_type": "VERA", "r": 0}), "r is 0"),
        (json!({"peft_type": "VERA", "vera_dropout": 1.0}), "vera_dropout is 1"),
        (json!({"peft_type": "VERA", "d_initial": 0.0}), "d_initial is 0"),
        (json!({"peft_type": "VERA", "bias": "lora_only"}), "bias is \"lora_only\""),
        (json!({"peft_type": "VERA", "layers_pattern": ["h"]}), "layers_to_transform is empty"),
        (json!({"peft_type": "IA3", "target_modules": []}), "target_modules is an empty list"),
        (json!({"peft_type": "IA3", "exclude_modules": "("}), "exclude_modules is"),
        (json!({"peft_type": "IA3", "task_type": "CHESS"}), "task_type is"),
        (
            json!({"peft_type": "IA3", "target_modules": ["a"], "feedforward_modules": ["b"]}),
            "feedforward_modules is \"b\"",
        ),
        (
            json!({"peft_type": "LORA", "trainable_token_indices": {"lm_head": [1]}}),
            "trainable_token_indices = ",
        ),
        (json!({"peft_type": "LORA", "trainable_token_indices": [1.5]}), "trainable_token_indices is"),
        (
            json!({"peft_type": "LORA", "trainable_token_indices": []}),
            "trainable_token_indices is an empty list",
        ),
        (json!({"peft_type": "LORA", "lora_bias": true, "use_dora": true}), "lora_bias is true"),
        (
            json!({"peft_type": "LORA", "lora_bias": true, "init_lora_weights": "gaussian"}),
            "lora_bias is true",
        ),
    ] {
        let error = AdapterConfig::from_json(file.clone()).unwrap_err().to_string();
        assert!(error.contains(field), "{file}: {error}");
    }
    let tokens = json!({"peft_type": "LORA", "trainable_token_indices": {"embed_tokens": [7, 3]}});
    let tokens = LoraConfig::from_json(tokens).unwrap();
    assert_eq!(tokens.trainable_token_indices(), Some(&[7, 3][..]));
}
