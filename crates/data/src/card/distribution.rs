use serde::{Deserialize, Serialize};

/// Bars of a histogram, without the open one.
const BARS: usize = 20;

/// One bar of a histogram: values from `from` up to, without, `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// The least value.
    pub from: usize,
    /// The first value of the next bar; `None` in the last one, which is open.
    pub to: Option<usize>,
    /// Values in between.
    pub count: usize,
}

/// How a whole number is spread over the records of a set. Quantiles are values that occur: that of `q` is the one at
/// position `⌊q·(n - 1)⌋` of the sorted values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Distribution {
    /// The sum.
    pub total: usize,
    /// The mean.
    pub mean: f64,
    /// The least value.
    pub min: usize,
    /// The quantile of 0.05.
    pub p5: usize,
    /// The quantile of 0.5.
    pub median: usize,
    /// The quantile of 0.95.
    pub p95: usize,
    /// The quantile of 0.99.
    pub p99: usize,
    /// The greatest value.
    pub max: usize,
    /// Bars of equal, round width from the least value to the quantile of 0.99, and an open one for the rest.
    pub histogram: Vec<Bar>,
}

impl Distribution {
    /// `None` without values.
    pub(super) fn of(mut values: Vec<usize>) -> Option<Self> {
        values.sort_unstable();
        let (min, max) = (*values.first()?, *values.last()?);
        let quantile = |q: f64| values[(q * (values.len() - 1) as f64) as usize];
        let total: usize = values.iter().sum();
        Some(Self {
            total,
            mean: total as f64 / values.len() as f64,
            min,
            p5: quantile(0.05),
            median: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max,
            histogram: histogram(&values, quantile(0.99)),
        })
    }
}

/// The bars of sorted values, the closed ones from the least value to `end`.
fn histogram(values: &[usize], end: usize) -> Vec<Bar> {
    let least = values.first().map_or(0, |least| *least);
    let width = round_width((end - least) / BARS + 1);
    let closed = end / width + 1;
    let below = |limit: usize| values.partition_point(|value| *value < limit);
    let mut bars: Vec<Bar> = (least / width..closed)
        .map(|bar| (bar * width, (bar + 1) * width))
        .map(|(from, to)| Bar { from, to: Some(to), count: below(to) - below(from) })
        .collect();
    let rest = values.len() - below(closed * width);
    if rest > 0 {
        bars.push(Bar { from: closed * width, to: None, count: rest });
    }
    bars
}

/// The least of 1, 2, 5, 10, 20, 50, … that is at least `width`.
fn round_width(width: usize) -> usize {
    let mut unit = 1;
    loop {
        for step in [1, 2, 5] {
            if unit * step >= width {
                return unit * step;
            }
        }
        unit *= 10;
    }
}
