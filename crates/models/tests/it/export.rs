//! Dense models written from checkpoints on disk, with and without an adapter.

use std::{fs, path::Path};

use burn::tensor::{Device, FloatDType};
use burnisher_lora::{LoraConfig, attach, load_peft, merge_and_unload, save_peft};
use burnisher_models::{
    CausalLm, Checkpoint, CheckpointDtype, ExportOptions, LoadConfig, ModelError, ModelInput, TensorEntry,
    WriteOptions, export_model, write_checkpoint,
};
use burnisher_quant::QuantConfig;

use crate::support::{Tensors, assert_near, batch, fixture, fixture_or_shared, values};

fn load(dir: &Path) -> CausalLm {
    CausalLm::from_pretrained(dir, &LoadConfig::new(), &Device::flex())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let batch = batch((3..43).collect(), vec![-100; 40], &[1; 40], 20);
    values(&model.logits(&ModelInput::from_batch(&batch)))
}

fn export(
    from: &Path,
    to: &Path,
    options: &ExportOptions,
) -> Result<burnisher_models::ExportReport, ModelError> {
    export_model(from, to, options, &mut |_, _| {})
}

fn config(dir: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_model_is_written_in_16_bits_with_all_its_files() {
    for (name, wanted) in [
        ("llama2", CheckpointDtype::BF16),
        ("llama3", CheckpointDtype::BF16),
        ("llama-bias-linear", CheckpointDtype::F16),
        ("gemma", CheckpointDtype::BF16),
    ] {
        let (from, dir) = (fixture(&format!("models/{name}")), tempfile::tempdir().unwrap());
        let small = WriteOptions::new().with_max_shard_bytes(100_000);
        let report = export(&from, dir.path(), &ExportOptions::new().with_write(small)).unwrap();
        assert_eq!((report.dtype, report.restored, report.merged.len()), (wanted, 0, 0), "{name}");
        assert!(dir.path().join("model.safetensors.index.json").exists(), "{name}");
        let (found, source) = (Checkpoint::open(dir.path()).unwrap(), Checkpoint::open(&from).unwrap());
        for tensor in source.names() {
            let (found, source) = (found.tensor(tensor).unwrap(), source.tensor(tensor).unwrap());
            assert_eq!((found.dtype, &found.shape), (wanted, &source.shape), "{name} {tensor}");
            if source.dtype == wanted {
                assert!(found == source, "{name} {tensor}");
            }
        }
        let (found, source) = (config(dir.path()), config(&from));
        assert_eq!(found["tie_word_embeddings"], source["tie_word_embeddings"], "{name}");
        assert_eq!(found["dtype"], wanted.config_name().unwrap(), "{name}");
        for file in
            ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
        {
            assert_eq!(dir.path().join(file).exists(), from.join(file).exists(), "{name} {file}");
        }
        logits(&load(dir.path()));
    }
}

#[test]
fn an_adapter_is_merged_as_peft_merges_it() {
    for variant in ["lora_qv", "rslora"] {
        let (from, dir) = (fixture("models/llama2"), tempfile::tempdir().unwrap());
        let adapter = fixture(&format!("peft/llama2/{variant}"));
        let options = ExportOptions::new().with_adapter(&adapter).with_dtype(CheckpointDtype::F32);
        let report = export(&from, dir.path(), &options).unwrap();
        assert!(!report.merged.is_empty());
        let (found, wanted) =
            (Checkpoint::open(dir.path()).unwrap(), Tensors::read(adapter.join("merged.safetensors")));
        for name in wanted.names() {
            let found = found.tensor(name).unwrap().to_f32().unwrap();
            assert_near(&found, wanted.floats(name), 1e-6, &format!("{variant} {name}"));
        }
        // The same as merging in memory.
        let (model, _, _) = load_peft(&adapter, load(&from), false, &Device::flex()).unwrap();
        assert_eq!(logits(&load(dir.path())), logits(&merge_and_unload(model).unwrap()), "{variant}");
    }
}

#[test]
fn a_quantized_base_becomes_the_values_it_computed_with() {
    let Some(stored) = fixture_or_shared("bnb/ckpt_nf4_double") else { return };
    let Some(reference) = fixture_or_shared("bnb/ckpt_nf4_double_reference.safetensors") else { return };
    let dir = tempfile::tempdir().unwrap();
    let f32s = ExportOptions::new().with_dtype(CheckpointDtype::F32);
    assert_eq!(export(&stored, dir.path(), &f32s).unwrap().restored, 14);
    assert!(config(dir.path()).get("quantization_config").is_none());
    let (found, wanted) = (Checkpoint::open(dir.path()).unwrap(), Tensors::read(reference));
    let mut seen = 0;
    for name in wanted.names().filter_map(|name| name.strip_prefix("dequant.")) {
        let found = found.tensor(&format!("{name}.weight")).unwrap().to_f32().unwrap();
        assert_near(&found, wanted.floats(&format!("dequant.{name}")), 1e-6, name);
        seen += 1;
    }
    assert_eq!(seen, 2);

    // A dense base that training held in 4 bits, with the adapter that was trained on it.
    let (from, quant) = (fixture("models/llama2"), QuantConfig::nf4().with_double_quant(true));
    let base = || {
        CausalLm::from_pretrained(&from, &LoadConfig::new().with_quantize(quant), &Device::flex()).unwrap()
    };
    let lora = LoraConfig::new(4).with_init_lora_weights(burnisher_lora::InitLoraWeights::Random);
    let (model, _) = attach(&lora, base(), 3, &Device::flex()).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    save_peft(&model, &lora, adapter.path()).unwrap();
    let options = f32s.with_adapter(adapter.path()).with_quantized_base(quant);
    let merged = tempfile::tempdir().unwrap();
    export(&from, merged.path(), &options).unwrap();
    assert_near(&logits(&load(merged.path())), &logits(&model), 1e-4, "merged and adapted");
}

#[test]
fn what_cannot_be_written_is_named_and_leaves_nothing() {
    let from = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(fixture("models/llama2")).unwrap();
    let tensors: Vec<(String, TensorEntry)> = source
        .names()
        .map(|name| {
            let entry = source.tensor(name).unwrap();
            let mut floats = entry.to_f32().unwrap();
            if name == "model.layers.1.mlp.up_proj.weight" {
                floats[77] = 1e6;
            }
            (name.to_owned(), TensorEntry::from_f32(&floats, entry.shape))
        })
        .collect();
    write_checkpoint(from.path(), &tensors, &WriteOptions::new()).unwrap();
    fs::copy(fixture("models/llama2/config.json"), from.path().join("config.json")).unwrap();
    let to = tempfile::tempdir().unwrap();
    let error =
        export(from.path(), to.path(), &ExportOptions::new().with_dtype(CheckpointDtype::F16)).unwrap_err();
    let wanted = "`model.layers.1.mlp.up_proj.weight` holds 1000000 at flat index 77, which F16 cannot";
    assert!(error.to_string().starts_with(wanted), "{error}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    let error = load(from.path()).save_pretrained(to.path(), Some(FloatDType::F16), &WriteOptions::new());
    assert!(error.unwrap_err().to_string().starts_with(wanted));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    let error =
        export(from.path(), to.path(), &ExportOptions::new().with_dtype(CheckpointDtype::U8)).unwrap_err();
    assert!(error.to_string().contains("weights in U8"), "{error}");
}
