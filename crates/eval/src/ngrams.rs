//! N-grams that texts share, counted on numbers.

const ABSENT: u32 = u32::MAX;

/// Per order, from 1 to `max_order`: n-grams of `text` that a reference has, each as often as the reference
/// that has it most often.
///
/// An n-gram of order n + 1 is the rank of its first n tokens among those of the references, and one token
/// more: two numbers of 32 bits side by side, so counting is exact and never touches the tokens again.
pub(crate) fn clipped_matches(text: &[u32], references: &[&[u32]], max_order: usize) -> Vec<u64> {
    let mut matches = vec![0; max_order];
    let mut text_ranks = vec![0u32; text.len()];
    let mut reference_ranks: Vec<Vec<u32>> = references.iter().map(|tokens| vec![0; tokens.len()]).collect();
    let (mut keys, mut wanted, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (order, matches) in (1..).zip(&mut matches) {
        keys.clear();
        for (tokens, ranks) in references.iter().zip(&reference_ranks) {
            keys.extend(windows(tokens, ranks, order));
        }
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() || text.len() < order {
            break;
        }
        let rank = |key: u64| keys.binary_search(&key).map_or(ABSENT, |rank| rank as u32);

        wanted.clear();
        wanted.resize(keys.len(), 0u32);
        for (tokens, ranks) in references.iter().zip(&mut reference_ranks) {
            counts.clear();
            counts.resize(keys.len(), 0u32);
            for at in 0..(tokens.len() + 1).saturating_sub(order) {
                ranks[at] = rank(pack(ranks[at], tokens[at + order - 1]));
                counts[ranks[at] as usize] += 1;
            }
            for (wanted, count) in wanted.iter_mut().zip(&counts) {
                *wanted = (*wanted).max(*count);
            }
        }
        for at in 0..=text.len() - order {
            if text_ranks[at] == ABSENT {
                continue;
            }
            text_ranks[at] = rank(pack(text_ranks[at], text[at + order - 1]));
            if let Some(left) = wanted.get_mut(text_ranks[at] as usize).filter(|left| **left > 0) {
                *left -= 1;
                *matches += 1;
            }
        }
    }
    matches
}

/// N-grams of an order in a text of this many tokens.
pub(crate) fn total(tokens: usize, order: usize) -> u64 {
    (tokens + 1).saturating_sub(order) as u64
}

fn pack(rank: u32, token: u32) -> u64 {
    (u64::from(rank) << 32) | u64::from(token)
}

fn windows<'a>(tokens: &'a [u32], ranks: &'a [u32], order: usize) -> impl Iterator<Item = u64> + 'a {
    tokens.iter().skip(order - 1).zip(ranks).map(|(token, rank)| pack(*rank, *token))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counts(tokens: &[u32], order: usize) -> HashMap<&[u32], u64> {
        let mut counts = HashMap::new();
        for gram in tokens.windows(order) {
            *counts.entry(gram).or_default() += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn counting_on_ranks_is_counting_on_n_grams(
            text in prop::collection::vec(0u32..4, 0..20),
            references in prop::collection::vec(prop::collection::vec(0u32..4, 0..20), 0..4),
        ) {
            let slices: Vec<&[u32]> = references.iter().map(Vec::as_slice).collect();
            let got = clipped_matches(&text, &slices, 6);
            for order in 1..=6 {
                let most = |gram: &[u32]| {
                    references.iter().map(|tokens| counts(tokens, order).get(gram).copied().unwrap_or(0)).max()
                };
                let wanted: u64 = counts(&text, order)
                    .iter()
                    .map(|(gram, count)| most(gram).unwrap_or(0).min(*count))
                    .sum();
                prop_assert_eq!(got[order - 1], wanted, "order {}", order);
            }
        }
    }
}
