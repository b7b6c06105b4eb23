//! NumPy's `default_rng`.

/// `numpy.random.default_rng(seed)`: PCG XSL-RR 128/64 (O'Neill 2014, "PCG: A Family of Simple Fast
/// Space-Efficient Statistically Good Algorithms for Random Number Generation") seeded by NumPy's `SeedSequence`.
///
/// Checked against NumPy 2.4.
#[derive(Debug, Clone)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
    /// The high half of the last 64 bits, when only the low one was taken.
    half: Option<u32>,
}

const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

impl Pcg64 {
    /// The generator of `default_rng(seed)`.
    pub fn new(seed: u64) -> Self {
        let [init_high, init_low, stream_high, stream_low] = Self::seed_sequence(seed);
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let increment = (join(stream_high, stream_low) << 1) | 1;
        let mut generator = Self { state: 0, increment, half: None };
        generator.step();
        generator.state = generator.state.wrapping_add(join(init_high, init_low));
        generator.step();
        generator
    }

    /// `SeedSequence(seed).generate_state(4, uint64)`.
    pub fn seed_sequence(seed: u64) -> [u64; 4] {
        let entropy = [seed as u32, (seed >> 32) as u32];
        let mut constant = 0x43b0_d7e5_u32;
        let mut hash = |value: u32| {
            let value = value ^ constant;
            constant = constant.wrapping_mul(0x931e_8875);
            let value = value.wrapping_mul(constant);
            value ^ (value >> 16)
        };
        let mix = |x: u32, y: u32| {
            let mixed = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
            mixed ^ (mixed >> 16)
        };
        let mut pool = [0u32; 4];
        for (at, word) in pool.iter_mut().enumerate() {
            *word = hash(entropy.get(at).copied().unwrap_or(0));
        }
        for from in 0..4 {
            for to in (0..4).filter(|to| *to != from) {
                pool[to] = mix(pool[to], hash(pool[from]));
            }
        }
        let mut constant = 0x8b51_f9dd_u32;
        let mut word = |at: usize| {
            let value = pool[at % 4] ^ constant;
            constant = constant.wrapping_mul(0x58f3_8ded);
            let value = value.wrapping_mul(constant);
            u64::from(value ^ (value >> 16))
        };
        [0, 2, 4, 6].map(|at| {
            let low = word(at);
            low | (word(at + 1) << 32)
        })
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = ((self.state >> 64) ^ self.state) as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The next 32 bits: the low half of 64, then the high half.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.half.take() {
            return high;
        }
        let both = self.next_u64();
        self.half = Some((both >> 32) as u32);
        both as u32
    }

    /// A number of `0..bound`, as `Generator.choice` and `Generator.integers` draw it (Lemire 2019, "Fast Random
    /// Integer Generation in an Interval"). 0 for a bound of 0 or 1, without drawing.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound < 2 {
            return 0;
        }
        let mut product = u64::from(self.next_u32()) * u64::from(bound);
        if (product as u32) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// `integers(2, size=count, dtype=bool)`: 32 of them per 32 bits, the lowest bit first.
    pub fn bools(&mut self, count: usize) -> Vec<bool> {
        let mut bits = 0u32;
        (0..count)
            .map(|at| {
                if at % 32 == 0 {
                    bits = self.next_u32();
                }
                let bit = bits & 1 == 1;
                bits >>= 1;
                bit
            })
            .collect()
    }

    /// `random()`: a number of 53 bits, 0 included, 1 not.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}
