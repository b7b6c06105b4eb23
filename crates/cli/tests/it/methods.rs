//! Every method and start that a run file can name: trained, loaded again, merged.

use crate::support::{base, fail, small_run, succeed};

/// `lora.*` settings, other settings, whether the adapter can be merged.
const RUNS: &[(&[&str], &[&str], bool)] = &[
    (&["method=ia3", "r=8"], &["train.learning_rate=0.05"], true),
    (&["method=vera", "r=16"], &["train.learning_rate=0.05"], true),
    (&["r=8", "method=adalora", "init_r=4", "target_r=2", "tfinal=1"], &[], true),
    (&["method=prompt_tuning", "num_virtual_tokens=4", "r=8"], &["train.learning_rate=0.05"], false),
    (&["method=prefix_tuning", "num_virtual_tokens=4", "r=8"], &["train.learning_rate=0.05"], false),
    (&["init_lora_weights=gaussian", "use_dora=true"], &["train.learning_rate=0.05"], true),
    (&["init_lora_weights=orthogonal", "lora_fa=true"], &["train.learning_rate=0.05"], true),
    (&["init_lora_weights=pissa_niter_4"], &[], true),
    (&["init_lora_weights=pissa"], &[], true),
    (&["init_lora_weights=loftq"], &[], true),
    (&["init_lora_weights=olora"], &["model.quant=nf4"], true),
];

#[test]
fn every_method_and_start_trains_loads_and_merges_or_says_why_not() {
    let model = base().to_str().unwrap().to_owned();
    for (lora, others, merges) in RUNS {
        let dir = tempfile::tempdir().unwrap();
        let config = small_run(dir.path(), 12, "max_steps = 3\nsave_every = 3");
        let settings =
            lora.iter().map(|set| format!("lora.{set}")).chain(others.iter().map(ToString::to_string));
        let mut args = vec!["train".to_owned(), config.to_str().unwrap().to_owned()];
        args.extend(settings.flat_map(|set| ["--set".to_owned(), set]));
        let (out, err) = succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(out.contains("done after 3 steps"), "{lora:?}: {out}");
        assert!(err.contains("trainable params:"), "{lora:?}: {err}");

        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let quant: &[&str] = if others.contains(&"model.quant=nf4") { &["--quant", "nf4"] } else { &[] };
        let say = |from: &[&str]| {
            let prompt = ["generate", "--prompt", "What colour has box 3?", "--max-new-tokens", "12"];
            succeed(&[&prompt[..], from].concat()).0
        };
        let adapter = at("out/adapter");
        let adapted = say(&[&["--model", &model, "--adapter", &adapter], quant].concat());
        let merged = at("merged");
        let merge = ["merge", "--model", &model, "--adapter", &adapter, "--dtype", "f32", "--out", &merged];
        let merge = [&merge[..], quant].concat();
        if *merges {
            succeed(&merge);
            assert_eq!(say(&["--model", &merged]), adapted, "{lora:?}: merged and adapted say the same");
        } else {
            let message = fail(&merge);
            assert!(message.contains("virtual tokens"), "{lora:?}: {message}");
        }
    }
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_run(dir.path(), 4, "");
    let refused = |sets: &[&str]| {
        let mut args = vec!["train", config.to_str().unwrap()];
        args.extend(sets.iter().flat_map(|set| ["--set", set]));
        fail(&args)
    };
    let message = refused(&[
        "lora.method=prefix_tuning",
        "lora.r=8",
        "data.packing=best_fit",
        "lora.num_virtual_tokens=0",
    ]);
    assert!(message.contains("data.packing") && message.contains("lora.num_virtual_tokens"), "{message}");
    let message = refused(&["lora.init_lora_weights=loftq", "model.quant=nf4"]);
    assert!(message.contains("lora.init_lora_weights") && message.contains("unquantized"), "{message}");
    let message = refused(&["lora.init_lora_weights=pisa"]);
    assert!(message.contains("\"pissa\""), "{message}");
}
