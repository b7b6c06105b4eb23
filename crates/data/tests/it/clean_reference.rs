//! The fast code of every rule against its reference.

use burnisher_data::{
    AlphabetRatio, C4, CleanOutcome, ControlCharacters, Counting, FineWeb, GopherQuality, GopherRepetition,
    Length, Mojibake, NormalForm, PersonalAction, PersonalData, Pipeline, Preset, Repetition, Step, Unicode,
    WhiteSpace,
};
use proptest::prelude::*;

/// What the rules look for, and what is easily taken for it.
const PIECES: [&str; 76] = [
    "the",
    "of",
    "and",
    "a",
    "ab",
    "c",
    "bc",
    "be",
    "rain",
    "fell",
    "measurement",
    "thermodynamically",
    "0123456789abcdef",
    "antidisestablishmentarianism",
    "x\0",
    "x",
    "naïve",
    "café",
    "cafe\u{301}",
    "Ã©",
    "Ãƒ",
    "â€™",
    "日本語",
    "…",
    "...",
    "..",
    ".",
    "?",
    "! ",
    "\"",
    "-",
    "- ",
    "• ",
    "* ",
    "#",
    "##",
    "{",
    "[1]",
    "[edit]",
    "java[2]script",
    "JavaScript",
    "javascrip",
    "Lorem Ipsum",
    "terms of use",
    "of users",
    "PRIVACY policy",
    "coo\u{212a}ie policy",
    "İ",
    "uses cookies",
    "use of Cookies",
    " ",
    "  ",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "\u{200b}",
    "\u{200d}",
    "\u{ad}",
    "\u{7f}",
    "\n",
    "\n\n",
    "\n\n\n\n",
    "\r\n",
    "\r",
    "\u{b}",
    "\u{1c}",
    "\u{1f}",
    "\u{85}",
    "\u{2028}",
    "a@b.co",
    "8.8.8.8",
    "2001:4860:4860::8888",
    "4111 1111 1111 1111",
    "AKIAIOSFODNN7EXAMPLE",
    "sk-----BEGIN RSA PRIVATE KEY-----",
    "+49 30 901820",
];

/// Texts of pieces, most with spaces between, in which some parts are repeated.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(PIECES[..12].to_vec()).prop_map(|word| format!("{word} ")),
        2 => prop::sample::select(PIECES.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec![" ", ". ", ".\n", "\n", "\n\n"]).prop_map(str::to_owned),
    ];
    let part = prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat());
    (prop::collection::vec(part, 1..6), prop::collection::vec(0usize..6, 0..12))
        .prop_map(|(parts, order)| order.iter().map(|at| parts[at % parts.len()].as_str()).collect())
}

/// A limit that is often broken.
fn share() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9])
}

fn count() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 1, 2, 3, 5, 20, 1000])
}

fn counting() -> impl Strategy<Value = Counting> {
    prop::sample::select(vec![Counting::Datatrove, Counting::Dolma])
}

fn gopher_repetition() -> impl Strategy<Value = Step> {
    let ngrams = || prop::collection::vec((0usize..12, share()), 0..4);
    (counting(), prop::array::uniform4(share()), ngrams(), ngrams()).prop_map(
        |(counting, limits, top, duplicate)| {
            GopherRepetition::new()
                .with_counting(counting)
                .with_max_duplicate_lines(limits[0])
                .with_max_duplicate_paragraphs(limits[1])
                .with_max_duplicate_line_characters(limits[2])
                .with_max_duplicate_paragraph_characters(limits[3])
                .with_top_ngrams(top)
                .with_duplicate_ngrams(duplicate)
                .into()
        },
    )
}

fn gopher_quality() -> impl Strategy<Value = Step> {
    (counting(), prop::array::uniform4(share()), prop::array::uniform4(count())).prop_map(
        |(counting, shares, counts)| {
            GopherQuality::new()
                .with_counting(counting)
                .with_min_words(counts[0])
                .with_max_words(counts[1])
                .with_min_stop_words(counts[2])
                .with_max_word_length(counts[3] as f64)
                .with_max_symbols_per_word(shares[0])
                .with_max_bullet_lines(shares[1])
                .with_max_ellipsis_lines(shares[2])
                .with_min_words_with_letter(shares[3])
                .into()
        },
    )
}

fn c4() -> impl Strategy<Value = Step> {
    (prop::array::uniform6(any::<bool>()), prop::array::uniform3(count())).prop_map(|(on, counts)| {
        C4::new()
            .with_terminal_punctuation(on[0])
            .with_citations(on[1])
            .with_lorem_ipsum(on[2])
            .with_javascript(on[3])
            .with_curly_bracket(on[4])
            .with_policy(on[5])
            .with_min_sentences(counts[0].min(5))
            .with_min_words_per_line(counts[1].min(5))
            .with_max_word_length(counts[2])
            .into()
    })
}

fn fineweb() -> impl Strategy<Value = Step> {
    (prop::array::uniform4(share()), count(), any::<bool>()).prop_map(|(shares, short, allow)| {
        FineWeb::new()
            .with_min_terminal_lines(shares[0])
            .with_max_short_lines(shares[1])
            .with_max_duplicate_characters(shares[2])
            .with_max_breaks_per_word(shares[3])
            .with_short_line(short)
            .with_allow_no_terminal_line(allow)
            .into()
    })
}

/// Rules of counts; a limit that no text keeps shows the count itself.
fn counted() -> impl Strategy<Value = Step> {
    (0..6, count(), share()).prop_map(|(kind, count, share)| match kind {
        0 => Length::new().with_max_words(count).into(),
        1 => Length::new().with_max_characters(count).into(),
        2 => Repetition::new().with_max_character_run(count).with_max_word_run(0).into(),
        3 => Repetition::new().with_max_word_run(count).into(),
        4 => Repetition::new().with_max_line_copies(count).into(),
        _ => AlphabetRatio::new().with_min_ratio(share).into(),
    })
}

fn edit() -> impl Strategy<Value = Step> {
    prop::sample::select(vec![
        Step::from(Unicode::new()),
        Unicode::new().with_form(NormalForm::Nfkc).into(),
        Unicode::new().with_form(NormalForm::Nfd).into(),
        Mojibake::new().into(),
        ControlCharacters::new().into(),
        ControlCharacters::new().with_zero_width(false).with_bidirectional(true).into(),
        WhiteSpace::new().into(),
        WhiteSpace::new().with_trim(false).with_unusual(false).with_max_blank_lines(0).into(),
        PersonalData::new().into(),
        PersonalData::new().with_action(PersonalAction::Drop).into(),
    ])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => gopher_repetition(), 2 => gopher_quality(), 3 => c4(), 2 => fineweb(), 3 => counted(), 2 => edit()
    ]
}

fn check(steps: impl IntoIterator<Item = Step>, text: &str) -> Result<(), TestCaseError> {
    let pipeline =
        steps.into_iter().fold(Pipeline::builder(), |builder, step| builder.step(step)).build().unwrap();
    prop_assert_eq!(pipeline.clean_text(text), pipeline.clean_text_reference(text), "{:?}", pipeline.steps());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_rule_is_its_reference(step in step(), text in text()) {
        check([step], &text)?;
    }

    /// Steps share what is known of a text; an edit changes it.
    #[test]
    fn steps_in_a_row_are_their_references(steps in prop::collection::vec(step(), 2..6), text in text()) {
        check(steps, &text)?;
    }

    /// Lenient enough to go on, so that what follows sees the lines that C4 has left.
    #[test]
    fn what_c4_leaves_is_measured_anew(
        rest in prop_oneof![gopher_repetition(), gopher_quality(), fineweb(), counted(), c4()],
        text in text(),
        is_cited in any::<bool>(),
    ) {
        let c4 = C4::new()
            .with_terminal_punctuation(false)
            .with_citations(is_cited)
            .with_min_sentences(0)
            .with_min_words_per_line(1)
            .with_lorem_ipsum(false)
            .with_curly_bracket(false);
        check([Step::from(GopherQuality::new().with_min_words(0).with_min_word_length(0.0).with_max_word_length(0.0)
            .with_max_symbols_per_word(0.0).with_max_bullet_lines(0.0).with_max_ellipsis_lines(0.0)
            .with_min_words_with_letter(0.0).with_min_stop_words(0)), c4.into(), rest], &text)?;
    }

    #[test]
    fn any_characters_at_all(step in step(), text in any::<String>()) {
        check([step], &text)?;
    }

    #[test]
    fn white_space_at_every_place(step in counted(), text in "[a. \n\t\r\u{b}-\u{1f}\u{85}\u{a0}\u{2028}é]{0,200}") {
        check([step], &text)?;
    }
}

#[test]
fn presets_on_a_long_text() {
    let line = |at: usize| {
        format!("The rain of day {at} fell on {} and that was seen to be measured.", at * 7919 % 1009)
    };
    let text: String = (0..400).map(line).collect::<Vec<_>>().join("\n");
    for preset in Preset::ALL {
        let pipeline = Pipeline::preset(preset).unwrap();
        for part in [&text[..], &text[..3000], &text.repeat(2)] {
            let found = pipeline.clean_text(part);
            assert_eq!(found, pipeline.clean_text_reference(part), "{preset:?}");
            assert!(preset != Preset::Basic || matches!(found, CleanOutcome::Kept(_)));
        }
    }
}

/// An n of 0, which measures nothing, hid what the others find.
#[test]
fn no_words_at_all_are_no_ngram() {
    let step = GopherRepetition::new()
        .with_top_ngrams(vec![(0, 0.0)])
        .with_duplicate_ngrams(vec![(0, 0.0), (1, 0.2)]);
    let pipeline = Pipeline::builder().step(step).build().unwrap();
    let CleanOutcome::Dropped { reason, value, .. } = pipeline.clean_text("the the ") else { panic!() };
    assert_eq!((reason.as_str(), value), ("duplicated_1_n_grams", 0.375));
}
