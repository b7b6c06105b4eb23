//! Every library crate alone, as somebody else's dependency.

use std::{fs, path::Path, process::Command};

use crate::workspace_root;

/// A crate, the other dependencies its user names, and a use of it.
const USERS: [(&str, &str, &str); 9] = [
    (
        "quant",
        "",
        "let state = burnisher_quant::QuantConfig::nf4().quantize(&[0.5, -1.0], [1, 2]).unwrap();
         assert_eq!(state.dequantize()[1], -1.0);",
    ),
    (
        "data",
        "",
        "let documents = vec![burnisher_data::Encoded::new(vec![1, 2, 3], vec![false, true, true], 0)];
         assert_eq!(burnisher_data::pack(documents, 8, burnisher_data::Packing::BestFit).len(), 1);",
    ),
    ("eval", "", "assert_eq!(burnisher_eval::answer_f1(\"the cat\", &[\"a cat\"]), 1.0);"),
    (
        "review",
        "",
        "let outputs = [(\"base\", \"a\"), (\"tuned\", \"b\")];
         let study = burnisher_review::Study::new(vec![burnisher_review::Item::new(\"1\", \"p\", outputs)]);
         assert!(study.validate().is_ok());",
    ),
    (
        "kernels",
        "burn",
        "let device = burn::tensor::Device::flex();
         let one = burn::tensor::Tensor::<1>::ones([4], &device);
         assert!(burnisher_kernels::all_finite(&one));",
    ),
    ("lora", "", "assert!(burnisher_lora::LoraConfig::new(8).validate().is_ok());"),
    (
        "models",
        "",
        "assert!(burnisher_models::ModelConfig::llama(burnisher_models::LlamaShape::default()).is_ok());",
    ),
    (
        "train",
        "",
        "assert!(burnisher_train::RunConfig::new(\"model\", \"train.jsonl\", \"out\").validate().is_ok());",
    ),
    (
        "burnisher",
        "",
        "use burnisher::prelude::*;
         assert!(LoraConfig::new(4).with_target_modules(TargetModules::AllLinear).validate().is_ok());",
    ),
];

fn package(folder: &str) -> String {
    if folder == "burnisher" { folder.to_owned() } else { format!("burnisher-{folder}") }
}

/// The users' workspace, with the versions of this one.
fn write_users(dir: &Path) -> std::io::Result<()> {
    let root = workspace_root();
    fs::create_dir_all(dir)?;
    fs::write(dir.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"user-*\"]\n")?;
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
    for (folder, others, code) in USERS {
        let user = dir.join(format!("user-{folder}"));
        fs::create_dir_all(user.join("src"))?;
        let path = root.join("crates").join(folder);
        let mut dependencies = format!("{} = {{ path = {path:?} }}\n", package(folder));
        if others == "burn" {
            dependencies +=
                "burn = { version = \"=0.22.1\", default-features = false, features = [\"std\"] }\n";
        }
        fs::write(
            user.join("Cargo.toml"),
            format!(
                "[package]\nname = \"user-{folder}\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}"
            ),
        )?;
        fs::write(user.join("src/main.rs"), format!("fn main() {{\n    {code}\n}}\n"))?;
    }
    Ok(())
}

/// Type-checks every user, in one build: Burn is checked once.
#[test]
#[ignore = "checks Burn again; .ci/run runs it"]
fn every_crate_can_be_used_alone() {
    let dir = workspace_root().join("target").join("external");
    write_users(&dir).expect("writes the users");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--workspace"])
        .current_dir(&dir)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .output()
        .expect("cargo starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
