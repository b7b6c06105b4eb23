use std::collections::BTreeSet;

use burnisher_data::{
    Bands, Clusters, DataError, HashFamily, Keep, MinHashConfig, NearDuplicateConfig, Record, Shingling,
    SimHashConfig, Sketch, Verify, WordRule, exact_jaccard, near_duplicates, remove_near_duplicates,
    sim_hash,
};
use proptest::prelude::*;

use crate::{passage, text_record};

/// Texts of 30 words, of four kinds, with up to 8 words replaced.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let edits = prop::collection::vec((0_usize..30, 0_usize..3), 0..8);
    prop::collection::vec((0_usize..4, edits), 0..40).prop_map(|kinds| {
        let text = |(kind, edits): (usize, Vec<(usize, usize)>)| {
            let passage = passage(&format!("kind{kind}"), 30);
            let mut words: Vec<&str> = passage.split(' ').collect();
            for (place, word) in edits {
                words[place] = ["zebra", "quartz", "violet"][word];
            }
            words.join(" ")
        };
        kinds.into_iter().map(text).collect()
    })
}

/// Every configuration that has a way of its own.
fn configs() -> Vec<NearDuplicateConfig> {
    let new = NearDuplicateConfig::new;
    let wide = MinHashConfig::new(64).with_family(HashFamily::Datatrove);
    vec![
        new(0.5),
        new(0.7).with_verify(Verify::None),
        new(0.6).with_verify(Verify::Exact),
        new(0.6).with_minhash(wide),
        new(0.5).with_minhash(MinHashConfig::new(96).with_shingling(Shingling::characters(8))),
        new(0.5).with_bands(Bands::Weighted { false_positive: 0.3, false_negative: 0.7 }),
        NearDuplicateConfig::simhash(6),
    ]
}

fn partition(clusters: &Clusters, names: &[usize]) -> BTreeSet<BTreeSet<usize>> {
    clusters
        .members()
        .into_iter()
        .map(|members| members.into_iter().map(|member| names[member]).collect())
        .collect()
}

/// The clusters over all pairs that `near` accepts.
fn slow(texts: &[String], near: impl Fn(&str, &str) -> bool) -> Vec<usize> {
    let mut of: Vec<usize> = (0..texts.len()).collect();
    for i in 0..texts.len() {
        for j in i + 1..texts.len() {
            let (low, high) = (of[i].min(of[j]), of[i].max(of[j]));
            if low != high && near(&texts[i], &texts[j]) {
                of.iter_mut().filter(|first| **first == high).for_each(|first| *first = low);
            }
        }
    }
    of
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn clusters_do_not_depend_on_the_order(texts in texts(), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| (*index as u64 + 1).wrapping_mul(seed | 1));
        let shuffled: Vec<&str> = order.iter().map(|index| texts[*index].as_str()).collect();
        let names: Vec<usize> = (0..texts.len()).collect();
        for config in configs() {
            let left = near_duplicates(&texts, &config).unwrap();
            let right = near_duplicates(&shuffled, &config).unwrap();
            prop_assert_eq!(partition(&left, &names), partition(&right, &order), "{}", config);
        }
    }

    #[test]
    fn verified_clusters_are_those_of_all_pairs(texts in texts()) {
        // With bands of one row a pair at 0.5 is missed with probability 2^-128.
        let config = NearDuplicateConfig::new(0.5)
            .with_bands(Bands::Fixed { bands: 128, rows: 1 })
            .with_verify(Verify::Exact);
        let wanted = slow(&texts, |left, right| exact_jaccard(left, right, &Shingling::default()) >= 0.5);
        prop_assert_eq!(near_duplicates(&texts, &config).unwrap().of, wanted);
    }

    #[test]
    fn simhash_misses_no_pair(texts in texts(), distance in 0_u32..=16) {
        let config = SimHashConfig::new();
        let hash = |text: &str| sim_hash(text, &config);
        let wanted = slow(&texts, |left, right| (hash(left) ^ hash(right)).count_ones() <= distance);
        prop_assert_eq!(near_duplicates(&texts, &NearDuplicateConfig::simhash(distance)).unwrap().of, wanted);
    }

    #[test]
    fn what_is_kept_does_not_repeat_a_word_for_word_copy(texts in texts()) {
        let records: Vec<Record> = (1..).zip(&texts).map(|(line, text)| text_record("a.jsonl", line, text)).collect();
        for config in configs() {
            let (kept, report) = remove_near_duplicates(records.clone(), &config).unwrap();
            prop_assert_eq!(kept.len() + report.removed, records.len());
            prop_assert_eq!(report.sizes.iter().map(|(size, count)| (size - 1) * count).sum::<usize>(), report.removed);
            let distinct: BTreeSet<String> = kept.iter().map(Record::trained_text).collect();
            prop_assert_eq!(distinct.len(), kept.len());
        }
    }
}

#[test]
fn clusters_do_not_depend_on_the_number_of_threads() {
    let texts: Vec<String> = (0..900)
        .map(|i| {
            format!(
                "{} {}",
                passage(&format!("kind{}", i % 50), 20),
                passage(&format!("end{}", i % 7), i % 9)
            )
        })
        .collect();
    for config in configs() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| near_duplicates(&texts, &config).unwrap())
        };
        let one = on(1);
        assert!(one.count() < texts.len(), "{config}");
        assert_eq!(one, on(4), "{config}");
    }
}

#[test]
fn equal_texts_are_together_and_different_ones_apart() {
    let mut texts: Vec<String> = (0..30).map(|i| passage(&format!("kind{i}"), 3 + i)).collect();
    texts.extend_from_within(..);
    for config in configs() {
        let clusters = near_duplicates(&texts, &config).unwrap();
        let wanted: Vec<usize> = (0..30).chain(0..30).collect();
        assert_eq!(clusters.of, wanted, "{config}");
        assert_eq!((clusters.count(), clusters.members().len()), (30, 30));
    }
    assert_eq!(near_duplicates(&Vec::<String>::new(), &NearDuplicateConfig::new(0.8)).unwrap().of, [0; 0]);
}

/// a and c have nothing in common; only b is near both.
fn chain() -> Vec<Record> {
    let words = passage("w", 60);
    let words: Vec<&str> = words.split(' ').collect();
    (0..3).map(|i| text_record("a.jsonl", i + 1, &words[15 * i..15 * i + 24].join(" "))).collect()
}

#[test]
fn a_chain_is_one_cluster_and_is_reported() {
    // 5 of 35 shingles are shared by neighbours, none by the ends.
    let config = NearDuplicateConfig::new(0.1)
        .with_verify(Verify::Exact)
        .with_bands(Bands::Fixed { bands: 128, rows: 1 });
    let (kept, report) = remove_near_duplicates(chain(), &config).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((report.removed, report.chained, report.clusters(), report.largest()), (2, 1, 1, 3));
    assert_eq!(
        report.to_string(),
        "2 of 3 records removed as near-duplicates (1 clusters, the largest of 3), 1 of them only through a chain \
         of others\n  a.jsonl:2 is near a.jsonl:1 (0.14)\n  a.jsonl:3 is near a.jsonl:1 (0.00)"
    );
}

#[test]
fn candidates_below_the_threshold_are_not_duplicates() {
    let loose = Bands::Fixed { bands: 128, rows: 1 };
    for (verify, removed) in [(Verify::None, 2), (Verify::Estimated, 0), (Verify::Exact, 0)] {
        let config = NearDuplicateConfig::new(0.8).with_bands(loose).with_verify(verify);
        let (_, report) = remove_near_duplicates(chain(), &config).unwrap();
        assert_eq!(report.removed, removed, "{verify:?}");
    }
}

#[test]
fn the_record_that_stays_is_chosen() {
    let text = passage("w", 40);
    let records: Vec<Record> = [("", 0.2), (" more", 0.9), (" even more", 0.9)]
        .into_iter()
        .enumerate()
        .map(|(i, (end, score))| {
            let mut record = text_record("a.jsonl", i + 1, &format!("{text}{end}"));
            record.extra.insert("score".to_owned(), score.into());
            record
        })
        .collect();
    let kept = |keep: Keep| {
        let config = NearDuplicateConfig::new(0.7).with_keep(keep);
        remove_near_duplicates(records.clone(), &config)
            .map(|(kept, _)| kept.iter().map(|record| record.origin.line).collect::<Vec<_>>())
    };
    assert_eq!(kept(Keep::First).unwrap(), [1]);
    assert_eq!(kept(Keep::Longest).unwrap(), [3]);
    assert_eq!(kept(Keep::Highest { column: "score".to_owned() }).unwrap(), [2]);
    let missing = kept(Keep::Highest { column: "stars".to_owned() }).unwrap_err();
    assert_eq!(missing.to_string(), "a.jsonl:1: column \"stars\" is missing; the record has: score");
}

#[test]
fn a_copy_in_another_file_is_found() {
    let text = passage("w", 30);
    let records = vec![
        text_record("a.jsonl", 1, &text),
        text_record("b.jsonl", 1, &passage("v", 30)),
        text_record("b.jsonl", 2, &format!("{text} end")),
    ];
    let (kept, report) = remove_near_duplicates(records, &NearDuplicateConfig::new(0.8)).unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (report.pairs[0].kept.to_string(), report.pairs[0].removed.to_string()),
        ("a.jsonl:1".into(), "b.jsonl:2".into())
    );
}

#[test]
fn wrong_configurations_are_refused() {
    let new = NearDuplicateConfig::new;
    for (config, message) in [
        (new(0.0), "threshold is 0; wanted a similarity above 0 and at most 1"),
        (new(f64::NAN), "threshold is NaN; wanted a similarity above 0 and at most 1"),
        (new(0.8).with_minhash(MinHashConfig::new(0)), "num_perm is 0; wanted 1 to 65536 permutations"),
        (
            new(0.8).with_minhash(MinHashConfig::datatrove().with_seed(1 << 32)),
            "seed is 4294967296; wanted at most 4294967295 for a family that NumPy's RandomState seeds",
        ),
        (
            new(0.8).with_minhash(
                MinHashConfig::new(8).with_shingling(Shingling::words(0).with_words(WordRule::NonWord)),
            ),
            "shingling is 0 words (rule non-word); wanted shingles of 1 to 4294967295 words or characters",
        ),
        (
            new(0.8).with_bands(Bands::Fixed { bands: 16, rows: 9 }),
            "bands is 16 bands of 9 rows for 128 permutations; wanted at least 1 of each, together at most as many \
             as there are permutations",
        ),
        (
            new(0.8).with_bands(Bands::Weighted { false_positive: 0.0, false_negative: 0.0 }),
            "bands is weights 0 and 0; wanted weights of at least 0, one of them above 0",
        ),
        (NearDuplicateConfig::simhash(17), "distance is 17; wanted at most 16 of 64 bits"),
        (
            new(0.9).with_sketch(Sketch::SimHash(SimHashConfig::new())).with_verify(Verify::Exact),
            "verify is exact; wanted none or estimated with SimHash, which has no Jaccard similarity",
        ),
    ] {
        let error = near_duplicates(&["a"], &config).unwrap_err();
        assert!(matches!(error, DataError::InvalidConfig { .. }));
        assert_eq!(error.to_string(), message);
    }
}
