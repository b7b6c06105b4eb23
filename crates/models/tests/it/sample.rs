//! Choosing tokens from logits, as a caller sees it.

use burnisher_models::{GenerationConfig, ModelError, SampleConfig, Sampling};

const LOGITS: [f32; 6] = [0.5, 3.0, -1.0, 3.0, 2.5, f32::NEG_INFINITY];

/// How often each token comes out of `draws` streams.
fn counts(sampling: &Sampling, logits: &[f32], draws: u64) -> Vec<u64> {
    let mut counts = vec![0; logits.len()];
    for stream in 0..draws {
        counts[sampling.pick(logits, &[], 7, stream).expect("a token") as usize] += 1;
    }
    counts
}

fn generation(json: &str) -> GenerationConfig {
    GenerationConfig::from_json(json, "generation_config.json").expect("a valid file")
}

#[test]
fn greedy_and_every_sampling_reduced_to_one_token_agree() {
    let distinct = [0.5, 3.0, -1.0, 2.5];
    for sampling in [
        Sampling::Greedy,
        Sampling::Random(SampleConfig::new(5.0).with_top_k(1)),
        Sampling::Random(SampleConfig::new(5.0).with_top_p(1e-9)),
        Sampling::Random(SampleConfig::new(1e-4)),
    ] {
        assert_eq!(counts(&sampling, &distinct, 50), [0, 50, 0, 0], "{sampling:?}");
    }
    assert_eq!(Sampling::Greedy.pick(&LOGITS, &[], 0, 0).expect("a token"), 1);
}

#[test]
fn draws_come_from_the_truncated_set_and_reach_all_of_it() {
    // Shares at temperature 1: tokens 1 and 3 0.369 each, 4 0.224, 0 0.030, 2 0.007, 5 none.
    for (config, expected) in [
        (SampleConfig::new(1.0), vec![0, 1, 2, 3, 4]),
        (SampleConfig::new(1.0).with_top_k(2), vec![1, 3]),
        (SampleConfig::new(1.0).with_top_k(1), vec![1, 3]),
        (SampleConfig::new(1.0).with_top_k(3), vec![1, 3, 4]),
        (SampleConfig::new(1.0).with_top_p(0.5), vec![1, 3]),
        (SampleConfig::new(1.0).with_top_p(0.8), vec![1, 3, 4]),
        (SampleConfig::new(1.0).with_top_p(0.3), vec![1]),
        (SampleConfig::new(1.0).with_top_k(3).with_top_p(0.35), vec![1]),
    ] {
        let counts = counts(&Sampling::Random(config.clone()), &LOGITS, 2000);
        let drawn: Vec<usize> = (0..LOGITS.len()).filter(|token| counts[*token] > 0).collect();
        assert_eq!(drawn, expected, "{config:?}: {counts:?}");
    }
}

#[test]
fn a_draw_depends_on_seed_and_stream_alone() {
    let sampling = Sampling::Random(SampleConfig::new(2.0));
    let draw = |seed, stream| sampling.pick(&LOGITS, &[], seed, stream).expect("a token");
    let forward: Vec<u32> = (0..64).map(|stream| draw(1, stream)).collect();
    let mut backward: Vec<u32> = (0..64).rev().map(|stream| draw(1, stream)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let other: Vec<u32> = (0..64).map(|stream| draw(2, stream)).collect();
    assert_ne!(forward, other);
}

#[test]
fn a_penalty_makes_room_for_other_tokens() {
    let sampling = Sampling::Random(SampleConfig::new(1.0).with_top_k(1).with_repetition_penalty(2.0));
    let pick = |history: &[u32]| sampling.pick(&[2.0, 3.0, 1.4], history, 0, 0).expect("a token");
    assert_eq!(pick(&[]), 1);
    assert_eq!(pick(&[1, 1]), 0);
    assert_eq!(pick(&[0, 1]), 1);
}

#[test]
fn logits_and_settings_that_mean_nothing_are_errors() {
    for (logits, message) in [
        ([1.0, f32::NAN], "`logits` holds NaN at flat index 1; every value must be finite"),
        ([f32::INFINITY, 0.0], "`logits` holds inf at flat index 0; every value must be finite"),
    ] {
        let error = Sampling::Greedy.pick(&logits, &[], 0, 0).expect_err("no token");
        assert_eq!(error.to_string(), message);
    }
    for (config, message) in [
        (SampleConfig::new(0.0), "`temperature`: found 0, wanted a positive number"),
        (SampleConfig::new(f64::NAN), "`temperature`: found NaN, wanted a positive number"),
        (SampleConfig::new(1.0).with_top_k(0), "`top_k`: found 0, wanted an integer from 1"),
        (SampleConfig::new(1.0).with_top_p(1.5), "`top_p`: found 1.5, wanted a number above 0, at most 1"),
        (
            SampleConfig::new(1.0).with_repetition_penalty(-1.0),
            "`repetition_penalty`: found -1, wanted a positive number",
        ),
    ] {
        let error = Sampling::Random(config).pick(&LOGITS, &[], 0, 0).expect_err("no token");
        assert!(matches!(error, ModelError::Setting(_)));
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn generation_configs_become_samplings() {
    for (json, expected) in [
        ("{}", Sampling::Greedy),
        (r#"{"temperature": 0.7, "top_p": 0.9}"#, Sampling::Greedy),
        (r#"{"do_sample": true}"#, Sampling::Random(SampleConfig::new(1.0))),
        (r#"{"do_sample": true, "temperature": 0.0}"#, Sampling::Greedy),
        (
            r#"{"do_sample": true, "temperature": 0.6, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1}"#,
            Sampling::Random(
                SampleConfig::new(0.6).with_top_k(50).with_top_p(0.9).with_repetition_penalty(1.1),
            ),
        ),
        (
            r#"{"repetition_penalty": 1.1, "top_k": 0}"#,
            Sampling::Random(SampleConfig::new(1.0).with_top_k(1).with_repetition_penalty(1.1)),
        ),
    ] {
        assert_eq!(Sampling::from_generation_config(&generation(json)), expected, "{json}");
    }
}
