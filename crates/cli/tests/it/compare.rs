//! `burnisher compare`: all five systems and a given adapter in small, twice, and the page in a browser.

use std::{fs, path::Path};

use burnisher_browser::Browser;
use serde_json::{Value, json};

use crate::support::{base, fail, small_run, succeed};

/// A run with a test set and a comparison over it.
fn write_files(dir: &Path) -> String {
    let run = small_run(dir, 24, "max_steps = 3\nsave_every = 2\neval_every = 1\n");
    let text = fs::read_to_string(&run).unwrap();
    let question =
        |i: usize| json!({ "prompt": format!("Which shade has crate {i}?"), "completion": " It is red." });
    let lines: String = (0..6).map(|i| format!("{}\n", question(i))).collect();
    fs::write(dir.join("test.jsonl"), lines).unwrap();
    fs::write(dir.join("general.jsonl"), "{\"text\": \"Some text that was known before.\"}\n").unwrap();
    fs::write(dir.join("notes.md"), "Crate 1 was painted red. Crate 2 is green.\n").unwrap();
    let test = format!("[data]\ntest = {:?}\n", dir.join("test.jsonl"));
    fs::write(&run, text.replace("[data]\n", &test)).unwrap();
    let config = json!({
        "run": run, "output_dir": dir.join("compared"), "documents": [dir.join("notes.md")],
        "general": { "known": dir.join("general.jsonl") }, "metrics": ["exact_match", "rougeL"], "primary": "rougeL",
        "max_new_tokens": 4, "set": { "full": ["train.learning_rate=1e-4"] },
    });
    let path = dir.join("compare.yaml");
    fs::write(&path, config.to_string()).unwrap();
    path.display().to_string()
}

fn report(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("compared/systems.json")).unwrap()).unwrap()
}

#[test]
fn five_systems_are_compared_once_and_the_page_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_files(dir.path());
    let (out, err) = succeed(&["compare", &config]);
    for system in ["base", "retrieval", "lora", "qlora", "full"] {
        assert!(out.contains(system), "{out}");
        assert!(err.contains(&format!("{system}:")), "{err}");
    }
    let first = report(dir.path());
    assert_eq!(first["systems"].as_array().map(Vec::len), Some(5));
    assert_eq!(first["count"], 6);
    let lora = first["systems"].as_array().unwrap().iter().find(|system| system["name"] == "lora").unwrap();
    assert!(lora["curve"]["points"].as_array().unwrap().len() >= 3, "{lora}");
    assert!(lora["cost"]["saved_bytes"].as_u64().unwrap() > 0);
    assert!(lora["cost"]["train_seconds"].as_f64().unwrap() > 0.0);

    // Again: nothing is measured, and a given adapter is one more system.
    let text = fs::read_to_string(&config).unwrap();
    let adapter = dir.path().join("compared/lora/run/adapter");
    fs::write(&config, text.replacen('{', &format!("{{\"adapters\":{{\"again\":{adapter:?}}},"), 1)).unwrap();
    let (_, err) = succeed(&["compare", &config]);
    assert_eq!(err.matches("measured before").count(), 5, "{err}");
    let second = report(dir.path());
    let by_name = |report: &Value, name: &str| -> Value {
        report["systems"].as_array().unwrap().iter().find(|system| system["name"] == name).unwrap().clone()
    };
    assert_eq!(
        by_name(&first, "full")["scores"]["rougeL"]["value"],
        by_name(&second, "full")["scores"]["rougeL"]["value"]
    );
    // The adapter that the comparison trained answers as the trained model did.
    assert_eq!(
        by_name(&second, "again")["scores"]["rougeL"]["value"],
        by_name(&second, "lora")["scores"]["rougeL"]["value"]
    );

    // Another learning rate of one system: that one is trained again, the others are not.
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("learning_rate=1e-4", "learning_rate=2e-4")).unwrap();
    let (_, err) = succeed(&["compare", &config]);
    assert_eq!(err.matches("measured before").count(), 5, "{err}");
    assert_eq!(err.matches("of another configuration").count(), 1, "{err}");
    assert!(dir.path().join("compared/full/run-before-1").is_dir());
    let third = report(dir.path());
    let steps = |report: &Value| by_name(report, "full")["curve"]["points"].as_array().unwrap().len();
    assert_eq!(steps(&third), steps(&first), "no step of the training before is in its curve");

    check_page(&dir.path().join("compared/systems.html"), 5);
}

/// The page draws its plots and its table, complains of nothing, and loads nothing.
fn check_page(path: &Path, systems: usize) {
    let Some(browser) = Browser::launch() else { return };
    let page = browser.page();
    page.open(path);
    assert!(page.eval("document.querySelectorAll('svg').length").as_u64().unwrap() >= 2);
    // Drawn: with a size on the screen, and lines or bars in it.
    let drawn = "[...document.querySelectorAll('svg')].every(svg => { const box = svg.getBoundingClientRect(); \
                 return box.width > 100 && box.height > 50 && svg.querySelector('polyline, path, rect, circle'); })";
    assert_eq!(page.eval(drawn), true);
    let names = ["base", "retrieval", "lora", "qlora", "full"];
    let text = page.eval("document.body.innerText");
    let text = text.as_str().unwrap();
    assert_eq!(names.iter().filter(|name| text.contains(**name)).count(), systems, "{text}");
    assert_eq!(page.console_errors(), Vec::<String>::new());
    assert_eq!(page.requests().len(), 1, "only the page itself");
}

/// The page that `examples/compare_systems.rs` wrote; `.ci/run` runs the example before.
#[test]
#[ignore = "after `cargo run --release --example compare_systems`"]
fn the_page_of_the_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/compare/systems.html");
    assert!(path.is_file(), "no {}: run the example compare_systems", path.display());
    check_page(&path, 5);
}

#[test]
fn wrong_comparisons_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_files(dir.path());
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, message) in [
        ("\"metrics\"", "\"metric\"", "unknown field `metric`"),
        ("\"primary\":\"rougeL\"", "\"primary\":\"bleu\"", "one of the metrics"),
        ("\"full\":[\"train.learning_rate=1e-4\"]", "\"base\":[]", "lora, qlora, full"),
        (
            "\"full\":[\"train.learning_rate=1e-4\"]",
            "\"full\":[\"train.lerning_rate=1e-4\"]",
            "learning_rate",
        ),
        ("run.toml", "walk.toml", "walk.toml"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&config, text.replace(from, to)).unwrap();
        let error = fail(&["compare", &config]);
        assert!(error.contains(message), "{error}");
    }
    let missing = base().join("no.yaml").display().to_string();
    assert!(fail(&["compare", &missing]).contains("no.yaml"));
}
