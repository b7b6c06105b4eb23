//! The tokenizer of the base model: byte-level BPE, trained on the general texts, and its chat template.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// Fills the rows of a batch; token 0.
pub const PAD_TOKEN: &str = "<|pad|>";
/// Begins a text without a chat; token 1. The tokenizer does not put it there by itself.
pub const BOS_TOKEN: &str = "<|bos|>";
/// Begins a turn of a chat; token 2.
pub const START_TOKEN: &str = "<|im_start|>";
/// Ends a turn of a chat and every text; token 3, the model's end-of-sequence token.
pub const END_TOKEN: &str = "<|im_end|>";

/// ChatML, with the assistant's words and the end of its turn marked by `{% generation %}`.
pub const CHAT_TEMPLATE: &str = concat!(
    "{% for message in messages %}",
    "{% if message['role'] == 'assistant' %}",
    "{{ '<|im_start|>assistant\\n' }}",
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
    "{{ '\\n' }}",
    "{% else %}",
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}",
    "{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
);

/// Where a text is cut before byte pairs are merged, by the first alternative that matches:
///
/// 1. a word in small letters, with the space before it;
/// 2. any other run of letters, without the space: a name has the same tokens after a space, after a quotation
///    mark and at the start of a line, so that copying it into JSON copies tokens;
/// 3. one digit: numbers are copied digit by digit;
/// 4. the marks between JSON's keys and values in one piece, `":"` or `","`;
/// 5. any other mark alone, for the same reason as 2;
/// 6. white space.
const CUTS: &str = r#" ?\p{Ll}+|\p{L}+|\p{N}|["{}\[\]:,]+|[^\s\p{L}\p{N}]|\s+"#;

/// Trains a byte-level BPE tokenizer of `vocab_size` tokens: four special ones, the 256 bytes, and merges of pairs
/// that occur at least twice. Any text can be encoded and decoded back.
///
/// The tokenizer adds no special token by itself and prepends no space.
///
/// # Errors
///
/// What the `tokenizers` crate reports.
///
/// ```
/// use burnisher_examples::generate::{general_documents, train_tokenizer};
///
/// let tokenizer = train_tokenizer(&general_documents(1, 50), 400)?;
/// let encoding = tokenizer.encode("Norvex Labs earned $41.2 million.", false)?;
/// assert_eq!(tokenizer.decode(encoding.get_ids(), true)?, "Norvex Labs earned $41.2 million.");
/// # Ok::<(), tokenizers::Error>(())
/// ```
pub fn train_tokenizer<S: AsRef<str> + Sync>(
    texts: &[S],
    vocab_size: usize,
) -> tokenizers::Result<Tokenizer> {
    let cuts = Split::new(SplitPattern::Regex(CUTS.to_owned()), SplitDelimiterBehavior::Isolated, false)?;
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        cuts.into(),
        ByteLevel::new(false, true, false).into(),
    ])));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));

    let special = [PAD_TOKEN, BOS_TOKEN, START_TOKEN, END_TOKEN];
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .special_tokens(special.iter().map(|token| AddedToken::from(*token, true)).collect())
        .build();
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts.iter().map(<S as AsRef<str>>::as_ref))?;
    Ok(tokenizer)
}

/// The content of `tokenizer_config.json`, as `transformers` reads it.
pub fn tokenizer_config_json() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS_TOKEN,
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Split as FinanceSplit, finance_examples, general_documents, general_instructions};

    fn trained() -> Tokenizer {
        let mut texts = general_documents(1, 400);
        texts.extend(general_instructions(1, 800).into_iter().flat_map(|(task, answer)| [task, answer]));
        train_tokenizer(&texts, 1500).expect("trains")
    }

    fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
        tokenizer.encode(text, false).expect("encodes").get_tokens().to_vec()
    }

    #[test]
    fn special_tokens_come_first_and_bytes_follow() {
        let tokenizer = trained();
        for (id, token) in [PAD_TOKEN, BOS_TOKEN, START_TOKEN, END_TOKEN].iter().enumerate() {
            assert_eq!(tokenizer.token_to_id(token), u32::try_from(id).ok());
        }
        assert_eq!(tokenizer.get_vocab_size(true), 1500);
        let text = "<|im_start|>user\nÄpfel, 漢字 & \u{1F600}\t0.5<|im_end|>\n";
        let encoding = tokenizer.encode(text, false).expect("encodes");
        assert_eq!(encoding.get_ids()[0], 2);
        assert_eq!(tokenizer.decode(encoding.get_ids(), false).expect("decodes"), text);
    }

    #[test]
    fn a_span_has_the_same_tokens_in_prose_and_in_json() {
        let tokenizer = trained();
        for span in [
            "Norvex Labs",
            "Mara A. Tolenberg",
            "$41.2 million",
            "EUR 7.9 million",
            "Q3 2024",
            "14 March 2024",
        ] {
            let alone = tokens(&tokenizer, span);
            for around in [("So ", ", too"), ("{\"key\":\"", "\",\"x\":\"y\"}"), ("x\n", "."), ("(", ")")] {
                let all = tokens(&tokenizer, &format!("{}{span}{}", around.0, around.1));
                assert!(all.windows(alone.len()).any(|window| window == alone), "{span}: {all:?}");
            }
        }
    }

    #[test]
    fn json_marks_and_digits_are_single_tokens() {
        let tokenizer = trained();
        let all = tokens(&tokenizer, "{\"name\":\"Mara\",\"year\":\"2024\"}");
        let expected = ["{\"", "name", "\":\"", "\",\"", "year", "\":\"", "2", "0", "2", "4", "\"}"];
        for token in expected {
            assert!(all.iter().any(|found| found == token), "{token} in {all:?}");
        }
    }

    #[test]
    fn records_fit_short_sequences() {
        let tokenizer = trained();
        let length = |text: &str| tokens(&tokenizer, text).len();
        for (task, answer) in general_instructions(2, 300) {
            assert!(length(&task) + length(&answer) <= 320, "{task}\n{answer}");
        }
        let lengths: Vec<usize> = finance_examples(2, 200, FinanceSplit::Train)
            .iter()
            .map(|example| length(&example.user()) + length(&example.answer_json()))
            .collect();
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!(mean <= 220 && lengths.iter().all(|&tokens| tokens <= 300), "{mean}");
    }

    #[test]
    fn the_configuration_names_tokens_of_the_vocabulary() {
        let config = tokenizer_config_json();
        assert_eq!(config["eos_token"], END_TOKEN);
        let template = config["chat_template"].as_str().expect("a text");
        let inside = template
            .split("{% generation %}")
            .nth(1)
            .and_then(|rest| rest.split("{% endgeneration %}").next());
        assert_eq!(inside, Some("{{ message['content'] + '<|im_end|>' }}"));
    }
}
