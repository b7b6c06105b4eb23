use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::elements::FileContext;
use crate::error::DataError;
use crate::record::Origin;

/// Bytes of lines that one task parses.
const CHUNK: usize = 128 * 1024;

/// Lines of a stream, none of which is held in memory beyond a limit.
pub(crate) struct LineReader {
    reader: Box<dyn BufRead + Send>,
    /// The number of the line last read, from 1.
    line: usize,
    context: FileContext,
    failed: bool,
}

impl LineReader {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Self {
        Self { reader, line: 0, context, failed: false }
    }

    /// Appends the next line that is not blank, and returns its number; `None` at the end. A line that is too long is
    /// skipped and an error, a stream that cannot be read has no further lines.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Option<Result<Origin, DataError>> {
        let start = buffer.len();
        while !self.failed {
            buffer.truncate(start);
            self.line += 1;
            match end_line(&mut *self.reader, buffer, start, self.context.max_record_bytes) {
                Ok(Ended::Nothing) => return None,
                Ok(Ended::TooLong) => return Some(Err(self.context.too_long(self.line))),
                Ok(Ended::Line) => {}
                Err(error) => {
                    buffer.truncate(start);
                    self.failed = true;
                    return Some(Err(self.context.damaged(self.line, &error)));
                }
            }
            let end = start + buffer[start..].trim_ascii_end().len();
            buffer.truncate(end);
            if !is_blank(&buffer[start..]) {
                return Some(Ok(self.context.origin(self.line)));
            }
        }
        None
    }
}

/// What came of a line.
enum Ended {
    Line,
    /// There was nothing to read.
    Nothing,
    /// It is longer than allowed, and was skipped.
    TooLong,
}

/// Reads on to the end of the line that begins at `start` of the buffer, which holds no line break from there on.
fn end_line(reader: &mut dyn BufRead, buffer: &mut Vec<u8>, start: usize, limit: usize) -> io::Result<Ended> {
    let wanted = limit.saturating_add(1).saturating_sub(buffer.len() - start);
    (&mut *reader).take(wanted as u64).read_until(b'\n', buffer)?;
    let line = &buffer[start..];
    if line.is_empty() {
        return Ok(Ended::Nothing);
    }
    if line.len() > limit && line.last() != Some(&b'\n') {
        buffer.truncate(start);
        reader.skip_until(b'\n')?;
        return Ok(Ended::TooLong);
    }
    Ok(Ended::Line)
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii_start().is_empty()
}

/// Whole lines of a stream.
#[derive(Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// Parts of the bytes that end where a line does, and the number of the first line of each, from 1.
    pub(super) chunks: Vec<(Range<usize>, usize)>,
    /// What is wrong behind these lines.
    pub(super) error: Option<DataError>,
}

/// Reads a stream in blocks of lines. What they hold is what [`LineReader`] gives.
pub(super) struct BlockReader {
    reader: Box<dyn BufRead + Send>,
    /// Lines that were read, or skipped.
    lines: usize,
    /// Bytes that are read at a time.
    size: usize,
    context: FileContext,
    finished: bool,
}

impl BlockReader {
    pub(super) fn new(reader: Box<dyn BufRead + Send>, size: usize, context: FileContext) -> Self {
        Self { reader, lines: 0, size, context, finished: false }
    }

    pub(super) fn context(&self) -> &FileContext {
        &self.context
    }

    /// The next block, in this buffer.
    pub(super) fn next(&mut self, mut bytes: Vec<u8>) -> Option<Block> {
        if self.finished {
            return None;
        }
        let ended = self.fill(&mut bytes);
        let chunks = self.chunks(&bytes);
        let error = match ended {
            Ok(Ended::Line) => None,
            Ok(Ended::Nothing) => {
                self.finished = true;
                None
            }
            Ok(Ended::TooLong) => {
                self.lines += 1;
                Some(self.context.too_long(self.lines))
            }
            Err(error) => {
                self.finished = true;
                Some(self.context.damaged(self.lines + 1, &error))
            }
        };
        (!chunks.is_empty() || error.is_some()).then_some(Block { bytes, chunks, error })
    }

    /// Reads a block up to the end of a line. Of a line that is too long or cannot be read on, nothing is left.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> io::Result<Ended> {
        // Straight into the block: a stream that is read to its end goes through smaller buffers.
        bytes.resize(self.size, 0);
        let mut filled = 0;
        let read = loop {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => break Ok(()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Err(error),
            }
        };
        bytes.truncate(filled);
        let start = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let ended = match read {
            Ok(()) if filled < self.size => return Ok(Ended::Nothing),
            Ok(()) if start == bytes.len() => return Ok(Ended::Line),
            Ok(()) => end_line(&mut *self.reader, bytes, start, self.context.max_record_bytes),
            Err(error) => Err(error),
        };
        if ended.is_err() {
            bytes.truncate(start);
        }
        ended
    }

    fn chunks(&mut self, bytes: &[u8]) -> Vec<(Range<usize>, usize)> {
        let mut chunks = Vec::with_capacity(bytes.len() / CHUNK + 1);
        let mut start = 0;
        while start < bytes.len() {
            let mut end = bytes.len().min(start + CHUNK);
            end += (&bytes[end..]).skip_until(b'\n').unwrap_or_default();
            chunks.push((start..end, self.lines + 1));
            self.lines += newlines(&bytes[start..end]);
            start = end;
        }
        chunks
    }
}

/// Goes through the lines of a block that are not blank.
#[derive(Debug, Clone, Default)]
pub(super) struct LineCursor {
    range: Range<usize>,
    /// The number of the next line, from 1.
    line: usize,
}

impl LineCursor {
    pub(super) fn new(range: Range<usize>, line: usize) -> Self {
        Self { range, line }
    }

    pub(super) fn next<'a>(
        &mut self,
        block: &'a [u8],
        context: &FileContext,
    ) -> Option<Result<(&'a [u8], Origin), DataError>> {
        while !self.range.is_empty() {
            let line = &block[self.range.clone()];
            // A slice has no errors; this is the fast search for a byte that the standard library offers.
            let line = &line[..(&mut &*line).skip_until(b'\n').unwrap_or(line.len())];
            let number = self.line;
            self.line += 1;
            self.range.start += line.len();
            if line.strip_suffix(b"\n").unwrap_or(line).len() > context.max_record_bytes {
                return Some(Err(context.too_long(number)));
            }
            let line = line.trim_ascii_end();
            if !is_blank(line) {
                return Some(Ok((line, context.origin(number))));
            }
        }
        None
    }
}

/// Counts line breaks, in bytes that are added side by side.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    let count = |part: &[u8]| part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>();
    bytes.chunks(usize::from(u8::MAX)).map(|part| usize::from(count(part))).sum()
}
