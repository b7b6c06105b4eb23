//! The log: what a killed process leaves, what does not belong there.

use std::fs;

use burnisher_review::{
    Judgement, JudgementLog, LogContents, Origin, Plan, Record, Study, Verdict, read_log,
};

use crate::study;

fn record(study: &Study, plan: &Plan, place: usize, verdict: Verdict) -> Record {
    let judgement = Judgement::new(&plan.tasks(0)[place].id, verdict).with_comment("ü \n \"x\"");
    plan.record(study, 0, judgement, Origin::Server, 5).expect("fits").1
}

#[test]
fn a_cut_line_is_repaired_at_every_byte() {
    let (study, dir) = (study(4), tempfile::tempdir().expect("a folder"));
    let mut plan = Plan::new(&study).expect("a plan");
    let path = dir.path().join("log.jsonl");
    let records = [record(&study, &plan, 0, Verdict::Left), record(&study, &plan, 1, Verdict::BothBad)];
    let (mut log, contents) = JudgementLog::open(&path, &study, &mut plan).expect("opens");
    assert!(contents.records.is_empty());
    log.append(&records[0]).expect("writes");
    log.append(&records[1]).expect("writes");
    drop(log);
    let whole = fs::read(&path).expect("reads");
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    assert_eq!(ends.len(), 3);
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).expect("writes");
        // A whole line that lacks only its line feed is kept.
        let kept = ends[1..].iter().filter(|end| cut + 1 >= **end).count();
        let read = read_log(&path, &study, &mut plan).expect("reads without repair");
        assert_eq!(read.records, records[..kept], "cut at {cut}");
        let (mut log, contents) = JudgementLog::open(&path, &study, &mut plan).expect("repairs");
        assert_eq!(contents.records, records[..kept], "cut at {cut}");
        let torn = !(ends.contains(&cut) || ends.contains(&(cut + 1)) || cut == 0);
        assert_eq!(contents.torn.is_some(), torn, "cut at {cut}: {:?}", contents.torn);
        log.append(&records[0]).expect("writes");
        drop(log);
        let read = read_log(&path, &study, &mut plan).expect("whole again");
        assert_eq!((read.records.len(), read.torn), (kept + 1, None), "cut at {cut}");
    }
}

#[test]
fn what_does_not_belong_is_refused() {
    let (study, dir) = (study(4), tempfile::tempdir().expect("a folder"));
    let mut plan = Plan::new(&study).expect("a plan");
    let path = dir.path().join("log.jsonl");
    let (log, _) = JudgementLog::open(&path, &study, &mut plan).expect("opens");
    let error = JudgementLog::open(&path, &study, &mut plan).expect_err("is locked").to_string();
    assert!(error.contains("another process holds this log"), "{error}");
    drop(log);

    let other = crate::study(5);
    let error =
        read_log(&path, &other, &mut Plan::new(&other).expect("a plan")).expect_err("foreign").to_string();
    assert!(error.contains("found judgements of study"), "{error}");

    let head = fs::read_to_string(&path).expect("reads");
    let mut forged = record(&study, &plan, 0, Verdict::Left);
    std::mem::swap(&mut forged.left, &mut forged.right);
    let swapped = serde_json::to_string(&forged).expect("JSON");
    let rows = [
        ("{\"torn\": \n{}\n".to_owned(), "line 2"),
        (format!("{swapped}\n"), "line 2: study: task"),
        (swapped.replace("\"Ada\"", "\"Eve\"") + "\n", "line 2: the judge `Eve` has no task `"),
        (swapped.replace(&forged.task, &"0".repeat(32)) + "\n", "line 2: the judge `Ada` has no task `0000"),
    ];
    for (lines, wanted) in rows {
        fs::write(&path, format!("{head}{lines}")).expect("writes");
        let error = JudgementLog::open(&path, &study, &mut plan).expect_err(&lines).to_string();
        assert!(error.contains(wanted), "{error}\ninstead of\n{wanted}");
    }
}

#[test]
fn the_latest_answer_counts_whatever_the_order_of_the_lines() {
    let study = study(2);
    let plan = Plan::new(&study).expect("a plan");
    let at = |time_ms, verdict| {
        let mut record = record(&study, &plan, 0, verdict);
        record.time_ms = time_ms;
        record
    };
    let rows = [
        (vec![at(5, Verdict::Left), at(7, Verdict::Tie), at(6, Verdict::Right)], 1, 2),
        // Of equally late answers the one written last.
        (vec![at(5, Verdict::Left), at(5, Verdict::Tie)], 1, 1),
        (vec![at(u64::MAX, Verdict::Left), at(0, Verdict::Tie)], 0, 1),
    ];
    for (records, wanted, replaced) in rows {
        let mut contents = LogContents::default();
        contents.records = records;
        let (latest, changed) = contents.latest(&plan);
        assert_eq!((latest[0][0], changed), (Some(wanted), replaced));
    }
}
