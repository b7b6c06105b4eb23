//! The server that hands out tasks and keeps judgements.

mod config;
mod connection;
mod door;
mod keys;
mod ledger;
mod refusal;
mod routes;

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{body::Bytes, http::HeaderValue};
use tokio::net::TcpListener;

pub use config::ServeConfig;

use crate::{
    Plan, ResultsConfig, ReviewError, Study,
    page::{Page, served_page},
};
use connection::{Connections, Peer};
use keys::Keys;
use ledger::Ledger;
use refusal::{Refusal, RefusalLog};

/// The links of a study that is served. Whoever has a link can judge under that name, so each goes to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Links {
    /// Name of the judge and link, in the order of the study; judges who are left out have none.
    pub judges: Vec<(String, String)>,
    /// The link to progress and results, which show the names of systems.
    pub owner: String,
}

/// A study that listens.
///
/// The token stands behind the `#` of a link, which browsers send to nobody; the page sends it in the `Authorization`
/// header, which no other site can set. Requests with another `Host` or `Origin` than the server's own are refused, so
/// that a name that is pointed at this machine (DNS rebinding) reaches nothing.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    links: Links,
    torn: Option<String>,
}

/// Without tokens: what is printed for debugging is passed on.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// What all requests share.
struct App {
    study: Study,
    plan: Plan,
    /// The plan without excluded judges.
    counted: Plan,
    counting: ResultsConfig,
    keys: Keys,
    ledger: Mutex<Ledger>,
    refusals: Mutex<RefusalLog>,
    page: Bytes,
    policy: HeaderValue,
    /// Allowed values of `Host`, in lower case.
    hosts: Vec<String>,
    body_limit: usize,
    patience: Duration,
}

impl App {
    /// Writes down a request that was refused, without any token that it may hold.
    fn refused(&self, peer: SocketAddr, method: &str, path: &str, refusal: &Refusal) {
        let [method, path, detail] =
            [method, path, &refusal.detail].map(|text| self.keys.without_tokens(text));
        lock(&self.refusals).refused(peer, &method, &path, &Refusal { detail, ..refusal.clone() });
    }
}

impl Server {
    /// Opens the log, draws missing tokens and listens.
    ///
    /// Drawn tokens are kept in `LOG.tokens.json`, readable by this user only, so that links outlive a restart on the
    /// same port. Whoever judged before and is not in the study any more, or is excluded, is not let in; what the former
    /// said counts still.
    ///
    /// # Errors
    /// A study that does not validate, a log that [`JudgementLog::open`](crate::JudgementLog::open) refuses, a file of
    /// tokens that cannot be read or written or that others can read, an excluded judge whom neither study nor log
    /// knows, an address that is taken.
    pub async fn bind(study: Study, config: ServeConfig) -> Result<Self, ReviewError> {
        config.validate(&study)?;
        let mut plan = Plan::new(&study)?;
        let (ledger, torn) = Ledger::open(config.log.clone(), &study, &mut plan)?;
        let counted = plan.without(&config.excluded_judges)?;
        let keys = Keys::open(&study, &config, &beside(&config.log, "tokens.json"))?;
        let mut refusals = RefusalLog::open(beside(&config.log, "refused.jsonl"))?;
        if let Some(torn) = &torn {
            refusals.torn(torn);
        }
        let listen = |source| ReviewError::Listen { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let Page { html, policy } = served_page(&study)?;
        let hosts = config.hosts_at(address);
        let links = keys.links(&hosts[0]);
        let app = App {
            plan,
            counted,
            counting: ResultsConfig::new().with_excluded_judges(config.excluded_judges),
            keys,
            ledger: Mutex::new(ledger),
            refusals: Mutex::new(refusals),
            page: Bytes::from(html),
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
            hosts,
            body_limit: config.body_limit,
            patience: config.patience,
            study,
        };
        Ok(Self { listener, app: Arc::new(app), links, torn })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The links to hand out.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The last line of the log that was cut off because a killed process had not finished it.
    pub fn torn(&self) -> Option<&str> {
        self.torn.as_deref()
    }

    /// Answers requests until `stop` is done, then finishes those that were begun. Clients that are slow to ask or to
    /// listen are hung up on: see [`ServeConfig::patience`].
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let service = door::router(self.app.clone()).into_make_service_with_connect_info::<Peer>();
        axum::serve(Connections::new(self.listener, self.app), service).with_graceful_shutdown(stop).await
    }
}

/// Serves a study until Ctrl-C, from a program without an async runtime; `started` gets the links.
///
/// # Errors
/// As [`Server::bind`]; the runtime does not start.
pub fn serve(study: Study, config: ServeConfig, started: impl FnOnce(&Server)) -> Result<(), ReviewError> {
    let address = config.address;
    let listen = |source| ReviewError::Listen { address, source };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(listen)?;
    runtime.block_on(async {
        let server = Server::bind(study, config).await?;
        started(&server);
        let stop = async {
            // Without a handler Ctrl-C ends the process, which the log survives.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        server.run(stop).await.map_err(listen)
    })
}

/// `LOG.jsonl` -> `LOG.END`.
fn beside(log: &Path, end: &str) -> PathBuf {
    log.with_extension(end)
}

/// The lock, also after a panic of another request: what it guards is changed only after the disk has it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
