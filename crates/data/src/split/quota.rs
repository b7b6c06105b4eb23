//! Whole numbers in place of shares: sizes of parts, and of strata within parts.

use std::cmp::Reverse;

/// Whole numbers that add up to `total`, each the share or one less or more: all are rounded down, and what is
/// left goes to the largest remainders, among equals to the first.
pub(super) fn largest_remainder(total: usize, shares: &[f64]) -> Vec<usize> {
    // The small term keeps a whole share whole: 0.29 · 100 is 28.999999999999996.
    let mut whole: Vec<usize> = shares.iter().map(|share| (share + 1e-9).floor().max(0.0) as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|a, b| {
        let remainder = |part: usize| shares[part] - whole[part] as f64;
        remainder(*b).total_cmp(&remainder(*a))
    });
    let left = total.saturating_sub(whole.iter().sum());
    for part in order.into_iter().cycle().take(left) {
        whole[part] += 1;
    }
    whole
}

/// How many records of each stratum go into each part: `[strata][parts]`.
///
/// Every row adds up to its stratum, every column to its part, and every cell is stratum · part / all, rounded down
/// or up. Such a rounding always exists (it is a flow with whole capacities); rows take the cells with the largest
/// remainders, and change places along augmenting paths where a part is full.
pub(super) fn cells(strata: &[usize], parts: &[usize]) -> Vec<Vec<usize>> {
    let all: usize = strata.iter().sum();
    debug_assert_eq!(all, parts.iter().sum::<usize>(), "parts and strata hold the same records");
    let exact = |stratum: usize, part: usize| stratum as u128 * part as u128;
    let all = (all as u128).max(1);
    let of = |f: &dyn Fn(u128) -> u128| -> Vec<Vec<usize>> {
        let row = |stratum: &usize| parts.iter().map(|part| f(exact(*stratum, *part)) as usize).collect();
        strata.iter().map(row).collect()
    };
    let mut cells = of(&|product| product / all);
    let remainders = of(&|product| product % all);
    let spare = (0..parts.len()).map(|part| parts[part] - cells.iter().map(|row| row[part]).sum::<usize>());
    let mut rounding = Rounding {
        taken: vec![vec![false; parts.len()]; strata.len()],
        spare: spare.collect(),
        remainders: &remainders,
    };
    for (row, stratum) in strata.iter().enumerate() {
        for _ in cells[row].iter().sum::<usize>()..*stratum {
            rounding.place(row, &mut vec![false; parts.len()]);
        }
    }
    for (row, taken) in cells.iter_mut().zip(&rounding.taken) {
        row.iter_mut().zip(taken).for_each(|(cell, taken)| *cell += usize::from(*taken));
    }
    cells
}

struct Rounding<'a> {
    /// The cells that are rounded up.
    taken: Vec<Vec<bool>>,
    /// Records that each part still has room for.
    spare: Vec<usize>,
    remainders: &'a [Vec<usize>],
}

impl Rounding<'_> {
    /// Rounds up one more cell of the row; if only full parts are left, another row moves.
    fn place(&mut self, row: usize, visited: &mut [bool]) -> bool {
        let remainders = &self.remainders[row];
        let mut order: Vec<usize> =
            (0..self.spare.len()).filter(|part| remainders[*part] > 0 && !self.taken[row][*part]).collect();
        order.sort_by_key(|part| Reverse(remainders[*part]));
        for part in order {
            if std::mem::replace(&mut visited[part], true) {
                continue;
            }
            if self.spare[part] > 0 {
                self.spare[part] -= 1;
                self.taken[row][part] = true;
                return true;
            }
            for other in 0..self.taken.len() {
                if other != row && self.taken[other][part] && self.place(other, visited) {
                    self.taken[other][part] = false;
                    self.taken[row][part] = true;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn remainders() {
        for (total, shares, wanted) in [
            (10, vec![8.0, 1.0, 1.0], vec![8, 1, 1]),
            (10, vec![3.4, 3.3, 3.3], vec![4, 3, 3]),
            (3, vec![0.6, 1.2, 1.2], vec![1, 1, 1]),
            (100, vec![0.29 * 100.0, 0.71 * 100.0], vec![29, 71]),
            (0, vec![0.0, 0.0], vec![0, 0]),
        ] {
            assert_eq!(largest_remainder(total, &shares), wanted, "{shares:?}");
        }
    }

    proptest! {
        #[test]
        fn cells_keep_both_sums_and_are_within_one(
            strata in prop::collection::vec(0_usize..40, 1..12),
            weights in prop::collection::vec(1_u32..20, 1..6),
        ) {
            let all: usize = strata.iter().sum();
            let sum = f64::from(weights.iter().sum::<u32>());
            let shares: Vec<f64> = weights.iter().map(|w| f64::from(*w) / sum * all as f64).collect();
            let parts = largest_remainder(all, &shares);
            prop_assert_eq!(parts.iter().sum::<usize>(), all);
            let cells = cells(&strata, &parts);
            for (row, stratum) in cells.iter().zip(&strata) {
                prop_assert_eq!(row.iter().sum::<usize>(), *stratum);
                for (cell, part) in row.iter().zip(&parts) {
                    let exact = *stratum as f64 * *part as f64 / all.max(1) as f64;
                    prop_assert!((*cell as f64 - exact).abs() < 1.0, "{} of {}", cell, exact);
                }
            }
            for (column, part) in parts.iter().enumerate() {
                prop_assert_eq!(cells.iter().map(|row| row[column]).sum::<usize>(), *part);
            }
        }
    }
}
