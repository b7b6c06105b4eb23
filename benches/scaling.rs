//! How the time of a training step and its memory grow with layers, rows and row length: three sizes of each, the other
//! two as the options say. Prints a table on standard error and one JSON object on standard output.
//!
//! ```sh
//! cargo bench -p burnisher-benches --bench scaling -- --layers 4 --batch 1 --steps 5
//! ```
//!
//! Every size runs in a process of its own, because a process knows only one peak. The straight line through the three
//! points has its largest distance from one of them shown, as a part of the mean: a cost that is not linear shows there.

use std::{
    env,
    error::Error,
    process::{Command, ExitCode, Stdio},
};

use burnisher_benches::{Options, cpu, measure, print, rounded, versions};
use clap::Parser;
use serde_json::{Map, Value, json};

/// Measures how cost grows with size.
// A child gets this process's arguments and one more size, which has to win.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Args {
    /// Cargo adds this; it means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
    /// Measures one size and ends.
    #[arg(long, hide = true)]
    one: bool,
    #[command(flatten)]
    options: Options,
}

const SIZES: [(&str, [usize; 3]); 3] =
    [("layers", [2, 4, 8]), ("batch", [1, 2, 4]), ("seq", [256, 512, 1024])];

/// What is looked at, and its unit.
const COSTS: [(&str, &str); 2] = [("step_s", "s"), ("growth_mb", "MiB")];

fn main() -> ExitCode {
    let Args { one, options, .. } = Args::parse();
    print(if one { measure(&options) } else { all_sizes(&options) })
}

fn all_sizes(options: &Options) -> Result<Value, Box<dyn Error>> {
    options.check()?;
    eprintln!("{:<8}{:>8}{:>12}{:>16}", "", "", "step (s)", "growth (MiB)");
    let mut report = Map::new();
    for (name, sizes) in SIZES {
        let mut points = Vec::new();
        for size in sizes {
            let result = child(name, size)?;
            let point =
                Point { size, costs: [result["step_s"]["median"].as_f64(), result["growth_mb"].as_f64()] };
            eprintln!("{name:<8}{size:>8}{:>12}{:>16}", shown(point.costs[0]), shown(point.costs[1]));
            points.push(point);
        }
        report.insert(name.to_owned(), series(&points));
    }
    Ok(json!({
        "kind": "scaling",
        "config": options.to_json(),
        "series": Value::Object(report),
        "versions": versions(),
        "cpu": cpu(),
    }))
}

/// What one size costs, in the order of [`COSTS`].
struct Point {
    size: usize,
    costs: [Option<f64>; 2],
}

/// Runs this program again for one size.
fn child(name: &str, size: usize) -> Result<Value, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(["--one".to_owned(), format!("--{name}"), size.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("--{name} {size}: the measuring process ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The points of one size, with a line through each cost; the lines are printed, too.
fn series(points: &[Point]) -> Value {
    let mut series = Map::new();
    series.insert("sizes".to_owned(), points.iter().map(|point| point.size).collect());
    for (cost, (name, unit)) in COSTS.into_iter().enumerate() {
        let known = points.iter().map(|point| Some((point.size as f64, point.costs[cost]?)));
        let Some(known) = known.collect::<Option<Vec<_>>>() else { continue };
        let Line { intercept, slope, residual } = Line::through(&known);
        eprintln!(
            "        {name} = {intercept:.3} + {slope:.5} {unit} per unit, off by {:.1} %",
            residual * 100.0
        );
        let values: Vec<f64> = known.iter().map(|(_, value)| rounded(*value, 4)).collect();
        let line = json!({
            "values": values,
            "intercept": rounded(intercept, 4),
            "slope": rounded(slope, 6),
            "relative_residual": rounded(residual, 4),
        });
        series.insert(name.to_owned(), line);
    }
    Value::Object(series)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.3}"))
}

/// A least-squares line.
struct Line {
    intercept: f64,
    slope: f64,
    /// The largest distance from a point, over the mean value.
    residual: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = covariance / variance;
        let intercept = mean_y - slope * mean_x;
        let distances = points.iter().map(|(x, y)| (intercept + slope * x - y).abs());
        Self { intercept, slope, residual: distances.fold(0.0, f64::max) / mean_y.abs() }
    }
}
