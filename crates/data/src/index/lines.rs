use std::io::BufRead;
use std::ops::Range;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Where the lines of a file that are not blank begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineIndex {
    /// Bytes in the file.
    pub(super) length: u64,
    pub(super) starts: Vec<u64>,
    /// `(record, blank lines before it)`, for each record that follows a blank line.
    pub(super) blanks: Vec<(u64, u64)>,
}

impl LineIndex {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut index = Self { length: bytes.len() as u64, starts: Vec::new(), blanks: Vec::new() };
        let mut rest = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let (mut blank, mut counted) = (0, 0);
        while !rest.is_empty() {
            let line = rest;
            // A slice has no errors; this is the fast search for a byte that the standard library offers.
            let length = rest.skip_until(b'\n').unwrap_or(line.len());
            if line[..length].trim_ascii_start().is_empty() {
                blank += 1;
                continue;
            }
            if blank > counted {
                index.blanks.push((index.starts.len() as u64, blank));
                counted = blank;
            }
            index.starts.push((bytes.len() - line.len()) as u64);
        }
        index
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of record `index`, with white space after it.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        let end = self.starts.get(index + 1).unwrap_or(&self.length);
        self.starts[index] as usize..*end as usize
    }

    /// The line of record `index`, from 1.
    pub(super) fn line(&self, index: usize) -> usize {
        let after = self.blanks.partition_point(|(record, _)| *record <= index as u64);
        let blank = after.checked_sub(1).map_or(0, |at| self.blanks[at].1);
        index + 1 + blank as usize
    }
}
