//! The hub's client against a server on this machine.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use burnisher_data::{DataError, Hub, Network};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
}

struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    cut: Option<usize>,
}

impl Answer {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server and the requests it got, as `METHOD path range=… token=…`.
struct Server {
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let entries = Arc::clone(&log);
        // Ends with the process; a test has no way to end `accept`.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = receive(&stream) else { continue };
                let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
                let entry = format!(
                    "{} {} range={} token={}",
                    request.method,
                    request.path,
                    header("range"),
                    header("authorization")
                );
                entries.lock().expect("no panic").push(entry);
                let _ = send(stream, &request, answer(&request));
            }
        });
        Self { address, log }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }
}

fn receive(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Request { method, path, headers })
}

fn send(mut stream: TcpStream, request: &Request, answer: Answer) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {}\r\nconnection: close\r\n", answer.status)?;
    if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
        write!(stream, "content-length: {}\r\n", answer.body.len())?;
    }
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())])?;
    }
    stream.flush()
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

fn hub(server: &Server) -> (TempDir, Hub) {
    let dir = TempDir::new().expect("a temporary directory");
    let hub = Hub::new(dir.path()).with_endpoint(server.address.as_str()).with_token("secret");
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
    let body: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let etag = sha256(&body);
    let content = body.clone();
    let store = Server::start(move |request| {
        let from = request
            .headers
            .get("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            None => Answer { cut: Some(30_000), ..Answer::new("200 OK", content.clone()) },
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
                Answer::new("206 Partial Content", &content[from..]).with("content-range", range)
            }
        }
    });
    let (place, tag, length) = (format!("{}/lfs/x?sign=1", store.address), etag.clone(), body.len());
    let server = Server::start(move |_| {
        Answer::new("302 Found", "")
            .with("location", place.clone())
            .with("x-repo-commit", COMMIT)
            .with("x-linked-etag", format!("\"{tag}\""))
            .with("x-linked-size", length.to_string())
    });
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
        ("500 Internal Server Error", "500, refused (out of order)"),
    ] {
        let server = Server::start(move |_| Answer::new(status, "").with("x-error-message", "out of order"));
        let (_dir, hub) = hub(&server);
        let error = hub.model("owner/name").file("a.bin").expect_err(status).to_string();
        assert!(error.contains(wanted) && error.contains("/owner/name/resolve/main/a.bin"), "{error}");
    }
    let server = Server::start(|request| Answer::new("302 Found", "").with("location", request.path.clone()));
    let (_dir, hub) = hub(&server);
    let error = hub.model("owner/name").file("a.bin").expect_err("a circle").to_string();
    assert!(error.contains("redirected more than 10 times"), "{error}");
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
