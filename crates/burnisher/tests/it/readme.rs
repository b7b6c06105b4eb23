//! What README.md claims about the repository stands in the repository.

use std::path::{Path, PathBuf};

use crate::workspace_root;

#[test]
fn links_lead_to_files() {
    let root = workspace_root();
    let mut documents = vec![root.join("README.md"), root.join("docs/parity/README.md")];
    documents.extend(chapters(&root));
    let mut faults = Vec::new();
    for document in documents {
        let folder = document.parent().expect("a file stands in a folder");
        for target in links(&read(&document)) {
            if !folder.join(&target).exists() {
                faults.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(faults.is_empty(), "links to files that do not exist:\n{}", faults.join("\n"));
}

#[test]
fn the_five_minute_start_is_two_commands() {
    let readme = read(&workspace_root().join("README.md"));
    for command in ["cargo run --release --example quickstart", "cargo test --workspace"] {
        assert!(readme.lines().any(|line| line.trim() == command), "README.md lacks the line `{command}`");
    }
}

#[test]
fn the_crate_map_is_complete() {
    let readme = read(&workspace_root().join("README.md"));
    for short in ["quant", "data", "eval", "kernels", "lora", "models", "train", "burnisher", "cli"] {
        let link = format!("(crates/{short})");
        assert!(readme.contains(&link), "README.md does not link {link}");
    }
}

#[test]
fn every_backend_feature_is_in_the_table() {
    let root = workspace_root();
    let readme = read(&root.join("README.md"));
    let manifest = read(&root.join("crates/burnisher/Cargo.toml"));
    let features = manifest
        .lines()
        .skip_while(|line| *line != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(feature, _)| feature));
    let mut count = 0;
    for feature in features.filter(|feature| *feature != "default") {
        assert!(readme.contains(&format!("| `{feature}` |")), "README.md has no row for `{feature}`");
        count += 1;
    }
    assert!(count > 0, "no features found in crates/burnisher/Cargo.toml");
}

#[test]
fn the_book_lists_every_chapter() {
    let root = workspace_root();
    let summary = links(&read(&root.join("docs/src/SUMMARY.md")));
    for chapter in chapters(&root) {
        let file = chapter.file_name().and_then(|file| file.to_str()).expect("a plain file name");
        assert!(
            file == "SUMMARY.md" || summary.iter().any(|link| link == file),
            "docs/src/SUMMARY.md does not list {file}"
        );
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The book's Markdown files.
fn chapters(root: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root.join("docs/src")).expect("docs/src can be listed");
    folder
        .map(|entry| entry.expect("an entry of docs/src").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The targets of Markdown links to files, `[text](target)`, without their `#fragment`.
fn links(markdown: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for part in markdown.split("](").skip(1) {
        let Some((target, _)) = part.split_once(')') else {
            continue;
        };
        let target = target.split('#').next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") {
            targets.push(target.to_owned());
        }
    }
    targets
}
