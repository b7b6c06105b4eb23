//! Judges who leave a running study.

use std::{fs, path::Path};

use burnisher_review::{
    Plan, Results, ResultsConfig, ServeConfig, Server, Study, preference_pairs, read_log,
};
use serde_json::{Value, json};

use crate::{
    ADA, BOB, OWNER, Running,
    client::{get, post},
    study,
};

/// Everything by Ada on the left, everything by Bob on the right.
fn judge_all(server: &Running, study: &Study) {
    let plan = Plan::new(study).expect("a plan");
    for (judge, (token, verdict)) in [(ADA, "left"), (BOB, "right")].into_iter().enumerate() {
        for task in plan.tasks(judge) {
            let reply = post(server.address, token, &json!({ "task": task.id, "verdict": verdict }));
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
}

/// The same study without Bob.
fn without_bob(study: &Study) -> Study {
    let mut study = study.clone();
    study.options.judges.retain(|judge| judge.name != "Bob");
    study
}

fn judges(results: &Value) -> Vec<(String, u64)> {
    let judges = results["judges"].as_array().expect("a list");
    let pair = |judge: &Value| Some((judge["judge"].as_str()?.to_owned(), judge["answered"].as_u64()?));
    judges.iter().map(|judge| pair(judge).expect("a name and a number")).collect()
}

fn results(study: &Study, log: &Path, excluded: &[&str]) -> Results {
    let config = ResultsConfig::new().with_excluded_judges(excluded.iter().copied());
    Results::from_log(study, log, &config).expect("counts")
}

#[test]
fn who_is_left_out_keeps_their_judgements_and_loses_the_link() {
    let (study, dir) = (study(4), tempfile::tempdir().expect("a folder"));
    let log = dir.path().join("log.jsonl");
    let server = Running::start(study.clone(), &log);
    judge_all(&server, &study);
    drop(server);
    let whole = fs::read(&log).expect("reads");

    let fewer = without_bob(&study);
    let server = Running::start(fewer.clone(), &log);
    assert_eq!(server.links.judges.len(), 1);
    let task = Plan::new(&study).expect("a plan").tasks(1)[0].id.clone();
    for reply in [
        get(server.address, "/api/session", BOB),
        get(server.address, "/api/task", BOB),
        post(server.address, BOB, &json!({ "task": task, "verdict": "tie" })),
    ] {
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    assert_eq!(get(server.address, "/api/session", ADA).json()["name"], "Ada");
    let found = get(server.address, "/api/results", OWNER).json()["results"].clone();
    assert_eq!(judges(&found), [("Ada".to_owned(), 4), ("Bob".to_owned(), 4)]);
    assert_eq!((&found["comparisons"], &found["position"]["right"]), (&json!(8), &json!(4)));
    let progress = get(server.address, "/api/progress", OWNER).json();
    assert_eq!(judges(&progress), [("Ada".to_owned(), 4), ("Bob".to_owned(), 4)]);
    drop(server);
    assert_eq!(fs::read(&log).expect("reads"), whole);

    // Back again with the same answers.
    let server = Running::start(study.clone(), &log);
    assert_eq!(get(server.address, "/api/progress", BOB).json()["judges"][0]["answered"], 4);
    drop(server);

    // A log whose study names nobody has the same results.
    let mut nobody = study.clone();
    nobody.options.judges.clear();
    let named = results(&study, &log, &[]).to_json().expect("JSON");
    assert_eq!(results(&nobody, &log, &[]).to_json().expect("JSON"), named);
    assert_eq!(results(&fewer, &log, &[]).to_json().expect("JSON"), named);
}

#[test]
fn who_is_excluded_does_not_count_and_stays_in_the_log() {
    let (study, dir) = (study(4), tempfile::tempdir().expect("a folder"));
    let log = dir.path().join("log.jsonl");
    let server = Running::start(study.clone(), &log);
    judge_all(&server, &study);
    drop(server);
    let whole = fs::read(&log).expect("reads");

    // Whether the study still names Bob or not.
    for study in [study.clone(), without_bob(&study)] {
        let config = ServeConfig::new(&log).with_excluded_judges(["Bob"]);
        let server = Running::start_with(study.clone(), config);
        assert_eq!(server.links.judges.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Ada"]);
        assert_eq!(get(server.address, "/api/session", BOB).status, 401);
        assert_eq!(get(server.address, "/api/session", ADA).json()["name"], "Ada");
        let reply = get(server.address, "/api/results", OWNER).json();
        assert_eq!(judges(&reply["results"]), [("Ada".to_owned(), 4)]);
        assert_eq!(reply["results"]["excluded"], json!([{ "judge": "Bob", "judgements": 4 }]));
        assert_eq!(reply["results"]["comparisons"], 4);
        let markdown = reply["markdown"].as_str().expect("a text");
        assert!(markdown.contains("Without the 4 judgements of Bob."), "{markdown}");
        let exported = get(server.address, "/api/export?format=judgements", OWNER).body;
        assert_eq!(exported.lines().count(), 8);
        let preferences = get(server.address, "/api/export?format=preferences", OWNER).body;
        assert!(preferences.lines().count() == 4 && !preferences.contains("[2,"), "{preferences}");
        drop(server);
        let found = results(&study, &log, &["Bob"]);
        assert_eq!((found.comparisons, found.position.right, found.excluded.len()), (4, 0, 1));
        let mut plan = Plan::new(&study).expect("a plan");
        let contents = read_log(&log, &study, &mut plan).expect("reads");
        let ada = plan.without(["Bob"]).expect("known");
        assert_eq!(preference_pairs(&study, &ada, &contents).pairs.len(), 4);
    }
    assert_eq!(fs::read(&log).expect("reads"), whole);

    // Names that match nobody, and a study with nobody left.
    let config = ResultsConfig::new().with_excluded_judges(["Eve"]);
    let error = Results::from_log(&study, &log, &config).expect_err("nobody").to_string();
    assert_eq!(error, "found the judge `Eve`, wanted one of Ada, Bob");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (excluded, wanted) in [
        (vec!["Eve"], "found the judge `Eve`"),
        (vec!["Ada", "Bob"], "found none, wanted at least one judge"),
    ] {
        let config = ServeConfig::new(&log).with_excluded_judges(excluded);
        let error = runtime.block_on(Server::bind(study.clone(), config)).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}\ninstead of\n{wanted}");
    }
}
