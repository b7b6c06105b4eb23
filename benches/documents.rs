//! Token streams that can be learnt: a noisy Markov chain over the first 1024 tokens.
//!
//! Every token is a function of the document's number and the token's place, so a bench sees the same documents
//! whatever it asks for first.

use burnisher::data::{BatchConfig, Batches, Encoded, Packing, TokenBatch, pack};

/// The longest of [`MarkovChain::short_document`], in tokens.
pub const LONGEST_SHORT_DOCUMENT: usize = 100;
/// The shortest: lengths are uniform between the two.
const SHORTEST: usize = 20;

const TOKENS: usize = 1024;
/// One token in so many does not follow from the one before it.
const NOISE: u64 = 10;
/// The streams of numbers that do not belong to a document.
const SUCCESSORS: u64 = u64::MAX;
const LENGTHS: u64 = u64::MAX - 1;

/// A chain in which each token has one successor, which follows it nine times out of ten.
#[derive(Clone, Debug)]
pub struct MarkovChain {
    successors: Vec<u32>,
}

impl MarkovChain {
    /// A chain over the first 1024 tokens of a vocabulary, or all of a smaller one.
    ///
    /// # Panics
    /// If the vocabulary is empty.
    pub fn new(vocabulary: usize) -> Self {
        assert!(vocabulary > 0, "a chain needs at least one token");
        let count = vocabulary.min(TOKENS);
        let successors = (0..count as u64).map(|token| below(count, random(SUCCESSORS, token)) as u32);
        Self { successors: successors.collect() }
    }

    /// Document number `index`, all of whose tokens are targets.
    pub fn document(&self, index: u64, length: usize) -> Encoded {
        let count = self.successors.len();
        let mut ids: Vec<u32> = Vec::with_capacity(length);
        for place in 0..length as u64 {
            let follows = !random(index, 2 * place).is_multiple_of(NOISE);
            let id = match ids.last() {
                Some(&before) if follows => self.successors[before as usize],
                _ => below(count, random(index, 2 * place + 1)) as u32,
            };
            ids.push(id);
        }
        let targets = vec![true; ids.len()];
        Encoded::new(ids, targets, index)
    }

    /// Document number `index` with a length of its own, 60 tokens in the mean.
    pub fn short_document(&self, index: u64) -> Encoded {
        let lengths = LONGEST_SHORT_DOCUMENT - SHORTEST + 1;
        self.document(index, SHORTEST + below(lengths, random(LENGTHS, index)))
    }

    /// `count` batches of `rows` documents of `length` tokens, each in one batch only.
    pub fn batches(&self, count: usize, rows: usize, length: usize) -> Vec<TokenBatch> {
        let documents = (0..(count * rows) as u64).map(|index| self.document(index, length)).collect();
        in_batches(documents, rows, length, Packing::None)
    }

    /// Batches of `rows` rows of at most `length` tokens over these documents; rows that fill no batch are left out.
    /// Packed rows are shuffled, because packing sorts by length.
    pub fn short_batches(
        &self,
        documents: u64,
        rows: usize,
        length: usize,
        packing: Packing,
    ) -> Vec<TokenBatch> {
        in_batches((0..documents).map(|index| self.short_document(index)).collect(), rows, length, packing)
    }
}

fn in_batches(documents: Vec<Encoded>, rows: usize, length: usize, packing: Packing) -> Vec<TokenBatch> {
    let config = BatchConfig::new(0).with_shuffle(packing != Packing::None);
    let set = Batches::new(pack(documents, length, packing), config);
    set.order(0).chunks_exact(rows).map(|numbers| set.batch(numbers)).collect()
}

/// Number `counter` of the stream `stream`: SplitMix64's finalizer over both (Steele, Lea and Flood 2014).
fn random(stream: u64, counter: u64) -> u64 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let start = mix(stream.wrapping_mul(STEP).wrapping_add(STEP));
    mix(start.wrapping_add(counter.wrapping_add(1).wrapping_mul(STEP)))
}

/// A number below `limit`, from 64 random bits.
fn below(limit: usize, bits: u64) -> usize {
    ((u128::from(bits) * limit as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_follow_the_chain_and_batches_have_the_asked_shape() {
        let chain = MarkovChain::new(32_000);
        let ids = chain.document(3, 4000).ids;
        let follows = ids.windows(2).filter(|pair| chain.successors[pair[0] as usize] == pair[1]).count();
        assert!((3500..3700).contains(&follows), "{follows} of 3999 follow");
        assert_eq!(chain.document(3, 10).ids, ids[..10]);

        let batches = chain.batches(3, 2, 16);
        assert_eq!((batches.len(), batches[0].rows, batches[0].seq_len), (3, 2, 16));
        assert_eq!(batches[0].target_tokens(), 2 * 15);
        assert_ne!(batches[0].input_ids, batches[1].input_ids);
    }

    #[test]
    fn short_documents_have_60_tokens_in_the_mean() {
        let chain = MarkovChain::new(500);
        let lengths: Vec<usize> = (0..2000).map(|index| chain.short_document(index).len()).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((mean - 60.0).abs() < 2.0, "{mean}");
        assert_eq!(lengths.iter().max(), Some(&LONGEST_SHORT_DOCUMENT));
    }
}
