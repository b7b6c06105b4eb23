//! Longest common subsequences of token numbers.

use std::collections::HashMap;

/// Length of the longest common subsequence.
pub(super) fn length(left: &[u32], right: &[u32]) -> usize {
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

/// ROUGE-Lsum's hits: for each reference line the tokens on a longest common subsequence with any line of the
/// prediction, none counted more often than either side has it.
pub(super) fn union_hits(reference: &[Vec<u32>], prediction: &[Vec<u32>]) -> usize {
    let (mut reference_left, mut prediction_left) = (counts(reference), counts(prediction));
    let mut hits = 0;
    for line in reference {
        let mut on_path = vec![false; line.len()];
        for other in prediction {
            mark(line, other, &mut on_path);
        }
        for (token, _) in line.iter().zip(&on_path).filter(|(_, on_path)| **on_path) {
            if let (Some(reference), Some(prediction)) =
                (reference_left.get_mut(token), prediction_left.get_mut(token))
                && *reference > 0
                && *prediction > 0
            {
                hits += 1;
                *reference -= 1;
                *prediction -= 1;
            }
        }
    }
    hits
}

fn counts(lines: &[Vec<u32>]) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    for token in lines.iter().flatten() {
        *counts.entry(*token).or_default() += 1;
    }
    counts
}

/// Marks the positions of `left` on one longest common subsequence with `right`.
///
/// Which of several is taken changes the union: where both ways are equally long, the walk back drops a token
/// of `left`, as rouge_score does.
fn mark(left: &[u32], right: &[u32], on_path: &mut [bool]) {
    let width = right.len() + 1;
    let mut table = vec![0u32; (left.len() + 1) * width];
    for (i, token) in left.iter().enumerate() {
        for (j, other) in right.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if token == other {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
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
    use super::*;

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
