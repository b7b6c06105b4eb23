//! Where and how a study is served.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{ReviewError, Study};

/// Where a study is served. The default is a free port on this machine only, bodies up to 64 KiB, and 10 seconds of
/// patience.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeConfig {
    /// The log of judgements, created where it is missing.
    pub log: PathBuf,
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names, with a port where it is not 80 or 443, under which browsers reach the server beside its address: that of
    /// a proxy, or of this machine in its network. The first stands in the links.
    pub hosts: Vec<String>,
    /// Longest body of a request, in bytes.
    pub body_limit: usize,
    /// How long the head and the body of a request may take, each, and a client that takes no more of an answer.
    pub patience: Duration,
    /// Judges whom their link no longer lets in and whose judgements do not count. The log keeps them.
    pub excluded_judges: Vec<String>,
}

impl ServeConfig {
    /// The default, with this log.
    pub fn new(log: impl Into<PathBuf>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            log: log.into(),
            address,
            hosts: Vec::new(),
            body_limit: 64 * 1024,
            patience: Duration::from_secs(10),
            excluded_judges: Vec::new(),
        }
    }

    /// Listens there. An address of the network lets others judge, over a connection that is not encrypted.
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Answers to this name too.
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Refuses longer bodies.
    pub fn with_body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Waits this long for the head and the body of a request.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets these judges no longer in and leaves out what they said.
    pub fn with_excluded_judges<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.excluded_judges.extend(names.into_iter().map(Into::into));
        self
    }

    /// Whether the link of a judge opens the page.
    pub(super) fn lets_in(&self, judge: &str) -> bool {
        !self.excluded_judges.iter().any(|excluded| excluded == judge)
    }

    pub(super) fn validate(&self, study: &Study) -> Result<(), ReviewError> {
        if !study.options.judges.iter().any(|judge| self.lets_in(&judge.name)) {
            return Err(ReviewError::study("options.judges", "none", "at least one judge"));
        }
        if self.body_limit < 1024 {
            let found = self.body_limit.to_string();
            return Err(ReviewError::study("body_limit", found, "at least 1024 bytes"));
        }
        if self.patience.is_zero() || self.patience > Duration::from_secs(24 * 60 * 60) {
            let found = format!("{:?}", self.patience);
            return Err(ReviewError::study("patience", found, "more than no time, and a day at most"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        match self.hosts.iter().find(|host| host.is_empty() || !host.bytes().all(plain)) {
            Some(host) => {
                Err(ReviewError::study("hosts", format!("{host:?}"), "a name, with a port if need be"))
            }
            None => Ok(()),
        }
    }

    /// The values of `Host` that are the server's own; the first is for links.
    pub(super) fn hosts_at(&self, address: SocketAddr) -> Vec<String> {
        let port = address.port();
        let mut hosts: Vec<String> = self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        if !address.ip().is_unspecified() {
            hosts.push(address.to_string());
        }
        hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}")));
        if port == 80 {
            hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(str::to_owned));
        }
        hosts
    }
}
