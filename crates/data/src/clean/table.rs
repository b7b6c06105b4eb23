//! An open-addressing table from 64-bit hashes to counts that is used for text after text.

/// What is known of one hash; a count of 0 is an empty slot.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u64,
    count: u32,
    first: u32,
}

/// Counts hashes. Two strings with one 64-bit hash count as one: a chance of about n² / 2^65 for n strings.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    mask: usize,
}

impl Table {
    /// Empties the table and makes room for `items` hashes.
    pub(super) fn clear(&mut self, items: usize) {
        let wanted = (items.max(8) * 2).next_power_of_two();
        if self.slots.len() < wanted {
            self.slots = vec![Slot::default(); wanted];
        } else {
            self.slots[..wanted].fill(Slot::default());
        }
        self.mask = wanted - 1;
    }

    /// Counts `hash`, seen at `at`: its count, this time included, and where it was seen first.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, at: u32) -> (u32, u32) {
        let mut place = (hash ^ (hash >> 32)) as usize & self.mask;
        loop {
            let slot = &mut self.slots[place];
            if slot.count == 0 {
                *slot = Slot { hash, count: 1, first: at };
                return (1, at);
            }
            if slot.hash == hash {
                slot.count += 1;
                return (slot.count, slot.first);
            }
            place = (place + 1) & self.mask;
        }
    }
}
