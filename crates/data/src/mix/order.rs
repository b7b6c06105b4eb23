use super::config::MixConfig;
use super::permute::permute;
use super::report::{MixReport, MixSourceReport};
use crate::split::splitmix64;

/// Draws per block, at most.
const BLOCK: usize = 1024;
/// 2⁶⁴ / golden ratio: multiples of it, taken modulo 2⁶⁴, are spread as evenly as can be.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The order in which a mixture is read: at every position a source and the number of a record in it.
///
/// Draws come in blocks of 1,024, or fewer where a source would be used up within. In a block every source has its share
/// of the draws, rounded down or up, such that over many blocks the shares are exact; a seeded shuffle puts them in
/// order. The records of a source come in a seeded order that is new in every epoch, each once an epoch. A source whose
/// epochs are used up comes no more, and from the next block on the others share its place. The order ends when every
/// source but replay is used up, so never if one of them has no limit.
///
/// Everything follows from the configuration and the position, an integer, which is all that has to be stored to
/// resume. To go to position p takes p / 1024 short steps, and a few for each source that was used up.
#[derive(Debug, Clone)]
pub struct MixOrder {
    config: MixConfig,
    caps: Vec<u64>,
}

/// What a block of draws begins with.
#[derive(Debug, Clone)]
struct Block {
    number: u64,
    /// The position of its first draw.
    position: u64,
    /// Draws from each source before it.
    drawn: Vec<u64>,
    /// Draws from each source in it.
    counts: Vec<usize>,
}

impl Block {
    fn len(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl MixOrder {
    pub(super) fn new(config: MixConfig) -> Self {
        let caps = config.sources.iter().map(super::MixSource::cap).collect();
        Self { config, caps }
    }

    /// The configuration.
    pub fn config(&self) -> &MixConfig {
        &self.config
    }

    /// The source and the record at a position; `None` behind the end.
    pub fn at(&self, position: u64) -> Option<(usize, usize)> {
        self.iter_from(position).next()
    }

    /// The order from the beginning.
    pub fn iter(&self) -> MixIter<'_> {
        self.iter_from(0)
    }

    /// The order from a position on; empty behind the end.
    pub fn iter_from(&self, position: u64) -> MixIter<'_> {
        let block = self.block_at(position);
        let mut iter = MixIter { order: self, position, block, slots: Vec::new(), at: 0 };
        iter.fill();
        let skipped = iter.block.as_ref().map_or(0, |block| position - block.position);
        for _ in 0..skipped {
            iter.take_slot();
        }
        iter
    }

    /// What each source gave up to a position.
    pub fn report(&self, position: u64) -> MixReport {
        let mut iter = self.iter_from(position);
        let (drawn, draws) = match &mut iter.block {
            Some(block) => (std::mem::take(&mut block.drawn), position),
            None => self.at_end(),
        };
        let wanted = self.config.shares_of(|_| true).unwrap_or_default();
        let source = |((source, drawn), wanted): ((&super::MixSource, u64), f64)| MixSourceReport {
            name: source.name.clone(),
            records: source.records,
            drawn,
            epochs: drawn as f64 / source.records as f64,
            wanted,
            share: drawn as f64 / draws.max(1) as f64,
        };
        let sources = self.config.sources.iter().zip(drawn).zip(wanted).map(source).collect();
        MixReport { draws, sources }
    }

    /// The draws from each source when the order ends, and their number. Only for an order that ends.
    fn at_end(&self) -> (Vec<u64>, u64) {
        let mut drawn = vec![0; self.caps.len()];
        let mut next = self.block(0, 0, drawn.clone());
        while let Some(block) = next {
            drawn =
                block.drawn.iter().zip(&block.counts).map(|(drawn, count)| drawn + *count as u64).collect();
            next = self.after(&block);
        }
        let draws = drawn.iter().sum();
        (drawn, draws)
    }

    /// The block that holds a position.
    fn block_at(&self, position: u64) -> Option<Block> {
        let mut block = self.block(0, 0, vec![0; self.caps.len()])?;
        while block.position + block.len() as u64 <= position {
            block = self.after(&block)?;
        }
        Some(block)
    }

    fn after(&self, block: &Block) -> Option<Block> {
        let drawn = block.drawn.iter().zip(&block.counts).map(|(drawn, count)| drawn + *count as u64);
        self.block(block.number + 1, block.position + block.len() as u64, drawn.collect())
    }

    /// A block from what was drawn before it; `None` at the end.
    ///
    /// The points `(i + offset) / length` are laid over the shares, end to end; a source has the points in its share. The
    /// offset moves by the golden ratio from block to block.
    fn block(&self, number: u64, position: u64, drawn: Vec<u64>) -> Option<Block> {
        let shares = self.config.shares_of(|source| drawn[source] < self.caps[source])?;
        let offset = splitmix64(self.config.seed, u64::MAX).wrapping_add(number.wrapping_mul(GOLDEN));
        let offset = (offset >> 11) as f64 / (1_u64 << 53) as f64;
        // A source that is used up within a block would give its places in it to the others.
        let until_used_up = shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let length = until_used_up
            .map(|(source, share)| (self.caps[source] - drawn[source]) as f64 / share)
            .fold(BLOCK as f64, f64::min)
            .max(1.0) as usize;
        let points_below = |end: f64| ((end * length as f64 - offset).ceil().max(0.0) as usize).min(length);
        let last = shares.iter().rposition(|share| *share > 0.0);
        let (mut end, mut before) = (0.0, 0);
        let mut counts = Vec::with_capacity(shares.len());
        for (source, share) in shares.iter().enumerate() {
            end += share;
            let below = if last == Some(source) { length } else { points_below(end).max(before) };
            let room = self.caps[source] - drawn[source];
            counts.push((below - before).min(usize::try_from(room).unwrap_or(usize::MAX)));
            before = below;
        }
        Some(Block { number, position, drawn, counts })
    }

    /// The sources of a block's draws, in order: a Fisher–Yates shuffle as in [`Batches::order`](crate::Batches::order).
    fn slots(&self, block: &Block) -> Vec<u32> {
        let counts = block.counts.iter().enumerate();
        let mut slots: Vec<u32> =
            counts.flat_map(|(source, count)| std::iter::repeat_n(source as u32, *count)).collect();
        let stream = splitmix64(self.config.seed, block.number);
        for (position, last) in (0..).zip((1..slots.len()).rev()) {
            let draw = u128::from(splitmix64(stream, position));
            slots.swap(last, ((draw * (last as u128 + 1)) >> 64) as usize);
        }
        slots
    }

    /// The record of a source's draw.
    fn record(&self, source: usize, draw: u64) -> usize {
        let size = self.config.sources[source].records as u64;
        // Streams that no block uses: the source's, then the epoch's.
        let stream = splitmix64(splitmix64(!self.config.seed, source as u64), draw / size);
        permute(stream, size, draw % size) as usize
    }
}

/// The draws of a [`MixOrder`] one after the other: `(source, record)`.
#[derive(Debug, Clone)]
pub struct MixIter<'a> {
    order: &'a MixOrder,
    position: u64,
    /// The block of the next draw; its `drawn` counts on with the draws taken.
    block: Option<Block>,
    slots: Vec<u32>,
    at: usize,
}

impl MixIter<'_> {
    /// The position of the next draw, from which [`MixOrder::iter_from`] goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn fill(&mut self) {
        self.slots = self.block.as_ref().map(|block| self.order.slots(block)).unwrap_or_default();
        self.at = 0;
    }

    /// The next draw of the block: its source, and how many draws the source had before.
    fn take_slot(&mut self) -> Option<(usize, u64)> {
        let source = *self.slots.get(self.at)? as usize;
        self.at += 1;
        let block = self.block.as_mut()?;
        let draw = block.drawn[source];
        block.drawn[source] += 1;
        block.counts[source] -= 1;
        block.position += 1;
        Some((source, draw))
    }
}

impl Iterator for MixIter<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at == self.slots.len() {
            // All counts are 0 here, so that what follows is the next block.
            self.block = self.order.after(self.block.as_ref()?);
            self.fill();
        }
        let (source, draw) = self.take_slot()?;
        self.position += 1;
        Some((source, self.order.record(source, draw)))
    }
}
