//! What holds for every text, label and number: bounds, symmetry, order, and that nothing panics.

use burnisher_eval::{Battle, BattleOutcome, KappaWeights};
use burnisher_eval::{
    BleuConfig, BleuTokenizer, Chrf, ChrfConfig, CorpusMetric, EloConfig, McNemar, Mt19937, PairedTestConfig,
    Pcg64, RougeConfig, RougeTokenizer, RougeType, SegmentStatistics, TagPosition, TagScheme, TaggingConfig,
    TerConfig, ZeroDivision, average_precision, classify, detect_scheme, holm, kendall, pearson,
    resampled_score, roc_auc, spearman,
};
use proptest::prelude::*;

const TOKENIZERS: [BleuTokenizer; 5] =
    [BleuTokenizer::None, BleuTokenizer::V13a, BleuTokenizer::Intl, BleuTokenizer::Char, BleuTokenizer::Zh];

/// Text of any characters, and text whose parts the metrics treat in different ways.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-cß電ñ .,&;'\"\n\u{1c}\u{85}0-9-]{0,24}"]
}

fn some_words() -> impl Strategy<Value = String> {
    "[a-d]{1,2}( [a-d]{1,2}){3,8}"
}

fn chrfs() -> [Chrf; 3] {
    let configs = [ChrfConfig::new(), ChrfConfig::plus_plus(), ChrfConfig::new().with_eps_smoothing(true)];
    configs.map(|config| config.init().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_has_scores_in_range(left in any_text(), right in any_text(), third in any_text()) {
        for tokenizer in TOKENIZERS {
            let bleu = BleuConfig::for_sentences().with_tokenizer(tokenizer).init().unwrap();
            let score = bleu.sentence(&left, &[&right, &third]).score;
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{:?}: {}", tokenizer, score);
        }
        for chrf in chrfs() {
            let score = chrf.sentence(&left, &[&right, &third]);
            prop_assert!((0.0..=100.0 + 1e-9).contains(&score), "{}: {}", chrf.name(), score);
        }
        for normalized in [false, true] {
            let config = TerConfig::new().with_normalized(normalized).with_asian_support(true);
            let ter = config.with_no_punct(normalized).init();
            prop_assert!(ter.score(&ter.counts(&left, &[&right, &third])) >= 0.0);
            prop_assert_eq!(ter.counts(&left, &[&left]).edits, 0);
        }
        for tokenizer in [RougeTokenizer::Ascii, RougeTokenizer::Unicode, RougeTokenizer::Whitespace] {
            let rouge = RougeConfig::new().with_tokenizer(tokenizer).with_use_stemmer(true).init().unwrap();
            for (name, score) in rouge.score(&left, &right) {
                for share in [score.precision, score.recall, score.fmeasure] {
                    prop_assert!((0.0..=1.0).contains(&share), "{}: {}", name, share);
                }
            }
        }
    }

    #[test]
    fn equal_texts_are_perfect(text in some_words()) {
        let bleu = BleuConfig::new().init().unwrap();
        prop_assert!((bleu.sentence(&text, &[&text]).score - 100.0).abs() < 1e-9);
        // With smoothing, orders longer than the text count as missed.
        for chrf in &chrfs()[..2] {
            prop_assert!((chrf.sentence(&text, &[&text]) - 100.0).abs() < 1e-9, "{}", chrf.name());
        }
        let rouge = RougeConfig::new().init().unwrap();
        prop_assert!(rouge.score(&text, &text).values().all(|score| score.fmeasure == 1.0));
    }

    #[test]
    fn swapping_sides_swaps_precision_and_recall(left in any_text(), right in any_text()) {
        // The union of subsequences of ROUGE-Lsum is one of reference lines, so it is left out.
        let types = [RougeType::N(1), RougeType::N(2), RougeType::L];
        let config = RougeConfig::new().with_types(types).with_tokenizer(RougeTokenizer::Unicode);
        let rouge = config.init().unwrap();
        let back = rouge.score(&right, &left);
        for (name, score) in rouge.score(&left, &right) {
            prop_assert_eq!(score.precision, back[&name].recall);
            prop_assert!((score.fmeasure - back[&name].fmeasure).abs() < 1e-12);
        }
        let chrf = ChrfConfig::plus_plus().with_beta(1).init().unwrap();
        prop_assert!((chrf.sentence(&left, &[&right]) - chrf.sentence(&right, &[&left])).abs() < 1e-9);
    }

    #[test]
    fn segments_may_come_in_any_order_and_on_any_number_of_threads(
        rows in prop::collection::vec((some_words(), some_words()), 1..8).prop_flat_map(|rows| {
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
    ) {
        let split = |rows: &[(String, String)]| -> (Vec<String>, Vec<Vec<String>>) {
            rows.iter().map(|(found, wanted)| (found.clone(), vec![wanted.clone()])).unzip()
        };
        let scores = |rows: &[(String, String)]| {
            let (found, wanted) = split(rows);
            let ter = TerConfig::new().init();
            let bleu = BleuConfig::new().init().unwrap().corpus(&found, &wanted).unwrap().score;
            let chrf = ChrfConfig::new().init().unwrap().corpus(&found, &wanted).unwrap();
            [bleu, chrf, ter.score(&ter.corpus(&found, &wanted).unwrap())]
        };
        prop_assert_eq!(scores(&rows.0), scores(&rows.1));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        prop_assert_eq!(one.install(|| scores(&rows.0)), scores(&rows.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn paired_tests_have_a_chance_and_do_not_heed_threads(
        rows in prop::collection::vec((some_words(), some_words(), some_words()), 1..6),
        seed in any::<u64>(),
    ) {
        let chrf = ChrfConfig::new().init().unwrap();
        let references: Vec<Vec<&str>> = rows.iter().map(|row| vec![row.2.as_str()]).collect();
        let side = |part: fn(&(String, String, String)) -> &str| {
            let found: Vec<&str> = rows.iter().map(part).collect();
            SegmentStatistics::new(&chrf, &found, &references).unwrap()
        };
        let (base, tuned) = (side(|row| &row.0), side(|row| &row.1));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for config in [PairedTestConfig::new(), PairedTestConfig::approximate_randomization()] {
            let config = config.with_trials(60).with_seed(seed).with_confidence_resamples(40);
            let run = || config.run(&chrf, &base, &tuned).unwrap();
            let result = run();
            prop_assert!(result.p_value > 0.0 && result.p_value <= 1.0);
            prop_assert_eq!(one.install(run), result);
            prop_assert!(config.run(&chrf, &base, &base).unwrap().identical);
        }
        let interval = resampled_score(&chrf, &base, 60, seed).unwrap();
        prop_assert!((0.0..=100.0 + 1e-9).contains(&interval.mean) && interval.half_width >= 0.0);
        prop_assert!(chrf.score_of(&base.sums()) <= 100.0 + 1e-9);
    }
}

proptest! {
    #[test]
    fn tags_of_any_kind_are_read_or_named(
        sentences in prop::collection::vec(prop::collection::vec(any::<String>(), 0..6), 1..4),
        tags in prop::collection::vec(prop::collection::vec("[BIESOLU](-[XY])?", 0..8), 1..4),
    ) {
        for position in [TagPosition::Prefix, TagPosition::Suffix] {
            for sentences in [&sentences, &tags] {
                let lenient = TaggingConfig::new().with_position(position);
                let strict = TagScheme::ALL.map(|scheme| TaggingConfig::strict(scheme).with_position(position));
                for config in strict.into_iter().chain([lenient]) {
                    if let Ok(spans) = config.spans(sentences) {
                        for span in spans {
                            prop_assert!(span.start < span.end && span.end <= sentences[span.sentence].len());
                        }
                    }
                }
                detect_scheme(sentences, position);
            }
        }
        let report = TaggingConfig::new().score(&tags, &tags).unwrap();
        if !report.types.is_empty() {
            prop_assert_eq!((report.averages.micro.f, report.averages.macro_.f), (1.0, 1.0));
        }
        if tags.iter().any(|tags| !tags.is_empty()) {
            prop_assert_eq!(report.accuracy, 1.0);
        }
    }

    #[test]
    fn labels_have_scores_in_range(
        rows in prop::collection::vec((0..4u8, 0..4u8), 1..30).prop_flat_map(|rows| {
            (Just(rows.clone()), Just(rows).prop_shuffle())
        }),
    ) {
        let confusion = |rows: &[(u8, u8)], swap: bool| {
            let (left, right): (Vec<u8>, Vec<u8>) = rows.iter().copied().unzip();
            if swap { classify(&right, &left).unwrap() } else { classify(&left, &right).unwrap() }
        };
        let (here, back) = (confusion(&rows.0, false), confusion(&rows.0, true));
        prop_assert_eq!(&here, &confusion(&rows.1, false));
        prop_assert!((-1.0 - 1e-12..=1.0 + 1e-12).contains(&here.mcc()));
        prop_assert!((here.mcc() - back.mcc()).abs() < 1e-12);
        prop_assert_eq!(here.accuracy(), back.accuracy());
        prop_assert!(here.kappa(KappaWeights::Quadratic).is_none_or(|kappa| kappa <= 1.0));
        for zero_division in [ZeroDivision::Zero, ZeroDivision::One, ZeroDivision::Ignore] {
            let averages = here.averages(1.0, zero_division);
            for score in [averages.micro, averages.macro_, averages.weighted] {
                for share in [score.precision, score.recall, score.f] {
                    // An average of nothing but ignored classes is one of nothing.
                    let ignored = zero_division == ZeroDivision::Ignore && share.is_nan();
                    prop_assert!(ignored || (0.0..=1.0 + 1e-12).contains(&share), "{:?}", averages);
                }
            }
            // With one label per example micro precision, recall and F1 are the accuracy.
            prop_assert!((averages.micro.f - here.accuracy()).abs() < 1e-12);
        }
        let same: Vec<u8> = rows.0.iter().map(|row| row.0).collect();
        prop_assert_eq!(classify(&same, &same).unwrap().accuracy(), 1.0);
    }

    #[test]
    fn rankings_turn_around_with_the_scores(rows in prop::collection::vec((0..6u8, any::<bool>()), 1..30)) {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
        let positive: Vec<bool> = rows.iter().map(|row| row.1).collect();
        let (there, back) = (roc_auc(&scores, &positive).unwrap(), roc_auc(&negated, &positive).unwrap());
        prop_assert_eq!(there.is_some(), back.is_some());
        if let (Some(there), Some(back)) = (there, back) {
            prop_assert!((there + back - 1.0).abs() < 1e-12);
        }
        let precision = average_precision(&scores, &positive).unwrap();
        prop_assert!(precision.is_none_or(|precision| precision > 0.0 && precision <= 1.0));
    }

    #[test]
    fn correlations_are_symmetric_and_within_1(
        rows in prop::collection::vec((-5.0..5.0f64, -5.0..5.0f64), 2..20),
    ) {
        let (left, right): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        let all = |left: &[f64], right: &[f64]| {
            let r = pearson(left, right).unwrap().map(|(r, _)| r);
            [r, spearman(left, right).unwrap(), kendall(left, right).unwrap()]
        };
        for (there, back) in all(&left, &right).into_iter().zip(all(&right, &left)) {
            if let (Some(there), Some(back)) = (there, back) {
                prop_assert!((there - back).abs() < 1e-12 && there.abs() <= 1.0 + 1e-12);
            }
        }
        for same in all(&left, &left).into_iter().flatten() {
            prop_assert!((same - 1.0).abs() < 1e-12);
        }
        let p = pearson(&left, &right).unwrap().map_or(0.5, |(_, p)| p);
        prop_assert!((0.0..=1.0 + 1e-12).contains(&p));
    }

    #[test]
    fn p_values_are_chances(only_base in 0..400u64, only_tuned in 0..400u64, raw in prop::collection::vec(0.0..=1.0f64, 0..9)) {
        let (there, back) = (McNemar::of_counts(only_base, only_tuned), McNemar::of_counts(only_tuned, only_base));
        for (there, back) in [
            (there.exact_p, back.exact_p),
            (there.chi2_continuity_p, back.chi2_continuity_p),
            (there.chi2_p, back.chi2_p),
        ] {
            prop_assert_eq!(there, back);
            prop_assert!((0.0..=1.0).contains(&there));
        }
        let corrected = holm(&raw);
        for (raw, corrected) in raw.iter().zip(&corrected) {
            prop_assert!(corrected >= raw && *corrected <= 1.0);
        }
    }

    #[test]
    fn elo_points_change_hands_only(rows in prop::collection::vec((0..4u8, 0..4u8, any::<bool>()), 1..30)) {
        let battle = |(first, second, won): &(u8, u8, bool)| {
            let outcome = if *won { BattleOutcome::First } else { BattleOutcome::Tie };
            Battle::new(first.to_string(), second.to_string(), outcome)
        };
        let battles: Vec<Battle> = rows.iter().map(battle).collect();
        let ratings = EloConfig::new().with_k(32.0).rate(&battles);
        let mean = ratings.values().sum::<f64>() / ratings.len() as f64;
        prop_assert!((mean - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn drawn_numbers_stay_below_the_bound(seed in any::<u64>(), bound in any::<u32>()) {
        let (mut pcg, mut twister) = (Pcg64::new(seed), Mt19937::python(seed));
        for _ in 0..20 {
            prop_assert!(pcg.below(bound) < bound.max(1));
            prop_assert!(twister.masked_below(bound) < bound.max(1));
            prop_assert!(twister.scaled_below(bound as usize) < (bound as usize).max(1));
            prop_assert!((0.0..1.0).contains(&pcg.next_f64()));
        }
    }
}
