//! Base against tuned, metric by metric, and the report.

use burnisher_eval::{
    BleuConfig, BootstrapConfig, Comparison, EntityConfig, EvalError, ExactMatchConfig, ForgettingConfig,
    Metric, MetricSet, Report, ReportSample, RougeConfig, RougeType, Smoothing, TextLoss, corpus_perplexity,
    evaluate, squad,
};
use serde_json::{Value, json};

use crate::close;

const REFERENCES: [[&str; 2]; 4] = [
    [r#"{"drug": "ibuprofen", "dose": "400 mg", "times": 3}"#, r#"{"drug": "ibuprofen", "dose": "400 mg"}"#],
    [r#"{"drug": "aspirin", "dose": "100 mg"}"#, r#"{"drug": "aspirin"}"#],
    [r#"{"drug": "metformin", "dose": "850 mg"}"#, r#"{"drug": "metformin", "dose": "850 mg", "times": 2}"#],
    [r#"{"drug": "none given"}"#, r#"{"drug": "not given"}"#],
];
const BASE: [&str; 4] = [
    "The drug is ibuprofen.",
    r#"{"drug": "Aspirin"}"#,
    r#"{"drug": "metformin", "dose": "850"}"#,
    "none given",
];
const TUNED: [&str; 4] = [
    r#"{"drug": "ibuprofen", "dose": "400 mg", "times": 3}"#,
    r#"{"drug": "aspirin", "dose": "100 mg"}"#,
    r#"{"drug": "metformin", "dose": "850 mg", "times": 2.0}"#,
    r#"{"drug": "none"}"#,
];

fn references() -> Vec<Vec<&'static str>> {
    REFERENCES.iter().map(|references| references.to_vec()).collect()
}

#[test]
fn every_metric_agrees_with_its_own_function() {
    let report =
        Comparison::new(Metric::OF_ANSWERS).with_base(BASE).with_tuned(TUNED).against(&references()).unwrap();
    assert_eq!(report.metrics.keys().copied().collect::<Vec<_>>(), Metric::OF_ANSWERS);
    for (outputs, is_base) in [(BASE, true), (TUNED, false)] {
        let references = references();
        let rouge = RougeConfig::new().init().unwrap().corpus(&outputs, &references).unwrap();
        let squad = squad(&outputs, &references).unwrap();
        let entities = EntityConfig::new().score(&outputs, &references).unwrap().micro;
        let exact = outputs.iter().zip(&references).filter(|(output, list)| list.contains(output)).count();
        let wanted = [
            25.0 * exact as f64,
            squad.exact_match,
            squad.f1,
            entities.precision,
            entities.recall,
            entities.f1,
            100.0 * rouge[&RougeType::N(1)].fmeasure,
            100.0 * rouge[&RougeType::N(2)].fmeasure,
            100.0 * rouge[&RougeType::L].fmeasure,
            100.0 * rouge[&RougeType::Lsum].fmeasure,
            BleuConfig::new().init().unwrap().corpus(&outputs, &references).unwrap().score,
        ];
        let alone = evaluate(&Metric::OF_ANSWERS, &outputs, &references).unwrap();
        for (metric, wanted) in Metric::OF_ANSWERS.into_iter().zip(wanted) {
            let row = &report.metrics[&metric];
            let (value, interval, unparsable) = match is_base {
                true => (row.base, row.base_interval, row.base_unparsable),
                false => (row.tuned, row.tuned_interval, row.tuned_unparsable),
            };
            close(value, wanted, metric.name());
            close(row.difference, row.tuned - row.base, metric.name());
            let score = &alone[&metric];
            assert_eq!(
                (score.value, score.interval, score.unparsable, score.count),
                (value, interval, unparsable, 4),
                "{metric}"
            );
        }
    }
    let f1 = &report.metrics[&Metric::EntityF1];
    assert_eq!((f1.base_unparsable, f1.tuned_unparsable), (Some(2), Some(0)));
    assert!(f1.interval[0] <= f1.difference && f1.difference <= f1.interval[1], "{f1:?}");
}

#[test]
fn options_reach_their_metrics() {
    let rouge = RougeConfig::new().with_use_stemmer(true);
    let set = MetricSet::new([Metric::ExactMatch, Metric::Rouge1, Metric::Bleu, Metric::EntityF1])
        .with_exact_match(ExactMatchConfig::new().with_ignore_case(true))
        .with_entities(EntityConfig::new().with_ignore_case(true))
        .with_rouge(rouge)
        .with_bleu(BleuConfig::new().with_max_order(1).with_smoothing(Smoothing::None).with_lowercase(true))
        .with_bootstrap(BootstrapConfig::new().with_resamples(10));
    let (output, reference) = (r#"{"finding": "RUNNING NOSE"}"#, r#"{"findings": "running nose"}"#);
    let scores = set.evaluate(&[output], &[vec![reference]]).unwrap();
    assert_eq!(scores[&Metric::Rouge1].value, 100.0);
    // {, ", finding, ", :, ", running, nose, ", }: all but `finding`.
    close(scores[&Metric::Bleu].value, 90.0, "bleu");
    assert_eq!(scores[&Metric::ExactMatch].value, 0.0);
    let scores = set.evaluate(&[output.to_lowercase()], &[vec![output]]).unwrap();
    assert_eq!((scores[&Metric::ExactMatch].value, scores[&Metric::EntityF1].value), (100.0, 100.0));
}

#[test]
fn wrong_input_is_an_error() {
    let one = vec![vec!["{}"]];
    let compare = |metrics: &[Metric], base: &[&str], tuned: &[&str], references: &[Vec<&str>]| {
        let comparison = Comparison::new(metrics.iter().copied());
        comparison
            .with_base(base.to_vec())
            .with_tuned(tuned.to_vec())
            .against(references)
            .unwrap_err()
            .to_string()
    };
    let metric = [Metric::EntityF1];
    let rows = [
        (
            compare(&metric, &[], &["{}"], &one),
            "comparison, base: found 0 predictions and 1 references, wanted equally many",
        ),
        (
            compare(&metric, &["{}"], &["{}", "{}"], &one),
            "comparison, tuned: found 2 predictions and 1 references, wanted equally many",
        ),
        (compare(&metric, &[], &[], &[]), "comparison, base: found no examples, wanted at least one"),
        (compare(&[], &["{}"], &["{}"], &one), "evaluation: found metrics = none, wanted at least one"),
        (
            compare(&[Metric::Perplexity], &["{}"], &["{}"], &one),
            "evaluation: found metrics = perplexity, wanted metrics of answers; perplexity comes from losses",
        ),
        (
            compare(&metric, &["{}"], &["{}"], &[vec!["x"]]),
            "entities: reference 0 of example 0 holds no JSON object: `x`",
        ),
    ];
    for (got, wanted) in rows {
        assert_eq!(got, wanted);
    }
    let options = MetricSet::new([Metric::Bleu]).with_bleu(BleuConfig::new().with_max_order(0));
    assert!(matches!(options.evaluate(&["a"], &[vec!["a"]]), Err(EvalError::Option { .. })));
}

#[test]
fn perplexity_stands_beside_the_metrics_of_answers() {
    let report =
        Comparison::new([Metric::SquadF1]).with_base(BASE).with_tuned(TUNED).against(&references()).unwrap();
    let texts = |losses: [f64; 3]| losses.map(|sum| TextLoss { sum, tokens: 2, bytes: 9 });
    let (base, tuned) = (texts([4.0, 5.0, 6.0]), texts([2.0, 1.0, 3.0]));
    let with = report.clone().with_losses(&base, &tuned).unwrap();
    let perplexity = with.metrics[&Metric::Perplexity];
    close(perplexity.base, corpus_perplexity(&base).unwrap(), "base");
    close(perplexity.tuned, corpus_perplexity(&tuned).unwrap(), "tuned");
    close(perplexity.difference, perplexity.tuned - perplexity.base, "difference");
    assert!(perplexity.interval[1] < 0.0 && !perplexity.higher_is_better && perplexity.count == 3);
    let json = serde_json::to_value(Report::new().with_comparison(with)).unwrap();
    assert_eq!(json["metrics"]["perplexity"]["count"], json!(3));

    let mut uneven = tuned;
    uneven[1].tokens = 3;
    let error = report.clone().with_losses(&base, &uneven).unwrap_err();
    assert!(matches!(error, EvalError::TokenMismatch { index: 1, .. }), "{error}");
    let huge = texts([2e3; 3]);
    assert!(report.clone().with_losses(&base, &huge).is_err(), "a perplexity beyond a float");
    let shorter = report.with_losses(&base, &tuned[..2]).unwrap_err().to_string();
    assert!(shorter.contains("3") && shorter.contains("2"), "{shorter}");
}

#[test]
fn the_report_has_its_layout_and_comes_back() {
    let comparison = Comparison::new([Metric::RougeL, Metric::EntityF1])
        .with_base(BASE)
        .with_tuned(TUNED)
        .against(&references())
        .unwrap();
    let losses = |loss: f64| vec![TextLoss { sum: 10.0 * loss, tokens: 10, bytes: 40 }; 3];
    let forgetting = ForgettingConfig::new().assess(&losses(2.0), &losses(2.5)).unwrap();
    let report = Report::new()
        .with_comparison(comparison.clone())
        .with_general_loss(forgetting)
        .with_general_metrics(comparison.clone())
        .unwrap()
        .with_samples([ReportSample {
            prompt: "Which drug?".to_owned(),
            reference: REFERENCES[0][0].to_owned(),
            base: BASE[0].to_owned(),
            tuned: TUNED[0].to_owned(),
        }])
        .with_field("trainable_parameters", 1024)
        .and_then(|report| report.with_field("tokens_per_second", 12.5))
        .unwrap();

    let text = serde_json::to_string(&report).unwrap();
    // serde_json reads some numbers one bit off, so what comes back is compared as it is shown.
    let back: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(back.to_markdown(), report.to_markdown());
    assert_eq!(
        (&back.samples, back.bootstrap, back.fields()),
        (&report.samples, report.bootstrap, report.fields())
    );
    let json: Value = serde_json::from_str(&text).unwrap();
    let f1 = &comparison.metrics[&Metric::EntityF1];
    let row = &json["metrics"]["entity_f1"];
    assert_eq!(*row, serde_json::to_value(f1).unwrap());
    assert_eq!(row["interval"], json!(f1.interval));
    assert!(json["metrics"]["rougeL"].get("base_unparsable").is_none());
    assert_eq!(json["general_metrics"]["rougeL"], json["metrics"]["rougeL"]);
    assert_eq!(json["general_loss"]["base"], json!(2.0));
    assert_eq!(json["general_loss"]["tuned"], json!(2.5));
    assert_eq!(json["general_loss"]["verdict"], json!("worse"));
    assert_eq!(json["trainable_parameters"], json!(1024));
    assert_eq!(json["tokens_per_second"], json!(12.5));
    assert_eq!(json["bootstrap"]["resamples"], json!(1000));
    assert_eq!(report.fields().len(), 2);

    let markdown = report.to_markdown();
    for part in [
        "| metric | base | tuned | difference | 95 % interval | p | examples |",
        &format!("| entity_f1 | {:.2} | {:.2} | {:+.2} |", f1.base, f1.tuned, f1.difference),
        "Answers without a JSON object: base 2, tuned 0.",
        "## General text and tasks\n\nGeneral loss 2.000 before and 2.500 after tuning",
        "| trainable_parameters | 1024 |",
        "Before:\n\n```text\nThe drug is ibuprofen.\n```",
    ] {
        assert!(markdown.contains(part), "no `{part}` in\n{markdown}");
    }
    assert_eq!(Report::new().to_markdown(), "# Report\n");
    assert_eq!(serde_json::to_value(Report::new()).unwrap(), json!({"metrics": {}}));
}
