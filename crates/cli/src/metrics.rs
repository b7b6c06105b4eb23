//! `burnisher metrics`: scores of a file of predictions and references, as JSON.

use std::path::Path;

use burnisher::eval::{
    BleuConfig, BootstrapConfig, ChrfConfig, ErrorUnit, Metric, MetricSet, TaggingConfig, TerConfig,
    ZeroDivision, classify, corpus_errors,
};
use serde_json::{Map, Value, json};

use crate::{Outcome, args::MetricsArgs};

type Failure = Box<dyn std::error::Error>;

/// Metrics beside those of [`Metric`]: the name, and what is compared.
const OTHERS: [&str; 6] = ["chrf", "chrf++", "ter", "wer", "cer", "labels"];
/// The metric of lists of tags.
const TAGS: &str = "tags";

/// The examples of a file.
struct Examples {
    predictions: Vec<Value>,
    /// One or more per prediction.
    references: Vec<Vec<Value>>,
}

pub(crate) fn run(args: &MetricsArgs) -> Outcome {
    let examples = Examples::read(&args.file, &args.prediction, &args.reference)?;
    let mut scores = Map::new();
    let mut of_set = Vec::new();
    for name in &args.metrics {
        let known = OTHERS.iter().chain([&TAGS]).find(|known| known.eq_ignore_ascii_case(name));
        match known {
            Some(&TAGS) => {
                scores.insert(TAGS.to_owned(), tags(&examples)?);
            }
            Some(known) => {
                scores.insert((*known).to_owned(), other(known, &examples)?);
            }
            None => of_set.push(
                name.parse::<Metric>()
                    .map_err(|error| format!("--metrics: {error}, {}, {TAGS}", OTHERS.join(", ")))?,
            ),
        }
    }
    if of_set.contains(&Metric::Perplexity) {
        return Err("--metrics: perplexity is of a model's losses; `burnisher eval` measures it".into());
    }
    if !of_set.is_empty() {
        let (predictions, references) = examples.texts()?;
        let set = MetricSet::from(of_set).with_bootstrap(BootstrapConfig::default().with_seed(args.seed));
        for (metric, score) in set.evaluate(&predictions, &references)? {
            let mut score = serde_json::to_value(score)?;
            if metric == Metric::Bleu {
                score["signature"] = json!(BleuConfig::default().init()?.signature(&references).to_string());
            }
            scores.insert(metric.to_string(), score);
        }
    }
    println!(
        "{}",
        serde_json::to_string_pretty(&json!({ "examples": examples.predictions.len(), "scores": scores }))?
    );
    Ok(())
}

/// A metric of texts that gives one number.
fn other(name: &str, examples: &Examples) -> Result<Value, Failure> {
    let (predictions, references) = examples.texts()?;
    Ok(match name {
        "chrf" | "chrf++" => {
            let config = if name == "chrf" { ChrfConfig::new() } else { ChrfConfig::plus_plus() };
            let chrf = config.init()?;
            let signature = chrf.signature(&references).to_string();
            json!({ "value": chrf.corpus(&predictions, &references)?, "signature": signature })
        }
        "ter" => {
            let ter = TerConfig::new().init();
            let counts = ter.corpus(&predictions, &references)?;
            json!({ "value": ter.score(&counts), "signature": ter.signature(&references).to_string() })
        }
        "labels" => {
            let first = examples.first(&references)?;
            let confusion = classify(&predictions, &first)?;
            let averages = confusion.averages(1.0, ZeroDivision::Zero);
            json!({
                "accuracy": confusion.accuracy(), "balanced_accuracy": confusion.balanced_accuracy(),
                "f1_micro": averages.micro.f, "f1_macro": averages.macro_.f, "f1_weighted": averages.weighted.f,
                "mcc": confusion.mcc(),
            })
        }
        _ => {
            let unit = if name == "wer" { ErrorUnit::Words } else { ErrorUnit::Characters };
            let first = examples.first(&references)?;
            json!({ "value": 100.0 * corpus_errors(&predictions, &first, unit)?.rate() })
        }
    })
}

/// Entity F1 of lists of tags, as seqeval counts it by default.
fn tags(examples: &Examples) -> Result<Value, Failure> {
    let list = |value: &Value, at: usize| -> Result<Vec<String>, Failure> {
        let tags =
            value.as_array().and_then(|tags| tags.iter().map(|tag| Some(tag.as_str()?.to_owned())).collect());
        tags.ok_or_else(|| format!("example {at}: tags: found {value}, wanted a list of strings").into())
    };
    let predictions = examples.predictions.iter().enumerate().map(|(at, value)| list(value, at + 1));
    let predictions: Vec<Vec<String>> = predictions.collect::<Result<_, _>>()?;
    let references = examples.references.iter().enumerate().map(|(at, list_of)| match list_of.as_slice() {
        [one] => list(one, at + 1),
        many => Err(format!("example {}: tags: found {} references, wanted one", at + 1, many.len()).into()),
    });
    let references: Vec<Vec<String>> = references.collect::<Result<_, Failure>>()?;
    let report = TaggingConfig::new().score(&predictions, &references)?;
    let score = |score: &burnisher::eval::ClassScore| json!({ "precision": score.precision, "recall": score.recall, "f1": score.f, "support": score.support });
    let types: Map<String, Value> = report.types.iter().map(|(name, of)| (name.clone(), score(of))).collect();
    Ok(json!({
        "micro": score(&report.averages.micro), "macro": score(&report.averages.macro_), "types": types,
        "accuracy": report.accuracy, "foreign_tags": report.foreign_tags,
    }))
}

impl Examples {
    fn read(path: &Path, prediction: &str, reference: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut examples = Self { predictions: Vec::new(), references: Vec::new() };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let place = |message: String| format!("{}:{number}: {message}", path.display());
            let object: Map<String, Value> =
                serde_json::from_str(line).map_err(|error| place(format!("no JSON object: {error}")))?;
            let find = |names: &[&str]| {
                let found = names.iter().find_map(|name| object.get(*name));
                found.cloned().ok_or_else(|| {
                    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
                    place(format!("no {}; the record has {}", names.join(" or "), keys.join(", ")))
                })
            };
            examples.predictions.push(find(&[prediction])?);
            let several = format!("{reference}s");
            examples.references.push(
                match (find(&[reference, several.as_str()])?, object.contains_key(reference)) {
                    (Value::Array(list), false) => list,
                    (one, _) => vec![one],
                },
            );
        }
        if examples.predictions.is_empty() {
            return Err(format!("{} holds no examples", path.display()).into());
        }
        Ok(examples)
    }

    fn texts(&self) -> Result<(Vec<String>, Vec<Vec<String>>), Failure> {
        let text = |value: &Value, at: usize| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(Failure::from(format!("example {}: found {other}, wanted a string", at + 1))),
        };
        let predictions = self.predictions.iter().enumerate().map(|(at, value)| text(value, at));
        let references = self.references.iter().enumerate();
        let references = references.map(|(at, list)| list.iter().map(|value| text(value, at)).collect());
        Ok((predictions.collect::<Result<_, _>>()?, references.collect::<Result<_, _>>()?))
    }

    /// The only reference of each example.
    fn first(&self, references: &[Vec<String>]) -> Result<Vec<String>, Failure> {
        match references.iter().position(|list| list.len() != 1) {
            Some(at) => {
                Err(format!("example {}: found {} references, wanted one", at + 1, references[at].len())
                    .into())
            }
            None => Ok(references.iter().map(|list| list[0].clone()).collect()),
        }
    }
}
