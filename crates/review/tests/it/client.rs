//! HTTP by hand over a plain socket: what a browser would never send can be sent too.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends these bytes and reads until the server closes.
#[track_caller]
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> Reply {
    try_raw(address, request).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(request)))
}

/// The same with a server that may die meanwhile.
pub(crate) fn try_raw(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, format!("half an answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let lower = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    };
    let head = head.lines().map(lower).collect::<Vec<_>>().join("\n");
    Ok(Reply { status, head, body: body.to_owned() })
}

/// A request of the page, with more header lines.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    more: &str,
    body: &str,
) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {length}\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str, token: &str) -> Reply {
    raw(address, &request(address, "GET", path, token, "", ""))
}

pub(crate) fn judgement(address: SocketAddr, token: &str, judgement: &Value) -> Vec<u8> {
    let more = "Content-Type: application/json\r\n";
    request(address, "POST", "/api/judgement", token, more, &judgement.to_string())
}

#[track_caller]
pub(crate) fn post(address: SocketAddr, token: &str, body: &Value) -> Reply {
    raw(address, &judgement(address, token, body))
}
