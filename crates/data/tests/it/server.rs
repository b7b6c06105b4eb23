//! A server on this machine that misbehaves in all the ways that servers do.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body, and the connection stays.
    Silent(usize),
    /// The connection is closed without a header.
    HangUp,
}

pub(crate) struct Answer {
    status: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    end: End,
}

impl Answer {
    /// An answer with a status such as `200 OK`.
    pub(crate) fn new(status: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { status: status.into(), headers: Vec::new(), body: body.into(), end: End::Whole }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    pub(crate) fn silent_after(mut self, bytes: usize) -> Self {
        self.end = End::Silent(bytes);
        self
    }

    pub(crate) fn hang_up() -> Self {
        Self { end: End::HangUp, ..Self::new("", "") }
    }

    fn send(&self, mut stream: &TcpStream, request: &Request, stop: &AtomicBool) -> std::io::Result<()> {
        let sent = match self.end {
            End::HangUp => return Ok(()),
            End::Whole => self.body.len(),
            End::Cut(bytes) | End::Silent(bytes) => bytes.min(self.body.len()),
        };
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method != "HEAD" {
            stream.write_all(&self.body[..sent])?;
        }
        stream.flush()?;
        // Longer than the patience of any test.
        for _ in 0..600 {
            if !matches!(self.end, End::Silent(_)) || stop.load(Ordering::SeqCst) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Every connection has a thread of its own; all end with the server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self { address: listener.local_addr().expect("an address"), stop: Arc::default() };
        let (stop, answer) = (Arc::clone(&server.stop), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (stop, answer) = (Arc::clone(&stop), Arc::clone(&answer));
                thread::spawn(move || {
                    let Some(request) = receive(&stream) else { return };
                    // The client may be gone already, which is part of the play.
                    let _ = answer(&request).send(&stream, &request, &stop);
                });
            }
        });
        server
    }

    /// Scheme, host and port.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn receive(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}
