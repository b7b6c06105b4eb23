//! Many systems compared in pairs: ratings, intervals and ranks.

mod bradley_terry;
mod elo;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::bradley_terry::{BradleyTerryConfig, RatedSystem, Ratings, Regularized};
pub use self::elo::EloConfig;

/// Who won a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BattleOutcome {
    /// The first system.
    First,
    /// The second system.
    Second,
    /// Neither.
    Tie,
    /// Neither, and neither is good; a tie for every rating.
    BothBad,
}

impl BattleOutcome {
    /// What the first system gets: 1, 0, or ½ for ties.
    pub fn score(self) -> f64 {
        match self {
            Self::First => 1.0,
            Self::Second => 0.0,
            Self::Tie | Self::BothBad => 0.5,
        }
    }
}

/// One comparison of two systems.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Battle {
    /// Name of the first system.
    pub first: String,
    /// Name of the second system.
    pub second: String,
    /// Who won.
    pub outcome: BattleOutcome,
}

impl Battle {
    /// A comparison of two systems.
    pub fn new(first: impl Into<String>, second: impl Into<String>, outcome: BattleOutcome) -> Self {
        Self { first: first.into(), second: second.into(), outcome }
    }
}

/// How often a system won against another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// Wins plus half the ties, over the comparisons, 0..1.
    pub rate: f64,
    /// Comparisons.
    pub count: u64,
}

/// Per system and opponent, how often it won.
pub fn win_rates(battles: &[Battle]) -> BTreeMap<String, BTreeMap<String, WinRate>> {
    let mut rates: BTreeMap<String, BTreeMap<String, WinRate>> = BTreeMap::new();
    for Battle { first, second, outcome } in battles {
        let sides = [(first, second, outcome.score()), (second, first, 1.0 - outcome.score())];
        for (system, opponent, score) in sides {
            let of_system = rates.entry(system.clone()).or_default();
            let rate = of_system.entry(opponent.clone()).or_default();
            rate.rate += score;
            rate.count += 1;
        }
    }
    for rate in rates.values_mut().flat_map(BTreeMap::values_mut) {
        rate.rate /= rate.count as f64;
    }
    rates
}

/// Points per factor of ten in the odds, and the mean rating, of chess and of every arena.
const SCALE: f64 = 400.0;
const START: f64 = 1000.0;

/// Systems in the order of their names, and battles as their positions in it.
struct Field {
    names: Vec<String>,
    battles: Vec<(usize, usize, f64)>,
}

impl Field {
    fn new(battles: &[Battle]) -> Self {
        let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
        for battle in battles {
            positions.insert(&battle.first, 0);
            positions.insert(&battle.second, 0);
        }
        positions.values_mut().enumerate().for_each(|(position, slot)| *slot = position);
        let row = |battle: &Battle| {
            (positions[battle.first.as_str()], positions[battle.second.as_str()], battle.outcome.score())
        };
        let battles = battles.iter().map(row).collect();
        Self { battles, names: positions.into_keys().map(str::to_owned).collect() }
    }
}
