//! Checkpoints quantized on disk, and bitsandbytes' own.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::Device;
use burnisher_models::{
    CausalLm, Checkpoint, CheckpointDtype, CheckpointWriter, LoadConfig, ModelError, ModelInput, Quantize,
    QuantizeReport, TensorEntry, TensorSpec, WriteOptions, quantize_checkpoint, write_checkpoint,
};
use burnisher_quant::QuantConfig;
use proptest::prelude::*;

use crate::support::{Tensors, assert_near, batch, fixture, fixture_or_shared, values};

fn load(dir: &Path, load: &LoadConfig) -> CausalLm {
    CausalLm::from_pretrained(dir, load, &Device::flex()).unwrap_or_else(|error| panic!("{error}"))
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let batch = batch((3..43).collect(), vec![-100; 40], &[1; 40], 20);
    values(&model.logits(&ModelInput::from_batch(&batch)))
}

fn tensors(dir: &Path) -> BTreeMap<String, TensorEntry> {
    let checkpoint = Checkpoint::open(dir).unwrap_or_else(|error| panic!("{error}"));
    checkpoint.names().map(|name| (name.to_owned(), checkpoint.tensor(name).unwrap())).collect()
}

fn quantize(name: &str, to: &Path, quantize: Quantize, skip: &[&str]) -> Result<QuantizeReport, ModelError> {
    let skip: Vec<String> = skip.iter().map(|name| (*name).to_owned()).collect();
    let from = fixture(&format!("models/{name}"));
    quantize_checkpoint(from, to, quantize, &skip, &WriteOptions::new(), &mut |_, _| {})
}

/// The files of transformers and bitsandbytes, tensor by tensor. The 8-bit codes of nested scales are approximate on
/// bitsandbytes' CPU, and the offset is a mean in another order: see the fixtures' README.
#[test]
fn a_checkpoint_quantized_on_disk_is_bitsandbytes_own() {
    let cases = [
        ("ckpt_nf4_double", QuantConfig::nf4().with_double_quant(true)),
        ("ckpt_fp4_plain", QuantConfig::fp4()),
    ];
    for (name, config) in cases {
        let Some(wanted) = fixture_or_shared(&format!("bnb/{name}")) else { return };
        let dir = tempfile::tempdir().unwrap();
        let report = quantize("llama2", dir.path(), config.into(), &[]).unwrap();
        assert_eq!(report.modules.len(), 14);
        let (_, worst) = report.worst().unwrap();
        assert!((0.05..0.2).contains(worst), "{name}: {worst}");
        let (found, theirs) = (tensors(dir.path()), tensors(&wanted));
        assert_eq!(found.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        assert_eq!(report.bytes_after, found.values().map(|tensor| tensor.bytes.len() as u64).sum::<u64>());
        for (key, theirs) in &theirs {
            let found = &found[key];
            let is_nested = config.double_quant
                && ["absmax", "nested_absmax", "bitsandbytes__nf4"].iter().any(|end| key.ends_with(end));
            if !is_nested {
                assert!(found == theirs, "{name} {key}");
            }
        }
        // The configuration says the same, but for what the library's version decides.
        let read = |dir: &Path| {
            let text = fs::read_to_string(dir.join("config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_str(&text).unwrap();
            config["quantization_config"].clone()
        };
        assert_eq!(read(dir.path()), read(&wanted), "{name}");
        // As if it had been quantized while loading.
        let loaded = load(&fixture("models/llama2"), &LoadConfig::new().with_quantize(config));
        assert_eq!(logits(&load(dir.path(), &LoadConfig::new())), logits(&loaded), "{name}");
    }
}

#[test]
fn bitsandbytes_checkpoints_give_its_logits() {
    for name in ["ckpt_nf4_double", "ckpt_fp4_plain"] {
        let Some(dir) = fixture_or_shared(&format!("bnb/{name}")) else { return };
        let Some(reference) = fixture_or_shared(&format!("bnb/{name}_reference.safetensors")) else { return };
        let reference = Tensors::read(reference);
        let model = load(&dir, &LoadConfig::new());
        let seen = reference.shape("logits_seq0")[0];
        let ids = reference.ids("input_ids")[..seen].to_vec();
        let batch = batch(ids, vec![-100; seen], &vec![1; seen], seen);
        let found = values(&model.logits(&ModelInput::from_batch(&batch)));
        let mask = &reference.ints("attention_mask")[..seen];
        let length = mask.iter().sum::<i64>() as usize * (found.len() / seen);
        assert_near(&found[..length], &reference.floats("logits_seq0")[..length], 1e-4, name);
    }
}

#[test]
fn int8_is_written_read_and_written_again() {
    let dense = logits(&load(&fixture("models/llama2"), &LoadConfig::new()));
    let dir = tempfile::tempdir().unwrap();
    quantize("llama2", dir.path(), Quantize::int8(), &[]).unwrap();
    let found = tensors(dir.path());
    let path = "model.layers.1.mlp.down_proj";
    assert_eq!(found[&format!("{path}.weight")].dtype, CheckpointDtype::I8);
    assert_eq!(found[&format!("{path}.SCB")].shape, [64]);
    assert_eq!(&found[&format!("{path}.weight_format")].bytes[..], [0]);

    let model = load(dir.path(), &LoadConfig::new());
    let eight = logits(&model);
    // A code is off by up to 1/254 of its row's absmax, about 0.7 % of a value; so are inputs, in fourteen products.
    let sum =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>();
    let lost = sum(&mut eight.iter().zip(&dense).map(|(eight, dense)| eight - dense));
    let relative = (lost / sum(&mut dense.iter().copied())).sqrt();
    assert!(relative < 0.03, "{relative}");
    assert_ne!(eight, dense);
    let again = tempfile::tempdir().unwrap();
    model.save_pretrained(again.path(), None, &WriteOptions::new()).unwrap();
    assert!(tensors(again.path()) == found);
    let while_loading = LoadConfig::new().with_quantize(Quantize::int8());
    assert_eq!(logits(&load(&fixture("models/llama2"), &while_loading)), eight);

    // Codes without their scales are no weight.
    let tensors: Vec<_> = found.into_iter().filter(|(name, _)| !name.ends_with(".SCB")).collect();
    write_checkpoint(again.path(), &tensors, &WriteOptions::new()).unwrap();
    let error = CausalLm::from_pretrained(again.path(), &LoadConfig::new(), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("found dtype I8, wanted F32, F16, BF16, U8"), "{error}");
}

#[test]
fn skipped_projections_stay_dense_and_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let skip = ["down_proj", "model.layers.0", "lm_head"];
    let report = quantize("llama2", dir.path(), QuantConfig::nf4().into(), &skip).unwrap();
    let paths: Vec<&str> = report.modules.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths.len(), 6);
    assert!(paths.iter().all(|path| path.contains("layers.1.") && !path.ends_with("down_proj")), "{paths:?}");
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let listed = &config["quantization_config"]["llm_int8_skip_modules"];
    assert_eq!(*listed, serde_json::json!(["down_proj", "model.layers.0", "lm_head"]));
    logits(&load(dir.path(), &LoadConfig::new()));

    let error = quantize("llama2", dir.path(), Quantize::int8(), &["q_projection"]).unwrap_err();
    assert!(
        error.to_string().contains("\"q_projection\"") && error.to_string().contains("q_proj, up_proj"),
        "{error}"
    );
    let other = tempfile::tempdir().unwrap();
    let error = quantize_checkpoint(
        dir.path(),
        other.path(),
        Quantize::int8(),
        &[],
        &WriteOptions::new(),
        &mut |_, _| {},
    );
    assert!(error.unwrap_err().to_string().contains("quantized already"));
    let block_size = QuantConfig::nf4().with_block_size(48);
    let error = quantize("llama2", other.path(), block_size.into(), &[]).unwrap_err();
    assert!(error.to_string().contains("48"), "{error}");
    let error = quantize("llama2", other.path(), Quantize::Int8 { threshold: -1.0 }, &[]).unwrap_err();
    assert!(error.to_string().contains("threshold -1"), "{error}");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing was left behind");

    // A stored form is what it is: another one is not read into it.
    let load = |choice: Quantize| {
        let load = LoadConfig::new().with_quantize(choice);
        CausalLm::from_pretrained(dir.path(), &load, &Device::flex()).map(|_| ())
    };
    load(QuantConfig::nf4().into()).unwrap();
    for (choice, wanted) in [(Quantize::int8(), "int8"), (QuantConfig::fp4().into(), "fp4")] {
        let error = load(choice).unwrap_err().to_string();
        assert!(error.contains(&format!("stored in nf4 in {wanted}")), "{error}");
    }
}

#[test]
fn sharded_16_bit_and_biased_models_are_quantized() {
    for name in ["llama-sharded", "llama3", "llama-bias-linear"] {
        for choice in [QuantConfig::fp4().with_double_quant(true).into(), Quantize::int8()] {
            let dir = tempfile::tempdir().unwrap();
            let from = fixture(&format!("models/{name}"));
            let options = WriteOptions::new().with_max_shard_bytes(50_000);
            let mut heard = Vec::new();
            quantize_checkpoint(&from, dir.path(), choice, &[], &options, &mut |done, all| {
                heard.push((done, all))
            })
            .unwrap();
            assert!(dir.path().join("model.safetensors.index.json").exists(), "{name}");
            assert_eq!(heard.last().map(|(done, all)| done == all), Some(true));
            let while_loading = load(&from, &LoadConfig::new().with_quantize(choice));
            assert_eq!(logits(&load(dir.path(), &LoadConfig::new())), logits(&while_loading), "{name}");
        }
    }
}

#[test]
fn a_writer_takes_what_was_announced_once() {
    let dir = tempfile::tempdir().unwrap();
    let specs = [TensorSpec::new("a", CheckpointDtype::F32, [2]), TensorSpec::late("state")];
    let start = || CheckpointWriter::create(dir.path(), &specs, &WriteOptions::new()).unwrap();
    let a = TensorEntry::from_f32(&[1.0, 2.0], vec![2]);
    let bytes = |count: usize| TensorEntry {
        dtype: CheckpointDtype::U8,
        shape: vec![count],
        bytes: vec![7; count].into(),
    };
    let mut writer = start();
    for (name, tensor, wanted) in [
        ("b", &a, "announced"),
        ("a", &TensorEntry::from_f32(&[1.0], vec![1]), "F32 [2]"),
        ("state", &bytes(5000), "at most [4096]"),
    ] {
        let error = writer.write(name, tensor).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    writer.write("a", &a).unwrap();
    assert!(writer.write("a", &a).unwrap_err().to_string().contains("once"));
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("state"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is visible before the end");

    let mut writer = start();
    writer.write("state", &bytes(3)).unwrap();
    writer.write("a", &a).unwrap();
    writer.finish().unwrap();
    let found = tensors(dir.path());
    assert_eq!((found["a"].clone(), found["state"].clone()), (a, bytes(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// In whatever order the tensors come, the files are the same bytes as when they are written at once.
    #[test]
    fn the_order_of_writing_does_not_matter(
        sizes in prop::collection::vec((0usize..40, prop::bool::ANY), 1..9),
        order in prop::collection::vec(any::<u32>(), 9),
        shard in 0u64..400,
    ) {
        let tensors: Vec<(String, TensorEntry)> = sizes
            .iter()
            .enumerate()
            .map(|(i, (size, is_float))| {
                let entry = match is_float {
                    true => TensorEntry::from_f32(&vec![i as f32; *size], vec![*size]),
                    false => TensorEntry { dtype: CheckpointDtype::U8, shape: vec![*size], bytes: vec![i as u8; *size].into() },
                };
                (format!("t{i}"), entry)
            })
            .collect();
        let options = WriteOptions::new().with_max_shard_bytes(shard);
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_checkpoint(one.path(), &tensors, &options).unwrap();
        let specs: Vec<TensorSpec> = tensors
            .iter()
            .map(|(name, tensor)| TensorSpec::new(name, tensor.dtype, tensor.shape.clone()))
            .collect();
        let mut writer = CheckpointWriter::create(other.path(), &specs, &options).unwrap();
        let mut shuffled: Vec<_> = tensors.iter().zip(&order).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        for ((name, tensor), _) in shuffled {
            writer.write(name, tensor).unwrap();
        }
        writer.finish().unwrap();
        let files = |dir: &Path| -> BTreeMap<_, _> {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| (path.file_name().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
        };
        prop_assert_eq!(files(one.path()), files(other.path()));
    }
}
