//! Elo and Bradley-Terry against FastChat's formulas.

use burnisher_eval::{Battle, BattleOutcome, BradleyTerryConfig, EloConfig, Regularized, win_rates};
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

/// The reference stops at a gradient of 1e-12 or where the loss no longer falls; this goes on to the maximum.
#[test]
fn bradley_terry_matches() {
    let Some(data) = fixture("elo_bt.json") else {
        return;
    };
    let ratings = BradleyTerryConfig::new().with_resamples(50).rate(&battles(&data)).unwrap();
    assert_eq!((ratings.regularized, ratings.regularized_resamples), (None, 0));
    assert_eq!(ratings.systems.len(), 6);
    for system in &ratings.systems {
        let wanted = number(&data["bt"][&system.name]);
        assert!((system.rating - wanted).abs() <= 1e-2, "{system:?} instead of {wanted}");
        for (got, wanted) in
            system.quantiles.unwrap().iter().zip(list(&data["bt_bootstrap_50_seed0"][&system.name]))
        {
            assert!((got - number(wanted)).abs() <= 1e-2, "{system:?} instead of {wanted}");
        }
    }
    let worst = ratings
        .systems
        .iter()
        .map(|system| (system.rating - number(&data["bt"][&system.name])).abs())
        .fold(0.0f64, f64::max);
    assert!(worst <= 2e-6, "{worst}");
    assert_eq!((ratings.systems[0].name.as_str(), ratings.systems[0].rank), ("m0", 1));
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
