use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long the browser may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Commands out, answers and events in.
#[derive(Debug)]
pub(crate) struct Connection {
    input: ChildStdin,
    messages: Receiver<Value>,
    events: Vec<Value>,
    last_id: u64,
}

impl Connection {
    pub(crate) fn new(input: ChildStdin, output: ChildStdout) -> Self {
        let (sender, messages) = channel();
        // Ends with the browser, whose end closes the pipe.
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut message = Vec::new();
            while matches!(output.read_until(0, &mut message), Ok(read) if read > 0) {
                if message.last() == Some(&0) {
                    message.pop();
                }
                if let Ok(value) = serde_json::from_slice(&message)
                    && sender.send(value).is_err()
                {
                    return;
                }
                message.clear();
            }
        });
        Self { input, messages, events: Vec::new(), last_id: 0 }
    }

    /// Sends a command and returns its number; a browser that is gone shows when its answer is missing.
    pub(crate) fn send(&mut self, session: Option<&str>, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        let _ = self.input.write_all(&bytes).and_then(|()| self.input.flush());
        self.last_id
    }

    /// Sends a command and waits for its result.
    pub(crate) fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let id = self.send(session, method, params);
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.next(end, method);
            if message["id"] == id {
                let error = &message["error"];
                assert!(error.is_null(), "{method}: {error}");
                return message["result"].clone();
            }
            self.keep(message);
        }
    }

    /// Waits for an event of a session, past the first `seen` events of all sessions.
    pub(crate) fn wait_for(&mut self, session: &str, method: &str, seen: usize) {
        let is_it = |event: &Value| event["method"] == method && event["sessionId"] == session;
        let end = Instant::now() + PATIENCE;
        while !self.events[seen..].iter().any(is_it) {
            let message = self.next(end, method);
            self.keep(message);
        }
    }

    /// All events so far.
    pub(crate) fn events(&mut self) -> &[Value] {
        while let Ok(message) = self.messages.try_recv() {
            self.keep(message);
        }
        &self.events
    }

    fn next(&self, end: Instant, wanted: &str) -> Value {
        match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("no {wanted} from the browser within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser ended before {wanted}"),
        }
    }

    fn keep(&mut self, message: Value) {
        if message["method"].is_string() {
            self.events.push(message);
        }
    }
}
