//! Several systems on the same examples, with outcomes known beforehand.

use burnisher_eval::{
    BootstrapConfig, ComparedExample, Comparison, Cost, CostMeasure, CurvePoint, CurveVerdict, Effect,
    EvalError, ForgettingConfig, ForgettingVerdict, GeneralResult, GeneralTask, Metric, Outcome, SystemKind,
    SystemResult, SystemsConfig, SystemsReport, TextLoss, evaluate,
};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::close;

fn examples(count: usize) -> Vec<ComparedExample> {
    let example = |index: usize| ComparedExample {
        origin: format!("test.jsonl:{}", index + 1),
        prompt: format!("Which is number {index}?"),
        references: vec![format!("answer {index}")],
    };
    (0..count).map(example).collect()
}

/// A system that answers the examples rightly for which `right` says so.
fn system(name: &str, kind: SystemKind, count: usize, right: impl Fn(usize) -> bool) -> SystemResult {
    let answer = |index| if right(index) { format!("answer {index}") } else { "no idea".to_owned() };
    SystemResult::new(name, kind, (0..count).map(answer))
}

fn base(count: usize) -> SystemResult {
    system("base", SystemKind::Base, count, |index| index % 5 == 0)
}

fn memory(gib: u64) -> Cost {
    Cost { peak_memory_bytes: Some(gib << 30), ..Cost::default() }
}

fn losses(loss: f64) -> Vec<TextLoss> {
    (0..10_u32)
        .map(|text| TextLoss { sum: 20.0 * (loss + 0.01 * f64::from(text)), tokens: 20, bytes: 80 })
        .collect()
}

fn config() -> SystemsConfig {
    SystemsConfig::new([Metric::ExactMatch, Metric::SquadF1], Metric::ExactMatch)
        .with_bootstrap(BootstrapConfig::new().with_resamples(200))
}

fn report(count: usize, systems: &[SystemResult]) -> SystemsReport {
    SystemsReport::new(&examples(count), systems, &[], &config()).unwrap()
}

#[track_caller]
fn says(texts: &[String], part: &str) {
    assert!(texts.iter().any(|text| text.contains(part)), "no `{part}` in {texts:#?}");
}

#[test]
fn the_base_alone_is_nothing_to_compare() {
    let report = report(50, &[base(50)]);
    assert_eq!(
        (report.recommendation.system.as_str(), report.recommendation.outcome),
        ("base", Outcome::OnlyBase)
    );
    assert!(report.pairs.is_empty() && report.examples.is_empty() && report.alike == 50);
    assert_eq!(report.systems[0].scores[&Metric::ExactMatch].value, 20.0);
    assert!(report.to_html().contains("<h2>Quality</h2>") && report.to_markdown().contains("## Cost"));
}

#[test]
fn the_cheaper_of_two_equals_is_taken() {
    let systems = [
        base(100),
        system("full", SystemKind::Full, 100, |index| index % 10 != 0).with_cost(memory(40)),
        system("lora", SystemKind::Lora, 100, |index| index % 10 != 1).with_cost(memory(12)),
        system("weak", SystemKind::Qlora, 100, |index| index % 2 == 0).with_cost(memory(4)),
    ];
    let report = report(100, &systems);
    let recommendation = &report.recommendation;
    assert_eq!((recommendation.system.as_str(), recommendation.outcome), ("lora", Outcome::Trained));
    says(&recommendation.reasons, "lora beats base in exact_match by +70.00");
    says(&recommendation.cautions, "Whether lora forgot anything was not measured.");
    // Equal scores: the cheaper first.
    assert_eq!(report.ranking, ["lora", "full", "weak", "base"]);
    // By another measure, which only one of them has, that one is cheaper.
    let mut dearer = systems.clone();
    dearer[1].cost.train_seconds = Some(10.0);
    let by_time = config().with_cost(CostMeasure::TrainTime);
    let other = SystemsReport::new(&examples(100), &dearer, &[], &by_time).unwrap();
    assert_eq!(other.recommendation.system, "full");
}

#[test]
fn a_dearer_system_is_taken_when_it_is_better() {
    let systems = [
        base(100),
        system("full", SystemKind::Full, 100, |index| index % 10 != 0).with_cost(memory(40)),
        system("lora", SystemKind::Lora, 100, |index| index % 2 == 0).with_cost(memory(12)),
    ];
    let found = report(100, &systems).recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("full", Outcome::Trained));
    // Unless such a difference is of no use.
    let lenient = config().with_minimal_difference(45.0);
    let found = SystemsReport::new(&examples(100), &systems, &[], &lenient).unwrap().recommendation;
    assert_eq!(found.system, "full", "the other does not beat the base by 45 points");
    let lenient = config().with_minimal_difference(30.0);
    let mut systems = systems;
    systems[2] = system("lora", SystemKind::Lora, 100, |index| index % 10 > 2).with_cost(memory(12));
    let found = SystemsReport::new(&examples(100), &systems, &[], &lenient).unwrap().recommendation;
    assert_eq!(found.system, "lora");
    says(&found.reasons, "full scores highest but is better by less than is useful: +20.00");
}

#[test]
fn retrieval_may_suffice() {
    let systems = [
        base(100),
        system("passages", SystemKind::Retrieval, 100, |index| index % 10 != 3),
        system("lora", SystemKind::Lora, 100, |index| index % 20 != 0).with_cost(memory(1)),
    ];
    let found = report(100, &systems).recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("passages", Outcome::RetrievalSuffices));
    says(&found.reasons, "passages needs no training, lora does.");
    says(&found.reasons, "Retrieval suffices");
}

#[test]
fn nothing_beats_the_base_or_too_few_examples_tell() {
    let same = [base(100), system("lora", SystemKind::Lora, 100, |index| index % 5 == 0)];
    let found = report(100, &same).recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("base", Outcome::NothingBeatsBase));
    says(&found.reasons, "Nothing beats base");
    let worse = [base(100), system("lora", SystemKind::Lora, 100, |_| false)];
    let found = report(100, &worse).recommendation;
    assert_eq!(found.outcome, Outcome::NothingBeatsBase);
    says(&found.reasons, "lora, is worse in exact_match: -20.00");
    let few = [base(10), system("lora", SystemKind::Lora, 10, |index| index < 4)];
    let found = report(10, &few).recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("base", Outcome::TooFewExamples));
    says(&found.reasons, "10 examples are too few to tell");
    says(&found.reasons, "to see one of 1 takes about");
    says(&found.cautions, "10 examples are few");
}

#[test]
fn who_forgets_is_not_taken() {
    let with = |mut system: SystemResult, web: f64, code: f64| {
        system.general = vec![
            GeneralResult::of_losses("web", losses(web)),
            GeneralResult::of_losses("code", losses(code)),
        ];
        system
    };
    let good = |name, kind| system(name, kind, 100, |index| index % 10 != 0);
    let systems = [
        with(base(100), 2.0, 1.0),
        with(good("full", SystemKind::Full), 2.4, 1.0),
        with(system("lora", SystemKind::Lora, 100, |index| index % 10 > 2), 2.02, 1.01),
    ];
    let full = report(100, &systems);
    let found = &full.recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("lora", Outcome::Trained));
    says(&found.cautions, "full lost general ability: web +19.6 % loss.");
    says(&found.reasons, "Its general loss changed by at most +1.0 %");
    says(&found.reasons, "It scores highest of those that qualify");
    let changes = &full.systems[1].general;
    assert_eq!(changes.iter().map(|change| change.source.as_str()).collect::<Vec<_>>(), ["code", "web"]);
    let wanted = ForgettingConfig::new()
        .with_bootstrap(*config().metrics.bootstrap())
        .assess(&losses(2.0), &losses(2.4))
        .unwrap();
    assert_eq!(changes[1].loss, Some(wanted));
    assert_eq!(changes[0].loss.unwrap().verdict, ForgettingVerdict::Unchanged);
    assert!(full.systems[1].has_forgotten() && !full.systems[2].has_forgotten());

    let found = report(100, &systems[..2]).recommendation;
    assert_eq!((found.system.as_str(), found.outcome), ("base", Outcome::AllForgot));
    let lenient = config().with_forgetting_tolerance(25.0);
    let found = SystemsReport::new(&examples(100), &systems, &[], &lenient).unwrap().recommendation;
    assert_eq!(found.system, "full");

    let mut unknown = systems[..2].to_vec();
    unknown[1].general[0].source = "news".to_owned();
    let error = SystemsReport::new(&examples(100), &unknown, &[], &config()).unwrap_err().to_string();
    assert!(error.starts_with("system `full`: found general source `news`, wanted one of "), "{error}");
}

#[test]
fn general_tasks_are_scored_against_the_base() {
    let tasks = [GeneralTask {
        source: "arithmetic".to_owned(),
        metric: Metric::SquadExactMatch,
        references: (0..60).map(|index| vec![index.to_string()]).collect(),
    }];
    let answers =
        |right: usize| (0..60).map(move |index| if index < right { index.to_string() } else { "x".into() });
    let of = |right| GeneralResult::of_answers("arithmetic", answers(right));
    let lora = system("lora", SystemKind::Lora, 100, |_| true).with_general(of(20));
    let systems = [base(100).with_general(of(50)), lora];
    let report = SystemsReport::new(&examples(100), &systems, &tasks, &config()).unwrap();
    let change = &report.systems[1].general[0];
    close(change.score.unwrap().versus_base.unwrap().value, -50.0, "difference");
    assert!(change.is_forgotten());
    assert_eq!(report.recommendation.outcome, Outcome::AllForgot);
    says(
        &report.recommendation.cautions,
        "lora lost general ability: arithmetic -50.00 in squad_exact_match.",
    );
    assert!(
        report.to_html().contains("<h3>General tasks</h3>")
            && report.to_markdown().contains("| arithmetic |")
    );
    let error = SystemsReport::new(&examples(100), &systems, &[], &config()).unwrap_err().to_string();
    assert_eq!(error, "system `lora`: found general task `arithmetic`, wanted one of ");
}

#[test]
fn numbers_are_those_of_the_existing_functions() {
    let count = 60;
    let systems = [
        base(count).with_losses(losses(2.0)),
        system("lora", SystemKind::Lora, count, |index| index % 3 == 0).with_losses(losses(1.0)),
        system("qlora", SystemKind::Qlora, count, |index| index % 4 == 0),
    ];
    let config = SystemsConfig::new([Metric::ExactMatch, Metric::SquadF1], Metric::ExactMatch);
    let report = SystemsReport::new(&examples(count), &systems, &[], &config).unwrap();
    let references: Vec<_> = examples(count).into_iter().map(|example| example.references).collect();
    let mut p_values = Vec::new();
    for (summary, system) in report.systems.iter().zip(&systems) {
        let alone = evaluate(&[Metric::ExactMatch, Metric::SquadF1], &system.answers, &references).unwrap();
        for (metric, wanted) in alone {
            let score = summary.scores[&metric];
            assert_eq!((score.value, score.interval), (wanted.value, wanted.interval), "{metric}");
        }
        if summary.kind == SystemKind::Base {
            assert!(summary.scores.values().all(|score| score.versus_base.is_none()));
            continue;
        }
        let pair = Comparison::new([Metric::ExactMatch])
            .with_base(systems[0].answers.clone())
            .with_tuned(system.answers.clone())
            .against(&references)
            .unwrap();
        let (wanted, found) = (pair.metrics[&Metric::ExactMatch], summary.scores[&Metric::ExactMatch]);
        let found = found.versus_base.unwrap();
        assert_eq!(
            (found.value, found.interval, found.p_value),
            (wanted.difference, wanted.interval, wanted.p_value)
        );
        p_values.push((found.p_value, found.corrected_p));
    }
    p_values.sort_by(|left, right| left.0.total_cmp(&right.0));
    close(p_values[0].1, (2.0 * p_values[0].0).min(1.0), "Holm's first step");
    close(p_values[1].1, p_values[1].0.max(p_values[0].1), "Holm's second step");
    let perplexity = report.systems[1].scores[&Metric::Perplexity];
    close(perplexity.value, 1.045_f64.exp(), "perplexity");
    assert_eq!(perplexity.versus_base.unwrap().effect, Effect::Better);
    assert!(!report.systems[2].scores.contains_key(&Metric::Perplexity));
    assert_eq!(report.pairs.len(), 3);

    let error = SystemsReport::new(
        &examples(count),
        &systems,
        &[],
        &SystemsConfig::new([Metric::ExactMatch], Metric::Perplexity),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "system `qlora`: systems: found primary = perplexity, wanted losses in every system for this metric"
    );
    let by_loss = SystemsConfig::new([Metric::ExactMatch], Metric::Perplexity).with_minimal_difference(0.1);
    let report = SystemsReport::new(&examples(count), &systems[..2], &[], &by_loss).unwrap();
    assert_eq!((report.ranking[0].as_str(), report.recommendation.system.as_str()), ("lora", "lora"));
    assert!(report.pairs[0].difference.value < 0.0 && report.pairs[0].difference.effect == Effect::Better);
}

#[test]
fn over_fitting_shows() {
    let point = |(step, train, validation): (u64, f64, f64)| CurvePoint {
        step,
        train_loss: Some(train),
        validation_loss: Some(validation),
    };
    let over = [(0, 2.0, 2.0), (10, 1.0, 1.4), (20, 0.5, 1.6), (30, 0.2, 2.1)].map(point);
    let lora = system("lora", SystemKind::Lora, 100, |_| true).with_curve(over);
    let report = report(100, &[base(100), lora]);
    let curve = report.systems[1].curve.as_ref().unwrap();
    assert_eq!((curve.verdict, curve.best_step), (CurveVerdict::OverFitted, Some(10)));
    close(curve.rise.unwrap(), 50.0, "rise");
    close(curve.gap.unwrap(), 1.9, "gap");
    says(
        &report.recommendation.cautions,
        "lora over-fitted: its validation loss was least at step 10 and rose by 50.0 %",
    );
    let page = report.to_html();
    assert!(page.contains("over fitted") && page.matches("<polyline").count() == 2);
    assert!(report.to_markdown().contains("| lora | over fitted | 1.400 | 10 | 2.100 | +50.0 % | +1.900 |"));
}

#[test]
fn wrong_input_is_a_named_error() {
    let (two, of) = (examples(2), |kind| system("a", kind, 2, |_| true));
    let fails = |systems: &[SystemResult], config: &SystemsConfig| {
        SystemsReport::new(&two, systems, &[], config).unwrap_err().to_string()
    };
    let mut short = of(SystemKind::Lora);
    (short.name, short.answers) = ("short".to_owned(), vec![String::new()]);
    let mut uneven = of(SystemKind::Lora).with_losses(losses(1.0).into_iter().skip(1));
    uneven.name = "uneven".to_owned();
    let rows = [
        (fails(&[], &config()), "systems: found number of base systems = 0, wanted exactly 1"),
        (
            fails(&[of(SystemKind::Base), of(SystemKind::Lora)], &config()),
            "systems: found name = `a` twice, wanted a name of its own for each system",
        ),
        (
            fails(&[of(SystemKind::Base), short], &config()),
            "system `short`: answers: found 1 predictions and 2 references, wanted equally many",
        ),
        (
            fails(&[of(SystemKind::Base).with_losses(losses(1.0)), uneven], &config()),
            "system `uneven`: loss comparison: found 10 examples of the base and 9 of the tuned system, wanted equally \
             many",
        ),
        (
            fails(&[of(SystemKind::Base)], &SystemsConfig::new([Metric::ExactMatch], Metric::Bleu)),
            "system `a`: systems: found primary = bleu, wanted one of the metrics measured",
        ),
        (
            fails(&[of(SystemKind::Base)], &config().with_overfit_rise(f64::NAN)),
            "systems: found overfit_rise = NaN, wanted a finite number of at least 0",
        ),
    ];
    for (got, wanted) in rows {
        assert_eq!(got, wanted);
    }
    let none = SystemsReport::new(&[], &[system("a", SystemKind::Base, 0, |_| true)], &[], &config());
    assert!(matches!(none, Err(EvalError::System { .. })));
}

#[test]
fn examples_show_the_worst_regressions_first() {
    let systems = [
        system("base", SystemKind::Base, 40, |index| index < 10),
        system("lora", SystemKind::Lora, 40, |index| (3..30).contains(&index)),
    ];
    let config = config().with_examples(4);
    let report = SystemsReport::new(&examples(40), &systems, &[], &config).unwrap();
    let indices: Vec<_> = report.examples.iter().map(|example| example.index).collect();
    assert_eq!(indices, [0, 1, 2, 10]);
    assert_eq!(report.alike, 17);
    assert_eq!((report.examples[0].regression, report.examples[3].regression), (100.0, 0.0));
    assert_eq!((report.examples[3].answers[1].score, report.examples[3].answers[1].gain), (100.0, 100.0));
}

#[test]
fn the_report_comes_back_from_json_and_is_written() {
    let systems = [
        base(50).with_general(GeneralResult::of_losses("web", losses(2.0))),
        system("lora", SystemKind::Lora, 50, |index| index % 2 == 0)
            .with_general(GeneralResult::of_losses("web", losses(2.1)))
            .with_curve([CurvePoint { step: 1, train_loss: None, validation_loss: Some(1.0) }])
            .with_cost(Cost { train_seconds: Some(75.0), saved_bytes: Some(1536), ..memory(2) }),
    ];
    let text = serde_json::to_string(&systems).unwrap();
    let back: Vec<SystemResult> = serde_json::from_str(&text).unwrap();
    // serde_json reads some numbers one bit off, so what comes back is compared as it is shown.
    let (first, second) = (report(50, &systems), report(50, &back));
    assert_eq!(first.to_markdown(), second.to_markdown());
    let read: SystemsReport = serde_json::from_str(&first.to_json()).unwrap();
    assert_eq!((read.to_markdown(), read.to_html()), (first.to_markdown(), first.to_html()));
    let json: Value = serde_json::from_str(&first.to_json()).unwrap();
    assert_eq!(json["systems"][1]["kind"], "lora");
    assert_eq!(json["recommendation"]["outcome"], "trained");
    assert!(first.to_markdown().contains("| lora | 1 min 15 s | – | 2.0 GiB | – | 1.5 KiB | – |"));

    let dir = std::env::temp_dir().join(format!("burnisher-systems-{}", std::process::id()));
    let paths = first.write(dir.join("new")).unwrap();
    assert_eq!(std::fs::read_to_string(&paths[2]).unwrap(), first.to_html());
    let error = first.write(paths[0].join("below")).unwrap_err();
    assert!(matches!(&error, EvalError::Write { path, .. } if path.ends_with("below")), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn hostile_strings_stay_text() {
    let hostile =
        "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'|\n```\n# Title {{ 7*7 }}";
    let mut asked = examples(40);
    for example in &mut asked {
        (example.prompt, example.origin) = (hostile.to_owned(), hostile.to_owned());
        example.references = vec![hostile.to_owned()];
    }
    let name = |kind: &str| format!("{kind} {hostile}");
    let systems = [
        SystemResult::new(name("base"), SystemKind::Base, vec!["<b>"; 40])
            .with_general(GeneralResult::of_losses(hostile, losses(1.0))),
        SystemResult::new(name("lora"), SystemKind::Lora, vec![hostile; 40])
            .with_general(GeneralResult::of_losses(hostile, losses(1.0)))
            .with_curve([CurvePoint { step: 1, train_loss: Some(1.0), validation_loss: Some(1.0) }])
            .with_cost(memory(1)),
        SystemResult::new(name("qlora"), SystemKind::Qlora, vec![hostile; 40]).with_cost(memory(2)),
    ];
    let report = SystemsReport::new(&asked, &systems, &[], &config().with_title(hostile)).unwrap();
    let page = report.to_html();
    assert!(!page.contains("alert(1)</script>") && !page.contains("<img"), "markup got through");
    assert_eq!((page.matches("<script>").count(), page.matches("</script>").count()), (1, 1));
    assert!(page.contains("{{ 7*7 }}") && !page.contains("http:") && !page.contains("https:"));
    let markdown = report.to_markdown();
    let mut fence = 0;
    for line in markdown.lines() {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            0 if ticks >= 3 => fence = ticks,
            0 => assert!(!line.starts_with("# Title"), "out of its code block or cell: {line}"),
            _ if ticks >= fence && ticks == line.len() => fence = 0,
            _ => {}
        }
    }
    assert_eq!(fence, 0, "a code block without an end");
}

#[test]
fn the_policy_allows_the_script_and_no_other() {
    let systems = [base(50), system("lora", SystemKind::Lora, 50, |_| true)];
    let page = report(50, &systems).to_html();
    let script = page.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = Sha256::digest(script.as_bytes());
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let base64: String = digest
        .chunks(3)
        .flat_map(|three| {
            let bits = three.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte))
                << (8 * (3 - three.len()));
            let sextet = |place: usize| alphabet[(bits >> (18 - 6 * place)) as usize & 63];
            (0..4).map(|place| if place <= three.len() { sextet(place) } else { '=' }).collect::<Vec<_>>()
        })
        .collect();
    let policy =
        page.split_once("script-src '").unwrap().1.split_once('\'').unwrap().0.replace("&#x2f;", "/");
    assert_eq!(policy, format!("sha256-{base64}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_systems_changes_no_number(
        rights in prop::collection::vec(prop::collection::vec(any::<bool>(), 24), 3),
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let mut systems = vec![base(24).with_general(GeneralResult::of_losses("web", losses(1.0)))];
        for (index, right) in rights.iter().enumerate() {
            let kind = [SystemKind::Retrieval, SystemKind::Lora, SystemKind::Full][index];
            let general = GeneralResult::of_losses("web", losses(1.0 + 0.04 * index as f64));
            systems.push(system(&format!("s{index}"), kind, 24, |n| right[n]).with_general(general).with_cost(memory(index as u64)));
        }
        let config = config().with_bootstrap(BootstrapConfig::new().with_resamples(50));
        let one = SystemsReport::new(&examples(24), &systems, &[], &config).unwrap();
        let shuffled: Vec<_> = order.iter().map(|index| systems[*index].clone()).collect();
        let other = SystemsReport::new(&examples(24), &shuffled, &[], &config).unwrap();
        prop_assert_eq!(&one.recommendation, &other.recommendation);
        prop_assert_eq!((&one.ranking, &one.pairs, one.alike), (&other.ranking, &other.pairs, other.alike));
        for summary in &one.systems {
            prop_assert_eq!(Some(summary), other.systems.iter().find(|system| system.name == summary.name));
        }
        for (left, right) in one.examples.iter().zip(&other.examples) {
            prop_assert_eq!((left.index, left.spread, left.regression), (right.index, right.spread, right.regression));
        }
    }
}
