//! Several tests at once.

/// Holm's correction of the p-values of several tests (Holm 1979, "A Simple Sequentially Rejective Multiple Test
/// Procedure"), in the order given.
pub(super) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let (mut corrected, mut largest) = (vec![0.0; p_values.len()], 0.0_f64);
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max((p_values[index] * (p_values.len() - rank) as f64).min(1.0));
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_p_counts_the_tests_left() {
        // Sorted 0.005·4, 0.01·3, 0.03·2, then 0.04·1, which may not fall below the one before.
        let got = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, wanted) in got.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - wanted).abs() < 1e-12, "{got} instead of {wanted}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert_eq!(holm(&[0.2]), [0.2]);
        assert!(holm(&[]).is_empty());
    }
}
