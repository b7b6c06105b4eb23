//! Against a server that misbehaves in all the ways that servers do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use burnisher_data::Message;
use burnisher_data::extract::{
    ChunkConfig, ExtractConfig, Extractor, HttpConfig, LanguageModel, ModelError, Request, ResponseFormat,
    Status, Task,
};
use serde_json::{Value, json};

use super::run::{capitals, documents, question};
use crate::server;

/// What the server does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Answer,
    /// Answers, with a name that the text does not have.
    Invent,
    /// Answers after the client's patience.
    Slow,
    Status(u16, Option<&'static str>),
    BrokenJson,
    /// The model does not want to.
    Refuse,
    /// Ends the connection in the middle of the body.
    HangUp,
}

#[derive(Debug)]
struct Server {
    server: server::Server,
    /// Questions answered well, with how often.
    answered: Arc<Mutex<HashMap<String, usize>>>,
    /// Bodies and keys of all requests, with their times.
    seen: Arc<Mutex<Vec<(Value, String, Instant)>>>,
}

impl Server {
    /// `act` is given the question and how often it came before.
    fn start(act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let answered: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let seen: Arc<Mutex<Vec<(Value, String, Instant)>>> = Arc::default();
        let (counted, kept) = (answered.clone(), seen.clone());
        let times = Mutex::new(HashMap::<String, usize>::new());
        let server = server::Server::start(move |request| {
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/chat/completions"));
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
            let question = question(prompt);
            let key = request.header("authorization").to_owned();
            kept.lock().expect("no panic").push((body, key, Instant::now()));
            let before = {
                let mut times = times.lock().expect("no panic");
                let times = times.entry(question.clone()).or_default();
                *times += 1;
                *times - 1
            };
            let act = act(&question, before);
            if matches!(act, Act::Answer | Act::Invent) {
                *counted.lock().expect("no panic").entry(question.clone()).or_default() += 1;
            }
            answer(act, &question)
        });
        Self { server, answered, seen }
    }

    fn config(&self) -> HttpConfig {
        HttpConfig::new(format!("{}/v1", self.server.url()), "small")
            .with_timeout(Duration::from_secs(60))
            .with_waits(Duration::from_millis(5), Duration::from_secs(3))
    }
}

fn answer(act: Act, question: &str) -> server::Answer {
    let content = match act {
        Act::Invent => json!({"extractions": [{"name": "Zacharias"}]}).to_string(),
        _ => capitals(question),
    };
    let body = json!({
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5},
    })
    .to_string();
    let half = body.len() / 2;
    match act {
        Act::Refuse => {
            let message = json!({"role": "assistant", "content": null, "refusal": "I can't say."});
            let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
            server::Answer::new("200 OK", body.to_string())
        }
        Act::Answer | Act::Invent => server::Answer::new("200 OK", body),
        Act::Slow => server::Answer::new("200 OK", body).silent_after(0),
        Act::Status(code, retry) => {
            let refusal =
                server::Answer::new(format!("{code} X"), json!({"error": {"message": "no"}}).to_string());
            retry.into_iter().fold(refusal, |refusal, seconds| refusal.with("Retry-After", seconds))
        }
        Act::BrokenJson => server::Answer::new("200 OK", &body.as_bytes()[..half]),
        Act::HangUp => server::Answer::new("200 OK", body).cut_after(half),
    }
}

fn ask(model: &dyn LanguageModel, text: &str) -> Result<String, ModelError> {
    let request = Request::new(vec![Message::new("user", format!("Q: {text}\nA: "))]);
    Ok(model.complete(&request)?.text)
}

#[test]
fn every_fault_that_passes_is_outlived() {
    for act in [
        Act::Slow,
        Act::Status(429, Some("1")),
        Act::Status(429, None),
        Act::Status(500, None),
        Act::Status(503, None),
        Act::BrokenJson,
        Act::HangUp,
    ] {
        let server = Server::start(move |_, before| if before == 0 { act } else { Act::Answer });
        let patience = Duration::from_secs(if act == Act::Slow { 4 } else { 60 });
        let model = server.config().with_timeout(patience).init().expect("a model");
        let answer = ask(&model, "Anna came.").unwrap_or_else(|error| panic!("{act:?}: {error}"));
        assert!(answer.contains("Anna"), "{act:?}");
        let seen = server.seen.lock().expect("no panic");
        assert_eq!(seen.len(), 2, "{act:?}");
        if act == Act::Status(429, Some("1")) {
            let waited = seen[1].2 - seen[0].2;
            assert!(waited >= Duration::from_millis(1000), "Retry-After is kept: {waited:?}");
        }
    }
}

#[test]
fn faults_that_stay_are_told_apart() {
    let server = Server::start(|question, _| match question {
        "Key" => Act::Status(401, None),
        "Long" => Act::Status(400, None),
        "Evil" => Act::Refuse,
        _ => Act::Status(500, None),
    });
    let model = server.config().with_max_retries(2).init().expect("a model");
    let fatal = ask(&model, "Key").expect_err("a wrong key");
    assert!(matches!(&fatal, ModelError::Fatal { message } if message.contains("401")), "{fatal:?}");
    let refused = ask(&model, "Long").expect_err("too long");
    assert!(matches!(&refused, ModelError::Refused { message } if message.contains("400")), "{refused:?}");
    let refused = ask(&model, "Evil").expect_err("a refusal");
    assert!(
        matches!(&refused, ModelError::Refused { message } if message.ends_with("I can't say.")),
        "{refused:?}"
    );
    let down = ask(&model, "Other").expect_err("down").to_string();
    assert!(down.contains("status 500") && down.contains("sent 3 times"), "{down}");
    assert_eq!(server.seen.lock().expect("no panic").len(), 6, "a refusal is paid for once");
}

#[test]
fn the_request_is_the_protocols() {
    let server = Server::start(|_, _| Act::Answer);
    // The one variable that every test process has.
    let config = server
        .config()
        .with_api_key_variable("CARGO_MANIFEST_DIR")
        .with_response_format(ResponseFormat::JsonSchema(json!({"type": "object"})));
    let model = config.init().expect("a model");
    let mut request = Request::new(vec![Message::new("system", "S"), Message::new("user", "Anna")]);
    (request.temperature, request.max_tokens, request.seed) = (Some(0.5), Some(64), Some(7));
    let answer = model.complete(&request).expect("an answer");
    assert_eq!((answer.prompt_tokens, answer.completion_tokens), (Some(12), Some(5)));
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    let seen = server.seen.lock().expect("no panic");
    let wanted = json!({
        "model": "small",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Anna"}],
        "stream": false,
        "temperature": 0.5,
        "max_tokens": 64,
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "extractions", "schema": {"type": "object"}, "strict": true},
        },
    });
    assert_eq!(seen[0].0, wanted);
    assert_eq!(seen[0].1, format!("Bearer {}", env!("CARGO_MANIFEST_DIR")));
    assert!(!format!("{model:?}").contains(env!("CARGO_MANIFEST_DIR")), "the key is not shown");

    let missing = server.config().with_api_key_variable("BURNISHER_NO_SUCH_KEY").init().expect_err("no key");
    assert!(missing.to_string().contains("BURNISHER_NO_SUCH_KEY"), "{missing}");
    let wrong = HttpConfig::new("localhost:1", "m").init().expect_err("no scheme").to_string();
    assert!(wrong.contains("base_url"), "{wrong}");
}

#[test]
fn the_rate_is_kept_over_all_threads() {
    let server = Server::start(|_, _| Act::Answer);
    let model = server.config().with_requests_per_minute(600).init().expect("a model");
    let start = Instant::now();
    thread::scope(|scope| {
        for at in 0..6 {
            let model = &model;
            scope.spawn(move || ask(model, &format!("Anna{at}")).expect("an answer"));
        }
    });
    // Six requests have five gaps of a tenth of a second.
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn a_run_through_a_bad_server_loses_nothing_and_pays_once() {
    let documents = documents(12);
    let server = Server::start(|question, before| {
        let kind = question.bytes().map(usize::from).sum::<usize>() % 7;
        match (kind, before) {
            (0, 0) => Act::Status(429, Some("0")),
            (1, 0) => Act::Status(500, None),
            (2, 0) => Act::BrokenJson,
            (3, 0 | 1) => Act::HangUp,
            (4, _) => Act::Invent,
            _ => Act::Answer,
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let run = || {
        let model = server.config().init().expect("a model");
        let config = ExtractConfig::default().with_chunks(ChunkConfig::new(40));
        Extractor::new(Task::new("Names."), model)
            .with_config(config)
            .with_cache(folder.path())
            .run(&documents, |_| {})
            .expect("a run")
    };
    let first = run();
    assert_eq!(first.report.failed, 0, "{:?}", first.failed().collect::<Vec<_>>());
    let ids: Vec<&str> = first.documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, documents.iter().map(|document| document.id.as_str()).collect::<Vec<_>>());
    let mut invented = 0;
    for extraction in first.documents.iter().flat_map(|document| &document.extractions) {
        let expected = if extraction.text == "Zacharias" { Status::Ungrounded } else { Status::MatchExact };
        assert_eq!(extraction.status, expected, "{extraction:?}");
        invented += usize::from(extraction.chars.is_none());
    }
    assert!(invented > 0 && invented == first.report.ungrounded);
    let again = run();
    assert_eq!(again.documents, first.documents);
    assert_eq!((again.report.asked, again.report.kept), (0, again.report.requests));
    let answered = server.answered.lock().expect("no panic");
    assert!(answered.values().all(|times| *times == 1), "paid twice: {answered:?}");
}

#[test]
fn a_wrong_key_stops_the_run() {
    let server = Server::start(|_, _| Act::Status(401, None));
    let documents = documents(50);
    let run = Extractor::new(Task::new("Names."), server.config().init().expect("a model"))
        .with_concurrency(4)
        .run(&documents, |_| {})
        .expect("a run");
    assert_eq!(run.report.failed, 50);
    assert!(run.documents.iter().all(|d| d.failures[0].reason.contains("401")));
    let seen = server.seen.lock().expect("no panic").len();
    assert!(seen <= 4, "{seen} requests with a key that is wrong");
}
