//! The results as Markdown.

use std::fmt::{Display, Write};

use super::{Rate, Rating, Results};
use crate::visible::is_hidden;

impl Results {
    /// The results as Markdown tables, for a report or a terminal.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# {}\n\n", line(&self.title));
        let _ = writeln!(
            text,
            "{} comparisons; {} answers were changed, of which the last counts; {} pairs with equal outputs were \
             not shown.\n",
            self.comparisons, self.changed, self.identical_pairs
        );
        for excluded in &self.excluded {
            let (judge, count) = (line(&excluded.judge), excluded.judgements);
            let _ = writeln!(text, "Without the {count} judgements of {judge}.\n");
        }
        self.systems_table(&mut text);
        self.pairs_table(&mut text);
        self.criteria_table(&mut text);
        self.judges_table(&mut text);
        self.metrics_table(&mut text);
        text
    }

    fn systems_table(&self, text: &mut String) {
        text.push_str("## Systems\n\n");
        let head = [
            "rank",
            "system",
            "won",
            "lost",
            "tied",
            "both bad",
            "win rate",
            "interval",
            "Bradley-Terry",
            "Elo",
        ];
        let rows = self.systems.iter().map(|system| {
            vec![
                system.rank.map_or_else(none, |rank| rank.to_string()),
                line(&system.system),
                system.wins.to_string(),
                system.losses.to_string(),
                system.ties.to_string(),
                system.both_bad.to_string(),
                percent(&system.win_rate),
                method(&system.win_rate),
                system.bradley_terry.as_ref().map_or_else(none, rating),
                system.elo.as_ref().map_or_else(none, rating),
            ]
        });
        table(text, &head, rows);
        if let Some(reason) = self.systems.first().and_then(|system| system.regularized) {
            let _ = writeln!(
                text,
                "The Bradley-Terry ratings would be infinite ({reason:?}): each system got ties against an \
                 imaginary opponent of rating 1000.\n"
            );
        }
        text.push_str(
            "Ties and two bad outputs are half a win. Intervals of ratings come of drawing items; those of win rates \
             too where items have several votes (bootstrap, items), or are Wilson's.\n\n",
        );
    }

    fn pairs_table(&self, text: &mut String) {
        text.push_str("## Pairs\n\n");
        let head = [
            "first",
            "second",
            "first won",
            "second won",
            "tied",
            "both bad",
            "win rate of first",
            "interval",
        ];
        let rows = self.pairs.iter().map(|pair| {
            vec![
                line(&pair.first),
                line(&pair.second),
                pair.first_wins.to_string(),
                pair.second_wins.to_string(),
                pair.ties.to_string(),
                pair.both_bad.to_string(),
                percent(&pair.win_rate),
                method(&pair.win_rate),
            ]
        });
        table(text, &head, rows);
    }

    fn criteria_table(&self, text: &mut String) {
        if self.criteria.is_empty() {
            return;
        }
        text.push_str("## Criteria\n\n");
        let rows = self.criteria.iter().map(|score| {
            let [low, high] = score.mean.interval;
            let mean = format!("{:.2} ({low:.2} to {high:.2})", score.mean.value);
            vec![line(&score.criterion), line(&score.system), score.scores.to_string(), mean]
        });
        table(text, &["criterion", "system", "scores", "mean"], rows);
    }

    fn judges_table(&self, text: &mut String) {
        text.push_str("## Judges\n\n");
        let rows = self.judges.iter().zip(&self.consistency.judges).map(|(judge, steady)| {
            vec![
                line(&judge.judge),
                format!("{} of {}", judge.answered, judge.of),
                steady.repeats.to_string(),
                steady.same.to_string(),
                steady.reversed.to_string(),
            ]
        });
        table(text, &["judge", "answered", "repeats", "same again", "reversed"], rows);
        let agreement = &self.agreement;
        let _ = writeln!(
            text,
            "Same preference again: {}. Left side chosen: {}.\n",
            percent(&self.consistency.same),
            percent(&self.position.left_share)
        );
        let _ = writeln!(
            text,
            "Krippendorff's alpha {} (ordinal {}) over {} pairs that several judges compared; Fleiss' kappa {} over \
             {} that all compared.\n",
            decimal(agreement.alpha),
            decimal(agreement.ordinal_alpha),
            agreement.shared,
            decimal(agreement.fleiss_kappa),
            agreement.complete
        );
        let rows = agreement.judges.iter().map(|pair| {
            vec![
                line(&pair.first),
                line(&pair.second),
                format!("{} of {}", pair.same, pair.shared),
                decimal(pair.cohen_kappa),
            ]
        });
        if !agreement.judges.is_empty() {
            table(text, &["judge", "judge", "same", "Cohen's kappa"], rows);
        }
    }

    fn metrics_table(&self, text: &mut String) {
        if self.metrics.is_empty() {
            return;
        }
        text.push_str("## Metrics against people\n\n");
        let head = [
            "metric",
            "same",
            "other",
            "metric ties",
            "people tie",
            "both",
            "not scored",
            "agreement",
            "tau-b",
        ];
        let rows = self.metrics.iter().map(|metric| {
            let counts = [
                metric.concordant,
                metric.discordant,
                metric.metric_ties,
                metric.people_ties,
                metric.both_tie,
                metric.missing,
            ];
            let mut row = vec![line(&metric.metric)];
            row.extend(counts.iter().map(ToString::to_string));
            row.extend([percent(&metric.agreement), decimal(metric.kendall_tau_b)]);
            row
        });
        table(text, &head, rows);
    }
}

fn table(text: &mut String, head: &[impl Display], rows: impl Iterator<Item = Vec<String>>) {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push('\n');
}

/// A name on one line that ends no cell of a table.
fn line(name: &str) -> String {
    let escape = |letter: char| match letter {
        '|' | '\\' | '<' | '`' | '*' | '_' | '[' => format!("\\{letter}"),
        letter if is_hidden(letter) => " ".to_owned(),
        letter => letter.to_string(),
    };
    name.chars().map(escape).collect()
}

fn none() -> String {
    "–".to_owned()
}

fn percent(rate: &Rate) -> String {
    match (rate.value, rate.interval) {
        (Some(value), Some([low, high])) => {
            format!("{:.1} % ({:.1} to {:.1})", value * 100.0, low * 100.0, high * 100.0)
        }
        _ => none(),
    }
}

fn method(rate: &Rate) -> String {
    rate.method.map_or_else(none, |method| method.words().to_owned())
}

fn rating(rating: &Rating) -> String {
    let [low, high] = rating.interval;
    format!("{:.0} ({low:.0} to {high:.0})", rating.value)
}

fn decimal(value: Option<f64>) -> String {
    value.map_or_else(none, |value| format!("{value:.3}"))
}
