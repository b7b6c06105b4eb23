//! What alignment promises, on texts of all kinds.

use burnisher_data::extract::{
    AlignConfig, AlignMode, ChunkConfig, Extraction, Status, WordTokenizer, chunks,
};
use proptest::prelude::*;

fn aligned(config: AlignConfig, text: &str, wanted: &[&str]) -> Vec<(Status, String)> {
    let mut found: Vec<Extraction> = wanted.iter().map(|text| Extraction::new("c", *text)).collect();
    config.align(&mut found, text);
    let span = |e: &Extraction| {
        let chars = e.chars.clone().unwrap_or_default();
        text.chars().skip(chars.start).take(chars.len()).collect()
    };
    found.iter().map(|e| (e.status, span(e))).collect()
}

fn row(status: Status, text: &str) -> (Status, String) {
    (status, text.to_owned())
}

#[test]
fn words_in_scripts_without_spaces_are_found() {
    let text = "护士在手术前测量了病人的血压，血压正常。";
    let wanted = ["血压", "护士", "病人"];
    for (_, span) in aligned(AlignConfig::reference(), text, &wanted) {
        assert!(!wanted.contains(&span.as_str()), "one token a clause cannot hold {span}");
    }
    let exact: Vec<_> = wanted.iter().map(|text| row(Status::MatchExact, text)).collect();
    assert_eq!(aligned(AlignConfig::default(), text, &wanted), exact);
    let wide = aligned(AlignConfig::default(), "体温は３８．５度、ＭＲＩを撮影", &["38.5度", "MRI"]);
    assert_eq!(wide, [row(Status::MatchExact, "３８．５度"), row(Status::MatchExact, "ＭＲＩ")]);
}

#[test]
fn verbatim_text_out_of_order_is_exact_in_our_mode() {
    let text = "Anna met Ben in Bonn.";
    let wanted = ["Bonn", "Ben", "Anna"];
    let reference = aligned(AlignConfig::reference(), text, &wanted);
    assert_eq!(reference.iter().filter(|(status, _)| *status == Status::MatchFuzzy).count(), 2);
    for tokenizer in [WordTokenizer::Regex, WordTokenizer::Unicode] {
        let found = aligned(AlignConfig::default().with_tokenizer(tokenizer), text, &wanted);
        assert_eq!(found, wanted.map(|text| row(Status::MatchExact, text)));
    }
}

#[test]
fn a_beginning_counts_if_it_is_half() {
    let text = "The platform was closed because of ice.";
    let wanted = ["platform was shut and locked up", "ice storm warning"];
    let lesser = [row(Status::MatchLesser, "platform was"), row(Status::MatchLesser, "ice")];
    assert_eq!(aligned(AlignConfig::reference(), text, &wanted), lesser);
    let none = [row(Status::Ungrounded, ""), row(Status::Ungrounded, "")];
    assert_eq!(aligned(AlignConfig::default(), text, &wanted), none);
    let half = aligned(AlignConfig::default(), text, &["closed because she slept"]);
    assert_eq!(half, [row(Status::MatchLesser, "closed because")]);
}

#[test]
fn repeated_mentions_take_successive_places() {
    let mut found = vec![Extraction::new("v", "tram"); 4];
    AlignConfig::default().align(&mut found, "tram, bus, tram, bus, tram.");
    let starts: Vec<usize> = found.iter().filter_map(|e| Some(e.chars.as_ref()?.start)).collect();
    // There is no fourth: the first place again.
    assert_eq!(starts, [0, 11, 22, 0]);
}

#[test]
fn nothing_to_align_is_no_error() {
    for config in [AlignConfig::default(), AlignConfig::reference()] {
        config.align(&mut [], "text");
        assert_eq!(aligned(config, "", &["a", ""]), vec![row(Status::Ungrounded, ""); 2]);
        // The character that langextract joins extractions with.
        assert_eq!(
            aligned(config, "a \u{241f} b", &["\u{241f}", "b"]),
            [row(Status::MatchExact, "\u{241f}"), row(Status::MatchExact, "b")]
        );
    }
    let invalid = AlignConfig::default().with_threshold(1.5).validate().expect_err("above 1");
    assert!(invalid.to_string().contains("threshold is 1.5"), "{invalid}");
}

#[test]
fn overlap_shows_the_tokens_before_a_chunk_again() {
    let text = "Roses are red. Violets are blue. Trams are late.";
    let tokens = WordTokenizer::Unicode.tokenize(text);
    let parts: Vec<&str> = chunks(text, &tokens, ChunkConfig::new(20).with_overlap(9))
        .into_iter()
        .map(|chunk| &text[chunk.bytes])
        .collect();
    assert_eq!(parts, ["Roses are red.", "are red. Violets are blue.", "blue. Trams are late."]);
}

/// Words of a small vocabulary, so that much matches, in several scripts and cases.
fn words(most: usize) -> impl Strategy<Value = String> {
    let vocabulary = vec![
        "the", "The", "cat", "cats", "dogs", "dog", "sat", "on", "mat", "Öl", "ÖL", "血压", "病", "。", ",",
        ".", "!!", "12", "1.5", "🚆", "e\u{301}", "Ｍ", "ﬁn", "\n", "boss",
    ];
    proptest::collection::vec(proptest::sample::select(vocabulary), 0..most).prop_map(|words| words.join(" "))
}

fn keys(config: &AlignConfig, text: &str) -> Vec<String> {
    use unicode_normalization::UnicodeNormalization as _;
    let key = |word: &str| match config.mode {
        AlignMode::Reference => word.to_lowercase(),
        AlignMode::Extended => word.nfkc().collect::<String>().to_lowercase(),
    };
    config.tokenizer.tokenize(text).into_iter().map(|token| key(&text[token.bytes])).collect()
}

fn stem(word: &str) -> String {
    let long = word.chars().count() > 3 && word.ends_with('s') && !word.ends_with("ss");
    if long { word[..word.len() - 1].to_owned() } else { word.to_owned() }
}

fn common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let best = if x == y { diagonal + 1 } else { row[j + 1].max(row[j]) };
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_span_is_what_its_status_says(
        text in words(60),
        wanted in proptest::collection::vec(words(8), 0..8),
        extended in any::<bool>(),
        unicode in any::<bool>(),
        threshold in 0.3..1.0_f64,
        min_density in 0.1..1.0_f64,
    ) {
        let config = AlignConfig::reference()
            .with_mode(if extended { AlignMode::Extended } else { AlignMode::Reference })
            .with_tokenizer(if unicode { WordTokenizer::Unicode } else { WordTokenizer::Regex })
            .with_threshold(threshold)
            .with_min_density(min_density);
        let source = config.tokenizer.tokenize(&text);
        let mut found: Vec<Extraction> = wanted.iter().map(|text| Extraction::new("c", text)).collect();
        config.align(&mut found, &text);
        for extraction in &found {
            let own = keys(&config, &extraction.text);
            let Some(tokens) = extraction.tokens.clone() else {
                prop_assert_eq!(extraction.status, Status::Ungrounded);
                prop_assert_eq!(&extraction.chars, &None);
                continue;
            };
            let chars = source[tokens.start].chars.start..source[tokens.end - 1].chars.end;
            prop_assert_eq!(extraction.chars.clone(), Some(chars.clone()));
            let span: String = text.chars().skip(chars.start).take(chars.len()).collect();
            let span = keys(&config, &span);
            match extraction.status {
                Status::MatchExact => prop_assert_eq!(&span, &own),
                Status::MatchLesser => prop_assert!(span.len() < own.len() && own.starts_with(&span)),
                Status::MatchFuzzy => {
                    let stems = |words: &[String]| words.iter().map(|word| stem(word)).collect::<Vec<_>>();
                    let matched = common(&stems(&span), &stems(&own));
                    prop_assert!(matched as f64 >= own.len() as f64 * threshold, "{:?} {:?}", span, own);
                    prop_assert!(matched as f64 / span.len() as f64 >= min_density, "{:?} {:?}", span, own);
                }
                Status::Ungrounded => prop_assert!(false, "a span without a status"),
            }
            // Verbatim text is never worse than exact in our mode.
            if extended && keys(&config, &text).windows(own.len().max(1)).any(|window| window == own) {
                prop_assert_eq!(extraction.status, Status::MatchExact);
            }
        }
    }

    #[test]
    fn chunks_hold_every_token_once(text in words(80), max in 1..60_usize, overlap in 0..20_usize) {
        let tokens = WordTokenizer::Unicode.tokenize(&text);
        let plain = chunks(&text, &tokens, ChunkConfig::new(max));
        let mut next = 0;
        for chunk in &plain {
            prop_assert_eq!(chunk.tokens.start, next);
            next = chunk.tokens.end;
            prop_assert!(chunk.chars.len() <= max || chunk.tokens.len() == 1);
            prop_assert_eq!(text[chunk.bytes.clone()].chars().count(), chunk.chars.len());
        }
        prop_assert_eq!(next, tokens.len());
        let ends = |chunks: &[burnisher_data::extract::Chunk]| -> Vec<usize> {
            chunks.iter().map(|chunk| chunk.tokens.end).collect()
        };
        let overlapping = chunks(&text, &tokens, ChunkConfig::new(max).with_overlap(overlap));
        prop_assert_eq!(ends(&overlapping), ends(&plain));
    }
}
