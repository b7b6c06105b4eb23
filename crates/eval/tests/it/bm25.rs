use burnisher_eval::{Bm25Config, passages};
use proptest::prelude::*;

const DOCUMENTS: [&str; 4] =
    ["the cat sat on the mat", "The dog ate the cat's food.", "", "a mat for dogs, a mat for cats"];

/// The formula, word by word, without an index.
fn score(documents: &[&str], question: &[&str], at: usize, k1: f64, b: f64) -> f64 {
    let split = |text: &str| -> Vec<String> {
        text.to_lowercase()
            .split([' ', ',', '.'])
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let all: Vec<Vec<String>> = documents.iter().map(|text| split(text)).collect();
    let mean = all.iter().map(Vec::len).sum::<usize>() as f64 / all.len() as f64;
    let mut sum = 0.0;
    for word in question {
        let count = |words: &Vec<String>| words.iter().filter(|other| other == word).count() as f64;
        let having = all.iter().filter(|words| count(words) > 0.0).count() as f64;
        let idf = (1.0 + (all.len() as f64 - having + 0.5) / (having + 0.5)).ln();
        let f = count(&all[at]);
        if f == 0.0 {
            continue; // 0 / 0 for k1 = 0
        }
        sum += idf * f / (f + k1 * (1.0 - b + b * all[at].len() as f64 / mean));
    }
    sum
}

#[test]
fn scores_are_the_formula() {
    for (k1, b) in [(1.2, 0.75), (0.0, 0.0), (2.0, 1.0)] {
        let index = Bm25Config::default().with_k1(k1).with_b(b).index(&DOCUMENTS).expect("valid");
        assert_eq!(index.len(), 4);
        let hits = index.search("The mat, the DOG", 10);
        assert_eq!(hits.len(), 3, "the empty document has no word");
        for hit in hits {
            let wanted = score(&DOCUMENTS, &["the", "mat", "the", "dog"], hit.document, k1, b);
            assert!((hit.score - wanted).abs() < 1e-12, "{hit:?} {wanted}");
        }
    }
}

#[test]
fn the_earlier_of_equal_documents_comes_first() {
    let index =
        Bm25Config::default().index(&["same words", "other", "same words", "same words"]).expect("valid");
    let order: Vec<usize> = index.search("words", 2).iter().map(|hit| hit.document).collect();
    assert_eq!(order, [0, 2]);
}

#[test]
fn wrong_values_are_named() {
    for (config, text) in [
        (Bm25Config::default().with_k1(-1.0), "k1"),
        (Bm25Config::default().with_k1(f64::NAN), "k1"),
        (Bm25Config::default().with_b(1.5), "b"),
    ] {
        let error = config.index(&[""]).expect_err("wrong").to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(passages("a b c", 2, 2).expect_err("wrong").to_string().contains("2 of 2 words"));
    assert!(Bm25Config::default().index(&[] as &[&str]).expect("no documents").is_empty());
}

#[test]
fn passages_overlap_and_keep_their_marks() {
    assert_eq!(passages("One, two; three. Four!", 2, 0).expect("valid"), ["One, two;", "three. Four!"]);
    assert_eq!(passages("a b c d e", 3, 1).expect("valid"), ["a b c", "c d e"]);
    assert!(passages(" ... ", 3, 1).expect("valid").is_empty());
}

proptest! {
    #[test]
    fn every_word_is_in_a_passage_and_none_is_too_long(
        text in "[a-zé世 .,]{0,80}", words in 1usize..6, overlap in 0usize..5,
    ) {
        prop_assume!(overlap < words);
        use unicode_segmentation::UnicodeSegmentation;
        let passages = passages(&text, words, overlap).expect("valid");
        let mut joined: Vec<&str> = Vec::new();
        for (at, passage) in passages.iter().enumerate() {
            let own: Vec<&str> = passage.unicode_words().collect();
            prop_assert!(own.len() <= words && !own.is_empty());
            joined.extend(&own[if at == 0 { 0 } else { overlap.min(own.len()) }..]);
        }
        prop_assert_eq!(joined, text.unicode_words().collect::<Vec<_>>());
    }
}
