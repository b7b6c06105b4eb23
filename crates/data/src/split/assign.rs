//! Which part each unit of records goes to.

use super::column::Time;
use super::group::Units;
use super::quota;

/// Units in a seeded order, each into the first part, other than the absorber, that has room for it in the unit's
/// stratum; then, of those left over, into the first part that groups of other strata left room in; the rest into
/// the absorber. Without `strata` (one number per unit) all units are one stratum.
///
/// No part but the absorber grows beyond what is wanted.
pub(super) fn shuffled(
    units: &Units,
    strata: &[usize],
    wanted: &[usize],
    absorber: usize,
    seed: u64,
) -> Vec<usize> {
    let stratum = |unit: usize| strata.get(unit).copied().unwrap_or(0);
    let mut totals = vec![0; strata.iter().max().map_or(1, |last| last + 1)];
    for (unit, size) in units.sizes.iter().enumerate() {
        totals[stratum(unit)] += size;
    }
    let mut free = quota::cells(&totals, wanted);
    let mut parts = vec![absorber; units.sizes.len()];
    let order = units.shuffled(seed);
    let first_with_room =
        |free: &[usize], size: usize| (0..free.len()).find(|part| *part != absorber && free[*part] >= size);
    for unit in &order {
        let (row, size) = (&mut free[stratum(*unit)], units.sizes[*unit]);
        if let Some(part) = first_with_room(row, size) {
            row[part] -= size;
            parts[*unit] = part;
        }
    }
    let mut free: Vec<usize> = (0..wanted.len()).map(|part| free.iter().map(|row| row[part]).sum()).collect();
    for unit in order.into_iter().filter(|unit| parts[*unit] == absorber).collect::<Vec<_>>() {
        let size = units.sizes[unit];
        if let Some(part) = first_with_room(&free, size) {
            free[part] -= size;
            parts[unit] = part;
        }
    }
    parts
}

/// Units by falling time of their latest records, the latest into the last part until the next one does not fit, then
/// into the part before it; the first part takes all that is left. Equal times go by the units' first records.
pub(super) fn by_time(units: &Units, times: &[Time], wanted: &[usize]) -> Vec<usize> {
    let mut latest: Vec<Option<Time>> = vec![None; units.sizes.len()];
    for (unit, time) in units.of_record.iter().zip(times) {
        let slot = &mut latest[*unit];
        if slot.is_none_or(|known| known < *time) {
            *slot = Some(*time);
        }
    }
    let mut order: Vec<usize> = (0..units.sizes.len()).collect();
    order.sort_by_key(|unit| (latest[*unit], units.first[*unit]));
    let mut part = wanted.len() - 1;
    let mut taken = 0;
    let mut parts = vec![0; units.sizes.len()];
    for unit in order.into_iter().rev() {
        while part > 0 && taken + units.sizes[unit] > wanted[part] {
            part -= 1;
            taken = 0;
        }
        taken += units.sizes[unit];
        parts[unit] = part;
    }
    parts
}

/// The part of a hash: where `hash / 2⁶⁴` falls when the shares are laid end to end.
pub(super) fn by_hash(hash: u64, shares: &[f64]) -> usize {
    // 53 bits are what a float holds; they keep the point below 1.
    let point = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    let mut end = 0.0;
    for (part, share) in shares.iter().enumerate() {
        end += share;
        if point < end {
            return part;
        }
    }
    shares.len() - 1
}
