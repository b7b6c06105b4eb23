use std::collections::HashMap;

use burnisher_data::{MixConfig, MixOrder, MixShares, MixSource};
use proptest::prelude::*;

fn order(config: MixConfig) -> MixOrder {
    config.order().unwrap_or_else(|error| panic!("{error}"))
}

fn counts(order: &MixOrder, draws: usize) -> Vec<usize> {
    let mut counts = vec![0; order.config().sources.len()];
    order.iter().take(draws).for_each(|(source, _)| counts[source] += 1);
    counts
}

#[test]
fn shares_by_weight_temperature_and_replay() {
    let sources = || [MixSource::new("a", 10_000), MixSource::new("b", 100)];
    let near = |config: MixConfig, wanted: &[f64]| {
        let order = order(config.with_seed(3));
        for draws in [1024, 5000, 100_000] {
            for (count, wanted) in counts(&order, draws).into_iter().zip(wanted) {
                // A block in the middle may have given anything of its own draws; a whole one is within one.
                let off = (count as f64 - wanted * draws as f64).abs();
                assert!(off < 100.0, "{count} of {draws}, wanted {wanted}");
                assert!(draws != 1024 || off <= 1.0, "{count} of a block, wanted {wanted}");
            }
        }
    };
    near(MixConfig::new(sources()), &[0.5, 0.5]);
    near(MixConfig::new([MixSource::new("a", 5).with_weight(3.0), MixSource::new("b", 7)]), &[0.75, 0.25]);
    near(MixConfig::new(sources()).with_shares(MixShares::Temperature(1.0)), &[100.0 / 101.0, 1.0 / 101.0]);
    near(MixConfig::new(sources()).with_shares(MixShares::Temperature(2.0)), &[100.0 / 110.0, 10.0 / 110.0]);
    near(MixConfig::new(sources()).with_replay(MixSource::new("c", 9), 0.2), &[0.4, 0.4, 0.2]);
}

#[test]
fn epochs_are_capped_and_the_rest_goes_on() {
    let config = MixConfig::new([
        MixSource::new("small", 100).with_max_epochs(2.5),
        MixSource::new("large", 3000).with_max_epochs(1.0),
    ]);
    let capped = order(config.clone());
    let draws: Vec<(usize, usize)> = capped.iter().collect();
    assert_eq!(draws.len(), 3250);
    assert_eq!(counts(&capped, usize::MAX), [250, 3000]);
    assert_eq!(capped.at(3250), None);
    assert_eq!(capped.iter_from(9999).next(), None);
    // Replay never outlives the others.
    let replayed = order(config.with_replay(MixSource::new("general", 10), 0.25));
    let counts = counts(&replayed, usize::MAX);
    assert_eq!(counts[..2], [250, 3000]);
    assert!((counts[2] as f64 - 3250.0 / 3.0).abs() < 5.0, "{counts:?}");
    let report = replayed.report(u64::MAX);
    assert_eq!(report.draws as usize, counts.iter().sum::<usize>());
    assert!((report.sources[0].epochs - 2.5).abs() < 1e-12);
}

#[test]
fn small_sources_keep_their_shares_to_their_end() {
    let own = MixSource::new("domain", 60).with_max_epochs(1.0);
    let order = order(MixConfig::new([own]).with_replay(MixSource::new("general", 40), 0.2));
    for draws in [10, 50, 75] {
        let counts = counts(&order, draws);
        assert!((counts[1] as f64 - 0.2 * draws as f64).abs() <= 6.0, "{counts:?} of {draws}");
    }
    let all = counts(&order, usize::MAX);
    assert!(all[0] == 60 && (14..=16).contains(&all[1]), "{all:?}");
}

#[test]
fn a_report_counts_what_came() {
    let order = order(MixConfig::new([MixSource::new("a", 10), MixSource::new("b", 1000).with_weight(3.0)]));
    let wanted = counts(&order, 2000);
    let report = order.report(2000);
    assert_eq!(report.sources.iter().map(|source| source.drawn as usize).collect::<Vec<_>>(), wanted);
    let text = report.to_string();
    assert!(
        text.starts_with("2000 draws from 2 sources\n  a: ") && text.contains("(25.0 % asked for)"),
        "{text}"
    );
    assert_eq!(order.report(0).sources[1].drawn, 0);
}

#[test]
fn wrong_configurations_are_errors() {
    let a = || MixSource::new("a", 5);
    for (config, wanted) in [
        (MixConfig::new([]), "sources is 0"),
        (MixConfig::new([]).with_replay(a(), 0.5), "beside replay"),
        (MixConfig::new([a(), a()]), "each once"),
        (MixConfig::new([MixSource::new("a", 0)]), "at least one record"),
        (MixConfig::new([a().with_weight(f64::NAN)]), "source weight is NaN"),
        (MixConfig::new([a().with_max_epochs(0.0)]), "source max_epochs is 0"),
        (MixConfig::new([a()]).with_shares(MixShares::Temperature(0.0)), "temperature is 0"),
        (MixConfig::new([a()]).with_replay(MixSource::new("b", 1), 1.0), "replay share is 1"),
    ] {
        let error = config.order().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(wanted), "{error}, wanted {wanted}");
    }
}

fn sources() -> impl Strategy<Value = Vec<MixSource>> {
    let source = (1_usize..400, 1_u8..20, prop::option::of(1_u8..40));
    prop::collection::vec(source, 1..6).prop_map(|sources| {
        let source = |(at, (records, weight, epochs)): (usize, (usize, u8, Option<u8>))| {
            let source = MixSource::new(format!("s{at}"), records).with_weight(f64::from(weight));
            match epochs {
                Some(epochs) => source.with_max_epochs(f64::from(epochs) / 8.0),
                None => source,
            }
        };
        sources.into_iter().enumerate().map(source).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn resumed_is_straight(sources in sources(), seed: u64, position in 0_usize..6000) {
        let order = order(MixConfig::new(sources).with_seed(seed));
        let straight: Vec<(usize, usize)> = order.iter().skip(position).take(50).collect();
        let mut iter = order.iter_from(position as u64);
        let resumed: Vec<(usize, usize)> = iter.by_ref().take(50).collect();
        prop_assert_eq!(&resumed, &straight);
        prop_assert_eq!(iter.position(), (position + straight.len()) as u64);
        prop_assert_eq!(order.at(position as u64), straight.first().copied());
        let again = order.iter_from(iter.position()).next();
        prop_assert_eq!(iter.next(), again);
    }

    #[test]
    fn no_record_comes_twice_in_an_epoch(sources in sources(), seed: u64) {
        let order = order(MixConfig::new(sources.clone()).with_seed(seed));
        let mut drawn: HashMap<usize, Vec<usize>> = HashMap::new();
        for (source, record) in order.iter().take(6000) {
            drawn.entry(source).or_default().push(record);
        }
        for (source, records) in drawn {
            let size = sources[source].records;
            for epoch in records.chunks(size) {
                let mut seen = vec![false; size];
                for record in epoch {
                    prop_assert!(!std::mem::replace(&mut seen[*record], true));
                }
            }
            if let Some(epochs) = sources[source].max_epochs {
                let cap = ((epochs * size as f64).floor() as usize).max(1);
                prop_assert!(records.len() <= cap, "{} of {}", records.len(), cap);
            }
        }
    }

    #[test]
    fn shares_converge(weights in prop::collection::vec(1_u32..50, 1..6), seed: u64) {
        let sources = weights.iter().enumerate();
        let sources = sources.map(|(at, weight)| MixSource::new(format!("s{at}"), 77).with_weight(f64::from(*weight)));
        let order = order(MixConfig::new(sources).with_seed(seed));
        let sum = f64::from(weights.iter().sum::<u32>());
        let blocks = 30;
        for (count, weight) in counts(&order, blocks * 1024).into_iter().zip(&weights) {
            let wanted = f64::from(*weight) / sum * blocks as f64 * 1024.0;
            // Far below what independent draws would do, about √30720 = 175.
            prop_assert!((count as f64 - wanted).abs() < 6.0, "{} for {}", count, wanted);
        }
    }
}
