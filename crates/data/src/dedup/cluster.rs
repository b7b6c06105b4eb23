use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rayon::prelude::*;

use super::disjoint::DisjointSets;
use super::near::Verify;
use super::shingle::{Shingler, Shingling, jaccard_of_sets};
use super::signatures::Stack;
use super::simhash::table_mask;
use super::sketch::Sketch;

/// Groups of texts that are near-duplicates, directly or through others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// For each text the index of the first text of its cluster; its own index if it is alone or first.
    pub of: Vec<usize>,
}

impl Clusters {
    /// Number of clusters, those of one text included.
    pub fn count(&self) -> usize {
        self.of.iter().enumerate().filter(|(index, first)| index == *first).count()
    }

    /// Texts in the cluster of each text that is the first of its cluster, 0 for the other texts.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.of.len()];
        for first in &self.of {
            sizes[*first] += 1;
        }
        sizes
    }

    /// The clusters of two or more texts, in order of their first texts; the texts in ascending order.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let sizes = self.sizes();
        let mut members: Vec<Vec<usize>> = sizes.iter().map(|size| Vec::with_capacity(*size)).collect();
        for (index, first) in self.of.iter().enumerate() {
            members[*first].push(index);
        }
        members.retain(|members| members.len() > 1);
        members
    }
}

/// Which signatures are candidates.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Banding {
    /// Equal in all numbers of one band.
    Bands { bands: usize, rows: usize },
    /// Equal in all bits of one table.
    Tables { tables: u32 },
}

impl Banding {
    fn count(self) -> usize {
        match self {
            Self::Bands { bands, .. } => bands,
            Self::Tables { tables } => tables as usize,
        }
    }

    /// The key of signature `index` in one band.
    fn key(self, stack: &Stack<'_>, index: usize, band: usize) -> u64 {
        let (list, row) = stack.at(index);
        match self {
            Self::Bands { rows, .. } => list.rows.key(row, band * rows..(band + 1) * rows),
            Self::Tables { tables } => list.rows.value(row, 0) & table_mask(band as u32, tables),
        }
    }
}

/// How candidates are checked.
pub(crate) struct Check<'a> {
    pub(crate) sketch: Sketch,
    pub(crate) verify: Verify,
    pub(crate) threshold: f64,
    /// The text of an index, for [`Verify::Exact`].
    pub(crate) text: &'a (dyn Fn(usize) -> Cow<'a, str> + Sync),
}

/// The clusters over all signatures: the transitive closure of equal texts and of the candidates that hold.
///
/// A pair whose texts are connected already is not checked, which changes no cluster; so neither the order of
/// bands nor the number of threads shows in the result.
pub(crate) fn clusters(stack: &Stack<'_>, banding: Banding, check: &Check<'_>) -> Clusters {
    let mut sets = DisjointSets::new(stack.len());
    join_equal(stack, &mut sets);
    let different: Vec<usize> = (0..stack.len()).filter(|index| sets.root(*index) == *index).collect();
    for band in 0..banding.count() {
        sets.flatten();
        let mut keys: Vec<(u64, usize)> =
            different.par_iter().map(|index| (banding.key(stack, *index, band), *index)).collect();
        keys.par_sort_unstable();
        let buckets: Vec<&[(u64, usize)]> =
            keys.chunk_by(|left, right| left.0 == right.0).filter(|bucket| bucket.len() > 1).collect();
        let links: Vec<(usize, usize)> =
            buckets.into_par_iter().flat_map_iter(|bucket| links(bucket, stack, &sets, check)).collect();
        for (left, right) in links {
            sets.join(left, right);
        }
    }
    Clusters { of: sets.into_roots() }
}

/// Joins texts that are word for word the same, so that a text repeated a thousand times is compared once.
fn join_equal(stack: &Stack<'_>, sets: &mut DisjointSets) {
    let mut contents: Vec<(u64, usize)> =
        (0..stack.len()).into_par_iter().map(|index| (stack.content(index), index)).collect();
    contents.par_sort_unstable();
    for run in contents.chunk_by(|left, right| left.0 == right.0) {
        for (_, index) in &run[1..] {
            if let Some((_, first)) =
                run.iter().find(|(_, first)| first < index && stack.same(*first, *index))
            {
                sets.join(*first, *index);
            }
        }
    }
}

/// Texts of one bucket that are known to be connected.
struct Group {
    roots: Vec<usize>,
    members: Vec<usize>,
}

/// The pairs of one bucket that connect what was not connected before.
fn links(
    bucket: &[(u64, usize)],
    stack: &Stack<'_>,
    sets: &DisjointSets,
    check: &Check<'_>,
) -> Vec<(usize, usize)> {
    let mut texts = Texts { check, sets: HashMap::new(), shingler: Shingler::default() };
    let mut groups: Vec<Group> = Vec::new();
    let mut links = Vec::new();
    for (_, index) in bucket {
        let root = sets.root(*index);
        let mut joined = Group { roots: Vec::new(), members: vec![*index] };
        let mut apart = Vec::with_capacity(groups.len() + 1);
        for mut group in groups {
            let connected = group.roots.contains(&root) || {
                let partner = group.members.iter().find(|member| texts.hold(stack, **member, *index));
                links.extend(partner.map(|member| (*member, *index)));
                partner.is_some()
            };
            if connected {
                group.roots.append(&mut joined.roots);
                group.members.append(&mut joined.members);
                joined = group;
            } else {
                apart.push(group);
            }
        }
        if !joined.roots.contains(&root) {
            joined.roots.push(root);
        }
        apart.push(joined);
        groups = apart;
    }
    links
}

/// Checks pairs of one bucket; shingle sets live as long as the bucket.
struct Texts<'a, 'b> {
    check: &'a Check<'b>,
    sets: HashMap<usize, Vec<u64>>,
    shingler: Shingler,
}

impl Texts<'_, '_> {
    fn hold(&mut self, stack: &Stack<'_>, left: usize, right: usize) -> bool {
        let Check { sketch, verify, threshold, .. } = self.check;
        match verify {
            Verify::None => true,
            Verify::Estimated => sketch.similarity(stack, left, right) >= *threshold,
            Verify::Exact => {
                self.load(left, sketch.shingling());
                self.load(right, sketch.shingling());
                jaccard_of_sets(&self.sets[&left], &self.sets[&right]) >= *threshold
            }
        }
    }

    fn load(&mut self, index: usize, shingling: &Shingling) {
        if let Entry::Vacant(entry) = self.sets.entry(index) {
            entry.insert(self.shingler.set(&(self.check.text)(index), shingling));
        }
    }
}
