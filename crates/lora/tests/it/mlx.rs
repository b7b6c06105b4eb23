//! Adapters of mlx-lm, there and back.

use std::{fs, path::Path};

use burnisher_lora::{
    AdapterDtype, AdapterTensor, InitLoraWeights, LoraConfig, LoraError, PeftFiles, TargetModules,
};
use safetensors::{
    Dtype,
    tensor::{TensorView, serialize},
};
use serde_json::{Value, json};

use crate::config::fixture;

const Q: &str = "model.layers.3.self_attn.q_proj";

fn config() -> Value {
    json!({
        "fine_tune_type": "lora",
        "num_layers": 16,
        "model": "mlx-community/some-model",
        "lora_parameters": {"rank": 2, "dropout": 0.1, "scale": 20.0},
    })
}

/// Puts an adapter of mlx-lm into `dir`: tensors by name, shape and values.
fn write(dir: &Path, config: &Value, tensors: &[(&str, &[usize], &[f32])]) {
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    fs::write(dir.join("adapters.safetensors"), serialize(views, None).unwrap()).unwrap();
}

#[test]
fn an_adapter_of_mlx_lm_is_transposed_and_its_scale_becomes_alpha() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (format!("{Q}.lora_a"), format!("{Q}.lora_b"));
    write(
        dir.path(),
        &config(),
        &[(&a, &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (&b, &[2, 1], &[7.0, 8.0])],
    );
    let files = PeftFiles::read_mlx(dir.path()).unwrap();
    let tensor = |part: &str| &files.tensors[&format!("base_model.model.{Q}.{part}.weight")];
    assert_eq!(*tensor("lora_A"), AdapterTensor::new([2, 3], vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    assert_eq!(*tensor("lora_B"), AdapterTensor::new([1, 2], vec![7.0, 8.0]));
    assert_eq!(files.config.lora().unwrap().scaling_for(Q).unwrap(), (2, 20.0));
    assert_eq!(files.config.lora().unwrap().lora_alpha(), 40.0);
    assert_eq!(files.config.lora().unwrap().lora_dropout(), 0.1);
    assert_eq!(files.config.lora().unwrap().target_modules(), Some(&TargetModules::suffixes([Q])));
}

#[test]
fn adapters_of_peft_go_there_and_back() {
    for name in [
        "peft/llama2/lora_qv",
        "peft/llama2/lora_all_linear",
        "peft/llama2/rslora",
        "peft/llama2/layers_to_transform",
    ] {
        let Some(path) = fixture(&format!("{name}/adapter_config.json")) else { continue };
        let files = PeftFiles::read(path.parent().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        files.write_mlx(dir.path()).unwrap();
        let config: Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join("adapter_config.json")).unwrap())
                .unwrap();
        assert_eq!(config["fine_tune_type"], "lora");
        assert!(
            config["lora_parameters"]["keys"].as_array().unwrap().contains(&"self_attn.q_proj".into()),
            "{name}"
        );
        let again = PeftFiles::read_mlx(dir.path()).unwrap();
        assert_eq!(again.tensors, files.tensors, "{name}");
        for module in files.tensors.keys().filter_map(|key| key.strip_suffix(".lora_A.weight")) {
            let module = module.trim_start_matches("base_model.model.");
            let (r, scaling) = files.config.lora().unwrap().scaling_for(module).unwrap();
            let (r_again, scaling_again) = again.config.lora().unwrap().scaling_for(module).unwrap();
            assert_eq!(r_again, r, "{name}");
            assert!((scaling_again - scaling).abs() <= 1e-12 * scaling.abs(), "{name}");
        }
    }
}

#[test]
fn number_types_stay() {
    let key = |part: &str| format!("base_model.model.{Q}.{part}.weight");
    let tensor = |shape: [usize; 2]| AdapterTensor::new(shape, vec![0.5; 4]).with_dtype(AdapterDtype::BF16);
    let config = LoraConfig::new(2).with_target_modules(TargetModules::suffixes(["q_proj"]));
    let tensors = [(key("lora_A"), tensor([2, 2])), (key("lora_B"), tensor([2, 2]))];
    let files = PeftFiles { config: config.into(), tensors: tensors.into() };
    let dir = tempfile::tempdir().unwrap();
    files.write_mlx(dir.path()).unwrap();
    assert_eq!(PeftFiles::read_mlx(dir.path()).unwrap().tensors, files.tensors);
}

fn reading(config: &Value, tensors: &[(&str, &[usize], &[f32])]) -> LoraError {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), config, tensors);
    PeftFiles::read_mlx(dir.path()).unwrap_err()
}

#[test]
fn what_does_not_map_is_named() {
    let four = [0.0; 4];
    let (a, b, m) = (format!("{Q}.lora_a"), format!("{Q}.lora_b"), format!("{Q}.m"));
    let mut dora = config();
    dora["fine_tune_type"] = "dora".into();
    let error = reading(&dora, &[(&a, &[2, 2], &four), (&b, &[2, 2], &four), (&m, &[4], &four)]).to_string();
    assert!(
        error.contains("fine_tune_type: found \"dora\"")
            && error.contains(&format!("{m}: found another tensor")),
        "{error}"
    );
    let error = reading(&config(), &[(&a, &[1, 4], &four)]).to_string();
    assert!(
        error.contains("no counterpart") && error.contains("found shape [1, 4], wanted [in, 2]"),
        "{error}"
    );
    let embedding = "model.embed_tokens.lora_a";
    let error =
        reading(&config(), &[(embedding, &[2, 2], &four), ("model.embed_tokens.lora_b", &[2, 2], &four)]);
    assert!(error.to_string().contains("an adapter of the embedding"), "{error}");
    for (pointer, value, wanted) in [
        ("rank", json!(0), "lora_parameters.rank is 0"),
        ("rank", json!("two"), "lora_parameters.rank is \"two\", wanted a number"),
        ("scale", Value::Null, "lora_parameters.scale is null"),
        ("dropout", json!(true), "lora_parameters.dropout is true"),
    ] {
        let mut wrong = config();
        wrong["lora_parameters"][pointer] = value;
        let error = reading(&wrong, &[(&a, &[2, 2], &four), (&b, &[2, 2], &four)]).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// Found when the fuzz targets were written: every column of a tensor without rows was looked at.
#[test]
fn tensors_without_values_may_claim_any_rank() {
    let rank = 1usize << 40;
    let mut huge = config();
    huge["lora_parameters"]["rank"] = rank.into();
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (format!("{Q}.lora_a"), format!("{Q}.lora_b"));
    write(dir.path(), &huge, &[(&a, &[0, rank], &[]), (&b, &[rank, 0], &[])]);
    let files = PeftFiles::read_mlx(dir.path()).unwrap();
    let shapes: Vec<&[usize]> = files.tensors.values().map(|tensor| tensor.shape.as_slice()).collect();
    assert_eq!(shapes, [[rank, 0], [0, rank]]);
}

#[test]
fn what_mlx_lm_has_no_place_for_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, wanted) in [
        ("peft/llama2/rank_pattern", "as before"),
        ("peft/llama2/modules_to_save_lm_head", "a tensor that is no factor"),
        ("peft/qwen2/bias_all", "a tensor that is no factor"),
        ("peft/llama2/pissa", "init_lora_weights: found \"pissa\""),
    ] {
        let Some(path) = fixture(&format!("{name}/adapter_config.json")) else { continue };
        let files = PeftFiles::read(path.parent().unwrap()).unwrap();
        let error = files.write_mlx(dir.path()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{name}: {error}");
    }
    let config = LoraConfig::new(2).with_init_lora_weights(InitLoraWeights::Olora);
    let empty = PeftFiles { config: config.into(), tensors: Default::default() };
    assert!(
        matches!(empty.write_mlx(dir.path()), Err(LoraError::Convert { problems, .. }) if problems.len() == 1)
    );
}
