//! Commands and their errors.

use std::{collections::BTreeMap, fs};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::support::{base, fail, fixture, run, small_run, succeed, texts};

#[test]
fn train_merge_generate_and_quantize_make_directories_that_load() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 20, "max_steps = 4\nsave_every = 2");
    let (out, err) = succeed(&["train", config.to_str().unwrap()]);
    assert!(out.contains("done after 4 steps") && out.contains("validation loss"), "{out}");
    assert!(err.contains("trainable params:") && err.contains("20 records"), "{err}");
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert!(fs::read_to_string(dir.path().join("out/metrics.jsonl")).unwrap().lines().count() >= 5);

    let model = base().to_str().unwrap().to_owned();
    let adapter = at("out/adapter");
    let generate = ["generate", "--prompt", "What colour has box 3?", "--max-new-tokens", "8"];
    let with = |extra: &[&str]| succeed(&[&generate[..], extra].concat()).0;
    let adapted = with(&["--model", &model, "--adapter", &adapter]);
    succeed(&["merge", "--model", &model, "--adapter", &adapter, "--out", &at("merged"), "--dtype", "f32"]);
    assert_eq!(with(&["--model", &at("merged")]), adapted, "merged and adapted say the same");

    let (out, _) = succeed(&["quantize", &model, "--out", &at("nf4"), "--double-quant"]);
    let bytes: Vec<u64> = out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(bytes[1] < bytes[0], "{out}");
    with(&["--model", &at("nf4")]);
}

#[test]
fn replay_records_are_mixed_in_and_checked_for_leaks() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 20, "max_steps = 1");
    let (config, replay) = (config.to_str().unwrap(), dir.path().join("replay.jsonl"));
    let text = |i: usize| {
        format!(
            "{{\"text\": \"Day {i}: the river rose by {i} feet and the old mill by the bridge was closed again.\"}}\n"
        )
    };
    fs::write(&replay, (0..6).map(text).collect::<String>()).unwrap();
    let set = format!("data.replay={}", replay.display());
    let args = ["train", config, "--set", &set, "--set", "data.replay_fraction=0.2"];
    let (_, err) = succeed(&args);
    assert!(
        err.contains("replay: 4 of 6 records of ")
            && err.contains(" % of all targets")
            && err.contains("beside 16 (20.0 %, 20.0 % asked for)"),
        "{err}"
    );

    let test = dir.path().join("test.jsonl");
    fs::write(&test, text(3)).unwrap();
    let out = format!("train.output_dir={}", dir.path().join("other").display());
    let leak = format!("data.test={}", test.display());
    let message =
        fail(&[&args[..], &["--set", "data.replay_fraction=0.4", "--set", &leak, "--set", &out]].concat());
    assert!(message.contains("replay.jsonl") && message.contains("test.jsonl"), "{message}");
}

/// An adapter that was trained on a 4-bit base is merged into that base's weights, and no input is written over.
#[test]
fn a_qlora_adapter_merges_into_the_base_it_was_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 12, "max_steps = 2");
    succeed(&[
        "train",
        config.to_str().unwrap(),
        "--set",
        "model.quant=nf4",
        "--set",
        "train.learning_rate=1e-2",
    ]);
    let model = base().to_str().unwrap().to_owned();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (adapter, merged) = (at("out/adapter"), at("merged"));
    let merge =
        ["merge", "--model", &model, "--adapter", &adapter, "--quant", "nf4", "--dtype", "f32", "--out"];
    succeed(&[&merge[..], &[&merged]].concat());
    let prompt = ["generate", "--prompt", "What colour has box 3?", "--max-new-tokens", "24"];
    let say = |model: &[&str]| succeed(&[&prompt[..], model].concat()).0;
    assert_eq!(
        say(&["--model", &merged]),
        say(&["--model", &model, "--quant", "nf4", "--adapter", &adapter])
    );

    // The whole model became dense.
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("merged/config.json")).unwrap()).unwrap();
    assert_eq!(
        (&config["quantization_config"], &config["dtype"]),
        (&serde_json::Value::Null, &"float32".into())
    );

    let before = fs::read(dir.path().join("merged/model.safetensors")).unwrap();
    let error = fail(&["merge", "--model", &merged, "--adapter", &adapter, "--out", &merged]);
    assert!(error.contains("--out is the directory of the model"), "{error}");
    let error = fail(&["quantize", &merged, "--out", &format!("{merged}/.")]);
    assert!(error.contains("--out is the directory of the model"), "{error}");
    assert!(fs::read(dir.path().join("merged/model.safetensors")).unwrap() == before);
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 12, "max_steps = 2");
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for (from, file) in [
        (fixture("models/llama-sharded"), "config.json"),
        (fixture("models/llama-sharded"), "model.safetensors.index.json"),
        (fixture("models/llama-sharded"), "model-00001-of-00003.safetensors"),
        (fixture("models/llama-sharded"), "model-00002-of-00003.safetensors"),
        (fixture("models/llama-sharded"), "model-00003-of-00003.safetensors"),
        (base(), "tokenizer.json"),
        (base(), "tokenizer_config.json"),
    ] {
        fs::copy(from.join(file), model.join(file)).unwrap();
    }
    let path = format!("model.path={}", model.display());
    let error = fail(&["train", config.to_str().unwrap(), "--set", &path]);
    assert!(error.contains("vocabulary has 256"), "{error}");
}

#[test]
fn logits_equal_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    for (model, adapter) in [("llama2", None), ("gemma", None), ("llama2", Some("peft/llama2/lora_qv"))] {
        let (model_dir, input) =
            (fixture(&format!("models/{model}")), fixture(&format!("base/{model}.safetensors")));
        let adapter = adapter.map(fixture);
        let mut args = vec![
            "logits",
            "--model",
            model_dir.to_str().unwrap(),
            "--input",
            input.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        if let Some(adapter) = &adapter {
            args.extend(["--adapter", adapter.to_str().unwrap()]);
        }
        let (stdout, _) = succeed(&args);
        let reference = match &adapter {
            Some(adapter) => adapter.join("reference.json"),
            None => fixture(&format!("base/{model}.json")),
        };
        let reference: serde_json::Value = serde_json::from_slice(&fs::read(reference).unwrap()).unwrap();
        let loss: f64 = stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
        let want = reference["loss"].as_f64().unwrap();
        assert!((loss - want).abs() < 1e-5 * want + 1e-6, "{model}: {loss}, wanted {want}");
        let bytes = fs::read(&out).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("token_losses").unwrap().dtype(), Dtype::F32);
        let floats = |view: TensorView<'_>| -> Vec<f32> {
            view.data().as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
        };
        let got = floats(file.tensor("logits").unwrap());
        let bytes = match &adapter {
            Some(adapter) => fs::read(adapter.join("reference.safetensors")).unwrap(),
            None => fs::read(&input).unwrap(),
        };
        let reference = SafeTensors::deserialize(&bytes).unwrap();
        let name = if adapter.is_some() { "logits_seq0" } else { "logits" };
        // Sequence 0 has no padding, where the reference is 0.
        let want = floats(reference.tensor(name).unwrap());
        let count = if adapter.is_some() {
            want.len()
        } else {
            want.len() / file.tensor("logits").unwrap().shape()[0]
        };
        let unpadded = want[..count].iter().rposition(|&value| value != 0.0).unwrap() + 1;
        let worst =
            got.iter().zip(&want[..unpadded]).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "{model}: logits differ by {worst}");
    }
}

#[test]
fn logits_refuse_wrong_input_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    let model = fixture("models/llama2");
    let ids: Vec<u8> = [3i64, 9999].iter().flat_map(|id| id.to_le_bytes()).collect();
    let floats: Vec<u8> = [3f32, 4.0].iter().flat_map(|id| id.to_le_bytes()).collect();
    let cases = [
        ("input_ids", Dtype::I64, vec![1, 2], &ids, "found 9999"),
        ("input_ids", Dtype::I64, vec![2], &ids, "found shape [2]"),
        ("input_ids", Dtype::F32, vec![1, 2], &floats, "dtype F32"),
        ("ids", Dtype::I64, vec![1, 2], &ids, "found no tensor `input_ids`"),
    ];
    for (name, dtype, shape, bytes, wanted) in cases {
        let view = TensorView::new(dtype, shape, bytes).unwrap();
        let tensors = BTreeMap::from([(name.to_owned(), view)]);
        fs::write(&input, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let args = [
            "logits",
            "--model",
            model.to_str().unwrap(),
            "--input",
            input.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        let error = fail(&args);
        assert!(error.contains(wanted), "{wanted:?} in {error}");
        assert!(!out.exists());
    }
}

#[test]
fn bad_input_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 12, "max_steps = 2");
    let run_file = config.to_str().unwrap().to_owned();
    let data = dir.path().join("train.jsonl");
    let good = fs::read_to_string(&data).unwrap();
    let cases = [
        (format!("{good}{{\"prompt\": \"cut"), "train.jsonl:13"),
        (format!("{good}{{\"prompt\": \"x\"}}\n"), "completion"),
        (String::new(), "train.jsonl"),
        (format!("{good}{{\"prompt\": \"x\", \"completion\": 5}}\n"), "train.jsonl:13"),
    ];
    for (text, wanted) in cases {
        fs::write(&data, &text).unwrap();
        let error = fail(&["train", &run_file]);
        assert!(error.contains(wanted), "{wanted:?} in {error}");
        assert!(!dir.path().join("out/adapter").exists());
    }
    fs::write(&data, good).unwrap();

    let typo = fs::read_to_string(&config).unwrap().replace("learning_rate", "lerning_rate");
    fs::write(&config, typo).unwrap();
    let error = fail(&["train", &run_file]);
    assert!(error.contains("train.lerning_rate") && error.contains("train.learning_rate"), "{error}");

    let error = fail(&["train", dir.path().join("none.toml").to_str().unwrap()]);
    assert!(error.contains("none.toml"), "{error}");
    let error = fail(&["generate", "--model", dir.path().to_str().unwrap(), "--prompt", "x"]);
    assert!(error.contains("tokenizer.json") || error.contains("config.json"), "{error}");
}

#[test]
fn an_adapter_of_another_base_is_refused_with_every_tensor() {
    let (model, adapter) = (fixture("models/mistral"), fixture("peft/llama-sharded/lora_qv"));
    let out = tempfile::tempdir().unwrap();
    let error = fail(&[
        "merge",
        "--model",
        model.to_str().unwrap(),
        "--adapter",
        adapter.to_str().unwrap(),
        "--out",
        out.path().join("m").to_str().unwrap(),
    ]);
    assert!(
        error.contains("layers.2.self_attn.q_proj") && error.contains("layers.2.self_attn.v_proj"),
        "{error}"
    );
    assert!(!out.path().join("m").exists());
}

#[test]
fn eval_scores_a_model_alone_and_against_its_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 20, "max_steps = 2");
    succeed(&["train", config.to_str().unwrap()]);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, data, out) = (base().to_str().unwrap().to_owned(), at("train.jsonl"), at("new/report.json"));
    let eval =
        ["eval", "--model", &model, "--data", &data, "--limit", "6", "--max-new-tokens", "12", "--out", &out];
    let report = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(dir.path().join("new/report.json")).unwrap()).unwrap()
    };
    let (text, _) = succeed(&eval);
    assert!(text.contains("squad_f1") && report()["rougeL"]["interval"].is_array(), "{text}");
    let alone = report()["loss"]["value"].as_f64().unwrap();
    assert!((report()["perplexity"]["value"].as_f64().unwrap() - alone.exp()).abs() < 1e-6);
    assert!(report()["perplexity"]["interval"].is_array());

    let adapter = at("out/adapter");
    let (text, _) =
        succeed(&[&eval[..], &["--adapter", &adapter, "--metrics", "bleu,perplexity,exact_match"]].concat());
    assert!(text.contains("| bleu |") && text.contains("### Sample 3"), "{text}");
    let both = report();
    assert!((both["loss"]["base"].as_f64().unwrap() - alone).abs() < 1e-9, "{both}");
    assert_eq!(both["metrics"]["bleu"]["count"], 6);
    assert!((both["metrics"]["perplexity"]["base"].as_f64().unwrap() - alone.exp()).abs() < 1e-6, "{both}");
    let error = fail(&[&eval[..], &["--metrics", "perplexity"]].concat());
    assert!(error.contains("always measured"), "{error}");
    assert!(fs::read_to_string(at("new/report.md")).unwrap().contains("| exact_match |"));

    let error = fail(&[&eval[..], &["--metrics", "blue"]].concat());
    assert!(error.contains("blue") && error.contains("bleu"), "{error}");
    let error = fail(&["eval", "--model", &model, "--data", &data, "--columns", "question"]);
    assert!(error.contains("NAME=COLUMN"), "{error}");
    for (out, wanted) in [(at("report.md"), "ends in .json"), (data.clone(), "ends in .json")] {
        let error = fail(&["eval", "--model", &model, "--data", &data, "--out", &out]);
        assert!(error.contains(wanted), "{error}");
    }
    assert!(fs::read_to_string(&data).unwrap().lines().count() == 20, "the data is still there");
}

#[test]
fn doctor_says_what_is_there_and_what_is_missing() {
    let (text, _) = succeed(&["doctor"]);
    for part in ["flex      built in", "in use: ", "Memory", "missing: built without it; `--features"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let output = crate::support::program().arg("doctor").env("BURN_DEVICE", "nonsense").output().unwrap();
    let (_, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("no device works"), "{error}");
}

#[test]
fn help_and_reference_suffice() {
    for command in ["train", "generate", "eval", "doctor", "merge", "quantize", "logits"] {
        let (out, _) = succeed(&[command, "--help"]);
        assert!(out.contains("Usage: burnisher"), "{out}");
    }
    let (reference, _) = succeed(&["train", "--reference"]);
    for field in ["learning_rate", "target_modules", "leaks", "packing"] {
        assert!(reference.contains(field), "{field}");
    }
    let output = run(&["train"]);
    assert_eq!(output.status.code(), Some(2), "{:?}", texts(&output));
}

#[test]
fn export_writes_a_directory_and_a_gguf_file() {
    let dir = tempfile::tempdir().unwrap();
    let from = fixture("models/llama2");
    let model = from.to_str().unwrap().to_owned();
    let out = dir.path().join("shipped");
    let path = out.to_str().unwrap();
    let (text, _) = succeed(&["export", &model, "--out", path, "--gguf", "q8_0"]);
    assert!(text.contains("in BF16") && text.contains("tokenizer.json"), "{text}");
    assert!(out.join("shipped-Q8_0.gguf").metadata().unwrap().len() > 50_000, "{text}");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"] {
        assert_eq!(out.join(file).exists(), from.join(file).exists(), "{file}");
    }
    let error = fail(&["export", path, "--out", path]);
    assert!(error.contains("--out is the directory of the model"), "{error}");
    let error =
        fail(&["export", &model, "--out", &format!("{path}-2"), "--quant", "int8", "--no-double-quant"]);
    assert!(error.contains("--no-double-quant is for nf4 and fp4"), "{error}");
}

/// Resident memory without the pages of files, in KiB, at its highest while a child runs.
#[cfg(target_os = "linux")]
fn peak_of(args: &[&str]) -> u64 {
    let mut child = crate::support::program().args(args).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let held = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let held = held.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        peak = peak.max(held);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    assert!(status.success(), "{args:?}");
    peak
}

/// A checkpoint of twice as many layers takes no more memory to quantize or to merge into.
#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_checkpoint() {
    use burnisher::models::{
        CheckpointDtype, LlamaShape, ModelConfig, TensorEntry, WriteOptions, write_checkpoint, write_config,
    };

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // [out, in] of the largest weight, which is read as f32: 12 MiB.
    let (hidden, inner) = (1024, 3072);
    let mut peaks = Vec::new();
    for (layers, stored) in
        [(6, CheckpointDtype::BF16), (12, CheckpointDtype::BF16), (12, CheckpointDtype::F16)]
    {
        let shape = LlamaShape {
            vocab_size: 512,
            hidden_size: hidden,
            intermediate_size: inner,
            num_hidden_layers: layers,
            num_attention_heads: 8,
            num_key_value_heads: 8,
            tie_word_embeddings: true,
            dtype: stored,
            ..LlamaShape::default()
        };
        let config = ModelConfig::llama(shape).unwrap();
        let matrix = |out: usize, inn: usize| {
            let values = (0..out * inn).map(|i| (i * 7919 % 1009) as f32 / 504.5 - 1.0);
            let bytes: Vec<u8> = match stored {
                CheckpointDtype::F16 => values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
                _ => values.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect(),
            };
            TensorEntry { dtype: stored, shape: vec![out, inn], bytes: bytes.into() }
        };
        let norm = || TensorEntry { shape: vec![hidden], ..matrix(1, hidden) };
        // Their bytes are shared: the checkpoint is large on the disk alone.
        let (square, wide, tall) = (matrix(hidden, hidden), matrix(inner, hidden), matrix(hidden, inner));
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), matrix(512, hidden)),
            ("model.norm.weight".to_owned(), norm()),
        ];
        for layer in 0..layers {
            let mut add = |name: &str, tensor: &TensorEntry| {
                tensors.push((format!("model.layers.{layer}.{name}.weight"), tensor.clone()));
            };
            for name in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"] {
                add(name, &square);
            }
            add("mlp.gate_proj", &wide);
            add("mlp.up_proj", &wide);
            add("mlp.down_proj", &tall);
            add("input_layernorm", &norm());
            add("post_attention_layernorm", &norm());
        }
        let model = at(&format!("base-{layers}-{stored}"));
        write_checkpoint(&model, &tensors, &WriteOptions::new()).unwrap();
        write_config(&model, &config).unwrap();
        let quantize =
            peak_of(&["quantize", &model, "--out", &at(&format!("nf4-{layers}-{stored}")), "--double-quant"]);
        let export =
            peak_of(&["export", &model, "--out", &at(&format!("dense-{layers}-{stored}")), "--dtype", "f16"]);
        peaks.push([quantize, export]);
    }
    for larger in &peaks[1..] {
        for (small, large) in peaks[0].into_iter().zip(*larger) {
            // Two weights in f32 and what a program holds anyway; the larger checkpoint has 288 MiB.
            assert!(large < 96 << 10, "{peaks:?} KiB");
            assert!(large < small + (12 << 10), "{peaks:?} KiB");
        }
    }
}
