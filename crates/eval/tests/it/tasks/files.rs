//! Task files: the examples, and wrong ones.

use std::fs;
use std::path::{Path, PathBuf};

use burnisher_eval::{
    Choices, EvalError, ExactMatchConfig, Filter, Metric, TargetTemplate, TaskConfig, TaskMetric, TaskOutput,
    TaskResponse, TaskResponse::Text,
};
use serde_json::{Value, json};

use super::{ask, likelihood, row};
use crate::close;

/// A file with this text, read as a task.
fn read(name: &str, content: &str) -> Result<TaskConfig, EvalError> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    TaskConfig::from_file(path)
}

/// What is wrong with a file, without its folder.
fn refused(name: &str, content: &str) -> String {
    let message = read(name, content).unwrap_err().to_string();
    message.replace(&format!("{}/", env!("CARGO_TARGET_TMPDIR")), "")
}

/// A row for each file of `examples/tasks`, the prompt and the references that it gives.
fn examples() -> Vec<(&'static str, Value, &'static str, Vec<&'static str>)> {
    let pubmed = json!({
        "question": "Does it help?", "context": { "contexts": ["We tried.", "It did."] }, "final_decision": "yes",
    });
    vec![
        (
            "gsm8k",
            json!({ "question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4" }),
            "Question: 2 + 2?\nAnswer:",
            vec!["2 + 2 = 4\n#### 4"],
        ),
        (
            "scitldr",
            json!({ "title": "Nets", "source": ["We do a.", "We do b.\n"], "target": ["They do a.", "And b."] }),
            "Summarize what this paper is about in one sentence of at most 25 words. Write nothing but the \
             sentence.\n\nTitle: Nets\nAbstract: We do a. We do b.",
            vec!["They do a.", "And b."],
        ),
        (
            "pubmedqa",
            pubmed.clone(),
            "We tried.\nIt did.\n\nQuestion: Does it help?\nAnswer with one word: yes, no, maybe.",
            vec!["yes"],
        ),
        (
            "pubmedqa_choice",
            pubmed,
            "Abstract: We tried.\nIt did.\nQuestion: Does it help?\nAnswer:",
            vec!["yes"],
        ),
        (
            "squad",
            json!({ "context": "Ada was here.", "question": "Who?", "answers": { "text": ["Ada", "Ada L."] } }),
            "Passage: Ada was here.\nQuestion: Who?\nAnswer:",
            vec!["Ada", "Ada L."],
        ),
        (
            "ner_wnut17",
            json!({ "tokens": ["Ada", "L.", "in", "Rome"], "tags": ["B-person", "I-person", "O", "B-location"] }),
            "Text: Ada L. in Rome\nEntities:",
            vec![r#"{"location": ["Rome"], "person": ["Ada L."]}"#],
        ),
    ]
}

#[test]
fn the_example_files_load_and_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tasks");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let examples = examples();
    assert_eq!(paths.len(), examples.len(), "a file without a row here, or a row without a file");
    for path in paths {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (_, value, prompt, references) = examples.iter().find(|example| example.0 == stem).unwrap();
        let config = TaskConfig::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.task, stem);
        let again: TaskConfig = serde_json::from_value(json!(config)).unwrap();
        assert_eq!(again, config, "{stem}");

        let mut alone = config.clone();
        alone.num_fewshot = 0;
        let item = ask(&alone.clone().init().unwrap(), value.clone());
        assert_eq!(
            (&item.prompt.as_str(), &item.references),
            (prompt, &references.iter().map(|r| r.to_string()).collect())
        );
        assert_eq!(item.context, format!("{}{prompt}", config.description), "{stem}");

        // As examples before itself in other words.
        let mut other = row(value.clone());
        other.insert("id".to_owned(), json!(1));
        let shots: Vec<_> = (0..config.num_fewshot)
            .map(|id| {
                let mut row = other.clone();
                row.insert("id".to_owned(), json!(id + 1));
                row
            })
            .collect();
        let task = config.clone().init().unwrap().with_fewshot(&shots).unwrap();
        let item = ask(&task, value.clone());
        let shot = format!("{prompt} {}\n\n", references[0]);
        assert_eq!(
            item.context,
            format!("{}{}{prompt}", config.description, shot.repeat(config.num_fewshot))
        );

        let response = match config.output {
            TaskOutput::MultipleChoice => TaskResponse::Choices {
                conditional: (0..item.choices.len())
                    .map(|at| likelihood(if Some(at) == item.gold { -1e-9 } else { -99.0 }))
                    .collect(),
                unconditional: None,
            },
            _ => Text(format!(" {}", item.references[0])),
        };
        let report = task.score(&[item], &[response]).unwrap();
        for (name, score) in &report.scores {
            let best = match name.as_str() {
                "acc" | "acc_norm" => 1.0,
                "brier" => 0.0,
                _ => 100.0,
            };
            close(score.value, best, &format!("{name} of {stem}"));
            assert_eq!(score.stderr, None);
        }
    }
}

#[test]
fn wrong_files_say_all_that_is_wrong() {
    assert_eq!(
        refused(
            "unknown.yaml",
            "task: t\npromt: hi\ndoc_to_target: x\nlimit: few\nmetrics: [rouge, bleu]\ncolour: 1\n"
        ),
        "unknown.yaml has 7 problems:\n  \
         promt: unknown field; the nearest known one is prompt\n  \
         doc_to_target: unknown field; lm-eval's doc_to_target is called target here\n  \
         limit: invalid type: string \"few\", expected a whole number of at least 0\n  \
         metrics[0]: found metric `rouge`, wanted one of exact_match, squad_exact_match, squad_f1, \
         entity_precision, entity_recall, entity_f1, rouge1, rouge2, rougeL, rougeLsum, bleu, perplexity, chrf, \
         chrf++, ter, accuracy, f1_macro, acc, acc_norm, acc_bytes, acc_mutual_info, brier, word_perplexity, \
         byte_perplexity, bits_per_byte\n  \
         colour: unknown field; wanted one of task, data, examples_data, num_fewshot, fewshot_delimiter, \
         target_delimiter, description, prompt, target, choices, output, form, generation, filters, metrics, limit, \
         seed\n  \
         prompt: found none; wanted a template\n  \
         target: found none; wanted a template, or a list of them"
    );
    assert_eq!(
        refused(
            "values.yaml",
            "task: t\noutput: multiple_choice\nprompt: '{{ question '\ntarget: ['{{ a }}', '{% if %}']\n\
             filters: [strip, {regex: '('}]\nmetrics: [acc, rouge1, acc]\ngeneration: {max_new_tokens: 0}\n"
        ),
        "values.yaml has 9 problems:\n  \
         choices: found none; wanted a list for multiple_choice\n  \
         filters[0]: found strip; wanted none for multiple_choice, which writes no answer\n  \
         filters[1]: found regex; wanted none for multiple_choice, which writes no answer\n  \
         metrics[1]: found rouge1; wanted one of acc, acc_norm, acc_bytes, acc_mutual_info, brier for \
         multiple_choice\n  \
         metrics[2]: found acc again; wanted each metric once\n  \
         generation.max_new_tokens: found 0; wanted at least 1\n  \
         prompt: not a Jinja template: unexpected end of input, expected end of variable block; the template is \
         \"{{ question \"\n  \
         target[1]: not a Jinja template: unexpected end of block; the template is \"{% if %}\"\n  \
         filters[1]: answer filter: pattern `(` is not a regular expression: unclosed group"
    );
    assert_eq!(
        refused(
            "choices.toml",
            "task = \"t\"\nprompt = \"?\"\ntarget = \"0\"\nchoices = \"a, b\"\nmetrics = [\"bleu\"]\n"
        ),
        "choices.toml has 1 problem:\n  choices: found a text; wanted a list, or one expression that gives a list such \
         as {{ options }}"
    );
    assert_eq!(
        refused(
            "rolling.yaml",
            "task: t\noutput: loglikelihood_rolling\nprompt: hi\ntarget: '{{ text }}'\nmetrics: [bits_per_byte]\n\
             num_fewshot: 2\nform: chat\n"
        ),
        "rolling.yaml has 3 problems:\n  \
         prompt: found one; wanted none: loglikelihood_rolling scores the target as a whole text\n  \
         num_fewshot: found 2; wanted 0 for loglikelihood_rolling\n  \
         form: found chat; wanted plain for loglikelihood_rolling"
    );
    assert_eq!(
        refused("empty.yaml", "seed: 1\n"),
        "empty.yaml has 4 problems:\n  task: missing; wanted the name of the task\n  \
         prompt: found none; wanted a template\n  target: found none; wanted a template, or a list of them\n  \
         metrics: found none; wanted at least one"
    );
    let unquoted = refused("unquoted.yaml", "task: t\nprompt: {{ q }}\ntarget: b\n");
    assert!(unquoted.starts_with("unquoted.yaml: not valid YAML: error: line 2 column 10"), "{unquoted}");
    assert!(unquoted.ends_with("\nA template that begins with {{ needs quotes."), "{unquoted}");
    assert_eq!(
        refused("table.yaml", "task: t\nprompt: hi\ntarget: {a: b}\nmetrics: [bleu]\n"),
        "table.yaml has 1 problem:\n  target: found {\"a\":\"b\"}, wanted a text"
    );
    assert_eq!(
        refused("filter.yaml", "task: t\nprompt: q\ntarget: x\nfilters: [strip, upper]\nmetrics: [bleu]\n"),
        "filter.yaml has 1 problem:\n  filters[1]: found filter `upper`, wanted one of strip, lowercase, first_line, \
         gsm8k_strict, gsm8k_flexible, json, choice, {regex: PATTERN, choose: first|last}, {choice: {..}}"
    );
    assert_eq!(
        refused(
            "options.yaml",
            "task: t\nprompt: q\ntarget: x\nmetrics: [{metric: rougeL, ignore_case: true}]\n"
        ),
        "options.yaml has 1 problem:\n  metrics[0]: found options of rougeL: ignore_case; only exact_match has any"
    );
    assert_eq!(
        refused("task.json", "{}"),
        "task.json: found the ending \"json\"; wanted .toml, .yaml or .yml"
    );
    assert!(refused("broken.yaml", "task: [").starts_with("broken.yaml: not valid YAML: "));
    assert!(refused("broken.toml", "task = ").starts_with("broken.toml: not valid TOML: "));
    assert_eq!(
        refused("list.yaml", "- task"),
        "list.yaml: found YAML that is a list, wanted the fields of a task"
    );
    let missing = TaskConfig::from_file("nowhere.yaml").unwrap_err().to_string();
    assert!(missing.starts_with("nowhere.yaml: cannot be read: "), "{missing}");
    let deep = TaskConfig::new("t", format!("{{{{ {}1 }}}}", "1+".repeat(30_000)), "x")
        .with_metrics([TaskMetric::from(Metric::Bleu)]);
    assert!(deep.validate().is_ok());
    let long = TaskConfig::new("t", "x".repeat(70_000), "x").with_metrics([TaskMetric::from(Metric::Bleu)]);
    assert_eq!(
        long.validate().unwrap_err().to_string(),
        "task `t` has 1 problem:\n  prompt: found 70000 bytes, wanted at most 65536"
    );
}

#[test]
fn toml_and_yaml_say_the_same() {
    let yaml = read(
        "same.yaml",
        "task: t\ndata: a.jsonl\nexamples_data: [b.jsonl, c]\nprompt: |\n  {{ q }}\ntarget: ['{{ a }}', '{{ b }}']\n\
         choices: [yes, no]\nmetrics: [{metric: exact_match, ignore_case: true}, f1_macro]\n\
         filters: [strip, {regex: x, choose: last}]\n",
    );
    let toml = read(
        "same.toml",
        "task = 't'\ndata = ['a.jsonl']\nexamples_data = ['b.jsonl', 'c']\nprompt = \"{{ q }}\\n\"\n\
         target = ['{{ a }}', '{{ b }}']\nchoices = ['yes', 'no']\n\
         metrics = [{ metric = 'exact_match', ignore_case = true }, 'f1_macro']\n\
         filters = ['strip', { regex = 'x', choose = 'last' }]\n",
    );
    let (yaml, toml) = (yaml.unwrap(), toml.unwrap());
    assert_eq!(yaml, toml);
    assert_eq!(yaml.choices, Some(Choices::List(vec!["yes".to_owned(), "no".to_owned()])));
    assert_eq!(yaml.target, TargetTemplate::Several(vec!["{{ a }}".to_owned(), "{{ b }}".to_owned()]));
    assert_eq!(yaml.metrics[0], TaskMetric::exact_match(ExactMatchConfig::new().with_ignore_case(true)));
    assert_eq!((yaml.data.len(), yaml.examples_data.unwrap().len()), (1, 2));
    assert_eq!(yaml.filters[0], Filter::Strip);
}
