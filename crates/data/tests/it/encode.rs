use std::sync::LazyLock;

use burnisher_data::{
    BatchConfig, Batches, Body, DataError, EncodeConfig, Encoded, EncodedSet, Encoder, Message, Origin,
    Outcome, Packing, Record, TokenBatch, Tokenizer, TrainOn, pack,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::template::{template_source, turns};
use crate::tokenizer::{fixture, fixture_json, fixture_tokenizer, typed};

const NOT_TRAINED: i64 = -100;

fn record(line: usize, body: Body) -> Record {
    Record::new(body, Origin::new("a.jsonl", line))
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn completion(prompt: &str, completion: &str) -> Body {
    Body::Completion { prompt: prompt.to_owned(), completion: completion.to_owned() }
}

fn alpaca(instruction: &str, input: &str, output: &str) -> Body {
    Body::Alpaca { instruction: instruction.to_owned(), input: input.to_owned(), output: output.to_owned() }
}

fn conversation(turns: &[(&str, &str)]) -> Body {
    Body::Messages(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
}

fn encoder(tokenizer: &Tokenizer, config: EncodeConfig) -> Encoder<'_> {
    Encoder::new(tokenizer, config).unwrap_or_else(|error| panic!("{error}"))
}

fn encode_all(tokenizer: &Tokenizer, config: EncodeConfig, records: &[Record]) -> EncodedSet {
    encoder(tokenizer, config).encode_all(records).unwrap_or_else(|error| panic!("{error}"))
}

fn encode(tokenizer: &Tokenizer, config: EncodeConfig, body: Body) -> Encoded {
    match encoder(tokenizer, config).encode(&record(1, body)) {
        Ok(Outcome::Kept { encoded, .. }) => encoded,
        other => panic!("{other:?}"),
    }
}

/// The text that is learnt.
fn trained_text(tokenizer: &Tokenizer, encoded: &Encoded) -> String {
    let trained = encoded.ids.iter().zip(&encoded.loss_mask).filter(|(_, target)| **target);
    let ids: Vec<u32> = trained.map(|(id, _)| *id).collect();
    tokenizer.decode(&ids, false).unwrap_or_else(|error| panic!("{error}"))
}

/// The labels of a reference, without those that no token predicts.
fn labels(value: &Value, document_starts: &[usize]) -> Vec<i64> {
    let mut labels: Vec<i64> = typed(value);
    for start in document_starts {
        labels[*start] = NOT_TRAINED;
    }
    labels
}

/// One of TRL's runs: the prepared records and the first batch of two rows.
fn sft_run(
    name: &str,
    config: EncodeConfig,
    packing: Packing,
    max_length: usize,
) -> Option<(Value, Vec<TokenBatch>)> {
    let run = fixture_json("trainer/trainer.json")?[name].clone();
    let tokenizer = Tokenizer::from_dir(fixture("models/qwen2")?).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run["template"], "chatml_gen");
    let tokenizer = tokenizer.with_chat_template(&template_source("chatml_gen")?);
    let tokenizer = tokenizer.unwrap_or_else(|error| panic!("{error}"));
    let conversations: Vec<Value> = typed(&run["conversations"]);
    let records: Vec<Record> = conversations
        .iter()
        .enumerate()
        .map(|(index, messages)| record(index + 1, Body::Messages(turns(messages))))
        .collect();
    let set = encode_all(&tokenizer, config, &records);
    assert_eq!((set.report.kept, set.report.end_not_trained), (records.len(), 0));
    let rows = pack(set.encoded, max_length, packing);
    let prepared: Vec<Value> = typed(&run["prepared_dataset"]);
    assert_eq!(rows.len(), prepared.len(), "{name}");
    let batches = Batches::new(rows, BatchConfig::new(tokenizer.padding_id()).with_shuffle(false));
    let singles = (0..batches.len()).map(|row| batches.batch(&[row]));
    Some((run, singles.chain([batches.batch(&[0, 1])]).collect()))
}

/// The rows of TRL's prepared set, and ours.
fn check_prepared(name: &str, run: &Value, batches: &[TokenBatch]) {
    let prepared: Vec<Value> = typed(&run["prepared_dataset"]);
    for (row, (wanted, found)) in prepared.iter().zip(batches).enumerate() {
        assert_eq!(found.input_ids, typed::<Vec<u32>>(&wanted["input_ids"]), "{name}, row {row}");
        let starts: Vec<usize> = match typed::<Option<Vec<usize>>>(&wanted["seq_lengths"]) {
            Some(lengths) => lengths
                .iter()
                .scan(0, |next, length| {
                    *next += length;
                    Some(*next - length)
                })
                .collect(),
            None => vec![0],
        };
        assert_eq!(found.labels, labels(&wanted["labels"], &starts), "{name}, row {row}");
    }
}

/// Reference: `SFTTrainer` of TRL 1.16.0 over the conversations, fixtures' `make_fixtures.py`.
#[test]
fn assistant_only_padded_is_that_of_trl() {
    let name = "sft_assistant_only_padded";
    let Some((run, batches)) = sft_run(name, EncodeConfig::new(1024), Packing::None, 1024) else {
        return;
    };
    check_prepared(name, &run, &batches);
    let (wanted, found) = (&run["first_batch"], &batches[batches.len() - 1]);
    assert_eq!((found.rows, found.seq_len), (2, 68));
    assert_eq!(found.input_ids, typed::<Vec<Vec<u32>>>(&wanted["input_ids"]).concat());
    assert_eq!(found.labels, typed::<Vec<Vec<i64>>>(&wanted["labels"]).concat());
    assert_eq!(found.segment_ids, typed::<Vec<Vec<u32>>>(&wanted["attention_mask"]).concat());
}

/// Reference as above. TRL lays the rows of a batch end to end; here each is a row of its own.
#[test]
fn full_loss_packed_best_fit_is_that_of_trl() {
    let name = "sft_full_loss_packed_bfd";
    let config = EncodeConfig::new(96).with_train_on(TrainOn::Everything);
    let Some((run, batches)) = sft_run(name, config, Packing::BestFit, 96) else {
        return;
    };
    check_prepared(name, &run, &batches);
    let (wanted, found) = (&run["first_batch"], &batches[batches.len() - 1]);
    assert_eq!((found.rows, found.seq_len), (2, 89));
    assert_eq!(found.input_ids, typed::<Vec<Vec<u32>>>(&wanted["input_ids"]).concat());
    assert_eq!(found.labels, typed::<Vec<Vec<i64>>>(&wanted["labels"]).concat());
    assert_eq!(found.position_ids, typed::<Vec<Vec<u32>>>(&wanted["position_ids"]).concat());
}

/// Reference as above. TRL's wrapped rows are one document each and may begin with a label; here nothing predicts a
/// row's first token.
#[test]
fn assistant_only_wrapped_is_that_of_trl() {
    let name = "sft_assistant_only_packed_wrapped";
    let Some((run, batches)) = sft_run(name, EncodeConfig::untruncated(), Packing::Wrapped, 64) else {
        return;
    };
    check_prepared(name, &run, &batches);
    let (wanted, found) = (&run["first_batch"], &batches[batches.len() - 1]);
    assert_eq!(found.input_ids, typed::<Vec<Vec<u32>>>(&wanted["input_ids"]).concat());
    let rows: Vec<Value> = typed(&wanted["labels"]);
    let wanted_labels: Vec<i64> = rows.iter().flat_map(|row| labels(row, &[0])).collect();
    assert_eq!(found.labels, wanted_labels);
}

/// Expected ids: tokenizers 0.23.3 in Python; 1 is BOS, 2 is EOS of both vocabularies.
#[test]
fn texts_and_completions_end_in_eos_and_train_what_follows_the_prompt() {
    let cases: [(&str, Body, &[u32], usize, bool); 7] = [
        ("bpe", text("a"), &[1, 77, 2], 1, true),
        ("bpe", text("a<|eos|>"), &[1, 77, 2], 1, true),
        ("bpe", completion("2 +", " 2"), &[1, 30, 233, 23, 233, 30, 2], 4, true),
        ("bpe", completion("2 +", " 2<|eos|>"), &[1, 30, 233, 23, 233, 30, 2], 4, true),
        ("spm", completion("The wor", "d is"), &[1, 337, 373, 265, 305, 281, 350, 295, 2], 6, true),
        // The last token of the prompt and the first letter of the completion are one token together.
        ("bpe", completion("q ", "a"), &[1, 93, 233, 77, 2], 3, false),
        ("spm", completion("th", "e cat"), &[1, 329, 299, 273, 308, 2], 2, false),
    ];
    for (name, body, ids, trained, is_prefix) in cases {
        let Some(tokenizer) = fixture_tokenizer(name) else {
            return;
        };
        let mask = |from: usize| -> Vec<bool> { (0..ids.len()).map(|at| at >= from).collect() };
        let wanted = Encoded::new(ids.to_vec(), mask(trained), 0);
        match encoder(&tokenizer, EncodeConfig::new(64)).encode(&record(1, body.clone())) {
            Ok(Outcome::Kept { encoded, cut: 0, prompt_is_prefix, end_is_trained: true }) => {
                assert_eq!(encoded, wanted, "{body:?}");
                assert_eq!(encoded.target_tokens(), ids.len() - trained, "{body:?}");
                assert_eq!(prompt_is_prefix, is_prefix, "{body:?}");
            }
            other => panic!("{body:?}: {other:?}"),
        }
        let everything = EncodeConfig::new(64).with_train_on(TrainOn::Everything);
        assert_eq!(encode(&tokenizer, everything, body.clone()).loss_mask, mask(1), "{body:?}");
        let open = encode(&tokenizer, EncodeConfig::new(64).with_append_eos(false), body.clone());
        let spelled = format!("{body:?}").contains("<|eos|>");
        assert_eq!(open.ids, ids[..ids.len() - usize::from(!spelled)], "{body:?}");
    }
}

#[test]
fn conversations_train_the_assistants_turns() {
    let Some(plain) = fixture_tokenizer("bpe") else {
        return;
    };
    let with =
        |source: &str| plain.clone().with_chat_template(source).unwrap_or_else(|error| panic!("{error}"));
    let Some(tagged) = template_source("chatml_gen").map(|source| with(&source)) else {
        return;
    };
    // Only the words are marked, not the token that ends the turn.
    let endless = with(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}\
         {{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}",
    );
    let body = || {
        conversation(&[
            ("system", "s"),
            ("user", "u é"),
            ("assistant", "a🙂"),
            ("user", "v"),
            ("assistant", "b"),
        ])
    };
    let full = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu é<|im_end|>\n<|im_start|>assistant\na🙂<|im_end|>\n\
                <|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n";
    for (tokenizer, wanted, end_not_trained) in [
        (&plain, "a🙂<|im_end|>\nb<|im_end|>\n", 0),
        (&tagged, "a🙂<|im_end|>b<|im_end|>", 0),
        (&endless, "a🙂b", 1),
    ] {
        let set = encode_all(tokenizer, EncodeConfig::new(512), &[record(1, body())]);
        assert_eq!(tokenizer.decode(&set.encoded[0].ids, false).ok().as_deref(), Some(full));
        assert_eq!(trained_text(tokenizer, &set.encoded[0]), wanted);
        assert_eq!(set.report.end_not_trained, end_not_trained);
        assert_eq!(set.report.warnings().len(), end_not_trained);
        let everything = EncodeConfig::new(512).with_train_on(TrainOn::Everything);
        let set = encode_all(tokenizer, everything, &[record(1, body())]);
        assert_eq!(set.report.target_tokens, set.report.tokens - 1);
        assert!(set.report.warnings().is_empty());
    }
}

#[test]
fn alpaca_is_a_conversation_or_a_prompt() {
    let (Some(chat), Some(file)) = (fixture_tokenizer("bpe"), fixture("tokenizers/bpe/tokenizer.json"))
    else {
        return;
    };
    let plain = Tokenizer::from_file(file).unwrap_or_else(|error| panic!("{error}"));
    for (body, full, trained) in [
        (
            alpaca("Add.", "1 and 2", "3"),
            "<|im_start|>user\nAdd.\n\n1 and 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n",
            "3<|im_end|>\n",
        ),
        (
            alpaca("Say hi.", " ", "hi"),
            "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\nhi<|im_end|>\n",
            "hi<|im_end|>\n",
        ),
    ] {
        let encoded = encode(&chat, EncodeConfig::new(512), body);
        assert_eq!(chat.decode(&encoded.ids, false).ok().as_deref(), Some(full));
        assert_eq!(trained_text(&chat, &encoded), trained);
    }
    for (body, prompt, output) in [
        (
            alpaca("Add.", "1 and 2", "3"),
            "### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:\n",
            "3",
        ),
        (alpaca("Say hi.", "", "hi"), "### Instruction:\nSay hi.\n\n### Response:\n", "hi"),
    ] {
        let as_prompt = encode(&plain, EncodeConfig::new(512), completion(prompt, output));
        assert_eq!(encode(&plain, EncodeConfig::new(512), body), as_prompt);
        assert_eq!(trained_text(&plain, &as_prompt), output);
    }
    let set = encode_all(&plain, EncodeConfig::new(512), &[record(1, alpaca("a", "", "b"))]);
    assert!(set.report.no_eos && set.report.to_string().contains("warning: the tokenizer has no EOS"));
}

/// `dropped` records of `total` keep nothing but their prompt within 8 tokens, one more is cut.
fn long_records(total: usize, dropped: usize) -> Vec<Record> {
    let body = |line: usize| match line {
        line if line <= dropped => completion("one two three four five six seven eight", " nine"),
        line if line == dropped + 1 => completion("1", " two three four five six seven eight nine ten"),
        _ => completion("1", " 2"),
    };
    (1..=total).map(|line| record(line, body(line))).collect()
}

#[test]
fn truncation_is_counted_and_limited() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else {
        return;
    };
    let config = EncodeConfig::new(8);
    let records = long_records(40, 2);
    let set = encode_all(&tokenizer, config.clone(), &records);
    let report = &set.report;
    assert_eq!((report.records, report.kept, report.truncated, report.max_length), (40, 38, 1, 8));
    assert_eq!(report.dropped_no_target, [Origin::new("a.jsonl", 1), Origin::new("a.jsonl", 2)]);
    assert_eq!(report.tokens, set.encoded.iter().map(Encoded::len).sum::<usize>());
    assert_eq!(report.target_tokens, set.encoded.iter().map(Encoded::target_tokens).sum::<usize>());
    let whole = encode(&tokenizer, EncodeConfig::untruncated(), records[2].body.clone());
    assert_eq!(report.truncated_tokens, whole.len() - 8);
    assert_eq!((set.encoded[0].index, &set.encoded[0].ids[..]), (2, &whole.ids[..8]));
    assert!(set.encoded.iter().map(|encoded| encoded.index).eq(2..40));
    let shown = report.to_string();
    assert!(shown.contains("38 of 40 records encoded") && shown.contains("1 cut to 8 tokens"), "{shown}");
    assert!(shown.contains("2 dropped") && shown.contains("a.jsonl:1, a.jsonl:2"), "{shown}");

    let error = encoder(&tokenizer, config).encode_all(&long_records(40, 3)).err();
    match &error {
        Some(DataError::TooManyDropped { dropped: 3, records: 40, max_length: 8, first, .. }) => {
            assert_eq!(first.len(), 3);
        }
        other => panic!("{other:?}"),
    }
    let message = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(message.contains("3 of 40 records (7.5 %)") && message.contains("a.jsonl:3"), "{message}");
}

#[test]
fn an_empty_set_stays_empty() {
    let Some(tokenizer) = fixture_tokenizer("bpe") else {
        return;
    };
    let set = encode_all(&tokenizer, EncodeConfig::new(8), &[]);
    assert!(set.encoded.is_empty() && set.report.records == 0);
}

#[test]
fn what_cannot_be_encoded_is_named() {
    let (Some(chat), Some(file)) = (fixture_tokenizer("bpe"), fixture("tokenizers/bpe/tokenizer.json"))
    else {
        return;
    };
    let plain = Tokenizer::from_file(file).unwrap_or_else(|error| panic!("{error}"));
    let Some(llama2) = template_source("llama2") else {
        return;
    };
    // Shortens the turns before the last, as templates of reasoning models do.
    let forgetful = "{% for m in messages %}<{{ m.role }}>\
                     {{ m.content if loop.last or m.role == 'user' else '...' }}{% endfor %}\
                     {% if add_generation_prompt %}<assistant>{% endif %}";
    let with =
        |source: &str| chat.clone().with_chat_template(source).unwrap_or_else(|error| panic!("{error}"));
    let (llama2, forgetful) = (with(&llama2), with(forgetful));
    let good = || record(1, conversation(&[("user", "q"), ("assistant", "a")]));
    let cases = [
        (
            &plain,
            conversation(&[("user", "q"), ("assistant", "a")]),
            "a.jsonl:2: a record of messages needs a chat template",
        ),
        (&chat, conversation(&[("user", "q")]), "a.jsonl:2: no assistant text"),
        (
            &llama2,
            conversation(&[("user", "q"), ("user", "q"), ("assistant", "a")]),
            "a.jsonl:2: the chat template does not render",
        ),
        (
            &forgetful,
            conversation(&[("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]),
            "a.jsonl:2: cannot tell which tokens are the assistant's: rendered up to messages[1]",
        ),
        (&plain, text(""), "a.jsonl:2: no assistant text"),
    ];
    for (tokenizer, body, wanted) in cases {
        let mut records = vec![record(2, body), record(3, conversation(&[("user", "q")]))];
        if tokenizer.chat_template().is_some() {
            records.insert(0, good());
        }
        let error = encoder(tokenizer, EncodeConfig::new(64)).encode_all(&records).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(wanted), "{error:?}\nwanted {wanted:?}");
    }
    let short = Encoder::new(&chat, EncodeConfig::new(1)).err().map(|error| error.to_string());
    assert_eq!(short.as_deref(), Some("max_length is 1; wanted at least 2"));
}

static TOKENIZERS: LazyLock<Option<Vec<Tokenizer>>> = LazyLock::new(|| {
    let bpe = fixture_tokenizer("bpe")?;
    let spm = fixture_tokenizer("spm")?;
    let tagged = [(&bpe, "chatml_gen"), (&spm, "mistral_gen"), (&spm, "llama2_gen"), (&spm, "zephyr")];
    let tagged = tagged.map(|(tokenizer, name)| {
        let source = template_source(name).unwrap_or_else(|| panic!("no template {name}"));
        tokenizer.clone().with_chat_template(&source).unwrap_or_else(|error| panic!("{error}"))
    });
    Some([bpe, spm].into_iter().chain(tagged).collect())
});

fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        " ",
        "\n",
        "The",
        " cat",
        "é",
        "你好",
        "🙂",
        "</s>",
        "<|im_end|>",
        "12",
        "?",
        "  ",
        "[INST]",
        "\u{1F}",
    ]);
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

fn bodies() -> impl Strategy<Value = Body> {
    let answer = || words().prop_map(|words| format!("{words}."));
    prop_oneof![
        answer().prop_map(Body::Text),
        (words(), answer()).prop_map(|(prompt, completion)| Body::Completion { prompt, completion }),
        (words(), words(), answer()).prop_map(|(instruction, input, output)| Body::Alpaca {
            instruction,
            input,
            output
        }),
        prop::collection::vec((words(), answer()), 1..4).prop_map(|turns| {
            let pair = |(user, assistant)| [Message::new("user", user), Message::new("assistant", assistant)];
            let messages: Vec<Message> = turns.into_iter().flat_map(pair).collect();
            Body::Messages(messages)
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_kept_has_a_target_and_fits(body in bodies(), max_length in 2_usize..60, which in 0_usize..6) {
        let Some(tokenizers) = &*TOKENIZERS else {
            return Ok(());
        };
        let tokenizer = &tokenizers[which];
        let whole = encode(tokenizer, EncodeConfig::untruncated(), body.clone());
        prop_assert!(whole.target_tokens() > 0);
        match encoder(tokenizer, EncodeConfig::new(max_length)).encode(&record(1, body)) {
            Ok(Outcome::Kept { encoded, cut, .. }) => {
                prop_assert!(encoded.target_tokens() > 0);
                prop_assert!(encoded.len() <= max_length);
                prop_assert_eq!(encoded.len() + cut, whole.len());
                prop_assert_eq!(&encoded.ids[..], &whole.ids[..encoded.len()]);
                prop_assert_eq!(&encoded.loss_mask[..], &whole.loss_mask[..encoded.len()]);
            }
            Ok(Outcome::Dropped { cut }) => {
                prop_assert_eq!(cut, whole.len() - max_length);
                prop_assert!(!whole.loss_mask[1..max_length].contains(&true));
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}
