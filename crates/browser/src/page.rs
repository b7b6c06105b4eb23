use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Browser, base64, keys, url_of};

/// A page of a [`Browser`].
///
/// All methods panic if the browser does not answer in time or refuses, which fails the test.
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

impl<'a> Page<'a> {
    pub(crate) fn new(browser: &'a Browser) -> Self {
        let target = browser.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let params = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call(None, "Target.attachToTarget", &params);
        let session = attached["sessionId"].as_str().expect("attachToTarget returns a session").to_owned();
        let page = Self { browser, session };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), &json!({}));
        }
        page
    }

    /// Opens a file or URL and waits until it is loaded.
    pub fn open(&self, file_or_url: impl AsRef<OsStr>) {
        let url = url_of(file_or_url.as_ref());
        let seen = self.browser.connection.borrow_mut().events().len();
        let result = self.call("Page.navigate", &json!({"url": url}));
        assert!(result["errorText"].is_null(), "{url}: {}", result["errorText"]);
        self.browser.connection.borrow_mut().wait_for(&self.session, "Page.loadEventFired", seen);
    }

    /// The value of a JavaScript expression; promises are waited for.
    pub fn eval(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &params);
        let exception = &result["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception}");
        result["result"]["value"].clone()
    }

    /// Presses and releases a key, by its `KeyboardEvent.key` (`a`, `?`, `Enter`, `ArrowLeft`).
    pub fn press(&self, key: &str) {
        self.call("Input.dispatchKeyEvent", &keys::event(key, "keyDown"));
        self.call("Input.dispatchKeyEvent", &keys::event(key, "keyUp"));
    }

    /// Scrolls to the first element of a CSS selector and clicks in the middle of its first box.
    pub fn click(&self, css: &str) {
        let selector = json!(css);
        let place = self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector}); if (!e) return null; \
             e.scrollIntoView({{block: 'center', inline: 'center'}}); const r = e.getClientRects()[0]; \
             return r ? [r.x + r.width / 2, r.y + r.height / 2] : null; }})()"
        ));
        assert!(place.is_array(), "nothing to click at {css}");
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let params =
                json!({"type": kind, "x": place[0], "y": place[1], "button": button, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &params);
        }
    }

    /// What the page wrote as an error, threw and did not catch, or was refused by the browser.
    pub fn console_errors(&self) -> Vec<String> {
        let error_of = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
                "Log.entryAdded" if params["entry"]["level"] == "error" => Some(params["entry"].to_string()),
                _ => None,
            }
        };
        self.events(error_of)
    }

    /// The URLs of everything that was requested, the page itself included.
    pub fn requests(&self) -> Vec<String> {
        self.events(|event| {
            let is_request = event["method"] == "Network.requestWillBeSent";
            is_request.then(|| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Writes what the window shows as PNG.
    pub fn screenshot(&self, path: impl AsRef<Path>) {
        let result = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = base64::decode(result["data"].as_str().unwrap_or_default());
        fs::write(path, bytes).expect("the picture can be written");
    }

    /// The events of this page, after everything that the browser said before this call.
    fn events(&self, take: impl Fn(&Value) -> Option<String>) -> Vec<String> {
        self.eval("0");
        let mut connection = self.browser.connection.borrow_mut();
        let own = |event: &&Value| event["sessionId"] == *self.session;
        connection.events().iter().filter(own).filter_map(take).collect()
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }
}
