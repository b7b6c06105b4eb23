//! Models and data sets from the Hugging Face hub, in the cache that its Python library shares.

mod cache;
mod fetch;
mod retry;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::DataError;

use cache::RepoCache;
use fetch::Client;

const ENDPOINT: &str = "https://huggingface.co";

/// Whether files may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Network {
    /// What is not in the cache is fetched.
    #[default]
    Online,
    /// What is not in the cache is an error.
    Offline,
}

/// A hub and a cache of its files.
///
/// The cache has the layout of `huggingface_hub` 1.x (`models--owner--name/{blobs,refs,snapshots}`), so that both
/// find each other's files. A file that is in the cache is used without a request: a branch such as `main` stays at the
/// commit at which it was first asked for, until [`Repo::refresh`].
///
/// Asked again, after waits that double up to a longest one, of which a random part, and are at least what the server
/// asks for (`Retry-After`, `RateLimit`; more than 300 s are an error at once): the statuses 408, 429 and 500 and above, connections that are refused or break,
/// and those on which no byte comes for a while. A download goes on where it stopped, and one that grows is never given
/// up.
///
/// ```no_run
/// use burnisher_data::Hub;
///
/// let hub = Hub::from_env()?;
/// let config = hub.model("Qwen/Qwen3-0.6B").file("config.json")?;
/// let folder = hub.dataset("openai/gsm8k").revision("main").snapshot(&["main/*.parquet"])?;
/// # Ok::<(), burnisher_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hub {
    cache: PathBuf,
    client: Client,
    network: Network,
}

impl Hub {
    /// A hub with its files under `cache`, at the public endpoint and without a token.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), client: Client::new(ENDPOINT.to_owned(), None), network: Network::Online }
    }

    /// The hub that the environment names.
    ///
    /// | variable | else |
    /// |---|---|
    /// | `HF_HUB_CACHE` | `$HF_HOME/hub` |
    /// | `HF_HOME` | `$XDG_CACHE_HOME/huggingface`, `~/.cache/huggingface` |
    /// | `HF_TOKEN` | the file `$HF_TOKEN_PATH` or `$HF_HOME/token` |
    /// | `HF_ENDPOINT` | `https://huggingface.co` |
    /// | `HF_HUB_OFFLINE` | `0`; `1`, `true`, `yes` and `on` forbid requests |
    /// | `HF_HUB_ETAG_TIMEOUT`, `HF_HUB_DOWNLOAD_TIMEOUT` | `10` seconds each, see [`Hub::with_timeouts`] |
    ///
    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] if no variable tells where the home folder is, or a timeout is no number of seconds.
    pub fn from_env() -> Result<Self, DataError> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// The hub that these variables name, as [`Hub::from_env`].
    ///
    /// # Errors
    ///
    /// As [`Hub::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, DataError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let home = set("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = cache
                .or_else(|| Some(Path::new(&set("HOME").or_else(|| set("USERPROFILE"))?).join(".cache")));
            Some(cache?.join("huggingface"))
        });
        let cache = set("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            return Err(DataError::InvalidConfig {
                field: "HF_HOME",
                found: "not set, and no home folder is known".to_owned(),
                wanted: "HF_HOME or HF_HUB_CACHE",
            });
        };
        let token_file = set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = set("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let offline = set("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "true", "yes", "on"].contains(&value.trim().to_ascii_lowercase().as_str())
        });
        let network = if offline { Network::Offline } else { Network::Online };
        let seconds = |field: &'static str| match set(field) {
            None => Ok(None),
            Some(found) => match found.trim().parse::<u32>() {
                // As there, where it stands for the default.
                Ok(0) => Ok(None),
                Ok(seconds) => Ok(Some(Duration::from_secs(u64::from(seconds)))),
                Err(_) => Err(DataError::InvalidConfig {
                    field,
                    found: format!("{found:?}"),
                    wanted: "a whole number of seconds",
                }),
            },
        };
        let (etag, download) = (seconds("HF_HUB_ETAG_TIMEOUT")?, seconds("HF_HUB_DOWNLOAD_TIMEOUT")?);
        let mut client = Client::new(endpoint, token);
        let patience = &mut client.patience;
        patience.etag_timeout = etag.unwrap_or(patience.etag_timeout);
        patience.download_timeout = download.unwrap_or(patience.download_timeout);
        Ok(Self { cache, client, network })
    }

    /// Asks another server than the public one; the token, if there is one, goes to no other host than this.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.client = self.client.with_endpoint(endpoint.into());
        self
    }

    /// Shows this token to the endpoint.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.client = self.client.with_token(token.into());
        self
    }

    /// Sets how long a question about a file and how long a download may be without a byte (10 seconds each, as in
    /// `huggingface_hub`), before the request is sent again; also the longest time to connect, and to the answer's
    /// header.
    #[must_use]
    pub fn with_timeouts(mut self, question: Duration, download: Duration) -> Self {
        (self.client.patience.etag_timeout, self.client.patience.download_timeout) = (question, download);
        self
    }

    /// Sets how often a request that brought nothing is sent again (5 times).
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.client.patience.max_retries = retries;
        self
    }

    /// Sets the first and the longest wait before a request is sent again (1 and 8 seconds); what the server asks for
    /// may be longer.
    #[must_use]
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        (self.client.patience.first_wait, self.client.patience.max_wait) = (first, longest);
        self
    }

    /// Allows or forbids requests.
    #[must_use]
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The folder of the cache.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The model `owner/name`, at the branch `main`.
    pub fn model(&self, name: &str) -> Repo<'_> {
        self.repo(Kind::Model, name)
    }

    /// The data set `owner/name`, at the branch `main`.
    pub fn dataset(&self, name: &str) -> Repo<'_> {
        self.repo(Kind::Dataset, name)
    }

    fn repo(&self, kind: Kind, name: &str) -> Repo<'_> {
        Repo { hub: self, kind, name: name.to_owned(), revision: "main".to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
}

/// A model or a data set at one revision.
#[derive(Debug, Clone)]
pub struct Repo<'a> {
    hub: &'a Hub,
    kind: Kind,
    name: String,
    revision: String,
}

impl Repo<'_> {
    /// Another branch, tag or commit than `main`.
    #[must_use]
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// The path of a file in the cache, to which it is fetched if it is not there.
    ///
    /// # Errors
    ///
    /// [`DataError::HubOffline`] if it is not there and requests are forbidden; [`DataError::Hub`] if the server refuses
    /// it or sends something else than it announced; [`DataError::Read`] and [`DataError::Write`] for the cache;
    /// [`DataError::InvalidConfig`] for names that are none.
    pub fn file(&self, file: &str) -> Result<PathBuf, DataError> {
        let cache = self.checked()?;
        safe_path("file", file)?;
        if let Some(path) = cache.find(&self.revision, file) {
            return Ok(path);
        }
        self.online(&format!("{file} of {self}"))?;
        self.fetch(&cache, &self.revision, file)
    }

    /// The folder of the revision's files, with all that match one of the patterns (`*.safetensors`; `*` crosses `/`).
    ///
    /// Without requests it is the folder in the cache, if that has a file for each pattern.
    ///
    /// # Errors
    ///
    /// As [`Repo::file`]; [`DataError::Hub`] if a pattern matches no file.
    pub fn snapshot(&self, patterns: &[&str]) -> Result<PathBuf, DataError> {
        let cache = self.checked()?;
        let parsed: Vec<glob::Pattern> =
            patterns.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
        if self.hub.network == Network::Offline {
            let cached = cache.files(&self.revision);
            for (pattern, text) in parsed.iter().zip(patterns) {
                if !cached.iter().any(|file| pattern.matches(file)) {
                    self.online(&format!("{text} of {self}"))?;
                }
            }
            let folder = cache.snapshot(&self.revision);
            return folder.ok_or_else(|| self.offline(&format!("a snapshot of {self}")));
        }
        let url = format!(
            "{}/api/{}/revision/{}",
            self.hub.client.endpoint(),
            self.plural(),
            self.escaped_revision()
        );
        let listing = self.hub.client.list(&url)?;
        for (pattern, text) in parsed.iter().zip(patterns) {
            if !listing.files.iter().any(|file| pattern.matches(file)) {
                let message = format!("no file matches {text:?}");
                return Err(DataError::Hub { url: retry::shown(&url), message });
            }
        }
        cache.set_ref(&self.revision, &listing.commit)?;
        for file in &listing.files {
            if parsed.is_empty() || parsed.iter().any(|pattern| pattern.matches(file)) {
                safe_path("file", file)?;
                if cache.find(&listing.commit, file).is_none() {
                    self.fetch(&cache, &listing.commit, file)?;
                }
            }
        }
        cache
            .snapshot(&listing.commit)
            .ok_or_else(|| DataError::Hub { url: retry::shown(&url), message: "it has no files".to_owned() })
    }

    /// Forgets at which commit the revision stood, so that the next file is asked for again.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if the cache cannot be changed.
    pub fn refresh(&self) -> Result<(), DataError> {
        self.checked()?.forget_ref(&self.revision)
    }

    fn checked(&self) -> Result<RepoCache, DataError> {
        safe_path("repository", &self.name)?;
        safe_path("revision", &self.revision)?;
        let patience = &self.hub.client.patience;
        if patience.etag_timeout.is_zero() || patience.download_timeout.is_zero() {
            return Err(DataError::InvalidConfig {
                field: "timeouts",
                found: "0 s".to_owned(),
                wanted: "more than nothing",
            });
        }
        let parts = self.name.split('/').count();
        if parts > 2 {
            return Err(DataError::InvalidConfig {
                field: "repository",
                found: self.name.clone(),
                wanted: "owner/name",
            });
        }
        let kind = if self.kind == Kind::Model { "models" } else { "datasets" };
        Ok(RepoCache::new(&self.hub.cache, &format!("{kind}--{}", self.name.replace('/', "--"))))
    }

    fn online(&self, what: &str) -> Result<(), DataError> {
        match self.hub.network {
            Network::Online => Ok(()),
            Network::Offline => Err(self.offline(what)),
        }
    }

    fn offline(&self, what: &str) -> DataError {
        DataError::HubOffline { what: what.to_owned(), cache: self.hub.cache.clone() }
    }

    fn fetch(&self, cache: &RepoCache, revision: &str, file: &str) -> Result<PathBuf, DataError> {
        let client = &self.hub.client;
        let repo =
            if self.kind == Kind::Model { self.name.clone() } else { format!("datasets/{}", self.name) };
        let url = format!(
            "{}/{repo}/resolve/{}/{}",
            client.endpoint(),
            fetch::escape(revision, ""),
            fetch::escape(file, "/")
        );
        let announced = client.announced(&url)?;
        let blob = cache.blob(&announced.etag);
        if !blob.is_file() {
            let _lock = cache.lock(&announced.etag)?;
            // Another process may have fetched it while this one waited.
            if !blob.is_file() {
                client.download(&url, &announced, &blob)?;
            }
        }
        cache.link(&announced.commit, file, &announced.etag)?;
        cache.set_ref(revision, &announced.commit)?;
        cache.find(&announced.commit, file).ok_or_else(|| DataError::Hub {
            url: retry::shown(&url),
            message: "the file left the cache while it was fetched".to_owned(),
        })
    }

    fn plural(&self) -> String {
        let kind = if self.kind == Kind::Model { "models" } else { "datasets" };
        format!("{kind}/{}", self.name)
    }

    fn escaped_revision(&self) -> String {
        fetch::escape(&self.revision, "")
    }
}

impl fmt::Display for Repo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.plural(), self.revision)
    }
}

fn pattern(text: &str) -> Result<glob::Pattern, DataError> {
    glob::Pattern::new(text).map_err(|error| DataError::InvalidConfig {
        field: "pattern",
        found: format!("{text} ({error})"),
        wanted: "a glob pattern",
    })
}

/// Refuses what would lead out of the cache.
fn safe_path(field: &'static str, path: &str) -> Result<(), DataError> {
    let bad = |part: &str| {
        part.is_empty()
            || part == "."
            || part == ".."
            || part.contains(|c: char| c == '\\' || c == ':' || c.is_control())
    };
    match path.split('/').any(bad) {
        true => Err(DataError::InvalidConfig {
            field,
            found: format!("{path:?}"),
            wanted: "names joined by /, none of them empty, . or ..",
        }),
        false => Ok(()),
    }
}
