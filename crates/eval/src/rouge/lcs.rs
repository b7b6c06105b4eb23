//! Longest common subsequences of token numbers.

/// Length of the longest common subsequence.
///
/// A row of the table in bits, 64 of its steps at a time: Hyyrö 2004, "Bit-Parallel LCS-length Computation
/// Revisited".
pub(super) fn length(left: &[u32], right: &[u32]) -> usize {
    let blocks = left.len().div_ceil(64);
    let symbols = left.iter().max().map_or(0, |most| *most as usize + 1);
    // Per token, the positions of `left` that have it.
    let mut masks = vec![0u64; symbols * blocks];
    for (at, token) in left.iter().enumerate() {
        masks[*token as usize * blocks + at / 64] |= 1 << (at % 64);
    }
    let mut row = vec![u64::MAX; blocks];
    for token in right.iter().map(|token| *token as usize).filter(|token| *token < symbols) {
        let mut carry = false;
        for (bits, mask) in row.iter_mut().zip(&masks[token * blocks..(token + 1) * blocks]) {
            let (sum, over) = bits.overflowing_add(*bits & mask);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            carry = over || again;
            *bits = sum | (*bits & !mask);
        }
    }
    let unused = blocks * 64 - left.len();
    let set: usize = row.iter().map(|bits| bits.count_ones() as usize).sum();
    left.len() + unused - set
}

/// ROUGE-Lsum's hits: for each reference line the tokens on a longest common subsequence with any line of the
/// prediction, none counted more often than either side has it.
pub(super) fn union_hits(reference: &[Vec<u32>], prediction: &[Vec<u32>]) -> usize {
    let symbols = reference.iter().chain(prediction).flatten().max().map_or(0, |most| *most as usize + 1);
    let (mut reference_left, mut prediction_left) = (counts(reference, symbols), counts(prediction, symbols));
    let mut hits = 0;
    let (mut on_path, mut table) = (Vec::new(), Vec::new());
    for line in reference {
        on_path.clear();
        on_path.resize(line.len(), false);
        for other in prediction {
            mark(line, other, &mut on_path, &mut table);
        }
        for (token, _) in line.iter().zip(&on_path).filter(|(_, on_path)| **on_path) {
            let (reference, prediction) =
                (&mut reference_left[*token as usize], &mut prediction_left[*token as usize]);
            if *reference > 0 && *prediction > 0 {
                hits += 1;
                *reference -= 1;
                *prediction -= 1;
            }
        }
    }
    hits
}

fn counts(lines: &[Vec<u32>], symbols: usize) -> Vec<u32> {
    let mut counts = vec![0; symbols];
    for token in lines.iter().flatten() {
        counts[*token as usize] += 1;
    }
    counts
}

/// Marks the positions of `left` on one longest common subsequence with `right`; `table` is room to work in.
///
/// Which of several is taken changes the union: where both ways are equally long, the walk back drops a token
/// of `left`, as rouge_score does.
fn mark(left: &[u32], right: &[u32], on_path: &mut [bool], table: &mut Vec<u32>) {
    let width = right.len() + 1;
    table.clear();
    table.resize((left.len() + 1) * width, 0);
    for (i, token) in left.iter().enumerate() {
        let (above, row) = table[i * width..(i + 2) * width].split_at_mut(width);
        for (j, other) in right.iter().enumerate() {
            row[j + 1] = if token == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
        }
    }
    let (mut i, mut j) = (left.len(), right.len());
    while i > 0 && j > 0 {
        if left[i - 1] == right[j - 1] {
            on_path[i - 1] = true;
            (i, j) = (i - 1, j - 1);
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table cell by cell.
    fn length_by_table(left: &[u32], right: &[u32]) -> usize {
        let mut row = vec![0usize; right.len() + 1];
        for token in left {
            let mut diagonal = 0;
            for (at, other) in right.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if token == other { diagonal + 1 } else { above.max(row[at]) };
                diagonal = above;
            }
        }
        row[right.len()]
    }

    proptest! {
        #[test]
        fn the_bits_are_the_table(
            left in prop::collection::vec(0u32..9, 0..200),
            right in prop::collection::vec(0u32..12, 0..200),
        ) {
            prop_assert_eq!(length(&left, &right), length_by_table(&left, &right));
        }
    }

    #[test]
    fn lengths_at_the_edges() {
        let rows: [(&[u32], &[u32], usize); 5] = [
            (&[], &[], 0),
            (&[1], &[], 0),
            (&[1, 2, 3], &[1, 2, 3], 3),
            (&[1, 2, 3, 4], &[4, 2, 9, 3], 2),
            (&[1, 1, 1], &[1, 1], 2),
        ];
        for (left, right, wanted) in rows {
            assert_eq!(length(left, right), wanted, "of {left:?} and {right:?}");
            assert_eq!(length(right, left), wanted, "of {right:?} and {left:?}");
        }
    }

    #[test]
    fn the_union_joins_lines_and_stops_at_what_is_there() {
        // Lin 2004, section 3.2: w1 w2 w3 w4 w5 against "w1 w2 w6 w7 w8" and "w1 w3 w8 w9 w5".
        let prediction = [vec![1, 2, 6, 7, 8], vec![1, 3, 8, 9, 5]];
        assert_eq!(union_hits(&[vec![1, 2, 3, 4, 5]], &prediction), 4);
        assert_eq!(union_hits(&[vec![1], vec![1], vec![1]], &[vec![1]]), 1);
    }
}
