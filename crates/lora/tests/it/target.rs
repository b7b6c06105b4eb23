//! Which modules a configuration chooses: PEFT's choice for every fixture, and every way to choose nothing.

use std::{collections::BTreeSet, fs};

use burnisher_lora::{
    AdapterConfig, AdapterPlan, Bias, Ia3Config, LoraConfig, LoraError, ModuleInfo, ModuleKind,
    TargetModules, VeraConfig, plan,
};
use serde_json::Value;

use crate::config::{SUPPORTED, fixture};

/// The modules of a Llama-like model: those whose name is in `with_bias` have a bias.
fn model(layers: usize, with_bias: &[&str], has_head: bool) -> Vec<ModuleInfo> {
    let mut modules = Vec::new();
    let mut add = |path: String, kind| {
        let has_bias = with_bias.iter().any(|name| path.ends_with(name));
        modules.push(ModuleInfo { path, kind, has_bias });
    };
    add("model.embed_tokens".into(), ModuleKind::Embedding);
    for layer in 0..layers {
        for (name, kind) in [
            ("input_layernorm", ModuleKind::Norm),
            ("self_attn.q_proj", ModuleKind::Linear),
            ("self_attn.k_proj", ModuleKind::Linear),
            ("self_attn.v_proj", ModuleKind::Linear),
            ("self_attn.o_proj", ModuleKind::Linear),
            ("post_attention_layernorm", ModuleKind::Norm),
            ("mlp.gate_proj", ModuleKind::Linear),
            ("mlp.up_proj", ModuleKind::Linear),
            ("mlp.down_proj", ModuleKind::Linear),
        ] {
            add(format!("model.layers.{layer}.{name}"), kind);
        }
    }
    add("model.norm".into(), ModuleKind::Norm);
    if has_head {
        add("lm_head".into(), ModuleKind::Head);
    }
    modules
}

fn llama2() -> Vec<ModuleInfo> {
    model(2, &[], true)
}

fn paths(plan: &AdapterPlan) -> Vec<&str> {
    plan.adapted.iter().map(|module| module.path.as_str()).collect()
}

fn targeting(entries: &[&str]) -> LoraConfig {
    LoraConfig::new(8).with_target_modules(TargetModules::suffixes(entries.iter().copied()))
}

/// reference.json has PEFT's scaling of every module it adapted, and the names of the tensors it saved.
#[test]
fn the_choice_is_that_of_peft() {
    let qkv = ["q_proj", "k_proj", "v_proj"];
    for name in SUPPORTED.iter().filter(|name| !name.ends_with("converted_lora")) {
        let model_name = name.split('/').nth(1).unwrap_or_default();
        let modules = match model_name {
            "llama2" | "mistral" => llama2(),
            "gemma" => model(2, &[], false),
            "qwen2" => model(2, &qkv, true),
            _ => continue,
        };
        let (Some(config), Some(reference)) =
            (fixture(&format!("{name}/adapter_config.json")), fixture(&format!("{name}/reference.json")))
        else {
            continue;
        };
        let config = LoraConfig::read(config).unwrap();
        let reference: Value = serde_json::from_str(&fs::read_to_string(reference).unwrap()).unwrap();
        let plan = plan(&config, &modules, model_name).unwrap();

        let adapted: BTreeSet<(String, String)> =
            plan.adapted.iter().map(|m| (m.path.clone(), m.scaling.to_string())).collect();
        let wanted: BTreeSet<(String, String)> = reference["scaling"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, scaling)| (path.clone(), scaling.as_f64().unwrap().to_string()))
            .collect();
        assert_eq!(adapted, wanted, "{name}");

        // What is saved besides A and B: whole modules and biases.
        let key = |path: &String, tail: &str| {
            let base = if plan.adapted.iter().any(|m| m.path == *path) { ".base_layer" } else { "" };
            format!("base_model.model.{path}{base}.{tail}")
        };
        let saved: BTreeSet<String> = plan
            .saved
            .iter()
            .map(|path| key(path, "weight"))
            .chain(plan.biases.iter().map(|path| key(path, "bias")))
            .collect();
        let wanted: BTreeSet<String> = reference["adapter_keys"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !key.contains(".lora_") && !key.contains(".token_adapter."))
            .filter(|key| !key.ends_with(".base_layer.weight"))
            .cloned()
            .collect();
        assert_eq!(saved, wanted, "{name}");
    }
}

#[test]
fn entries_are_whole_names_at_the_end_of_a_path() {
    let mut modules = llama2();
    modules.push(ModuleInfo { path: "my_q_proj".into(), kind: ModuleKind::Linear, has_bias: false });
    modules.push(ModuleInfo { path: "model.my_q_proj".into(), kind: ModuleKind::Linear, has_bias: false });
    let cases: [(&[&str], &[&str]); 5] = [
        (&["q_proj"], &["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]),
        (&["1.self_attn.q_proj"], &["model.layers.1.self_attn.q_proj"]),
        (&["model.layers.1.mlp.up_proj"], &["model.layers.1.mlp.up_proj"]),
        (&["my_q_proj"], &["my_q_proj", "model.my_q_proj"]),
        (&["lm_head"], &["lm_head"]),
    ];
    for (entries, wanted) in cases {
        assert_eq!(paths(&plan(targeting(entries), &modules, "llama").unwrap()), wanted, "{entries:?}");
    }
}

#[test]
fn a_string_matches_the_whole_path() {
    let chosen = |pattern: &str| {
        let config = LoraConfig::new(8).with_target_modules(TargetModules::regex(pattern));
        plan(&config, &llama2(), "llama").map(|plan| plan.adapted.len())
    };
    assert_eq!(chosen(r".*\.layers\.0\..*(gate|up)_proj").unwrap(), 2);
    assert_eq!(chosen(r"model\.layers\.\d+\.mlp\.\w+").unwrap(), 6);
    // An alternative must not escape the anchors.
    assert_eq!(chosen(r"lm_head|.*q_proj").unwrap(), 3);
    let error = chosen("q_proj").unwrap_err();
    assert!(matches!(&error, LoraError::NoTarget { wanted, .. } if *wanted == ["q_proj"]), "{error}");
}

#[test]
fn all_linear_leaves_out_the_head_and_what_is_excluded_or_saved() {
    let all = LoraConfig::new(8).with_target_modules(TargetModules::AllLinear);
    let plan_of = |config: &LoraConfig| plan(config, &llama2(), "llama").unwrap();
    let all_plan = plan_of(&all);
    assert_eq!(all_plan.adapted.len(), 14);
    let names = paths(&all_plan).into_iter().map(String::from).collect();
    assert_eq!(all_plan.target_modules, TargetModules::Suffixes(names));
    let fewer = all
        .with_exclude_modules(TargetModules::regex(r".*\.mlp\..*"))
        .with_modules_to_save(["o_proj", "lm_head"]);
    let fewer = plan_of(&fewer);
    assert_eq!(fewer.adapted.len(), 6);
    assert_eq!(
        fewer.saved,
        ["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj", "lm_head"]
    );
}

#[test]
fn layers_are_chosen_by_number() {
    let modules = model(12, &[], true);
    let in_layers = |config: &LoraConfig| -> Vec<String> {
        let plan = plan(config, &modules, "llama").unwrap();
        paths(&plan).into_iter().map(String::from).collect()
    };
    let config = targeting(&["q_proj"]).with_layers_to_transform([1, 11]);
    let wanted = ["model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"];
    assert_eq!(in_layers(&config), wanted);
    assert_eq!(in_layers(&config.clone().with_layers_pattern(["blocks|layers"])), wanted);
    // As in PEFT, a target that is named by its whole path is adapted in any layer.
    let config =
        targeting(&["q_proj", "model.layers.0.mlp.up_proj", "lm_head"]).with_layers_to_transform([1]);
    let wanted = ["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj", "lm_head"];
    assert_eq!(in_layers(&config), wanted);
}

#[test]
fn defaults_are_those_of_peft() {
    for model_type in ["llama", "mistral", "gemma"] {
        let plan = plan(LoraConfig::new(8), &llama2(), model_type).unwrap();
        assert_eq!(plan.adapted.len(), 4);
        assert_eq!(plan.target_modules, TargetModules::suffixes(["q_proj", "v_proj"]));
    }
    let error = plan(LoraConfig::new(8), &llama2(), "mamba").unwrap_err();
    let message = error.to_string();
    let LoraError::UnknownArchitecture { model_type, known } = error else { panic!("{message}") };
    assert_eq!(model_type, "mamba");
    assert!(known.iter().any(|known| known == "llama") && message.contains("llama"), "{message}");
}

#[test]
fn biases_are_those_of_all_modules_or_of_the_adapted() {
    let modules = model(1, &["q_proj", "k_proj", "lm_head"], true);
    let config = targeting(&["q_proj", "v_proj"]).with_modules_to_save(["lm_head"]);
    let cases: [(Bias, &[&str]); 3] = [
        (Bias::None, &[]),
        (Bias::All, &["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"]),
        (Bias::LoraOnly, &["model.layers.0.self_attn.q_proj"]),
    ];
    for (bias, wanted) in cases {
        let plan = plan(config.clone().with_bias(bias), &modules, "llama").unwrap();
        assert_eq!(plan.biases, wanted, "{bias:?}");
    }
}

#[test]
fn what_matches_nothing_is_an_error_that_lists_what_there_is() {
    let base = targeting(&["q_proj"]);
    let cases: [(LoraConfig, &str, &[&str]); 9] = [
        (targeting(&["q_proj", "c_attn", "wq"]), "target_modules", &["c_attn", "wq"]),
        (targeting(&["proj"]), "target_modules", &["proj"]),
        (
            base.clone().with_exclude_modules(TargetModules::suffixes(["vision"])),
            "exclude_modules",
            &["vision"],
        ),
        (base.clone().with_exclude_modules(TargetModules::regex("vis.*")), "exclude_modules", &["vis.*"]),
        (base.clone().with_modules_to_save(["lm_head", "score"]), "modules_to_save", &["score"]),
        (base.clone().with_layers_to_transform([1, 2, 7]), "layers_to_transform", &["2", "7"]),
        (
            base.clone().with_layers_to_transform([1]).with_layers_pattern(["layers", "h"]),
            "layers_pattern",
            &["h"],
        ),
        (base.clone().with_rank_pattern([("q_proj", 4), ("k", 4)]), "rank_pattern", &["k"]),
        (base.with_alpha_pattern([("layers.3.*", 4.0)]), "alpha_pattern", &["layers.3.*"]),
    ];
    for (config, field, entries) in cases {
        let error = plan(&config, &llama2(), "llama").unwrap_err();
        let message = error.to_string();
        let LoraError::NoTarget { field: named, wanted, candidates } = error else { panic!("{message}") };
        assert_eq!(named, field, "{message}");
        assert_eq!(wanted, entries, "{message}");
        assert!(candidates.iter().any(|path| path == "model.layers.1.self_attn.q_proj"));
        assert!(message.contains("model.layers.*.self_attn.q_proj"), "{message}");
        assert_eq!(candidates.iter().any(|path| path == "model.norm"), field != "target_modules");
    }
}

#[test]
fn targets_that_cannot_be_adapted_are_errors() {
    let left_out = targeting(&["q_proj"]).with_exclude_modules(TargetModules::suffixes(["q_proj"]));
    let error = plan(&left_out, &llama2(), "llama").unwrap_err();
    assert!(matches!(&error, LoraError::NothingLeft { matched } if matched.len() == 2), "{error}");
    let others = ["q_proj", "norm", "embed_tokens"];
    let error = plan(targeting(&others), &llama2(), "llama").unwrap_err();
    assert!(
        matches!(&error, LoraError::NotAdaptable { modules } if *modules == ["model.norm"]),
        "LoRA takes the embedding: {error}"
    );
    let targets = TargetModules::suffixes(others);
    for config in [
        AdapterConfig::from(Ia3Config::new().with_target_modules(targets.clone())),
        VeraConfig::new(4).with_target_modules(targets).into(),
    ] {
        let error = plan(&config, &llama2(), "llama").unwrap_err();
        assert!(
            matches!(&error, LoraError::NotAdaptable { modules } if *modules == ["model.embed_tokens", "model.norm"]),
            "{error}"
        );
    }
}

/// The inputs of feed-forward layers, the outputs of all others.
#[test]
fn feedforward_modules_are_targets_by_the_end_of_their_path() {
    let targets = || TargetModules::suffixes(["k_proj", "down_proj"]);
    let feedforward = |config: &Ia3Config| plan(config, &llama2(), "llama").map(|plan| plan.feedforward);
    let down = ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"];
    let base = Ia3Config::new().with_target_modules(targets());
    assert_eq!(feedforward(&base).unwrap(), down, "the default of the architecture");
    let defaults = plan(Ia3Config::new(), &llama2(), "llama").unwrap();
    assert_eq!(
        (defaults.adapted.len(), defaults.feedforward.as_slice()),
        (6, down.map(String::from).as_slice())
    );
    let none = base.clone().with_feedforward_modules(TargetModules::suffixes::<String>([]));
    assert_eq!(feedforward(&none).unwrap(), [""; 0]);
    let first = base.clone().with_feedforward_modules(TargetModules::regex(r".*\.0\.mlp.*"));
    assert_eq!(feedforward(&first).unwrap(), down[..1]);
    // A default whose module is no target is nothing to complain about.
    let attention = Ia3Config::new().with_target_modules(TargetModules::suffixes(["k_proj"]));
    assert_eq!(feedforward(&attention).unwrap(), [""; 0]);

    let other = base.clone().with_feedforward_modules(TargetModules::suffixes(["up_proj"]));
    assert!(
        matches!(feedforward(&other), Err(LoraError::Config { field, .. }) if field == "feedforward_modules")
    );
    let unused = base.with_feedforward_modules(TargetModules::regex("up.*"));
    assert!(
        matches!(feedforward(&unused), Err(LoraError::NoTarget { field, .. }) if field == "feedforward_modules")
    );
}
