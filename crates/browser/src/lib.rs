//! A headless Chromium for tests of the pages that Burnisher writes. Not published; dev-dependency only.
//!
//! The browser is driven by the Chrome DevTools Protocol over a pair of pipes (`--remote-debugging-pipe`), in which
//! messages are JSON with a NUL between them: no port, no websocket. Every wait ends after [`PATIENCE`].
//!
//! ```no_run
//! use burnisher_browser::Browser;
//!
//! let Some(browser) = Browser::launch() else { return };
//! let page = browser.page();
//! page.open("/tmp/page.html");
//! page.press("ArrowRight");
//! assert_eq!(page.eval("document.title"), "My page");
//! assert!(page.console_errors().is_empty());
//! ```
#![deny(missing_docs)]

mod base64;
mod connection;
mod keys;
mod page;

pub use connection::PATIENCE;
pub use page::Page;

use std::cell::RefCell;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use connection::Connection;

const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// A running browser with a profile of its own; both are gone when this is dropped.
#[derive(Debug)]
pub struct Browser {
    connection: RefCell<Connection>,
    child: Child,
    profile: Option<TempDir>,
}

impl Browser {
    /// Starts the first of `chromium`, `chromium-browser`, `google-chrome`, `google-chrome-stable` and `chrome` that is
    /// in `PATH`, or what the variable `BURNISHER_CHROMIUM` names. `None`, with a message, where there is none.
    ///
    /// # Panics
    ///
    /// If there is none although the variable `CI` is set, or if the browser does not start.
    pub fn launch() -> Option<Self> {
        let Some(program) = program() else {
            assert!(env::var_os("CI").is_none(), "no Chromium in CI; looked for {}", NAMES.join(", "));
            println!("skipped: no Chromium; looked for {}", NAMES.join(", "));
            return None;
        };
        let profile = TempDir::new().expect("a folder for the browser's profile");
        let mut user_data = std::ffi::OsString::from("--user-data-dir=");
        user_data.push(profile.path());
        // The browser reads commands at descriptor 3 and answers at 4; the shell moves its pipes there.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--no-first-run",
                "--no-default-browser-check",
                "--hide-scrollbars",
                "--window-size=1280,900",
                "--remote-debugging-pipe",
            ])
            .arg(user_data)
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the shell starts");
        let input = child.stdin.take().expect("the input is a pipe");
        let output = child.stdout.take().expect("the output is a pipe");
        let browser =
            Self { connection: RefCell::new(Connection::new(input, output)), child, profile: Some(profile) };
        browser.call(None, "Browser.getVersion", &json!({}));
        Some(browser)
    }

    /// A new, empty page.
    ///
    /// # Panics
    ///
    /// If the browser does not answer.
    pub fn page(&self) -> Page<'_> {
        Page::new(self)
    }

    fn call(&self, session: Option<&str>, method: &str, params: &serde_json::Value) -> serde_json::Value {
        self.connection.borrow_mut().call(session, method, params)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.connection.borrow_mut().send(None, "Browser.close", &json!({}));
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(profile) = self.profile.take() {
            let path = profile.keep();
            // Processes of the browser that outlive it for a moment may still write.
            for _ in 0..20 {
                if std::fs::remove_dir_all(&path).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os("BURNISHER_CHROMIUM") {
        return Some(PathBuf::from(named));
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let in_folders = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    NAMES.into_iter().find_map(in_folders)
}

/// The URL of a file, or the URL itself.
fn url_of(file_or_url: &OsStr) -> String {
    let text = file_or_url.to_string_lossy();
    let is_url =
        ["http://", "https://", "file://", "data:", "about:"].iter().any(|scheme| text.starts_with(scheme));
    if is_url {
        return text.into_owned();
    }
    let path = Path::new(file_or_url).canonicalize().expect("the page's file exists");
    let mut url = String::from("file://");
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
