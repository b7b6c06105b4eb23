//! Encoded records to rows of bounded length.

use std::collections::{BTreeMap, VecDeque};

use crate::encode::Encoded;

/// How records share rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Packing {
    /// Every record has its own row.
    #[default]
    None,
    /// Whole records share rows: the longest first, each into the fullest row that has room for it.
    BestFit,
    /// Records one after the other, cut wherever a row is full.
    Wrapped,
}

/// Records that share one sequence. Tokens of one record do not see those of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The records, in the order of the sequence.
    pub documents: Vec<Encoded>,
}

impl Row {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.documents.iter().map(Encoded::len).sum()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.documents.iter().all(Encoded::is_empty)
    }

    /// The number of targets. The first token of each record is none.
    pub fn target_tokens(&self) -> usize {
        self.documents.iter().map(Encoded::target_tokens).sum()
    }
}

/// Puts records into rows of at most `max_length` tokens.
///
/// * [`Packing::None`]: one row per record, in order.
/// * [`Packing::BestFit`]: best-fit decreasing, row for row that of TRL 1.16 (`pack_dataset`, strategy `bfd`) over the
///   whole list: by falling length, ties in the given order, each record goes to the row with the least room that is
///   enough, among equals to the one that has had that room for longest. Takes O(n log n).
/// * [`Packing::Wrapped`]: the tokens of TRL's strategy `wrapped`, with one difference: TRL takes a row for one document,
///   here each record in it, or piece of one, is a document of its own. The first token of a piece, which nothing
///   predicts any more, is no target.
///
/// The first two cut what is longer than `max_length`; an [`Encoder`](crate::Encoder) with the same limit leaves nothing
/// to cut. Records without tokens vanish.
///
/// # Panics
///
/// If `max_length` is 0.
pub fn pack(encoded: Vec<Encoded>, max_length: usize, packing: Packing) -> Vec<Row> {
    assert!(max_length > 0, "rows need room for at least one token");
    let documents = encoded.into_iter().filter(|document| !document.is_empty());
    match packing {
        Packing::None => {
            documents.map(|document| Row { documents: vec![cut(document, max_length)] }).collect()
        }
        Packing::BestFit => {
            best_fit(documents.map(|document| cut(document, max_length)).collect(), max_length)
        }
        Packing::Wrapped => wrapped(documents, max_length),
    }
}

fn cut(mut document: Encoded, max_length: usize) -> Encoded {
    if document.len() > max_length {
        tracing::warn!(
            record = document.index,
            tokens = document.len(),
            max_length,
            "a record is longer than a row and is cut"
        );
        document.ids.truncate(max_length);
        document.loss_mask.truncate(max_length);
    }
    document
}

fn best_fit(mut documents: Vec<Encoded>, max_length: usize) -> Vec<Row> {
    documents.sort_by_key(|document| std::cmp::Reverse(document.len()));
    let mut rows: Vec<Row> = Vec::new();
    // Rows by the room they have left; those with the same room in the order in which they came to have it.
    let mut with_room: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for document in documents {
        let length = document.len();
        let found =
            with_room.range_mut(length..).next().and_then(|(room, rows)| Some((*room, rows.pop_front()?)));
        let (room, row) = found.unwrap_or_else(|| {
            rows.push(Row::default());
            (max_length, rows.len() - 1)
        });
        if with_room.get(&room).is_some_and(VecDeque::is_empty) {
            with_room.remove(&room);
        }
        rows[row].documents.push(document);
        if room > length {
            with_room.entry(room - length).or_default().push_back(row);
        }
    }
    rows
}

fn wrapped(documents: impl Iterator<Item = Encoded>, max_length: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = Row::default();
    let mut room = max_length;
    for document in documents {
        let mut start = 0;
        while start < document.len() {
            let end = document.len().min(start + room);
            row.documents.push(piece(&document, start, end));
            room -= end - start;
            start = end;
            if room == 0 {
                rows.push(std::mem::take(&mut row));
                room = max_length;
            }
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
    rows
}

fn piece(document: &Encoded, start: usize, end: usize) -> Encoded {
    let mut piece = Encoded {
        ids: document.ids[start..end].to_vec(),
        loss_mask: document.loss_mask[start..end].to_vec(),
        index: document.index,
        offset: document.offset.saturating_add(u32::try_from(start).unwrap_or(u32::MAX)),
    };
    piece.loss_mask[0] = false;
    piece
}
