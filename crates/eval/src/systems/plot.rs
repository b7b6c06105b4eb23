//! The places of bars, lines and points; the page's template draws them.

use serde::Serialize;

use super::SystemsReport;
use super::input::Cost;
use super::score::SystemScore;
use crate::metric::Metric;

/// Width of every plot, and where its axes lie.
const WIDTH: f64 = 400.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 388.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 172.0;
/// Height of a system's row in a plot of bars.
const ROW: f64 = 32.0;
/// Number of colours in the page's style.
const COLORS: usize = 8;

#[derive(Debug, Serialize)]
pub(super) struct Plots {
    scores: Vec<Bars>,
    general: Vec<Bars>,
    curves: Vec<Lines>,
    costs: Vec<Scatter>,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct Bar {
    name: String,
    color: usize,
    label: String,
    top: f64,
    from: f64,
    width: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Serialize)]
struct Bars {
    caption: String,
    note: String,
    height: f64,
    bars: Vec<Bar>,
    ticks: Vec<Tick>,
    /// Dashed lines: the base's score, the tolerance.
    guides: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Lines {
    name: String,
    color: usize,
    train: String,
    validation: String,
    /// Validation points, which alone would not show as a line.
    dots: Vec<[f64; 2]>,
    best: Option<[f64; 2]>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

#[derive(Debug, Serialize)]
struct Point {
    name: String,
    color: usize,
    x: f64,
    y: f64,
    low: f64,
    high: f64,
    label_y: f64,
    before: bool,
}

#[derive(Debug, Serialize)]
struct Scatter {
    caption: String,
    unit: &'static str,
    points: Vec<Point>,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
}

impl Plots {
    pub(super) fn of(report: &SystemsReport) -> Self {
        let metrics: std::collections::BTreeSet<Metric> =
            report.systems.iter().flat_map(|system| system.scores.keys().copied()).collect();
        let mut metrics: Vec<Metric> = metrics.into_iter().collect();
        metrics.sort_by_key(|metric| *metric != report.primary);
        let mut sources: Vec<&str> = Vec::new();
        for change in report.systems.iter().flat_map(|system| &system.general) {
            if change.loss.is_some() && !sources.contains(&change.source.as_str()) {
                sources.push(&change.source);
            }
        }
        sources.sort_unstable();
        let gib = |cost: &Cost| cost.peak_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 30));
        let minutes = |cost: &Cost| cost.train_seconds.map(|seconds| seconds / 60.0);
        Self {
            scores: metrics.into_iter().map(|metric| score_bars(report, metric)).collect(),
            general: sources.into_iter().map(|source| general_bars(report, source)).collect(),
            curves: curves(report),
            costs: [
                scatter(report, "peak memory", "GiB", gib),
                scatter(report, "time of training", "minutes", minutes),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }
}

/// From values to places, with ticks at round numbers.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over all `values`, drawn from `from` to `to`, with about `count` ticks.
    fn new(values: impl IntoIterator<Item = f64>, count: f64, [from, to]: [f64; 2]) -> Self {
        let (low, high) = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = match high - low {
            span if span > 0.0 => (low, high),
            _ if low.is_finite() => (low - low.abs().max(1.0) / 2.0, high + high.abs().max(1.0) / 2.0),
            _ => (0.0, 1.0),
        };
        let rough = (high - low) / count;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough).unwrap_or(10.0) * power;
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        round(self.from + part * (self.to - self.from))
    }

    fn ticks(&self) -> Vec<Tick> {
        let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count)
            .map(|index| {
                let value = self.low + index as f64 * self.step;
                // Adding 0 turns -0 into 0.
                let value = if value.abs() < self.step / 1e6 { 0.0 } else { value };
                Tick { at: self.at(value), label: format!("{value:.decimals$}") }
            })
            .collect()
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A row per entry: name, colour, value, interval, label.
fn bars(
    caption: String,
    note: String,
    rows: Vec<(String, usize, f64, [f64; 2], String)>,
    guides: &[f64],
) -> Bars {
    let values = rows.iter().flat_map(|(_, _, value, [low, high], _)| [*value, *low, *high]);
    let axis = Axis::new(values.chain(guides.iter().copied()).chain([0.0]), 5.0, [4.0, WIDTH - 12.0]);
    let zero = axis.at(0.0);
    let height = ROW * rows.len() as f64 + 22.0;
    let bars = rows.into_iter().enumerate().map(|(row, (name, color, value, [low, high], label))| {
        let at = axis.at(value);
        Bar {
            name,
            color: color % COLORS,
            label,
            top: ROW * row as f64,
            from: at.min(zero),
            width: round((at - zero).abs()),
            low: axis.at(low),
            high: axis.at(high),
        }
    });
    let bars = bars.collect();
    Bars {
        caption,
        note,
        height,
        bars,
        ticks: axis.ticks(),
        guides: guides.iter().map(|v| axis.at(*v)).collect(),
    }
}

fn score_bars(report: &SystemsReport, metric: Metric) -> Bars {
    let mut base = Vec::new();
    let mut rows = Vec::new();
    for (color, system) in report.systems.iter().enumerate() {
        let Some(SystemScore { value, interval, versus_base, .. }) = system.scores.get(&metric) else {
            continue;
        };
        if versus_base.is_none() && system.kind == super::SystemKind::Base {
            base.push(*value);
        }
        let [low, high] = interval;
        rows.push((
            system.name.clone(),
            color,
            *value,
            *interval,
            format!("{value:.2} ({low:.2} to {high:.2})"),
        ));
    }
    let primary = if metric == report.primary { ", the metric that decides" } else { "" };
    let better = if metric.higher_is_better() { "higher is better" } else { "lower is better" };
    bars(metric.to_string(), format!("{better}{primary}"), rows, &base)
}

fn general_bars(report: &SystemsReport, source: &str) -> Bars {
    let mut rows = Vec::new();
    for (color, system) in report.systems.iter().enumerate() {
        let change = system.general.iter().find(|change| change.source == source);
        let Some(loss) = change.and_then(|change| change.loss) else { continue };
        let loss = loss.loss;
        let interval = loss.interval.map(|bound| 100.0 * bound / loss.base);
        let label = format!("{:+.1} % ({:.3} to {:.3})", loss.relative_change, loss.base, loss.tuned);
        rows.push((system.name.clone(), color, loss.relative_change, interval, label));
    }
    let tolerance = report.forgetting_tolerance;
    let note = format!("change of the loss in per cent, tolerance {tolerance} %");
    bars(source.to_owned(), note, rows, &[tolerance])
}

fn curves(report: &SystemsReport) -> Vec<Lines> {
    let mut lines = Vec::new();
    for (color, system) in report.systems.iter().enumerate() {
        let Some(curve) = &system.curve else { continue };
        let train: Vec<(f64, f64)> =
            curve.points.iter().filter_map(|point| Some((point.step as f64, point.train_loss?))).collect();
        let validation: Vec<(f64, f64)> = curve
            .points
            .iter()
            .filter_map(|point| Some((point.step as f64, point.validation_loss?)))
            .collect();
        let all = || train.iter().chain(&validation);
        if all().next().is_none() {
            continue;
        }
        let x = Axis::new(all().map(|point| point.0), 5.0, [LEFT, RIGHT]);
        let y = Axis::new(all().map(|point| point.1), 4.0, [BOTTOM, TOP]);
        let place = |point: &(f64, f64)| [x.at(point.0), y.at(point.1)];
        let line = |points: &[(f64, f64)]| {
            let places = points.iter().map(place).map(|[x, y]| format!("{x},{y}"));
            places.collect::<Vec<_>>().join(" ")
        };
        lines.push(Lines {
            name: system.name.clone(),
            color: color % COLORS,
            train: line(&train),
            validation: line(&validation),
            dots: validation.iter().map(place).collect(),
            best: curve.best_step.zip(curve.best_validation).map(|(step, loss)| place(&(step as f64, loss))),
            x_ticks: x.ticks(),
            y_ticks: y.ticks(),
        });
    }
    lines
}

/// Quality against one measure of cost; nothing where fewer than two systems have it.
fn scatter(
    report: &SystemsReport,
    caption: &str,
    unit: &'static str,
    cost: impl Fn(&Cost) -> Option<f64>,
) -> Option<Scatter> {
    let systems = report.systems.iter().enumerate();
    let found: Vec<_> = systems
        .filter_map(|(color, system)| {
            Some((system, color, cost(&system.cost)?, system.scores.get(&report.primary)?))
        })
        .collect();
    if found.len() < 2 {
        return None;
    }
    let x = Axis::new(found.iter().map(|row| row.2).chain([0.0]), 5.0, [LEFT, RIGHT]);
    let bounds = found.iter().flat_map(|row| row.3.interval.into_iter().chain([row.3.value]));
    let y = Axis::new(bounds, 4.0, [BOTTOM, TOP]);
    let mut points: Vec<Point> = found
        .into_iter()
        .map(|(system, color, cost, score)| {
            let place = x.at(cost);
            let [low, high] = score.interval.map(|bound| y.at(bound));
            let at = y.at(score.value);
            let before = place > 0.55 * WIDTH;
            Point {
                name: system.name.clone(),
                color: color % COLORS,
                x: place,
                y: at,
                low,
                high,
                label_y: at - 4.0,
                before,
            }
        })
        .collect();
    points.sort_by(|left, right| left.y.total_cmp(&right.y).then_with(|| left.name.cmp(&right.name)));
    // A label that would lie on one above it goes below that one.
    for index in 1..points.len() {
        for other in 0..index {
            let near = (points[index].x - points[other].x).abs() < 110.0;
            if near && (points[index].label_y - points[other].label_y).abs() < 11.0 {
                points[index].label_y = round(points[other].label_y + 11.0);
            }
        }
    }
    let caption = format!("{} against {caption}", report.primary);
    Some(Scatter { caption, unit, points, x_ticks: x.ticks(), y_ticks: y.ticks() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64]) -> Vec<String> {
        Axis::new(values.iter().copied(), 5.0, [0.0, 100.0])
            .ticks()
            .into_iter()
            .map(|tick| tick.label)
            .collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        assert_eq!(labels(&[0.0, 97.3]), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&[-1.2, 3.0]), ["-2", "-1", "0", "1", "2", "3"]);
        assert_eq!(labels(&[1.31, 1.52]), ["1.30", "1.35", "1.40", "1.45", "1.50", "1.55"]);
        assert_eq!(labels(&[]).len(), 6);
        assert!(labels(&[5.0]).len() > 2);
        let axis = Axis::new([0.0, 97.3], 5.0, [100.0, 0.0]);
        assert_eq!((axis.at(0.0), axis.at(50.0), axis.at(100.0)), (100.0, 50.0, 0.0));
    }
}
