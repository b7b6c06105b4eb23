use std::io::{self, BufRead, BufReader, Cursor, Read};

use serde_json::Value;

use crate::source::input::BLOCK;

/// How deep a byte of JSON is inside brackets. Whether they match is the parser's business.
#[derive(Debug, Clone, Copy)]
struct Nesting {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    /// Behind so many opening brackets.
    fn inside(depth: usize) -> Self {
        Self { depth, in_text: false, escaped: false }
    }

    fn step(&mut self, byte: u8) {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The beginning of a stream, kept so that it can be read again.
pub(super) struct Head {
    reader: Box<dyn BufRead + Send>,
    bytes: Vec<u8>,
    /// The most bytes that are kept.
    limit: usize,
}

impl Head {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, limit: usize) -> Self {
        Self { reader, bytes: Vec::new(), limit }
    }

    /// The whole stream.
    pub(super) fn into_stream(self) -> Box<dyn BufRead + Send> {
        Box::new(Cursor::new(self.bytes).chain(self.reader))
    }

    /// The list at byte `list` alone. All else is white space, so that lines and columns stay what they are.
    pub(super) fn into_list(mut self, list: usize) -> Box<dyn BufRead + Send> {
        blank(&mut self.bytes[..list]);
        let rest = self.bytes.split_off(list);
        let reader = ListOnly {
            reader: Cursor::new(rest).chain(self.reader),
            nesting: Nesting::inside(1),
            ended: false,
            goes_on: false,
        };
        Box::new(BufReader::with_capacity(BLOCK, Cursor::new(self.bytes).chain(reader)))
    }

    /// Where the list `data` of the first object begins, if its first element is an article.
    pub(super) fn find_articles(&mut self) -> io::Result<Option<usize>> {
        if self.solid()? != Some(b'{') {
            return Ok(None);
        }
        loop {
            if self.solid()? != Some(b'"') {
                return Ok(None);
            }
            let start = self.bytes.len();
            let mut nesting = Nesting { in_text: true, ..Nesting::inside(1) };
            while nesting.in_text {
                let Some(byte) = self.next()? else {
                    return Ok(None);
                };
                nesting.step(byte);
            }
            let is_data = self.bytes[start..] == *b"data\"";
            if self.solid()? != Some(b':') {
                return Ok(None);
            }
            if is_data {
                return self.article_in_list();
            }
            // The value, up to the comma behind it.
            loop {
                let Some(byte) = self.next()? else {
                    return Ok(None);
                };
                nesting.step(byte);
                match (nesting.depth, nesting.in_text, byte) {
                    (0, ..) => return Ok(None),
                    (1, false, b',') => break,
                    _ => {}
                }
            }
        }
    }

    fn article_in_list(&mut self) -> io::Result<Option<usize>> {
        if self.solid()? != Some(b'[') {
            return Ok(None);
        }
        let list = self.bytes.len() - 1;
        if self.solid()? != Some(b'{') {
            return Ok(None);
        }
        let start = self.bytes.len() - 1;
        let mut nesting = Nesting::inside(1);
        while nesting.depth > 0 {
            let Some(byte) = self.next()? else {
                return Ok(None);
            };
            nesting.step(byte);
        }
        let article: Option<Value> = serde_json::from_slice(&self.bytes[start..]).ok();
        Ok(article.is_some_and(|article| is_article(&article)).then_some(list))
    }

    /// The next byte that is not white space.
    fn solid(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.next()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok(other),
            }
        }
    }

    /// The next byte; `None` at the end, or where no more is kept.
    fn next(&mut self) -> io::Result<Option<u8>> {
        if self.bytes.len() > self.limit {
            return Ok(None);
        }
        let byte = self.reader.fill_buf()?.first().copied();
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.bytes.push(byte);
        }
        Ok(byte)
    }
}

/// Whether a value has `paragraphs`, and the first of them `qas`.
fn is_article(value: &Value) -> bool {
    value.get("paragraphs").and_then(Value::as_array).is_some_and(|paragraphs| {
        paragraphs.first().is_none_or(|paragraph| paragraph.get("qas").is_some_and(Value::is_array))
    })
}

/// Puts white space in the place of bytes, and leaves the lines.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// A list inside an object, from its opening bracket; what follows it up to the object's end reads as white space.
struct ListOnly<R> {
    reader: R,
    nesting: Nesting,
    /// The list's closing bracket was read.
    ended: bool,
    /// Something follows the object.
    goes_on: bool,
}

impl<R: BufRead> Read for ListOnly<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.goes_on {
            let message = "characters after the end of the object";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let read = self.reader.read(out)?;
        if read == 0 && !out.is_empty() && self.ended && self.nesting.depth > 0 {
            let message = "the object has no end; is the file cut off?";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        for (index, byte) in out[..read].iter_mut().enumerate() {
            if self.nesting.depth == 0 && !byte.is_ascii_whitespace() {
                // First what stands before it is given out.
                self.goes_on = true;
                return if index == 0 { self.read(out) } else { Ok(index) };
            }
            self.nesting.step(*byte);
            match self.ended {
                true => blank(std::slice::from_mut(byte)),
                false => self.ended = self.nesting.depth == 1,
            }
        }
        Ok(read)
    }
}
