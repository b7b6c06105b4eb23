//! SentencePiece's `tokenizer.model`: a vocabulary with scores, and how text is prepared for it.

mod charsmap;
mod convert;
mod wire;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

pub(crate) use self::convert::{Conversion, post_processor, to_tokenizer};
use self::wire::{Field, Malformed, Message};
use crate::error::DataError;

/// Vocabularies have some megabytes; what is larger is something else.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// SentencePiece trains pieces of at most 16 characters; symbols that a user adds are somewhat longer.
const MAX_PIECE_BYTES: usize = 512;

/// A SentencePiece model, as `tokenizer.model` holds it.
///
/// Reading checks what SentencePiece itself checks when it loads a model, and that the numbers in the file cannot lead
/// out of it. What trained the model, and its self-test, are skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct SentencePieceModel {
    algorithm: SentencePieceAlgorithm,
    pieces: Vec<SentencePiece>,
    unk_id: u32,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    pad_id: Option<u32>,
    byte_fallback: bool,
    split_by_whitespace: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    charsmap: Vec<u8>,
}

/// How a [`SentencePieceModel`] finds the pieces of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SentencePieceAlgorithm {
    /// The pieces with the largest sum of scores.
    Unigram,
    /// Neighbours are merged, the best score first.
    Bpe,
}

/// One entry of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct SentencePiece {
    /// The text, with `▁` (U+2581) for a space.
    pub text: String,
    /// A log probability (Unigram), or minus the rank of its merge (BPE). Finite.
    pub score: f32,
    /// What it is.
    pub kind: PieceKind,
}

/// What a [`SentencePiece`] is. The order is that of SentencePiece's numbers, which begin with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PieceKind {
    /// Text.
    Normal,
    /// What stands for text that the vocabulary cannot spell.
    Unknown,
    /// A token that no text spells (`<s>`).
    Control,
    /// Text that is one token wherever it stands.
    UserDefined,
    /// A place that is not in use.
    Unused,
    /// One byte (`<0x0A>`).
    Byte,
}

const KINDS: [PieceKind; 6] = [
    PieceKind::Normal,
    PieceKind::Unknown,
    PieceKind::Control,
    PieceKind::UserDefined,
    PieceKind::Unused,
    PieceKind::Byte,
];

impl SentencePieceModel {
    /// Reads a `tokenizer.model`.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the file cannot be read, and those of [`SentencePieceModel::from_bytes`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        match Self::read(path)? {
            Some(model) => Ok(model),
            None => Err(DataError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }),
        }
    }

    /// As [`SentencePieceModel::from_file`]; `None` if there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, DataError> {
        let read = || {
            let size = fs::metadata(path)?.len();
            if size > MAX_FILE_BYTES {
                let message = format!("{size} bytes, wanted at most {MAX_FILE_BYTES}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            fs::read(path)
        };
        match read() {
            Ok(bytes) => Self::from_bytes(&bytes, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads the bytes of a `tokenizer.model`; `path` is what errors call them.
    ///
    /// # Errors
    ///
    /// [`DataError::Tokenizer`] if they are no SentencePiece model, if the model contradicts itself, or if it is of a
    /// kind that is not built here: models of words or characters, white space behind words.
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Self, DataError> {
        let error = |message: String| DataError::Tokenizer { path: path.as_ref().to_owned(), message };
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(error("a Git LFS pointer, wanted the file it points to".to_owned()));
        }
        let model = Raw::parse(bytes).and_then(Raw::check);
        model.map_err(|malformed| error(format!("not a SentencePiece model that can be used: {malformed}")))
    }

    /// How the pieces of a text are found.
    pub fn algorithm(&self) -> SentencePieceAlgorithm {
        self.algorithm
    }

    /// The vocabulary; a piece's index is its id.
    pub fn pieces(&self) -> &[SentencePiece] {
        &self.pieces
    }

    /// The id of what stands for text that the vocabulary cannot spell.
    pub fn unk_id(&self) -> u32 {
        self.unk_id
    }

    /// The id of the piece that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id of the piece that ends a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The id of the padding piece.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// Whether characters outside the vocabulary are spelled byte by byte. All 256 bytes are pieces then.
    pub fn byte_fallback(&self) -> bool {
        self.byte_fallback
    }

    /// Whether a space is put in front of a text.
    pub fn add_dummy_prefix(&self) -> bool {
        self.add_dummy_prefix
    }

    /// Whether spaces at both ends, and all but one in a row, are dropped.
    pub fn remove_extra_whitespaces(&self) -> bool {
        self.remove_extra_whitespaces
    }

    /// The compiled normalization rules; empty for none.
    pub fn precompiled_charsmap(&self) -> &[u8] {
        &self.charsmap
    }
}

/// The file before its parts are held against each other.
#[derive(Debug, Default)]
struct Raw {
    pieces: Vec<SentencePiece>,
    trainer: Option<Trainer>,
    normalizer: Option<Normalizer>,
}

#[derive(Debug)]
struct Trainer {
    model_type: u64,
    split_by_whitespace: bool,
    treat_whitespace_as_suffix: bool,
    byte_fallback: bool,
    /// The texts of the pieces that begin a text, end it and fill rows.
    roles: [String; 3],
}

impl Default for Trainer {
    fn default() -> Self {
        Self {
            model_type: 1,
            split_by_whitespace: true,
            treat_whitespace_as_suffix: false,
            byte_fallback: false,
            roles: ["<s>", "</s>", "<pad>"].map(str::to_owned),
        }
    }
}

#[derive(Debug)]
struct Normalizer {
    charsmap: Vec<u8>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self {
            charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        }
    }
}

impl Raw {
    /// Field numbers: sentencepiece_model.proto of SentencePiece 0.2.
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut raw = Self::default();
        for field in Message::new(bytes) {
            let field = field?;
            match field.number {
                1 => raw.pieces.push(piece(field.message()?)?),
                2 => raw.trainer.get_or_insert_default().read(field.message()?)?,
                3 => raw.normalizer.get_or_insert_default().read(field.message()?)?,
                _ => {}
            }
        }
        Ok(raw)
    }

    fn check(self) -> Result<SentencePieceModel, Malformed> {
        let (Some(trainer), Some(normalizer)) = (self.trainer, self.normalizer) else {
            return Err(Malformed::new("no trainer_spec or no normalizer_spec (is the file cut off?)"));
        };
        let algorithm = match trainer.model_type {
            1 => SentencePieceAlgorithm::Unigram,
            2 => SentencePieceAlgorithm::Bpe,
            other => {
                return Err(Malformed::new(format!("model_type {other}, wanted 1 (unigram) or 2 (BPE)")));
            }
        };
        if trainer.treat_whitespace_as_suffix || !normalizer.escape_whitespaces {
            let wanted = "white space in front of words, escaped as ▁";
            return Err(Malformed::new(format!(
                "treat_whitespace_as_suffix or no escape_whitespaces, wanted {wanted}"
            )));
        }
        let ids = ids(&self.pieces)?;
        let unknown: Vec<u32> = of_kind(&self.pieces, PieceKind::Unknown);
        let [unk_id] = unknown[..] else {
            return Err(Malformed::new(format!("{} unknown pieces, wanted one", unknown.len())));
        };
        let bytes = of_kind(&self.pieces, PieceKind::Byte).len();
        if trainer.byte_fallback && (0..=u8::MAX).any(|byte| !ids.contains_key(byte_text(byte).as_str())) {
            return Err(Malformed::new(format!("byte_fallback with {bytes} byte pieces, wanted 256")));
        }
        let role = |text: &String| {
            let id = *ids.get(text.as_str())?;
            (self.pieces[id as usize].kind == PieceKind::Control).then_some(id)
        };
        let [bos_id, eos_id, pad_id] = trainer.roles.each_ref().map(role);
        if !normalizer.charsmap.is_empty() {
            charsmap::check(&normalizer.charsmap)?;
        }
        Ok(SentencePieceModel {
            algorithm,
            unk_id,
            bos_id,
            eos_id,
            pad_id,
            byte_fallback: trainer.byte_fallback,
            split_by_whitespace: trainer.split_by_whitespace,
            add_dummy_prefix: normalizer.add_dummy_prefix,
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces,
            charsmap: normalizer.charsmap,
            pieces: self.pieces,
        })
    }
}

impl Trainer {
    fn read(&mut self, message: Message<'_>) -> Result<(), Malformed> {
        for field in message {
            let field = field?;
            match field.number {
                3 => self.model_type = field.varint()?,
                22 => self.split_by_whitespace = flag(&field)?,
                24 => self.treat_whitespace_as_suffix = flag(&field)?,
                35 => self.byte_fallback = flag(&field)?,
                46 => self.roles[0] = field.text()?.to_owned(),
                47 => self.roles[1] = field.text()?.to_owned(),
                48 => self.roles[2] = field.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Normalizer {
    fn read(&mut self, message: Message<'_>) -> Result<(), Malformed> {
        for field in message {
            let field = field?;
            match field.number {
                2 => self.charsmap = field.bytes()?.to_vec(),
                3 => self.add_dummy_prefix = flag(&field)?,
                4 => self.remove_extra_whitespaces = flag(&field)?,
                5 => self.escape_whitespaces = flag(&field)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece(message: Message<'_>) -> Result<SentencePiece, Malformed> {
    let mut piece = SentencePiece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    for field in message {
        let field = field?;
        match field.number {
            1 => piece.text = field.text()?.to_owned(),
            2 => piece.score = field.float()?,
            3 => {
                let number = field.varint()?;
                let kind = usize::try_from(number).ok().and_then(|number| KINDS.get(number.checked_sub(1)?));
                match kind {
                    Some(kind) => piece.kind = *kind,
                    None => return Err(Malformed::new(format!("{:?} has the type {number}", piece.text))),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

fn flag(field: &Field<'_>) -> Result<bool, Malformed> {
    Ok(field.varint()? != 0)
}

/// The id of every piece. None may be empty, without end, given twice, or have a score that cannot be compared.
fn ids(pieces: &[SentencePiece]) -> Result<HashMap<&str, u32>, Malformed> {
    let mut ids = HashMap::new();
    for (id, piece) in (0u32..).zip(pieces) {
        let wrong = |what: String| Malformed::new(format!("piece {id} {what}"));
        if piece.text.is_empty() {
            return Err(wrong("has no text".to_owned()));
        }
        if piece.text.len() > MAX_PIECE_BYTES {
            return Err(wrong(format!("has {} bytes, wanted at most {MAX_PIECE_BYTES}", piece.text.len())));
        }
        if !piece.score.is_finite() {
            return Err(wrong(format!("{:?} has the score {}", piece.text, piece.score)));
        }
        if let Some(first) = ids.insert(piece.text.as_str(), id) {
            return Err(wrong(format!("{:?} is piece {first} already", piece.text)));
        }
    }
    Ok(ids)
}

fn of_kind(pieces: &[SentencePiece], kind: PieceKind) -> Vec<u32> {
    (0..).zip(pieces).filter(|(_, piece)| piece.kind == kind).map(|(id, _)| id).collect()
}

/// How a byte's piece is spelled.
fn byte_text(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}
