//! The page: one HTML file with its styles and its script inside, and nothing from elsewhere.

mod base64;
mod offline;

use minijinja::{AutoEscape, Environment, context};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use offline::offline_page;

use crate::{ReviewError, Study};

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// A page and the policy that it is sent with.
pub(crate) struct Page {
    pub(crate) html: String,
    /// The value of `Content-Security-Policy`.
    pub(crate) policy: String,
}

/// The page that asks the server for everything.
pub(crate) fn served_page(study: &Study) -> Result<Page, ReviewError> {
    let policy = policy("'self'", " frame-ancestors 'none';");
    Ok(Page { html: render(study, None, &policy)?, policy })
}

/// Only this script and these styles, known by their hashes, and no other source; `connect` may be asked for data.
///
/// Trusted Types close the ways in which a text could become markup.
fn policy(connect: &str, more: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", base64::encode(&Sha256::digest(text)));
    let (script, style) = (hash(SCRIPT), hash(STYLE));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src {connect}; img-src data:; \
         base-uri 'none'; form-action 'none';{more} require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// `data` is what an offline page carries; its policy stands in the page, where no server can send one.
fn render(study: &Study, data: Option<&Value>, policy: &str) -> Result<String, ReviewError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let data = data.map(embedded);
    let page = environment.render_str(
        TEMPLATE,
        context! { title => &study.title, style => STYLE, script => SCRIPT, data, policy },
    )?;
    Ok(page)
}

/// JSON that cannot end the element it stands in.
fn embedded(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}
