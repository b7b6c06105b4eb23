//! Results as one HTML page that needs nothing else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::document::Extracted;
use super::extraction::Status;
use super::output::write_whole;
use crate::error::DataError;

/// Colours of the page's style sheet.
const COLOURS: usize = 10;

/// A page that shows every extraction in its source: highlights, also nested and crossing ones, a legend that turns
/// classes off and on, a list with attributes and flags that also has what is not grounded, search, and keys
/// (← → extractions, ↑ ↓ documents, `/` search, `?` help).
///
/// The page is self-contained and asks the browser to allow it no connection. Every highlight is a `<mark>` with
/// `data-start`, `data-end` (code points of the source), `data-class` and `data-extraction`; its text is exactly the
/// source's between the two. Of spans that cross, the later one is cut into marks that nest.
///
/// # Errors
///
/// [`DataError::Template`] if the page cannot be rendered.
pub fn render_page(title: &str, documents: &[Extracted]) -> Result<String, DataError> {
    let template = |error: minijinja::Error| DataError::Template { message: format!("{error:#}") };
    let classes = classes(documents);
    let number = |class: &str| classes.get(class).map_or(0, |found| found.0);
    let legend: Vec<Legend<'_>> = classes
        .iter()
        .map(|(name, (number, count))| Legend {
            name,
            number: *number,
            colour: number % COLOURS,
            count: *count,
        })
        .collect();
    let pages: Vec<Page<'_>> = documents.iter().map(|document| Page::new(document, &number)).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", include_str!("page.html")).map_err(template)?;
    let page = environment.get_template("page").map_err(template)?;
    // Only the page's own script and style run: who writes a document cannot know the hash of what it ends up in.
    let mut hash = Sha256::new();
    hash.update(title);
    for document in documents {
        hash.update(&document.id);
        hash.update(&document.text);
        document.extractions.iter().for_each(|extraction| hash.update(format!("{extraction:?}")));
    }
    let nonce: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let (legend, documents) = (minijinja::Value::from(Serde(legend)), minijinja::Value::from(Serde(pages)));
    page.render(context! { title, legend, documents, nonce }).map_err(template)
}

/// Writes [`render_page`] to a file.
///
/// # Errors
///
/// As [`render_page`], and [`DataError::Write`].
pub fn write_page(path: impl AsRef<Path>, title: &str, documents: &[Extracted]) -> Result<(), DataError> {
    write_whole(path.as_ref(), &render_page(title, documents)?)
}

/// Every class with its number in alphabetical order, and its extractions.
fn classes(documents: &[Extracted]) -> BTreeMap<&str, (usize, usize)> {
    let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for extraction in documents.iter().flat_map(|document| &document.extractions) {
        classes.entry(&extraction.class).or_default().1 += 1;
    }
    for (number, class) in classes.values_mut().enumerate() {
        class.0 = number;
    }
    classes
}

#[derive(Debug, Serialize)]
struct Legend<'a> {
    name: &'a str,
    number: usize,
    colour: usize,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Page<'a> {
    id: &'a str,
    pieces: Vec<Piece<'a>>,
    cards: Vec<Card<'a>>,
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Card<'a> {
    extraction: usize,
    class: &'a str,
    class_number: usize,
    colour: usize,
    text: &'a str,
    status: &'static str,
    status_words: &'static str,
    span: Option<(usize, usize)>,
    attributes: Vec<(&'a str, String)>,
    flags: Vec<String>,
}

impl<'a> Page<'a> {
    fn new(document: &'a Extracted, number: &impl Fn(&str) -> usize) -> Self {
        let mut order: Vec<usize> = (0..document.extractions.len()).collect();
        // In the order of the text; what has no place comes last.
        order.sort_by_key(|at| {
            let chars = document.extractions[*at].chars.as_ref();
            chars.map_or((usize::MAX, 0, *at), |chars| (chars.start, usize::MAX - chars.end, *at))
        });
        let cards = order.iter().map(|at| {
            let extraction = &document.extractions[*at];
            let class_number = number(&extraction.class);
            Card {
                extraction: *at,
                class: &extraction.class,
                class_number,
                colour: class_number % COLOURS,
                text: &extraction.text,
                status: extraction.status.as_str(),
                status_words: in_words(extraction.status),
                span: extraction.chars.as_ref().map(|chars| (chars.start, chars.end)),
                attributes: extraction
                    .attributes
                    .iter()
                    .flatten()
                    .map(|(name, value)| (name.as_str(), written(value)))
                    .collect(),
                flags: extraction.flags.iter().map(ToString::to_string).collect(),
            }
        });
        let failures = document.failures.iter().map(|failure| {
            let Range { start, end } = failure.chars;
            format!("{start}–{end}, pass {}: {}", failure.pass + 1, failure.reason)
        });
        Self {
            id: &document.id,
            pieces: pieces(document, &order, number),
            cards: cards.collect(),
            failures: failures.collect(),
        }
    }
}

fn in_words(status: Status) -> &'static str {
    match status {
        Status::MatchExact => "exact",
        Status::MatchLesser => "beginning only",
        Status::MatchFuzzy => "similar words",
        Status::Ungrounded => "not in the text",
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(written).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A part of the highlighted text, in the order of the page.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Piece<'a> {
    Text {
        text: &'a str,
    },
    /// A carriage return, which HTML reads as a line feed unless it is escaped.
    Return,
    Open {
        extraction: usize,
        class: &'a str,
        class_number: usize,
        colour: usize,
        status: &'static str,
        start: usize,
        end: usize,
    },
    Close,
}

/// The text with the marks of all spans, properly nested: a mark ends with what contains it, and goes on behind.
fn pieces<'a>(document: &'a Extracted, order: &[usize], number: &impl Fn(&str) -> usize) -> Vec<Piece<'a>> {
    let text = document.text.as_str();
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let length = bytes.len() - 1;
    let spans: Vec<(usize, Range<usize>)> = order
        .iter()
        .filter_map(|at| Some((*at, document.extractions[*at].chars.clone()?)))
        .filter(|(_, chars)| chars.start < chars.end && chars.end <= length)
        .collect();
    let mut bounds: Vec<usize> =
        spans.iter().flat_map(|(_, chars)| [chars.start, chars.end]).chain([0, length]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut found = Vec::new();
    // The open marks from the outermost on, with the ends of their spans.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut waiting = spans.into_iter().peekable();
    for (here, at) in bounds.iter().enumerate() {
        let ended = open.iter().position(|(_, end)| *end <= *at);
        let mut starting: Vec<(usize, usize)> = Vec::new();
        if let Some(outermost) = ended {
            starting.extend(open.drain(outermost..).inspect(|_| found.push(Piece::Close)));
            starting.retain(|(_, end)| end > at);
        }
        while let Some((extraction, chars)) = waiting.next_if(|(_, chars)| chars.start == *at) {
            starting.push((extraction, chars.end));
        }
        // The longest is the outermost.
        starting.sort_by_key(|(_, end)| std::cmp::Reverse(*end));
        for (extraction, end) in starting {
            // What sticks out of the mark around it is cut there.
            let end_here = open.iter().map(|(_, end)| *end).fold(end, usize::min);
            let class = document.extractions[extraction].class.as_str();
            found.push(Piece::Open {
                extraction,
                class,
                class_number: number(class),
                colour: number(class) % COLOURS,
                status: document.extractions[extraction].status.as_str(),
                start: *at,
                end: end_here,
            });
            open.push((extraction, end));
        }
        if let Some(next) = bounds.get(here + 1) {
            push_text(&text[bytes[*at]..bytes[*next]], &mut found);
        }
    }
    found
}

fn push_text<'a>(text: &'a str, found: &mut Vec<Piece<'a>>) {
    for (number, part) in text.split('\r').enumerate() {
        if number > 0 {
            found.push(Piece::Return);
        }
        if !part.is_empty() {
            found.push(Piece::Text { text: part });
        }
    }
}
