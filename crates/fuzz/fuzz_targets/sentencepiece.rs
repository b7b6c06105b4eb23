//! SentencePiece's tokenizer.model. A model that was read has its ids in its vocabulary, and encodes and decodes.
#![no_main]

use std::sync::LazyLock;

use burnisher_data::{SentencePieceModel, Tokenizer};
use burnisher_fuzz::Scratch;
use libfuzzer_sys::fuzz_target;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| Scratch::new("sentencepiece"));

const TEXTS: [&str; 4] =
    ["", "  The  quick\tbrown fox. ", "ﬁne Größe <s> 🙂\u{0}é", "▁▁a<0x0A>aaaaaaaaaaaaaaaa"];

fuzz_target!(|data: &[u8]| {
    let model = match SentencePieceModel::from_bytes(data, "tokenizer.model") {
        Ok(model) => model,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let count = model.pieces().len();
    let named = [Some(model.unk_id()), model.bos_id(), model.eos_id(), model.pad_id()];
    assert!(named.into_iter().flatten().all(|id| (id as usize) < count));
    assert!(model.pieces().iter().all(|piece| piece.score.is_finite() && !piece.text.is_empty()));
    let Ok(tokenizer) = Tokenizer::from_file(SCRATCH.write("tokenizer.model", data)) else {
        return;
    };
    assert!(tokenizer.vocab_size() >= count);
    for text in TEXTS {
        let Ok((ids, offsets)) = tokenizer.encode_with_offsets(text, true) else {
            continue;
        };
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
        for (start, end) in offsets {
            assert!(text.get(start..end).is_some(), "{start}..{end} of {text:?}");
        }
        let _ = tokenizer.decode(&ids, false);
        let _ = tokenizer.decode(&ids, true);
    }
});
