//! Twenty judgements by two judges, with the server killed in the middle.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use burnisher_review::{ServeConfig, serve};
use serde_json::{Value, json};

use crate::{
    ADA, BOB, OWNER,
    client::{get, judgement, post, try_raw},
    study,
};

const LOG: &str = "BURNISHER_REVIEW_TEST_LOG";

/// The server of the tests below, in a process that they can kill.
#[test]
#[ignore = "the child process of the tests here; it does nothing when it is run by itself"]
fn serve_until_killed() {
    let Some(log) = std::env::var_os(LOG) else { return };
    serve(study(10), ServeConfig::new(PathBuf::from(log)), |server| {
        println!("\nlistening {}", server.address().expect("an address"));
    })
    .expect("serves");
}

pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start(log: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["kill::serve_until_killed", "--exact", "--ignored", "--nocapture"])
            .env(LOG, log)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ")?.parse().ok());
        Self { child, address: address.expect("the child says where it listens") }
    }

    /// SIGKILL: nothing of the server runs afterwards.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("is killed");
        self.child.wait().expect("has ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the judges of these tests prefer, from the number of the item.
pub(crate) fn wish(judge: &str, item: usize) -> &'static str {
    match (judge, item) {
        (ADA, 0 | 5) => "both_bad",
        (ADA, 1 | 6) => "base",
        (BOB, 0 | 5) => "tie",
        (BOB, 9) => "base",
        _ => "tuned",
    }
}

/// The judgement for what the page shows.
fn answer(token: &str, task: &Value) -> Value {
    let text = |side: &str| task[side]["text"].as_str().expect("a text").to_owned();
    let item = text("left").rsplit(' ').next().and_then(|item| item.parse().ok()).expect("ends in the item");
    let verdict = match wish(token, item) {
        wish @ ("base" | "tuned") if text("left").starts_with(wish) => "left",
        "base" | "tuned" => "right",
        other => other,
    };
    json!({ "task": task["task"], "verdict": verdict, "scores": { "fluency": { "left": 3, "right": 4 } } })
}

fn judge_next(at: SocketAddr, token: &str) -> Value {
    let task = get(at, "/api/task", token).json()["task"].clone();
    let reply = post(at, token, &answer(token, &task));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// The counts that follow from [`wish`].
pub(crate) fn check_results(reply: &Value, changed: usize) {
    let results = &reply["results"];
    assert_eq!(results["comparisons"], 20);
    assert_eq!(results["changed"], changed);
    let pair = &results["pairs"][0];
    let counts = ["first_wins", "second_wins", "ties", "both_bad"].map(|name| pair[name].as_u64());
    assert_eq!(counts, [Some(3), Some(13), Some(2), Some(2)], "{pair}");
    assert_eq!(pair["win_rate"]["value"], 0.25);
    assert_eq!(results["systems"][0]["system"], "tuned");
    assert_eq!(results["systems"][0]["win_rate"]["value"], 0.75);
    // Observed 0.7, by chance 0.2·0.1 + 0.2·0.2 + 0.6·0.7 = 0.48.
    let judges = &results["agreement"]["judges"][0];
    assert_eq!((&judges["shared"], &judges["same"]), (&json!(10), &json!(7)));
    let kappa = judges["cohen_kappa"].as_f64().expect("a kappa");
    assert!((kappa - (0.7 - 0.48) / (1.0 - 0.48)).abs() < 1e-12, "{kappa}");
    assert!(
        reply["markdown"].as_str().is_some_and(|text| text.contains("| tuned | 13 | 3 | 2 | 2 | 75.0 %"))
    );
}

#[test]
fn twenty_judgements_survive_a_kill_in_the_middle() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let server = Process::start(&log);
    let at = server.address;
    for judged in 1..=5 {
        for token in [ADA, BOB] {
            assert_eq!(
                judge_next(at, token)["progress"],
                json!({
                    "judge": if token == ADA { "Ada" } else { "Bob" }, "answered": judged, "of": 10
                })
            );
        }
    }
    // A changed mind, and back again.
    let task = get(at, "/api/task?at=0", ADA).json()["task"].clone();
    assert_eq!(task["answer"]["scores"]["fluency"]["right"], 4);
    let wanted = answer(ADA, &task);
    let mut other = wanted.clone();
    other["verdict"] = json!("tie");
    other["comment"] = json!("</script> \u{2028} ümlaut");
    assert_eq!(post(at, ADA, &other).status, 200);
    assert_eq!(get(at, "/api/task?at=0", ADA).json()["task"]["answer"]["comment"], other["comment"]);
    assert_eq!(post(at, ADA, &wanted).status, 200);
    server.kill();
    // What a write that was cut off leaves.
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).expect("opens");
    file.write_all(b"{\"time_ms\":17,\"judge\":\"Ada\",\"ta").expect("writes");
    drop(file);

    let server = Process::start(&log);
    let at = server.address;
    for token in [ADA, BOB] {
        assert_eq!(get(at, "/api/progress", token).json()["judges"][0]["answered"], 5);
        for judged in 6..=10 {
            assert_eq!(judge_next(at, token)["progress"]["answered"], judged);
        }
        assert_eq!(get(at, "/api/task", token).json()["task"], Value::Null);
    }
    check_results(&get(at, "/api/results", OWNER).json(), 2);
    let judgements = get(at, "/api/export?format=judgements", OWNER).body;
    assert_eq!(judgements.lines().count(), 22);
    let preferences = get(at, "/api/export?format=preferences", OWNER).body;
    let first: Value = serde_json::from_str(preferences.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        first,
        json!({
            "prompt": "Question 2?", "chosen": "tuned says 2", "rejected": "base says 2", "item": "q2",
            "chosen_system": "tuned", "rejected_system": "base", "votes": [2, 0], "undecided": 0
        })
    );
    // Items 0 and 5 tie, judges differ about 1, 6 and 9.
    assert_eq!(preferences.lines().count(), 5);
    let refused = std::fs::read_to_string(dir.path().join("log.refused.jsonl")).expect("reads");
    assert!(refused.contains("\"kind\":\"torn\"") && refused.lines().count() == 1, "{refused}");
}

#[test]
fn what_was_confirmed_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let server = Process::start(&log);
    let at = server.address;
    let task = get(at, "/api/task", ADA).json()["task"].clone();
    // Changes the same answer as fast as it can, with a number in the comment.
    let (confirmed, heard) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        for number in 0..u32::MAX {
            let mut body = answer(ADA, &task);
            body["comment"] = json!(number.to_string());
            match try_raw(at, &judgement(at, ADA, &body)) {
                Ok(reply) if reply.status == 200 => {
                    let _ = confirmed.send(number);
                }
                _ => return,
            }
        }
    });
    for _ in 0..25 {
        heard.recv().expect("the server confirms");
    }
    server.kill();
    writer.join().expect("the writer ends");
    let last = heard.try_iter().last().unwrap_or(24);

    let server = Process::start(&log);
    let judgements = get(server.address, "/api/export?format=judgements", OWNER).body;
    let comments: Vec<String> = judgements
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["comment"]
                .as_str()
                .expect("a comment")
                .to_owned()
        })
        .collect();
    assert!(comments.len() > last as usize, "{} judgements, the last confirmed is {last}", comments.len());
    let wanted: Vec<String> = (0..comments.len()).map(|number| number.to_string()).collect();
    assert_eq!(comments, wanted);
}
