use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burnisher_models::{
    Checkpoint, GgmlType, GgufArray, GgufFile, GgufOptions, GgufReport, GgufTensor, GgufValue, ModelConfig,
    ModelError, export_gguf, export_gguf_adapter, write_gguf,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{fixture, fixture_or_shared, models};

/// The models of the families that llama.cpp computes alike; without `../shared`, those that are committed. The small
/// Gemma 2 and 3 have scales of scores and a period of windows that llama.cpp has not; they are changed for it.
fn exported() -> impl Iterator<Item = &'static str> {
    models().into_iter().filter(|name| *name != "phi3")
}

/// The directory of a model, as llama.cpp could compute it.
fn exportable(name: &str) -> (std::path::PathBuf, Option<TempDir>) {
    let dir =
        fixture_or_shared(&format!("models/{name}")).unwrap_or_else(|| fixture(&format!("models/{name}")));
    if !["gemma2", "gemma3"].contains(&name) {
        return (dir, None);
    }
    let text = fs::read_to_string(dir.join("config.json")).unwrap_or_else(|error| panic!("{error}"));
    let mut config: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    config["query_pre_attn_scalar"] = config["head_dim"].clone();
    if name == "gemma3" {
        config["layer_types"] = json!(vec!["sliding_attention"; 4]);
        for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
            config[key] = 6.into();
        }
    }
    let copy = changed(&dir, &[("config.json", config.to_string().into())]);
    (copy.path().to_path_buf(), Some(copy))
}

/// Modules of a block in Hugging Face's files and in GGUF, written out a second time.
const BLOCK: [[&str; 2]; 11] = [
    ["input_layernorm", "attn_norm"],
    ["self_attn.q_proj", "attn_q"],
    ["self_attn.k_proj", "attn_k"],
    ["self_attn.v_proj", "attn_v"],
    ["self_attn.o_proj", "attn_output"],
    ["post_attention_layernorm", "ffn_norm"],
    ["mlp.gate_proj", "ffn_gate"],
    ["mlp.up_proj", "ffn_up"],
    ["mlp.down_proj", "ffn_down"],
    ["self_attn.q_norm", "attn_q_norm"],
    ["self_attn.k_norm", "attn_k_norm"],
];

/// Norms of Gemma 2 and 3 that have other names.
const BEHIND: [[&str; 2]; 3] = [
    ["post_attention_layernorm", "post_attention_norm"],
    ["pre_feedforward_layernorm", "ffn_norm"],
    ["post_feedforward_layernorm", "post_ffw_norm"],
];

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"))
}

/// A `tokenizer.json` with the first tokens of the reference one.
fn tokenizer(size: usize) -> Vec<u8> {
    let text = fs::read(fixture("models/llama2/tokenizer.json")).unwrap_or_else(|error| panic!("{error}"));
    let mut json: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut known = json["model"]["vocab"].as_object().cloned().unwrap_or_default();
    known.retain(|_, id| id.as_u64().is_some_and(|id| id < size as u64));
    let mut merges = json["model"]["merges"].as_array().cloned().unwrap_or_default();
    merges.retain(|merge| {
        let parts: Vec<&str> = merge.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.iter().chain([&parts.concat().as_str()]).all(|part| known.contains_key(*part))
    });
    json["model"]["vocab"] = known.into();
    json["model"]["merges"] = merges.into();
    json.to_string().into()
}

/// Exports a model, with a tokenizer of its size if it has none.
fn export(dir: &Path, options: &GgufOptions) -> (GgufReport, GgufFile) {
    let config = ModelConfig::from_dir(dir).unwrap_or_else(|error| panic!("{error}"));
    let has_tokenizer = ["json", "model"].iter().any(|end| dir.join(format!("tokenizer.{end}")).exists());
    let copy;
    let dir = if has_tokenizer {
        dir
    } else {
        copy = changed(dir, &[("tokenizer.json", tokenizer(config.vocab_size))]);
        copy.path()
    };
    let out = temporary();
    let path = out.path().join("model.gguf");
    let report = export_gguf(dir, &path, options).unwrap_or_else(|error| panic!("{error}"));
    let file = GgufFile::open(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (report.tensors, report.bytes),
        (file.tensors().len(), fs::metadata(&path).map_or(0, |file| file.len()))
    );
    (report, file)
}

fn f32_of(file: &GgufFile, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap_or_else(|| panic!("no {name}")).to_f32()
}

/// GGUF's name of a tensor of Hugging Face's.
fn gguf_name(name: &str) -> String {
    match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        "lm_head.weight" => return "output.weight".to_owned(),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.").unwrap_or_else(|| panic!("{name}"));
    let (layer, rest) = rest.split_once('.').unwrap_or_else(|| panic!("{name}"));
    let (module, end) = rest.rsplit_once('.').unwrap_or_else(|| panic!("{name}"));
    let found = BLOCK.iter().find(|[hf, _]| *hf == module).unwrap_or_else(|| panic!("{name}"));
    format!("blk.{layer}.{}.{end}", found[1])
}

/// The name of a norm of Gemma 2 and 3 that has another name there.
fn behind(name: &str) -> Option<String> {
    let module = name.strip_prefix("model.layers.")?.strip_suffix(".weight")?;
    let (layer, module) = module.split_once('.')?;
    let found = BEHIND.iter().find(|[hf, _]| *hf == module)?;
    Some(format!("blk.{layer}.{}.weight", found[1]))
}

/// Rows of llama.cpp's order back in Hugging Face's: of each head those at even places, then those at odd ones.
fn halves(values: &[f32], rows: usize, head_dim: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let mut out = Vec::with_capacity(values.len());
    for head in 0..rows / head_dim {
        for parity in 0..2 {
            for pair in 0..head_dim / 2 {
                let row = head * head_dim + 2 * pair + parity;
                out.extend_from_slice(&values[row * width..(row + 1) * width]);
            }
        }
    }
    out
}

fn u32_of(file: &GgufFile, key: &str) -> Option<u32> {
    match file.get(key) {
        Some(GgufValue::U32(value)) => Some(*value),
        _ => None,
    }
}

#[test]
fn every_weight_is_in_the_file_once() {
    for name in exported() {
        let (dir, _copy) = exportable(name);
        let config = ModelConfig::from_dir(&dir).unwrap_or_else(|error| panic!("{error}"));
        let checkpoint = Checkpoint::open(&dir).unwrap_or_else(|error| panic!("{error}"));
        let (report, file) = export(&dir, &GgufOptions::new().with_dtype(GgmlType::F32));
        assert_eq!(report.dtype, GgmlType::F32);
        let mut extra = usize::from(name == "llama3");
        for hf in checkpoint.names() {
            let source = checkpoint.tensor(hf).unwrap_or_else(|| panic!("{hf}"));
            let renamed = if config.output_norms { behind(hf) } else { None };
            let renamed = renamed.unwrap_or_else(|| gguf_name(hf));
            let tensor = file.tensor(&renamed).unwrap_or_else(|| panic!("{name}: no {hf}"));
            assert_eq!((tensor.dtype, &tensor.shape), (GgmlType::F32, &source.shape), "{name} {hf}");
            let mut found = tensor.to_f32();
            let is_gemma = config.model_type().starts_with("gemma");
            let turns_neighbours = ["llama", "mistral"].contains(&config.model_type());
            if turns_neighbours && (hf.contains("q_proj") || hf.contains("k_proj")) {
                found = halves(&found, source.shape[0], config.head_dim);
            }
            if is_gemma && hf.ends_with("norm.weight") {
                found.iter_mut().for_each(|value| *value -= 1.0);
            }
            let wanted = source.to_f32().unwrap_or_default();
            assert_eq!(found.len(), wanted.len(), "{name} {hf}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found - wanted).abs() <= if is_gemma { 1e-6 } else { 0.0 }, "{name} {hf}");
            }
            extra += 1;
        }
        assert_eq!(file.tensors().len(), extra, "{name}");
        assert_eq!(file.tensor("output.weight").is_none(), config.tie_word_embeddings, "{name}");
    }
}

#[test]
fn the_shape_of_a_model_is_told() {
    let (_, file) = export(&fixture("models/llama-bias-linear"), &GgufOptions::new().with_name("tiny"));
    let text = |key: &str| match file.get(key) {
        Some(GgufValue::String(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(file.metadata()[0].0, "general.architecture");
    assert_eq!(
        ["general.architecture", "general.type", "general.name"].map(text),
        ["llama", "model", "tiny"]
    );
    let sizes = [
        ("block_count", 2),
        ("context_length", 256),
        ("embedding_length", 64),
        ("feed_forward_length", 128),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 24),
        ("attention.value_length", 24),
        ("rope.dimension_count", 24),
        ("vocab_size", 256),
    ];
    for (key, size) in sizes {
        assert_eq!(u32_of(&file, &format!("llama.{key}")), Some(size), "{key}");
    }
    assert_eq!(u32_of(&file, "general.file_type"), Some(1));
    assert_eq!(u32_of(&file, "general.quantization_version"), Some(2));
    assert_eq!(file.get("llama.rope.freq_base"), Some(&GgufValue::F32(10_000.0)));
    assert_eq!(file.get("llama.attention.layer_norm_rms_epsilon"), Some(&GgufValue::F32(1e-6)));
    assert_eq!(text("llama.rope.scaling.type"), "linear");
    assert_eq!(file.get("llama.rope.scaling.factor"), Some(&GgufValue::F32(4.0)));
    assert_eq!(text("tokenizer.ggml.model"), "llama");
    for (name, keys) in [
        ("gemma2", &["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"][..]),
        ("gemma3", &["attention.sliding_window", "rope.scaling.factor"][..]),
    ] {
        if fixture_or_shared("models/gemma2").is_none() {
            continue;
        }
        let (dir, _copy) = exportable(name);
        let (report, file) = export(&dir, &GgufOptions::new());
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        assert_eq!(u32_of(&file, &format!("{name}.attention.sliding_window")), Some(8));
        for key in keys {
            assert!(file.get(&format!("{name}.{key}")).is_some(), "{name}: {key}");
        }
    }
    let (_, gemma) = export(&fixture("models/gemma"), &GgufOptions::new());
    assert_eq!(u32_of(&gemma, "gemma.attention.key_length"), Some(32));
}

#[test]
fn matrices_get_the_type_that_is_asked_for() {
    let dir = fixture("models/llama3");
    let (report, file) = export(&dir, &GgufOptions::new());
    assert_eq!((report.dtype, u32_of(&file, "general.file_type")), (GgmlType::BF16, Some(32)));
    let (report, quantized) = export(&dir, &GgufOptions::new().with_dtype(GgmlType::Q8_0));
    assert_eq!((report.dtype, u32_of(&quantized, "general.file_type")), (GgmlType::Q8_0, Some(7)));
    for (exact, rounded) in file.tensors().iter().zip(quantized.tensors()) {
        assert_eq!((&exact.name, &exact.shape), (&rounded.name, &rounded.shape));
        let row = exact.shape.last().copied().unwrap_or(1);
        let expected = match (exact.shape.len(), row % 32) {
            (1, _) => GgmlType::F32,
            (_, 0) => GgmlType::Q8_0,
            // The rows of down_proj have 144 numbers.
            _ => GgmlType::F16,
        };
        assert_eq!(rounded.dtype, expected, "{}", exact.name);
        let (exact, rounded) = (exact.to_f32(), rounded.to_f32());
        let largest = exact.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(exact.iter().zip(&rounded).all(|(a, b)| (a - b).abs() <= largest / 127.0 * 0.57));
    }
}

/// The strings of an array.
fn strings(file: &GgufFile, key: &str) -> Vec<String> {
    match file.get(key) {
        Some(GgufValue::Array(GgufArray::String(items))) => items.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn kinds(file: &GgufFile) -> Vec<i32> {
    match file.get("tokenizer.ggml.token_type") {
        Some(GgufValue::Array(GgufArray::I32(items))) => items.clone(),
        other => panic!("{other:?}"),
    }
}

/// A copy of a folder, with other files in it.
fn changed(from: &Path, files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = temporary();
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{error}")) {
        let entry = entry.unwrap_or_else(|error| panic!("{error}"));
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap_or_else(|error| panic!("{error}"));
    }
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap_or_else(|error| panic!("{error}"));
    }
    dir
}

#[test]
fn a_tokenizer_with_bytes_gets_scores() {
    let (report, file) = export(&fixture("models/llama2"), &GgufOptions::new());
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(file.get("tokenizer.ggml.model"), Some(&"llama".into()));
    assert_eq!(file.get("tokenizer.ggml.pre"), Some(&"default".into()));
    assert_eq!(file.get("tokenizer.ggml.add_space_prefix"), Some(&GgufValue::Bool(true)));
    assert_eq!(file.get("tokenizer.ggml.add_bos_token"), Some(&GgufValue::Bool(true)));
    assert_eq!(file.get("tokenizer.ggml.add_eos_token"), Some(&GgufValue::Bool(false)));
    let ids = ["bos", "eos", "unknown", "padding"]
        .map(|key| u32_of(&file, &format!("tokenizer.ggml.{key}_token_id")));
    assert_eq!(ids, [Some(1), Some(2), Some(0), Some(0)]);
    let tokens = strings(&file, "tokenizer.ggml.tokens");
    assert_eq!(tokens.len(), 400);
    assert_eq!(tokens[..4], ["<unk>", "<s>", "</s>", "<0x00>"]);
    let kinds = kinds(&file);
    assert_eq!((kinds[..4].to_vec(), kinds[258], kinds[259]), (vec![2, 3, 3, 6], 6, 1));
    let template = fs::read_to_string(fixture("models/llama2/chat_template.jinja")).unwrap_or_default();
    assert_eq!(file.get("tokenizer.chat_template"), Some(&template.as_str().into()));

    // The same with the model that the scores come from, with tokenizer.json and without.
    let model = fs::read(fixture("tokenizers/spm/tokenizer.model")).unwrap_or_else(|error| panic!("{error}"));
    let scores = |file: &GgufFile| match file.get("tokenizer.ggml.scores") {
        Some(GgufValue::Array(GgufArray::F32(scores))) => scores.clone(),
        other => panic!("{other:?}"),
    };
    let both = changed(&fixture("models/llama2"), &[("tokenizer.model", model)]);
    let (_, with_scores) = export(both.path(), &GgufOptions::new());
    fs::remove_file(both.path().join("tokenizer.json")).unwrap_or_else(|error| panic!("{error}"));
    let (_, alone) = export(both.path(), &GgufOptions::new());
    for key in ["tokens", "scores", "token_type", "add_space_prefix", "add_bos_token", "bos_token_id"] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(with_scores.get(&key), alone.get(&key), "{key}");
    }
    // Ranks of merges order the tokens that are made by merging as the scores do.
    let mut by_score: Vec<usize> =
        (0..400).filter(|id| kinds[*id] == 1 && tokens[*id].chars().count() > 1).collect();
    let mut by_rank = by_score.clone();
    let sort = |ids: &mut Vec<usize>, scores: &[f32]| ids.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    sort(&mut by_score, &scores(&alone));
    sort(&mut by_rank, &scores(&file));
    assert_eq!(by_rank, by_score);
}

#[test]
fn a_byte_level_tokenizer_keeps_its_merges() {
    let (report, file) = export(&fixture("models/llama3"), &GgufOptions::new());
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(file.get("tokenizer.ggml.model"), Some(&"gpt2".into()));
    // Llama 3's pattern, whose name in llama.cpp depends on `ignore_merges`.
    assert_eq!(file.get("tokenizer.ggml.pre"), Some(&"smaug-bpe".into()));
    let json: Value =
        serde_json::from_slice(&fs::read(fixture("models/llama3/tokenizer.json")).unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}"));
    let merges: Vec<[String; 2]> =
        serde_json::from_value(json["model"]["merges"].clone()).unwrap_or_else(|error| panic!("{error}"));
    let merges: Vec<String> = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
    assert_eq!(strings(&file, "tokenizer.ggml.merges"), merges);
    let tokens = strings(&file, "tokenizer.ggml.tokens");
    assert_eq!((tokens.len(), tokens[1].as_str()), (384, "<|bos|>"));
    let kinds = kinds(&file);
    assert_eq!((kinds[0], kinds[383]), (3, 1));
    assert!(file.get("tokenizer.ggml.scores").is_none());

    let mut ignoring = json.clone();
    ignoring["model"]["ignore_merges"] = true.into();
    let dir = changed(&fixture("models/llama3"), &[("tokenizer.json", ignoring.to_string().into())]);
    assert_eq!(
        export(dir.path(), &GgufOptions::new()).1.get("tokenizer.ggml.pre"),
        Some(&"llama-bpe".into())
    );

    let mut other = json;
    other["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = ".".into();
    let dir = changed(&fixture("models/llama3"), &[("tokenizer.json", other.to_string().into())]);
    let error = export_gguf(dir.path(), dir.path().join("x.gguf"), &GgufOptions::new()).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("which llama.cpp does not have") && error.contains("llama-bpe"), "{error}");
    assert!(!dir.path().join("x.gguf").exists());
    let named = GgufOptions::new().with_pre_tokenizer("mine");
    assert_eq!(export(dir.path(), &named).1.get("tokenizer.ggml.pre"), Some(&"mine".into()));
}

#[test]
fn what_llama_cpp_would_compute_otherwise_is_said() {
    let (report, _) = export(&fixture("models/mistral"), &GgufOptions::new());
    let note = "llama.cpp has no sliding window for mistral: texts of more than 8 tokens differ";
    assert_eq!(report.notes, [note]);
    let refused = |dir: &Path| {
        let error = export_gguf(dir, dir.join("x.gguf"), &GgufOptions::new()).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let bare = refused(&fixture("models/gemma"));
    assert!(bare.ends_with("tokenizer.json: no such file, and no tokenizer.model beside it"), "{bare}");
    let quantized = refused(&fixture("bnb/ckpt_nf4_double"));
    assert!(quantized.starts_with("GGUF from the quantized weights"), "{quantized}");
    let config = fs::read_to_string(fixture("models/llama2/config.json")).unwrap_or_default();
    let dir = changed(
        &fixture("models/llama2"),
        &[("config.json", config.replace("\"silu\"", "\"gelu_pytorch_tanh\"").into())],
    );
    assert_eq!(refused(dir.path()), "GGUF for GeluTanh in a llama is not supported; supported: Silu");
    for (model, change, wanted) in [
        ("gemma2", None, "of query_pre_attn_scalar = 16"),
        ("gemma3", None, "supported: a window in all layers but every 6th"),
        ("phi3", None, "supported: llama, mistral, gemma, gemma2, gemma3_text, qwen2, qwen3"),
        ("gemma2", Some(("final_logit_softcapping", Value::Null)), "no final_logit_softcapping"),
        ("qwen3", Some(("attention_bias", true.into())), "biases of projections in a qwen3"),
    ] {
        let dir = match change {
            None => fixture_or_shared(&format!("models/{model}")).map(|dir| changed(&dir, &[])),
            Some(_) if fixture_or_shared("models/gemma2").is_none() => None,
            Some((field, value)) => {
                let (dir, _copy) = exportable(model);
                let text = fs::read(dir.join("config.json")).unwrap_or_default();
                let mut config: Value = serde_json::from_slice(&text).unwrap_or_default();
                config[field] = value;
                Some(changed(&dir, &[("config.json", config.to_string().into())]))
            }
        };
        let Some(dir) = dir else { continue };
        let error = refused(dir.path());
        assert!(error.contains(wanted), "{model}: {error}");
    }
    let mut json: Value =
        serde_json::from_slice(&fs::read(fixture("models/llama2/tokenizer.json")).unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}"));
    json["model"]["vocab"]["<more>"] = 400.into();
    let dir = changed(&fixture("models/llama2"), &[("tokenizer.json", json.to_string().into())]);
    let error = refused(dir.path());
    assert!(error.contains("\"<more>\" has the id 400; the model has 400 embeddings"), "{error}");
}

/// The tensors of a safetensors file in f32.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let values =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), values(view.data()))))
        .collect()
}

fn export_adapter(model: &str, adapter: &Path) -> Result<GgufFile, ModelError> {
    let out = temporary();
    let path = out.path().join("adapter.gguf");
    export_gguf_adapter(adapter, fixture(&format!("models/{model}")), &path, &GgufOptions::new())?;
    GgufFile::open(&path)
}

/// What llama.cpp adds to a matrix: `(alpha / rank) · B · A`, `[out, in]`; of an embedding it takes rows of A,
/// `[tokens, rank]`, times B.
fn delta(file: &GgufFile, name: &str) -> Option<Vec<f32>> {
    let (a, b) = (file.tensor(&format!("{name}.lora_a"))?, file.tensor(&format!("{name}.lora_b"))?);
    let (a, b) = if name.starts_with("token_embd") { (&turned(b), a) } else { (a, b) };
    let Some(GgufValue::F32(alpha)) = file.get("adapter.lora.alpha") else {
        panic!("{:?}", file.get("adapter.lora.alpha"));
    };
    let ([rank, inn], [out, b_rank]) = (&a.shape[..], &b.shape[..]) else {
        panic!("{:?} {:?}", a.shape, b.shape);
    };
    assert_eq!(rank, b_rank);
    let scale = f64::from(*alpha) / *rank as f64;
    let (a, b) = (a.to_f32(), b.to_f32());
    let mut delta = vec![0.0f64; out * inn];
    for row in 0..*out {
        for middle in 0..*rank {
            let factor = f64::from(b[row * rank + middle]) * scale;
            for column in 0..*inn {
                delta[row * inn + column] += factor * f64::from(a[middle * inn + column]);
            }
        }
    }
    Some(delta.into_iter().map(|value| value as f32).collect())
}

/// A matrix with rows and columns exchanged, in f32.
fn turned(tensor: &GgufTensor) -> GgufTensor {
    let (values, columns) = (tensor.to_f32(), tensor.shape[1]);
    let rows = tensor.shape[0];
    let bytes: Vec<u8> =
        (0..values.len()).flat_map(|at| values[at % rows * columns + at / rows].to_le_bytes()).collect();
    GgufTensor { dtype: GgmlType::F32, shape: vec![columns, rows], bytes: bytes.into(), ..tensor.clone() }
}

/// Reference: PEFT 0.21.2's merged weights.
#[test]
fn base_and_adapter_make_the_merged_weights_of_peft() {
    let cases = [
        ("llama2", "lora_qv"),
        ("llama2", "lora_all_linear"),
        ("llama2", "rslora"),
        ("llama2", "rank_pattern"),
        ("llama2", "embed_tokens"),
        ("llama2", "lm_head_target"),
        ("llama3", "lora_qv"),
        ("llama-bias-linear", "lora_qv"),
        ("mistral", "lora_qv"),
        ("gemma", "lora_qv"),
    ];
    for (model, adapter) in cases {
        let Some(merged) = fixture_or_shared(&format!("peft/{model}/{adapter}/merged.safetensors")) else {
            continue;
        };
        // Where a committed adapter lacks its merged weights, all of it comes from ../shared.
        let folder = merged.parent().unwrap_or(&merged);
        let file = export_adapter(model, folder).unwrap_or_else(|error| panic!("{model} {adapter}: {error}"));
        let dir = fixture(&format!("models/{model}"));
        let config = ModelConfig::from_dir(&dir).unwrap_or_else(|error| panic!("{error}"));
        let (_, base) = export(&dir, &GgufOptions::new().with_dtype(GgmlType::F32));
        let merged = tensors(&merged);
        let mut compared = 0;
        for (name, (shape, merged)) in merged {
            let gguf = gguf_name(name.strip_prefix("base_model.model.").unwrap_or(&name));
            let Some(delta) = delta(&file, &gguf) else {
                panic!("{model} {adapter}: no factors for {gguf}");
            };
            let mut sum: Vec<f32> =
                f32_of(&base, &gguf).iter().zip(&delta).map(|(base, delta)| base + delta).collect();
            if model != "gemma" && (gguf.contains("attn_q.") || gguf.contains("attn_k.")) {
                sum = halves(&sum, shape[0], config.head_dim);
            }
            let worst = sum.iter().zip(&merged).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 2e-6, "{model} {adapter} {name}: {worst}");
            compared += 1;
        }
        assert!(compared > 0, "{model} {adapter}");
    }
}

#[test]
fn ranks_and_alphas_of_modules_are_folded_in() {
    let file = export_adapter("llama2", &fixture("peft/llama2/rank_pattern"))
        .unwrap_or_else(|error| panic!("{error}"));
    let source = tensors(&fixture("peft/llama2/rank_pattern/adapter_model.safetensors"));
    // From adapter_config.json: rank 8, alpha 16 but where a pattern says otherwise.
    let scaling = |name: &str| match name {
        _ if name.contains("layers.0.self_attn.q_proj") => 16.0 / 4.0,
        _ if name.contains("layers.0.mlp.down_proj") => 5.0 / 6.0,
        _ if name.contains("down_proj") => 16.0 / 6.0,
        _ if name.contains("layers.1.self_attn.v_proj") => 32.0 / 8.0,
        _ => 16.0 / 8.0,
    };
    let alpha = match file.get("adapter.lora.alpha") {
        Some(GgufValue::F32(alpha)) => *alpha,
        other => panic!("{other:?}"),
    };
    assert_eq!(file.get("general.type"), Some(&"adapter".into()));
    assert_eq!(file.get("adapter.type"), Some(&"lora".into()));
    assert_eq!(file.tensors().len(), source.len());
    for (name, (shape, values)) in source.iter().filter(|(name, _)| name.ends_with("lora_B.weight")) {
        let module = name.trim_start_matches("base_model.model.").trim_end_matches(".lora_B.weight");
        let tensor = format!("{}.lora_b", gguf_name(&format!("{module}.weight")));
        let mut found = f32_of(&file, &tensor);
        if name.contains("q_proj") {
            found = halves(&found, shape[0], 16);
        }
        let factor = scaling(name) / (alpha / shape[1] as f32);
        for (found, value) in found.iter().zip(values) {
            assert!((found - value * factor).abs() <= 1e-6 * value.abs(), "{name}");
        }
    }
}

#[test]
fn adapters_that_llama_cpp_cannot_take_are_refused() {
    let error = |result: Result<GgufFile, ModelError>| {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let saved = error(export_adapter("llama2", &fixture("peft/llama2/modules_to_save_embed_and_head")));
    assert!(saved.starts_with("a GGUF adapter with `"), "{saved}");
    if let Some(pissa) = fixture_or_shared("peft/llama2/pissa") {
        let changed = error(export_adapter("llama2", &pissa));
        assert!(changed.contains("an initialisation that changed the base"), "{changed}");
    }
    // An adapter of another model.
    let out = temporary();
    let base = fixture("models/llama3");
    let result = export_gguf_adapter(
        fixture("peft/llama2/lora_qv"),
        base,
        out.path().join("x.gguf"),
        &GgufOptions::new(),
    );
    let other = result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(other.contains("wanted [8, 64] and [32, 8]"), "{other}");
    assert!(!out.path().join("x.gguf").exists());
}

fn sample() -> (Vec<(String, GgufValue)>, Vec<GgufTensor>) {
    let metadata = [
        ("general.architecture", "llama".into()),
        ("tokenizer.ggml.tokens", GgufValue::Array(GgufArray::String(vec!["▁a".to_owned(), String::new()]))),
        ("x.bool", GgufValue::Bool(false)),
    ];
    let tensor = |name: &str, dtype: GgmlType, shape: &[usize]| {
        let bytes = vec![7u8; dtype.bytes_of(shape).unwrap_or_default()].into();
        GgufTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    };
    let tensors = vec![
        tensor("a", GgmlType::F16, &[3, 5]),
        tensor("b", GgmlType::Q8_0, &[2, 64]),
        tensor("c", GgmlType::F32, &[]),
        tensor("d", GgmlType::BF16, &[0, 4]),
        tensor("e", GgmlType::F32, &[1, 2, 3, 4]),
    ];
    (metadata.map(|(key, value)| (key.to_owned(), value)).into(), tensors)
}

/// A file of the sample.
fn written() -> Vec<u8> {
    let (dir, (metadata, tensors)) = (temporary(), sample());
    let path = dir.path().join("a.gguf");
    write_gguf(&path, &metadata, &tensors).unwrap_or_else(|error| panic!("{error}"));
    fs::read(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_written_is_read() {
    let (metadata, tensors) = sample();
    let bytes = written();
    assert!(bytes.len().is_multiple_of(32));
    let file = GgufFile::from_bytes(bytes.into(), "a.gguf").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.metadata(), metadata);
    assert_eq!(file.tensors(), tensors);
    // An alignment of the file's own.
    let dir = temporary();
    let path = dir.path().join("a.gguf");
    let metadata = [("general.alignment".to_owned(), GgufValue::U32(128))];
    write_gguf(&path, &metadata, &tensors).unwrap_or_else(|error| panic!("{error}"));
    let file = GgufFile::open(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.tensors(), tensors);
}

#[test]
fn what_ggml_cannot_hold_is_not_written() {
    let dir = temporary();
    let path = dir.path().join("a.gguf");
    let tensor = |name: &str, dtype, shape: &[usize], bytes: usize| GgufTensor {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
        bytes: vec![0u8; bytes].into(),
    };
    let long = "x".repeat(64);
    let cases = [
        (vec![tensor("a", GgmlType::F32, &[2], 4)], vec![], "has the shape [2] and 4 bytes"),
        (vec![tensor("a", GgmlType::Q8_0, &[33], 34)], vec![], "tensor `a` of Q8_0 has the shape [33]"),
        (vec![tensor("a", GgmlType::F32, &[1; 5], 4)], vec![], "cannot have the shape [1, 1, 1, 1, 1]"),
        (vec![tensor(&long, GgmlType::F32, &[], 4)], vec![], "is empty, too long or given twice"),
        (vec![tensor("a", GgmlType::F32, &[], 4), tensor("a", GgmlType::F32, &[], 4)], vec![], "given twice"),
        (vec![], vec![(String::new(), GgufValue::U8(1))], "the key \"\" is empty"),
        (
            vec![],
            vec![("general.alignment".to_owned(), GgufValue::U32(24))],
            "general.alignment is not a power",
        ),
        (
            vec![],
            vec![("general.alignment".to_owned(), GgufValue::U64(32))],
            "general.alignment is not a power",
        ),
    ];
    for (tensors, metadata, wanted) in cases {
        let error =
            write_gguf(&path, &metadata, &tensors).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(wanted), "{error:?}\nwanted {wanted:?}");
        assert!(!path.exists());
    }
}

/// Found by the fuzz target `gguf`: no element, but dimensions whose product does not fit.
#[test]
fn a_shape_that_fits_only_by_its_zero_is_refused() {
    let found: [u8; 134] = [
        71, 71, 85, 70, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0,
        103, 101, 110, 101, 114, 71, 85, 70, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 95, 136, 230, 74, 24, 168, 180, 210, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 7, 0, 0, 0, 102, 108, 111, 0,
    ];
    let error = GgufFile::from_bytes(found.to_vec().into(), "a.gguf").err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("has the shape [") && error.contains('0'), "{error}");
}

#[test]
fn lies_are_named() {
    let good = written();
    let message = |bytes: Vec<u8>| {
        let error = GgufFile::from_bytes(bytes.into(), "a.gguf").err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        message(bytes)
    };
    let name = good.windows(9).position(|part| part == [1, 0, 0, 0, 0, 0, 0, 0, b'a']).unwrap_or_default();
    let cases = [
        (message(vec![]), "a.gguf: byte 0: 4 bytes wanted, 0 left (is the file cut off?)"),
        (with(0, b"GGML"), "a.gguf: the first bytes are not GGUF"),
        (with(4, &[1]), "version 1, wanted 2 or 3"),
        (with(4, &[0, 0, 0, 3]), "big endian, wanted little endian"),
        (with(8, &[255; 8]), "(is the file cut off?)"),
        (with(16, &[255; 8]), "a.gguf: byte "),
        (with(name + 9, &[5]), "tensor `a` has 5 dimensions, wanted at most 4"),
        (with(name + 13, &[255; 8]), "tensor `a` of F16 has the shape"),
        (with(name + 29, &[12]), "tensor `a` is of type 12, readable are F32 (0)"),
        (with(name + 33, &[32]), "tensor `a` begins at byte 32 of the data, wanted 0"),
        (with(name + 49, b"a"), "tensor `a` is in the table twice"),
        (message(good[..good.len() - 40].to_vec()), "(is the file cut off?)"),
    ];
    for (found, wanted) in cases {
        assert!(found.contains(wanted), "{found:?}\nwanted {wanted:?}");
    }
    assert_eq!(with(4, &[2]), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_truncated_file_is_an_error(part in 0.0..1.0f64) {
        let bytes = written();
        // What follows the last tensor's 96 bytes is padding, of which there is none.
        let length = (part * bytes.len() as f64) as usize;
        prop_assert!(GgufFile::from_bytes(bytes[..length].to_vec().into(), "a.gguf").is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        if let Ok(file) = GgufFile::from_bytes(bytes.into(), "a.gguf") {
            for tensor in file.tensors() {
                tensor.to_f32();
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"GGUF\x03\0\0\0".to_vec();
        framed.extend(bytes);
        let _ = GgufFile::from_bytes(framed.into(), "a.gguf");
    }
}

#[test]
fn unused_places_are_filled() {
    let dir = changed(&fixture("models/llama2"), &[("tokenizer.json", tokenizer(398))]);
    let (_, file) = export(dir.path(), &GgufOptions::new());
    let (tokens, kinds) = (strings(&file, "tokenizer.ggml.tokens"), kinds(&file));
    assert_eq!((tokens.len(), tokens[399].as_str()), (400, "[PAD399]"));
    assert_eq!(kinds[397..], [1, 5, 5]);
}
