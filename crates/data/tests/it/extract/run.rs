//! Runs: order, failures, resuming, and what is paid.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use burnisher_data::extract::{
    Answer, AttributeSchema, ChunkConfig, ClassSchema, DiskCache, Document, Example, ExtractConfig,
    Extraction, Extractor, Flag, Invalid, LanguageModel, ModelError, Request, Schema, Status, Task,
    Ungrounded,
};
use burnisher_data::{DataError, Message};
use serde_json::json;

/// Answers with every word of the question's text that begins with a capital letter, and counts its questions.
#[derive(Debug, Default)]
pub(super) struct Capitals {
    pub(super) asked: Mutex<HashMap<String, usize>>,
    /// Dies at this question, counted from 1, and at all later ones.
    pub(super) dies_at: Option<usize>,
    calls: AtomicUsize,
}

/// The last `Q:` of a prompt.
pub(super) fn question(prompt: &str) -> String {
    prompt.rsplit("Q: ").next().unwrap_or_default().trim_end_matches("\nA: ").to_owned()
}

pub(super) fn capitals(question: &str) -> String {
    let words =
        question.split(|c: char| !c.is_alphanumeric()).filter(|word| word.starts_with(char::is_uppercase));
    json!({"extractions": words.map(|word| json!({"name": word})).collect::<Vec<_>>()}).to_string()
}

impl LanguageModel for Capitals {
    fn complete(&self, request: &Request) -> Result<Answer, ModelError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.dies_at.is_some_and(|at| call >= at) {
            return Err(ModelError::Fatal { message: "the process is gone".to_owned() });
        }
        let question = question(&request.messages[0].content);
        *self.asked.lock().expect("no panic").entry(format!("{} {question}", request.pass)).or_default() += 1;
        // Answers come back out of order.
        thread::sleep(Duration::from_micros(37 * (call as u64 * 7 % 11)));
        Ok(Answer::new(capitals(&question)))
    }
}

pub(super) fn documents(count: usize) -> Vec<Document> {
    let text = |at: usize| {
        format!(
            "Anna{at} met Ben in Bonn{at}. They took Tram {at} to Köln.\nLater Carla{at} came, who knows 東京 well."
        )
    };
    (0..count).map(|at| Document::new(format!("note {at}"), text(at))).collect()
}

fn config() -> ExtractConfig {
    ExtractConfig::default().with_chunks(ChunkConfig::new(40)).with_passes(2)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let documents = documents(40);
    let run = |threads: usize| {
        let extractor = Extractor::new(Task::new("Names."), Capitals::default());
        extractor.with_config(config().with_concurrency(threads)).run(&documents, |_| {}).expect("a run")
    };
    let one = run(1);
    let ids: Vec<&str> = one.documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, documents.iter().map(|document| document.id.as_str()).collect::<Vec<_>>());
    assert_eq!(one.report.failed, 0);
    assert!(one.report.exact >= 40 * 6 && one.report.merged > 0, "{}", one.report);
    for document in &one.documents {
        for extraction in &document.extractions {
            let chars = extraction.chars.clone().expect("grounded");
            let span: String = document.text.chars().skip(chars.start).take(chars.len()).collect();
            assert_eq!(span, extraction.text);
        }
    }
    for threads in [2, 8, 64] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn a_run_that_died_goes_on_without_asking_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(30);
    let whole = Extractor::new(Task::new("Names."), Capitals::default())
        .with_config(config())
        .run(&documents, |_| {})
        .expect("a run");
    let mut asked: HashMap<String, usize> = HashMap::new();
    let mut paid = 0;
    for dies_at in [Some(1), Some(20), Some(70), None] {
        let model = Capitals { dies_at, ..Capitals::default() };
        let extractor =
            Extractor::new(Task::new("Names."), &model as &dyn LanguageModel).with_cache(folder.path());
        let run = extractor.with_config(config()).run(&documents, |_| {}).expect("a run");
        assert_eq!(run.documents.len(), documents.len(), "nothing is lost");
        for (question, times) in model.asked.into_inner().expect("no panic") {
            *asked.entry(question).or_default() += times;
            paid += times;
        }
        if dies_at.is_some() {
            let reasons: Vec<&str> =
                run.failed().flat_map(|d| &d.failures).map(|failure| failure.reason.as_str()).collect();
            assert_eq!(reasons.len(), run.report.failed);
            assert!(reasons.iter().all(|reason| reason.contains("the process is gone")), "{reasons:?}");
        } else {
            assert_eq!(run.documents, whole.documents);
        }
    }
    assert!(asked.values().all(|times| *times == 1), "asked twice: {asked:?}");
    assert_eq!(paid, whole.report.asked);
}

#[test]
fn a_torn_last_line_is_cut_off_and_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(3);
    let ask = || {
        let model = Capitals::default();
        let extractor =
            Extractor::new(Task::new("Names."), &model as &dyn LanguageModel).with_cache(folder.path());
        extractor.run(&documents, |_| {}).expect("a run").report
    };
    assert_eq!(ask().asked, 3);
    let path = folder.path().join("answers.jsonl");
    let whole = std::fs::read(&path).expect("the journal");
    std::fs::write(&path, &whole[..whole.len() - 9]).expect("writable");
    let cache = DiskCache::open(folder.path()).expect("repaired");
    assert!(cache.len() == 2 && cache.repaired_bytes() > 0);
    let error = DiskCache::open(folder.path()).expect_err("it is open already");
    assert!(matches!(error, DataError::CacheInUse { .. }), "{error}");
    drop(cache);
    let report = ask();
    assert_eq!((report.asked, report.kept), (1, 2));
    assert_eq!(ask().kept, 3);
    // Another model's answers are no answers.
    let key = |model: &str| Request::new(vec![Message::new("user", "Hello")]).key(model);
    assert_ne!(key("a"), key("b"));

    let mut damaged = whole.clone();
    damaged[5] = b'\n';
    std::fs::write(&path, damaged).expect("writable");
    let error = DiskCache::open(folder.path()).expect_err("a damaged line in the middle").to_string();
    assert!(error.contains("answers.jsonl") && error.contains('1'), "{error}");
}

#[test]
fn a_journal_may_end_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answers.jsonl");
    let keys = ["first", "second"];
    let cache = DiskCache::open(folder.path()).expect("a cache");
    for key in keys {
        cache.put(key, &Answer::new("Köln\n{}")).expect("kept");
    }
    drop(cache);
    let whole = std::fs::read(&path).expect("the journal");
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).expect("writable");
        let cache = DiskCache::open(folder.path()).unwrap_or_else(|error| panic!("{length}: {error}"));
        // A line that lacks its end alone is whole.
        let complete = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(cache.len(), complete, "{length}");
        for (number, key) in keys.into_iter().enumerate() {
            assert_eq!(cache.get(key).is_some(), number < complete, "{length}");
        }
        cache.put("third", &Answer::new("after it")).expect("kept");
        drop(cache);
        assert_eq!(DiskCache::open(folder.path()).expect("sound").len(), complete + 1, "{length}");
    }
}

#[test]
fn a_changed_task_is_asked_anew_and_the_old_answers_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(4);
    let ask = |task: Task| {
        let model = Capitals::default();
        let extractor = Extractor::new(task, &model as &dyn LanguageModel).with_cache(folder.path());
        let run = extractor.run(&documents, |_| {}).expect("a run");
        (run.report.asked, run.report.kept, run.report.invalid)
    };
    let schema = || Schema::new([ClassSchema::new("city", [])]);
    assert_eq!(ask(Task::new("Names.")), (4, 0, 0));
    assert_eq!(ask(Task::new("Names of people.")), (4, 0, 0));
    assert_eq!(ask(Task::new("Names.")), (0, 4, 0));
    // What the model is not told does not make another question, but the answers are judged by it.
    let (asked, kept, invalid) = ask(Task::new("Names.").with_schema(schema()));
    assert!((asked, kept) == (0, 4) && invalid > 0, "{asked} {kept} {invalid}");
}

#[test]
fn equal_questions_are_asked_once_even_at_the_same_time() {
    let calls = AtomicUsize::new(0);
    let model = |_: &Request| -> Result<Answer, ModelError> {
        calls.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(30));
        Ok(Answer::new("[]"))
    };
    let documents: Vec<Document> =
        (0..16).map(|at| Document::new(at.to_string(), "The same text.")).collect();
    let run =
        Extractor::new(Task::new("x"), model).with_concurrency(16).run(&documents, |_| {}).expect("a run");
    assert_eq!((calls.load(Ordering::SeqCst), run.report.asked, run.report.kept), (1, 1, 15));
}

#[test]
fn one_bad_chunk_does_not_take_the_rest_with_it() {
    let model = |request: &Request| -> Result<Answer, ModelError> {
        let question = question(&request.messages[0].content);
        match question.as_str() {
            "Bad JSON here." => Ok(Answer::new("{\"extractions\": [")),
            "Refuse me here." => Err(ModelError::Refused { message: "too long".to_owned() }),
            _ => Ok(Answer::new(capitals(&question))),
        }
    };
    let documents = [
        Document::new("a", "Anna came here. Bad JSON here. Ben came too."),
        Document::new("b", "Refuse me here."),
        Document::new("c", ""),
        Document::new("d", "Carla."),
    ];
    let last = Mutex::new(None);
    let config = ExtractConfig::default().with_chunks(ChunkConfig::new(16)).with_attempts(2);
    let run = Extractor::new(Task::new("x"), model)
        .with_config(config)
        .run(&documents, |progress| {
            let mut last = last.lock().expect("no panic");
            if last.as_ref().is_none_or(|last: &burnisher_data::extract::Progress| {
                last.requests_done < progress.requests_done
            }) {
                *last = Some(progress.clone());
            }
        })
        .expect("a run");
    let found =
        |at: usize| -> Vec<&str> { run.documents[at].extractions.iter().map(|e| e.text.as_str()).collect() };
    assert_eq!(
        (found(0), found(1), found(2), found(3)),
        (vec!["Anna", "Ben"], vec![], vec![], vec!["Carla"])
    );
    let failed: Vec<(&str, usize, &str)> = run
        .failed()
        .flat_map(|d| d.failures.iter().map(|f| (d.id.as_str(), f.chars.start, f.reason.as_str())))
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[0].0 == "a" && failed[0].1 == 16 && failed[0].2.contains("not valid JSON"), "{failed:?}");
    assert_eq!(failed[1], ("b", 0, "too long"));
    // The unreadable answer was asked for twice.
    assert_eq!((run.report.requests, run.report.asked, run.report.failed), (5, 6, 2));
    let last = last.into_inner().expect("no panic").expect("called");
    assert_eq!((last.requests_done, last.documents_done, last.failed), (5, 4, 2));
}

#[test]
fn a_model_that_panics_is_a_failure_with_its_words() {
    let model = |_: &Request| -> Result<Answer, ModelError> { panic!("no weights") };
    let run = Extractor::new(Task::new("x"), model).run(&documents(3), |_| {}).expect("a run");
    assert_eq!(run.report.failed, 3);
    assert!(run.documents.iter().all(|d| d.failures[0].reason.contains("no weights")));
}

#[test]
fn what_the_text_does_not_say_is_flagged_or_dropped() {
    let task = Task::new("Extract drugs.")
        .with_example(Example::new("He took ibuprofen.", [Extraction::new("drug", "ibuprofen")]))
        .with_schema(Schema::new([ClassSchema::new("drug", [AttributeSchema::new("dose")])]));
    let model = |_: &Request| -> Result<Answer, ModelError> {
        let answer = json!({"extractions": [
            {"drug": "Aspirin"},
            {"drug": "Ibuprofen"},
            {"drug": "morphine"},
            {"symptom": "headache", "symptom_attributes": {}},
        ]});
        Ok(Answer::new(answer.to_string()))
    };
    let documents = [Document::new("1", "Aspirin against headache.")];
    let extractor = |config: ExtractConfig| {
        Extractor::new(task.clone(), model).with_config(config).run(&documents, |_| {}).expect("a run")
    };
    let run = extractor(ExtractConfig::default());
    let found: Vec<(&str, Status, usize)> =
        run.documents[0].extractions.iter().map(|e| (e.text.as_str(), e.status, e.flags.len())).collect();
    assert_eq!(
        found,
        [
            ("Aspirin", Status::MatchExact, 0),
            ("Ibuprofen", Status::Ungrounded, 1),
            ("morphine", Status::Ungrounded, 0),
            ("headache", Status::MatchExact, 1),
        ]
    );
    assert_eq!(run.documents[0].extractions[1].flags, [Flag::CopiedFromExample { example: 0 }]);
    assert_eq!((run.report.ungrounded, run.report.copied, run.report.invalid), (2, 1, 1));

    let dropped =
        extractor(ExtractConfig::default().with_ungrounded(Ungrounded::Drop).with_invalid(Invalid::Drop));
    assert_eq!(dropped.documents[0].extractions.len(), 1);
    assert_eq!((dropped.report.dropped_ungrounded, dropped.report.dropped_invalid), (2, 1));
}

#[test]
fn overlapping_chunks_count_a_place_once() {
    let documents = [Document::new("1", "Anna came. Ben left. Carla slept.")];
    let config = ExtractConfig::default().with_chunks(ChunkConfig::new(12).with_overlap(12));
    let run = Extractor::new(Task::new("x"), Capitals::default())
        .with_config(config)
        .run(&documents, |_| {})
        .expect("a run");
    let found: Vec<&str> = run.documents[0].extractions.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(found, ["Anna", "Ben", "Carla"]);
    assert!(run.report.duplicates > 0, "{}", run.report);
}

#[test]
fn a_zero_is_refused_before_anything_is_asked() {
    let model = Capitals::default();
    let extractor = Extractor::new(Task::new("x"), &model as &dyn LanguageModel).with_concurrency(0);
    let error = extractor.run(&documents(1), |_| {}).expect_err("no threads").to_string();
    assert!(error.contains("concurrency is 0"), "{error}");
    assert!(model.asked.into_inner().expect("no panic").is_empty());
}
