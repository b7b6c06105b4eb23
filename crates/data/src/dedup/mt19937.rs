/// The Mersenne Twister of Matsumoto and Nishimura (1998) as NumPy's `RandomState` seeds and reads it: the
/// reference families draw their permutations from it.
#[derive(Debug)]
pub(crate) struct RandomState {
    state: Vec<u32>,
    next: usize,
}

const SIZE: usize = 624;
const SHIFT: usize = 397;

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(SIZE);
        let mut last = seed;
        state.push(last);
        for i in 1..SIZE as u32 {
            last = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i);
            state.push(last);
        }
        Self { state, next: SIZE }
    }

    /// The next 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// The next 64 bits, the high half first.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        (high << 32) | u64::from(self.next_u32())
    }

    /// `randint(low, high, dtype=uint64)` for `high - low` above 2^32: draws are masked and those too large are
    /// thrown away.
    pub(crate) fn below(&mut self, low: u64, high: u64) -> u64 {
        let largest = high - 1 - low;
        let mask = u64::MAX >> largest.leading_zeros();
        loop {
            let draw = self.next_u64() & mask;
            if draw <= largest {
                return low + draw;
            }
        }
    }

    fn refill(&mut self) {
        for k in 0..SIZE {
            let y = (self.state[k] & 0x8000_0000) | (self.state[(k + 1) % SIZE] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[k] = self.state[(k + SHIFT) % SIZE] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }
}
