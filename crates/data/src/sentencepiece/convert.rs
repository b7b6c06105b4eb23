//! A SentencePiece model as a tokenizer of the crate `tokenizers`.
//!
//! Follows `LlamaConverter` and `SpmConverter` of transformers (convert_slow_tokenizer.py, 4.46), with three
//! differences that go SentencePiece's way: only pieces that text can spell take part in merges; the model's own
//! `add_dummy_prefix`, `remove_extra_whitespaces` and `byte_fallback` are obeyed for every model; and Unigram models,
//! too, get a space in front of a text that begins with `▁`.

use std::cmp::Ordering;
use std::collections::HashSet;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled, Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::{SpecialToken, TemplateProcessing};
use tokenizers::{AddedToken, Tokenizer};

use super::{PieceKind, SentencePiece, SentencePieceAlgorithm, SentencePieceModel};

/// What SentencePiece writes for a space.
const SPACE: char = '▁';

/// What Hugging Face's configuration says beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conversion {
    /// Whether text behind a special token gets a space in front too, and not only the beginning.
    pub(crate) legacy: bool,
    /// Whether a space is put in front; `None`: as the model says.
    pub(crate) add_prefix_space: Option<bool>,
}

/// The tokenizer, with control pieces and the unknown piece as special tokens. It adds none around a text.
pub(crate) fn to_tokenizer(
    model: &SentencePieceModel,
    conversion: Conversion,
) -> tokenizers::Result<Tokenizer> {
    let prefix = conversion.add_prefix_space.unwrap_or(model.add_dummy_prefix);
    let mut tokenizer = match model.algorithm {
        SentencePieceAlgorithm::Bpe => Tokenizer::new(bpe(model)?),
        SentencePieceAlgorithm::Unigram => Tokenizer::new(unigram(model)?),
    };
    let mut steps = cleaning(model)?;
    if conversion.legacy {
        if prefix {
            steps.push(Prepend::new(SPACE.to_string()).into());
        }
        steps.push(Replace::new(" ", SPACE)?.into());
    }
    let split = model.algorithm == SentencePieceAlgorithm::Unigram && model.split_by_whitespace;
    if !conversion.legacy || split {
        let scheme = if prefix && !conversion.legacy { PrependScheme::First } else { PrependScheme::Never };
        tokenizer.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, split)));
    }
    if !steps.is_empty() {
        tokenizer.with_normalizer(Some(Sequence::new(steps)))?;
    }
    tokenizer.with_decoder(Some(decoder(model, prefix)?));
    tokenizer.add_tokens(model.pieces.iter().filter_map(added))?;
    Ok(tokenizer)
}

/// The template that puts `bos` in front of a text and `eos` behind it; `None` where there is nothing to put.
pub(crate) fn post_processor(
    bos: Option<(&str, u32)>,
    eos: Option<(&str, u32)>,
) -> tokenizers::Result<Option<TemplateProcessing>> {
    let special = |name: &str, (text, id): (&str, u32)| {
        SpecialToken::new(name.to_owned(), vec![id], vec![text.to_owned()])
    };
    let (single, pair) = match (bos, eos) {
        (None, None) => return Ok(None),
        (Some(_), None) => ("bos $A", "bos $A bos $B:1"),
        (None, Some(_)) => ("$A eos", "$A eos $B:1 eos:1"),
        (Some(_), Some(_)) => ("bos $A eos", "bos $A eos bos $B:1 eos:1"),
    };
    let tokens =
        bos.map(|token| special("bos", token)).into_iter().chain(eos.map(|token| special("eos", token)));
    let tokens: Vec<SpecialToken> = tokens.collect::<tokenizers::Result<_>>()?;
    let mut template = TemplateProcessing::builder();
    template.try_single(single)?.try_pair(pair)?.special_tokens(tokens);
    Ok(Some(template.build()?))
}

fn bpe(model: &SentencePieceModel) -> tokenizers::Result<BPE> {
    let vocab: Vocab = model.pieces.iter().zip(0..).map(|(piece, id)| (piece.text.clone(), id)).collect();
    BPE::builder()
        .vocab_and_merges(vocab, merges(&model.pieces))
        .unk_token(model.pieces[model.unk_id as usize].text.clone())
        .fuse_unk(true)
        .byte_fallback(model.byte_fallback)
        .build()
}

fn unigram(model: &SentencePieceModel) -> tokenizers::Result<Unigram> {
    let vocab = model.pieces.iter().map(|piece| (piece.text.clone(), f64::from(piece.score))).collect();
    Unigram::from(vocab, Some(model.unk_id as usize), model.byte_fallback)
}

/// A way to make a piece from two others.
struct Merge<'a> {
    score: f32,
    left: &'a str,
    right: &'a str,
    /// Characters of `left` and of `right`.
    lengths: (usize, usize),
}

/// Every way to make a piece from two others, the best score first; of equal scores the longer left part first, and
/// then as the file has them.
fn merges(pieces: &[SentencePiece]) -> Merges {
    let spelled = || pieces.iter().filter(|piece| is_spelled(piece));
    let texts: HashSet<&str> = spelled().map(|piece| piece.text.as_str()).collect();
    let mut merges = Vec::new();
    for piece in spelled() {
        let length = piece.text.chars().count();
        for (left_length, (at, _)) in piece.text.char_indices().enumerate().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if texts.contains(left) && texts.contains(right) {
                let lengths = (left_length, length - left_length);
                merges.push(Merge { score: piece.score, left, right, lengths });
            }
        }
    }
    merges.sort_by(best_first);
    merges.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}

fn best_first(left: &Merge<'_>, right: &Merge<'_>) -> Ordering {
    // Scores are finite; that 0 and -0 are equal is why this is not `total_cmp`.
    let by_score = right.score.partial_cmp(&left.score).unwrap_or(Ordering::Equal);
    by_score.then_with(|| right.lengths.cmp(&left.lengths))
}

/// Whether text can spell the piece. SentencePiece keeps the others out of its search, too.
fn is_spelled(piece: &SentencePiece) -> bool {
    matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused)
}

/// The normalization rules, and the removal of needless spaces.
fn cleaning(model: &SentencePieceModel) -> tokenizers::Result<Vec<NormalizerWrapper>> {
    let mut steps = Vec::new();
    if !model.charsmap.is_empty() {
        steps.push(Precompiled::from(&model.charsmap)?.into());
    }
    if model.remove_extra_whitespaces {
        for (pattern, content) in [("^ +| +$", ""), (" {2,}", " ")] {
            steps.push(Replace::new(ReplacePattern::Regex(pattern.to_owned()), content)?.into());
        }
    }
    Ok(steps)
}

fn decoder(model: &SentencePieceModel, prefix: bool) -> tokenizers::Result<Decoders> {
    let mut steps: Vec<DecoderWrapper> = vec![Replace::new(SPACE.to_string(), " ")?.into()];
    if model.byte_fallback {
        steps.push(ByteFallback::new().into());
    }
    steps.push(Fuse::new().into());
    // A model that drops spaces at the beginning of a text decodes none there, either.
    let leading = if model.remove_extra_whitespaces { usize::MAX } else { usize::from(prefix) };
    if leading > 0 {
        steps.push(Strip::new(' ', leading, 0).into());
    }
    Ok(Decoders::new(steps))
}

/// The piece as a token that is found in a text before the model sees it.
fn added(piece: &SentencePiece) -> Option<AddedToken> {
    let special = match piece.kind {
        PieceKind::Unknown | PieceKind::Control => true,
        PieceKind::UserDefined => false,
        PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => return None,
    };
    Some(AddedToken::from(piece.text.clone(), special).normalized(false))
}
