//! Reading and writing checkpoints: the fixtures' bytes, and everything that can be wrong with files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burnisher_models::{
    Checkpoint, CheckpointDtype, CheckpointProblem, ExpectedTensor, ModelConfig, ModelError, TensorEntry,
    WriteOptions, copy_tokenizer_files, write_checkpoint, write_config, write_safetensors,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

const MODELS: [&str; 6] = ["llama2", "llama3", "llama-sharded", "llama-bias-linear", "mistral", "gemma"];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn model(name: &str) -> PathBuf {
    fixture("models").join(name)
}

fn open(dir: impl AsRef<Path>) -> Checkpoint {
    Checkpoint::open(dir).expect("a valid checkpoint")
}

/// A copy of a fixture that a test may damage.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().expect("a temporary directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("reads");
        fs::write(to.path().join(path.file_name().expect("a name")), bytes).expect("writes");
    }
    to
}

fn file_names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().display().to_string()).collect();
    names.sort();
    names
}

/// Every tensor in the order of a state dict: embedding, layers, norm, head.
fn state_dict(checkpoint: &Checkpoint) -> Vec<(String, TensorEntry)> {
    let outer = ["model.embed_tokens", "model.layers", "model.norm", "lm_head"];
    let inner = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "input_layernorm",
        "post_attention_layernorm",
    ];
    let rank = |name: &str| {
        let layer = name.split('.').find_map(|part| part.parse::<usize>().ok());
        let module = inner.iter().position(|module| name.split('.').any(|part| part == *module));
        (outer.iter().position(|prefix| name.starts_with(*prefix)), layer, module)
    };
    let mut tensors: Vec<(String, TensorEntry)> = checkpoint
        .names()
        .map(|name| (name.to_owned(), checkpoint.tensor(name).expect("a listed tensor")))
        .collect();
    tensors.sort_by_key(|(name, _)| rank(name));
    tensors
}

/// What a model with exactly these tensors expects.
fn expected(checkpoint: &Checkpoint) -> Vec<ExpectedTensor> {
    state_dict(checkpoint)
        .into_iter()
        .map(|(name, tensor)| ExpectedTensor::required(name, tensor.shape))
        .collect()
}

fn problems<T: std::fmt::Debug>(result: Result<T, ModelError>) -> Vec<CheckpointProblem> {
    match result {
        Err(ModelError::Tensors { problems, .. }) => problems,
        other => panic!("found {other:?}, wanted problems"),
    }
}

fn texts<T: std::fmt::Debug>(result: Result<T, ModelError>) -> Vec<String> {
    problems(result).iter().map(ToString::to_string).collect()
}

#[test]
fn fixtures_open_with_the_bytes_of_their_files() {
    for name in MODELS {
        let checkpoint = open(model(name));
        assert_eq!(checkpoint.metadata().get("format").map(String::as_str), Some("pt"), "{name}");
        let mut count = 0;
        for entry in fs::read_dir(model(name)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "safetensors") {
                continue;
            }
            let file = fs::read(&path).expect("reads");
            let theirs = SafeTensors::deserialize(&file).expect("a valid file");
            for (tensor, view) in theirs.tensors() {
                let entry = checkpoint.tensor(&tensor).expect("a tensor of the file");
                assert_eq!(entry.shape, view.shape(), "{name} {tensor}");
                assert_eq!(entry.dtype.to_string(), view.dtype().to_string(), "{name} {tensor}");
                assert!(entry.bytes == view.data(), "{name} {tensor}");
                assert_eq!(entry.first_non_finite(), None, "{name} {tensor}");
                checkpoint.check_finite(&tensor).expect("finite weights");
                count += 1;
            }
        }
        assert_eq!(checkpoint.names().count(), count, "{name}");
        assert!(checkpoint.tensor("model.layers.99.mlp.up_proj.weight").is_none());
        checkpoint.check(&expected(&checkpoint), |_| false).expect("its own tensors");
    }
}

#[test]
fn tensors_share_one_mapping_that_outlives_the_checkpoint() {
    let dir = copy(&model("llama3"));
    let checkpoint = open(dir.path());
    let name = "model.norm.weight";
    let [first, second] = [(); 2].map(|()| checkpoint.tensor(name).expect("a tensor"));
    assert_eq!(first.bytes.as_ptr(), second.bytes.as_ptr());
    assert_eq!(first.dtype, CheckpointDtype::BF16);
    drop(checkpoint);
    // Replacing the file by renaming, as the writer does, leaves the mapping alone.
    let zeros = TensorEntry { bytes: vec![0u8; first.bytes.len()].into(), ..first.clone() };
    write_checkpoint(dir.path(), &[(name.to_owned(), zeros.clone())], &WriteOptions::new()).expect("writes");
    assert_eq!(first.bytes, open(model("llama3")).tensor(name).expect("a tensor").bytes);
    assert_eq!(open(dir.path()).tensor(name).expect("a tensor"), zeros);
}

#[test]
fn a_written_checkpoint_has_transformers_bytes() {
    for name in MODELS {
        let checkpoint = open(model(name));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = WriteOptions::new().with_max_shard_bytes(300_000);
        let options = if name == "llama-sharded" { options } else { WriteOptions::new() };
        write_checkpoint(dir.path(), &state_dict(&checkpoint), &options).expect("writes");
        write_config(dir.path(), &ModelConfig::from_dir(model(name)).expect("a valid config"))
            .expect("writes");
        copy_tokenizer_files(model(name), dir.path()).expect("copies");
        let written = file_names(dir.path());
        let mut wanted = file_names(&model(name));
        wanted.retain(|file| file != "config_v4.json");
        assert_eq!(written, wanted, "{name}");
        for file in written {
            let [found, wanted] =
                [dir.path(), model(name).as_path()].map(|dir| fs::read(dir.join(&file)).expect("reads"));
            if file == "config.json" {
                // The same numbers, which Python spells in another way.
                let [found, wanted] =
                    [found, wanted].map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
                assert_eq!(found, wanted, "{name}");
            } else {
                assert!(found == wanted, "{name} {file}");
            }
        }
    }
}

#[test]
fn a_new_layout_removes_the_old_one() {
    let dir = copy(&model("llama-sharded"));
    let tensors = state_dict(&open(dir.path()));
    fs::write(dir.path().join("adapter_model.safetensors"), "kept").expect("writes");
    let files = |dir: &Path| {
        let mut names = file_names(dir);
        names.retain(|name| name.contains("model"));
        names
    };
    write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).expect("writes");
    assert_eq!(files(dir.path()), ["adapter_model.safetensors", "model.safetensors"]);
    assert_eq!(state_dict(&open(dir.path())), tensors);
    let two = WriteOptions::new().with_max_shard_bytes(400_000);
    write_checkpoint(dir.path(), &tensors, &two).expect("writes");
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let index = "model.safetensors.index.json";
    assert_eq!(files(dir.path()), ["adapter_model.safetensors", shards[0], shards[1], index]);
    assert_eq!(state_dict(&open(dir.path())), tensors);
}

#[test]
fn a_four_bit_checkpoint_has_the_tensors_of_its_dense_base() {
    let dense = open(model("llama2"));
    let quantized = open(fixture("bnb/ckpt_nf4_double"));
    let expected = expected(&dense);
    quantized.check(&expected, |_| false).expect("the same model");
    let weight = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(quantized.tensor(weight).expect("a weight").dtype, CheckpointDtype::U8);

    // The shape that counts is the one in the quantization state.
    let mut other = expected.clone();
    let projection = other.iter_mut().find(|tensor| tensor.name == weight).expect("a projection");
    projection.shape = vec![64, 160];
    assert_eq!(
        texts(quantized.check(&other, |_| false)),
        [format!("tensor `{weight}`: found shape [160, 64], wanted [64, 160]")]
    );

    // Companions belong to a packed weight of the model, not to any name.
    let without: Vec<_> = expected.iter().filter(|tensor| tensor.name != weight).cloned().collect();
    let found = texts(quantized.check(&without, |_| false));
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(
        found.iter().all(|text| text.contains(weight) && text.ends_with("is not part of this architecture"))
    );

    let names: Vec<String> = quantized.names().map(str::to_owned).collect();
    let stripped: Vec<_> = names
        .iter()
        .filter(|name| !name.contains("quant_state"))
        .map(|name| (name.clone(), quantized.tensor(name).expect("a tensor")))
        .collect();
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_checkpoint(dir.path(), &stripped, &WriteOptions::new()).expect("writes");
    let found = texts(open(dir.path()).check(&expected, |_| false));
    assert_eq!(found.len(), 14, "seven projections of two layers: {found:?}");
    assert_eq!(
        found[0],
        "tensor `model.layers.0.self_attn.q_proj.weight`: found dtype U8, wanted F32, F16, BF16, U8 with a \
         bitsandbytes quant_state, or I8 with SCB"
    );
}

#[test]
fn every_difference_to_the_model_is_named_at_once() {
    let f32 = |shape: &[usize]| TensorEntry::from_f32(&vec![0.5; shape.iter().product()], shape.to_vec());
    let ids = TensorEntry { dtype: CheckpointDtype::I64, shape: vec![1], bytes: vec![0u8; 8].into() };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tensors = [
        ("good.weight", f32(&[2, 3])),
        ("turned.weight", f32(&[3, 2])),
        ("extra.weight", f32(&[1])),
        ("vision.weight", f32(&[1])),
        ("layers.0.rotary_emb.inv_freq", f32(&[4])),
        ("good.weight.absmax", f32(&[1])),
        ("ids.weight", ids),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor));
    write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).expect("writes");
    let expected = [
        ExpectedTensor::required("good.weight", [2, 3]),
        ExpectedTensor::required("turned.weight", [2, 3]),
        ExpectedTensor::required("absent.weight", [7]),
        ExpectedTensor::optional("lm_head.weight", [2, 3]),
        ExpectedTensor::required("ids.weight", [1]),
    ];
    let error =
        open(dir.path()).check(&expected, |name| name.starts_with("vision.")).expect_err("differences");
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "  - tensor `turned.weight`: found shape [3, 2], wanted [2, 3]",
            "  - tensor `absent.weight` [7] is missing",
            "  - tensor `ids.weight`: found dtype I64, wanted F32, F16, BF16, U8 with a bitsandbytes quant_state, or I8 with SCB",
            "  - tensor `extra.weight` [1] is not part of this architecture",
            "  - tensor `good.weight.absmax` [1] is not part of this architecture",
        ]
    );
    assert_eq!(lines[0], format!("{}: 5 problems", dir.path().display()));

    // An optional tensor that is there has to fit.
    let head = [("lm_head.weight".to_owned(), f32(&[2, 2]))];
    write_checkpoint(dir.path(), &head, &WriteOptions::new()).expect("writes");
    assert_eq!(
        texts(open(dir.path()).check(&expected[3..4], |_| false)),
        ["tensor `lm_head.weight`: found shape [2, 2], wanted [2, 3]"]
    );
}

#[test]
fn non_finite_weights_are_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tensors = [("a", [1.0, 2.0]), ("b", [1.0, f32::NAN])]
        .map(|(name, values)| (name.to_owned(), TensorEntry::from_f32(&values, vec![2])));
    write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).expect("writes");
    let checkpoint = open(dir.path());
    checkpoint.check_finite("a").expect("finite");
    checkpoint.check_finite("c").expect("not there");
    let error = checkpoint.check_finite("b").expect_err("a NaN");
    let message = "`b` holds NaN at flat index 1; every value must be finite";
    assert_eq!(error.to_string(), format!("{}: {message}", dir.path().display()));
}

/// One way to damage the sharded fixture, and what is said about it.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

fn edit_index(dir: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = dir.join("model.safetensors.index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("reads")).expect("JSON");
    edit(index["weight_map"].as_object_mut().expect("a map"));
    fs::write(path, index.to_string()).expect("writes");
}

fn truncate(dir: &Path, file: &str, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(dir.join(file)).expect("opens");
    file.set_len(bytes).expect("truncates");
}

const SECOND: &str = "model-00002-of-00003.safetensors";
const THIRD: &str = "model-00003-of-00003.safetensors";

#[rustfmt::skip]
const DAMAGES: &[Damage] = &[
    ("missing shards", |dir| {
        fs::remove_file(dir.join(SECOND)).expect("removes");
        fs::remove_file(dir.join(THIRD)).expect("removes");
    }, &[
        "model-00002-of-00003.safetensors: found no such file, wanted a safetensors file that can be read",
        "model-00003-of-00003.safetensors: found no such file, wanted a safetensors file that can be read",
    ]),
    ("cut off in the data", |dir| truncate(dir, THIRD, 65_000), &[
        "model-00003-of-00003.safetensors: tensor `lm_head.weight`: the header says an end at byte 65536 of the data, \
         wanted at most 64880, the bytes there are (is the file cut off?)",
    ]),
    ("cut off in the header", |dir| truncate(dir, THIRD, 100), &[
        "model-00003-of-00003.safetensors: found 100 bytes, wanted a header that ends at byte 120 (is the file cut off?)",
    ]),
    ("empty", |dir| truncate(dir, THIRD, 0), &[
        "model-00003-of-00003.safetensors: found 0 bytes, wanted a safetensors file, which has at least 8",
    ]),
    ("in another shard", |dir| edit_index(dir, |map| {
        map.insert("lm_head.weight".to_owned(), json!(SECOND));
        map.insert("model.norm.weight".to_owned(), json!(THIRD));
    }), &[
        "tensor `lm_head.weight`: the index places it in model-00002-of-00003.safetensors, it is in \
         model-00003-of-00003.safetensors",
        "tensor `model.norm.weight`: the index places it in model-00003-of-00003.safetensors, it is in \
         model-00002-of-00003.safetensors",
    ]),
    ("in no shard", |dir| edit_index(dir, |map| { map.insert("ghost".to_owned(), json!(THIRD)); }), &[
        "tensor `ghost`: the index places it in model-00003-of-00003.safetensors, which does not hold it",
    ]),
    ("in two shards", |dir| {
        let head = open(dir).tensor("lm_head.weight").expect("a head");
        let norm = TensorEntry::from_f32(&[1.0; 64], vec![64]);
        let tensors = [("lm_head.weight".to_owned(), head), ("model.norm.weight".to_owned(), norm)];
        write_safetensors(dir.join(THIRD), &tensors, &BTreeMap::new()).expect("writes");
    }, &[
        "tensor `model.norm.weight` is in model-00002-of-00003.safetensors and in model-00003-of-00003.safetensors, \
         wanted in one file",
    ]),
    ("outside the directory", |dir| edit_index(dir, |map| {
        map.insert("lm_head.weight".to_owned(), json!("../model.safetensors"));
        map.insert("model.norm.weight".to_owned(), json!(3));
    }), &[
        "model.safetensors.index.json: found `weight_map`: `lm_head.weight` in \"../model.safetensors\", wanted the name of \
         a file in this directory",
        "model.safetensors.index.json: found `weight_map`: `model.norm.weight` in 3, wanted the name of a file in this \
         directory",
    ]),
    ("an empty map", |dir| edit_index(dir, serde_json::Map::clear), &[
        "model.safetensors.index.json: found an empty `weight_map`, wanted a shard for every tensor",
    ]),
    ("no map", |dir| fs::write(dir.join("model.safetensors.index.json"), "{}").expect("writes"), &[
        "model.safetensors.index.json: found no `weight_map` object, wanted a shard for every tensor",
    ]),
    ("several at once", |dir| {
        fs::remove_file(dir.join(SECOND)).expect("removes");
        truncate(dir, THIRD, 4);
        edit_index(dir, |map| { map.insert("ghost".to_owned(), json!("model-00001-of-00003.safetensors")); });
    }, &[
        "model-00002-of-00003.safetensors: found no such file, wanted a safetensors file that can be read",
        "model-00003-of-00003.safetensors: found 4 bytes, wanted a safetensors file, which has at least 8",
        "tensor `ghost`: the index places it in model-00001-of-00003.safetensors, which does not hold it",
    ]),
];

#[test]
fn damaged_shards_are_described() {
    for (name, damage, expected) in DAMAGES {
        let dir = copy(&model("llama-sharded"));
        damage(dir.path());
        assert_eq!(texts(Checkpoint::open(dir.path())), *expected, "{name}");
    }
}

#[test]
fn a_directory_without_a_checkpoint_says_what_it_holds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wanted = "wanted model.safetensors or model.safetensors.index.json";
    let message = |dir: &Path| Checkpoint::open(dir).expect_err("no checkpoint").to_string();
    let path = dir.path().display().to_string();
    assert_eq!(message(dir.path()), format!("{path}: found no weights, {wanted}"));
    for file in ["pytorch_model.bin", "config.json", "adapter_model.safetensors"] {
        fs::write(dir.path().join(file), "").expect("writes");
    }
    let found = "adapter_model.safetensors, pytorch_model.bin";
    assert_eq!(message(dir.path()), format!("{path}: found {found}, {wanted}"));
    assert!(matches!(Checkpoint::open(dir.path().join("nowhere")), Err(ModelError::Io { .. })));
    fs::write(dir.path().join("model.safetensors.index.json"), "[]").expect("writes");
    assert!(matches!(Checkpoint::open(dir.path()), Err(ModelError::Json { .. })));
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tensors = [("a".to_owned(), TensorEntry::from_f32(&[1.0], vec![1]))];
    // A directory of that name cannot be replaced by a file.
    fs::create_dir(dir.path().join("model.safetensors")).expect("creates");
    let error = write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).expect_err("cannot be written");
    assert!(matches!(error, ModelError::Write { .. }), "{error:?}");
    assert_eq!(file_names(dir.path()), ["model.safetensors"]);
    let nowhere = dir.path().join("nowhere").join("a.safetensors");
    assert!(matches!(write_safetensors(nowhere, &tensors, &BTreeMap::new()), Err(ModelError::Write { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in the file, opening it ends in a checkpoint or in an error.
    #[test]
    fn damaged_bytes_never_panic(at in 0usize..3000, value in any::<u8>(), length in 0usize..300_000) {
        let original = fs::read(model("llama3").join("model.safetensors")).expect("reads");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("model.safetensors");
        let mut bytes = original.clone();
        bytes[at] = value;
        fs::write(&path, &bytes).expect("writes");
        if let Ok(checkpoint) = Checkpoint::open(dir.path()) {
            for name in checkpoint.names() {
                prop_assert!(checkpoint.tensor(name).is_some());
            }
        }
        let cut = &original[..length.min(original.len() - 1)];
        fs::write(&path, cut).expect("writes");
        prop_assert!(Checkpoint::open(dir.path()).is_err());
    }

    #[test]
    fn written_tensors_read_back(shapes in prop::collection::vec(prop::collection::vec(0usize..4, 0..4), 1..6), limit in 0u64..200) {
        let tensors: Vec<(String, TensorEntry)> = (0..)
            .zip(shapes)
            .map(|(i, shape)| {
                let count: usize = shape.iter().product();
                let values: Vec<f32> = (0..count).map(|j| (i * 100 + j) as f32).collect();
                (format!("t{i}"), TensorEntry::from_f32(&values, shape))
            })
            .collect();
        let dir = tempfile::tempdir().expect("a temporary directory");
        write_checkpoint(dir.path(), &tensors, &WriteOptions::new().with_max_shard_bytes(limit)).expect("writes");
        let checkpoint = open(dir.path());
        prop_assert_eq!(checkpoint.names().count(), tensors.len());
        for (name, tensor) in &tensors {
            prop_assert_eq!(&checkpoint.tensor(name).expect("a written tensor"), tensor);
        }
    }
}
