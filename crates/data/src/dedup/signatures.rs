use std::ops::Range;

/// Signatures of equal length, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    width: usize,
    pub(crate) lanes: Lanes,
}

/// The numbers of signatures, as wide as their family makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lanes {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Rows {
    /// No signatures of `width` 32-bit numbers each.
    pub(crate) fn narrow(width: usize) -> Self {
        Self { width, lanes: Lanes::Narrow(Vec::new()) }
    }

    /// No signatures of `width` 64-bit numbers each.
    pub(crate) fn wide(width: usize) -> Self {
        Self { width, lanes: Lanes::Wide(Vec::new()) }
    }

    /// Numbers per signature.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The numbers of a narrow family.
    pub(crate) fn narrow_mut(&mut self) -> &mut Vec<u32> {
        match &mut self.lanes {
            Lanes::Narrow(values) => values,
            Lanes::Wide(_) => unreachable!("the family decides the width"),
        }
    }

    /// The numbers of a wide family.
    pub(crate) fn wide_mut(&mut self) -> &mut Vec<u64> {
        match &mut self.lanes {
            Lanes::Wide(values) => values,
            Lanes::Narrow(_) => unreachable!("the family decides the width"),
        }
    }

    /// Appends the signatures of another list of the same kind.
    pub(crate) fn append(&mut self, other: &Self) {
        match &other.lanes {
            Lanes::Narrow(values) => self.narrow_mut().extend_from_slice(values),
            Lanes::Wide(values) => self.wide_mut().extend_from_slice(values),
        }
    }

    /// Appends signature `row` of another list of the same kind.
    pub(crate) fn push_row(&mut self, other: &Self, row: usize) {
        let span = row * self.width..(row + 1) * self.width;
        match &other.lanes {
            Lanes::Narrow(values) => self.narrow_mut().extend_from_slice(&values[span]),
            Lanes::Wide(values) => self.wide_mut().extend_from_slice(&values[span]),
        }
    }

    /// All numbers, widened.
    pub(crate) fn to_u64(&self) -> Vec<u64> {
        match &self.lanes {
            Lanes::Narrow(values) => values.iter().map(|value| u64::from(*value)).collect(),
            Lanes::Wide(values) => values.clone(),
        }
    }

    /// Numbers that signature `i` has in common with signature `j` of `other`, place by place.
    pub(crate) fn equal(&self, i: usize, other: &Self, j: usize) -> usize {
        let (i, j) = (i * self.width, j * self.width);
        match (&self.lanes, &other.lanes) {
            (Lanes::Narrow(left), Lanes::Narrow(right)) => {
                count_equal(&left[i..i + self.width], &right[j..j + self.width])
            }
            (Lanes::Wide(left), Lanes::Wide(right)) => {
                count_equal(&left[i..i + self.width], &right[j..j + self.width])
            }
            _ => 0,
        }
    }

    /// A hash of some places of signature `row`.
    pub(crate) fn key(&self, row: usize, places: Range<usize>) -> u64 {
        let places = row * self.width + places.start..row * self.width + places.end;
        match &self.lanes {
            Lanes::Narrow(values) => key(values[places].iter().map(|value| u64::from(*value))),
            Lanes::Wide(values) => key(values[places].iter().copied()),
        }
    }

    /// Number `place` of signature `row`.
    pub(crate) fn value(&self, row: usize, place: usize) -> u64 {
        match &self.lanes {
            Lanes::Narrow(values) => u64::from(values[row * self.width + place]),
            Lanes::Wide(values) => values[row * self.width + place],
        }
    }
}

fn key(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0x9e37_79b9_7f4a_7c15, |key: u64, value| {
        let key = (key ^ value).wrapping_mul(0xff51_afd7_ed55_8ccd);
        key ^ (key >> 32)
    })
}

fn count_equal<T: PartialEq>(left: &[T], right: &[T]) -> usize {
    left.iter().zip(right).map(|(left, right)| usize::from(left == right)).sum()
}

/// Signatures with the hash of what each was made of, which finds equal texts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signatures {
    pub(crate) rows: Rows,
    pub(crate) contents: Vec<u64>,
}

impl Signatures {
    /// No signatures, of the kind of `rows`.
    pub(crate) fn new(rows: Rows) -> Self {
        Self { rows, contents: Vec::new() }
    }

    /// Number of signatures.
    pub(crate) fn len(&self) -> usize {
        self.contents.len()
    }

    /// Appends signatures of the same kind.
    pub(crate) fn append(&mut self, other: &Self) {
        self.rows.append(&other.rows);
        self.contents.extend_from_slice(&other.contents);
    }

    /// Appends signature `row` of a list of the same kind.
    pub(crate) fn push_row(&mut self, other: &Self, row: usize) {
        self.rows.push_row(&other.rows, row);
        self.contents.push(other.contents[row]);
    }
}

/// Two lists of signatures of one kind, numbered through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack<'a> {
    pub(crate) first: &'a Signatures,
    pub(crate) second: &'a Signatures,
}

impl<'a> Stack<'a> {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// The list and the place in it of signature `index`.
    pub(crate) fn at(&self, index: usize) -> (&'a Signatures, usize) {
        match index.checked_sub(self.first.len()) {
            None => (self.first, index),
            Some(index) => (self.second, index),
        }
    }

    /// Numbers that two signatures have in common.
    pub(crate) fn equal(&self, i: usize, j: usize) -> usize {
        let ((left, i), (right, j)) = (self.at(i), self.at(j));
        left.rows.equal(i, &right.rows, j)
    }

    /// Whether two signatures are equal and were made of equal shingles in equal order.
    pub(crate) fn same(&self, i: usize, j: usize) -> bool {
        let ((left, l), (right, r)) = (self.at(i), self.at(j));
        left.contents[l] == right.contents[r] && left.rows.equal(l, &right.rows, r) == left.rows.width()
    }

    /// The hash of what signature `index` was made of.
    pub(crate) fn content(&self, index: usize) -> u64 {
        let (list, index) = self.at(index);
        list.contents[index]
    }
}
