use std::io::BufRead;
use std::iter::{self, Flatten};
use std::mem;
use std::ops::Range;
use std::vec;

use rayon::prelude::*;
use serde_json::Value;

use super::elements::{Element, FileContext, Payload};
use super::lines::{Block, BlockReader, LineCursor};
use super::reading::Assemble;
use crate::error::DataError;
use crate::record::Origin;

/// Bytes of lines that are read at a time, to be parsed one by one.
const SMALL_BLOCK: usize = 256 * 1024;

/// Bytes of lines that are read at a time, to be parsed side by side.
const LARGE_BLOCK: usize = 4 * 1024 * 1024;

/// One value per line.
pub(crate) struct Lines {
    blocks: BlockReader,
    block: Block,
    cursor: LineCursor,
}

impl Lines {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Self {
        let blocks = BlockReader::new(reader, SMALL_BLOCK, context);
        Self { blocks, block: Block::default(), cursor: LineCursor::default() }
    }

    pub(crate) fn next<A: Assemble>(&mut self, assembler: &mut A) -> Option<Result<A::Item, DataError>> {
        loop {
            if let Some(line) = self.cursor.next(&self.block.bytes, self.blocks.context()) {
                return Some(line.and_then(|(line, origin)| assembler.assemble_line(line, origin)));
            }
            if let Some(error) = self.block.error.take() {
                return Some(Err(error));
            }
            self.block = self.blocks.next(mem::take(&mut self.block.bytes))?;
            let first = self.block.chunks.first().map_or(0, |(_, line)| *line);
            self.cursor = LineCursor::new(0..self.block.bytes.len(), first);
        }
    }
}

/// One value per line, in batches on all cores, while the next batch is read. What comes out is what [`Lines`] gives.
pub(crate) struct ParallelLines<T> {
    blocks: BlockReader,
    /// A block that was read and not parsed.
    ahead: Option<Block>,
    /// The memory of a block that was parsed.
    spare: Vec<u8>,
    parsed: Flatten<vec::IntoIter<Vec<Result<T, DataError>>>>,
}

impl<T: Send> ParallelLines<T> {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, context: FileContext) -> Self {
        let parsed = Vec::new().into_iter().flatten();
        Self {
            blocks: BlockReader::new(reader, LARGE_BLOCK, context),
            ahead: None,
            spare: Vec::new(),
            parsed,
        }
    }

    pub(crate) fn next<A: Assemble<Item = T>>(&mut self, assembler: &mut A) -> Option<Result<T, DataError>> {
        loop {
            if let Some(item) = self.parsed.next() {
                return Some(item);
            }
            let block = match self.ahead.take() {
                Some(block) => block,
                None => self.blocks.next(Vec::new())?,
            };
            let (context, spare) = (self.blocks.context().clone(), mem::take(&mut self.spare));
            let (mut parsed, ahead) =
                rayon::join(|| parse(&block, &context, assembler), || self.blocks.next(spare));
            parsed.extend(block.error.map(|error| vec![Err(error)]));
            (self.ahead, self.spare) = (ahead, block.bytes);
            self.parsed = parsed.into_iter().flatten();
        }
    }
}

/// What a block holds, in order.
fn parse<A: Assemble>(
    block: &Block,
    context: &FileContext,
    assembler: &mut A,
) -> Vec<Vec<Result<A::Item, DataError>>> {
    let chunk = |(range, line): &(Range<usize>, usize), assembler: &mut A| {
        let mut cursor = LineCursor::new(range.clone(), *line);
        let lines = iter::from_fn(|| cursor.next(&block.bytes, context));
        lines.map(|line| line.and_then(|(line, origin)| assembler.assemble_line(line, origin))).collect()
    };
    // The shape of the file is that of its first good record; until then, the order matters.
    let mut chunks = block.chunks.iter();
    let mut parsed: Vec<Vec<_>> = Vec::with_capacity(block.chunks.len());
    while !assembler.is_settled()
        && let Some(next) = chunks.next()
    {
        parsed.push(chunk(next, assembler));
    }
    let settled: &A = assembler;
    parsed.par_extend(chunks.as_slice().par_iter().map(|next| chunk(next, &mut settled.clone())));
    parsed
}

/// The characters of a line.
pub(crate) fn line_text<'a>(bytes: &'a [u8], origin: &Origin) -> Result<&'a str, DataError> {
    std::str::from_utf8(bytes)
        .map_err(|error| DataError::Utf8 { origin: origin.clone(), column: error.valid_up_to() + 1 })
}

pub(crate) fn parse_line(text: &str, origin: Origin) -> Result<Element, DataError> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Ok(Element { origin, payload: Payload::Json(value) }),
        Err(error) => Err(json_error(origin, &error, error.column())),
    }
}

/// The parser's words without its own line number, which counts from the start of the record.
pub(super) fn json_error(origin: Origin, error: &serde_json::Error, column: usize) -> DataError {
    let text = error.to_string();
    let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
    let hint = if error.is_eof() { "; is the record cut off?" } else { "" };
    DataError::Json { origin, message: format!("{cause} (column {column}){hint}") }
}
