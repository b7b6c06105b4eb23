//! Connections that nobody holds by being slow: a head must end in time, and an answer must be taken.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    http::StatusCode,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};

use super::{
    App, lock,
    refusal::{Kind, Refusal},
};

/// Connections at a time; more wait in the queue of the operating system. Each can hold a head of some 400 KB.
const MOST: usize = 512;
/// How long a connection may stand open between requests.
const IDLE: Duration = Duration::from_secs(75);
/// The wait after a connection that could not be accepted, for want of descriptors say.
const RETRY: Duration = Duration::from_millis(100);

/// Accepts connections and keeps their time.
pub(super) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
    app: Arc<App>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, app: Arc<App>) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MOST)), app }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed.
        let place = self.places.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let pace = Arc::new(Mutex::new(Pace::Idle(Instant::now())));
                    let connection = Connection {
                        stream,
                        peer: Peer { address, pace },
                        app: self.app.clone(),
                        reading: Box::pin(sleep(IDLE)),
                        stalled: None,
                        _place: place,
                    };
                    return (connection, address);
                }
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Nothing of a request has come.
    Idle(Instant),
    /// A head is coming.
    Head(Instant),
    /// A request is answered; its body is timed where it is read.
    Answering,
}

/// The other end of a connection, as its requests know it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: SocketAddr,
    pace: Arc<Mutex<Pace>>,
}

impl Peer {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of a request is whole.
    pub(super) fn asked(&self) {
        *lock(&self.pace) = Pace::Answering;
    }

    /// The answer is on its way.
    pub(super) fn answered(&self) {
        *lock(&self.pace) = Pace::Idle(Instant::now());
    }

    fn heard(&self) {
        let mut pace = lock(&self.pace);
        if let Pace::Idle(_) = *pace {
            *pace = Pace::Head(Instant::now());
        }
    }

    /// A long answer that is taken slowly, but taken, is no idleness.
    fn told(&self) {
        let mut pace = lock(&self.pace);
        if let Pace::Idle(_) = *pace {
            *pace = Pace::Idle(Instant::now());
        }
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().peer.clone()
    }
}

/// A connection that fails when the other end is too slow.
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    app: Arc<App>,
    reading: Pin<Box<Sleep>>,
    /// Runs while the other end takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn slow(&self, detail: &str) {
        let refusal = Refusal::new(StatusCode::REQUEST_TIMEOUT, Kind::Slow, detail);
        self.app.refused(self.peer.address, "", "", &refusal);
    }

    /// Gives up where a write has been pending for too long.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if done.is_ready() {
            self.stalled = None;
            self.peer.told();
            return done;
        }
        let patience = self.app.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        self.slow("the answer was not taken");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before {
                self.peer.heard();
            }
            return read;
        }
        let pace = *lock(&self.peer.pace);
        let end = match pace {
            Pace::Idle(since) => since + IDLE,
            Pace::Head(since) => since + self.app.patience,
            Pace::Answering => return Poll::Pending,
        };
        self.reading.set(sleep_until(end));
        ready!(self.reading.as_mut().poll(context));
        if let Pace::Head(_) = pace {
            self.slow("the head of the request did not end");
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
