use std::io::BufRead;

use serde_json::{Map, Value};

use super::elements::{Element, FileContext, Payload};
use super::lines::LineReader;
use crate::error::DataError;
use crate::record::Origin;

/// The sentences of a file with one token per line, as the shared task CoNLL-2003 and WNUT-17 have them: the first column
/// is the token, the last its tag. An element is `{"tokens": [..], "tags": [..]}`.
pub(crate) struct Sentences {
    lines: LineReader,
    context: FileContext,
    /// How many columns the file's first token has.
    columns: Option<usize>,
    /// Whether a tag was none of IOB, IOBES or BILOU: then a line that begins with `#` is told by its columns alone.
    has_plain_tags: bool,
    /// The bytes of the line last read.
    line: Vec<u8>,
    /// The line last read, if it belongs to the next sentence.
    waiting: Option<Result<Origin, DataError>>,
}

/// What a line is, besides wrong.
enum Line {
    Token { token: String, tag: String },
    Comment,
    Document,
}

impl Sentences {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Self {
        let lines = LineReader::new(reader, context.clone());
        Self { lines, context, columns: None, has_plain_tags: false, line: Vec::new(), waiting: None }
    }

    /// The next sentence; one with a wrong line is an error as a whole.
    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        let mut sentence = Sentence::default();
        while let Some(found) = self.next_line() {
            let number = match &found {
                Ok(origin) => origin.line,
                Err(error) => error.origin().map_or(0, |origin| origin.line),
            };
            // The reader leaves out blank lines.
            if sentence.is_begun() && number > sentence.last + 1 {
                self.waiting = Some(found);
                break;
            }
            match found.and_then(|origin| self.parse(origin, sentence.is_begun())) {
                Ok(Line::Token { token, tag }) => sentence.push(token, tag, number, &self.context),
                Ok(Line::Document) if sentence.is_begun() => break,
                Ok(Line::Document | Line::Comment) => {}
                Err(error) => sentence.fail(error, number),
            }
        }
        sentence.into_element(&self.context).transpose()
    }

    fn next_line(&mut self) -> Option<Result<Origin, DataError>> {
        self.waiting.take().or_else(|| {
            self.line.clear();
            self.lines.next(&mut self.line)
        })
    }

    fn parse(&mut self, origin: Origin, inside: bool) -> Result<Line, DataError> {
        let text = match std::str::from_utf8(&self.line) {
            Ok(text) => text,
            Err(error) => return Err(DataError::Utf8 { origin, column: error.valid_up_to() + 1 }),
        };
        if let Some(nul) = text.find('\0') {
            return Err(DataError::BinaryText { origin, column: nul + 1 });
        }
        let cells = cells(text);
        let (token, tag) = (cells[0], cells[cells.len() - 1]);
        if token == "-DOCSTART-" {
            if cells.len() > 1 {
                self.columns.get_or_insert(cells.len());
            }
            return Ok(Line::Document);
        }
        let has_columns = cells.len() > 1 && self.columns.is_none_or(|columns| columns == cells.len());
        let is_token = has_columns && (is_tag(tag) || self.has_plain_tags);
        if !inside && (text == "#" || text.starts_with("# ")) && !is_token {
            return Ok(Line::Comment);
        }
        let message = match (cells.len(), self.columns) {
            (0 | 1, _) => {
                "one column; wanted a token and its tag, with a tab or spaces between them".to_owned()
            }
            (found, Some(wanted)) if found != wanted => {
                format!("the line has {found} columns, the file began with {wanted}")
            }
            _ if token.is_empty() => "the token is empty".to_owned(),
            (found, _) => {
                self.columns = Some(found);
                self.has_plain_tags |= !is_tag(tag);
                return Ok(Line::Token { token: token.to_owned(), tag: tag.to_owned() });
            }
        };
        Err(DataError::Table { origin, message })
    }
}

/// The columns of a line, at least one. Where there is a tab, spaces belong to the tokens.
fn cells(line: &str) -> Vec<&str> {
    match line.contains('\t') {
        true => line.split('\t').map(|cell| cell.trim_matches(' ')).collect(),
        false => line.trim_matches(' ').split(' ').filter(|cell| !cell.is_empty()).collect(),
    }
}

/// Whether a cell is `O`, or a label behind one of the prefixes of IOB, IOBES and BILOU.
fn is_tag(cell: &str) -> bool {
    cell == "O"
        || cell.split_once('-').is_some_and(|(prefix, label)| {
            matches!(prefix, "B" | "I" | "E" | "S" | "L" | "U") && !label.is_empty()
        })
}

#[derive(Default)]
struct Sentence {
    /// The numbers of its first and last line; 0 before the first.
    first: usize,
    last: usize,
    bytes: usize,
    tokens: Vec<Value>,
    tags: Vec<Value>,
    error: Option<DataError>,
}

impl Sentence {
    fn is_begun(&self) -> bool {
        self.first > 0
    }

    fn reach(&mut self, line: usize) {
        if !self.is_begun() {
            self.first = line;
        }
        self.last = line;
    }

    fn push(&mut self, token: String, tag: String, line: usize, context: &FileContext) {
        self.reach(line);
        if self.error.is_some() {
            return;
        }
        self.bytes += token.len() + tag.len();
        if self.bytes > context.max_record_bytes {
            let (origin, limit) = (context.origin(self.first), context.max_record_bytes);
            return self.fail(DataError::RecordTooLong { origin, limit }, line);
        }
        self.tokens.push(Value::String(token));
        self.tags.push(Value::String(tag));
    }

    fn fail(&mut self, error: DataError, line: usize) {
        self.reach(line);
        self.error.get_or_insert(error);
        (self.tokens, self.tags) = (Vec::new(), Vec::new());
    }

    /// `None` if no line was read.
    fn into_element(self, context: &FileContext) -> Result<Option<Element>, DataError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.is_begun() {
            return Ok(None);
        }
        let columns = [("tokens", self.tokens), ("tags", self.tags)];
        let columns: Map<String, Value> =
            columns.into_iter().map(|(name, cells)| (name.to_owned(), Value::Array(cells))).collect();
        let origin = context.origin(self.first);
        Ok(Some(Element { origin, payload: Payload::Json(Value::Object(columns)) }))
    }
}
