//! MinHash against datasketch 2.0.0 and datatrove 0.10.1: minhash.json, whose generator is
//! `reference/data-eval/g_data.py`.

use burnisher_data::{
    Bands, HashFamily, MinHash, MinHashConfig, MinHasher, NearDuplicateConfig, Shingling, Verify, WordRule,
    exact_jaccard, near_duplicates, optimal_bands, simplify_text,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::shared;

fn fixture() -> Option<Value> {
    let text = std::fs::read_to_string(shared("fixtures/data-eval/minhash.json")?).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn docs(fixture: &Value) -> Vec<String> {
    fixture["docs"].as_array().unwrap().iter().map(|doc| doc.as_str().unwrap().to_owned()).collect()
}

/// Numbers that the fixture writes as strings.
fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|number| number.as_str().unwrap().parse().unwrap()).collect()
}

fn pairs(list: &Value) -> Vec<(usize, usize)> {
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    list.as_array().unwrap().iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
}

fn family(scheme: &str) -> HashFamily {
    match scheme {
        "legacy" => HashFamily::DatasketchLegacy,
        "affine32" => HashFamily::DatasketchAffine32,
        "affine64" => HashFamily::DatasketchAffine64,
        _ => panic!("unknown scheme {scheme}"),
    }
}

fn signatures(docs: &[String], config: MinHashConfig) -> Vec<MinHash> {
    let hasher = MinHasher::new(config).unwrap();
    docs.iter().map(|doc| hasher.sign(doc)).collect()
}

/// Pairs that agree in all numbers of a band.
fn band_pairs(signatures: &[MinHash], bands: usize, rows: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for i in 0..signatures.len() {
        for j in i + 1..signatures.len() {
            let (left, right) = (signatures[i].values(), signatures[j].values());
            let mut spans = (0..bands).map(|band| band * rows..(band + 1) * rows);
            if spans.any(|span| left[span.clone()] == right[span]) {
                pairs.push((i, j));
            }
        }
    }
    pairs
}

/// The smallest number that pairs connect each number with.
fn closure(len: usize, pairs: &[(usize, usize)]) -> Vec<usize> {
    let mut of: Vec<usize> = (0..len).collect();
    for _ in 0..len {
        for (i, j) in pairs {
            let least = of[*i].min(of[*j]);
            (of[*i], of[*j]) = (least, least);
        }
    }
    of
}

#[test]
fn permutations_are_those_of_numpy() {
    let Some(fixture) = fixture() else { return };
    for scheme in ["legacy", "affine32", "affine64"] {
        for seed in [1, 42] {
            let config = MinHashConfig::new(128).with_family(family(scheme)).with_seed(seed);
            let (a, b) = MinHasher::new(config).unwrap().permutations();
            let wanted = &fixture["permutations"][format!("{scheme}_seed{seed}_np128_first6")];
            assert_eq!(a[..6], numbers(&wanted["a"]), "{scheme} {seed}");
            assert_eq!(b[..6], numbers(&wanted["b"]), "{scheme} {seed}");
        }
    }
    let (a, b) = MinHasher::new(MinHashConfig::datatrove()).unwrap().permutations();
    let wanted = &fixture["datatrove_whitespace_words"];
    assert_eq!(a[..4], numbers(&wanted["a_first4"]));
    assert_eq!(b[..4], numbers(&wanted["b_first4"]));
}

#[test]
fn signatures_are_those_of_datasketch() {
    let Some(fixture) = fixture() else { return };
    let docs = docs(&fixture);
    for case in fixture["signatures"].as_array().unwrap() {
        let scheme = case["scheme"].as_str().unwrap();
        let config = MinHashConfig::datasketch(case["num_perm"].as_u64().unwrap() as usize)
            .with_family(family(scheme))
            .with_seed(case["seed"].as_u64().unwrap());
        let signatures = signatures(&docs, config);
        for (signature, wanted) in signatures.iter().zip(case["values"].as_array().unwrap()) {
            assert_eq!(signature.values(), numbers(wanted), "{config}");
        }
        if let Some(wanted) = case["sha256_of_all_le_u64"].as_str() {
            let bytes: Vec<u8> =
                signatures.iter().flat_map(MinHash::values).flat_map(|value| value.to_le_bytes()).collect();
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, wanted, "{config}");
        }
    }
}

#[test]
fn candidates_and_estimates_are_those_of_datasketch() {
    let Some(fixture) = fixture() else { return };
    let docs = docs(&fixture);
    for scheme in ["legacy", "affine32", "affine64"] {
        let config = MinHashConfig::datasketch(128).with_family(family(scheme));
        let signatures = signatures(&docs, config);
        for (bands, rows) in [(16, 8), (8, 16), (32, 4), (20, 6)] {
            let wanted = pairs(&fixture["lsh"][scheme][format!("b{bands}_r{rows}")]);
            assert_eq!(band_pairs(&signatures, bands, rows), wanted, "{scheme} {bands} x {rows}");
            let config = NearDuplicateConfig::new(0.5)
                .with_minhash(config)
                .with_bands(Bands::Fixed { bands, rows })
                .with_verify(Verify::None);
            assert_eq!(near_duplicates(&docs, &config).unwrap().of, closure(docs.len(), &wanted), "{config}");
        }
        let estimates = &fixture["lsh"][format!("{scheme}_est_jaccard")];
        for (estimate, (i, j)) in estimates.as_array().unwrap().iter().zip(pairs(estimates)) {
            let found = signatures[i].jaccard(&signatures[j]).unwrap();
            assert_eq!(found, estimate[2].as_f64().unwrap(), "{scheme} {i} {j}");
        }
    }
}

#[test]
fn exact_similarities_are_those_of_python() {
    let Some(fixture) = fixture() else { return };
    let docs = docs(&fixture);
    let shingling = Shingling::default().with_words(WordRule::NonWord);
    let wanted = fixture["exact_jaccard"].as_array().unwrap();
    assert!(!wanted.is_empty());
    let mut found = Vec::new();
    for i in 0..docs.len() {
        for j in i + 1..docs.len() {
            let similarity = exact_jaccard(&docs[i], &docs[j], &shingling);
            if similarity > 0.3 {
                found.push(serde_json::json!([i, j, similarity]));
            }
        }
    }
    assert_eq!(&found, wanted);
}

#[test]
fn bands_are_those_of_datasketch() {
    let Some(fixture) = fixture() else { return };
    for case in fixture["optimal_param"].as_array().unwrap() {
        let number = |i: usize| case[i].as_f64().unwrap();
        let found = optimal_bands(number(0), number(1) as usize, number(2), number(3));
        assert_eq!(found, (number(4) as usize, number(5) as usize), "{case}");
    }
}

#[test]
fn texts_are_simplified_as_by_datatrove() {
    let Some(fixture) = fixture() else { return };
    for case in fixture["simplify_text"].as_array().unwrap() {
        let text = case["in"].as_str().unwrap();
        assert_eq!(simplify_text(text), case["out"].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn signatures_are_those_of_datatrove() {
    let Some(fixture) = fixture() else { return };
    let wanted = &fixture["datatrove_whitespace_words"];
    let signatures = signatures(&docs(&fixture)[..40], MinHashConfig::datatrove());
    for (signature, buckets) in signatures.iter().zip(wanted["signatures_first4_docs"].as_array().unwrap()) {
        let buckets: Vec<u64> = buckets.as_array().unwrap().iter().flat_map(numbers).collect();
        assert_eq!(signature.values(), buckets);
    }
    assert_eq!(band_pairs(&signatures, 14, 8), pairs(&wanted["bucket_matches_first40"]));
}

/// The estimate of every family is within five standard errors.
#[test]
fn estimates_are_near_the_exact_similarity() {
    let words: Vec<String> = (0..400).map(|word| format!("w{}", word * word % 1009 + 7 * word)).collect();
    let left = words[..300].join(" ");
    for family in [
        HashFamily::Fast,
        HashFamily::DatasketchLegacy,
        HashFamily::DatasketchAffine32,
        HashFamily::DatasketchAffine64,
        HashFamily::Datatrove,
    ] {
        let config = MinHashConfig::new(1024).with_family(family);
        let hasher = MinHasher::new(config).unwrap();
        for start in [0, 10, 50, 100] {
            let right = words[start..300 + start].join(" ");
            let exact = exact_jaccard(&left, &right, &config.shingling);
            let estimate = hasher.sign(&left).jaccard(&hasher.sign(&right)).unwrap();
            let error = (exact * (1.0 - exact) / 1024.0).sqrt();
            assert!((estimate - exact).abs() <= 5.0 * error, "{config}: {estimate} for {exact}");
        }
    }
}

#[test]
fn signatures_of_other_parameters_are_refused() {
    let left = MinHasher::new(MinHashConfig::default()).unwrap().sign("a");
    let right = MinHasher::new(MinHashConfig::datasketch(64)).unwrap().sign("a");
    assert_eq!(
        left.jaccard(&right).unwrap_err().to_string(),
        "signatures made by MinHash of 64 permutations (datasketch affine32, seed 1) over 5 words (rule non-word) \
         cannot be compared with signatures made by MinHash of 128 permutations (fast, seed 1) over 5 words \
         (rule letters)"
    );
}

#[test]
fn a_short_text_is_one_shingle() {
    let shingling = Shingling::words(5);
    for (left, right, wanted) in [
        ("3 + 4", "3 - 4", 0.0),
        ("3 +  4\n", "3 + 4", 1.0),
        ("Yes!", "yes!", 1.0),
        ("?!", "!?", 0.0),
        ("", " \n", 1.0),
        ("", "a", 0.0),
        ("one, two; three four five", "One two three four FIVE!", 1.0),
    ] {
        assert_eq!(exact_jaccard(left, right, &shingling), wanted, "{left:?} {right:?}");
        let hasher = MinHasher::new(MinHashConfig::default()).unwrap();
        let estimate = hasher.sign(left).jaccard(&hasher.sign(right)).unwrap();
        assert_eq!(estimate, wanted, "{left:?} {right:?}");
    }
    let characters = Shingling::characters(4);
    assert_eq!(exact_jaccard("abcde", "abcdf", &characters), 1.0 / 3.0);
    assert_eq!(exact_jaccard("äöü", "ÄÖÜ", &characters), 1.0);
    assert_eq!(exact_jaccard("äöüß", "äöüs", &characters), 0.0);
}
