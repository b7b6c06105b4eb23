//! The page, in a real browser.

use burnisher_browser::{Browser, Page};
use burnisher_data::extract::{Extracted, read_jsonl, render_page, write_jsonl, write_page};
use serde_json::{Value, json};

use super::output::samples;

/// The highlights of document `number` as `[extraction, start, end, class, text]`.
fn marks(page: &Page<'_>, number: usize) -> Vec<Value> {
    let rows = page.eval(&format!(
        "[...document.querySelectorAll('[data-document=\"{number}\"] mark')].map((m) => \
         [+m.dataset.extraction, +m.dataset.start, +m.dataset.end, m.dataset.class, m.textContent])"
    ));
    rows.as_array().expect("a list").clone()
}

fn slice(document: &Extracted, start: usize, end: usize) -> String {
    document.text.chars().skip(start).take(end - start).collect()
}

fn current(page: &Page<'_>) -> Value {
    page.eval(
        "[...document.querySelectorAll('.doc:not([hidden]) mark.current')].map((m) => +m.dataset.extraction)",
    )
}

#[test]
fn highlights_are_the_spans_of_the_file() {
    let Some(browser) = Browser::launch() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (jsonl, html) = (folder.path().join("found.jsonl"), folder.path().join("found page.html"));
    write_jsonl(&jsonl, &samples()).expect("written");
    let documents = read_jsonl(&jsonl).expect("read");
    write_page(&html, "Ward <round> & more", &documents).expect("written");
    let page = browser.page();
    page.open(&html);
    assert_eq!(page.eval("document.title"), "Ward <round> & more");
    for (number, document) in documents.iter().enumerate() {
        let text = format!("document.querySelector('[data-document=\"{number}\"] .text').textContent");
        assert_eq!(page.eval(&text), document.text.as_str(), "the whole text, to the character");
        let marks = marks(&page, number);
        for mark in &marks {
            let at = |place: usize| usize::try_from(mark[place].as_u64().expect("a number")).expect("small");
            assert_eq!(mark[4], slice(document, at(1), at(2)), "{mark}");
            assert_eq!(mark[3], document.extractions[at(0)].class.as_str());
        }
        for (at, extraction) in document.extractions.iter().enumerate() {
            let mut parts: Vec<(u64, u64)> = marks
                .iter()
                .filter(|mark| mark[0] == at)
                .filter_map(|mark| Some((mark[1].as_u64()?, mark[2].as_u64()?)))
                .collect();
            parts.sort_unstable();
            let Some(chars) = &extraction.chars else {
                assert_eq!(parts, [], "what is not grounded has no place");
                continue;
            };
            assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0), "{parts:?} have gaps");
            let whole = parts.first().zip(parts.last()).map(|(first, last)| (first.0, last.1));
            assert_eq!(whole, Some((chars.start as u64, chars.end as u64)), "{extraction:?}");
        }
    }
    // "York City" lies within "New York City Hall"; "Hall" and what follows cross its end and are cut there.
    let nested =
        "document.querySelectorAll('mark[data-extraction=\"4\"] mark[data-extraction=\"5\"]').length";
    assert_eq!(page.eval(nested), 1);
    assert_eq!(marks(&page, 0).iter().filter(|mark| mark[0] == 9).count(), 2);
    assert_eq!(page.eval("document.querySelectorAll('b, script:not([nonce])').length"), 0);
    let card = page.eval("document.querySelector('[data-card=\"2\"] dl').textContent");
    assert_eq!(card, "note<script>alert(1)</script>lista, b");
    assert_eq!(page.console_errors(), Vec::<String>::new());
    assert_eq!(page.requests().len(), 1, "{:?}", page.requests());
}

#[test]
fn keys_and_clicks_move_through_the_page() {
    let Some(browser) = Browser::launch() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("page.html");
    write_page(&html, "Names", &samples()).expect("written");
    let page = browser.page();
    page.open(&html);
    let shown = || page.eval("+document.querySelector('.doc:not([hidden])').dataset.document");
    assert_eq!((current(&page), shown()), (json!([0]), json!(0)));
    page.press("ArrowRight");
    assert_eq!(current(&page), json!([1]));
    page.press("ArrowRight");
    page.press("ArrowLeft");
    page.press("ArrowLeft");
    assert_eq!(current(&page), json!([0]));
    page.press("End");
    // The last has no place, but a card.
    assert_eq!(page.eval("document.querySelector('.doc:not([hidden]) .card.current').dataset.card"), "6");
    assert_eq!(current(&page), json!([]));
    page.press("Home");
    page.press("ArrowDown");
    assert_eq!(shown(), 1);
    page.press("ArrowRight");
    page.press("ArrowRight");
    assert_eq!(current(&page), json!([1]));
    page.press("PageDown");
    page.press("PageDown");
    assert_eq!((shown(), current(&page)), (json!(2), json!([])));
    page.press("PageUp");
    assert_eq!((shown(), current(&page)), (json!(1), json!([1])));

    page.click("[data-document='1'] mark[data-extraction='2']");
    assert_eq!(current(&page), json!([2]));
    // Classes in alphabetical order: dose, drug, end, name, person, place, 项目.
    page.click("[data-toggle='3']");
    assert_eq!(page.eval("document.querySelectorAll('[data-document=\"1\"] mark.off').length"), 3);
    page.click("[data-toggle='3']");
    assert_eq!(page.eval("document.querySelectorAll('mark.off').length"), 0);

    page.press("/");
    assert_eq!(page.eval("document.activeElement.id"), "search");
    for key in ["b", "e", "N"] {
        page.press(key);
    }
    assert_eq!(page.eval("document.getElementById('search').title"), "1 places in this document");
    page.press("ArrowLeft");
    assert_eq!(current(&page), json!([2]), "keys belong to the search while it has the focus");
    page.press("Escape");
    page.press("?");
    assert_eq!(page.eval("document.getElementById('help').open"), true);
    page.press("ArrowLeft");
    page.press("Escape");
    assert_eq!(page.eval("document.getElementById('help').open"), false);
    assert_eq!(current(&page), json!([2]));
    let theme = || page.eval("document.documentElement.dataset.theme");
    let before = theme();
    page.press("d");
    assert_ne!(theme(), before);
    assert_eq!(page.console_errors(), Vec::<String>::new());
    assert_eq!(page.requests().len(), 1, "{:?}", page.requests());
}

#[test]
fn the_page_may_not_reach_out() {
    let Some(browser) = Browser::launch() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("page.html");
    write_page(&html, "Names", &samples()).expect("written");
    let page = browser.page();
    page.open(&html);
    let refused = page.eval("fetch('https://example.org/').then(() => 'sent', () => 'refused')");
    assert_eq!(refused, "refused");
    assert!(page.console_errors().iter().any(|error| error.contains("Content Security Policy")));
}

#[test]
fn a_page_is_the_same_every_time_and_holds_nothing_foreign() {
    let page = render_page("x", &samples()).expect("a page");
    assert_eq!(render_page("x", &samples()).expect("a page"), page);
    assert!(!page.contains("http://") && !page.contains("https://"));
    assert!(render_page("none", &[]).expect("a page without documents").contains("Nothing was extracted."));
}
