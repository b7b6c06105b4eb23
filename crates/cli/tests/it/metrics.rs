//! `burnisher metrics` and what `burnisher review` does without a server.

use std::fs;

use serde_json::{Value, json};

use crate::support::{fail, succeed};

#[test]
fn a_file_is_scored_by_any_metric() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl").display().to_string();
    let lines = [
        json!({ "prediction": "the cat sat on the mat", "reference": "the cat sat on the mat" }),
        json!({ "prediction": "a dog", "reference": "a cat" }),
    ];
    fs::write(&path, lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let metrics = "exact_match,rougeL,bleu,chrf,chrf++,ter,wer,cer,labels";
    let (out, _) = succeed(&["metrics", &path, "--metrics", metrics]);
    let scores: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(scores["examples"], 2);
    let scores = &scores["scores"];
    assert_eq!(scores["exact_match"]["value"], 50.0);
    // One of eight words is another; "dog" for "cat" are two of 27 characters ("o", "g" for "a", "t"; "d" for "c").
    assert_eq!(scores["wer"]["value"], 12.5);
    assert!(
        (scores["cer"]["value"].as_f64().unwrap() - 100.0 * 3.0 / 27.0).abs() < 1e-9,
        "{}",
        scores["cer"]
    );
    assert_eq!(scores["ter"]["value"], 12.5);
    assert_eq!(scores["labels"]["accuracy"], 0.5);
    assert!(scores["bleu"]["signature"].as_str().unwrap().starts_with("nrefs:1|case:mixed|eff:no|tok:13a"));
    assert!(scores["chrf++"]["signature"].as_str().unwrap().contains("nw:2"));

    let tags = json!({ "prediction": ["B-PER", "O"], "reference": ["B-PER", "B-LOC"] });
    fs::write(&path, format!("{tags}\n")).unwrap();
    let (out, _) = succeed(&["metrics", &path, "--metrics", "tags"]);
    let scores: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(scores["scores"]["tags"]["micro"]["recall"], 0.5);

    for (text, metrics, message) in [
        ("{\"prediction\": \"a\"}\n", "wer", ":1: no reference or references"),
        ("{\"prediction\": [1], \"reference\": \"a\"}\n", "wer", "example 1"),
        ("nothing\n", "wer", ":1: no JSON object"),
        ("", "wer", "holds no examples"),
        ("{\"prediction\": \"a\", \"reference\": \"a\"}\n", "rogue1", "chrf++"),
        ("{\"prediction\": \"a\", \"reference\": \"a\"}\n", "perplexity", "burnisher eval"),
    ] {
        fs::write(&path, text).unwrap();
        let error = fail(&["metrics", &path, "--metrics", metrics]);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
#[cfg(feature = "review")]
fn a_study_of_two_systems_has_an_offline_page_for_each_judge() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for system in ["base", "tuned"] {
        let lines: String = (0..3)
            .map(|i| {
                format!(
                    "{}\n",
                    json!({ "id": i.to_string(), "prompt": "Which?", "output": format!("{system} {i}") })
                )
            })
            .collect();
        fs::write(at(&format!("{system}.jsonl")), lines).unwrap();
    }
    let (base, tuned) = (format!("base={}", at("base.jsonl")), format!("tuned={}", at("tuned.jsonl")));
    let (out, err) = succeed(&[
        "review",
        &base,
        &tuned,
        "--log",
        &at("log.jsonl"),
        "--judge",
        "Ada",
        "--judge",
        "Bo",
        "--criterion",
        "truth:1-5",
        "--offline",
        &at("pages"),
    ]);
    assert!(err.contains("3 items") && out.contains("Ada") && out.contains("Bo"), "{out}{err}");
    let page = fs::read_to_string(at("pages/judge-1.html")).unwrap();
    assert!(page.contains("tuned 1"));
    // The name space of SVG is no request.
    assert_eq!(page.replace("http://www.w3.org/2000/svg", "").matches("://").count(), 0);
    let error = fail(&["review", &at("base.jsonl"), &at("tuned.jsonl"), "--log", &at("log.jsonl")]);
    assert!(error.contains("SYSTEM=FILE"), "{error}");
}
