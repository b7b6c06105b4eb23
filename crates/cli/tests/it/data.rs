//! `burnisher data`: each command on small files, shards against one process, and the real sets of ../shared.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::support::{base, fail, shared, succeed};

/// Texts of which every fifth repeats an earlier one up to white space, and every seventh up to a word.
fn write_texts(path: &Path) {
    let passage = |name: &str| (0..40).map(|word| format!("{name}{word}")).collect::<Vec<_>>().join(" ");
    let lines: String = (0..60)
        .map(|i| {
            let text = match i {
                _ if i % 5 == 4 => format!("  {}  ", passage(&format!("w{}x", i - 4))),
                _ if i % 7 == 6 => passage(&format!("w{}x", i - 6)) + " more",
                _ => passage(&format!("w{i}x")),
            };
            let label = if i % 3 == 0 { "rare" } else { "often" };
            format!("{}\n", serde_json::json!({ "text": text, "label": label, "id": i }))
        })
        .collect();
    fs::write(path, lines).unwrap();
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn shards_of_cleaning_and_splitting_merge_into_what_one_process_writes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_texts(&dir.path().join("raw.jsonl"));
    fs::write(
        dir.path().join("steps.toml"),
        "steps = [\"white_space\", { step = \"regex\", patterns = [\"w12x\"] }]\n",
    )
    .unwrap();
    let clean = |out: &str, shard: Option<&str>| {
        let (raw, steps, out) = (at("raw.jsonl"), at("steps.toml"), at(out));
        let mut args = vec!["data", "clean", &raw, "--pipeline", &steps, "--out", &out];
        args.extend(shard.iter().flat_map(|shard| ["--shard", *shard]));
        succeed(&args)
    };
    let (out, err) = clean("whole.jsonl", None);
    assert!(out.contains("white_space") && out.contains("regex"), "{out}");
    assert!(err.contains("60 records"), "{err}");
    for (part, shard) in ["0/3", "1/3", "2/3"].iter().enumerate() {
        clean(&format!("part{part}.jsonl"), Some(shard));
    }
    succeed(&[
        "data",
        "merge",
        &at("part2.jsonl"),
        &at("part0.jsonl"),
        &at("part1.jsonl"),
        "--out",
        &at("merged.jsonl"),
    ]);
    assert!(text(at("whole.jsonl")) == text(at("merged.jsonl")));
    assert!(text(at("whole.jsonl")).lines().count() < 60, "some are dropped");

    let error = fail(&["data", "merge", &at("part2.jsonl"), &at("part0.jsonl"), "--out", &at("x.jsonl")]);
    assert!(error.contains("missing shards: 1/3"), "{error}");

    let split = |out: &str, shard: Option<&str>| {
        let (whole, out) = (at("whole.jsonl"), at(out));
        let mut args = vec![
            "data",
            "split",
            &whole,
            "--by-hash",
            "--part",
            "train=0.7",
            "--part",
            "test=rest",
            "--out",
            &out,
        ];
        args.extend(shard.iter().flat_map(|shard| ["--shard", *shard]));
        succeed(&args)
    };
    split("one", None);
    split("a", Some("0/2"));
    split("b", Some("1/2"));
    for part in ["train.jsonl", "test.jsonl"] {
        let of = |dir: &str| at(&format!("{dir}/{part}"));
        succeed(&["data", "merge", &of("b"), &of("a"), "--out", &of("merged")]);
        assert!(text(of("one")) == text(of("merged")), "{part}");
    }
}

#[test]
fn duplicates_go_by_one_process_by_shards_and_against_yesterday() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_texts(&dir.path().join("raw.jsonl"));
    let (out, _) = succeed(&["data", "dedup", &at("raw.jsonl"), "--exact", "--out", &at("exact.jsonl")]);
    assert!(out.contains("10 of 60 records removed as exact duplicates"), "{out}");
    let (out, _) = succeed(&[
        "data",
        "dedup",
        &at("raw.jsonl"),
        "--out",
        &at("near.jsonl"),
        "--signatures",
        &at("seen.sig"),
    ]);
    assert!(out.contains("removed as near-duplicates"), "{out}");
    let near = text(at("near.jsonl"));
    assert!(near.lines().count() < text(at("exact.jsonl")).lines().count());

    for shard in ["0/2", "1/2"] {
        let signatures = at(&format!("{}.sig", &shard[..1]));
        succeed(&["data", "dedup", &at("raw.jsonl"), "--shard", shard, "--signatures", &signatures]);
    }
    succeed(&[
        "data",
        "dedup",
        &at("raw.jsonl"),
        "--out",
        &at("sharded.jsonl"),
        "--shards",
        &at("1.sig"),
        &at("0.sig"),
    ]);
    assert!(near == text(at("sharded.jsonl")));

    // What was kept yesterday is known today: nothing of it is new.
    let (out, _) = succeed(&[
        "data",
        "dedup",
        &at("raw.jsonl"),
        "--against",
        &at("seen.sig"),
        "--out",
        &at("today.jsonl"),
    ]);
    assert!(out.contains("60 of 60 records removed"), "{out}");
    let error = fail(&[
        "data",
        "dedup",
        &at("raw.jsonl"),
        "--ngram",
        "3",
        "--against",
        &at("seen.sig"),
        "--out",
        &at("x.jsonl"),
    ]);
    assert!(error.contains("seen.sig") && error.contains("cannot be compared"), "{error}");
}

#[test]
fn splits_keep_duplicates_together_and_strata_alike_and_leaks_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_texts(&dir.path().join("raw.jsonl"));
    let (out, _) = succeed(&["data", "split", &at("raw.jsonl"), "--out", &at("sets"), "--seed", "3"]);
    assert!(out.contains("train") && out.contains("validation") && out.contains("test"), "{out}");
    let all: usize = ["train", "validation", "test"]
        .iter()
        .map(|part| text(at(&format!("sets/{part}.jsonl"))).lines().count())
        .sum();
    assert_eq!(all, 60);
    succeed(&[
        "data",
        "leaks",
        &at("sets/train.jsonl"),
        "--against",
        &at("sets/test.jsonl"),
        "--near",
        "0.7",
    ]);

    let error = fail(&["data", "leaks", &at("raw.jsonl"), "--against", &at("sets/test.jsonl")]);
    assert!(error.contains("leaks into 1 of 1 sets"), "{error}");
    let (out, _) = succeed(&[
        "data",
        "leaks",
        &at("raw.jsonl"),
        "--against",
        &at("sets/test.jsonl"),
        "--out",
        &at("free.jsonl"),
    ]);
    assert!(out.contains("removed as leaks"), "{out}");
    succeed(&["data", "leaks", &at("free.jsonl"), "--against", &at("sets/test.jsonl")]);

    let error = fail(&["data", "split", &at("raw.jsonl"), "--out", &at("x"), "--shard", "0/2"]);
    assert!(error.contains("--by-hash"), "{error}");
}

#[test]
fn mixtures_previews_and_cards_say_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    write_texts(&dir.path().join("raw.jsonl"));
    let general: String = (0..40).map(|i| format!("{{\"text\": \"general text {i}\"}}\n")).collect();
    fs::write(dir.path().join("general.jsonl"), general).unwrap();
    let (out, _) = succeed(&[
        "data",
        "mix",
        &format!("domain={}", at("raw.jsonl")),
        "--replay",
        &at("general.jsonl"),
        "--replay-share",
        "0.2",
        "--records",
        "50",
        "--out",
        &at("mix.jsonl.gz"),
    ]);
    assert!(out.contains("domain") && out.contains("general"), "{out}");
    let (_, err) = succeed(&["data", "convert", &at("mix.jsonl.gz"), "--out", &at("mix.jsonl")]);
    assert!(err.contains("50 records"), "{err}");
    let replayed = text(at("mix.jsonl")).lines().filter(|line| line.contains("general text")).count();
    assert!((8..=12).contains(&replayed), "{replayed} of 50, 10 asked for");

    let questions = "{\"question\": \"Is it?\", \"answer\": \"It is.\"}\n";
    fs::write(dir.path().join("questions.jsonl"), questions).unwrap();
    let base = base().display().to_string();
    let (out, _) = succeed(&["data", "preview", &at("questions.jsonl"), "--model", &base]);
    assert!(out.contains("[trained]") && out.contains("It is."), "{out}");
    let (out, _) =
        succeed(&["data", "preview", &at("questions.jsonl"), "--model", &base, "--color", "always"]);
    assert!(out.contains("\u{1b}[32m"), "{out}");

    let (out, _) = succeed(&[
        "data",
        "report",
        &format!("train={}", at("raw.jsonl")),
        &at("general.jsonl"),
        "--model",
        &base,
        "--max-length",
        "64",
        "--out",
        &at("card"),
    ]);
    assert!(out.contains("train: 60 records") && out.contains("(10 exact)"), "{out}");
    let card: serde_json::Value = serde_json::from_str(&text(at("card/card.json"))).unwrap();
    assert_eq!(card["sets"][0]["tokens"]["too_long"], 60);
    assert_eq!(card["sets"][0]["balance"][0]["column"], "label");
    assert!(text(at("card/card.md")).starts_with("# Data card\n"));
    assert!(text(at("card/card.html")).contains("<svg"));

    let (out, _) = succeed(&["data", "steps"]);
    fs::write(dir.path().join("reference.toml"), &out).unwrap();
    let error = fail(&["data", "clean", &at("raw.jsonl"), "--preset", "finewep", "--out", &at("x.jsonl")]);
    assert!(error.contains("fineweb"), "{error}");
}

#[test]
fn the_real_sets_go_through_without_an_edit_by_hand() {
    let Some(gsm8k) = shared("data/gsm8k") else { return };
    let Some(scitldr) = shared("data/scitldr") else { return };
    let Some(texts) = shared("data/public_domain_text") else { return };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (train, test) =
        (gsm8k.join("train.jsonl").display().to_string(), gsm8k.join("test.jsonl").display().to_string());
    let (_, err) = succeed(&["data", "clean", &train, "--out", &at("gsm8k.jsonl")]);
    assert!(err.contains("7473 records"), "{err}");
    // Questions only, as the reference counts them.
    for (ngram, count) in [("8", "77 of 1319"), ("13", "3 of 1319")] {
        let out = succeed_or_leak(&[
            "data",
            "leaks",
            &train,
            "--against",
            &test,
            "--ngram",
            ngram,
            "--text",
            "user",
        ]);
        assert!(out.contains(count), "{ngram}: {out}");
    }
    let dev = scitldr.join("dev.jsonl").display().to_string();
    let (_, err) = succeed(&[
        "data",
        "convert",
        &dev,
        "--columns",
        "prompt=source[*]",
        "--columns",
        "completion=target[0]",
        "--out",
        &at("scitldr.jsonl"),
    ]);
    assert!(err.contains("619 records"), "{err}");
    let Some(tasks) = shared("data/self_instruct/seed_tasks.jsonl") else { return };
    let (_, err) = succeed(&[
        "data",
        "clean",
        &tasks.display().to_string(),
        "--columns",
        "input=instances[0].input",
        "--columns",
        "output=instances[0].output",
        "--out",
        &at("tasks.jsonl"),
    ]);
    assert!(err.contains("175 records"), "{err}");
    let (_, err) = succeed(&[
        "data",
        "clean",
        &texts.display().to_string(),
        "--text-unit",
        "paragraph",
        "--out",
        &at("novels.jsonl.zst"),
    ]);
    assert!(err.contains("2 files"), "{err}");
}

/// A server that answers every request with the same extractions, and counts them.
fn endpoint(requests: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = r#"{"extractions": [{"company": "Vantcore"}, {"company": "Nowhere Corp"}]}"#;
    let body = serde_json::json!({ "choices": [{ "message": { "role": "assistant", "content": answer } }] })
        .to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            requests.fetch_add(1, Ordering::SeqCst);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.get_mut().write_all((head + &body).as_bytes()).unwrap();
        }
    });
    format!("http://{address}/v1")
}

#[test]
fn extractions_show_their_source_and_are_not_asked_for_twice() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(
        dir.path().join("task.toml"),
        "instructions = \"Extract companies, in the text's own words.\"\n\n[[examples]]\ntext = \"Ada works at Orbel.\"\n\
         extractions = [{ class = \"company\", text = \"Orbel\" }]\n",
    )
    .unwrap();
    fs::write(dir.path().join("a.txt"), "Profit of Vantcore rose.\n").unwrap();
    fs::write(dir.path().join("b.txt"), "In May VANTCORE opened a plant.\n").unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let url = endpoint(requests.clone());
    let (task, a, b, out) = (at("task.toml"), at("a.txt"), at("b.txt"), at("out"));
    let args =
        ["data", "extract", "--task", &task, &a, &b, "--endpoint", &url, "--model", "m", "--out", &out];
    // No key is asked for where none is set.
    let (printed, _) = succeed(&args);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert!(printed.contains("2 records with 2 extractions"), "{printed}");
    let lines: Vec<serde_json::Value> =
        text(at("out/extractions.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = &lines[1]["extractions"];
    assert_eq!(
        (&found[0]["char_interval"]["start_pos"], &found[0]["char_interval"]["end_pos"]),
        (&7.into(), &15.into())
    );
    assert!(found[1]["char_interval"].is_null(), "what the text does not have has no span: {found}");
    assert!(text(at("out/extractions.html")).contains("data-start=\"7\""));
    let (again, _) = succeed(&args);
    assert_eq!(requests.load(Ordering::SeqCst), 2, "answers are kept");
    assert!(again.contains("2 records with 2 extractions"), "{again}");
}

/// The output of a command that ends with 0, or with 1 for leaks.
fn succeed_or_leak(args: &[&str]) -> String {
    let output = crate::support::run(args);
    let (out, err) = crate::support::texts(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}\n{out}\n{err}");
    out
}
