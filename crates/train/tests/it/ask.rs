//! Tasks asked of the embedded model, against its losses token by token.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burnisher_data::{BuiltinTemplate, TokenBatch, Tokenizer};
use burnisher_eval::{
    Choices, GenerationOptions, Likelihood, PromptForm, Task, TaskConfig, TaskItem, TaskMetric,
    TaskMetricName, TaskOutput, TaskResponse,
};
use burnisher_models::{CausalLm, GenerateConfig, LoadConfig};
use burnisher_train::{TaskAnswers, TrainError, ask_task};
use serde_json::{Value, json};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/assets/base")
}

fn model() -> CausalLm {
    CausalLm::from_pretrained(base(), &LoadConfig::new(), &Device::flex()).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_dir(base()).unwrap()
}

fn items(task: &Task, rows: &[Value]) -> Vec<TaskItem> {
    rows.iter().map(|row| task.item(row.as_object().unwrap(), "rows:1").unwrap()).collect()
}

fn ask(
    task: &Task,
    items: &[TaskItem],
    tokenizer: &Tokenizer,
    batch: usize,
) -> Result<TaskAnswers, TrainError> {
    let mut seen = (0, 0);
    let answers =
        ask_task(task, items, &model(), tokenizer, &[], batch, &mut |done, all| seen = (done, all))?;
    assert_eq!(seen.0, seen.1, "the last progress is all");
    Ok(answers)
}

/// ln p of the tokens from `from` on, by the losses of training.
fn by_losses(model: &CausalLm, ids: &[u32], from: usize) -> f64 {
    let length = ids.len();
    let losses = model.token_losses(&TokenBatch {
        rows: 1,
        seq_len: length,
        input_ids: ids.to_vec(),
        labels: (0..length).map(|at| if at < from { -100 } else { i64::from(ids[at]) }).collect(),
        position_ids: (0..length as u32).collect(),
        segment_ids: vec![1; length],
        token_keys: vec![0; length],
    });
    -losses.iter().map(|&loss| f64::from(loss)).sum::<f64>()
}

fn assert_near(found: &Likelihood, wanted: f64, tokens: usize) {
    let value = found.log_likelihood;
    assert!((value - wanted).abs() < 1e-3 * wanted.abs().max(1.0), "{value}, wanted {wanted}");
    assert_eq!(found.tokens, tokens);
}

#[test]
fn choices_have_the_likelihood_of_their_tokens_behind_the_prompt() {
    let config = TaskConfig::new("colours", "What colour has {{ thing }}?\nAnswer:", "{{ colour }}")
        .with_output(TaskOutput::MultipleChoice)
        .with_choices(Choices::List(["red", "dark green", "blue"].map(str::to_owned).to_vec()))
        .with_metrics([TaskMetric::new(TaskMetricName::Acc), TaskMetric::new(TaskMetricName::AccMutualInfo)]);
    let task = config.init().unwrap();
    let rows = [
        json!({"thing": "the box", "colour": "red"}),
        json!({"thing": "a very old and heavy door", "colour": "blue"}),
    ];
    let items = items(&task, &rows);
    let (tokenizer, model) = (tokenizer(), model());
    let prefix = tokenizer.bos_id().or(tokenizer.eos_id()).unwrap();
    let alone = ask(&task, &items, &tokenizer, 1).unwrap();
    let together = ask(&task, &items, &tokenizer, 16).unwrap();
    assert_eq!((alone.truncated, together.truncated), (0, 0));
    for answers in [&alone, &together] {
        for (item, response) in items.iter().zip(&answers.responses) {
            let TaskResponse::Choices { conditional, unconditional: Some(unconditional) } = response else {
                panic!("{response:?}");
            };
            for (at, choice) in item.choices.iter().enumerate() {
                let whole = tokenizer.encode_prompt(&format!("{} {choice}", item.context)).unwrap();
                let before = tokenizer.encode_prompt(&item.context).unwrap().len();
                assert_near(&conditional[at], by_losses(&model, &whole, before), whole.len() - before);
                let mut bare = vec![prefix];
                bare.extend(tokenizer.encode(&format!(" {choice}"), false).unwrap());
                assert_near(&unconditional[at], by_losses(&model, &bare, 1), bare.len() - 1);
            }
        }
    }
    let report = task.score(&items, &together.responses).unwrap();
    assert!(report.scores["acc"].value <= 1.0 && report.scores.contains_key("acc_mutual_info"));
}

#[test]
fn a_long_text_is_scored_once_token_by_token() {
    let config = TaskConfig::new("text", "", "{{ text }}")
        .with_output(TaskOutput::LoglikelihoodRolling)
        .with_metrics([TaskMetric::new(TaskMetricName::BitsPerByte)]);
    let task = config.init().unwrap();
    let (tokenizer, model) = (tokenizer(), model());
    let window = model.config().max_position_embeddings;
    let long: String = (0..window).map(|at| format!("The {at} th report is short. ")).collect();
    let items = items(&task, &[json!({"text": "Revenue fell."}), json!({"text": long})]);
    let answers = ask(&task, &items, &tokenizer, 2).unwrap();
    let [TaskResponse::Rolling(short), TaskResponse::Rolling(whole)] = &answers.responses[..] else {
        panic!("{answers:?}");
    };
    let prefix = tokenizer.bos_id().or(tokenizer.eos_id()).unwrap();
    let mut ids = vec![prefix];
    ids.extend(tokenizer.encode("Revenue fell.", false).unwrap());
    assert_near(short, by_losses(&model, &ids, 1), ids.len() - 1);
    let ids = tokenizer.encode(&long, false).unwrap();
    assert!(ids.len() > 2 * window, "several windows");
    // The second window stands behind the last token of the first.
    let mut first = vec![prefix];
    first.extend(&ids[..window]);
    let mut wanted = by_losses(&model, &first, 1);
    for start in (window..ids.len()).step_by(window) {
        let end = (start + window).min(ids.len());
        let from = (end - window - 1).min(start - 1);
        wanted += by_losses(&model, &ids[from..end], start - from);
    }
    assert_near(whole, wanted, ids.len());
    assert!(task.score(&items, &answers.responses).unwrap().scores["bits_per_byte"].value > 0.0);
}

#[test]
fn answers_end_before_a_stop_string_and_prompts_keep_their_end() {
    let (tokenizer, model) = (tokenizer(), model());
    let question = "Tell me something about the river.";
    let ids = tokenizer.encode_prompt(question).unwrap();
    let config = GenerateConfig::new().with_max_new_tokens(24);
    let free = tokenizer.decode(&model.generate_ids(&[ids], &config).unwrap()[0], true).unwrap();
    let middle = free.char_indices().nth(free.chars().count() / 2).unwrap().0;
    let stop: String = free[middle..].chars().take(3).collect();
    let wanted = &free[..free.find(&stop).unwrap()];
    let task = |tokens: usize| {
        let generation =
            GenerationOptions::new().with_until(["never said", &stop]).with_max_new_tokens(tokens);
        let config = TaskConfig::new("rivers", "{{ question }}", "water")
            .with_generation(generation)
            .with_metrics([TaskMetric::new(TaskMetricName::Accuracy)]);
        config.init().unwrap()
    };
    let task_of_24 = task(24);
    let asked = items(&task_of_24, &[json!({"question": question}), json!({"question": "And?"})]);
    let answers = ask(&task_of_24, &asked, &tokenizer, 2).unwrap();
    assert_eq!(answers.responses[0], TaskResponse::Text(wanted.to_owned()));
    let TaskResponse::Text(other) = &answers.responses[1] else { panic!("{answers:?}") };
    assert!(!other.contains(&stop));

    // With room for an answer of all but a few tokens, the beginning of the prompt is left out, and that is counted.
    let task = task(model.config().max_position_embeddings - 4);
    let long = format!("{} {question}", "word ".repeat(20));
    let answers = ask(&task, &items(&task, &[json!({"question": long})]), &tokenizer, 1).unwrap();
    assert_eq!(answers.truncated, 1);
}

#[test]
fn a_chat_needs_a_template_and_is_rendered_by_it() {
    let config = TaskConfig::new("chat", "{{ question }}", "{{ answer }}")
        .with_form(PromptForm::Chat)
        .with_output(TaskOutput::MultipleChoice)
        .with_choices(Choices::List(vec!["yes".to_owned(), "no".to_owned()]))
        .with_metrics([TaskMetric::new(TaskMetricName::Acc)]);
    let task = config.init().unwrap();
    let items = items(&task, &[json!({"question": "Is it red?", "answer": "yes"})]);
    let plain = Tokenizer::from_file(base().join("tokenizer.json")).unwrap();
    let error = ask(&task, &items, &plain, 1).unwrap_err().to_string();
    assert!(error.contains("form") && error.contains("without a chat template"), "{error}");
    let chat = tokenizer().with_builtin_template(BuiltinTemplate::Zephyr).unwrap();
    let answers = ask(&task, &items, &chat, 1).unwrap();
    let TaskResponse::Choices { conditional, unconditional: None } = &answers.responses[0] else {
        panic!("{answers:?}");
    };
    let message = burnisher_data::Message::new("user", "Is it red?");
    let prompt = chat.chat_template().unwrap().render(&[message], true).unwrap().text;
    let before = chat.encode(prompt.trim_end(), false).unwrap().len();
    let whole = chat.encode(&format!("{prompt}yes"), false).unwrap();
    assert_near(&conditional[0], by_losses(&model(), &whole, before), whole.len() - before);
}

#[test]
fn drawn_answers_do_not_depend_on_the_batch() {
    let generation = GenerationOptions::new().with_temperature(1.5).with_max_new_tokens(8);
    let config = TaskConfig::new("draws", "{{ question }}", "x")
        .with_generation(generation)
        .with_metrics([TaskMetric::new(TaskMetricName::Accuracy)]);
    let task = config.init().unwrap();
    let row = |question: &str| json!({ "question": question });
    let items = items(&task, &[row("The river"), row("The river"), row("A long time ago"), row("The river")]);
    let one = ask(&task, &items, &tokenizer(), 1).unwrap().responses;
    assert_eq!(one, ask(&task, &items, &tokenizer(), 3).unwrap().responses);
    assert_eq!(one, ask(&task, &items, &tokenizer(), 16).unwrap().responses);
    assert!(one[0] != one[1] || one[1] != one[3], "equal prompts draw numbers of their own: {one:?}");
}

#[test]
fn what_does_not_fit_is_said() {
    let (tokenizer, window) = (tokenizer(), model().config().max_position_embeddings);
    let generation = GenerationOptions::new().with_max_new_tokens(window);
    let config = TaskConfig::new("long", "{{ question }}", "x")
        .with_generation(generation)
        .with_metrics([TaskMetric::new(TaskMetricName::Accuracy)]);
    let task = config.init().unwrap();
    let asked = items(&task, &[json!({"question": "Why?"})]);
    let error = ask(&task, &asked, &tokenizer, 1).unwrap_err().to_string();
    assert!(error.contains("generation.max_new_tokens") && error.contains(&window.to_string()), "{error}");

    let choices = |delimiter: &str| {
        let mut config = TaskConfig::new("choices", "{{ question }}", "b")
            .with_output(TaskOutput::MultipleChoice)
            .with_choices(Choices::List(["a", "b", "c"].map(str::to_owned).to_vec()))
            .with_metrics([TaskMetric::new(TaskMetricName::Acc)]);
        config.target_delimiter = delimiter.to_owned();
        config.init().unwrap()
    };
    // A prompt beyond the window counts once, whatever its choices.
    let task = choices(" ");
    let long = json!({"question": "word ".repeat(window)});
    let answers = ask(&task, &items(&task, &[long, json!({"question": "Why?"})]), &tokenizer, 4).unwrap();
    assert_eq!(answers.truncated, 1);

    // "Compan" and "y" are spelt as one word by the tokenizer, if it knows "Company".
    let (prompt, choice) = ["Revenue", "Company", "report", "million"]
        .iter()
        .flat_map(|word| (1..word.len()).map(move |at| word.split_at(at)))
        .find(|(prompt, choice)| {
            let length = |text: &str| tokenizer.encode_prompt(text).unwrap().len();
            length(&format!("{prompt}{choice}")) <= length(prompt)
        })
        .expect("a word of one token that begins with another");
    let mut config = TaskConfig::new("joined", "{{ question }}", "0")
        .with_output(TaskOutput::MultipleChoice)
        .with_choices(Choices::List(vec![choice.to_owned(), "other".to_owned()]))
        .with_metrics([TaskMetric::new(TaskMetricName::Acc)]);
    config.target_delimiter = String::new();
    let task = config.init().unwrap();
    let error =
        ask(&task, &items(&task, &[json!({"question": prompt})]), &tokenizer, 1).unwrap_err().to_string();
    assert!(error.contains("rows:1") && error.contains("target_delimiter"), "{error}");
}
