//! Requests that no page would send: all refused, all written down, and the server goes on.

use std::fs;

use burnisher_review::Plan;
use serde_json::{Value, json};

use crate::{
    ADA, BOB, OWNER, Running,
    client::{get, judgement, post, raw, request},
    study,
};

/// What is sent, the status and the kind of refusal wanted.
type Row = (Vec<u8>, u16, &'static str);

#[test]
fn hostile_requests_are_refused_and_logged() {
    let (study, dir) = (study(4), tempfile::tempdir().expect("a folder"));
    let plan = Plan::new(&study).expect("a plan");
    let log = dir.path().join("log.jsonl");
    let server = Running::start(study, &log);
    let at = server.address;
    let plain = |method: &str, path: &str, token: &str| request(at, method, path, token, "", "");
    let more = |path: &str, more: &str| request(at, "GET", path, ADA, more, "");
    let say = |body: Value| judgement(at, ADA, &body);
    let task = plan.tasks(0)[0].id.clone();
    let bobs = plan.tasks(1)[0].id.clone();
    let typed = |media: &str, body: &str| {
        request(at, "POST", "/api/judgement", ADA, &format!("Content-Type: {media}\r\n"), body)
    };
    let json = "application/json";
    let hosted = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").into_bytes();
    let long = json!({ "task": task, "verdict": "left", "comment": "x".repeat(70_000) });
    let streamed = |chunks: &str| {
        format!(
            "POST /api/judgement HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: Bearer {ADA}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        )
        .into_bytes()
    };
    let longer = json!({ "task": task, "verdict": "left", "comment": "x".repeat(60_000) });
    let rows: Vec<Row> = vec![
        // Tokens: none, unknown, cut, longer, of somebody else.
        (format!("GET /api/task HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").into(), 401, "token"),
        (plain("GET", "/api/task", "0123456789abcdef"), 401, "token"),
        (plain("GET", "/api/task", &ADA[..ADA.len() - 1]), 401, "token"),
        (plain("GET", "/api/task", &format!("{ADA}0")), 401, "token"),
        (plain("GET", "/api/session", ""), 401, "token"),
        (plain("GET", "/api/results", ADA), 403, "role"),
        (plain("GET", "/api/export?format=judgements", BOB), 403, "role"),
        (plain("GET", "/api/task", OWNER), 403, "role"),
        (judgement(at, OWNER, &json!({ "task": task, "verdict": "left" })), 403, "role"),
        // Forged ids.
        (say(json!({ "task": "0".repeat(32), "verdict": "left" })), 404, "task"),
        (say(json!({ "task": bobs, "verdict": "left" })), 404, "task"),
        (say(json!({ "task": "../../etc/passwd", "verdict": "left" })), 404, "task"),
        (plain("GET", "/api/task?at=4", ADA), 404, "task"),
        (plain("GET", "/api/task?at=18446744073709551615", ADA), 404, "task"),
        // Other sites and names.
        (more("/api/task", "Origin: http://evil.example\r\n"), 403, "origin"),
        (more("/api/task", "Origin: null\r\n"), 403, "origin"),
        (more("/api/task", &format!("Origin: http://{at}.evil.example\r\n")), 403, "origin"),
        (more("/", "Origin: http://127.0.0.1:1\r\n"), 403, "origin"),
        (hosted("Host: evil.example\r\n"), 421, "host"),
        (hosted(&format!("Host: evil.example:{}\r\n", at.port())), 421, "host"),
        (hosted("Host: 127.0.0.1:1\r\n"), 421, "host"),
        (hosted(&format!("Host: {at}\r\nHost: evil.example\r\n")), 421, "host"),
        (hosted(""), 421, "host"),
        (hosted("Host: \u{e9}\r\n"), 421, "host"),
        (plain("GET", "http://evil.example/", ADA), 421, "host"),
        // Bodies.
        (say(long.clone()), 413, "body"),
        (typed(json, &" ".repeat(900_000)), 413, "body"),
        (
            streamed(&format!("{}0\r\n\r\n", format!("2710\r\n{}\r\n", " ".repeat(10_000)).repeat(20))),
            413,
            "body",
        ),
        (streamed("4\r\n{\"a\"\r\nnonsense\r\n"), 400, "body"),
        (streamed("2\r\n{}\r\n0\r\n\r\n"), 400, "json"),
        (say(longer), 422, "judgement"),
        (typed("text/plain", "{}"), 415, "media_type"),
        (typed("application/x-www-form-urlencoded", "task=1&verdict=left"), 415, "media_type"),
        (typed(json, ""), 400, "json"),
        (typed(json, &"[".repeat(10_000)), 400, "json"),
        (typed(json, &"{\"scores\":".repeat(5_000)), 400, "json"),
        (say(json!({ "task": task, "verdict": "best" })), 400, "json"),
        (say(json!({ "task": task, "verdict": "left", "judge": "Bob" })), 400, "json"),
        (say(json!({ "task": task, "verdict": "left", "elapsed_ms": -1 })), 400, "json"),
        (say(json!({ "task": task, "verdict": "left", "scores": {"rhyme": {"left": 1}} })), 422, "judgement"),
        (
            say(json!({ "task": task, "verdict": "left", "scores": {"fluency": {"left": 6}} })),
            422,
            "judgement",
        ),
        (say(json!({ "task": task, "verdict": "left", "scores": {"fluency": {"left": 1.5}} })), 400, "json"),
        // Paths, methods, queries.
        (plain("GET", "/../../../../etc/passwd", ADA), 404, "path"),
        (plain("GET", "/%2e%2e/%2e%2e/etc/passwd", ADA), 404, "path"),
        (plain("GET", "/api/../log.jsonl", OWNER), 404, "path"),
        (plain("GET", "//log.jsonl", OWNER), 404, "path"),
        (plain("GET", "/log.tokens.json", OWNER), 404, "path"),
        (plain("POST", "/", ADA), 405, "method"),
        (plain("DELETE", "/api/judgement", ADA), 405, "method"),
        (plain("GET", "/api/judgement", ADA), 405, "method"),
        (plain("PUT", "/api/results", OWNER), 405, "method"),
        (plain("OPTIONS", "/api/judgement", ADA), 405, "method"),
        (plain("TRACE", "/api/task", ADA), 405, "method"),
        (plain("CONNECT", "evil.example:443", ADA), 421, "host"),
        (plain("PRI", "*", ADA), 404, "path"),
        (plain("GET", "/api/task?at=-1", ADA), 400, "query"),
        (plain("GET", "/api/task?at=1&judge=Bob", ADA), 400, "query"),
        (plain("GET", "/api/export?format=../log", OWNER), 400, "query"),
    ];
    for (request, status, kind) in &rows {
        let reply = raw(at, request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
        assert_eq!(reply.status, *status, "{kind}: {shown}\n{reply:?}");
        assert!(reply.header("content-security-policy").is_some(), "{kind}: {reply:?}");
        assert!(!reply.body.contains(&*dir.path().to_string_lossy()), "a path leaks: {reply:?}");
    }
    // What is no HTTP at all never reaches the checks.
    assert_eq!(raw(at, b"\x16\x03\x01 hello\r\n\r\n").status, 400);

    let refused = fs::read_to_string(dir.path().join("log.refused.jsonl")).expect("a log of refusals");
    let found: Vec<(u64, String)> = refused
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| (line["status"].as_u64().unwrap_or(0), line["kind"].as_str().unwrap_or("").to_owned()))
        .collect();
    let wanted: Vec<(u64, String)> =
        rows.iter().map(|(_, status, kind)| (u64::from(*status), (*kind).to_owned())).collect();
    assert_eq!(found, wanted);
    for secret in [ADA, BOB, OWNER, "0123456789abcdef"] {
        assert!(!refused.contains(secret), "a token in the log of refusals");
    }

    // Nothing was counted, and the server still works.
    assert_eq!(fs::read_to_string(&log).expect("a log").lines().count(), 1);
    assert_eq!(get(at, "/api/progress", ADA).json()["judges"][0]["answered"], 0);
    let reply = post(at, ADA, &json!({ "task": task, "verdict": "left" }));
    assert_eq!((reply.status, &reply.json()["progress"]["answered"]), (200, &json!(1)));
}

#[test]
fn the_names_that_lead_here_are_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(study(2), &dir.path().join("log.jsonl"));
    let port = server.address.port();
    for name in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {name}:{port}\r\nOrigin: http://{name}:{port}\r\nConnection: close\r\n\r\n"
        );
        let reply = raw(server.address, request.as_bytes());
        assert_eq!(reply.status, 200, "{name}");
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn texts_reach_the_browser_as_data_and_names_of_systems_do_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut study = study(1).with_title(evil);
    for (_, text) in study.items[0].outputs.iter_mut() {
        *text = format!("{evil} {}", text.len());
    }
    study.items[0].id = "item-tuned".to_owned();
    let server = Running::start(study, &dir.path().join("log.jsonl"));
    let page = get(server.address, "/", "").body;
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");

    let reply = get(server.address, "/api/task", ADA);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.body.contains("<script>alert(1)"), "JSON is data: {}", reply.body);
    for path in ["/", "/api/session", "/api/task", "/api/task?at=0", "/api/progress"] {
        let reply = get(server.address, path, ADA);
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.body.contains("tuned") && !reply.body.contains("base\""), "{path}: {}", reply.body);
    }
    assert!(get(server.address, "/api/results", OWNER).body.contains("tuned"));
}

#[test]
fn an_open_study_shows_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut study = study(1);
    study.options.blinding = burnisher_review::Blinding::Open;
    let server = Running::start(study, &dir.path().join("log.jsonl"));
    let task = get(server.address, "/api/task", ADA).json()["task"].clone();
    assert_eq!(task["item"], "q0");
    let mut systems = ["left", "right"].map(|side| task[side]["system"].as_str().expect("a name").to_owned());
    systems.sort();
    assert_eq!(systems, ["base", "tuned"]);
}

#[test]
fn drawn_tokens_outlive_the_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let mut study = study(1);
    study.options.owner_token = None;
    for judge in &mut study.options.judges {
        judge.token = None;
    }
    let tokens = |server: &Running| -> Vec<String> {
        let links = server.links.judges.iter().map(|(_, link)| link).chain([&server.links.owner]);
        links.map(|link| link.split_once('#').expect("a token").1.to_owned()).collect()
    };
    let server = Running::start(study.clone(), &log);
    let first = tokens(&server);
    assert_eq!(server.links.judges[0].1, format!("http://{}/#{}", server.address, first[0]));
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 3);
    for (token, role) in first.iter().zip(["judge", "judge", "owner"]) {
        assert_eq!(token.len(), 32);
        assert_eq!(get(server.address, "/api/session", token).json()["role"], role);
    }
    drop(server);
    let again = Running::start(study, &log);
    assert_eq!(tokens(&again), first);
    #[cfg(unix)]
    for file in ["log.jsonl", "log.tokens.json", "log.refused.jsonl"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join(file)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is open to others");
    }
}
