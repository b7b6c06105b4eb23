//! An open-addressing table from 64-bit hashes to counts that is used for text after text.

/// What is known of one hash.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u64,
    count: u32,
    first: u32,
    /// The round in which the slot was filled; slots of other rounds are empty.
    round: u32,
}

/// Counts hashes. Two strings with one 64-bit hash count as one: a chance of about n² / 2^65 for n strings.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    round: u32,
    shift: u32,
}

impl Table {
    /// Empties the table and makes room for `items` hashes.
    pub(super) fn clear(&mut self, items: usize) {
        let wanted = (items.max(8) * 2).next_power_of_two();
        if self.slots.len() < wanted || self.round == u32::MAX {
            self.slots = vec![Slot::default(); wanted.max(self.slots.len())];
            self.round = 0;
        }
        self.round += 1;
        self.shift = 64 - wanted.trailing_zeros();
    }

    /// Counts `hash`, seen at `at`: its count, this time included, and where it was seen first.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, at: u32) -> (u32, u32) {
        let mask = (1usize << (64 - self.shift)) - 1;
        let mut place = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        loop {
            let slot = &mut self.slots[place];
            if slot.round != self.round {
                *slot = Slot { hash, count: 1, first: at, round: self.round };
                return (1, at);
            }
            if slot.hash == hash {
                slot.count += 1;
                return (slot.count, slot.first);
            }
            place = (place + 1) & mask;
        }
    }
}
