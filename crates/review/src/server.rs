//! The server that hands out tasks and keeps judgements.

mod config;
mod door;
mod keys;
mod ledger;
mod refusal;
mod routes;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{body::Bytes, http::HeaderValue};
use tokio::net::TcpListener;

pub use config::ServeConfig;

use crate::{
    Plan, ReviewError, Study,
    page::{Page, served_page},
};
use keys::Keys;
use ledger::Ledger;
use refusal::RefusalLog;

/// The links of a study that is served. Whoever has a link can judge under that name, so each goes to one person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Links {
    /// Name of the judge and link, in the order of the study.
    pub judges: Vec<(String, String)>,
    /// The link to progress and results, which show the names of systems.
    pub owner: String,
}

/// A study that listens.
///
/// The token stands behind the `#` of a link, which browsers send to nobody; the page sends it in the `Authorization`
/// header, which no other site can set. Requests with another `Host` or `Origin` than the server's own are refused, so
/// that a name that is pointed at this machine (DNS rebinding) reaches nothing.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    links: Links,
    torn: Option<String>,
}

/// What all requests share.
#[derive(Debug)]
struct App {
    study: Study,
    plan: Plan,
    keys: Keys,
    ledger: Mutex<Ledger>,
    refusals: Mutex<RefusalLog>,
    page: Bytes,
    policy: HeaderValue,
    /// Allowed values of `Host`, in lower case.
    hosts: Vec<String>,
    body_limit: usize,
}

impl Server {
    /// Opens the log, draws missing tokens and listens.
    ///
    /// Drawn tokens are kept in `LOG.tokens.json`, readable by this user only, so that links outlive a restart on the
    /// same port.
    ///
    /// # Errors
    /// A study that does not validate, a log that [`JudgementLog::open`](crate::JudgementLog::open) refuses, a file of
    /// tokens that cannot be read or written, an address that is taken.
    pub async fn bind(study: Study, config: ServeConfig) -> Result<Self, ReviewError> {
        config.validate(&study)?;
        let plan = Plan::new(&study)?;
        let (ledger, torn) = Ledger::open(config.log.clone(), &study, &plan)?;
        let keys = Keys::open(&study, &beside(&config.log, "tokens.json"))?;
        let mut refusals = RefusalLog::open(beside(&config.log, "refused.jsonl"))?;
        if let Some(torn) = &torn {
            refusals.torn(torn);
        }
        let listen = |source| ReviewError::Listen { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let Page { html, policy } = served_page(&study)?;
        let hosts = config.hosts_at(address);
        let links = keys.links(&study, &hosts[0]);
        let app = App {
            plan,
            keys,
            ledger: Mutex::new(ledger),
            refusals: Mutex::new(refusals),
            page: Bytes::from(html),
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
            hosts,
            body_limit: config.body_limit,
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

    /// Answers requests until `stop` is done, then finishes those that were begun.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let service = door::router(self.app).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, service).with_graceful_shutdown(stop).await
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
