//! langextract 1.7.1, value by value.

use std::fs;
use std::ops::Range;

use burnisher_data::extract::{
    AlignConfig, AnswerFormat, ChunkConfig, ExactAlgorithm, Example, Extraction, Fences, Fuzzy, Language,
    Lesser, Status, Task, TokenKind, TopLevelList, WordTokenizer, chunk_context, chunks, merge_passes,
    question_answer, sentences,
};
use serde_json::{Value, json};

use crate::shared;

fn fixture() -> Option<Value> {
    let path = shared("fixtures/data-eval/langextract.json")?;
    let text = fs::read_to_string(path).expect("the fixture is there");
    Some(serde_json::from_str(&text).expect("the fixture is JSON"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("a small number")
}

fn tokenizer(name: &Value) -> WordTokenizer {
    match text(name) {
        "regex" => WordTokenizer::Regex,
        "unicode" => WordTokenizer::Unicode,
        other => panic!("tokenizer {other}"),
    }
}

fn pair(range: &Range<usize>) -> Value {
    json!([range.start, range.end])
}

#[test]
fn tokens_are_the_same() {
    let Some(fixture) = fixture() else { return };
    let mut rows = 0;
    for row in list(&fixture["tokenize"]) {
        let source = text(&row["text"]);
        for name in ["regex", "unicode"] {
            let tokens = tokenizer(&json!(name)).tokenize(source);
            let found: Vec<Value> = tokens
                .iter()
                .map(|token| {
                    let kind = match token.kind {
                        TokenKind::Word => 0,
                        TokenKind::Number => 1,
                        TokenKind::Punctuation => 2,
                    };
                    json!([token.chars.start, token.chars.end, kind, u8::from(token.after_newline)])
                })
                .collect();
            assert_eq!(json!(found), row[name], "{name}: {source:?}");
            for token in tokens {
                let chars = source[..token.bytes.start].chars().count();
                assert_eq!(chars, token.chars.start, "bytes and code points agree");
            }
            rows += 1;
        }
    }
    assert!(rows > 200, "{rows} rows");
}

#[test]
fn sentences_and_chunks_are_the_same() {
    let Some(fixture) = fixture() else { return };
    for row in list(&fixture["sentences"]) {
        let source = text(&row["text"]);
        let tokens = tokenizer(&row["tokenizer"]).tokenize(source);
        let found: Vec<Value> = sentences(source, &tokens).iter().map(pair).collect();
        assert_eq!(json!(found), row["token_ranges"], "{}: {source:?}", row["tokenizer"]);
    }
    for row in list(&fixture["chunks"]) {
        let source = text(&row["text"]);
        let tokens = tokenizer(&row["tokenizer"]).tokenize(source);
        let config = ChunkConfig::new(number(&row["max_char_buffer"]));
        let found: Vec<Value> = chunks(source, &tokens, config)
            .iter()
            .map(|chunk| {
                json!([
                    chunk.tokens.start,
                    chunk.tokens.end,
                    chunk.chars.start,
                    chunk.chars.end,
                    source[chunk.bytes.clone()]
                ])
            })
            .collect();
        assert_eq!(
            json!(found),
            row["chunks"],
            "{} {}: {source:?}",
            row["tokenizer"],
            row["max_char_buffer"]
        );
    }
}

/// `None` for the one option that is not ours: the fuzzy search that langextract deprecates.
fn align_config(options: &Value) -> Option<AlignConfig> {
    let mut config = AlignConfig::reference();
    for (name, value) in options.as_object().expect("options") {
        config = match name.as_str() {
            "tokenizer" => config.with_tokenizer(tokenizer(value)),
            "enable_fuzzy_alignment" => config.with_fuzzy(Fuzzy::Off),
            "accept_match_lesser" => config.with_lesser(Lesser::Refuse),
            "fuzzy_alignment_threshold" => config.with_threshold(value.as_f64().expect("a number")),
            "fuzzy_alignment_min_density" => config.with_min_density(value.as_f64().expect("a number")),
            "exact_alignment_algorithm" => config.with_exact(ExactAlgorithm::Difflib),
            "fuzzy_alignment_algorithm" => return None,
            other => panic!("option {other}"),
        };
    }
    Some(config)
}

#[test]
fn alignments_are_the_same() {
    let Some(fixture) = fixture() else { return };
    let (mut cases, mut extractions) = (0, 0);
    for row in list(&fixture["align"]) {
        let Some(config) = align_config(&row["options"]) else { continue };
        // One row repeats the first text under another name.
        let id = if row["id"] == "rx_offsets" { &json!("rx1") } else { &row["id"] };
        let source = list(&fixture["align_texts"]).iter().find(|text| text["id"] == *id).expect("the text");
        let mut found: Vec<Extraction> =
            list(&source["ex"]).iter().map(|e| Extraction::new(text(&e[0]), text(&e[1]))).collect();
        config.align(&mut found, text(&source["text"]));
        if row.get("error").is_some() {
            assert!(found.is_empty(), "only a list without extractions is an error there");
            continue;
        }
        let rows: Vec<Value> = found
            .iter()
            .map(|e| {
                let status = (e.status != Status::Ungrounded).then(|| e.status.as_str());
                json!([e.class, e.text, status, e.chars.as_ref().map(pair), e.tokens.as_ref().map(pair)])
            })
            .collect();
        for (found, wanted) in rows.iter().zip(list(&row["result"])) {
            assert_eq!(found, wanted, "{} {}", row["id"], row["options"]);
            extractions += 1;
        }
        assert_eq!(rows.len(), list(&row["result"]).len());
        cases += 1;
    }
    assert!(cases > 150 && extractions > 700, "{cases} cases, {extractions} extractions");
}

fn format(options: &Value) -> AnswerFormat {
    let mut format = AnswerFormat::default();
    for (name, value) in options.as_object().expect("options") {
        format = match (name.as_str(), value) {
            ("use_fences", Value::Bool(false)) => format.with_fences(Fences::Off),
            ("strict_fences", Value::Bool(true)) => format.with_fences(Fences::Strict),
            ("use_wrapper", Value::Bool(false)) => format.with_wrapper(None),
            ("allow_top_level_list", Value::Bool(false)) => format.with_top_level_list(TopLevelList::Refuse),
            ("format_type", _) => format.with_language(Language::Yaml),
            other => panic!("option {other:?}"),
        };
    }
    format
}

#[test]
fn answers_are_read_the_same() {
    let Some(fixture) = fixture() else { return };
    let (mut read, mut refused) = (0, 0);
    for row in list(&fixture["parse"]) {
        let found = format(&row["options"]).parse(text(&row["input"]));
        match (found, row.get("extractions")) {
            (Ok(found), Some(wanted)) => {
                let rows: Vec<Value> =
                    found.iter().map(|e| json!([e.class, e.text, e.index, e.group, e.attributes])).collect();
                assert_eq!(json!(rows), *wanted, "{row}");
                read += 1;
            }
            (Err(_), None) => refused += 1,
            (found, _) => panic!("{row}: {found:?}"),
        }
    }
    assert!(read > 30 && refused > 30, "{read} read, {refused} refused");
}

#[test]
fn prompts_are_the_same() {
    let Some(fixture) = fixture() else { return };
    let texts = list(&fixture["align_texts"]);
    let mut task = Task::new("Extract things.");
    for number in [0, 1, 8] {
        let mut extractions: Vec<Extraction> =
            list(&texts[number]["ex"]).iter().map(|e| Extraction::new(text(&e[0]), text(&e[1]))).collect();
        extractions[0] =
            extractions[0].clone().with_attribute("k", "v").with_attribute("l", json!(["a", "b"]));
        task = task.with_example(Example::new(text(&texts[number]["text"]), extractions));
    }
    let questions: Vec<&str> =
        list(&fixture["chunks"]).iter().step_by(10).map(|row| text(&row["text"])).collect();
    for row in list(&fixture["prompt"]) {
        let format = format(&row["options"]);
        let prompt = question_answer(&task, &format, questions[0], None);
        assert_eq!(prompt, text(&row["prompt"]), "{}", row["options"]);
        let prompt = question_answer(&task, &format, questions[1], Some("Use context."));
        assert_eq!(prompt, text(&row["prompt_context"]), "{}", row["options"]);
    }
    let (task, format) = (Task::new("D."), AnswerFormat::default());
    let rows = [
        ("First chunk of text.", None, None),
        ("Second chunk follows.", Some("First chunk of text."), Some("Extra.")),
        ("Other document.", None, None),
        ("Third chunk.", Some("Second chunk follows."), None),
    ];
    for ((chunk, before, own), wanted) in rows.into_iter().zip(list(&fixture["prompt_context_window_15"])) {
        let context = chunk_context(before.map(|text| (text, 15)), own);
        assert_eq!(question_answer(&task, &format, chunk, context.as_deref()), text(wanted));
    }
}

#[test]
fn passes_are_merged_the_same() {
    let Some(fixture) = fixture() else { return };
    for row in list(&fixture["merge"]) {
        let extraction = |e: &Value| {
            let mut extraction = Extraction::new(text(&e[0]), "x");
            if !e[1].is_null() {
                extraction.chars = Some(number(&e[1])..number(&e[2]));
            }
            extraction
        };
        let passes = list(&row["passes"]).iter().map(|pass| list(pass).iter().map(extraction).collect());
        let kept: Vec<Value> = merge_passes(passes.collect())
            .iter()
            .map(|e| json!([e.class, e.chars.as_ref().map(pair)]))
            .collect();
        assert_eq!(json!(kept), row["kept"], "{row}");
    }
}
