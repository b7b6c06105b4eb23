//! Pipelines: files, records, streams, reports.

use burnisher_data::{
    Body, CleanReport, DataError, Length, Matches, Message, Origin, PersonalAction, PersonalData, Pipeline,
    Preset, Record, Repetition, Step, WhiteSpace, clean,
};
use proptest::prelude::*;

use crate::text_record;

#[test]
fn toml_and_yaml_say_the_same() {
    let toml = Pipeline::from_toml(
        "steps = [\"unicode\", { step = \"gopher_quality\", min_words = 7, counting = \"dolma\", max_word_length = 9 }]\n",
    );
    let yaml = Pipeline::from_yaml(
        "steps:\n  - unicode\n  - step: gopher_quality\n    min_words: 7\n    counting: dolma\n    max_word_length: 9\n",
    );
    let (toml, yaml) = (toml.unwrap(), yaml.unwrap());
    assert_eq!(toml.steps(), yaml.steps());
    let Step::GopherQuality(quality) = &toml.steps()[1] else { panic!() };
    assert_eq!((quality.min_words, quality.max_words, quality.max_word_length), (7, 100_000, 9.0));
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a.toml", "steps = [\"unicode\"]"), ("a.yml", "steps: [unicode]")] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert_eq!(Pipeline::from_file(&path).unwrap().steps(), &toml.steps()[..1]);
    }
}

#[test]
fn wrong_files_are_refused() {
    for (toml, wanted) in [
        (
            "steps = [\"unicod\"]",
            "TOML: steps[0]: no step is called \"unicod\" (did you mean \"unicode\"?); known are unicode, ",
        ),
        ("step = []", "TOML: no field is called \"step\" (did you mean \"steps\"?); known are steps"),
        ("", "TOML: the list `steps` is missing"),
        ("steps = [{ min_words = 1 }]", "TOML: steps[0]: the step's name is missing"),
        ("steps = [1]", "TOML: steps[0]: a step is a name or a table"),
        (
            "steps = [{ step = \"length\", min_word = 3 }]",
            "TOML: steps[0] (length): no field is called \"min_word\" (did you mean \"min_words\"?); known are min_characters, ",
        ),
        (
            "steps = [{ step = \"length\", min_words = -1 }]",
            "TOML: steps[0] (length): invalid value: integer `-1`",
        ),
        (
            "steps = [{ step = \"length\", max_tokens = 5 }]",
            "TOML: steps[0] (length): min_tokens and max_tokens need a tokenizer",
        ),
        (
            "steps = [{ step = \"regex\", patterns = [\"(\"] }]",
            "TOML: steps[0] (regex): patterns: regex parse error",
        ),
        (
            "steps = [{ step = \"language\", allowed = [\"klingon\"] }]",
            "TOML: steps[0] (language): allowed: \"klingon\" is no language",
        ),
        ("steps = [", "TOML: TOML parse error at line 1"),
    ] {
        let error = Pipeline::from_toml(toml).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
    let error = "finweb".parse::<Preset>().unwrap_err().to_string();
    assert_eq!(
        error,
        "pipeline: no preset is called \"finweb\" (did you mean \"fineweb\"?); known are basic, fineweb, gopher, c4"
    );
}

#[test]
fn the_reference_is_a_pipeline_of_defaults() {
    let text = Pipeline::reference_toml();
    assert!(
        text.contains(
            "# Fewest words (with datatrove: that are more than punctuation); 0 is off.\nmin_words = 50\n"
        ),
        "{text}"
    );
    // A build without HTML refuses that one step.
    let start = text.find("\n# Makes text of HTML").unwrap();
    let end = start + 1 + text[start + 1..].find("\n# Removes lines").unwrap();
    let pipeline = Pipeline::from_toml(&format!("{}{}", &text[..start], &text[end..])).unwrap();
    assert_eq!(pipeline.steps().len(), 17);
    assert!(pipeline.steps().contains(&Repetition::new().into()));
    for preset in Preset::ALL {
        assert_eq!(preset.as_str().parse::<Preset>().unwrap(), preset);
        assert_eq!(Pipeline::preset(preset).unwrap().steps(), preset.steps());
    }
}

#[test]
fn edits_reach_every_text_and_filters_see_the_whole() {
    let pipeline = Pipeline::builder()
        .step(WhiteSpace::new())
        .step(PersonalData::new())
        .step(Length::new().with_min_words(4))
        .build()
        .unwrap();
    let messages = |turns: &[(&str, &str)]| {
        Body::Messages(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
    };
    let bodies = vec![
        messages(&[("system", "be  kind"), ("user", "a@b.co  asks"), ("assistant", "8.8.8.8 answers")]),
        Body::Alpaca { instruction: "one  two".into(), input: String::new(), output: "three four".into() },
        Body::Completion { prompt: "one".into(), completion: "two three".into() },
        Body::Completion { prompt: "one two three four".into(), completion: "\u{a0}".into() },
    ];
    let records =
        (1..).zip(bodies).map(|(line, body)| Record::new(body, Origin::new("a.jsonl", line))).collect();
    let (kept, report) = clean(records, &pipeline);
    assert_eq!(
        kept[0].body,
        messages(&[("system", "be kind"), ("user", "<EMAIL> asks"), ("assistant", "<IPV4> answers")])
    );
    assert_eq!(
        kept[1].body,
        Body::Alpaca { instruction: "one two".into(), input: String::new(), output: "three four".into() }
    );
    assert_eq!((report.records, report.kept, report.removed()), (4, 2, 2));
    let [space, personal, length] = &report.steps[..] else { panic!() };
    assert_eq!((space.seen, space.changed, space.removed), (4, 3, 1));
    assert_eq!(space.reasons["nothing_left"], 1);
    assert_eq!((personal.seen, personal.findings["email"], personal.findings["ipv4"]), (3, 1, 1));
    assert_eq!((length.removed, length.samples[0].line), (1, 3));
    assert_eq!(length.samples[0].reason, Some(("too_few_words".to_owned(), 3.0)));
    assert!(
        report.to_string().contains("a.jsonl:3: \"one\\ntwo three\" removed: too_few_words (3.000)"),
        "{report}"
    );
    let copy: CleanReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(copy, report);
}

#[test]
fn errors_of_a_stream_keep_their_places() {
    let pipeline =
        Pipeline::builder().step(Matches::new().with_patterns(vec!["bad".into()])).build().unwrap();
    let items = (1..=6).map(|line| match line {
        2 => Err(DataError::EmptyFile { path: "x".into() }),
        4 => Ok(text_record("a", line, "bad")),
        _ => Ok(text_record("a", line, "good")),
    });
    let found: Vec<Option<usize>> =
        pipeline.stream(items).with_chunk(3).map(|item| item.ok().map(|record| record.origin.line)).collect();
    assert_eq!(found, [Some(1), None, Some(3), Some(5), Some(6)]);
}

fn pipeline() -> Pipeline {
    Pipeline::builder()
        .preset(Preset::Basic)
        .step(PersonalData::new())
        .step(Repetition::new().with_max_word_run(2))
        .step(PersonalData::new().with_action(PersonalAction::Drop).with_private_addresses(true))
        .step(Length::new().with_min_characters(3))
        .build()
        .unwrap()
}

fn records(texts: &[String]) -> Vec<Record> {
    (1..).zip(texts).map(|(line, text)| text_record("a.jsonl", line, text)).collect()
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(vec![
        "rain", "fell", "a@b.co", "10.0.0.1", "cafÃ©", "\u{200b}", "  ", "\n\n\n\n",
    ]);
    let text = prop::collection::vec(word, 0..6).prop_map(|words| words.join(" "));
    prop::collection::vec(text, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_stream_cleans_like_memory(texts in words(), chunk in 1usize..200, threads in 1usize..4) {
        let pipeline = pipeline();
        let (kept, report) = clean(records(&texts), &pipeline);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (streamed, stream_report) = pool.install(|| {
            let mut stream = pipeline.stream(records(&texts).into_iter().map(Ok)).with_chunk(chunk);
            let streamed: Vec<Record> = stream.by_ref().map(Result::unwrap).collect();
            (streamed, stream.report().clone())
        });
        prop_assert_eq!(&kept, &streamed);
        prop_assert_eq!(report, stream_report);
    }

    #[test]
    fn reports_of_shards_merge_to_that_of_the_whole(texts in words(), cut in 0usize..300) {
        let pipeline = pipeline();
        let all = records(&texts);
        let cut = cut.min(all.len());
        let (_, whole) = clean(all.clone(), &pipeline);
        let (_, mut merged) = clean(all[..cut].to_vec(), &pipeline);
        merged.merge(&clean(all[cut..].to_vec(), &pipeline).1);
        prop_assert_eq!(whole, merged);
    }
}
