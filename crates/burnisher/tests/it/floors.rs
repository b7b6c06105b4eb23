//! The floors of `docs/src/architecture.md`: which crate may depend on which, and who knows backends.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::workspace_root;

/// Folder, package, floor, and the complete list of the workspace's crates that it may depend on.
const CRATES: [(&str, &str, u8, &[&str]); 10] = [
    ("quant", "burnisher-quant", 0, &[]),
    ("data", "burnisher-data", 0, &[]),
    ("eval", "burnisher-eval", 0, &[]),
    ("kernels", "burnisher-kernels", 1, &["burnisher-quant"]),
    ("review", "burnisher-review", 1, &["burnisher-eval"]),
    ("lora", "burnisher-lora", 2, &["burnisher-quant", "burnisher-kernels"]),
    (
        "models",
        "burnisher-models",
        3,
        &["burnisher-quant", "burnisher-kernels", "burnisher-lora", "burnisher-data"],
    ),
    (
        "train",
        "burnisher-train",
        4,
        &[
            "burnisher-quant",
            "burnisher-kernels",
            "burnisher-lora",
            "burnisher-models",
            "burnisher-data",
            "burnisher-eval",
        ],
    ),
    (
        "burnisher",
        "burnisher",
        5,
        &[
            "burnisher-quant",
            "burnisher-kernels",
            "burnisher-lora",
            "burnisher-models",
            "burnisher-data",
            "burnisher-eval",
            "burnisher-review",
            "burnisher-train",
        ],
    ),
    ("cli", "burnisher-cli", 6, &["burnisher"]),
];

/// Members that are not published and on which nothing may depend, but for the tests' use of one.
const TOOLS: [&str; 3] = ["burnisher-benches", "burnisher-browser", "burnisher-examples"];

/// The one of them that tests may use.
const TEST_TOOL: &str = "burnisher-browser";

const BACKENDS: [&str; 8] = ["flex", "ndarray", "wgpu", "vulkan", "metal", "cuda", "cuda-cpp", "rocm"];

/// The crates that have one feature per backend.
const BACKEND_CRATES: [&str; 3] = ["burnisher-kernels", "burnisher", "burnisher-cli"];

#[test]
fn the_workspace_is_the_ten_crates_and_three_tool_members() {
    let packages = packages();
    let mut faults = Vec::new();
    for package in &packages {
        let name = name(package);
        let folder = folder(package);
        if TOOLS.contains(&name) {
            if package["publish"] != Value::Array(Vec::new()) {
                faults.push(format!("{name} must set publish = false"));
            }
        } else if !CRATES.iter().any(|row| row.0 == folder && row.1 == name) {
            faults.push(format!("{name} in folder {folder} is not in the table of crates"));
        }
    }
    let found: BTreeSet<&str> = packages.iter().map(name).collect();
    for wanted in CRATES.iter().map(|row| row.1).chain(TOOLS) {
        if !found.contains(wanted) {
            faults.push(format!("{wanted} is missing"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_itself_only_points_down() {
    for (_, package, height, edges) in CRATES {
        for edge in edges {
            assert!(floor(edge).is_some_and(|below| below < height), "{package} -> {edge}");
        }
    }
}

#[test]
fn every_edge_points_to_a_lower_floor() {
    let mut faults = Vec::new();
    for package in packages() {
        let from = name(&package);
        let Some((_, _, height, allowed)) = CRATES.into_iter().find(|row| row.1 == from) else {
            continue;
        };
        for dependency in dependencies(&package) {
            let to = name(dependency);
            if TOOLS.contains(&to) && !(to == TEST_TOOL && dependency["kind"] == "dev") {
                faults.push(format!("{from} -> {to}: nothing depends on a tool member"));
            }
            let Some(below) = floor(to) else { continue };
            match dependency["kind"].as_str() {
                Some("dev") if below <= height => {}
                None | Some("build") if allowed.contains(&to) => {}
                kind => faults.push(format!(
                    "{from} (floor {height}) -> {to} (floor {below}), kind {}",
                    kind.unwrap_or("normal")
                )),
            }
        }
    }
    assert!(faults.is_empty(), "edges that the house does not have:\n{}", faults.join("\n"));
}

#[test]
fn only_three_crates_know_backends() {
    let mut faults = Vec::new();
    for package in packages() {
        let name = name(&package);
        let features = package["features"].as_object().expect("features is a table");
        let has: Vec<&str> = BACKENDS.into_iter().filter(|backend| features.contains_key(*backend)).collect();
        if BACKEND_CRATES.contains(&name) {
            for backend in BACKENDS.into_iter().filter(|backend| !has.contains(backend)) {
                faults.push(format!("{name} lacks the feature {backend}"));
            }
        } else if !has.is_empty() && !TOOLS.contains(&name) {
            faults.push(format!("{name} has backend features {has:?}"));
        }
        for dependency in dependencies(&package).iter().filter(|dependency| dependency["kind"].is_null()) {
            let to = self::name(dependency);
            let enabled = strings(&dependency["features"]);
            if name != "burnisher-kernels" && to == "burn" && enabled.iter().any(|f| BACKENDS.contains(f)) {
                faults.push(format!("{name} turns on a backend of burn: {enabled:?}"));
            }
            if to == "burnisher-kernels" && !TOOLS.contains(&name) {
                let defaults = dependency["uses_default_features"].as_bool();
                if defaults != Some(false) || !enabled.is_empty() {
                    faults.push(format!("{name} -> {to} must have default-features = false and no features"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn backend_features_are_forwarded_from_the_program_to_burn() {
    let packages = packages();
    let feature = |package: &str, feature: &str| -> Vec<String> {
        let package = packages.iter().find(|found| name(found) == package).expect("checked above");
        strings(&package["features"][feature]).into_iter().map(str::to_owned).collect()
    };
    for backend in BACKENDS {
        let (burn, kernels) = (format!("burn/{backend}"), format!("burnisher-kernels/{backend}"));
        if backend == "cuda-cpp" {
            assert_eq!(feature("burnisher-kernels", backend), ["cuda", "cubecl/cuda-cpp"]);
            assert_eq!(feature("burnisher", backend), ["cuda".to_owned(), kernels]);
        } else {
            assert!(feature("burnisher-kernels", backend).contains(&burn), "burnisher-kernels: {backend}");
            assert_eq!(feature("burnisher", backend), [burn, kernels], "burnisher: {backend}");
        }
        assert_eq!(feature("burnisher-cli", backend), [format!("burnisher/{backend}")]);
    }
    for modifier in ["burn/simd", "burn/rayon", "burn/x86-v4"] {
        let flex = feature("burnisher-kernels", "flex");
        assert!(flex.iter().any(|entry| entry == modifier), "flex without {modifier}: {flex:?}");
    }
}

#[test]
fn burn_is_pinned() {
    let packages = packages();
    let mut seen = 0;
    for package in &packages {
        for dependency in dependencies(package).iter().filter(|dependency| name(dependency) == "burn") {
            assert_eq!(dependency["req"], "=0.22.1", "in {}", name(package));
            seen += 1;
        }
    }
    assert!(seen > 0, "no crate depends on burn");
}

/// The members as `cargo metadata` lists them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(workspace_root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("packages is a list").clone()
}

fn dependencies(package: &Value) -> &[Value] {
    package["dependencies"].as_array().expect("dependencies is a list")
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("name is a string")
}

/// The last folder above the package's manifest.
fn folder(package: &Value) -> &str {
    let manifest = package["manifest_path"].as_str().expect("manifest_path is a string");
    let folder = Path::new(manifest).parent().and_then(Path::file_name);
    folder.and_then(|folder| folder.to_str()).expect("a manifest stands in a folder")
}

fn floor(package: &str) -> Option<u8> {
    CRATES.iter().find(|row| row.1 == package).map(|row| row.2)
}

fn strings(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list of strings");
    list.iter().map(|entry| entry.as_str().expect("a string")).collect()
}
