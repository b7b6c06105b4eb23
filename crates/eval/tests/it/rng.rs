//! The generators against NumPy 2.4.6 and CPython 3.11, bit by bit.

use burnisher_eval::{Mt19937, Pcg64};
use serde_json::{Value, json};

use crate::{fixture, list, number, text};

#[test]
fn pcg64_is_numpys() {
    let Some(data) = fixture("significance.json") else {
        return;
    };
    let vectors = data["rng"].as_object().unwrap();
    assert_eq!(vectors.len(), 3);
    for (seed, wanted) in vectors {
        let seed: u64 = seed.parse().unwrap();
        let words = |value: &Value| -> Vec<u64> {
            list(value).iter().map(|word| text(word).parse().unwrap()).collect()
        };
        assert_eq!(Pcg64::seed_sequence(seed).to_vec(), words(&wanted["seedsequence_state4"]), "{seed}");
        let mut generator = Pcg64::new(seed);
        let raw: Vec<u64> = (0..8).map(|_| generator.next_u64()).collect();
        assert_eq!(raw, words(&wanted["pcg64_raw_u64_first8"]), "{seed}");
        let mut generator = Pcg64::new(seed);
        let drawn: Vec<u32> = (0..64).map(|_| generator.below(150)).collect();
        assert_eq!(json!(drawn), wanted["choice_n150_first64"], "{seed}");
        let mut generator = Pcg64::new(seed);
        let drawn: Vec<Vec<u32>> = (0..3).map(|_| (0..26).map(|_| generator.below(26)).collect()).collect();
        assert_eq!(json!(drawn), wanted["choice_n26_size_3x26"], "{seed}");
        let bools: Vec<u8> = Pcg64::new(seed).bools(96).into_iter().map(u8::from).collect();
        assert_eq!(json!(bools), wanted["integers_bool_first96"], "{seed}");
    }
}

#[test]
fn mt19937_is_cpythons() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let seeds = data["pyrandom"].as_object().unwrap();
    assert_eq!(seeds.len(), 3);
    for (seed, wanted) in seeds {
        let seed: u64 = seed.parse().unwrap();
        assert_eq!(Mt19937::python(seed).next_f64(), number(&wanted["random_first4"][0]), "{seed}");
        let mut generator = Mt19937::python(seed);
        let drawn: Vec<usize> = (0..32).map(|_| generator.scaled_below(53)).collect();
        assert_eq!(json!(drawn), wanted["choices_53_first32"], "{seed}");
    }
}
