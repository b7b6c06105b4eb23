use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::cache::{create_parent, is_name};
use super::retry::{Failure, Patience, shown};
use crate::error::DataError;

const REDIRECTS: usize = 10;

/// The requests to one endpoint.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    pub(super) patience: Patience,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Client")
            .field("endpoint", &shown(&self.endpoint))
            .field("token", &token)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What the server says about a file before it is fetched.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) commit: String,
    pub(super) etag: String,
    size: Option<u64>,
}

/// The files of a revision.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Get,
    /// The content of a file, from this byte on.
    Download {
        from: u64,
    },
}

impl Client {
    pub(super) fn new(endpoint: String, token: Option<String>) -> Self {
        // Redirects are followed here, so that the token stays with the endpoint.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("burnisher/", env!("CARGO_PKG_VERSION")))
            .build();
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Self { agent: config.into(), endpoint, token, patience: Patience::default() }
    }

    pub(super) fn with_endpoint(self, endpoint: String) -> Self {
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), ..self }
    }

    pub(super) fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Commit, content tag and length of a file. Large files are redirected to another host; what is asked for stands in
    /// the redirection.
    pub(super) fn announced(&self, url: &str) -> Result<Announced, DataError> {
        let error = |message: &str| DataError::Hub { url: shown(url), message: message.to_owned() };
        let enough = |response: &Response<ureq::Body>| header(response, "x-repo-commit").is_some();
        let response = self.patience.repeat(url, || self.follow(url, Method::Head, enough))?;
        let commit = header(&response, "x-repo-commit");
        let commit = commit.filter(|commit| is_name(commit));
        let commit = commit.ok_or_else(|| error("the answer names no commit (x-repo-commit)"))?;
        let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let etag = etag.filter(|etag| is_name(etag));
        let etag = etag.ok_or_else(|| error("the answer has no etag that can name a file"))?;
        let size = match response.status().is_redirection() {
            true => header(&response, "x-linked-size"),
            false => header(&response, "x-linked-size").or_else(|| header(&response, "content-length")),
        };
        Ok(Announced { commit: commit.to_owned(), etag, size: size.and_then(|size| size.parse().ok()) })
    }

    /// The commit and the files of a revision.
    pub(super) fn list(&self, url: &str) -> Result<Listing, DataError> {
        let error = |message: String| DataError::Hub { url: shown(url), message };
        let body = self.patience.repeat(url, || {
            let mut response = self.follow(url, Method::Get, |_| false)?;
            let body = response.body_mut().with_config().limit(64 << 20).read_to_vec();
            body.map_err(|cause| Failure::of_request(cause, self.patience.etag_timeout))
        })?;
        let body: Value = serde_json::from_slice(&body).map_err(|cause| error(cause.to_string()))?;
        let commit = body["sha"].as_str().filter(|commit| is_name(commit));
        let files = body["siblings"].as_array();
        let (Some(commit), Some(files)) = (commit, files) else {
            return Err(error("the answer has no `sha` and `siblings`".to_owned()));
        };
        let files = files.iter().filter_map(|file| file["rfilename"].as_str()).map(str::to_owned).collect();
        Ok(Listing { commit: commit.to_owned(), files })
    }

    /// Fetches a file to `blob`. What came before a connection broke is kept beside it, and is not fetched again.
    pub(super) fn download(&self, url: &str, announced: &Announced, blob: &Path) -> Result<(), DataError> {
        let mut name = blob.as_os_str().to_owned();
        name.push(".incomplete");
        let part = Path::new(&name);
        let write_error = |source| DataError::Write { path: part.to_path_buf(), source };
        create_parent(part).map_err(write_error)?;
        let length = || fs::metadata(part).map_or(0, |found| found.len());
        let (mut tries, mut furthest) = (0, length());
        loop {
            match self.continue_download(url, announced, part) {
                Ok(()) => break,
                Err(Broken::Local(source)) => return Err(write_error(source)),
                Err(Broken::Request(failure)) => {
                    // A long file may break often, as long as it grows.
                    tries = if length() > furthest { 0 } else { tries + 1 };
                    furthest = furthest.max(length());
                    self.patience.pause(url, failure, tries)?;
                }
            }
        }
        let found = fs::metadata(part).map_err(write_error)?.len();
        let checked = match announced.size {
            Some(size) if size != found => Err(format!("{found} bytes came, {size} were announced")),
            _ => verify(part, &announced.etag, found).map_err(write_error)?,
        };
        if let Err(message) = checked {
            fs::remove_file(part).map_err(write_error)?;
            return Err(DataError::Hub { url: shown(url), message });
        }
        fs::rename(part, blob).map_err(write_error)
    }

    fn continue_download(&self, url: &str, announced: &Announced, part: &Path) -> Result<(), Broken> {
        let mut file = File::options().create(true).append(true).open(part).map_err(Broken::Local)?;
        let have = file.metadata().map_err(Broken::Local)?.len();
        if announced.size == Some(have) {
            return Ok(());
        }
        let response = match self.follow(url, Method::Download { from: have }, |_| false) {
            Ok(response) => response,
            // A rest that the server does not know is thrown away.
            Err(Failure::Lasting { status: Some(StatusCode::RANGE_NOT_SATISFIABLE), message })
                if have > 0 =>
            {
                file.set_len(0).map_err(Broken::Local)?;
                return Err(Broken::Request(Failure::passing(message)));
            }
            Err(failure) => return Err(Broken::Request(failure)),
        };
        let range = header(&response, "content-range");
        let continues = range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
        if response.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0).map_err(Broken::Local)?;
        } else if !continues {
            let message = format!("asked for the bytes from {have}, got {}", range.unwrap_or("others"));
            file.set_len(0).map_err(Broken::Local)?;
            return Err(Broken::Request(Failure::passing(message)));
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut block = vec![0; 256 * 1024];
        loop {
            match body.read(&mut block) {
                Ok(0) => break,
                Ok(read) => file.write_all(&block[..read]).map_err(Broken::Local)?,
                Err(error) => {
                    let failure = Failure::of_request(error.into(), self.patience.download_timeout);
                    return Err(Broken::Request(failure));
                }
            }
        }
        file.sync_all().map_err(Broken::Local)?;
        let have = file.metadata().map_err(Broken::Local)?.len();
        match announced.size {
            Some(size) if have < size => {
                Err(Broken::Request(Failure::passing(format!("{have} of {size} bytes came"))))
            }
            _ => Ok(()),
        }
    }

    /// The answer that is no redirection, or the first that `enough` accepts.
    fn follow(
        &self,
        url: &str,
        method: Method,
        enough: impl Fn(&Response<ureq::Body>) -> bool,
    ) -> Result<Response<ureq::Body>, Failure> {
        let mut at = url.to_owned();
        let timeout = match method {
            Method::Head | Method::Get => self.patience.etag_timeout,
            Method::Download { .. } => self.patience.download_timeout,
        };
        for _ in 0..REDIRECTS {
            let mut request = match method {
                Method::Head => self.agent.head(&at),
                Method::Get | Method::Download { .. } => self.agent.get(&at),
            }
            .config()
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .build()
            .header("accept-encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| origin(&at) == origin(&self.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Method::Download { from: from @ 1.. } = method {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|cause| Failure::of_request(cause, timeout))?;
            let status = response.status();
            if status.is_success() || (status.is_redirection() && enough(&response)) {
                return Ok(response);
            }
            if !status.is_redirection() {
                let message = self.refusal(status.as_u16(), header(&response, "x-error-message"));
                return Err(Failure::of_status(status, response.headers(), message));
            }
            let location = header(&response, "location").unwrap_or_default();
            at = match location {
                absolute if absolute.contains("://") => absolute.to_owned(),
                path if path.starts_with('/') => format!("{}{path}", origin(&at)),
                other => return Err(Failure::lasting(format!("redirected to {other:?}"))),
            };
        }
        Err(Failure::lasting(format!("redirected more than {REDIRECTS} times")))
    }

    fn refusal(&self, status: u16, message: Option<&str>) -> String {
        let meaning = match (status, &self.token) {
            (401 | 403, None) => "access denied; a private or gated repository needs a token (HF_TOKEN)",
            (401 | 403, Some(_)) => {
                "access denied with this token; has the repository's licence been accepted?"
            }
            (404, _) => "not found; is the name of the repository, revision or file right?",
            (429, None) => "too many requests; a token (HF_TOKEN) is allowed more",
            (429, Some(_)) => "too many requests",
            (500.., _) => "the server is out of order",
            _ => "refused",
        };
        match message {
            Some(message) => format!("{status}, {meaning} ({message})"),
            None => format!("{status}, {meaning}"),
        }
    }
}

/// Why a download did not come to its end.
enum Broken {
    Request(Failure),
    Local(io::Error),
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Percent-encodes all but letters, digits, `-._~` and the characters of `keep`.
pub(super) fn escape(text: &str, keep: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte);
        match plain {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Whether the content is what its tag says: a tag of 64 digits is a SHA-256 (large files), one of 40 is Git's SHA-1 of a
/// blob; others say nothing about the content.
fn verify(path: &Path, etag: &str, length: u64) -> io::Result<Result<(), String>> {
    if !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Ok(()));
    }
    let found = match etag.len() {
        64 => hash(path, Sha256::new())?,
        40 => hash(path, Sha1::new().chain_update(format!("blob {length}\0")))?,
        _ => return Ok(Ok(())),
    };
    Ok(match found.eq_ignore_ascii_case(etag) {
        true => Ok(()),
        false => Err(format!("the content has the hash {found}, {etag} was announced")),
    })
}

fn hash<D: Digest>(path: &Path, mut hasher: D) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 256 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hasher.update(&block[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
