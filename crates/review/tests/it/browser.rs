//! The page in a real browser: twenty judgements by two judges with keys and clicks, and a kill in the middle.

use std::{
    fs,
    time::{Duration, Instant},
};

use burnisher_browser::{Browser, Page};
use burnisher_review::{Criterion, Need, Results, ResultsConfig, import, offline_page};
use serde_json::{Value, json};

use crate::{
    ADA, BOB, OWNER, Running,
    client::get,
    kill::{Process, check_results, wish},
    study,
};

/// Waits until an expression is true.
#[track_caller]
fn wait(page: &Page<'_>, expression: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while page.eval(expression) != json!(true) {
        let shown = || page.eval("document.body.innerText");
        assert!(Instant::now() < end, "waited for {expression}; the page shows {}", shown());
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn text(page: &Page<'_>, css: &str) -> String {
    page.eval(&format!("document.querySelector({}).textContent", json!(css)))
        .as_str()
        .unwrap_or("")
        .to_owned()
}

/// The verdict that the judge wants for what the page shows.
fn wanted(page: &Page<'_>, token: &str) -> &'static str {
    let left = text(page, "#left .text");
    let item = left.rsplit(' ').next().and_then(|item| item.parse().ok()).expect("ends in the item");
    match wish(token, item) {
        wish @ ("base" | "tuned") if left.starts_with(wish) => "left",
        "base" | "tuned" => "right",
        other => other,
    }
}

/// Judges the pair shown, `number` pairs after the first: every second with a click.
fn judge(page: &Page<'_>, token: &str, number: usize) {
    wait(page, "document.querySelector('#left .text') !== null");
    let verdict = wanted(page, token);
    let keys = match verdict {
        "left" => ["1", "ArrowLeft"],
        "right" => ["2", "ArrowRight"],
        "tie" => ["0", "0"],
        _ => ["x", "x"],
    };
    let button = match verdict {
        "left" => "#prefer-left",
        "right" => "#prefer-right",
        "tie" => "#tie",
        _ => "#both-bad",
    };
    if number.is_multiple_of(2) {
        page.press(keys[number / 2 % 2])
    } else {
        page.click(button)
    }
    wait(page, &format!("document.querySelector('#count').textContent === '{} of 10'", number + 1));
}

fn check_quiet(page: &Page<'_>, allowed: &[&str]) {
    assert_eq!(page.console_errors(), Vec::<String>::new());
    for request in page.requests() {
        let own = allowed.iter().any(|start| request.starts_with(start));
        assert!(own, "a request to {request}, beyond {allowed:?}");
    }
}

#[test]
fn twenty_judgements_by_keys_and_clicks_survive_a_kill() {
    let Some(browser) = Browser::launch() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let server = Process::start(&log);
    for (token, name) in [(ADA, "Ada"), (BOB, "Bob")] {
        let page = browser.page();
        page.open(format!("http://{}/#{token}", server.address));
        wait(&page, "document.querySelector('#left .text') !== null");
        assert_eq!(text(&page, "#who"), name);
        assert_eq!(page.eval("document.title"), "Test study");
        let markup =
            page.eval("document.documentElement.outerHTML + JSON.stringify(performance.getEntries())");
        assert!(!markup.as_str().is_some_and(|text| text.contains("\"base\"") || text.contains("\"tuned\"")));
        for number in 0..5 {
            judge(&page, token, number);
        }
        check_quiet(&page, &[&format!("http://{}/", server.address), "data:"]);
    }
    server.kill();

    let server = Process::start(&log);
    let at = server.address;
    let page = browser.page();
    page.open(format!("http://{at}/#{ADA}"));
    wait(&page, "document.querySelector('#count').textContent === '5 of 10'");
    // Back to the pair before, another answer with a comment and scores, and back again.
    let before = place(&page);
    page.press("u");
    wait(&page, &format!("document.querySelector('main').dataset.task === '{}'", before - 1));
    assert_eq!(page.eval("document.querySelectorAll('[aria-pressed=true]').length"), 1);
    page.press("c");
    page.press("u");
    page.press("1");
    page.press("Escape");
    page.press("k");
    page.press("4");
    page.press("2");
    page.press("0");
    wait(&page, &format!("document.querySelector('main').dataset.task === '{before}'"));
    page.press("u");
    wait(&page, &format!("document.querySelector('main').dataset.task === '{}'", before - 1));
    assert_eq!(page.eval("document.querySelector('#comment').value"), "u1");
    assert_eq!(page.eval("document.querySelector('[aria-pressed=true]').id"), "tie");
    let scores = "[...document.querySelectorAll('fieldset :checked')].map((input) => input.value).join()";
    assert_eq!(page.eval(scores), "4,2");
    page.press(match wanted(&page, ADA) {
        "left" => "1",
        "right" => "2",
        "tie" => "0",
        _ => "x",
    });
    wait(&page, &format!("document.querySelector('main').dataset.task === '{before}'"));
    page.press("?");
    wait(&page, "document.querySelector('#help').open");
    page.press("1");
    page.click("#help-close");
    wait(&page, "!document.querySelector('#help').open");
    assert_eq!(text(&page, "#count"), "5 of 10");

    for number in 5..10 {
        judge(&page, ADA, number);
    }
    wait(&page, "document.querySelector('.done') !== null");
    check_quiet(&page, &[&format!("http://{at}/"), "data:"]);
    let page = browser.page();
    page.open(format!("http://{at}/#{BOB}"));
    wait(&page, "document.querySelector('#count').textContent === '5 of 10'");
    for number in 5..10 {
        judge(&page, BOB, number);
    }
    check_results(&get(at, "/api/results", OWNER).json(), 2);

    let page = browser.page();
    page.open(format!("http://{at}/#{OWNER}"));
    wait(&page, "document.querySelector('main').dataset.task === 'results'");
    assert!(text(&page, "main").contains("tuned133"), "{}", text(&page, "main"));
    check_quiet(&page, &[&format!("http://{at}/"), "data:"]);
}

/// The place of the task shown.
fn place(page: &Page<'_>) -> usize {
    let place = page.eval("document.querySelector('main').dataset.task");
    place.as_str().and_then(|place| place.parse().ok()).expect("a place")
}

#[test]
fn hostile_texts_and_required_scores_in_the_browser() {
    let Some(browser) = Browser::launch() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let evil =
        "</script><script>window.hacked=1</script><img src=x onerror=\"window.hacked=1\"> {{ 7*7 }} \u{202e}";
    let mut study =
        study(1)
            .with_title(evil)
            .with_instructions(evil)
            .with_criteria([Criterion::new(evil, 1, 5).with_description(evil).with_need(Need::Required)]);
    let item = &mut study.items[0];
    for (number, text) in item.outputs.values_mut().enumerate() {
        *text = format!("{evil}{number}");
    }
    (item.prompt, item.context, item.reference) =
        (evil.to_owned(), Some(evil.to_owned()), Some(evil.to_owned()));
    let offline = offline_page(&study, "Ada").expect("a page");
    let file = dir.path().join("offline.html");
    fs::write(&file, offline).expect("writes");
    let server = Running::start(study, &dir.path().join("log.jsonl"));
    let link = format!("http://{}/#{ADA}", server.address);
    for (open, allowed) in [(link.as_str(), "http://127.0.0.1"), (file.to_str().expect("a name"), "file://")]
    {
        let page = browser.page();
        page.open(open);
        wait(&page, "document.querySelector('#left .text') !== null");
        assert_eq!(page.eval("typeof window.hacked"), "undefined");
        assert_eq!(page.eval("document.querySelectorAll('main img, main script').length"), 0);
        assert_eq!(text(&page, ".prompt .text"), evil);
        // The needed scores first.
        page.press("1");
        wait(&page, "document.activeElement.matches('.criteria input')");
        assert_eq!(text(&page, "#count"), "0 of 1");
        page.press("5");
        page.press("1");
        page.press("2");
        wait(&page, "document.querySelector('#count').textContent === '1 of 1'");
        assert_eq!(page.eval("typeof window.hacked"), "undefined");
        check_quiet(&page, &[allowed, "data:"]);
    }
    let judgements = get(server.address, "/api/export?format=judgements", OWNER).body;
    let line: Value = serde_json::from_str(&judgements).expect("one line");
    assert_eq!(
        (&line["verdict"], &line["scores"][evil]),
        (&json!("right"), &json!({ "left": 5, "right": 1 }))
    );
}

#[test]
fn an_offline_page_keeps_saves_and_reads_answers() {
    let Some(browser) = Browser::launch() else { return };
    let (study, dir) = (study(10), tempfile::tempdir().expect("a folder"));
    let file = dir.path().join("ada.html");
    fs::write(&file, offline_page(&study, "Ada").expect("a page")).expect("writes");
    let page = browser.page();
    page.open(&file);
    for number in 0..6 {
        judge(&page, ADA, number);
    }
    // Answers are there after closing the page.
    let page = browser.page();
    page.open(&file);
    wait(&page, "document.querySelector('#count').textContent === '6 of 10'");
    for number in 6..10 {
        judge(&page, ADA, number);
    }
    wait(&page, "document.querySelector('.done') !== null");
    // What the button saves, caught before it becomes a file.
    page.eval("URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'data:,'; }, 0");
    page.click("#save");
    let saved = page.eval("window.saved").as_str().expect("a text").to_owned();
    let answers = dir.path().join("ada.jsonl");
    fs::write(&answers, &saved).expect("writes");
    let imported = import(&study, &answers).expect("imports");
    assert_eq!(imported.records.len(), 10);
    let plan = burnisher_review::Plan::new(&study).expect("a plan");
    let log = dir.path().join("log.jsonl");
    let (mut open, _) = burnisher_review::JudgementLog::open(&log, &study, &plan).expect("opens");
    open.append_all(&imported.records).expect("writes");
    let results = Results::from_log(&study, &log, &ResultsConfig::new()).expect("counts");
    let pair = &results.pairs[0];
    assert_eq!((pair.first_wins, pair.second_wins, pair.ties, pair.both_bad), (2, 6, 0, 2));

    // Into an empty storage they come back from the file.
    page.eval("localStorage.clear(), 0");
    let page = browser.page();
    page.open(&file);
    wait(&page, "document.querySelector('#count').textContent === '0 of 10'");
    page.eval(&format!(
        "(() => {{ const files = new DataTransfer(); files.items.add(new File([{}], 'ada.jsonl')); \
         const input = document.querySelector('#load'); input.files = files.files; \
         input.dispatchEvent(new Event('change')); return 0; }})()",
        json!(saved)
    ));
    wait(&page, "document.querySelector('#count').textContent === '10 of 10'");
    check_quiet(&page, &["file://", "data:"]);
}
