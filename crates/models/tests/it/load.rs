//! Loading and saving whole models: precision, quantization, memory, wrong files.

use burn::tensor::{Device, FloatDType};
use burnisher_lora::{Adaptable, LoraConfig, Site, Weight, attach, load_peft, save_peft};
use burnisher_models::{
    CausalLm, Checkpoint, ComputeDtype, LoadConfig, ModelInput, Quantize, TensorEntry, WriteOptions,
    write_checkpoint,
};
use burnisher_quant::QuantConfig;

use crate::support::{SHARED_MODELS, assert_near, batch, fixture, json, models, values};

fn device() -> Device {
    Device::flex()
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let batch = batch((3..43).collect(), vec![-100; 40], &[1; 40], 20);
    values(&model.logits(&ModelInput::from_batch(&batch)))
}

#[test]
fn a_saved_model_loads_with_the_same_logits_whole_and_in_shards() {
    for name in models() {
        let model =
            CausalLm::from_pretrained(fixture(&format!("models/{name}")), &LoadConfig::new(), &device())
                .unwrap();
        for shard in [u64::MAX, 60_000] {
            let dir = tempfile::tempdir().unwrap();
            let options = WriteOptions::new().with_max_shard_bytes(shard);
            model.save_pretrained(dir.path(), None, &options).unwrap();
            let again = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap();
            assert_eq!(logits(&again), logits(&model), "{name}, shards of {shard}");
            let read = |path: &std::path::Path| json(path.join("config.json"));
            let (written, mut source) = (read(dir.path()), read(&fixture(&format!("models/{name}"))));
            source["dtype"] = "float32".into();
            assert_eq!(written, source, "{name}: config.json");
        }
    }
}

#[test]
fn a_quantized_model_saves_in_bitsandbytes_form_and_loads_with_the_same_logits() {
    let names = models().into_iter().filter(|name| ["llama2", "gemma3", "phi3"].contains(name));
    for (name, double_quant) in names.flat_map(|name| [(name, false), (name, true)]) {
        let load = LoadConfig::new().with_quantize(QuantConfig::nf4().with_double_quant(double_quant));
        let source = fixture(&format!("models/{name}"));
        let model = CausalLm::from_pretrained(source, &load, &device()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        model.save_pretrained(dir.path(), None, &WriteOptions::new()).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let up = if name == "phi3" { "gate_up_proj" } else { "up_proj" };
        let state = format!("model.layers.0.mlp.{up}.weight.quant_state.bitsandbytes__nf4");
        assert!(checkpoint.tensor(&state).is_some(), "{name}");
        let again = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap();
        assert_eq!(logits(&again), logits(&model), "{name}");
    }
}

/// PEFT has no default for Phi 3.
#[test]
fn default_targets_are_queries_and_values() {
    for name in models() {
        let dir = fixture(&format!("models/{name}"));
        let model = CausalLm::from_pretrained(dir, &LoadConfig::new(), &device()).unwrap();
        let layers = model.config().num_hidden_layers;
        match attach(LoraConfig::new(4), model, 1, &device()) {
            Ok((_, report)) => {
                assert_eq!((report.adapted.len(), name != "phi3"), (2 * layers, true), "{name}")
            }
            Err(error) => assert!(name == "phi3" && error.to_string().contains("phi3"), "{name}: {error}"),
        }
    }
}

#[test]
fn bf16_computes_near_f32() {
    let names = models().into_iter().filter(|name| *name == "llama3" || SHARED_MODELS.contains(name));
    for name in names {
        let load = |dtype| {
            let load = LoadConfig::new().with_dtype(dtype);
            CausalLm::from_pretrained(fixture(&format!("models/{name}")), &load, &device()).unwrap()
        };
        let (f32s, bf16s) = (load(ComputeDtype::F32), load(ComputeDtype::Bf16));
        assert_eq!(bf16s.dtype(), FloatDType::BF16);
        let want = logits(&f32s);
        let scale = want.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        // 8 significant bits, a dozen roundings in a row.
        assert_near(&logits(&bf16s), &want, 0.06 * scale, name);
    }
}

#[test]
fn weights_in_the_compute_dtype_stay_in_the_mapped_file() {
    let dir = tempfile::tempdir().unwrap();
    let model = CausalLm::from_pretrained(fixture("models/llama2"), &LoadConfig::new(), &device()).unwrap();
    model.save_pretrained(dir.path(), None, &WriteOptions::new()).unwrap();
    let mut mapped = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap();
    let file = dir.path().join("model.safetensors").to_string_lossy().into_owned();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ranges: Vec<(usize, usize)> = maps
        .lines()
        .filter(|line| line.ends_with(&file))
        .filter_map(|line| {
            let (start, end) = line.split_whitespace().next()?.split_once('-')?;
            Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
        })
        .collect();
    assert!(!ranges.is_empty(), "the file is mapped");
    let mut seen = 0;
    mapped.sites(&mut |path, site| {
        if let Site::Projection(projection) = site
            && let Weight::Dense(weight) = projection.weight()
        {
            let primitive = weight.val().try_into_primitive::<burn::backend::Flex>().unwrap();
            let address = primitive.bytes().as_ptr() as usize;
            assert!(ranges.iter().any(|(start, end)| (*start..*end).contains(&address)), "{path} was copied");
            seen += 1;
        }
    });
    assert_eq!(seen, 14);
}

#[test]
fn every_wrong_tensor_is_named_at_once() {
    let source = Checkpoint::open(fixture("models/llama2")).unwrap();
    let mut tensors: Vec<(String, TensorEntry)> =
        source.names().map(|name| (name.to_owned(), source.tensor(name).unwrap())).collect();
    tensors.retain(|(name, _)| name != "model.norm.weight");
    for (name, entry) in &mut tensors {
        if name == "model.layers.1.self_attn.q_proj.weight" {
            entry.shape = vec![32, 128];
        }
    }
    tensors.push(("model.layers.7.extra.weight".to_owned(), TensorEntry::from_f32(&[1.0], vec![1])));
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("models/llama2/config.json"), dir.path().join("config.json")).unwrap();
    write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).unwrap();
    let error = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap_err().to_string();
    for wanted in [
        "model.norm.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "[32, 128]",
        "[64, 64]",
        "model.layers.7.extra.weight",
    ] {
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let source = Checkpoint::open(fixture("models/llama2")).unwrap();
    let tensors: Vec<(String, TensorEntry)> = source
        .names()
        .map(|name| {
            let entry = source.tensor(name).unwrap();
            let mut floats = entry.to_f32().unwrap();
            if name == "model.layers.1.mlp.up_proj.weight" {
                floats[77] = f32::NAN;
            }
            (name.to_owned(), TensorEntry::from_f32(&floats, entry.shape))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("models/llama2/config.json"), dir.path().join("config.json")).unwrap();
    write_checkpoint(dir.path(), &tensors, &WriteOptions::new()).unwrap();
    let error = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap_err().to_string();
    assert!(
        error.contains("model.layers.1.mlp.up_proj.weight") && error.contains("NaN") && error.contains("77"),
        "{error}"
    );
}

#[test]
fn a_model_with_an_unmerged_adapter_is_not_saved() {
    let model = CausalLm::from_pretrained(fixture("models/llama2"), &LoadConfig::new(), &device()).unwrap();
    let (model, report) = attach(LoraConfig::new(4), model, 1, &device()).unwrap();
    assert_eq!(report.adapted.len(), 4);
    let dir = tempfile::tempdir().unwrap();
    let error = model.save_pretrained(dir.path(), None, &WriteOptions::new()).unwrap_err().to_string();
    assert!(error.contains("not merged"), "{error}");
    assert!(!dir.path().join("model.safetensors").exists());
}

#[test]
fn an_adapter_knows_its_base_in_any_storage() {
    let dir = fixture("models/llama2");
    let base = CausalLm::from_pretrained(&dir, &LoadConfig::new(), &device()).unwrap();
    let config = base.config().clone();
    let lora = LoraConfig::new(4);
    let (model, _) = attach(&lora, base, 1, &device()).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    save_peft(&model, &lora, adapter.path()).unwrap();

    for load in [
        LoadConfig::new().with_dtype(ComputeDtype::Bf16),
        LoadConfig::new().with_quantize(QuantConfig::nf4()),
        LoadConfig::new().with_quantize(Quantize::int8()),
    ] {
        let same = CausalLm::from_pretrained(&dir, &load, &device()).unwrap();
        load_peft(adapter.path(), same, false, &device()).unwrap();
    }
    let other = || CausalLm::init(config.clone(), 1, &device()).unwrap();
    let error = load_peft(adapter.path(), other(), false, &device()).unwrap_err().to_string();
    assert!(error.starts_with("the adapter was trained on another base: "), "{error}");
    assert!(error.contains("model.norm.weight: found a root mean square of 1.000000, wanted "), "{error}");
    std::fs::remove_file(adapter.path().join("base_fingerprint.json")).unwrap();
    load_peft(adapter.path(), other(), false, &device()).unwrap();
}
