//! The random numbers of torch's CPU generator, for files that hold a seed in the place of values.

const STATE: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister (Matsumoto and Nishimura 1998), seeded as torch 2 seeds it
/// (aten/src/ATen/core/MT19937RNGEngine.h).
#[derive(Clone, Debug)]
pub(crate) struct TorchRandom {
    state: [u32; STATE],
    next: usize,
}

impl TorchRandom {
    /// `torch.Generator().manual_seed(seed)`: the lower 32 bits count.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = [seed as u32; STATE];
        for at in 1..STATE {
            let last = state[at - 1];
            state[at] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(at as u32);
        }
        Self { state, next: STATE }
    }

    /// `torch.empty(count).uniform_(from, to)` in f32 (aten/src/ATen/core/TransformationHelper.h): 24 bits a value,
    /// multiplied and added with one rounding, as torch's build for x86 does.
    pub(crate) fn uniform(&mut self, count: usize, from: f64, to: f64) -> Vec<f32> {
        let (from, to) = (from as f32, to as f32);
        let value = |random: u32| (random & 0xFF_FFFF) as f32 * (1.0 / 16_777_216.0);
        (0..count).map(|_| value(self.random()).mul_add(to - from, from)).collect()
    }

    fn random(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for at in 0..STATE {
            let mixed = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % STATE] & 0x7FFF_FFFF);
            let odd = if mixed & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[at] = self.state[(at + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 10,000th number for the seed 5489 is part of the C++ standard ([rand.predef]).
    #[test]
    fn the_generator_is_the_mersenne_twister() {
        let mut random = TorchRandom::new(5489);
        let last = (0..10_000).map(|_| random.random()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    /// torch 2.15: `torch.empty(6).uniform_(-0.5, 0.75, generator=torch.Generator().manual_seed(7))`.
    #[test]
    fn uniform_numbers_are_those_of_torch() {
        let found: Vec<u32> =
            TorchRandom::new(7).uniform(6, -0.5, 0.75).iter().map(|value| value.to_bits()).collect();
        let wanted =
            [1_043_116_907, 3_196_109_846, 1_051_059_518, 1_050_962_151, 3_193_311_409, 1_023_430_780];
        assert_eq!(found, wanted);
        // Only the lower half of a seed counts.
        let high = TorchRandom::new(7 | 1 << 40).uniform(6, -0.5, 0.75);
        assert_eq!(high, TorchRandom::new(7).uniform(6, -0.5, 0.75));
    }
}
