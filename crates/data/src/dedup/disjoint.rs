/// Disjoint sets of the numbers 0..n; the root of a set is its smallest member.
#[derive(Debug)]
pub(crate) struct DisjointSets {
    parent: Vec<usize>,
}

impl DisjointSets {
    /// Every number in a set of its own.
    pub(crate) fn new(len: usize) -> Self {
        Self { parent: (0..len).collect() }
    }

    /// The root of a set, without shortening the way to it.
    pub(crate) fn root(&self, mut member: usize) -> usize {
        while self.parent[member] != member {
            member = self.parent[member];
        }
        member
    }

    /// Joins the sets of two members.
    pub(crate) fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.shorten(left), self.shorten(right));
        self.parent[left.max(right)] = left.min(right);
    }

    /// Puts every member right below its root, so that [`root`](Self::root) takes one step.
    pub(crate) fn flatten(&mut self) {
        // A parent is smaller than its child, so that it is flat already.
        for member in 0..self.parent.len() {
            self.parent[member] = self.parent[self.parent[member]];
        }
    }

    /// The root of every member.
    pub(crate) fn into_roots(mut self) -> Vec<usize> {
        self.flatten();
        self.parent
    }

    fn shorten(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            self.parent[member] = self.parent[self.parent[member]];
            member = self.parent[member];
        }
        member
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_are_the_connected_parts(len in 1_usize..40, pairs in prop::collection::vec((0_usize..40, 0_usize..40), 0..60)) {
            let pairs: Vec<(usize, usize)> = pairs.into_iter().map(|(i, j)| (i % len, j % len)).collect();
            let mut sets = DisjointSets::new(len);
            for (i, j) in &pairs {
                sets.join(*i, *j);
            }
            // The slow way: the smallest number wins along every pair until nothing changes.
            let mut wanted: Vec<usize> = (0..len).collect();
            for _ in 0..len {
                for (i, j) in &pairs {
                    let least = wanted[*i].min(wanted[*j]);
                    (wanted[*i], wanted[*j]) = (least, least);
                }
            }
            let before: Vec<usize> = (0..len).map(|member| sets.root(member)).collect();
            prop_assert_eq!(&before, &wanted);
            prop_assert_eq!(&sets.into_roots(), &wanted);
        }
    }
}
