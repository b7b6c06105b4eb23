//! Run files: TOML and YAML, defaults, overrides, and every kind of mistake.

use std::fs;
use std::path::{Path, PathBuf};

use burnisher_lora::AdapterConfig;
use burnisher_train::{
    BaseQuant, ComputeDtype, ConfigProblem, EarlyStoppingConfig, LeakPolicy, LoraSection, LrSchedule,
    PackingMode, RecordShape, Resume, RunConfig, Targets, TrainError, TrainingMethod,
};

const REQUIRED: &str = "[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n[train]\noutput_dir = \"o\"\n";

fn load(name: &str, text: &str) -> Result<RunConfig, TrainError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    RunConfig::from_file(path)
}

fn problems(result: Result<RunConfig, TrainError>) -> Vec<ConfigProblem> {
    match result {
        Err(TrainError::ConfigFile { path, problems }) => {
            assert!(path.file_name().is_some());
            problems
        }
        other => panic!("wanted problems of a file, found {other:?}"),
    }
}

fn lines(result: Result<RunConfig, TrainError>) -> Vec<String> {
    problems(result).iter().map(ToString::to_string).collect()
}

#[test]
fn three_fields_are_enough() {
    let wanted = RunConfig::new("m", "t.jsonl", "o");
    assert_eq!(load("run.toml", REQUIRED).unwrap(), wanted);
    let yaml = "model:\n  path: m\ndata:\n  train: t.jsonl\ntrain:\n  output_dir: o\n";
    assert_eq!(load("run.yaml", yaml).unwrap(), wanted);
    assert_eq!(load("RUN.YML", yaml).unwrap(), wanted);
    assert!(wanted.lora.is_none());
    assert!(wanted.lora_config().is_none());
}

#[test]
fn toml_and_yaml_say_the_same() {
    let toml = r#"
        [model]
        path = "base"
        dtype = "bf16"
        quant = "nf4"
        [data]
        train = "t.jsonl"
        test = "x.jsonl"
        columns = { prompt = "question", completion = "answer" }
        shape = "completion"
        packing = "best_fit"
        leaks = "allow"
        [lora]
        r = 4
        target_modules = "all-linear"
        rank_pattern = { "v_proj" = 2, "k_proj" = 1 }
        bias = "lora_only"
        [train]
        output_dir = "out"
        max_steps = 10
        learning_rate = 1
        schedule = "cosine"
        warmup_ratio = 0.1
        resume = "out/checkpoint-5"
        early_stopping = { patience = 2 }
    "#;
    let yaml = "
model: {path: base, dtype: bf16, quant: nf4}
data:
  train: t.jsonl
  test: x.jsonl
  columns: {prompt: question, completion: answer}
  shape: completion
  packing: best_fit
  leaks: allow
lora:
  r: 4
  target_modules: all-linear
  rank_pattern:
    v_proj: 2
    k_proj: 1
  bias: lora_only
train:
  output_dir: out
  max_steps: 10
  learning_rate: 1
  schedule: cosine
  warmup_ratio: 1e-1
  resume: out/checkpoint-5
  early_stopping:
    patience: 2
  eval_every:
";
    let run = load("run.toml", toml).unwrap();
    assert_eq!(run, load("run.yaml", yaml).unwrap());
    assert_eq!(run.model.dtype, ComputeDtype::Bf16);
    assert_eq!(run.model.quant, BaseQuant::Nf4);
    assert_eq!(run.data.columns["prompt"], "question");
    assert_eq!(run.data.shape, Some(RecordShape::Completion));
    assert_eq!(run.data.packing, PackingMode::BestFit);
    assert_eq!(run.data.leaks, LeakPolicy::Allow);
    assert_eq!(run.train.learning_rate, 1.0);
    assert_eq!(run.train.schedule, LrSchedule::Cosine);
    assert_eq!(run.train.resume, Resume::Path(PathBuf::from("out/checkpoint-5")));
    assert_eq!(run.train.early_stopping, Some(EarlyStoppingConfig { patience: 2, min_delta: 0.0 }));
    let lora = run.lora.as_ref().unwrap();
    assert_eq!(lora.target_modules, Some(Targets::Pattern("all-linear".to_owned())));
    // The order of the file decides which pattern matches first.
    assert_eq!(lora.rank_pattern, [("v_proj".to_owned(), 2), ("k_proj".to_owned(), 1)]);
    let config = run.lora_config().unwrap();
    assert_eq!((config.r(), config.lora_alpha(), config.lora_dropout()), (4, 16.0, 0.05));
    assert_eq!(config.base_model_name_or_path(), Some("base"));
}

#[test]
fn an_empty_section_has_its_defaults() {
    let wanted = Some(LoraSection::default());
    assert_eq!(load("run.toml", &format!("{REQUIRED}[lora]\n")).unwrap().lora, wanted);
    let yaml = "model: {path: m}\ndata: {train: t}\nlora:\ntrain: {output_dir: o}\n";
    assert_eq!(load("run.yaml", yaml).unwrap().lora, wanted);
}

#[test]
fn every_method_of_an_adapter_can_be_chosen() {
    for (lines, peft_type) in [
        ("", "LORA"),
        ("method = \"ia3\"\nfeedforward_modules = [\"down_proj\"]\n", "IA3"),
        ("method = \"vera\"\nr = 64\nd_initial = 0.2\nprojection_prng_key = 3\n", "VERA"),
        ("method = \"adalora\"\ninit_r = 6\ntarget_r = 2\ntinit = 3\ntfinal = 4\ndeltaT = 2\n", "ADALORA"),
        ("method = \"prompt_tuning\"\nnum_virtual_tokens = 8\n", "PROMPT_TUNING"),
        ("method = \"prefix_tuning\"\n", "PREFIX_TUNING"),
    ] {
        let run = load("run.toml", &format!("{REQUIRED}[lora]\n{lines}")).unwrap();
        let config = run.adapter_config(20).unwrap();
        assert_eq!(config.peft_type(), peft_type);
        config.validate().unwrap();
        assert_eq!(run.lora_config().is_some(), peft_type == "LORA");
        if let AdapterConfig::AdaLora(config) = config {
            let found = (config.init_r(), config.target_r(), config.tinit(), config.tfinal());
            assert_eq!((found, config.delta_t(), config.total_step()), ((6, 2, 3, 4), 2, 20));
        }
    }
    for (lines, wanted) in [
        ("method = \"ia3\"\nr = 4\n", "lora.r"),
        ("method = \"vera\"\nuse_dora = true\n", "lora.use_dora"),
        ("method = \"adalora\"\nr = 4\n", "lora.r"),
        ("method = \"adalora\"\ntarget_r = 13\n", "lora.target_r"),
        ("target_r = 4\n", "lora.target_r"),
        ("tinit = 4\n", "lora.tinit"),
        ("num_virtual_tokens = 4\n", "lora.num_virtual_tokens"),
        ("method = \"vera\"\ninit_lora_weights = \"pissa\"\n", "lora.init_lora_weights"),
        ("init_lora_weights = \"eva\"\n", "lora.init_lora_weights"),
    ] {
        let found = lines_of(&format!("{REQUIRED}[lora]\n{lines}"));
        assert!(found.len() == 1 && found[0].contains(wanted), "{lines}: {found:?}");
    }
}

fn lines_of(text: &str) -> Vec<String> {
    lines(load("run.toml", text))
}

#[test]
fn method_full_switches_the_adapter_off() {
    let run = load("run.toml", &format!("{REQUIRED}[lora]\nmethod = \"full\"\n")).unwrap();
    assert_eq!(run.lora.as_ref().map(|lora| lora.method), Some(TrainingMethod::Full));
    assert!(run.adapter().is_none());
}

#[test]
fn all_unknown_fields_are_named_with_the_nearest_known_one() {
    let text = "
        max_step = 3
        [model]
        path = \"m\"
        quantisation = \"nf4\"
        [data]
        train = \"t\"
        [trian]
        output_dir = \"o\"
        [train]
        lerning_rate = 1e-4
        packing = \"none\"
        [train.early_stopping]
        patienc = 1
    ";
    assert_eq!(
        lines(load("run.toml", text)),
        [
            "max_step: unknown field; the nearest known one is train.max_steps",
            "model.quantisation: unknown field; the nearest known one is model.quant",
            "trian: unknown field; the nearest known one is train",
            "train.lerning_rate: unknown field; the nearest known one is train.learning_rate",
            "train.packing: unknown field; the nearest known one is data.packing",
            "train.early_stopping.patienc: unknown field; the nearest known one is train.early_stopping.patience",
            "train.output_dir: missing; wanted text that is a path",
        ]
    );
}

#[test]
fn wrong_types_by_table() {
    let cases = [
        (
            "train.max_steps = \"four\"",
            "train.max_steps: found the text \"four\"; wanted a whole number, 0 or more",
        ),
        ("train.max_steps = -1", "train.max_steps: found the number -1; wanted a whole number, 0 or more"),
        ("train.max_steps = 1.5", "train.max_steps: found the number 1.5; wanted a whole number, 0 or more"),
        ("train.learning_rate = nan", "train.learning_rate: found the text \"nan\"; wanted a finite number"),
        ("data.deduplicate = 1", "data.deduplicate: found the number 1; wanted true or false"),
        (
            "data.packing = \"bfd\"",
            "data.packing: found the text \"bfd\"; wanted one of \"none\", \"best_fit\", \"wrapped\"",
        ),
        (
            "train.optim = \"adam\"",
            "train.optim: found the text \"adam\"; wanted one of \"adamw_torch\", \"adamw_torch_fused\", \
             \"adamw_8bit\", \"adamw_bnb_8bit\", \"paged_adamw\", \"paged_adamw_32bit\", \"paged_adamw_8bit\", \
             \"lion_32bit\", \"lion_8bit\", \"paged_lion_32bit\", \"paged_lion_8bit\", \"adafactor\", \"sgd\"",
        ),
        ("data.columns = { prompt = 1 }", "data.columns.prompt: found the number 1; wanted text"),
        ("data.columns = []", "data.columns: found a list of 0; wanted a table of texts"),
        ("lora.target_modules = [\"q\", 1]", "lora.target_modules[1]: found the number 1; wanted text"),
        (
            "lora.rank_pattern = { q = 0.5 }",
            "lora.rank_pattern.q: found the number 0.5; wanted a whole number, 0 or more",
        ),
        ("lora = 3", "lora: found the number 3; wanted a table of fields"),
    ];
    for (line, wanted) in cases {
        let text = format!("model.path = \"m\"\ndata.train = \"t\"\ntrain.output_dir = \"o\"\n{line}\n");
        assert_eq!(lines(load("run.toml", &text)), [wanted], "{line}");
    }
    assert_eq!(
        lines(load("run.yaml", "- a\n- b\n")),
        ["the file: found a list of 2; wanted a table with the sections model, data, lora and train"]
    );
}

#[test]
fn values_no_run_can_use_by_table() {
    let cases = [
        ("data.validation_fraction = 1.0", "data.validation_fraction"),
        ("data.replay_fraction = 0", "data.replay_fraction"),
        ("data.replay_fraction = 1.0", "data.replay_fraction"),
        ("data.replay_fraction = -0.5", "data.replay_fraction"),
        ("data.replay_fraction = nan", "data.replay_fraction"),
        ("data.replay = \"t\"", "data.replay"),
        ("data.max_length = 1", "data.max_length"),
        ("data.test = \"t\"", "data.test"),
        ("model.quant = \"nf4\"", "model.quant"),
        ("lora.r = 0", "lora.r"),
        ("lora.lora_dropout = 1", "lora.lora_dropout"),
        ("lora.target_modules = []", "lora.target_modules"),
        ("lora.target_modules = \"(\"", "lora.target_modules"),
        ("lora.exclude_modules = \"All-Linear\"", "lora.exclude_modules"),
        ("lora.rank_pattern = { q_proj = 0 }", "lora.rank_pattern.q_proj"),
        ("lora = { target_modules = \"q\", layers_to_transform = [0] }", "lora.layers_to_transform"),
        ("train.epochs = 0", "train.epochs"),
        ("train.batch_size = 0", "train.batch_size"),
        ("train.learning_rate = 0", "train.learning_rate"),
        ("train.warmup_ratio = 1.1", "train.warmup_ratio"),
        ("train = { warmup_ratio = 0.1, warmup_steps = 2, output_dir = \"o\" }", "train.warmup_steps"),
        ("train.beta2 = 1.0", "train.beta2"),
        ("train.momentum = 0.5", "train.momentum"),
        ("train = { optim = \"sgd\", momentum = 1.0, output_dir = \"o\" }", "train.momentum"),
        ("train.scale_parameter = true", "train.scale_parameter"),
        ("train = { optim = \"adafactor\", warmup_init = true, output_dir = \"o\" }", "train.warmup_init"),
        ("train.optim_page_file = \"state.pages\"", "train.optim_page_file"),
        ("train.loraplus_lr_ratio = 16.0", "train.loraplus_lr_ratio"),
        ("train.loraplus_lr_embedding = 1e-6", "train.loraplus_lr_embedding"),
        ("train = { fp16 = true, bf16 = true, output_dir = \"o\" }", "train.bf16"),
        ("train.max_grad_norm = -1", "train.max_grad_norm"),
        ("train.log_every = 0", "train.log_every"),
        ("train.early_stopping.patience = 0", "train.early_stopping.patience"),
    ];
    for (line, field) in cases {
        let dir = if line.starts_with("train =") { "" } else { "train.output_dir = \"o\"\n" };
        let text = format!("model.path = \"m\"\ndata.train = \"t\"\n{dir}{line}\n");
        let found = problems(load("run.toml", &text));
        let fields: Vec<&str> = found.iter().map(ConfigProblem::field).collect();
        assert_eq!(fields, [field], "{line}");
    }
    let mut run = RunConfig::default();
    run.train.early_stopping = Some(EarlyStoppingConfig::default());
    run.data.validation_fraction = 0.0;
    let Err(TrainError::Config(found)) = run.validate() else { panic!("an empty configuration is valid") };
    let fields: Vec<&str> = found.iter().map(ConfigProblem::field).collect();
    assert_eq!(fields, ["model.path", "data.train", "train.output_dir", "train.early_stopping"]);
}

#[test]
fn files_that_are_neither_toml_nor_yaml() {
    match load("run.toml", "[model\npath = 1") {
        Err(TrainError::ConfigSyntax { format: "TOML", message, .. }) => {
            assert!(message.contains("line"), "{message}")
        }
        other => panic!("{other:?}"),
    }
    match load("run.yaml", "model: {path: m\n") {
        Err(TrainError::ConfigSyntax { format: "YAML", .. }) => {}
        other => panic!("{other:?}"),
    }
    match load("run.yaml", "model: {path: m}\nmodel: {path: n}\n") {
        Err(TrainError::ConfigSyntax { format: "YAML", .. }) => {}
        other => panic!("{other:?}"),
    }
    match load("run.json", "{}") {
        Err(TrainError::ConfigFormat { found, .. }) => assert_eq!(found, "json"),
        other => panic!("{other:?}"),
    }
    match RunConfig::from_file("no/such/run.toml") {
        Err(TrainError::Io { path, action: "read", .. }) => assert_eq!(path, Path::new("no/such/run.toml")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_column_may_be_called_no() {
    let yaml =
        "model: {path: m}\ndata: {train: t, columns: {prompt: no, completion: y}}\ntrain: {output_dir: o}\n";
    let columns = load("run.yaml", yaml).unwrap().data.columns;
    assert_eq!((columns["prompt"].as_str(), columns["completion"].as_str()), ("no", "y"));
}

#[test]
fn overrides() {
    let mut run = RunConfig::new("m", "t", "o");
    for text in [
        "train.max_steps=100",
        "train.learning_rate = 1e-4",
        "train.early_stopping.patience=2",
        "data.columns.prompt=question",
        "data.packing=wrapped",
        "lora.target_modules=[\"q_proj\"]",
        "lora.rank_pattern.model.layers.0.self_attn.q_proj=4",
    ] {
        run.set(text).unwrap();
    }
    assert_eq!(run.train.max_steps, Some(100));
    assert_eq!(run.train.learning_rate, 1e-4);
    assert_eq!(run.train.early_stopping, Some(EarlyStoppingConfig { patience: 2, min_delta: 0.0 }));
    assert_eq!(run.data.columns["prompt"], "question");
    assert_eq!(run.data.packing, PackingMode::Wrapped);
    let lora = run.lora.clone().unwrap();
    assert_eq!(lora.target_modules, Some(Targets::Names(vec!["q_proj".to_owned()])));
    assert_eq!(lora.rank_pattern, [("model.layers.0.self_attn.q_proj".to_owned(), 4)]);

    let before = run.clone();
    for (text, wanted) in [
        ("train.max_step=1", "train.max_step: unknown field; the nearest known one is train.max_steps"),
        ("lr=1", "lr: unknown field; the nearest known one is train.learning_rate"),
        (
            "train.max_steps=many",
            "train.max_steps: found the text \"many\"; wanted a whole number, 0 or more",
        ),
        ("train.max_steps", "train.max_steps: found no `=`; wanted section.field=value"),
    ] {
        let message = run.set(text).unwrap_err().to_string();
        assert_eq!(message, format!("the override {text:?} has 1 problem:\n  {wanted}"));
        assert_eq!(run, before);
    }
}

#[test]
fn overrides_complete_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.toml");
    fs::write(&path, "[model]\npath = \"m\"\n[data]\ntrain = \"t\"\n").unwrap();
    let fields: Vec<String> =
        problems(RunConfig::from_file(&path)).iter().map(|p| p.field().to_owned()).collect();
    assert_eq!(fields, ["train.output_dir"]);
    let run = RunConfig::from_file_with(&path, &["train.output_dir=o", "data.train=u"]).unwrap();
    assert_eq!(run, RunConfig::new("m", "u", "o"));
}

#[test]
fn the_reference_file_is_the_default() {
    let mut wanted = RunConfig::new("base-model", "train.jsonl", "out");
    wanted.lora = Some(LoraSection::default());
    assert_eq!(load("reference.toml", &RunConfig::reference_toml()).unwrap(), wanted);
}

#[test]
fn the_examples_in_the_reference_file_are_valid() {
    // Everything that is commented out but text: `# name = value` and `# [section]`.
    let is_field = |rest: &str| {
        let name = rest.split(' ').next().unwrap_or_default();
        let word = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        (rest.starts_with('[') && rest.ends_with(']')) || (word && rest[name.len()..].starts_with(" = "))
    };
    let text: Vec<String> = RunConfig::reference_toml()
        .lines()
        .filter(|line| {
            // They go with other values of other fields.
            ![
                "# warmup_ratio",
                "# momentum",
                "# optim_page_file",
                "# feedforward_modules",
                "# metric_for_best",
            ]
            .iter()
            .any(|name| line.starts_with(name))
        })
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_field(rest) => rest.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let run = load("reference.toml", &text.join("\n")).unwrap();
    assert_eq!(run.train.max_steps, Some(1000));
    assert_eq!(run.train.early_stopping, Some(EarlyStoppingConfig::default()));
    assert_eq!(run.data.validation, Some(PathBuf::from("validation.jsonl")));
    assert!(run.lora.is_some_and(|lora| lora.modules_to_save.is_some() && lora.exclude_modules.is_some()));
}

#[test]
fn saved_and_read_back() {
    let mut run = RunConfig::new("m", "t", "o");
    for text in
        ["lora.target_modules=all-linear", "train.resume=never", "data.shape=alpaca", "train.epsilon=1e-6"]
    {
        run.set(text).unwrap();
    }
    let json = serde_json::to_string(&run).unwrap();
    assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), run);
    // JSON is YAML.
    assert_eq!(load("run.yaml", &json).unwrap(), run);
}

#[test]
fn the_compute_dtype_of_a_run() {
    let run = |fields: &[&str]| {
        let mut run = RunConfig::new("m", "t", "o");
        fields.iter().for_each(|field| run.set(field).unwrap());
        run
    };
    for (fields, wanted) in [
        (&[][..], ComputeDtype::F32),
        (&["model.dtype=bf16"], ComputeDtype::Bf16),
        (&["model.dtype=f16"], ComputeDtype::F16),
        (&["train.fp16=true"], ComputeDtype::F16),
        (&["train.fp16=true", "model.dtype=f16"], ComputeDtype::F16),
        (&["train.bf16=true"], ComputeDtype::Bf16),
    ] {
        run(fields).validate().unwrap();
        assert_eq!(run(fields).compute_dtype(), wanted, "{fields:?}");
    }
    let Err(TrainError::Config(found)) = run(&["train.fp16=true", "model.dtype=bf16"]).validate() else {
        panic!("two dtypes")
    };
    assert_eq!(found.iter().map(ConfigProblem::field).collect::<Vec<_>>(), ["train.fp16"]);
}

#[test]
fn other_names_of_an_optimizer_are_the_same() {
    for (name, wanted) in [
        ("adamw_bnb_8bit", "adamw_8bit"),
        ("paged_adamw", "paged_adamw_32bit"),
        ("adamw_torch_fused", "adamw_torch"),
    ] {
        let optim = |name: &str| {
            let mut run = RunConfig::new("m", "t", "o");
            run.set(&format!("train.optim={name}")).unwrap();
            run.train.optim
        };
        assert_eq!(optim(name), optim(wanted));
    }
}

#[test]
fn steps_and_rates_of_a_run() {
    let mut run = RunConfig::new("m", "t", "o");
    assert_eq!(run.train.total_steps(7), 21);
    assert_eq!((run.train.eval_every(7), run.train.save_every(7)), (7, 7));
    assert_eq!(run.train.max_grad_norm(), Some(1.0));
    run.set("train.max_steps=10").unwrap();
    run.set("train.warmup_ratio=0.15").unwrap();
    run.set("train.max_grad_norm=0").unwrap();
    assert_eq!(run.train.total_steps(7), 10);
    assert_eq!(run.train.schedule(10).warmup_steps, 2);
    assert_eq!(run.train.max_grad_norm(), None);
}
