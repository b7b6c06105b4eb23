//! The hub's client against a server on this machine.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burnisher_data::{DataError, Hub, Network};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tempfile::TempDir;

use crate::server::{self, Answer, Request};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A server and the requests it got, as `METHOD path range=… token=…`.
struct Server {
    address: String,
    log: Arc<Mutex<Vec<String>>>,
    _server: server::Server,
}

impl Server {
    fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let entries = Arc::clone(&log);
        let server = server::Server::start(move |request| {
            assert!(request.body.is_empty(), "the hub is only asked");
            let (range, token) = (request.header("range"), request.header("authorization"));
            let entry = format!("{} {} range={range} token={token}", request.method, request.path);
            entries.lock().expect("no panic").push(entry);
            answer(request)
        });
        Self { address: server.url(), log, _server: server }
    }

    /// Gives way to the second answer after so many of the first.
    fn failing(
        times: usize,
        first: impl Fn() -> Answer + Send + Sync + 'static,
        then: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Self {
        let count = AtomicUsize::new(0);
        Self::start(move |_| if count.fetch_add(1, Ordering::SeqCst) < times { first() } else { then() })
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn git_blob(bytes: &[u8]) -> String {
    let hasher = Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn small(body: &str) -> Answer {
    Answer::new("200 OK", body)
        .with("x-repo-commit", COMMIT)
        .with("etag", format!("\"{}\"", git_blob(body.as_bytes())))
}

/// A file of 100,000 bytes.
fn large() -> Vec<u8> {
    (0..100_000_u32).map(|at| (at % 251) as u8).collect()
}

/// The first byte that a request asks for.
fn range(request: &Request) -> Option<usize> {
    request.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// What is left of a content from `from` on.
fn rest(content: &[u8], from: usize) -> Answer {
    let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
    Answer::new("206 Partial Content", &content[from..]).with("content-range", range)
}

/// A hub that sends the questions for `content` to `store`.
fn redirecting(store: &Server, content: &[u8]) -> Server {
    let (place, tag) = (format!("{}/lfs/x?sign=1", store.address), sha256(content));
    let length = content.len().to_string();
    Server::start(move |_| {
        Answer::new("302 Found", "")
            .with("location", place.clone())
            .with("x-repo-commit", COMMIT)
            .with("x-linked-etag", format!("\"{tag}\""))
            .with("x-linked-size", length.clone())
    })
}

fn hub(server: &Server) -> (TempDir, Hub) {
    let dir = TempDir::new().expect("a temporary directory");
    let hub = Hub::new(dir.path())
        .with_endpoint(server.address.as_str())
        .with_token("secret")
        .with_waits(Duration::from_millis(1), Duration::from_millis(4));
    (dir, hub)
}

#[test]
fn a_file_is_fetched_once_and_lies_as_in_the_python_library() {
    let server = Server::start(|_| small("{\"a\": 1}"));
    let (dir, hub) = hub(&server);
    let path = hub.model("owner/name").file("sub/config.json").unwrap_or_else(|error| panic!("{error}"));
    let repo = dir.path().join("models--owner--name");
    assert_eq!(path, repo.join("snapshots").join(COMMIT).join("sub/config.json"));
    assert_eq!(fs::read_to_string(&path).expect("the file"), "{\"a\": 1}");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).expect("the branch"), COMMIT);
    let etag = git_blob(b"{\"a\": 1}");
    assert!(repo.join("blobs").join(&etag).is_file());
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).expect("a link"), PathBuf::from(format!("../../../blobs/{etag}")));

    let asked = server.log();
    assert_eq!(
        asked,
        [
            "HEAD /owner/name/resolve/main/sub/config.json range= token=Bearer secret",
            "GET /owner/name/resolve/main/sub/config.json range= token=Bearer secret"
        ]
    );
    assert_eq!(hub.model("owner/name").file("sub/config.json").expect("cached"), path);
    let offline = hub.clone().with_network(Network::Offline);
    assert_eq!(offline.model("owner/name").revision(COMMIT).file("sub/config.json").expect("cached"), path);
    let error = offline.dataset("owner/name").file("x.json").expect_err("not cached").to_string();
    assert!(error.contains("x.json of datasets/owner/name at main is not in the cache"), "{error}");
    assert_eq!(server.log().len(), 2);

    hub.model("owner/name").refresh().expect("the cache");
    hub.model("owner/name").file("sub/config.json").expect("asked again");
    assert_eq!(server.log().len(), 3, "the content is known by its tag");
}

#[test]
fn the_token_stays_with_the_endpoint_and_a_cut_download_goes_on() {
    let body = large();
    let content = body.clone();
    let store = Server::start(move |request| match range(request) {
        None => Answer::new("200 OK", content.clone()).cut_after(30_000),
        Some(from) => rest(&content, from),
    });
    let server = redirecting(&store, &body);
    let (dir, hub) = hub(&server);
    let path = hub.dataset("owner/name").file("data.bin").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fs::read(path).expect("the file"), body);
    let blobs = dir.path().join("datasets--owner--name/blobs");
    assert_eq!(fs::read_dir(&blobs).expect("a folder").count(), 1);
    assert_eq!(
        store.log(),
        ["GET /lfs/x?sign=1 range= token=", "GET /lfs/x?sign=1 range=bytes=30000- token="]
    );
    assert!(server.log().iter().all(|entry| entry.ends_with("token=Bearer secret")));
}

#[test]
fn a_content_that_is_not_the_announced_one_is_refused() {
    for etag in [sha256(b"other"), git_blob(b"other")] {
        let server = Server::start(move |_| {
            Answer::new("200 OK", "other!").with("x-repo-commit", COMMIT).with("etag", format!("\"{etag}\""))
        });
        let (dir, hub) = hub(&server);
        let error = hub.model("owner/name").file("a.bin").expect_err("wrong content").to_string();
        assert!(error.contains("was announced"), "{error}");
        let blobs = dir.path().join("models--owner--name/blobs");
        assert_eq!(fs::read_dir(blobs).expect("a folder").count(), 0);
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (status, wanted) in [
        ("401 Unauthorized", "401, access denied with this token"),
        ("404 Not Found", "404, not found; is the name"),
        ("500 Internal Server Error", "500, the server is out of order (since noon), after 6 tries"),
        ("429 Too Many Requests", "429, too many requests (since noon), after 6 tries"),
    ] {
        let server = Server::start(move |_| Answer::new(status, "").with("x-error-message", "since noon"));
        let (_dir, hub) = hub(&server);
        let error = hub.model("owner/name").file("a.bin").expect_err(status).to_string();
        assert!(error.contains(wanted) && error.contains("/owner/name/resolve/main/a.bin"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(server.log().len(), if wanted.contains("tries") { 6 } else { 1 }, "{status}");
    }
    let server = Server::start(|request| Answer::new("302 Found", "").with("location", request.path.clone()));
    let (_dir, hub) = hub(&server);
    let error = hub.model("owner/name").file("a.bin").expect_err("a circle").to_string();
    assert!(error.contains("redirected more than 10 times"), "{error}");
}

#[test]
fn faults_that_pass_are_outlived() {
    let faults: [fn() -> Answer; 6] = [
        || Answer::new("429 Too Many Requests", ""),
        || Answer::new("500 Internal Server Error", ""),
        || Answer::new("503 Service Unavailable", "").with("retry-after", "0"),
        || Answer::new("504 Gateway Timeout", ""),
        Answer::hang_up,
        || Answer::new("no status", ""),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let server = Server::failing(3, fault, || small("x"));
        let (_dir, hub) = hub(&server);
        let path = hub.model("owner/name").file("a.txt").unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(fs::read_to_string(path).expect("the file"), "x", "{number}");
        assert_eq!(server.log().len(), 3 + 2, "{number}");
    }
    let listing = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": []}}");
    let whole = listing.clone();
    let server = Server::failing(
        2,
        move || Answer::new("200 OK", listing.clone()).cut_after(20),
        move || Answer::new("200 OK", whole.clone()),
    );
    let (_dir, hub) = hub(&server);
    let error = hub.model("owner/name").snapshot(&[]).expect_err("no files").to_string();
    assert!(error.contains("it has no files") && server.log().len() == 3, "{error}");
}

#[test]
fn the_server_says_when_to_come_back() {
    let busy = || Answer::new("429 Too Many Requests", "").with("ratelimit", "\"resolvers\";r=0;t=1");
    let server = Server::failing(1, busy, || small("x"));
    let (_dir, hub) = hub(&server);
    let start = Instant::now();
    hub.model("owner/name").file("a.txt").unwrap_or_else(|error| panic!("{error}"));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    let server = Server::start(|_| Answer::new("503 Service Unavailable", "").with("retry-after", "86400"));
    let error = hub.with_endpoint(&server.address).model("owner/other").file("a.txt").expect_err("a day");
    assert!(error.to_string().ends_with("it asks to wait for 86400 s"), "{error}");
    assert_eq!(server.log().len(), 1);
}

#[test]
fn a_server_that_falls_silent_is_asked_for_the_rest() {
    let body = large();
    let content = body.clone();
    let store = Server::start(move |request| match range(request) {
        None => Answer::new("200 OK", content.clone()).silent_after(30_000),
        Some(from @ ..50_000) => rest(&content, from).silent_after(20_000),
        Some(from) => rest(&content, from),
    });
    let server = redirecting(&store, &body);
    let (_dir, hub) = hub(&server);
    // One try without progress is allowed, but there are three with it.
    let hub = hub.with_timeouts(Duration::from_secs(60), Duration::from_secs(2)).with_max_retries(1);
    let path = hub.model("owner/name").file("data.bin").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fs::read(path).expect("the file"), body);
    let ranges: Vec<String> =
        store.log().iter().filter_map(|entry| Some(entry.split(' ').nth(2)?.to_owned())).collect();
    assert_eq!(ranges.first().map(String::as_str), Some("range="));
    assert!(ranges.contains(&"range=bytes=30000-".to_owned()), "{ranges:?}");
    assert_eq!(ranges.last().map(String::as_str), Some("range=bytes=50000-"));

    let silent = Server::start(|_| Answer::new("200 OK", "x").silent_after(0).with("x-repo-commit", COMMIT));
    let hub = hub.with_endpoint(&silent.address);
    let hub = hub.with_timeouts(Duration::from_millis(300), Duration::from_secs(60));
    let error = hub.model("owner/name").snapshot(&[]).expect_err("silence").to_string();
    assert!(
        error.ends_with("/api/models/owner/name/revision/main: no byte came for 0.3 s, after 2 tries"),
        "{error}"
    );
}

#[test]
fn what_stays_broken_keeps_what_came() {
    let body = large();
    let content = body.clone();
    let store = Server::start(move |request| match range(request) {
        None => Answer::new("200 OK", content.clone()).cut_after(30_000),
        Some(from) => rest(&content, from).cut_after(0),
    });
    let server = redirecting(&store, &body);
    let (dir, hub) = hub(&server);
    let hub = hub.with_max_retries(2);
    let error = hub.dataset("owner/name").file("data.bin").expect_err("cut").to_string();
    assert!(error.contains("/datasets/owner/name/resolve/main/data.bin: "), "{error}");
    assert!(error.ends_with(", after 3 tries") && !error.contains("sign"), "{error}");
    let part = dir.path().join("datasets--owner--name/blobs").join(format!("{}.incomplete", sha256(&body)));
    assert_eq!(fs::metadata(&part).expect("the beginning").len(), 30_000);
    // The one that brought something, and three that brought nothing.
    assert_eq!(store.log().len(), 4);
}

#[test]
fn an_answer_to_another_question_is_not_appended() {
    let body = large();
    let content = body.clone();
    let count = AtomicUsize::new(0);
    let store = Server::start(move |request| match (range(request), count.fetch_add(1, Ordering::SeqCst)) {
        (None, 0) => Answer::new("200 OK", content.clone()).cut_after(30_000),
        (None, _) => Answer::new("200 OK", content.clone()),
        (Some(_), _) => rest(&content, 7),
    });
    let server = redirecting(&store, &body);
    let (_dir, hub) = hub(&server);
    let path = hub.model("owner/name").file("data.bin").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fs::read(path).expect("the file"), body);
    assert_eq!(store.log().len(), 3);
}

#[test]
fn a_connection_that_is_refused_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let dir = TempDir::new().expect("a temporary directory");
    let hub = Hub::new(dir.path()).with_endpoint(&address).with_token("secret").with_max_retries(2);
    let hub = hub.with_waits(Duration::from_millis(1), Duration::from_millis(4));
    let error = hub.model("owner/name").file("a.bin").expect_err("nobody there").to_string();
    assert!(error.starts_with(&format!("{address}/owner/name/resolve/main/a.bin: ")), "{error}");
    assert!(error.ends_with("after 3 tries") && !error.contains("secret"), "{error}");
}

#[test]
fn a_snapshot_has_what_its_patterns_match() {
    let server = Server::start(|request| match request.path.as_str() {
        "/api/models/owner/name/revision/v1" => {
            let files =
                ["a.json", "sub/b.json", "c.bin"].map(|file| format!("{{\"rfilename\": \"{file}\"}}"));
            Answer::new("200 OK", format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", files.join(",")))
        }
        path => small(path),
    });
    let (_dir, hub) = hub(&server);
    let repo = hub.model("owner/name").revision("v1");
    let folder = repo.snapshot(&["*.json"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(folder.join("a.json").is_file() && folder.join("sub/b.json").is_file());
    assert!(!folder.join("c.bin").exists());
    let offline = hub.clone().with_network(Network::Offline);
    let cached = offline.model("owner/name").revision("v1");
    assert_eq!(cached.snapshot(&["*.json"]).expect("cached"), folder);
    let error = cached.snapshot(&["*.bin"]).expect_err("not cached").to_string();
    assert!(error.contains("*.bin of models/owner/name at v1 is not in the cache"), "{error}");
    let error = repo.snapshot(&["*.gguf"]).expect_err("no such file").to_string();
    assert!(error.contains("no file matches \"*.gguf\""), "{error}");
}

#[test]
fn names_do_not_lead_out_of_the_cache() {
    let hub = Hub::new("/nonexistent").with_network(Network::Offline);
    for (repo, revision, file) in [
        ("../x", "main", "a"),
        ("a/b/c", "main", "a"),
        ("", "main", "a"),
        ("a/b", "../main", "a"),
        ("a/b", "main", "../../a"),
        ("a/b", "main", "/etc/passwd"),
        ("a/b", "main", "..\\a"),
    ] {
        let error = hub.model(repo).revision(revision).file(file).expect_err(repo);
        assert!(matches!(error, DataError::InvalidConfig { .. }), "{error}");
    }
}

#[test]
fn the_environment_names_the_cache() {
    let from = |variables: &[(&str, &str)]| {
        Hub::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    };
    for (variables, wanted) in [
        (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
        (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (&[("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub"),
        (&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c"),
        (&[("HF_HOME", " "), ("HOME", "/h")], "/h/.cache/huggingface/hub"),
    ] {
        assert_eq!(from(variables).expect("a home").cache(), PathBuf::from(wanted), "{variables:?}");
    }
    assert!(matches!(from(&[]), Err(DataError::InvalidConfig { .. })));
    for name in ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"] {
        let with = |value| from(&[("HF_HOME", "/f"), (name, value)]);
        assert!(with("30").is_ok() && with("0").is_ok() && with(" ").is_ok());
        let error = with("soon").expect_err("no number").to_string();
        assert!(error.contains(name) && error.contains("soon"), "{error}");
    }
    let hub = from(&[("HF_HOME", "/f"), ("HF_HUB_ETAG_TIMEOUT", "30"), ("HF_HUB_DOWNLOAD_TIMEOUT", "7")]);
    let shown = format!("{:?}", hub.expect("a home"));
    assert!(shown.contains("etag_timeout: 30s") && shown.contains("download_timeout: 7s"), "{shown}");
    let dir = TempDir::new().expect("a temporary directory");
    let home = dir.path().to_str().expect("a plain path");
    let offline = from(&[("HF_HOME", home), ("HF_HUB_OFFLINE", "1")]).expect("a home");
    let error = offline.model("a/b").file("c").expect_err("not cached");
    assert!(matches!(error, DataError::HubOffline { .. }), "{error}");

    let server = Server::start(|_| small("x"));
    fs::write(dir.path().join("token"), "from-file\n").expect("a file");
    let hub = from(&[("HF_HOME", home), ("HF_ENDPOINT", &server.address)]).expect("a home");
    hub.model("a/b").file("c").unwrap_or_else(|error| panic!("{error}"));
    assert!(server.log()[0].ends_with("token=Bearer from-file"), "{:?}", server.log());
    assert!(!format!("{hub:?}").contains("from-file"));
}
