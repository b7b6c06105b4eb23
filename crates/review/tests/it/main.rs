//! Integration tests: studies, plans, the log, the server over plain TCP, results.

mod browser;
mod client;
mod hostile;
mod judges;
mod kill;
mod log;
mod offline;
mod plan;
mod results;
mod secrets;
mod slow;
mod study;

use std::{net::SocketAddr, path::Path};

use burnisher_review::{Criterion, Item, Judge, Links, ServeConfig, Server, Study, StudyOptions};

/// The tokens of the tests' judges and owner.
const ADA: &str = "ada-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";
const OWNER: &str = "owner-0123456789abcdef";

/// `count` items of the systems `base` and `tuned` with texts that say who wrote them, for two judges.
fn study(count: usize) -> Study {
    let item = |index: usize| {
        let outputs = [("base", format!("base says {index}")), ("tuned", format!("tuned says {index}"))];
        Item::new(
            format!("q{index}"),
            format!("Question {index}?"),
            outputs.map(|(system, text)| (system.to_owned(), text)),
        )
    };
    let judges = [Judge::new("Ada").with_token(ADA), Judge::new("Bob").with_token(BOB)];
    let options = StudyOptions::new().with_seed(11).with_judges(judges).with_owner_token(OWNER);
    Study::new((0..count).map(item).collect())
        .with_title("Test study")
        .with_criteria([Criterion::new("fluency", 1, 5)])
        .with_options(options)
}

/// A server in threads of this process, until it is dropped.
struct Running {
    address: SocketAddr,
    links: Links,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(study: Study, log: &Path) -> Self {
        Self::start_with(study, ServeConfig::new(log))
    }

    fn start_with(study: Study, config: ServeConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let server = runtime.block_on(Server::bind(study, config)).expect("the server starts");
        let (address, links) = (server.address().expect("an address"), server.links().clone());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let thread =
            std::thread::spawn(move || runtime.block_on(server.run(stopped)).expect("the server runs"));
        Self { address, links, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let joined = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(
            joined.is_none_or(|joined| joined.is_ok()) || std::thread::panicking(),
            "the server panicked"
        );
    }
}
