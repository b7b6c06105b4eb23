//! Counts of 64-bit hashes that are used for text after text: exact ones and rough ones.

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

/// Counts hashes in a byte each, whichever share it: no count is too small, and few are too large.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    cells: Vec<u8>,
    mask: usize,
}

impl Sketch {
    /// Empties the sketch and makes room for `items` hashes.
    pub(super) fn clear(&mut self, items: usize) {
        let wanted = (items.max(8) * 8).next_power_of_two();
        self.cells.clear();
        self.cells.resize(wanted, 0);
        self.mask = wanted - 1;
    }

    /// Counts `hash`: its count so far, which stays at 255.
    #[inline]
    pub(super) fn add(&mut self, hash: u64) -> u8 {
        let cell = &mut self.cells[(hash ^ (hash >> 32)) as usize & self.mask];
        *cell = cell.saturating_add(1);
        *cell
    }

    /// The count of `hash`.
    #[inline]
    pub(super) fn count(&self, hash: u64) -> u8 {
        self.cells[(hash ^ (hash >> 32)) as usize & self.mask]
    }
}
