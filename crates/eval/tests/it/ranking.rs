//! Elo and Bradley-Terry against FastChat's formulas.

use std::collections::BTreeMap;

use burnisher_eval::{Battle, BattleOutcome, BradleyTerryConfig, EloConfig, Pcg64, Regularized, win_rates};
use proptest::prelude::*;
use serde_json::Value;

use crate::{close, fixture, list, number, text};

#[test]
fn elo_matches() {
    let Some(data) = fixture("elo_bt.json") else {
        return;
    };
    let battles = battles(&data);
    for (k, name) in [(4.0, "elo_k4"), (32.0, "elo_k32")] {
        let ratings = EloConfig::new().with_k(k).rate(&battles);
        let wanted = data[name].as_object().unwrap();
        assert_eq!(ratings.len(), wanted.len());
        for (system, rating) in &ratings {
            close(*rating, number(&wanted[system]), &format!("{name} of {system}"));
        }
    }
    for (system, estimate) in EloConfig::new().intervals(&battles).unwrap() {
        let [low, high] = estimate.interval;
        assert!(low < high && low < estimate.value + 60.0 && high > estimate.value - 60.0, "{system}");
    }
}

/// The reference's search (L-BFGS) ends where 64 bits no longer tell a fall of the loss, up to 2e-6 points before the
/// maximum. So it is compared with the step left to go, which its slope there tells: one step of Newton's method, exact to
/// the square of its length.
#[test]
fn bradley_terry_matches() {
    let Some(data) = fixture("elo_bt.json") else {
        return;
    };
    let battles = battles(&data);
    let ratings = BradleyTerryConfig::new().with_resamples(0).rate(&battles).unwrap();
    assert_eq!((ratings.regularized, ratings.regularized_resamples), (None, 0));
    assert_eq!(ratings.systems.len(), 6);
    assert_eq!((ratings.systems[0].name.as_str(), ratings.systems[0].rank), ("m0", 1));
    let reference: BTreeMap<&str, f64> = data["bt"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, rating)| (name.as_str(), number(rating)))
        .collect();
    let left = newton_step(&battles, &reference);
    for system in &ratings.systems {
        let (name, wanted) = (system.name.as_str(), reference[system.name.as_str()]);
        assert!(left[name].abs() <= 2e-6, "{name} is {} from the maximum", left[name]);
        close(system.rating, wanted + left[name], name);
    }
}

/// Every resample against another way to the maximum. The reference's quantiles are of searches that ended early, each
/// before its own maximum, which the quantiles no longer tell.
#[test]
fn intervals_of_bradley_terry_match() {
    let Some(data) = fixture("elo_bt.json") else {
        return;
    };
    let battles = battles(&data);
    let ratings = BradleyTerryConfig::new().with_resamples(50).rate(&battles).unwrap();
    assert_eq!(ratings.regularized_resamples, 0);
    let mut generator = Pcg64::new(0);
    let mut drawn: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..50 {
        let sample: Vec<Battle> =
            battles.iter().map(|_| battles[generator.below(battles.len() as u32) as usize].clone()).collect();
        for (system, rating) in minorize(&sample) {
            drawn.entry(system).or_default().push(rating);
        }
    }
    for system in &ratings.systems {
        let values = drawn.get_mut(&system.name).unwrap();
        values.sort_by(f64::total_cmp);
        let references = list(&data["bt_bootstrap_50_seed0"][&system.name]);
        for (at, level) in [0.025, 0.5, 0.975].into_iter().enumerate() {
            let place: f64 = level * 49.0;
            let (below, share) = (values[place as usize], place.fract());
            let wanted = below + share * (values[place as usize + 1] - below);
            let got = system.quantiles.unwrap()[at];
            close(got, wanted, &format!("{level} of {}", system.name));
            assert!((got - number(&references[at])).abs() <= 2e-6, "{level} of {}: {got}", system.name);
        }
    }
}

/// What Newton's method would add to these ratings, which keeps their mean.
fn newton_step<'a>(battles: &[Battle], ratings: &BTreeMap<&'a str, f64>) -> BTreeMap<&'a str, f64> {
    let names: Vec<&str> = ratings.keys().copied().collect();
    let place = |name: &str| names.iter().position(|other| *other == name).unwrap();
    let scale = 400.0 / std::f64::consts::LN_10;
    let mut slope = vec![0.0; names.len()];
    let mut curvature = vec![vec![0.0; names.len()]; names.len()];
    for battle in battles {
        let (first, second) = (place(&battle.first), place(&battle.second));
        let p = 1.0 / (1.0 + ((ratings[names[second]] - ratings[names[first]]) / scale).exp());
        slope[first] += battle.outcome.score() - p;
        slope[second] -= battle.outcome.score() - p;
        curvature[first][second] -= p * (1.0 - p);
        curvature[second][first] -= p * (1.0 - p);
        curvature[first][first] += p * (1.0 - p);
        curvature[second][second] += p * (1.0 - p);
    }
    // Gauss and Seidel's iteration, which converges for such a matrix; the last sweeps change nothing.
    let mut step = vec![0.0; names.len()];
    for _ in 0..500 {
        for row in 0..names.len() {
            let others: f64 =
                (0..names.len()).filter(|at| *at != row).map(|at| curvature[row][at] * step[at]).sum();
            step[row] = (slope[row] - others) / curvature[row][row];
        }
    }
    let mean = step.iter().sum::<f64>() / step.len() as f64;
    ratings.keys().zip(step).map(|(name, step)| (*name, (step - mean) * scale)).collect()
}

/// Ratings by Zermelo's iteration (Hunter 2004, "MM Algorithms for Generalized Bradley-Terry Models", equation 3),
/// which only ever raises the likelihood.
fn minorize(battles: &[Battle]) -> BTreeMap<String, f64> {
    let mut wins: BTreeMap<&str, f64> = BTreeMap::new();
    let mut met: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for Battle { first, second, outcome } in battles {
        *wins.entry(first).or_default() += outcome.score();
        *wins.entry(second).or_default() += 1.0 - outcome.score();
        *met.entry((first, second)).or_default() += 1.0;
        *met.entry((second, first)).or_default() += 1.0;
    }
    let mut strength: BTreeMap<&str, f64> = wins.keys().map(|name| (*name, 1.0)).collect();
    for _ in 0..2000 {
        let mut expected: BTreeMap<&str, f64> = BTreeMap::new();
        for ((system, opponent), count) in &met {
            *expected.entry(system).or_default() += count / (strength[system] + strength[opponent]);
        }
        strength = wins.iter().map(|(name, wins)| (*name, wins / expected[name])).collect();
    }
    let logs: Vec<f64> = strength.values().map(|strength| strength.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let rating = |log: f64| 1000.0 + 400.0 / std::f64::consts::LN_10 * (log - mean);
    strength.keys().zip(logs).map(|(name, log)| ((*name).to_owned(), rating(log))).collect()
}

#[test]
fn win_rates_match() {
    let Some(data) = fixture("elo_bt.json") else {
        return;
    };
    let rates = win_rates(&battles(&data));
    assert_eq!(rates.len(), 6);
    for (system, opponents) in &rates {
        for (opponent, rate) in opponents {
            close(rate.rate, number(&data["win_rate_half_ties"][system][opponent]), system);
            assert_eq!(Some(rate.count), data["counts"][system][opponent].as_u64(), "{system}, {opponent}");
        }
    }
}

#[test]
fn ratings_that_would_be_infinite_are_held_back_and_say_so() {
    let win = |first: &str, second: &str| Battle::new(first, second, BattleOutcome::First);
    let config = BradleyTerryConfig::new().with_resamples(0);
    let one_sided = config.rate(&[win("a", "b"), win("b", "c"), win("c", "b")]).unwrap();
    assert_eq!(one_sided.regularized, Some(Regularized::OneSided));
    assert_eq!(one_sided.systems[0].name, "a");
    let apart = config.rate(&[win("a", "b"), win("b", "a"), win("c", "d"), win("d", "c")]).unwrap();
    assert_eq!(apart.regularized, Some(Regularized::Disconnected));
    for system in one_sided.systems.iter().chain(&apart.systems) {
        assert!((0.0..2000.0).contains(&system.rating), "{system:?}");
    }
    assert_eq!(
        config.rate(&[]).unwrap_err().to_string(),
        "bradley-terry: found no examples, wanted at least one"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_expected_wins_are_the_wins(rows in prop::collection::vec((0..4u8, 0..4u8, 0..3u8), 1..30)) {
        let battles: Vec<Battle> = rows
            .iter()
            .map(|(first, second, outcome)| {
                let outcomes = [BattleOutcome::First, BattleOutcome::Second, BattleOutcome::Tie];
                Battle::new(first.to_string(), second.to_string(), outcomes[*outcome as usize])
            })
            .collect();
        let ratings = BradleyTerryConfig::new().with_resamples(0).rate(&battles).unwrap();
        prop_assert!(ratings.systems.iter().all(|system| system.rating.is_finite()));
        let mean = ratings.systems.iter().map(|s| s.rating).sum::<f64>() / ratings.systems.len() as f64;
        prop_assert!((mean - 1000.0).abs() < 1e-6);
        if ratings.regularized.is_none() {
            let rating = |name: &str| ratings.systems.iter().find(|s| s.name == name).unwrap().rating;
            for system in &ratings.systems {
                let (mut wins, mut expected) = (0.0, 0.0);
                for battle in battles.iter().filter(|battle| battle.first != battle.second) {
                    let p = 1.0 / (1.0 + 10f64.powf((rating(&battle.second) - rating(&battle.first)) / 400.0));
                    if battle.first == system.name {
                        wins += battle.outcome.score();
                        expected += p;
                    } else if battle.second == system.name {
                        wins += 1.0 - battle.outcome.score();
                        expected += 1.0 - p;
                    }
                }
                prop_assert!((wins - expected).abs() < 1e-6, "{}: {} and {}", system.name, wins, expected);
            }
        }
    }
}

fn battles(data: &Value) -> Vec<Battle> {
    list(&data["battles"])
        .iter()
        .map(|row| {
            let outcome = match text(&row[2]) {
                "model_a" => BattleOutcome::First,
                "model_b" => BattleOutcome::Second,
                "tie" => BattleOutcome::Tie,
                "tie (bothbad)" => BattleOutcome::BothBad,
                other => panic!("outcome {other}"),
            };
            Battle::new(text(&row[0]), text(&row[1]), outcome)
        })
        .collect()
}
