//! Matching blocks as Python's `difflib.SequenceMatcher(autojunk=False)` finds them.

use std::collections::HashMap;

/// `a[a_start..][..len] == b[b_start..][..len]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) len: usize,
}

/// The longest common block, then the longest left of it and right of it, and so on; adjacent blocks are joined.
pub(super) fn matching_blocks(a: &[u32], b: &[u32]) -> Vec<Block> {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, token) in b.iter().enumerate() {
        places.entry(*token).or_default().push(at);
    }
    let mut runs = Runs { before: vec![0; b.len() + 1], now: vec![0; b.len() + 1] };
    let mut open = vec![(0..a.len(), 0..b.len())];
    let mut blocks = Vec::new();
    while let Some((left, right)) = open.pop() {
        let mut best = Block { a: left.start, b: right.start, len: 0 };
        let none = Vec::new();
        let mut touched: &[usize] = &[];
        for i in left.clone() {
            let all = places.get(&a[i]).unwrap_or(&none);
            let from = all.partition_point(|j| *j < right.start);
            let to = all.partition_point(|j| *j < right.end);
            for j in &all[from..to] {
                let len = if *j > right.start { runs.before[*j] + 1 } else { 1 };
                runs.now[*j + 1] = len;
                if len > best.len {
                    best = Block { a: i + 1 - len, b: *j + 1 - len, len };
                }
            }
            runs.turn(touched);
            touched = &all[from..to];
        }
        runs.clear(touched);
        if best.len > 0 {
            open.push((left.start..best.a, right.start..best.b));
            open.push((best.a + best.len..left.end, best.b + best.len..right.end));
            blocks.push(best);
        }
    }
    blocks.sort_unstable();
    blocks.dedup_by(|next, last| {
        let adjacent = last.a + last.len == next.a && last.b + last.len == next.b;
        if adjacent {
            last.len += next.len;
        }
        adjacent
    });
    blocks
}

/// Lengths of the runs that end at a place of `b`, one to the right, for the place of `a` before and for this one.
#[derive(Debug)]
struct Runs {
    before: Vec<usize>,
    now: Vec<usize>,
}

impl Runs {
    /// Forgets the runs of the place before, written at `touched`, and goes on to the next place.
    fn turn(&mut self, touched: &[usize]) {
        self.clear(touched);
        std::mem::swap(&mut self.before, &mut self.now);
    }

    fn clear(&mut self, touched: &[usize]) {
        for j in touched {
            self.before[*j + 1] = 0;
        }
    }
}
