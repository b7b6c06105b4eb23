//! What lies beside a tokenizer: tokenizer_config.json, special_tokens_map.json, added_tokens.json and
//! chat_template.jinja, with 0xFF between them.
#![no_main]

use std::sync::LazyLock;

use burnisher_data::Tokenizer;
use burnisher_fuzz::{Scratch, texts};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"];

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let scratch = Scratch::new("tokenizer_files");
    scratch.write("tokenizer.model", &model());
    scratch
});

/// A SentencePiece model of a few pieces in Protocol Buffers' wire format: unknown, two control pieces, two letters.
fn model() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (text, kind) in [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁", 1), ("a", 1)] {
        bytes.extend([10, text.len() as u8 + 4, 10, text.len() as u8]);
        bytes.extend(text.as_bytes());
        bytes.extend([24, kind]);
    }
    // trainer_spec { model_type: 2 } and an empty normalizer_spec.
    bytes.extend([18, 2, 24, 2, 26, 0]);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some(files) = texts::<4>(data) else {
        return;
    };
    for (name, text) in NAMES.into_iter().zip(files) {
        match text {
            "" => SCRATCH.remove(name),
            text => drop(SCRATCH.write(name, text.as_bytes())),
        }
    }
    match Tokenizer::from_dir(SCRATCH.dir()) {
        Ok(tokenizer) => {
            let named = [tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id(), tokenizer.unk_id()];
            for id in named.into_iter().flatten() {
                assert!(tokenizer.id_to_token(id).is_some());
            }
            assert!(tokenizer.encode("<s>aa b</s>", true).is_ok());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
