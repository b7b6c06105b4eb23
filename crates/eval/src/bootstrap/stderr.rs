//! Standard errors as lm-eval reports them.

use super::{METRIC, Resample, finite};
use crate::error::{EvalError, check_pairs};
use crate::rng::Mt19937;

/// The standard error of a mean: the sample standard deviation over √n, lm-eval's `mean_stderr`.
///
/// # Errors
/// Fewer than two values.
pub fn mean_stderr(values: &[f64]) -> Result<f64, EvalError> {
    Ok(sample_deviation("stderr", values)? / (values.len() as f64).sqrt())
}

/// The standard error of any statistic from `iterations` resamples, lm-eval's `bootstrap_stderr` with the same
/// random numbers: chunks of up to 1000 resamples, chunk i drawn by CPython's `random.Random(i)`. As there, what
/// is left over of the iterations after whole chunks is not drawn. lm-eval's default is 100,000.
///
/// # Errors
/// No examples, fewer than two iterations, a statistic that is not finite.
pub fn bootstrap_stderr<S>(
    examples: &[S],
    iterations: usize,
    statistic: impl Fn(Resample<'_, S>) -> f64,
) -> Result<f64, EvalError> {
    if examples.is_empty() {
        return Err(EvalError::Empty { metric: METRIC });
    }
    if iterations < 2 {
        let (found, wanted) = (iterations.to_string(), "at least 2");
        return Err(EvalError::Option { metric: METRIC, option: "iterations", found, wanted });
    }
    let chunk = iterations.min(1000);
    let mut indices = vec![0u32; examples.len()];
    let mut values = Vec::with_capacity(iterations);
    for seed in 0..iterations / chunk {
        let mut generator = Mt19937::python(seed as u64);
        for _ in 0..chunk {
            indices.fill_with(|| generator.scaled_below(examples.len()) as u32);
            let value = statistic(Resample { examples, indices: indices.iter() });
            values.push(finite(value, Some(values.len()))?);
        }
    }
    sample_deviation(METRIC, &values)
}

/// The standard error of a group of tasks from those of its tasks, by their numbers of examples: lm-eval's
/// `pooled_sample_stderr`.
///
/// # Errors
/// No tasks, not equally many errors and sizes, a task with fewer than two examples.
pub fn pooled_stderr(errors: &[f64], sizes: &[usize]) -> Result<f64, EvalError> {
    check_pairs("pooled stderr", errors.len(), sizes.len())?;
    if let Some(index) = sizes.iter().position(|size| *size < 2) {
        return Err(EvalError::Value {
            metric: "pooled stderr",
            what: "the size of task",
            index,
            found: sizes[index].to_string(),
            wanted: "at least 2",
        });
    }
    let square = |(error, size): (&f64, &usize)| (*size as f64 - 1.0) * error * error * *size as f64;
    let total = sizes.iter().sum::<usize>() as f64;
    let variance = errors.iter().zip(sizes).map(square).sum::<f64>() / (total - sizes.len() as f64);
    Ok((variance / total).sqrt())
}

fn sample_deviation(metric: &'static str, values: &[f64]) -> Result<f64, EvalError> {
    if values.len() < 2 {
        let (option, found) = ("values", values.len().to_string());
        return Err(EvalError::Option { metric, option, found, wanted: "at least 2" });
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    Ok((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt())
}
