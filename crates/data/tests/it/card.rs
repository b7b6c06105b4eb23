use burnisher_data::{Body, CardConfig, CardSet, DataCard, DataError, Origin, Record, Tokenizer, Weight};
use serde_json::json;

use crate::{passage, shared, text_record};

fn labelled(line: usize, label: &str) -> Record {
    let mut record = text_record("train.jsonl", line, &passage(&format!("w{line}"), 20));
    record.extra.insert("label".to_owned(), json!(label));
    record
}

fn card(sets: &[CardSet<'_>], config: &CardConfig) -> DataCard {
    DataCard::measure(sets, None, config).expect("a card")
}

#[test]
fn counts_are_those_of_the_records() {
    let mut train: Vec<Record> =
        (1..=12).map(|line| labelled(line, if line == 1 { "rare" } else { "often" })).collect();
    train.push(text_record("more.jsonl", 1, &passage("w3", 20)));
    let test =
        [text_record("test.jsonl", 1, &passage("w5", 15)), text_record("test.jsonl", 2, &passage("new", 15))];
    let card = card(&[CardSet::new("train", &train), CardSet::new("test", &test)], &CardConfig::new());
    let set = &card.sets[0];
    assert_eq!(set.records, 13);
    assert_eq!(set.files, [("train.jsonl".to_owned(), 12), ("more.jsonl".to_owned(), 1)]);
    assert_eq!(set.exact_duplicates, 1);
    assert_eq!(set.distinct_answers, 12);
    assert_eq!(set.distinct_words, 12 * 20);
    let balance = &set.balance[0];
    assert_eq!(balance.values, [("often".to_owned(), 11), ("rare".to_owned(), 1)]);
    assert_eq!((balance.column.as_str(), balance.distinct, balance.missing), ("label", 2, 1));
    let p: f64 = 1.0 / 12.0;
    let entropy = -(p * p.ln() + (1.0 - p) * (1.0 - p).ln()) / 2f64.ln();
    assert!((balance.evenness - entropy).abs() < 1e-12);
    assert_eq!((card.leaks[0].leaked, card.leaks[0].records), (1, 2));
    assert_eq!((card.vocabulary[0].words, card.vocabulary[0].unseen), (30, 15));
    assert!((card.vocabulary[0].covered - 0.5).abs() < 1e-12);
}

#[test]
fn quantiles_and_bars_are_those_of_the_values() {
    let lengths = [1, 2, 3, 4, 1000];
    let records: Vec<Record> = lengths
        .iter()
        .enumerate()
        .map(|(line, length)| text_record("a", line, &"x".repeat(*length)))
        .collect();
    let card = card(&[CardSet::new("train", &records)], &CardConfig::new());
    let d = &card.sets[0].characters;
    assert_eq!((d.min, d.p5, d.median, d.p95, d.p99, d.max, d.total), (1, 1, 3, 4, 4, 1000, 1010));
    let bars: Vec<(usize, Option<usize>, usize)> =
        d.histogram.iter().map(|bar| (bar.from, bar.to, bar.count)).collect();
    assert_eq!(bars, [(1, Some(2), 1), (2, Some(3), 1), (3, Some(4), 1), (4, Some(5), 1), (5, None, 1)]);
}

#[test]
fn advice_names_leaks_first_and_says_nothing_of_what_is_well() {
    let train: Vec<Record> =
        (1..=12).map(|line| labelled(line, if line == 1 { "rare" } else { "often" })).collect();
    let test = [text_record("test.jsonl", 1, &passage("w5", 15))];
    let card = card(&[CardSet::new("train", &train), CardSet::new("test", &test)], &CardConfig::new());
    assert_eq!(card.advice[0].weight, Weight::Look, "an answer is shared, no question");
    assert!(card.advice[0].found.contains("1 of the 1 records of \"test\""), "{:?}", card.advice);
    let all: String = card.advice.iter().map(|advice| advice.found.as_str()).collect();
    assert!(
        all.contains("12 records are trained") && all.contains("column \"label\" is unbalanced"),
        "{all}"
    );
    assert!(!all.contains("validate") && !all.contains("language"), "{all}");

    let question = |file: &str| {
        let body = Body::Completion { prompt: passage("q", 15), completion: "yes".to_owned() };
        Record::new(body, Origin::new(file, 1))
    };
    let (train, test) = ([question("train.jsonl")], [question("test.jsonl")]);
    let card = self::card(&[CardSet::new("train", &train), CardSet::new("test", &test)], &CardConfig::new());
    assert_eq!(card.advice[0].weight, Weight::Mend);
}

#[test]
fn what_the_records_say_is_escaped_in_the_page() {
    let hostile = "<script>alert(1)</script> | \" ' & <img src=x onerror=alert(2)>";
    let mut record = text_record("a<b>.jsonl", 1, hostile);
    record.extra.insert("label".to_owned(), json!(hostile));
    let records = [record.clone(), record];
    let config = CardConfig::new().with_title(hostile).with_labels(["label"]);
    let card = card(&[CardSet::new("train<i>", &records)], &config);
    let page = card.to_html();
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<i>"), "{page}");
    assert!(!card.to_markdown().contains("&#") && card.to_markdown().contains("\\|"));
    let again: DataCard = serde_json::from_str(&card.to_json()).expect("its own JSON");
    assert_eq!(again, card);
}

#[test]
fn wrong_input_is_named() {
    let records = [labelled(1, "a")];
    let of = |sets: &[CardSet<'_>], config: &CardConfig| {
        DataCard::measure(sets, None, config).expect_err("wrong").to_string()
    };
    assert!(of(&[], &CardConfig::new()).contains("sets is nothing"));
    assert!(of(&[CardSet::new("train", &[])], &CardConfig::new()).contains("\"train\" without records"));
    let error = of(&[CardSet::new("train", &records)], &CardConfig::new().with_labels(["lable"]));
    assert_eq!(error, "labels: no record has a column \"lable\"; columns beyond the records' shape: label");
}

#[test]
fn real_questions_have_a_card() -> Result<(), DataError> {
    let Some(tokenizer) = shared("data/tokenizers/gpt2.tokenizer.json") else { return Ok(()) };
    let tokenizer = Tokenizer::from_file(tokenizer)?;
    let records: Vec<Record> = (1..=40).map(|line| labelled(line, "a")).collect();
    let config = CardConfig::new().with_max_length(Some(30)).with_samples(2);
    let card = DataCard::measure(&[CardSet::new("train", &records)], Some(&tokenizer), &config)?;
    let tokens = card.sets[0].tokens.as_ref().expect("tokens");
    assert_eq!((tokens.vocabulary, tokens.unknown), (tokenizer.vocab_size(), 0));
    assert!(tokens.too_long == 40 && tokens.distinct > 10 && tokens.per_word > 1.0);
    assert_eq!(card.sets[0].samples.len(), 2);
    let dir = tempfile::tempdir().expect("a directory");
    for path in card.write(dir.path().join("new"))? {
        assert!(std::fs::metadata(path).expect("written").len() > 100);
    }
    Ok(())
}
