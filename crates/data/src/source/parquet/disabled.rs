use std::path::Path;

use crate::error::DataError;
use crate::source::elements::{Element, FileContext};

/// No reader: a build without the feature refuses every Parquet file.
pub(crate) enum Rows {}

impl Rows {
    pub(crate) fn open(path: &Path, _context: FileContext) -> Result<Self, DataError> {
        Err(DataError::FeatureMissing {
            path: path.to_path_buf(),
            what: "a Parquet file",
            feature: "parquet",
        })
    }

    pub(crate) fn next(&mut self) -> Option<Result<Element, DataError>> {
        match *self {}
    }
}
