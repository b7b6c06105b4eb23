use std::fmt;
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::events::{Event, Observer, StopReason};

const TEMPLATE: &str = "{pos}/{len} [{bar:30}] {msg}";

/// Shows a run's progress: a bar with loss, labels per second and time left on a terminal, one plain
/// line for each logged step elsewhere.
pub struct Progress {
    view: View,
    /// Steps done before this run.
    resumed_at: u64,
}

enum View {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = match self.view {
            View::Bar(_) => "bar",
            View::Lines(_) => "lines",
        };
        f.debug_struct("Progress").field("view", &view).finish_non_exhaustive()
    }
}

impl Progress {
    /// A bar on standard error if it is a terminal, else plain lines on it.
    pub fn stderr() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        if bar.is_hidden() {
            return Self::lines(io::stderr());
        }
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { view: View::Bar(bar), resumed_at: 0 }
    }

    /// Plain lines on `writer`. A write that fails is ignored: the run goes on without its lines.
    pub fn lines(writer: impl Write + Send + 'static) -> Self {
        Self { view: View::Lines(Box::new(writer)), resumed_at: 0 }
    }

    fn line(&mut self, text: &str) {
        match &mut self.view {
            View::Bar(bar) => bar.println(text),
            View::Lines(writer) => {
                let _ = writeln!(writer, "{text}");
            }
        }
    }

    /// Seconds that the remaining steps take at the mean speed of this run, evaluations included.
    fn seconds_left(&self, step: u64, total_steps: u64, seconds: f64) -> Option<f64> {
        let done = step.saturating_sub(self.resumed_at);
        let left = total_steps.saturating_sub(step);
        (done > 0).then(|| seconds / done as f64 * left as f64)
    }
}

impl Observer for Progress {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Resumed { step, path } => {
                self.resumed_at = *step;
                self.line(&format!("resumed at step {step} from {}", path.display()));
            }
            Event::Started { trainable, total, rows, total_steps } => {
                let percent = 100.0 * *trainable as f64 / (*total).max(1) as f64;
                self.line(&format!(
                    "training {trainable} of {total} parameters ({percent:.4} %) on {rows} rows, {total_steps} steps"
                ));
                if let View::Bar(bar) = &self.view {
                    bar.set_length(*total_steps);
                    bar.set_position(self.resumed_at);
                }
            }
            Event::Step {
                step,
                total_steps,
                loss,
                learning_rate,
                grad_norm,
                tokens_per_second,
                seconds,
                ..
            } => {
                let left = match self.seconds_left(*step, *total_steps, *seconds) {
                    Some(seconds) => format!("{} left", duration(seconds)),
                    None => "time left unknown".to_owned(),
                };
                let speed = format!("{tokens_per_second:.0} tokens/s");
                match &self.view {
                    View::Bar(bar) => {
                        bar.set_message(format!("loss {loss:.4}  {speed}  {left}"));
                        bar.set_position(*step);
                    }
                    View::Lines(_) => self.line(&format!(
                        "step {step}/{total_steps}  loss {loss:.4}  lr {learning_rate:.3e}  \
                         grad norm {grad_norm:.3}  {speed}  {left}"
                    )),
                }
            }
            Event::Skipped { step, tensor, loss_scale, .. } => self.line(&format!(
                "step {step}: skipped, the gradient of {tensor} overflowed; loss scale {loss_scale}"
            )),
            Event::Evaluated { step, validation_loss, metrics, best, .. } => {
                let best = if *best { " (best)" } else { "" };
                let scores: String =
                    metrics.iter().map(|(metric, score)| format!(", {metric} {score:.2}")).collect();
                self.line(&format!("step {step}: validation loss {validation_loss:.4}{scores}{best}"));
            }
            Event::Saved { step, path } => {
                self.line(&format!("step {step}: saved {}", path.display()));
            }
            Event::Warning(text) => self.line(&format!("warning: {text}")),
            Event::Finished { step, reason, seconds } => {
                if let View::Bar(bar) = &self.view {
                    bar.finish_and_clear();
                }
                let why = match reason {
                    StopReason::Completed => "finished",
                    StopReason::EarlyStopping => "stopped early",
                };
                let text = format!("{why} at step {step} after {}", duration(*seconds));
                match &self.view {
                    // A finished bar prints nothing more.
                    View::Bar(_) => {
                        let _ = writeln!(io::stderr(), "{text}");
                    }
                    View::Lines(_) => self.line(&text),
                }
            }
        }
    }
}

/// `42s`, `3m 05s`, `2h 07m`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex, PoisonError};

    use burnisher_eval::Metric;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_lines() {
        let output = Shared::default();
        let mut progress = Progress::lines(output.clone());
        let events = [
            Event::Resumed { step: 10, path: PathBuf::from("out/checkpoint-10") },
            Event::Started { trainable: 512, total: 100_000, rows: 80, total_steps: 40 },
            Event::Step {
                step: 20,
                total_steps: 40,
                loss: 2.345_67,
                learning_rate: 2e-4,
                grad_norm: 0.5,
                tokens: 1234,
                tokens_per_second: 321.4,
                seconds: 95.0,
            },
            Event::Evaluated {
                step: 20,
                validation_loss: 2.25,
                tokens: 99,
                metrics: BTreeMap::from([(Metric::RougeL, 31.256)]),
                best: true,
            },
            Event::Finished { step: 40, reason: StopReason::Completed, seconds: 3720.0 },
        ];
        for event in &events {
            progress.on_event(event);
        }
        let bytes = output.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "resumed at step 10 from out/checkpoint-10\n\
             training 512 of 100000 parameters (0.5120 %) on 80 rows, 40 steps\n\
             step 20/40  loss 2.3457  lr 2.000e-4  grad norm 0.500  321 tokens/s  3m 10s left\n\
             step 20: validation loss 2.2500, rougeL 31.26 (best)\n\
             finished at step 40 after 1h 02m\n"
        );
    }

    #[test]
    fn durations() {
        for (seconds, text) in [(0.4, "0s"), (59.6, "1m 00s"), (185.0, "3m 05s"), (7620.0, "2h 07m")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
