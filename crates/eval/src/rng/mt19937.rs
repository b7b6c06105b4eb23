//! The Mersenne Twister of CPython's `random` and of NumPy's `RandomState`.

const SIZE: usize = 624;

/// MT19937 (Matsumoto and Nishimura 1998, "Mersenne Twister"), seeded and read as CPython's `random.Random` or
/// NumPy's legacy `RandomState` do.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; SIZE],
    next: usize,
}

impl Mt19937 {
    /// `numpy.random.RandomState(seed)`, which `numpy.random.seed` sets too.
    pub fn numpy(seed: u32) -> Self {
        let mut state = [0u32; SIZE];
        state[0] = seed;
        for at in 1..SIZE {
            let last = state[at - 1];
            state[at] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        Self { state, next: SIZE }
    }

    /// CPython's `random.Random(seed)`.
    pub fn python(seed: u64) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        let key = if key[1] == 0 { &key[..1] } else { &key[..] };
        let mut generator = Self::numpy(19_650_218);
        let state = &mut generator.state;
        let mixed = |state: &[u32; SIZE], at: usize, factor: u32| {
            state[at] ^ (state[at - 1] ^ (state[at - 1] >> 30)).wrapping_mul(factor)
        };
        let mut at = 1;
        let advance = |state: &mut [u32; SIZE], at: &mut usize| {
            *at += 1;
            if *at == SIZE {
                state[0] = state[SIZE - 1];
                *at = 1;
            }
        };
        for round in 0..SIZE {
            let position = round % key.len();
            state[at] = mixed(state, at, 1_664_525).wrapping_add(key[position]).wrapping_add(position as u32);
            advance(state, &mut at);
        }
        for _ in 1..SIZE {
            state[at] = mixed(state, at, 1_566_083_941).wrapping_sub(at as u32);
            advance(state, &mut at);
        }
        state[0] = 0x8000_0000;
        generator
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == SIZE {
            for at in 0..SIZE {
                let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % SIZE] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + 397) % SIZE] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut bits = self.state[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    /// `random()` of both: a number of 53 bits, 0 included, 1 not.
    pub fn next_f64(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A number of `0..bound` as `RandomState.choice` and `RandomState.randint` draw it: bits under a mask until
    /// one fits. 0 for a bound of 0 or 1, without drawing.
    pub fn masked_below(&mut self, bound: u32) -> u32 {
        if bound < 2 {
            return 0;
        }
        let mask = u32::MAX >> (bound - 1).leading_zeros();
        loop {
            let bits = self.next_u32() & mask;
            if bits < bound {
                return bits;
            }
        }
    }

    /// A number of `0..bound` as one draw of CPython's `random.choices` without weights. 0 for a bound of 0.
    pub fn scaled_below(&mut self, bound: usize) -> usize {
        (self.next_f64() * bound as f64) as usize
    }
}
