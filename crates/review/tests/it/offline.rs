//! The page in a file, and the way of its answers into the log.

use std::{fs, path::PathBuf};

use burnisher_review::{
    ImportReport, Origin, Plan, Record, Results, ResultsConfig, ReviewError, Study, import, offline_page,
    read_log,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    ADA, BOB, OWNER, Running,
    client::{get, post},
    study,
};

/// What the page carries.
fn embedded(page: &str) -> Value {
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("an end");
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn the_page_carries_the_tasks_and_no_names() {
    let mut study = study(3).with_title("</script><script>alert(1)</script>");
    for item in &mut study.items {
        for (number, text) in item.outputs.values_mut().enumerate() {
            *text = format!("</script><!--<script>\u{2028} {number}");
        }
    }
    let page = offline_page(&study, "Bob").expect("a page");
    let plan = Plan::new(&study).expect("a plan");
    let data = embedded(&page);
    assert_eq!((data["judge"].as_str(), data["digest"].as_str()), (Some("Bob"), Some(plan.study())));
    let tasks = data["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 3);
    for (task, view) in plan.tasks(1).iter().zip(tasks) {
        assert_eq!(view["task"], task.id.as_str());
        assert_eq!(view["left"]["text"], study.items[task.item].outputs[&task.left].as_str());
    }
    assert!(!page.contains("tuned") && !page.contains("\"base\""), "a name of a system");
    assert!([ADA, BOB, OWNER].iter().all(|token| !page.contains(token)), "a token");
    assert_eq!(page.matches("</script>").count(), 2, "a text ends an element");
    assert!(!page.contains("<script>alert") && !page.contains("http://127"));
    let policy = page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").expect("a policy").1;
    assert!(policy.starts_with("default-src &#x27;none&#x27;"), "{}", &policy[..80]);
    let error = offline_page(&study, "Eve").expect_err("not a judge").to_string();
    assert_eq!(error, "found the judge `Eve`, wanted one of Ada, Bob");
}

/// A study of three items, its log, and files that pages saved.
struct Desk {
    study: Study,
    plan: Plan,
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let study = study(3);
        Self { plan: Plan::new(&study).expect("a plan"), study, dir: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn head(&self, judge: &str) -> Value {
        json!({ "burnisher_offline": 1, "study": self.plan.study(), "judge": judge })
    }

    /// An answer of Ada's.
    fn line(&self, time_ms: u64, place: usize, verdict: &str) -> Value {
        json!({ "time_ms": time_ms, "task": self.plan.tasks(0)[place].id, "verdict": verdict,
                "scores": { "fluency": { "left": 2, "right": null } }, "comment": "c", "elapsed_ms": 9 })
    }

    fn import(&self, lines: &[Value]) -> Result<ImportReport, ReviewError> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.import_bytes(text.as_bytes())
    }

    fn import_bytes(&self, bytes: &[u8]) -> Result<ImportReport, ReviewError> {
        fs::write(self.path("saved.jsonl"), bytes).expect("writes");
        import(&self.study, self.path("log.jsonl"), self.path("saved.jsonl"))
    }

    fn log(&self) -> Vec<Record> {
        read_log(self.path("log.jsonl"), &self.study, &mut self.plan.clone()).expect("reads").records
    }

    fn results(&self) -> Results {
        Results::from_log(&self.study, self.path("log.jsonl"), &ResultsConfig::new()).expect("counts")
    }
}

/// Written, of them superseded, known before, refused.
fn counts(report: &ImportReport) -> [usize; 4] {
    [report.new, report.superseded, report.duplicates, report.refused]
}

#[test]
fn saved_answers_go_into_the_log_once_and_in_the_order_of_time() {
    let desk = Desk::new();
    let saved = [desk.head("Ada"), desk.line(7, 0, "left"), desk.line(6, 1, "right"), desk.line(5, 0, "tie")];
    let report = desk.import(&saved).expect("imports");
    assert_eq!((report.judge.as_str(), counts(&report)), ("Ada", [3, 1, 0, 0]));
    let log = desk.log();
    assert_eq!(log.iter().map(|record| record.time_ms).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(log.iter().all(|record| record.origin == Origin::File && record.comment == "c"));
    let results = desk.results();
    assert_eq!((results.comparisons, results.changed), (2, 1));
    assert_eq!((results.position.left, results.position.right), (1, 1));

    // A second time: not a byte is added.
    let before = fs::read(desk.path("log.jsonl")).expect("reads");
    assert_eq!(counts(&desk.import(&saved).expect("imports")), [0, 0, 3, 0]);
    assert_eq!(fs::read(desk.path("log.jsonl")).expect("reads"), before);

    // An older file behind a newer one: kept, and counts only where nothing newer is there.
    let older = [desk.head("Ada"), desk.line(3, 0, "right"), desk.line(4, 2, "tie"), desk.line(4, 2, "tie")];
    assert_eq!(counts(&desk.import(&older).expect("imports")), [2, 1, 1, 0]);
    let log = fs::read(desk.path("log.jsonl")).expect("reads");
    assert!(log.starts_with(&before), "lines of the log were changed");
    let results = desk.results();
    assert_eq!((results.comparisons, results.changed), (3, 2));
    assert_eq!((results.position.left, results.position.right), (1, 1));
}

#[test]
fn imports_and_answers_to_the_server_meet_in_one_log() {
    let desk = Desk::new();
    let server = Running::start(desk.study.clone(), &desk.path("log.jsonl"));
    let answer = |server: &Running, verdict: &str| {
        let body = json!({ "task": desk.plan.tasks(0)[0].id, "verdict": verdict });
        assert_eq!(post(server.address, ADA, &body).status, 200);
    };
    answer(&server, "left");
    let error = desk.import(&[desk.head("Ada")]).expect_err("the server holds the log").to_string();
    assert!(error.contains("another process holds this log"), "{error}");
    drop(server);
    // From a machine whose clock is far ahead.
    let ahead = 9_000_000_000_000;
    let report = desk.import(&[desk.head("Ada"), desk.line(ahead, 0, "tie"), desk.line(2, 0, "right")]);
    assert_eq!(counts(&report.expect("imports")), [2, 1, 0, 0]);
    assert_eq!(desk.results().pairs[0].ties, 1);
    // What the judge says now is later, whatever the clock of the server says.
    let server = Running::start(desk.study.clone(), &desk.path("log.jsonl"));
    let shown = get(server.address, "/api/task?at=0", ADA).json();
    assert_eq!(shown["task"]["answer"]["verdict"], "tie");
    answer(&server, "right");
    drop(server);
    assert_eq!(desk.log().last().map(|record| record.time_ms), Some(ahead));
    let results = desk.results();
    assert_eq!((results.position.right, results.changed, results.comparisons), (1, 3, 1));
}

#[test]
fn lines_that_do_not_fit_are_left_out_and_explained() {
    let desk = Desk::new();
    let with = |field: &str, value: Value| {
        let mut line = desk.line(1, 0, "left");
        line[field] = value;
        line
    };
    let bobs = desk.plan.tasks(1)[0].id.clone();
    let rows = [
        (with("verdict", json!("best")), "unknown variant `best`"),
        (with("task", json!(bobs)), "the judge `Ada` has no task `"),
        (with("task", json!("../../etc/passwd")), "has no task `../../etc/passwd`"),
        (with("task", json!("\u{1b}[2J\u{202e}")), "has no task `\\u{1b}[2J\\u{202e}`"),
        (with("verdict", json!("\u{9b}2J")), "unknown variant `\\u{9b}2J`"),
        (with("scores", json!({ "fluency": { "left": 6 } })), "fluency left: found 6, wanted 1 to 5"),
        (with("scores", json!({ "fluency": { "left": 0 } })), "fluency left: found 0, wanted 1 to 5"),
        (with("scores", json!({ "fluency": { "left": 1.5 } })), "floating point"),
        (with("scores", json!({ "rhyme": { "left": 1 } })), "criterion: found `rhyme`"),
        (with("comment", json!("x".repeat(20_000))), "comment: found 20000 bytes"),
        (with("comment", json!("x".repeat(300_000))), "found a line above 262144 bytes"),
        (with("time_ms", json!(-1)), "invalid value: integer `-1`"),
        (with("judge", json!("Bob")), "unknown field `judge`"),
        (json!([1]), "invalid"),
    ];
    for (line, wanted) in rows {
        let report = desk.import(&[desk.head("Ada"), line, desk.line(2, 1, "tie")]).expect("imports");
        assert_eq!((report.new + report.duplicates, report.refused), (1, 1), "{wanted}");
        let [refused] = &report.reasons[..] else { panic!("one reason: {report:?}") };
        assert_eq!(refused.line, 2);
        assert!(refused.reason.contains(wanted), "{}\ninstead of\n{wanted}", refused.reason);
        assert!(!report.to_string().contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    }
    assert_eq!(desk.log().len(), 1);

    // Not even UTF-8, cut off, with empty lines and a mark of a Windows editor.
    let text = format!("\u{feff}{}\r\n\r\n{}\r\n\u{1}", desk.head("Ada"), desk.line(3, 2, "left"));
    let mut bytes = text.into_bytes();
    bytes.extend(b"\xff\xfe\n{\"time_ms\": 4, \"ta");
    let report = desk.import_bytes(&bytes).expect("imports");
    assert_eq!(counts(&report), [1, 0, 0, 2]);
    assert_eq!(report.reasons.iter().map(|refused| refused.line).collect::<Vec<_>>(), [4, 5]);

    let many: Vec<Value> = [desk.head("Ada")].into_iter().chain((0..50).map(Value::from)).collect();
    let report = desk.import(&many).expect("imports");
    assert_eq!((report.refused, report.reasons.len()), (50, 20));
    assert!(report.to_string().starts_with("Ada: 0 new, 0 already there, 50 refused\n  line 2: invalid"));
    assert!(report.to_string().ends_with("and 30 lines more"), "{report}");
}

#[test]
fn files_that_do_not_fit_are_refused_whole() {
    let desk = Desk::new();
    let mut foreign = desk.head("Ada");
    foreign["study"] = json!("0");
    let mut version = desk.head("Ada");
    version["burnisher_offline"] = json!(2);
    let rows = [
        (vec![], "saved.jsonl, line 1"),
        (vec![foreign], "found judgements of study 0"),
        (vec![version], "(version 2)"),
        (vec![desk.head("Eve")], "found the judge `Eve`, wanted one of Ada, Bob"),
        (vec![desk.head("E\u{1b}[2Jve")], "found the judge `E\\u{1b}[2Jve`"),
        (vec![desk.line(1, 0, "left")], "saved.jsonl, line 1: unknown field"),
        (vec![json!({ "\u{9b}2J": 1 })], "unknown field `\\u{9b}2J`"),
    ];
    for (lines, wanted) in rows {
        let error = desk.import(&lines).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}\ninstead of\n{wanted}");
    }
    assert!(!desk.path("log.jsonl").exists(), "nothing is written");
    // A line that was written in part stays as it is, too, and is told of when something is imported.
    desk.import(&[desk.head("Ada"), desk.line(1, 0, "left")]).expect("imports");
    let mut bytes = fs::read(desk.path("log.jsonl")).expect("reads");
    bytes.extend_from_slice(b"{\"torn");
    fs::write(desk.path("log.jsonl"), &bytes).expect("writes");
    desk.import(&[desk.head("Eve")]).expect_err("nobody knows Eve");
    assert_eq!(fs::read(desk.path("log.jsonl")).expect("reads"), bytes);
    let report = desk.import(&[desk.head("Ada"), desk.line(1, 1, "left")]).expect("imports");
    assert_eq!((report.new, report.torn.as_deref()), (1, Some("{\"torn")));
    assert!(report.to_string().contains("cut off: {\"torn"), "{report}");
    let error = import(&desk.study, desk.path("log.jsonl"), desk.path("none.jsonl")).expect_err("no file");
    assert!(error.to_string().contains("none.jsonl"), "{error}");
}

#[test]
fn a_study_that_names_nobody_takes_files_of_whoever_has_its_tasks() {
    let desk = Desk::new();
    let mut nobody = desk.study.clone();
    nobody.options.judges.clear();
    let saved = [desk.head("Ada"), desk.line(1, 0, "left"), desk.line(1, 1, "tie")];
    let text: String = saved.iter().map(|line| format!("{line}\n")).collect();
    fs::write(desk.path("ada.jsonl"), text).expect("writes");
    let report = import(&nobody, desk.path("log.jsonl"), desk.path("ada.jsonl")).expect("imports");
    assert_eq!(counts(&report), [2, 0, 0, 0]);
    let results = Results::from_log(&nobody, desk.path("log.jsonl"), &ResultsConfig::new()).expect("counts");
    assert_eq!((results.judges[0].judge.as_str(), results.judges[0].answered), ("Ada", 2));
    // Somebody else's name over Ada's tasks.
    let mut forged = saved.to_vec();
    forged[0] = desk.head("Eve");
    let text: String = forged.iter().map(|line| format!("{line}\n")).collect();
    fs::write(desk.path("eve.jsonl"), text).expect("writes");
    let report = import(&nobody, desk.path("log.jsonl"), desk.path("eve.jsonl")).expect("imports");
    assert_eq!(counts(&report), [0, 0, 0, 2]);
    assert!(report.reasons[0].reason.contains("the judge `Eve` has no task"), "{report}");
}
