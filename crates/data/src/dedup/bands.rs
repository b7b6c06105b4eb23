use crate::error::DataError;

/// Steps of Simpson's rule on each side of the threshold.
const STEPS: usize = 200;

/// How the numbers of a MinHash signature are grouped: two texts are candidates if all `rows` numbers of one of
/// the `bands` are equal, which happens with probability 1 - (1 - J^rows)^bands (Leskovec, Rajaraman, Ullman,
/// chapter 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Bands {
    /// [`optimal_bands`] with equal weights, as datasketch chooses.
    #[default]
    Optimal,
    /// [`optimal_bands`] with these weights.
    Weighted {
        /// Weight of candidates below the threshold.
        false_positive: f64,
        /// Weight of pairs above it that are missed.
        false_negative: f64,
    },
    /// So many bands of so many rows; numbers that are left over only count in the estimate.
    Fixed {
        /// Bands.
        bands: usize,
        /// Numbers per band.
        rows: usize,
    },
}

impl Bands {
    /// `(bands, rows)` for signatures of `num_perm` numbers.
    pub(crate) fn resolve(self, threshold: f64, num_perm: usize) -> (usize, usize) {
        match self {
            Self::Optimal => optimal_bands(threshold, num_perm, 0.5, 0.5),
            Self::Weighted { false_positive, false_negative } => {
                optimal_bands(threshold, num_perm, false_positive, false_negative)
            }
            Self::Fixed { bands, rows } => (bands, rows),
        }
    }

    /// # Errors
    ///
    /// [`DataError::InvalidConfig`] for bands that need more numbers than there are, or weights that are
    /// negative, not finite or both 0.
    pub(crate) fn validate(self, num_perm: usize) -> Result<(), DataError> {
        let invalid = |found: String, wanted| Err(DataError::InvalidConfig { field: "bands", found, wanted });
        match self {
            Self::Optimal => Ok(()),
            Self::Weighted { false_positive, false_negative } => {
                let valid = |weight: f64| weight.is_finite() && weight >= 0.0;
                if valid(false_positive) && valid(false_negative) && false_positive + false_negative > 0.0 {
                    return Ok(());
                }
                invalid(
                    format!("weights {false_positive} and {false_negative}"),
                    "weights of at least 0, one of them above 0",
                )
            }
            Self::Fixed { bands, rows } => {
                if bands > 0 && rows > 0 && bands.checked_mul(rows).is_some_and(|all| all <= num_perm) {
                    return Ok(());
                }
                invalid(
                    format!("{bands} bands of {rows} rows for {num_perm} permutations"),
                    "at least 1 of each, together at most as many as there are permutations",
                )
            }
        }
    }
}

/// The `(bands, rows)` with the smallest weighted sum of false positives, the integral of the probability to be
/// a candidate from 0 to `threshold`, and false negatives, the integral of its complement from there to 1
/// (datasketch, `lsh._optimal_param`). Of equal ones the fewest bands, then the fewest rows.
///
/// ```
/// use burnisher_data::optimal_bands;
///
/// assert_eq!(optimal_bands(0.5, 128, 0.5, 0.5), (25, 5));
/// ```
pub fn optimal_bands(
    threshold: f64,
    num_perm: usize,
    false_positive_weight: f64,
    false_negative_weight: f64,
) -> (usize, usize) {
    let below = Grid::new(0.0, threshold);
    let above = Grid::new(threshold, 1.0);
    let mut best = (1, 1);
    let mut least = f64::INFINITY;
    for bands in 1..=num_perm {
        let power = i32::try_from(bands).unwrap_or(i32::MAX);
        let (mut below, mut above) = (below.clone(), above.clone());
        for rows in 1..=num_perm / bands {
            let missed = |similarity: f64| (1.0 - similarity).powi(power);
            let false_positive = below.next_integral(|similarity| 1.0 - missed(similarity));
            let false_negative = above.next_integral(missed);
            let error = false_positive * false_positive_weight + false_negative * false_negative_weight;
            if error < least {
                least = error;
                best = (bands, rows);
            }
        }
    }
    best
}

/// Points of Simpson's rule with one more power of each at every call.
#[derive(Clone)]
struct Grid {
    step: f64,
    points: Vec<f64>,
    powers: Vec<f64>,
}

impl Grid {
    fn new(from: f64, to: f64) -> Self {
        let step = (to - from) / STEPS as f64;
        let points: Vec<f64> = (0..=STEPS).map(|i| from + step * i as f64).collect();
        Self { step, powers: vec![1.0; points.len()], points }
    }

    fn next_integral(&mut self, of: impl Fn(f64) -> f64) -> f64 {
        let mut sum = 0.0;
        for (i, (power, point)) in self.powers.iter_mut().zip(&self.points).enumerate() {
            *power *= point;
            let weight = match i {
                0 | STEPS => 1.0,
                _ if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            sum += weight * of(*power);
        }
        sum * self.step / 3.0
    }
}
