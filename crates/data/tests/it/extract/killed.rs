//! Runs in processes of their own that are killed in the middle.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use burnisher_data::DataError;
use burnisher_data::extract::{ChunkConfig, DiskCache, ExtractConfig, Extractor, HttpConfig, Run, Task};
use serde_json::{Value, json};

use super::run::{Capitals, capitals, documents, question};
use crate::server::{Answer, Server};

const ADDRESS: &str = "BURNISHER_TEST_ADDRESS";
const FOLDER: &str = "BURNISHER_TEST_FOLDER";
/// The key that the process shows, which tells it from those before.
const KEY: &str = "BURNISHER_TEST_KEY";
const THREADS: usize = 4;
/// Answers after which a process is killed.
const KILLS: [usize; 4] = [1, 9, 30, 12];

fn config() -> ExtractConfig {
    // The seed tells the passes apart, which have the same words.
    let config = ExtractConfig::default().with_chunks(ChunkConfig::new(40)).with_seed(7);
    config.with_passes(2).with_concurrency(THREADS)
}

fn run(address: &str, folder: &Path, key: Option<&str>) -> Result<Run, DataError> {
    let mut model = HttpConfig::new(format!("{address}/v1"), "small");
    if let Some(variable) = key {
        model = model.with_api_key_variable(variable);
    }
    let extractor = Extractor::new(Task::new("Names."), model.init()?);
    let extractor = extractor.with_config(config()).with_cache(folder);
    extractor.run(&documents(20), |_| {})
}

/// Ends with the test, however that ends.
struct Process(Child);

impl Process {
    fn start(address: &str, folder: &Path, key: &str) -> Self {
        let child = Command::new(env::current_exe().expect("this program"))
            .args(["extract::killed::the_process_that_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(ADDRESS, address)
            .env(FOLDER, folder)
            .env(KEY, key)
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("a process"))
    }
}

impl Drop for Process {
    /// SIGKILL: nothing in the process runs after it.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "is started and killed by the test below"]
fn the_process_that_is_killed() {
    let (Ok(address), Some(folder)) = (env::var(ADDRESS), env::var_os(FOLDER)) else { return };
    run(&address, &PathBuf::from(folder), Some(KEY)).expect("a run");
}

#[test]
fn a_killed_process_loses_nothing_and_pays_at_most_what_was_on_its_way() {
    // Who shows this key is given so many answers; who asks for more waits in vain, and the test hears of it.
    let rights: Arc<Mutex<(String, usize)>> = Arc::default();
    let answered: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let (waiting, waits) = mpsc::channel();
    let (given, counted) = (Arc::clone(&rights), Arc::clone(&answered));
    let server = Server::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let question = question(body["messages"][0]["content"].as_str().expect("a prompt"));
        let message = json!({"role": "assistant", "content": capitals(&question)});
        let answer = Answer::new("200 OK", json!({"choices": [{"message": message}]}).to_string());
        let mut rights = given.lock().expect("no panic");
        if request.header("authorization") != rights.0 {
            return Answer::hang_up();
        }
        let Some(left) = rights.1.checked_sub(1) else {
            let _ = waiting.send(rights.0.clone());
            return answer.silent_after(0);
        };
        rights.1 = left;
        *counted.lock().expect("no panic").entry(format!("{} {question}", body["seed"])).or_default() += 1;
        answer
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (mut kept, mut sent) = (0, 0);
    for (number, answers) in KILLS.into_iter().enumerate() {
        let key = format!("key{number}");
        *rights.lock().expect("no panic") = (format!("Bearer {key}"), answers);
        let process = Process::start(&server.url(), folder.path(), &key);
        while waits.recv_timeout(Duration::from_secs(60)).expect("it asks for more than it gets")
            != format!("Bearer {key}")
        {}
        let error = DiskCache::open(folder.path()).expect_err("the process has it open");
        assert!(matches!(error, DataError::CacheInUse { .. }), "{error}");
        drop(process);
        sent += answers;
        let now = DiskCache::open(folder.path()).expect("the lock is gone with the process").len();
        assert!(now + THREADS >= kept + answers && now <= kept + answers, "{kept} + {answers} became {now}");
        kept = now;
    }
    *rights.lock().expect("no panic") = (String::new(), usize::MAX);
    let last = run(&server.url(), folder.path(), None).expect("a run");
    let answered = answered.lock().expect("no panic");
    let whole = Extractor::new(Task::new("Names."), Capitals::default()).with_config(config());
    let whole = whole.run(&documents(20), |_| {}).expect("a run");
    assert_eq!(last.documents, whole.documents);
    assert_eq!(last.report.failed, 0);
    let questions = DiskCache::open(folder.path()).expect("a cache").len();
    assert_eq!(
        (last.report.asked, answered.len()),
        (questions - kept, questions),
        "only what is missing is asked"
    );
    let paid: usize = answered.values().sum();
    assert_eq!(paid, sent + last.report.asked);
    assert!(paid - questions <= THREADS * KILLS.len(), "{} answers were paid for twice", paid - questions);
}
