//! The page in a file, and its way back into the log.

use std::fs;

use burnisher_review::{JudgementLog, Origin, Plan, Results, ResultsConfig, Verdict, import, offline_page};
use serde_json::{Value, json};

use crate::study;

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
    assert_eq!(page.matches("</script>").count(), 2, "a text ends an element");
    assert!(!page.contains("<script>alert") && !page.contains("http://127"));
    let policy = page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").expect("a policy").1;
    assert!(policy.starts_with("default-src &#x27;none&#x27;"), "{}", &policy[..80]);
    let error = offline_page(&study, "Eve").expect_err("not a judge").to_string();
    assert_eq!(error, "found the judge `Eve`, wanted one of Ada, Bob");
}

#[test]
fn saved_files_go_into_the_log() {
    let (study, dir) = (study(3), tempfile::tempdir().expect("a folder"));
    let plan = Plan::new(&study).expect("a plan");
    let head = json!({ "burnisher_offline": 1, "study": plan.study(), "judge": "Ada" });
    let line = |place: usize, verdict: &str| {
        json!({ "time_ms": 5, "task": plan.tasks(0)[place].id, "verdict": verdict,
                "scores": { "fluency": { "left": 2, "right": null } }, "comment": "c", "elapsed_ms": 9 })
    };
    let file = dir.path().join("ada.jsonl");
    let write = |lines: &[Value]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&file, text).expect("writes");
    };
    write(&[head.clone(), line(0, "tie"), line(1, "right"), line(0, "left")]);
    let imported = import(&study, &file).expect("imports");
    assert_eq!((imported.judge.as_str(), imported.records.len()), ("Ada", 3));
    assert!(imported.records.iter().all(|record| record.origin == Origin::File && record.time_ms == 5));
    assert_eq!(imported.records[2].verdict, Verdict::Left);
    let log = dir.path().join("log.jsonl");
    let (mut open, _) = JudgementLog::open(&log, &study, &plan).expect("opens");
    open.append_all(&imported.records).expect("writes");
    drop(open);
    let results = Results::from_log(&study, &log, &ResultsConfig::new()).expect("counts");
    assert_eq!((results.comparisons, results.changed), (2, 1));
    assert_eq!((results.position.left, results.position.right), (1, 1));

    let mut foreign = head.clone();
    foreign["study"] = json!("0");
    let mut eve = head.clone();
    eve["judge"] = json!("Eve");
    let mut forged = line(0, "left");
    forged["task"] = json!(plan.tasks(1)[0].id);
    let rows = [
        (vec![], "line 1"),
        (vec![foreign], "found a log of study 0"),
        (vec![eve], "found the judge `Eve`"),
        (vec![head.clone(), line(0, "best")], "line 2: unknown variant `best`"),
        (vec![head, line(0, "left"), forged], "line 3: the judge `Ada` has no task"),
    ];
    for (lines, wanted) in rows {
        write(&lines);
        let error = import(&study, &file).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}\ninstead of\n{wanted}");
    }
}
