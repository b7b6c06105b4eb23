//! From rows to prompts, choices and references.

use burnisher_eval::{Metric, PromptForm, TaskConfig, TaskMetric, TaskResponse::Text};
use serde_json::{Value, json};

use super::{ask, row, task};

#[test]
fn examples_come_first_and_are_never_the_row_itself() {
    let mut config = TaskConfig::new("t", "Q: {{ q }}", "{{ a }}")
        .with_metrics([TaskMetric::from(Metric::ExactMatch)])
        .with_description("Add one.\n")
        .with_num_fewshot(2)
        .with_seed(7);
    config.fewshot_delimiter = "\n--\n".to_owned();
    config.target_delimiter = " A: ".to_owned();
    let rows: Vec<_> = (0..5).map(|n| row(json!({ "q": n, "a": [n + 1, "or so"] }))).collect();
    let task = config.clone().init().unwrap();
    let error = task.item(&rows[0], "x:1").unwrap_err().to_string();
    assert_eq!(
        error,
        "task `t`, x:1: num_fewshot: found 0 examples as no rows were given for them, wanted 2"
    );

    let task = task.with_fewshot(&rows).unwrap();
    let contexts: Vec<String> = rows.iter().map(|row| task.item(row, "x").unwrap().context).collect();
    for (n, context) in contexts.iter().enumerate() {
        let parts: Vec<&str> = context.strip_prefix("Add one.\n").unwrap().split("\n--\n").collect();
        assert_eq!((parts.len(), parts[2]), (3, format!("Q: {n}").as_str()));
        for part in &parts[..2] {
            let (q, a) = part.strip_prefix("Q: ").unwrap().split_once(" A: ").unwrap();
            let [q, a] = [q, a].map(|number| number.parse::<usize>().unwrap());
            assert!(a == q + 1 && q != n, "{context}");
        }
    }
    let again = config.clone().init().unwrap().with_fewshot(&rows).unwrap();
    assert_eq!(again.item(&rows[3], "x").unwrap().context, contexts[3]);
    let seeds: std::collections::BTreeSet<String> = (0..8)
        .map(|seed| {
            let task = config.clone().with_seed(seed).init().unwrap().with_fewshot(&rows).unwrap();
            task.item(&row(json!({ "q": 9, "a": 10 })), "x").unwrap().context
        })
        .collect();
    assert!(seeds.len() > 2, "every seed draws the same examples");

    let twins = [rows[0].clone(), rows[0].clone()];
    let error = config.clone().init().unwrap().with_fewshot(&twins).unwrap_err().to_string();
    assert_eq!(error, "task `t`, few-shot rows: num_fewshot: found 1 different rows, wanted at least 2");
    let two = config.init().unwrap().with_fewshot(&rows[..2]).unwrap();
    let error = two.item(&rows[0], "x:1").unwrap_err().to_string();
    assert_eq!(error, "task `t`, x:1: num_fewshot: found 1 examples beside the row itself, wanted 2");
}

#[test]
fn a_target_names_a_choice() {
    let choose = |choices: Value, target: Value| {
        let task = task(json!({
            "task": "t", "output": "multiple_choice", "prompt": "{% for c in choices %}{{ c }};{% endfor %}",
            "choices": choices, "target": "{{ target }}", "metrics": ["acc"],
        }));
        task.item(&row(json!({ "target": target, "options": { "text": ["x", "y"] } })), "x:1")
    };
    let texts = || json!(["yes", "no", "{{ 'maybe' }}"]);
    for (target, gold) in [
        (json!(2), 2),
        (json!("1"), 1),
        (json!("maybe"), 2),
        (json!(" no "), 1),
        (json!("B"), 1),
        (json!("(A)"), 0),
    ] {
        let item = choose(texts(), target.clone()).unwrap();
        assert_eq!((item.gold, &item.references[0]), (Some(gold), &item.choices[gold]), "{target}");
        assert_eq!(item.prompt, "yes;no;maybe;");
    }
    // Choices that are numbers are named by their texts, or by a number that is an index.
    assert_eq!(choose(json!(["1", "2", "3"]), json!("2")).unwrap().gold, Some(1));
    assert_eq!(choose(json!(["1", "2", "3"]), json!(2)).unwrap().gold, Some(2));
    assert_eq!(choose(json!("{{ options.text }}"), json!("y")).unwrap().gold, Some(1));
    let message = |choices, target| choose(choices, target).unwrap_err().to_string();
    assert_eq!(
        message(texts(), json!("D")),
        r#"task `t`, x:1: target: found "D", wanted an index, a letter or the text of one of ["yes","no","maybe"]"#
    );
    assert!(message(texts(), json!(3)).contains("target: found 3, wanted an index"));
    assert_eq!(
        message(json!("{{ options.text[:1] }}"), json!(0)),
        "task `t`, x:1: choices: found 1 choices, wanted at least 2"
    );
    assert_eq!(
        message(json!("{{ options }}"), json!(0)),
        "task `t`, x:1: choices: the expression gives no list of choices"
    );

    let plain = task(json!({
        "task": "t", "output": "multiple_choice", "prompt": "?", "choices": ["a", "b"], "target": "0", "metrics": ["acc"],
    }));
    assert_eq!((plain.continuation("a").as_str(), plain.needs_unconditional()), (" a", false));
    let chat = plain.config().clone().with_form(PromptForm::Chat).init().unwrap();
    assert_eq!(chat.continuation("a"), "a");

    // Written answers: an index stands for the text, and a filter can give texts too.
    let written = task(json!({
        "task": "t", "prompt": "?", "choices": ["red", "blue"], "target": "{{ label }}", "metrics": ["accuracy"],
        "filters": [{ "choice": { "gives": "text" } }],
    }));
    let item = ask(&written, json!({ "label": 1 }));
    assert_eq!((item.gold, item.references[0].as_str()), (Some(1), "blue"));
    let report = written
        .score(&[item.clone(), item], &[Text("It is (B).".to_owned()), Text("(C)".to_owned())])
        .unwrap();
    assert_eq!(report.scores["accuracy"].value, 50.0);
    assert_eq!((report.items[0].answer.as_deref(), report.not_found), (Some("blue"), 1));
}

#[test]
fn python_in_templates() {
    for (template, wanted) in [
        ("{{ answer.split('### ')[-1].strip() }}", "7"),
        ("{{ choices.label.index(key) }}", "1"),
        ("{{ choices | tojson }}", r#"{"label": ["A", "B"], "text": ["it's <b>", "é"]}"#),
        ("{{ choices.label | tojson(indent=2) }}", "[\n  \"A\",\n  \"B\"\n]"),
        ("{{ tokens | entities(tags) | tojson }}", r#"{"LOC": ["Rome"], "PER": ["Ada L"]}"#),
        ("{{ tokens | entities(tags, scheme='bilou') | tojson }}", r#"{"LOC": ["Rome"], "PER": ["Ada L"]}"#),
        ("{{ none_here | default('-') }} {{ empty or '' }}\n", "- \n"),
    ] {
        let task = task(json!({ "task": "t", "prompt": template, "target": "x", "metrics": ["bleu"] }));
        let item = ask(
            &task,
            json!({
                "answer": "3 + 4\n#### 7 ", "key": "B", "choices": { "label": ["A", "B"], "text": ["it's <b>", "é"] },
                "tokens": ["Ada", "L", "in", "Rome"], "tags": ["B-PER", "L-PER", "O", "U-LOC"], "empty": null,
            }),
        );
        assert_eq!(item.prompt, wanted, "{template}");
    }
}

#[test]
fn wrong_rows_say_where() {
    let message = |prompt: &str, target: &str, value: Value| {
        let task = task(json!({ "task": "t", "prompt": prompt, "target": target, "metrics": ["entity_f1"] }));
        task.item(&row(value), "test.jsonl:3").unwrap_err().to_string()
    };
    let target = "{{ a }}";
    let a = json!({ "a": "{}", "list": [1], "none": null, "object": { "x": 1 } });
    assert_eq!(
        message("{{ question }}", target, a.clone()),
        "task `t`, test.jsonl:3: prompt: the column `question` is not there; the row has `a`, `list`, `none`, \
         `object`; the template is \"{{ question }}\""
    );
    assert_eq!(
        message("{{ object.y }}", target, a.clone()),
        "task `t`, test.jsonl:3: prompt: `object.y` is undefined; the template is \"{{ object.y }}\""
    );
    for (prompt, wanted) in [
        ("{{ none }}", "prompt: a null is no text; give one for it: {{ column or \"\" }}"),
        ("{{ list }}", "prompt: a list is no text; join its items"),
        ("{{ object }}", "prompt: an object is no text; join its items"),
        ("{{ list | entities(list) }}", "prompt: entities: item 0 of tokens is 1, wanted a text"),
        ("{{ ['a'] | entities(tags) }}", "prompt: the column `tags` is not there"),
        ("{{ ['a'] | entities([]) }}", "prompt: entities: found 1 tokens and 0 tags"),
        (
            "{{ ['a'] | entities(['X-a'], scheme='IOB2') }}",
            "prompt: entities: tagging: token 0 of sentence 0",
        ),
        ("{{ ['a'] | entities(['O'], scheme='IOB') }}", "prompt: entities: found scheme `IOB`, wanted IOB1"),
        (
            "{% set x = [list] %}{% for i in range(9) %}{% set x = [x, x] %}{% endfor %}{{ a.nope() }}",
            "prompt: ",
        ),
        ("{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}", "prompt: "),
    ] {
        let message = message(prompt, target, a.clone());
        assert!(message.contains(wanted), "{message} instead of {wanted}");
    }
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": "none" })),
        "task `t`, test.jsonl:3: target: found \"none\", wanted a JSON object for the entity metrics"
    );
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": [] })),
        "task `t`, test.jsonl:3: target: found an empty list, wanted at least one reference"
    );
    assert_eq!(
        message("?", "{{ x }}", json!({ "x": [null] })),
        "task `t`, test.jsonl:3: target: found null, wanted a text; | tojson makes one of it"
    );
}
