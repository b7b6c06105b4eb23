//! A file as a stream of UTF-8: decompressed, without its byte order mark, transcoded where it has to be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding as Charset, UTF_8, UTF_16BE, UTF_16LE};

use super::format::Compression;

/// Bytes that are asked for at a time.
pub(super) const BLOCK: usize = 256 * 1024;

/// How the bytes of tables, plain texts and CoNLL files become characters. JSON is always UTF-8.
///
/// A byte order mark of UTF-8 or UTF-16 is believed in every format and under both settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8 if the whole file is UTF-8, else the legacy encoding that `chardetng` (Firefox's detector) finds most
    /// probable; [`SourceReport::decoded`](crate::SourceReport::decoded) tells which files that were.
    #[default]
    Detect,
    /// Bytes that are not UTF-8 are an error.
    Utf8Only,
}

/// A stream of characters and, if it was not UTF-8 without a mark, the name of the encoding.
pub(super) struct Input {
    pub(super) reader: Box<dyn BufRead + Send>,
    pub(super) charset: Option<&'static str>,
}

/// Opens a file whose bytes are UTF-8 or begin with the byte order mark of UTF-16.
pub(super) fn open(path: &Path) -> io::Result<Input> {
    let mut raw = decompressed(path)?;
    let mut head = Vec::with_capacity(3);
    raw.by_ref().take(3).read_to_end(&mut head)?;
    let charset = Charset::for_bom(&head);
    let skipped = charset.map_or(0, |(_, length)| length);
    let rest = Cursor::new(head.split_off(skipped)).chain(raw);
    match charset {
        Some((charset, _)) if charset == UTF_16LE || charset == UTF_16BE => Ok(decoded(rest, charset)),
        _ => Ok(Input { reader: Box::new(rest), charset: None }),
    }
}

/// Opens a file that may be in a legacy encoding. Unless it is UTF-8, it is read twice.
pub(super) fn open_text(path: &Path, encoding: Encoding) -> io::Result<Input> {
    let input = open(path)?;
    if encoding == Encoding::Utf8Only || input.charset.is_some() || is_utf8(input.reader)? {
        return open(path);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    let mut raw = decompressed(path)?;
    loop {
        let block = raw.fill_buf()?;
        detector.feed(block, block.is_empty());
        let used = block.len();
        if used == 0 {
            break;
        }
        raw.consume(used);
    }
    Ok(decoded(decompressed(path)?, detector.guess(None, Utf8Detection::Deny)))
}

fn decompressed(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path)?;
    // Linux opens a folder and refuses the first read, with words that do not name it.
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let file = BufReader::with_capacity(BLOCK, file);
    Ok(match Compression::of(path) {
        Compression::Plain => Box::new(file),
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(BLOCK, flate2::bufread::MultiGzDecoder::new(file)))
        }
        Compression::Zstd => {
            Box::new(BufReader::with_capacity(BLOCK, zstd::stream::read::Decoder::with_buffer(file)?))
        }
    })
}

fn decoded(reader: impl BufRead + Send + 'static, charset: &'static Charset) -> Input {
    let reader = Transcoder {
        reader,
        decoder: charset.new_decoder_without_bom_handling(),
        charset: charset.name(),
        ended: false,
    };
    Input { reader: Box::new(BufReader::with_capacity(BLOCK, reader)), charset: Some(charset.name()) }
}

fn is_utf8(mut reader: Box<dyn BufRead + Send>) -> io::Result<bool> {
    let mut decoder = UTF_8.new_decoder_without_bom_handling();
    let mut scratch = vec![0; 2 * BLOCK];
    loop {
        let block = reader.fill_buf()?;
        let last = block.is_empty();
        let (result, read, _) = decoder.decode_to_utf8_without_replacement(block, &mut scratch, last);
        match result {
            DecoderResult::Malformed(..) => return Ok(false),
            DecoderResult::InputEmpty if last => return Ok(true),
            _ => reader.consume(read),
        }
    }
}

/// Reads another encoding as UTF-8; bytes that the encoding does not have are an error.
struct Transcoder<R> {
    reader: R,
    decoder: encoding_rs::Decoder,
    charset: &'static str,
    ended: bool,
}

impl<R: BufRead> Read for Transcoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let block = self.reader.fill_buf()?;
            let last = block.is_empty();
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(block, out, last);
            self.reader.consume(read);
            match result {
                DecoderResult::Malformed(..) => {
                    let message = format!("bytes that are not {}", self.charset);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
                DecoderResult::InputEmpty => self.ended = last,
                DecoderResult::OutputFull if written == 0 => {
                    return Err(io::Error::other("no room for a character"));
                }
                DecoderResult::OutputFull => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
