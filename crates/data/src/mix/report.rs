use std::fmt;

use serde::Serialize;

/// What each source of a mixture gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MixReport {
    /// Draws in all.
    pub draws: u64,
    /// The sources, in the order of the configuration.
    pub sources: Vec<MixSourceReport>,
}

/// One source of a [`MixReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MixSourceReport {
    /// Its name.
    pub name: String,
    /// Its records.
    pub records: usize,
    /// Draws from it.
    pub drawn: u64,
    /// Draws per record.
    pub epochs: f64,
    /// The share asked for, while no source is used up.
    pub wanted: f64,
    /// Its share of all draws.
    pub share: f64,
}

impl fmt::Display for MixReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} draws from {} sources", self.draws, self.sources.len())?;
        for MixSourceReport { name, records, drawn, epochs, wanted, share } in &self.sources {
            write!(
                f,
                "\n  {name}: {drawn} draws, {:.1} % ({:.1} % asked for), {epochs:.2} epochs of {records} records",
                100.0 * share,
                100.0 * wanted
            )?;
        }
        Ok(())
    }
}
