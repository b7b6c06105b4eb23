use burnisher_data::{
    Body, BuiltinTemplate, EncodeConfig, Encoded, Encoder, Message, Origin, Outcome, PreviewStyle, Record,
    Tokenizer, preview,
};
use proptest::prelude::*;

use crate::tokenizer::fixture_tokenizer;

fn encoded(tokenizer: &Tokenizer, body: Body) -> Encoded {
    let encoder =
        Encoder::new(tokenizer, EncodeConfig::untruncated()).unwrap_or_else(|error| panic!("{error}"));
    match encoder.encode(&Record::new(body, Origin::new("a.jsonl", 1))) {
        Ok(Outcome::Kept { encoded, .. }) => encoded,
        other => panic!("{other:?}"),
    }
}

fn chat(tokenizer: &str, template: BuiltinTemplate) -> Option<Tokenizer> {
    let tokenizer = fixture_tokenizer(tokenizer)?.with_builtin_template(template);
    Some(tokenizer.unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn what_is_trained_is_seen() {
    let messages =
        || Body::Messages(vec![Message::new("user", "Hi [x]"), Message::new("assistant", "Yes.\u{1b}[2J")]);
    let Some(tokenizer) = chat("bpe", BuiltinTemplate::ChatMl) else { return };
    let shown =
        preview(&encoded(&tokenizer, messages()), &tokenizer).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        shown.render(PreviewStyle::Plain),
        "<|im_start|>user\nHi [x]<|im_end|>\n<|im_start|>assistant\n[trained]Yes.\\u{1b}[2J<|im_end|>[/trained]\n"
    );
    assert_eq!(
        shown.render(PreviewStyle::Ansi),
        "\u{1b}[2m<|im_start|>user\nHi [x]<|im_end|>\n<|im_start|>assistant\n\u{1b}[0m\
         \u{1b}[32mYes.\\u{1b}[2J<|im_end|>\u{1b}[0m\u{1b}[2m\n\u{1b}[0m"
    );
    let counts = format!("record 0: {} tokens, {} of them trained\n", shown.tokens(), shown.target_tokens());
    assert!(shown.to_string().starts_with(&counts));
    let Some(tokenizer) = chat("spm", BuiltinTemplate::Llama2) else { return };
    let body = Body::Messages(vec![Message::new("user", "Hi"), Message::new("assistant", "Yes.")]);
    let shown = preview(&encoded(&tokenizer, body), &tokenizer).unwrap_or_else(|error| panic!("{error}"));
    let plain = shown.render(PreviewStyle::Plain);
    assert!(plain.contains("Hi [/INST][trained] Yes. </s>[/trained]"), "{plain}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn runs_hold_every_token_and_its_mask(text in "[a-z ä你🙂\n]{1,40}", mask in prop::collection::vec(any::<bool>(), 200)) {
        let Some(tokenizer) = fixture_tokenizer("bpe") else { return Ok(()) };
        let mut encoded = encoded(&tokenizer, Body::Text(text));
        let length = encoded.len();
        encoded.loss_mask = mask.into_iter().cycle().take(length).collect();
        let shown = preview(&encoded, &tokenizer).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut masks = Vec::new();
        for run in &shown.runs {
            masks.extend(std::iter::repeat_n(run.is_trained, run.tokens));
        }
        encoded.loss_mask[0] = false;
        prop_assert_eq!(masks, encoded.loss_mask.clone());
        prop_assert_eq!(shown.target_tokens(), encoded.target_tokens());
        let whole = tokenizer.decode(&encoded.ids, false).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let text: String = shown.runs.iter().map(|run| run.text.as_str()).collect();
        let is_cut = text.contains(char::REPLACEMENT_CHARACTER);
        prop_assert!(is_cut || text == whole);
    }
}
