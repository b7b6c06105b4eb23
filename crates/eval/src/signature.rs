//! How a score says what it was computed with.

use std::fmt;

/// The version of sacrebleu whose numbers this crate reproduces.
const VERSION: &str = "2.6.0";

/// The options behind a score as sacrebleu writes them: `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name, short name, value.
    parts: Vec<(&'static str, &'static str, String)>,
    /// How many of the parts come before those of resampling.
    head: usize,
}

impl Signature {
    /// For these lists of references, with the options of a metric.
    pub(crate) fn new<R>(
        references: &[Vec<R>],
        options: impl IntoIterator<Item = (&'static str, &'static str, String)>,
    ) -> Self {
        let first = references.first().map_or(0, Vec::len);
        let number = match references.iter().all(|list| list.len() == first) {
            true => first.to_string(),
            false => "var".to_owned(),
        };
        let mut parts = vec![("nrefs", "#", number)];
        parts.extend(options);
        parts.push(("version", "v", VERSION.to_owned()));
        Self { parts, head: 1 }
    }

    /// Adds the number of bootstrap resamples.
    pub fn with_bootstrap(self, resamples: usize) -> Self {
        self.with("bs", "bs", resamples.to_string())
    }

    /// Adds the number of trials of approximate randomisation.
    pub fn with_randomization(self, trials: usize) -> Self {
        self.with("ar", "ar", trials.to_string())
    }

    /// Adds the seed of the resamples.
    pub fn with_seed(self, seed: u64) -> Self {
        self.with("seed", "rs", seed.to_string())
    }

    fn with(mut self, name: &'static str, short: &'static str, value: String) -> Self {
        self.parts.insert(self.head, (name, short, value));
        self.head += 1;
        self
    }

    /// The short form, `#:1|c:mixed|e:no|tok:13a|s:exp|v:2.6.0`.
    pub fn short(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(_, short, value)| format!("{short}:{value}")).collect();
        parts.join("|")
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, _, value)) in self.parts.iter().enumerate() {
            write!(f, "{}{name}:{value}", if index == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}

/// `yes` or `no`.
pub(crate) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// `lc` or `mixed`.
pub(crate) fn case(lowercase: bool) -> String {
    if lowercase { "lc" } else { "mixed" }.to_owned()
}
