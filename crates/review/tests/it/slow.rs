//! Clients that are slow on purpose: a head or a body that never ends, an answer that is never taken.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use burnisher_review::ServeConfig;
use serde_json::Value;

use crate::{ADA, OWNER, Running, client::get, study};

const PATIENCE: Duration = Duration::from_millis(300);

fn patient(log: &Path, count: usize) -> Running {
    Running::start_with(study(count), ServeConfig::new(log).with_patience(PATIENCE))
}

/// Sends a byte now and then until the server hangs up, and gives what it said; fails after half a minute.
#[track_caller]
fn dribble(server: &Running, begin: &str) -> String {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
    stream.write_all(begin.as_bytes()).expect("writes");
    let (mut said, end) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while Instant::now() < end {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => return String::from_utf8_lossy(&said).into_owned(),
            Ok(read) => said.extend(&bytes[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // The server may hang up meanwhile.
                let _ = stream.write_all(b"x");
            }
            Err(_) => return String::from_utf8_lossy(&said).into_owned(),
        }
    }
    panic!("the server still listens to {begin:?}");
}

fn refusals(dir: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(dir.join("log.refused.jsonl")).expect("a log of refusals");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["status"].as_u64().unwrap_or(0), line["kind"].as_str().unwrap_or("").to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn heads_and_bodies_that_do_not_end_are_hung_up_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = patient(&dir.path().join("log.jsonl"), 2);
    let host = format!("Host: {}\r\n", server.address);
    assert_eq!(dribble(&server, "G"), "");
    assert_eq!(dribble(&server, &format!("GET / HTTP/1.1\r\n{host}X: ")), "");
    // The second request on a connection too.
    let said = dribble(&server, &format!("GET /none HTTP/1.1\r\n{host}\r\nGET / HT"));
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    let said = dribble(
        &server,
        &format!(
            "POST /api/judgement HTTP/1.1\r\n{host}Authorization: Bearer {ADA}\r\n\
             Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        ),
    );
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    let kinds: Vec<String> = refusals(dir.path()).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["slow", "slow", "path", "slow", "body"]);
    assert_eq!(get(server.address, "/api/session", ADA).status, 200);
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let dir = tempfile::tempdir().expect("a folder");
    // An answer that no buffer of the system holds.
    let mut study = study(1);
    study.items[0].prompt = "p".repeat(16 << 20);
    let config = ServeConfig::new(dir.path().join("log.jsonl")).with_patience(PATIENCE);
    let server = Running::start_with(study, config);
    let mut stream = TcpStream::connect(server.address).expect("connects");
    let request =
        format!("GET /api/task HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADA}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).expect("writes");
    let end = Instant::now() + Duration::from_secs(30);
    while refusals(dir.path()) != [(408, "slow".to_owned())] {
        assert!(Instant::now() < end, "the server still waits");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(server.address, "/api/session", OWNER).json()["role"], "owner");
    // Who takes it gets it whole.
    assert!(get(server.address, "/api/task", ADA).body.len() > 16 << 20);
}

#[test]
fn slow_clients_do_not_keep_a_server_from_ending() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = patient(&dir.path().join("log.jsonl"), 1);
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\n").expect("writes");
    // Waits until the server is done; without a limit it never would be.
    drop(server);
}
