//! How adapters are combined.

use crate::{LoraError, combine::MajoritySign};

/// The ways to combine adapters, by PEFT's names (`add_weighted_adapter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CombinationType {
    /// `Σ wᵢ·ΔWᵢ`.
    Linear,
    /// `Σ wᵢ·ΔWᵢ` as one adapter with the ranks' sum: `A = [wᵢ·sᵢ·Aᵢ]`, `B = [Bᵢ]`.
    Cat,
    /// `Σ wᵢ·ΔWᵢ`, the best approximation of a given rank.
    Svd,
    /// TIES (Yadav et al. 2023, arXiv:2306.01708): prune by magnitude, elect signs, average what agrees.
    Ties,
    /// [`CombinationType::Ties`] of the whole deltas, refactored.
    TiesSvd,
    /// DARE (Yu et al. 2023, arXiv:2311.03099): drop at random and rescale, then the weighted sum.
    DareLinear,
    /// [`CombinationType::DareLinear`] of the whole deltas, refactored.
    DareLinearSvd,
    /// DARE's dropping, TIES' election.
    DareTies,
    /// [`CombinationType::DareTies`] of the whole deltas, refactored.
    DareTiesSvd,
    /// Prune by magnitude, then the weighted sum.
    MagnitudePrune,
    /// [`CombinationType::MagnitudePrune`] of the whole deltas, refactored.
    MagnitudePruneSvd,
}

/// What is done to the deltas of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Sum,
    Ties,
    DareLinear,
    DareTies,
    MagnitudePrune,
}

impl CombinationType {
    const ALL: [(Self, &str); 11] = [
        (Self::Linear, "linear"),
        (Self::Cat, "cat"),
        (Self::Svd, "svd"),
        (Self::Ties, "ties"),
        (Self::TiesSvd, "ties_svd"),
        (Self::DareLinear, "dare_linear"),
        (Self::DareLinearSvd, "dare_linear_svd"),
        (Self::DareTies, "dare_ties"),
        (Self::DareTiesSvd, "dare_ties_svd"),
        (Self::MagnitudePrune, "magnitude_prune"),
        (Self::MagnitudePruneSvd, "magnitude_prune_svd"),
    ];

    /// PEFT's name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The way with PEFT's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether the result is the delta's decomposition; the others keep the form of the factors in PEFT.
    pub(crate) fn is_svd(self) -> bool {
        self.as_str().ends_with("svd")
    }

    pub(crate) fn rule(self) -> Rule {
        match self {
            Self::Linear | Self::Cat | Self::Svd => Rule::Sum,
            Self::Ties | Self::TiesSvd => Rule::Ties,
            Self::DareLinear | Self::DareLinearSvd => Rule::DareLinear,
            Self::DareTies | Self::DareTiesSvd => Rule::DareTies,
            Self::MagnitudePrune | Self::MagnitudePruneSvd => Rule::MagnitudePrune,
        }
    }
}

/// Which arithmetic a combination follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CombineArithmetic {
    /// What the name says: every rule acts on the deltas `ΔWᵢ = sᵢ·Bᵢ·Aᵢ`, in f64. `linear` is the exact sum, in
    /// the form of `cat`; `ties`, `dare_*` and `magnitude_prune` are the same as with `_svd`.
    #[default]
    Exact,
    /// peft 0.21's numbers, in f32. Without `_svd` the rules act on `A` and `B` apart, each weighted by
    /// `√|wᵢ·sᵢ|`: for two adapters or more the product is not the sum of the deltas but has cross terms
    /// `BᵢAⱼ`. Ranks must be equal there.
    Peft,
}

/// How adapters are combined.
#[derive(Clone, Debug, PartialEq)]
pub struct CombineConfig {
    pub(crate) combination: CombinationType,
    pub(crate) density: Option<f64>,
    pub(crate) majority_sign: MajoritySign,
    pub(crate) svd_rank: Option<usize>,
    pub(crate) arithmetic: CombineArithmetic,
    pub(crate) seed: u64,
}

impl CombineConfig {
    /// A way to combine, with exact arithmetic.
    pub fn new(combination: CombinationType) -> Self {
        Self {
            combination,
            density: None,
            majority_sign: MajoritySign::Total,
            svd_rank: None,
            arithmetic: CombineArithmetic::Exact,
            seed: 0,
        }
    }

    /// Sets the share of values that pruning keeps, above 0 and at most 1.
    pub fn with_density(mut self, density: f64) -> Self {
        self.density = Some(density);
        self
    }

    /// Sets whose sign wins, for TIES.
    pub fn with_majority_sign(mut self, majority_sign: MajoritySign) -> Self {
        self.majority_sign = majority_sign;
        self
    }

    /// Sets the rank of a decomposed result; by default the largest of the adapters.
    pub fn with_svd_rank(mut self, svd_rank: usize) -> Self {
        self.svd_rank = Some(svd_rank);
        self
    }

    /// Sets the arithmetic.
    pub fn with_arithmetic(mut self, arithmetic: CombineArithmetic) -> Self {
        self.arithmetic = arithmetic;
        self
    }

    /// Sets the seed of DARE's dropping. The numbers are not torch's.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// [`LoraError::Config`]: a density that is missing, out of range, or without use; a rank of 0, or where nothing is
    /// decomposed.
    pub fn validate(&self) -> Result<(), LoraError> {
        let name = self.combination.as_str();
        let prunes = self.combination.rule() != Rule::Sum;
        match self.density {
            Some(density) if !prunes => {
                let wanted = format!("nothing, because {name} prunes nothing");
                return Err(LoraError::config("density", density, &wanted));
            }
            Some(density) if !(density > 0.0 && density <= 1.0) => {
                return Err(LoraError::config("density", density, "a number above 0, at most 1"));
            }
            None if prunes => {
                let wanted = format!("a number above 0, at most 1, for {name}");
                return Err(LoraError::config("density", "missing", &wanted));
            }
            _ => {}
        }
        match self.svd_rank {
            Some(0) => Err(LoraError::config("svd_rank", 0, "a rank above 0")),
            Some(rank) if !self.decomposes() => {
                let wanted = format!("nothing, because {name} decomposes nothing");
                Err(LoraError::config("svd_rank", rank, &wanted))
            }
            _ => Ok(()),
        }
    }

    /// Whether the factors of the result come from a decomposition.
    pub(crate) fn decomposes(&self) -> bool {
        match self.arithmetic {
            CombineArithmetic::Peft => self.combination.is_svd(),
            CombineArithmetic::Exact => {
                !matches!(self.combination, CombinationType::Linear | CombinationType::Cat)
            }
        }
    }
}
