//! Where and how a study is served.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use crate::{ReviewError, Study};

/// Where a study is served. The default is a free port on this machine only, and bodies up to 64 KiB.
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
}

impl ServeConfig {
    /// The default, with this log.
    pub fn new(log: impl Into<PathBuf>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { log: log.into(), address, hosts: Vec::new(), body_limit: 64 * 1024 }
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

    pub(super) fn validate(&self, study: &Study) -> Result<(), ReviewError> {
        if study.options.judges.is_empty() {
            return Err(ReviewError::study("options.judges", "none", "at least one judge"));
        }
        if self.body_limit < 1024 {
            let found = self.body_limit.to_string();
            return Err(ReviewError::study("body_limit", found, "at least 1024 bytes"));
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
