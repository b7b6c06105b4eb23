//! Exact matches in the order of the answer.

use std::collections::HashMap;

/// All places in a source where a sequence of tokens may begin.
#[derive(Debug)]
pub(super) struct Occurrences<'a> {
    source: &'a [u32],
    places: HashMap<u32, Vec<usize>>,
}

impl<'a> Occurrences<'a> {
    pub(super) fn new(source: &'a [u32]) -> Self {
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, token) in source.iter().enumerate() {
            places.entry(*token).or_default().push(at);
        }
        Self { source, places }
    }

    /// Where `tokens` stand, in order. Looks only at the places of the rarest of them.
    pub(super) fn of(&self, tokens: &[u32]) -> impl Iterator<Item = usize> {
        let places = |token: &u32| self.places.get(token).map_or(&[][..], Vec::as_slice);
        let rarest = tokens.iter().enumerate().min_by_key(|(_, token)| places(token).len());
        let (offset, places) = rarest.map_or((0, &[][..]), |(offset, token)| (offset, places(token)));
        let starts = places.iter().filter_map(move |place| place.checked_sub(offset));
        starts.filter(move |start| self.source[*start..].starts_with(tokens))
    }
}

/// A chain of matches, by its last.
#[derive(Debug, Clone, Copy)]
struct Node {
    extraction: usize,
    start: usize,
    before: Option<usize>,
}

/// The best chain that ends at `end` or before: no other such chain is heavier.
#[derive(Debug, Clone, Copy)]
struct Best {
    end: usize,
    weight: usize,
    node: usize,
}

/// Chooses at most one occurrence for each extraction, in the order of the extractions and without overlap, such
/// that the most tokens are matched; of equals, the chain that ends first. Repeated mentions so take successive
/// occurrences. Returns `(extraction, start)` pairs.
pub(super) fn select(source: &[u32], extractions: &[Vec<u32>]) -> Vec<(usize, usize)> {
    let occurrences = Occurrences::new(source);
    let mut nodes: Vec<Node> = Vec::new();
    // Rising in both `end` and `weight`.
    let mut front: Vec<Best> = Vec::new();
    for (extraction, tokens) in extractions.iter().enumerate() {
        let candidates: Vec<Best> = occurrences
            .of(tokens)
            .map(|start| {
                let below = front.partition_point(|best| best.end <= start);
                let best = below.checked_sub(1).map(|at| front[at]);
                nodes.push(Node { extraction, start, before: best.map(|best| best.node) });
                Best {
                    end: start + tokens.len(),
                    weight: tokens.len() + best.map_or(0, |best| best.weight),
                    node: nodes.len() - 1,
                }
            })
            .collect();
        for candidate in candidates {
            let below = front.partition_point(|best| best.end <= candidate.end);
            if below > 0 && front[below - 1].weight >= candidate.weight {
                continue;
            }
            let low = front.partition_point(|best| best.end < candidate.end);
            let beaten = front[low..].iter().take_while(|best| best.weight <= candidate.weight).count();
            front.splice(low..low + beaten, [candidate]);
        }
    }
    let mut chosen = Vec::new();
    let mut node = front.last().map(|best| best.node);
    while let Some(at) = node {
        chosen.push((nodes[at].extraction, nodes[at].start));
        node = nodes[at].before;
    }
    chosen.reverse();
    chosen
}
