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

/// What the button saves, caught before it becomes a file.
fn save(page: &Page<'_>) -> String {
    page.eval("URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'data:,'; }, 0");
    page.click("#save");
    page.eval("window.saved").as_str().expect("a text").to_owned()
}

/// Chooses a file with this text.
fn load(page: &Page<'_>, text: &str) {
    page.eval(&format!(
        "(() => {{ const files = new DataTransfer(); files.items.add(new File([{}], 'saved.jsonl')); \
         const input = document.querySelector('#load'); input.files = files.files; \
         input.dispatchEvent(new Event('change')); return 0; }})()",
        json!(text)
    ));
}

fn wait_count(page: &Page<'_>, count: usize) {
    wait(page, &format!("document.querySelector('#count').textContent === '{count} of 10'"));
}

/// Two judges with pages in files: closed and opened again, saved, read into a fresh page, saved there too. Both files
/// give the log the results that the server would have.
#[test]
fn offline_pages_save_and_read_answers_that_give_the_same_results() {
    let Some(browser) = Browser::launch() else { return };
    let (study, dir) = (study(10), tempfile::tempdir().expect("a folder"));
    let logs = ["first.jsonl", "second.jsonl"].map(|name| dir.path().join(name));
    for (token, name) in [(ADA, "Ada"), (BOB, "Bob")] {
        let file = dir.path().join(format!("{name}.html"));
        fs::write(&file, offline_page(&study, name).expect("a page")).expect("writes");
        let page = browser.page();
        page.open(&file);
        for number in 0..6 {
            judge(&page, token, number);
        }
        let half = save(&page);
        // Answers are there after closing the page.
        let page = browser.page();
        page.open(&file);
        wait_count(&page, 6);
        for number in 6..10 {
            judge(&page, token, number);
        }
        wait(&page, "document.querySelector('.done') !== null");
        // The last answer changed, and back again.
        let last = page.eval(&format!(
            "JSON.parse(localStorage[Object.keys(localStorage).find((key) => key.endsWith(':{name}'))]).at(-1).verdict"
        ));
        for key in [
            "0",
            if last == "left" {
                "1"
            } else if last == "right" {
                "2"
            } else {
                "x"
            },
        ] {
            page.press("u");
            wait(&page, "document.querySelector('#left .text') !== null");
            page.press(key);
            wait(&page, "document.querySelector('.done') !== null");
        }
        let first = save(&page);
        assert_eq!(first.lines().count(), 1 + 12);

        // A fresh page with an empty storage reads half of the answers, then all; files that do not fit change nothing.
        page.eval("localStorage.clear(), 0");
        let page = browser.page();
        page.open(&file);
        wait_count(&page, 0);
        load(&page, &half);
        wait_count(&page, 6);
        let foreign = first.replacen(&format!("\"judge\":\"{name}\""), "\"judge\":\"Eve\"", 1);
        let misfits = [
            foreign,
            first.replacen("\"verdict\":\"", "\"verdict\":\"<img>", 1),
            first.replacen("\"time_ms\":", "\"time_ms\":-", 1),
            first.replacen("\"scores\":{}", "\"scores\":{\"fluency\":{\"left\":9,\"right\":1}}", 1),
            first[..first.len() - 10].to_owned(),
        ];
        for misfit in misfits {
            page.eval("document.querySelector('#message').hidden = true, 0");
            load(&page, &misfit);
            wait(&page, "!document.querySelector('#message').hidden");
            assert!(page.eval("document.querySelector('#message').className") == "bad", "{misfit}");
            wait_count(&page, 6);
        }
        load(&page, &first);
        wait_count(&page, 10);
        wait(&page, "document.querySelector('.done') !== null");
        // In the storage too, and in what the fresh page saves.
        let page = browser.page();
        page.open(&file);
        wait_count(&page, 10);
        let second = save(&page);
        assert_eq!(second, first);
        check_quiet(&page, &["file://", "data:"]);
        for (log, saved) in logs.iter().zip([first, half + &second[second.find('\n').unwrap_or(0) + 1..]]) {
            let file = dir.path().join("saved.jsonl");
            fs::write(&file, saved).expect("writes");
            let report = import(&study, log, &file).expect("imports");
            assert_eq!((report.judge.as_str(), report.new, report.superseded), (name, 12, 2), "{report}");
            assert_eq!(
                (report.refused, import(&study, log, &file).expect("imports").new),
                (0, 0),
                "{report}"
            );
        }
    }
    let results = logs.map(|log| Results::from_log(&study, log, &ResultsConfig::new()).expect("counts"));
    let [first, second] = &results;
    assert_eq!(first.to_json().expect("JSON"), second.to_json().expect("JSON"));
    let served =
        json!({ "results": serde_json::to_value(first).expect("JSON"), "markdown": first.to_markdown() });
    check_results(&served, 4);
}

#[test]
fn two_tabs_of_an_offline_page_keep_each_other_s_answers() {
    let Some(browser) = Browser::launch() else { return };
    let (study, dir) = (study(10), tempfile::tempdir().expect("a folder"));
    let file = dir.path().join("ada.html");
    fs::write(&file, offline_page(&study, "Ada").expect("a page")).expect("writes");
    let tabs = [browser.page(), browser.page()];
    for tab in &tabs {
        tab.open(&file);
        wait_count(tab, 0);
    }
    judge(&tabs[0], ADA, 0);
    tabs[1].press("s");
    wait(&tabs[1], "document.querySelector('main').dataset.task === '1'");
    tabs[1].press("0");
    wait_count(&tabs[1], 2);
    let page = browser.page();
    page.open(&file);
    wait_count(&page, 2);
}

/// A line of a megabyte without a space, marks that reorder text, and a flood of combining marks and line feeds.
#[test]
fn texts_that_would_break_a_page_stay_in_their_place() {
    let Some(browser) = Browser::launch() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let mut study = study(1);
    let item = &mut study.items[0];
    item.prompt = "\u{202e}\u{2067}evil".to_owned();
    let texts =
        ["x".repeat(1 << 20), format!("\u{202e}gpj.exe{}{}", "a\u{301}".repeat(5_000), "\n".repeat(2_000))];
    for (output, text) in item.outputs.values_mut().zip(&texts) {
        output.clone_from(text);
    }
    let server = Running::start(study, &dir.path().join("log.jsonl"));
    let page = browser.page();
    page.open(format!("http://{}/#{ADA}", server.address));
    wait(&page, "document.querySelector('#left .text') !== null");
    let mut shown = ["#left .text", "#right .text"].map(|side| text(&page, side));
    shown.sort();
    let mut wanted = texts.clone();
    wanted.sort();
    assert!(shown == wanted, "the texts are not whole");
    // Nothing sideways, the buttons in sight, and no text that reorders what stands beside it.
    assert_eq!(page.eval("document.documentElement.scrollWidth <= window.innerWidth"), true);
    let seen = "(() => { const box = document.querySelector('#tie').getBoundingClientRect(); \
                return box.top >= 0 && box.bottom <= window.innerHeight; })()";
    assert_eq!(page.eval(seen), true);
    let apart = "[...document.querySelectorAll('.text')].every((text) => \
                 ['isolate', 'plaintext', 'isolate-override'].includes(getComputedStyle(text).unicodeBidi))";
    assert_eq!(page.eval(apart), true);
    page.press("0");
    wait(&page, "document.querySelector('.done') !== null");
    check_quiet(&page, &[&format!("http://{}/", server.address), "data:"]);
}
