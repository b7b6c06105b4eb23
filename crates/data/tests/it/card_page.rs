//! The page of a data card, in a real browser.

use burnisher_browser::{Browser, Page};
use burnisher_data::{Body, CardConfig, CardSet, DataCard, Distribution, Message, Origin, Record};
use serde_json::{Value, json};

use crate::text_record;

/// Leaves a trace in the page wherever it is taken for more than text.
const HOSTILE: &str = "</pre></style><script>window.taken = 1</script><img src=\"x\" onerror='window.taken = 2'> \
                       <svg onload=window.taken=3> {{ 7 * 7 }} & &amp; \" ' | 東京 🙂";

/// A text of `length` characters.
fn text(length: usize) -> String {
    "some words of the corpus ".chars().cycle().take(length).collect()
}

fn card() -> DataCard {
    let mut train: Vec<Record> = (1..=60)
        .map(|line| {
            let mut record = text_record("train.jsonl", line, &text(20 + line * line % 97));
            record.extra.insert("label".to_owned(), json!(if line % 5 == 0 { "rare" } else { "often" }));
            record
        })
        .collect();
    let mut hostile = text_record("<i>a</i>&.jsonl", 1, HOSTILE);
    hostile.extra.insert("label".to_owned(), json!(HOSTILE));
    train.push(hostile);
    let chat = |line: usize, turns: usize| {
        let turns = (0..turns).flat_map(|turn| {
            [Message::new("user", format!("{HOSTILE} {line} {turn}")), Message::new("assistant", text(line))]
        });
        Record::new(Body::Messages(turns.collect()), Origin::new("test.jsonl", line))
    };
    let test: Vec<Record> = (1..=9).map(|line| chat(line, 1 + line % 3)).collect();
    let config = CardConfig::new().with_title(HOSTILE).with_labels(["label"]).with_samples(100);
    let sets = [CardSet::new("train", &train), CardSet::new("<b>test", &test)];
    DataCard::measure(&sets, None, &config).expect("a card")
}

/// The sizes of the elements that a selector finds in each figure of a class, in pixels.
fn sizes(page: &Page<'_>, class: &str, inner: &str, side: &str) -> Vec<Vec<f64>> {
    let sizes = page.eval(&format!(
        "[...document.querySelectorAll('figure.{class}')].map((f) => \
         [...f.querySelectorAll('{inner}')].map((e) => e.getBoundingClientRect().{side}))"
    ));
    serde_json::from_value(sizes).expect("numbers")
}

/// Whether sizes are in the proportion of counts, to a pixel.
fn proportional(sizes: &[f64], counts: &[usize]) -> bool {
    let most = counts.iter().zip(sizes).max_by_key(|(count, _)| **count);
    let Some((most, greatest)) = most.map(|(count, size)| (*count as f64, *size)) else { return false };
    let fits = |(count, size): (&usize, &f64)| (*size - greatest * *count as f64 / most).abs() <= 1.0;
    sizes.len() == counts.len() && greatest > 20.0 && counts.iter().zip(sizes).all(fits)
}

#[test]
fn plots_are_drawn_in_the_proportion_of_the_numbers() {
    let Some(browser) = Browser::launch() else { return };
    let card = card();
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("data card.html");
    std::fs::write(&html, card.to_html()).expect("written");
    let page = browser.page();
    page.open(&html);

    let plots: [&Distribution; 3] = [&card.sets[0].characters, &card.sets[1].characters, &card.sets[1].turns];
    let drawn = sizes(&page, "histogram", "rect", "height");
    assert_eq!(drawn.len(), plots.len());
    for (plot, heights) in plots.into_iter().zip(&drawn) {
        let counts: Vec<usize> = plot.histogram.iter().map(|bar| bar.count).collect();
        assert!(counts.iter().filter(|count| **count > 0).count() > 1, "a plot with one bar proves nothing");
        assert!(proportional(heights, &counts), "{heights:?} for {counts:?}");
    }
    let lists: [&[(String, usize)]; 2] = [&card.sets[0].languages, &card.sets[1].languages];
    let drawn = sizes(&page, "languages", "i", "width");
    assert_eq!(drawn.len(), lists.len());
    for (widths, values) in drawn.iter().zip(lists) {
        let counts: Vec<usize> = values.iter().map(|value| value.1).collect();
        assert!(proportional(widths, &counts), "{widths:?} for {counts:?}");
    }
    let balance: Vec<usize> = card.sets[0].balance[0].values.iter().map(|value| value.1).collect();
    assert_eq!(balance, [48, 12, 1]);
    let widths = sizes(&page, "balance", "i", "width");
    assert!(widths.len() == 1 && proportional(&widths[0], &balance), "{widths:?}");

    // Bars lie in their plot, one beside the other, and have another colour than the paper.
    let outside = page.eval(
        "[...document.querySelectorAll('svg')].flatMap((svg) => { const s = svg.getBoundingClientRect(); \
         let last = s.left; return [...svg.querySelectorAll('rect')].filter((bar) => { \
         const b = bar.getBoundingClientRect(), apart = b.left >= last; last = b.right; \
         return !apart || b.right > s.right || b.top < s.top || b.bottom > s.bottom; }); }).length",
    );
    assert_eq!(outside, 0);
    let colours = page.eval(
        "[getComputedStyle(document.querySelector('rect')).fill, \
         getComputedStyle(document.querySelector('.bars i')).backgroundColor, \
         getComputedStyle(document.body).backgroundColor]",
    );
    let colours = colours.as_array().expect("a list").clone();
    assert!(colours[0] == colours[1] && colours[0] != colours[2] && colours[0] != "none", "{colours:?}");
    assert_eq!(page.eval("document.documentElement.scrollWidth <= innerWidth"), true, "nothing sticks out");
    assert_eq!(page.console_errors(), Vec::<String>::new());
    assert_eq!(page.requests().len(), 1, "{:?}", page.requests());
}

#[test]
fn what_the_records_say_is_shown_as_text() {
    let Some(browser) = Browser::launch() else { return };
    let card = card();
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("card.html");
    std::fs::write(&html, card.to_html()).expect("written");
    let page = browser.page();
    page.open(&html);
    assert_eq!(page.eval("document.querySelector('h1').textContent"), HOSTILE);
    let texts = |css: &str| -> Vec<String> {
        let found =
            page.eval(&format!("[...document.querySelectorAll({})].map((e) => e.textContent)", json!(css)));
        serde_json::from_value(found).expect("texts")
    };
    assert!(texts(".balance .bars span").contains(&HOSTILE.to_owned()));
    let samples: Vec<(&str, &str)> = card
        .sets
        .iter()
        .flat_map(|set| &set.samples)
        .flat_map(|sample| &sample.turns)
        .map(|(role, text)| (role.as_str(), text.as_str()))
        .collect();
    assert!(samples.iter().any(|(_, text)| *text == HOSTILE) && samples.len() > 70);
    let shown: Vec<String> = texts("details pre");
    assert_eq!(shown, samples.iter().map(|(_, text)| (*text).to_owned()).collect::<Vec<_>>());
    assert!(texts("summary").iter().any(|text| text == "<i>a</i>&.jsonl:1"));
    assert!(texts("h3").contains(&"<b>test".to_owned()));

    assert_eq!(page.eval("typeof window.taken"), "undefined");
    assert_eq!(
        page.eval("document.querySelectorAll('script, img, .tile b b, pre *, h1 *, span *').length"),
        0
    );
    assert_eq!(page.console_errors(), Vec::<String>::new());
    assert_eq!(page.requests().len(), 1, "{:?}", page.requests());

    let refused: Value = page.eval("fetch('https://example.org/').then(() => 'sent', () => 'refused')");
    assert_eq!(refused, "refused");
    assert!(page.console_errors().iter().any(|error| error.contains("Content Security Policy")));
}
