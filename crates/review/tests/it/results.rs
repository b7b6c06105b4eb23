//! Results against reference values and against counts by hand.

use std::{collections::BTreeMap, path::Path};

use burnisher_eval::{BootstrapConfig, mean_interval};
use burnisher_review::{
    IntervalKind, Item, Judge, Judgement, LogContents, MetricScores, Origin, Plan, Results, ResultsConfig,
    Showing, Study, StudyOptions, Task, Verdict, preference_pairs,
};
use serde_json::Value;

/// Judges everything: `say` gets the number of the judge and the task.
fn judged(study: &Study, say: impl Fn(usize, &Task) -> Option<Verdict>) -> (Plan, LogContents) {
    let plan = Plan::new(study).expect("a plan");
    let mut contents = LogContents::default();
    for judge in 0..study.options.judges.len() {
        for task in plan.tasks(judge) {
            let Some(verdict) = say(judge, task) else { continue };
            let judgement = Judgement::new(&task.id, verdict);
            let (_, record) = plan.record(study, judge, judgement, Origin::Server, 0).expect("fits");
            contents.records.push(record);
        }
    }
    (plan, contents)
}

/// The verdict that prefers this system.
fn prefer(task: &Task, system: &str) -> Verdict {
    if task.left == system { Verdict::Left } else { Verdict::Right }
}

fn results(study: &Study, say: impl Fn(usize, &Task) -> Option<Verdict>, config: &ResultsConfig) -> Results {
    let (plan, contents) = judged(study, say);
    Results::new(study, &plan, &contents, config).expect("counts")
}

fn study(items: usize, systems: &[&str], judges: usize, repeats: f64) -> Study {
    let outputs =
        |item: usize| systems.iter().map(move |system| (system.to_string(), format!("{system} {item}")));
    let judges = (0..judges).map(|judge| Judge::new(format!("j{judge}")));
    Study::new((0..items).map(|item| Item::new(format!("i{item}"), "p", outputs(item))).collect())
        .with_options(StudyOptions::new().with_judges(judges).with_repeats(repeats))
}

/// Reads `data-eval/NAME`: the committed copy, else the one beside the checkout. `None` (said on stdout) when
/// neither is there, which fails in CI.
fn fixture(name: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../models/tests/fixtures/data-eval", "../../../shared/fixtures/data-eval"];
    let Some(path) = folders.iter().map(|folder| root.join(folder).join(name)).find(|path| path.exists())
    else {
        assert!(std::env::var_os("CI").is_none(), "no fixture {name} in {folders:?}");
        println!("skipped: no ../shared");
        return None;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// FastChat's formulas on 400 battles, each an item of its own.
#[test]
fn ratings_and_win_rates_are_those_of_the_arena() {
    let Some(reference) = fixture("elo_bt.json") else { return };
    let battles: Vec<[String; 3]> = serde_json::from_value(reference["battles"].clone()).expect("battles");
    let items = battles.iter().enumerate().map(|(index, [a, b, _])| {
        Item::new(format!("b{index}"), "p", [(a.as_str(), "one"), (b.as_str(), "other")])
    });
    let study =
        Study::new(items.collect()).with_options(StudyOptions::new().with_judges([Judge::new("arena")]));
    let say = |_: usize, task: &Task| {
        let [a, b, winner] = &battles[task.item];
        Some(match winner.as_str() {
            "model_a" => prefer(task, a),
            "model_b" => prefer(task, b),
            "tie" => Verdict::Tie,
            "tie (bothbad)" => Verdict::BothBad,
            other => panic!("unknown outcome {other}"),
        })
    };
    let config = ResultsConfig::new().with_bootstrap(BootstrapConfig::new().with_resamples(50));
    let results = results(&study, say, &config);
    assert_eq!(results.comparisons, 400);
    let mut ratings: Vec<f64> = Vec::new();
    for system in &results.systems {
        let rating = system.bradley_terry.expect("compared");
        let wanted = reference["bt"][&system.system].as_f64().expect("a rating");
        // The tolerance that the fixture names: FastChat stops at a gradient of 1e-6.
        assert!(
            (rating.value - wanted).abs() < 1e-2,
            "{}: {} instead of {wanted}",
            system.system,
            rating.value
        );
        assert!(rating.interval[0] < rating.value && rating.value < rating.interval[1]);
        ratings.push(rating.value);
    }
    assert!(ratings.is_sorted_by(|one, other| one >= other));
    assert!(results.systems.iter().all(|system| system.regularized.is_none()));
    for pair in &results.pairs {
        let wanted = reference["win_rate_half_ties"][&pair.first][&pair.second].as_f64().expect("a rate");
        let count = reference["counts"][&pair.first][&pair.second].as_u64().expect("a count");
        assert!((pair.win_rate.value.expect("compared") - wanted).abs() < 1e-12);
        assert_eq!(pair.win_rate.of as u64, count);
    }
    assert_eq!(results.pairs.len(), 15);
}

#[test]
fn results_do_not_depend_on_the_order_of_answers() {
    let study = study(6, &["a", "b", "c"], 3, 0.5);
    let say = |judge: usize, task: &Task| {
        Some(match (judge + task.item) % 4 {
            0 => Verdict::Tie,
            1 => prefer(task, "a"),
            2 => prefer(task, "b"),
            _ => prefer(task, "c"),
        })
    };
    let (plan, mut contents) = judged(&study, say);
    let config = ResultsConfig::new().with_bootstrap(BootstrapConfig::new().with_resamples(20));
    let forward = Results::new(&study, &plan, &contents, &config).expect("counts");
    contents.records.reverse();
    let backward = Results::new(&study, &plan, &contents, &config).expect("counts");
    assert_eq!(forward.to_json().expect("JSON"), backward.to_json().expect("JSON"));
}

#[test]
fn side_and_steadiness_are_counted_by_hand() {
    let study = study(8, &["a", "b"], 2, 1.0);
    // j0 always takes the left side; j1 always takes `b`, and skips the repeat of item 3.
    let say = |judge: usize, task: &Task| match judge {
        0 => Some(Verdict::Left),
        _ if task.item == 3 && task.showing == Showing::Repeat => None,
        _ => Some(prefer(task, "b")),
    };
    let results = results(&study, say, &ResultsConfig::new());
    let [first, second] = &results.consistency.judges[..] else { panic!("two judges") };
    assert_eq!((first.repeats, first.same, first.reversed), (8, 0, 8));
    assert_eq!((second.repeats, second.same, second.reversed), (7, 7, 0));
    assert_eq!(results.consistency.same.value, Some(7.0 / 15.0));
    // Repeats count for nothing else.
    assert_eq!(results.comparisons, 16);
    assert_eq!(results.position.left + results.position.right, 16);
    assert!(results.position.left >= 8);
    assert_eq!((results.judges[1].answered, results.judges[1].of), (15, 16));
}

#[test]
fn one_sided_and_unconnected_systems_get_finite_ratings() {
    let one_sided =
        results(&study(5, &["a", "b"], 1, 0.0), |_, task| Some(prefer(task, "b")), &ResultsConfig::new());
    assert_eq!(one_sided.systems[0].system, "b");
    assert!(one_sided.systems[0].regularized.is_some());
    assert!(one_sided.systems.iter().all(|system| system.bradley_terry.is_some_and(|r| r.value.is_finite())));
    assert!(one_sided.to_markdown().contains("would be infinite"));

    let nobody = results(&study(2, &["a", "b"], 2, 0.5), |_, _| None, &ResultsConfig::new());
    assert_eq!((nobody.comparisons, nobody.pairs.len(), nobody.systems.len()), (0, 0, 2));
    assert!(nobody.systems.iter().all(|system| system.bradley_terry.is_none()));
    assert_eq!(nobody.agreement.alpha, None);
    assert!(nobody.to_markdown().contains("0 comparisons"));
}

#[test]
fn metrics_are_compared_with_people_item_by_item() {
    let study = study(6, &["a", "b"], 3, 0.0);
    // People: a a b tie a b, by majority; judge 2 always says tie.
    let people = ["a", "a", "b", "", "a", "b"];
    let say = |judge: usize, task: &Task| {
        Some(match people[task.item] {
            "" => Verdict::Tie,
            _ if judge == 2 => Verdict::BothBad,
            system => prefer(task, system),
        })
    };
    // The metric: a b b a tie, and nothing about item 5.
    let scores = [("i0", 2.0, 1.0), ("i1", 1.0, 2.0), ("i2", 0.0, 9.0), ("i3", 1.0, 0.0), ("i4", 1.0, 1.0)];
    let scores = scores.iter().flat_map(|(item, a, b)| [((*item, "a"), *a), ((*item, "b"), *b)]);
    let config = ResultsConfig::new().with_metric(MetricScores::new("overlap", scores));
    let (plan, contents) = judged(&study, say);
    let results = Results::new(&study, &plan, &contents, &config).expect("counts");
    let metric = &results.metrics[0];
    let counts = [metric.concordant, metric.discordant, metric.metric_ties, metric.people_ties];
    assert_eq!(counts, [2, 1, 1, 1]);
    assert_eq!((metric.both_tie, metric.missing), (0, 1));
    assert_eq!(metric.agreement.value, Some(2.0 / 3.0));
    // (2 − 1) / √((2 + 1 + 1)(2 + 1 + 1))
    assert_eq!(metric.kendall_tau_b, Some(0.25));

    let export = preference_pairs(&study, &plan, &contents);
    assert_eq!((export.pairs.len(), export.undecided, export.both_bad), (5, 1, 0));
    assert_eq!((export.pairs[2].chosen.as_str(), export.pairs[2].votes), ("b 2", [2, 0]));

    let config = ResultsConfig::new().with_metric(MetricScores::new("m", [(("i0", "c"), 1.0)]));
    let error = Results::new(&study, &plan, &contents, &config).expect_err("no such system").to_string();
    assert!(error.contains("metric `m`, item `i0`: found a score of system `c`"), "{error}");
}

#[test]
fn criteria_have_means_by_system() {
    let study =
        study(4, &["a", "b"], 1, 0.0).with_criteria([burnisher_review::Criterion::new("fluency", 0, 10)]);
    let plan = Plan::new(&study).expect("a plan");
    let mut contents = LogContents::default();
    for task in plan.tasks(0) {
        let scores = BTreeMap::from([("a", task.item as i64), ("b", 10)]);
        let (left, right) = (scores[task.left.as_str()], scores[task.right.as_str()]);
        let judgement = Judgement::new(&task.id, Verdict::Tie).with_scores("fluency", left, right);
        contents.records.push(plan.record(&study, 0, judgement, Origin::File, 0).expect("fits").1);
    }
    let results = Results::new(&study, &plan, &contents, &ResultsConfig::new()).expect("counts");
    let found: Vec<_> = results
        .criteria
        .iter()
        .map(|score| (score.system.as_str(), score.scores, score.mean.value))
        .collect();
    assert_eq!(found, [("a", 4, 1.5), ("b", 4, 10.0)]);
    assert_eq!(results.criteria[1].mean.interval, [10.0, 10.0]);
}

/// Seven of twelve items for `b`, two ties.
fn mixed(task: &Task) -> Verdict {
    match task.item {
        0..7 => prefer(task, "b"),
        7..9 => Verdict::Tie,
        _ => prefer(task, "a"),
    }
}

#[test]
fn votes_on_one_item_do_not_narrow_the_interval_of_a_win_rate() {
    let config = ResultsConfig::new();
    let by = |judges: usize| {
        let found = results(&study(12, &["a", "b"], judges, 0.0), |_, task| Some(mixed(task)), &config);
        assert!(found.systems[0].system == "b" && found.systems[0].win_rate.value == Some(8.0 / 12.0));
        // The other system mirrors it, and so does the pair.
        assert_eq!(found.pairs[0].win_rate.method, found.systems[0].win_rate.method);
        assert_eq!(found.pairs[0].win_rate, found.systems[1].win_rate);
        found
    };
    // One vote an item: Wilson's, on twelve votes.
    let one = by(1);
    assert_eq!(one.systems[0].win_rate.method, Some(IntervalKind::Wilson));
    assert!(one.to_markdown().contains(" | Wilson, votes | "), "{}", one.to_markdown());
    // Judges who always agree add nothing: the interval is that of drawing twelve items, whatever their number.
    let points: Vec<f64> = (0..12)
        .map(|item| {
            if item < 7 {
                1.0
            } else if item < 9 {
                0.5
            } else {
                0.0
            }
        })
        .collect();
    let wanted = mean_interval(&points, &config.bootstrap).expect("counts").interval;
    for judges in [2, 3, 7] {
        let found = by(judges);
        let rate = found.systems[0].win_rate;
        assert_eq!((rate.method, rate.of), (Some(IntervalKind::ItemBootstrap), 12 * judges));
        let [low, high] = rate.interval.expect("not of nothing");
        assert!((low - wanted[0]).abs() < 1e-12 && (high - wanted[1]).abs() < 1e-12, "{rate:?} {wanted:?}");
        assert!(found.to_markdown().contains(" | bootstrap, items | "), "{}", found.to_markdown());
        assert!(found.to_json().expect("JSON").contains("\"method\": \"item_bootstrap\""));
    }
    // What seven judges would have got by Wilson's: 84 independent votes.
    assert!(wanted[1] - wanted[0] > 0.4, "{wanted:?}");
}

#[test]
fn intervals_of_judges_who_all_say_the_same_have_a_width() {
    let by = |judges: usize| {
        let say = |_: usize, task: &Task| Some(prefer(task, "b"));
        let found = results(&study(10, &["a", "b"], judges, 0.0), say, &ResultsConfig::new());
        found.systems[0].win_rate
    };
    let (one, three) = (by(1), by(3));
    assert_eq!((one.method, one.of), (Some(IntervalKind::Wilson), 10));
    assert_eq!((three.method, three.of, three.value), (Some(IntervalKind::WilsonItems), 30, Some(1.0)));
    assert_eq!(one.interval, three.interval);
}

#[test]
fn several_pairs_of_an_item_hang_together_too() {
    let say = |_: usize, task: &Task| Some(if task.item < 5 { prefer(task, "c") } else { Verdict::Tie });
    let found = results(&study(9, &["a", "b", "c"], 1, 0.0), say, &ResultsConfig::new());
    let kinds: Vec<_> = found.systems.iter().map(|system| system.win_rate.method).collect();
    assert_eq!(found.systems[0].system, "c");
    assert_eq!(kinds[0], Some(IntervalKind::ItemBootstrap));
    assert!(found.pairs.iter().all(|pair| pair.win_rate.method == Some(IntervalKind::Wilson)));
}
