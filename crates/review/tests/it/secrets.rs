//! Tokens, and where they must not stand; texts that a terminal would obey.

use std::fs;

use burnisher_review::{ServeConfig, Server};
use serde_json::{Value, json};

use crate::{
    ADA, BOB, OWNER, Running,
    client::{get, judgement, raw, request},
    study,
};

/// Whatever is asked with a token in the wrong place: the token is in no log.
#[test]
fn tokens_in_wrong_places_are_cut_out_of_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let mut study = study(2);
    study.options.judges[1].token = None;
    let server = Running::start(study, &log);
    let drawn = server.links.judges[1].1.split_once('#').expect("a token").1.to_owned();
    let at = server.address;
    let long = format!("/{}{ADA}", "x".repeat(190));
    let requests = [
        // A link whose # was lost.
        request(at, "GET", &format!("/{ADA}"), "", "", ""),
        request(at, "GET", &format!("/{drawn}"), "", "", ""),
        request(at, "GET", &format!("/api/task?token={OWNER}"), ADA, "", ""),
        request(at, "GET", &format!("/?a={ADA}/{ADA}&b={OWNER}"), "", "Origin: null\r\n", ""),
        // Cut in the middle of the token.
        request(at, "GET", &long, "", "", ""),
        request(at, ADA, "/", "", "", ""),
        request(at, "GET", "/", "", &format!("Origin: http://{OWNER}\r\n"), ""),
        format!("GET / HTTP/1.1\r\nHost: {ADA}\r\nConnection: close\r\n\r\n").into_bytes(),
        request(at, "POST", "/api/judgement", ADA, &format!("Content-Type: {drawn}\r\n"), "{}"),
        judgement(at, ADA, &json!({ (OWNER): 1 })),
        judgement(at, ADA, &json!({ "task": OWNER, "verdict": "left" })),
    ];
    for request in &requests {
        let reply = raw(at, request);
        assert!((400..500).contains(&reply.status), "{reply:?}");
    }
    let refused = fs::read_to_string(dir.path().join("log.refused.jsonl")).expect("reads");
    assert_eq!(refused.lines().count(), requests.len(), "{refused}");
    for secret in [ADA, OWNER, &drawn, &ADA[..10]] {
        assert!(!refused.contains(secret), "{secret} in\n{refused}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let other = ServeConfig::new(dir.path().join("other.jsonl"));
    let printed = format!("{:?}", runtime.block_on(Server::bind(crate::study(1), other)).expect("starts"));
    assert!([ADA, BOB, OWNER].iter().all(|token| !printed.contains(token)), "{printed}");
    assert!(refused.contains("\"path\":\"/[token]\"") && refused.contains("token=[token]"), "{refused}");
    let judgements = fs::read_to_string(&log).expect("reads");
    for (path, token) in [("/", ""), ("/api/session", ADA), ("/api/task", ADA), ("/api/progress", ADA)] {
        let body = get(at, path, token).body;
        let mut texts = [body.as_str(), judgements.as_str()].into_iter();
        assert!(texts.all(|text| [ADA, BOB, OWNER, &drawn].iter().all(|token| !text.contains(token))));
    }
}

#[test]
fn texts_that_a_terminal_would_obey_are_written_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(study(1), &dir.path().join("log.jsonl"));
    let at = server.address;
    let body = json!({ "task": "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\n{\"kind\":\"forged\"}", "verdict": "left" });
    assert_eq!(raw(at, &judgement(at, ADA, &body)).status, 404);
    let body = json!({ "task": "x", "verdict": "\u{202e}\u{2028}".repeat(30_000 / 6) });
    assert_eq!(raw(at, &judgement(at, ADA, &body)).status, 400);
    let refused = fs::read_to_string(dir.path().join("log.refused.jsonl")).expect("reads");
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.trim_end().chars().all(|letter| letter == '\n' || !letter.is_control()), "{refused:?}");
    assert!(!refused.contains(['\u{202e}', '\u{2028}']) && refused.len() < 4_000, "{refused:?}");
    let first: Value = serde_json::from_str(refused.lines().next().expect("a line")).expect("JSON");
    assert!(
        first["detail"].as_str().is_some_and(|text| text.contains("\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}"))
    );
}

#[test]
fn a_page_may_load_nothing_from_elsewhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Running::start(study(1), &dir.path().join("log.jsonl"));
    let page = get(server.address, "/", "");
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    let offline = burnisher_review::offline_page(&study(1), "Ada").expect("a page");
    let (_, rest) =
        offline.split_once("http-equiv=\"Content-Security-Policy\" content=\"").expect("a policy");
    let inside = rest.split_once('"').expect("an end").0.replace("&#x27;", "'").replace("&#x2f;", "/");
    for (policy, connect) in [(policy.as_str(), "'self'"), (inside.as_str(), "'none'")] {
        let mut directives = std::collections::HashMap::new();
        for directive in policy.split("; ") {
            let (name, sources) = directive.split_once(' ').expect("a name and sources");
            assert!(directives.insert(name, sources).is_none(), "{name} twice");
            for source in sources.split(' ') {
                let known = ["'none'", "'self'", "data:", "'script'"].contains(&source);
                assert!(known || source.starts_with("'sha256-"), "{name} allows {source}");
            }
        }
        assert_eq!(directives["default-src"], "'none'");
        assert_eq!(directives["connect-src"], connect);
        assert_eq!(directives["base-uri"], "'none'");
        assert_eq!(directives["form-action"], "'none'");
        assert_eq!(directives["trusted-types"], "'none'");
        assert!(directives["script-src"].starts_with("'sha256-") && !directives["script-src"].contains(' '));
    }
    assert!(policy.contains("frame-ancestors 'none'"));
}

#[cfg(unix)]
#[test]
fn a_file_of_tokens_that_others_can_read_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut study = study(1);
    study.options.judges[0].token = None;
    let bind = || runtime.block_on(Server::bind(study.clone(), ServeConfig::new(&log)));
    // What somebody left to be written through.
    let victim = dir.path().join("victim");
    fs::write(&victim, "mine").expect("writes");
    symlink(&victim, dir.path().join("log.tokens.json.new")).expect("links");
    let server = bind().expect("starts");
    drop(server);
    assert_eq!(fs::read_to_string(&victim).expect("reads"), "mine");
    let tokens = dir.path().join("log.tokens.json");
    assert!(fs::symlink_metadata(&tokens).expect("a file").is_file());
    for (mode, opens) in [(0o644, false), (0o620, false), (0o600, true)] {
        fs::set_permissions(&tokens, fs::Permissions::from_mode(mode)).expect("sets");
        match bind() {
            Ok(_) => assert!(opens, "{mode:o}"),
            Err(error) => {
                let wanted = format!("log.tokens.json: found the mode {mode:o}, wanted a file for its owner");
                assert!(!opens && error.to_string().contains(&wanted), "{error}");
            }
        }
    }
}
