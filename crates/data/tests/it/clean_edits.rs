//! Each edit on good, odd and bad text.

use std::time::Duration;

use burnisher_data::{
    BoilerplateLines, C4, Citations, CleanOutcome, ControlCharacters, Mojibake, NormalForm, PersonalAction,
    PersonalData, Pipeline, Preset, Step, Unicode, WhiteSpace,
};
use proptest::prelude::*;

fn only(step: impl Into<Step>) -> Pipeline {
    Pipeline::builder().step(step).build().unwrap()
}

/// The text that is kept, or the reason it is not.
fn cleaned(pipeline: &Pipeline, text: &str) -> String {
    match pipeline.clean_text(text) {
        CleanOutcome::Kept(text) => text.into_owned(),
        CleanOutcome::Dropped { reason, .. } => format!("dropped: {reason}"),
    }
}

fn check(pipeline: &Pipeline, rows: &[(&str, &str)]) {
    for (text, wanted) in rows {
        assert_eq!(cleaned(pipeline, text), *wanted, "{text:?}");
    }
}

#[test]
fn normal_forms() {
    let form = |form| only(Unicode::new().with_form(form));
    check(&form(NormalForm::Nfc), &[("cafe\u{301}", "café"), ("ﬁ", "ﬁ"), ("plain\0", "plain\0")]);
    check(&form(NormalForm::Nfkc), &[("ﬁ ①", "fi 1"), ("Ａ", "A")]);
    check(&form(NormalForm::Nfd), &[("café", "cafe\u{301}")]);
}

#[test]
fn mojibake_is_repaired_and_other_text_left() {
    check(
        &only(Mojibake::new()),
        &[
            ("cafÃ©", "café"),
            ("donâ€™t â€œquoteâ€\u{9d}", "don’t “quote”"),
            ("naÃƒÂ¯ve", "naïve"),
            ("Ã¼ber und über", "über und über"),
            ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
            ("ðŸ˜€ ok", "😀 ok"),
            ("São Paulo, Ângela, «Â»", "São Paulo, Ângela, «Â»"),
            ("Ã", "Ã"),
            ("日本語 äöü ÄÖÜ – “fine”", "日本語 äöü ÄÖÜ – “fine”"),
        ],
    );
}

#[test]
fn control_characters_go() {
    check(
        &only(ControlCharacters::new()),
        &[
            ("a\0b\u{7}c\u{7f}d\u{9b}e", "abcde"),
            ("a\tb\nc\r\nd\re", "a\tb\nc\nd\ne"),
            ("\u{feff}zero\u{200b}width\u{2060} so\u{ad}ft", "zerowidth soft"),
            ("👩\u{200d}🚀 क\u{94d}\u{200d}ष a\u{200d}b", "👩\u{200d}🚀 क\u{94d}\u{200d}ष ab"),
            ("left\u{200e}\u{202e}right", "left\u{200e}\u{202e}right"),
        ],
    );
    check(
        &only(ControlCharacters::new().with_bidirectional(true)),
        &[("left\u{200e}\u{202e}right", "leftright")],
    );
}

#[test]
fn white_space_is_tidied() {
    check(
        &only(WhiteSpace::new()),
        &[
            ("a  b\t\tc \n\n\n\n\nd\u{a0}e  ", "a b c\n\n\nd e"),
            ("\n\n  fn main() {\n      let  x = 1;\n  }\n", "  fn main() {\n      let x = 1;\n  }"),
            ("\u{3000}全角\u{3000}\u{3000}空白", " 全角 空白"),
            (" \t \n ", "dropped: nothing_left"),
            ("", ""),
        ],
    );
    let free = WhiteSpace::new().with_trim(false).with_runs(false).with_unusual(false);
    check(&only(free), &[("\n\n\n\na  b\u{a0}c \n\n\n\n\n", "\n\na  b\u{a0}c\n\n\n")]);
}

#[test]
fn boilerplate_lines_and_citations_go() {
    let page = "Skip to content\nThe river rose.\nWe use cookies to improve your visit.\n© 2020 Acme. All rights reserved.";
    check(&only(BoilerplateLines::new()), &[(page, "The river rose.")]);
    let long = format!("{} and the privacy policy of the bank was changed.", "A long story ".repeat(20));
    check(&only(BoilerplateLines::new()), &[(&long, &long)]);
    let own = BoilerplateLines::new()
        .with_english(false)
        .with_phrases(vec!["Weiterlesen".to_owned()])
        .with_patterns(vec![r"^\d+ Kommentare$".to_owned()]);
    check(
        &only(own),
        &[(
            "Der Fluss stieg.\n12 Kommentare\nweiterlesen …\nSkip to content",
            "Der Fluss stieg.\nSkip to content",
        )],
    );
    check(
        &only(Citations::new()),
        &[
            ("Rain[12] fell[3, 4–6] here.[citation needed] [edit]", "Rain fell here. "),
            ("[1[2]2] stays[x] [2024 report]", " stays[x] [2024 report]"),
        ],
    );
}

const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----";

#[test]
fn personal_data_is_masked() {
    check(
        &only(PersonalData::new()),
        &[
            (
                "Write to anna.b+x@clinic-nord.example.org or root@localhost.",
                "Write to <EMAIL> or root@localhost.",
            ),
            (
                "a@b.co;c_d@e-f.io, <j'o@x.example.org>, a@b..c @ x@-y.de",
                "<EMAIL>;<EMAIL>, <<EMAIL>>, a@b..c @ x@-y.de",
            ),
            ("8.8.8.8 10.0.0.1 256.1.1.1 1.2.3.4.5 v1.2.3", "<IPV4> 10.0.0.1 256.1.1.1 1.2.3.4.5 v1.2.3"),
            ("2001:4860:4860::8888, ::1, std::env, a::b, 12:30:45", "<IPV6>, ::1, std::env, a::b, 12:30:45"),
            (
                "4111 1111 1111 1111, 4111-1111-1111-1112, 378282246310005",
                "<CREDIT_CARD>, 4111-1111-1111-1112, <CREDIT_CARD>",
            ),
            (
                "DE89 3702 0044 0532 0130 00 or GB82WEST12345698765432, DE89370400440532013001",
                "DE89 3702 0044 0532 0130 00 or <IBAN>, DE89370400440532013001",
            ),
            ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
            (
                "(415) 555-2671, 415-555-2671, +49 30 901820, 1999-2000, 3.1415926535",
                "<PHONE>, <PHONE>, <PHONE>, 1999-2000, 3.1415926535",
            ),
            (
                "AKIAIOSFODNN7EXAMPLE sk-learn-is-a-library-for-python",
                "<API_KEY> sk-learn-is-a-library-for-python",
            ),
            ("ghp_0123456789abcdefghijklmnopqrstuvwxyz sk-proj-abc123DEF456ghi789JKL", "<API_KEY> <API_KEY>"),
            (&format!("key:\n{KEY}\nend"), "key:\n<PRIVATE_KEY>\nend"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "<JWT>"),
            ("naïve@ücafé.de 🚆 1", "naïve@ücafé.de 🚆 1"),
        ],
    );
    let private = PersonalData::new().with_private_addresses(true).with_email(false);
    check(&only(private), &[("10.0.0.1 a@b.co", "<IPV4> a@b.co")]);
    check(
        &only(PersonalData::new().with_action(PersonalAction::Drop)),
        &[("a@b.co", "dropped: email"), ("b", "b")],
    );
    check(&only(PersonalData::new().with_action(PersonalAction::Report)), &[("a@b.co", "a@b.co")]);
}

#[cfg(feature = "html")]
#[test]
fn html_becomes_text() {
    use burnisher_data::Html;
    check(
        &only(Html::new()),
        &[
            ("<p>Fish &amp; <b>chips</b></p><p>Tea</p>", "Fish & chips\n\nTea\n"),
            ("1 < 2 && 3 > 2", "1 < 2 && 3 > 2"),
        ],
    );
}

#[cfg(not(feature = "html"))]
#[test]
fn html_without_the_feature_is_refused() {
    let error = Pipeline::from_toml(r#"steps = ["html"]"#).unwrap_err().to_string();
    assert_eq!(
        error,
        "TOML: steps[0] (html): the step html needs the feature `html` of burnisher-data, which is off"
    );
}

/// A quadratic step would need hours for these.
#[test]
fn ten_megabytes_on_one_line_finish() {
    let everything = Pipeline::builder()
        .preset(Preset::Basic)
        .step(BoilerplateLines::new())
        .step(Citations::new())
        .step(PersonalData::new())
        .preset(Preset::Gopher)
        .step(C4::new())
        .build()
        .unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for unit in
            ["x", "a@", "1", "1.", "Ã", "[", "eyJ", "sk-", ":", " ", "-----BEGIN ", "12 ", "\u{200d}", "DE00"]
        {
            let text = unit.repeat(2_000_000 / unit.len());
            let _ = everything.clean_text(&text);
        }
        let _ = everything.clean_text(&"word and ".repeat(1_200_000));
        send.send(()).unwrap();
    });
    assert!(receive.recv_timeout(Duration::from_secs(300)).is_ok());
}

/// Pieces that the steps look for, and characters around them.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "a@b.co",
        "1.2.3.4",
        "4111 1111 1111 1111",
        "+49 30 901820",
        "415-555-2671",
        "::1",
        "2001:db8:1::2",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "Ã©",
        "Ãƒ",
        "â€",
        "™",
        "[12]",
        "[",
        "]",
        "[edit]",
        "\r",
        "\n",
        "\n\n\n",
        " ",
        "\t",
        "\u{a0}",
        "\u{200b}",
        "\u{200d}",
        "\0",
        "e\u{301}",
        "क",
        "privacy policy",
        "-----BEGIN RSA PRIVATE KEY-----",
        "-",
        ".",
        "1",
        "x",
        "A",
        "DE89370400440532013000",
        "(",
        ")",
        "+",
        "@",
        "日本",
    ];
    prop::collection::vec(prop_oneof![4 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)], 0..30)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn edits_are_idempotent(text in text()) {
        let steps: Vec<Step> = vec![
            Unicode::new().into(),
            Unicode::new().with_form(NormalForm::Nfkc).into(),
            Unicode::new().with_form(NormalForm::Nfd).into(),
            Mojibake::new().into(),
            ControlCharacters::new().with_bidirectional(true).into(),
            WhiteSpace::new().into(),
            WhiteSpace::new().with_trim(false).into(),
            BoilerplateLines::new().into(),
            Citations::new().into(),
            PersonalData::new().into(),
        ];
        for step in steps {
            let pipeline = only(step);
            if let CleanOutcome::Kept(once) = pipeline.clean_text(&text) {
                prop_assert_eq!(pipeline.clean_text(&once), CleanOutcome::Kept(once.as_ref().into()), "{:?}", pipeline.steps());
            }
        }
    }
}
