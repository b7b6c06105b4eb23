//! Different adapters for the rows of one batch.

use std::sync::Arc;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::{
    Roster,
    places::on_place,
    rules::{BASE, check_rows_of, check_together, check_unmerged, refuse},
};
use crate::{Adaptable, LoraError, error::Problem};

/// The adapters of the rows of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(super) rows: usize,
    /// In the order of their first rows.
    pub(super) groups: Vec<Group>,
}

/// The rows of one adapter.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) rows: Vec<usize>,
}

impl Routes {
    fn new<S: AsRef<str>>(rows: &[Option<S>]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (row, name) in rows.iter().enumerate() {
            let Some(name) = chosen(name) else { continue };
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.rows.push(row),
                None => groups.push(Group { name: name.to_owned(), rows: vec![row] }),
            }
        }
        Self { rows: rows.len(), groups }
    }

    /// The adapter of all rows, if it is one.
    pub(super) fn only(&self) -> Option<&str> {
        match self.groups.as_slice() {
            [group] if group.rows.len() == self.rows => Some(&group.name),
            _ => None,
        }
    }

    /// Tokens of a row, from the leading dimensions of an activation: `[rows, t]`, or `[rows·t]`.
    ///
    /// # Panics
    /// If there are other rows than adapters were chosen for.
    pub(super) fn length(&self, dims: &[usize]) -> usize {
        let tokens: usize = dims.iter().product();
        let is_right = if dims.len() > 1 { dims[0] == self.rows } else { tokens.is_multiple_of(self.rows) };
        assert!(is_right, "{}", LoraError::Rows { found: dims[0], wanted: self.rows });
        tokens / self.rows
    }
}

impl Group {
    /// Its rows of `x [rows, width]`.
    pub(super) fn of(&self, x: Tensor<2>) -> Tensor<2> {
        let indices = self.indices(&x);
        x.select(0, indices)
    }

    /// `y [rows, width]` with `added` on its rows.
    pub(super) fn add_to(&self, y: Tensor<2>, added: Tensor<2>) -> Tensor<2> {
        let indices = self.indices(&y);
        y.select_assign(0, indices, added, IndexingUpdateOp::Add)
    }

    fn indices(&self, x: &Tensor<2>) -> Tensor<1, Int> {
        let rows: Vec<i32> = self.rows.iter().map(|&row| row as i32).collect();
        let count = rows.len();
        Tensor::from_data(TensorData::new(rows, [count]), &x.device().without_autodiff())
    }
}

fn chosen<S: AsRef<str>>(name: &Option<S>) -> Option<&str> {
    name.as_ref().map(AsRef::as_ref).filter(|name| *name != BASE)
}

/// Chooses an adapter, or none, for every row of the batches that follow (PEFT 0.21's `adapter_names`; `__base__` is
/// none too). Logits, losses and generation compute the product with the base weights once for all rows, and each adapter
/// on its own rows. It goes before what [`set_adapters`](crate::set_adapters) chose, until
/// [`without_row_adapters`].
///
/// A batch of another number of rows is an error of generation and a panic of a forward pass; [`check_rows`] tells
/// before.
///
/// # Errors
/// [`LoraError::UnknownAdapter`] with every name that is none; [`LoraError::Several`] naming every adapter that is no
/// plain LoRA (DoRA, trained tokens, IA3, VeRA), for no rows, and while an adapter is merged.
pub fn with_row_adapters<M: Adaptable, S: AsRef<str>>(
    mut model: M,
    rows: &[Option<S>],
) -> Result<M, LoraError> {
    const WANTED: &str = "choose adapters by row";
    check_unmerged(&mut model, WANTED)?;
    let routes = Routes::new(rows);
    let roster = Roster::of(&mut model);
    // Rows of the base want it as it was.
    check_together(roster.entries.iter())?;
    check_rows_of(&roster.all(routes.groups.iter().map(|group| group.name.as_str()))?)?;
    if rows.is_empty() {
        refuse(WANTED, vec![Problem::new("the batch", "no rows", "at least one")])?;
    }
    let routes = Arc::new(routes);
    model.sites(&mut |_, site| on_place!(site, place => place.named.routes = Some(Arc::clone(&routes))));
    Ok(model)
}

/// Ends what [`with_row_adapters`] began: all rows have the adapters in use again.
pub fn without_row_adapters<M: Adaptable>(mut model: M) -> M {
    model.sites(&mut |_, site| on_place!(site, place => place.named.routes = None));
    model
}

/// Whether a batch of `rows` rows can pass.
///
/// # Errors
/// [`LoraError::Rows`] if [`with_row_adapters`] chose adapters for another number of rows.
pub fn check_rows<M: Adaptable>(model: &M, rows: usize) -> Result<(), LoraError> {
    match routes(&mut model.clone()) {
        Some(routes) if routes.rows != rows => Err(LoraError::Rows { found: rows, wanted: routes.rows }),
        _ => Ok(()),
    }
}

/// # Errors
/// [`LoraError::Several`] while rows have adapters of their own.
pub(crate) fn check_no_routes<M: Adaptable>(model: &mut M, wanted: &str) -> Result<(), LoraError> {
    let found = routes(model).map(|routes| format!("adapters chosen for {} rows", routes.rows));
    let problem = |found| Problem::new("the model", found, "none: without_row_adapters first");
    refuse(wanted, found.map(problem).into_iter().collect())
}

fn routes<M: Adaptable>(model: &mut M) -> Option<Arc<Routes>> {
    let mut found = None;
    model.sites(&mut |_, site| {
        on_place!(site, place => {
            if found.is_none() {
                found.clone_from(&place.named.routes);
            }
        });
    });
    found
}
