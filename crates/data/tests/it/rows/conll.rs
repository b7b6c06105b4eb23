use burnisher_data::{DataError, JsonlWriter, OnError, SkipReason, Source};
use proptest::prelude::*;
use serde_json::json;

use super::{file, rows, rows_of, skipping};

/// Line, tokens and tags, both joined with `|`.
fn sentences(text: &str) -> Vec<(usize, String, String)> {
    let joined = |cells: &serde_json::Value| {
        let cells: Vec<&str> =
            cells.as_array().expect("a list").iter().filter_map(|cell| cell.as_str()).collect();
        cells.join("|")
    };
    rows_of("a.conll", text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}"))
        .iter()
        .map(|row| (row.origin.line, joined(&row.columns["tokens"]), joined(&row.columns["tags"])))
        .collect()
}

#[test]
fn sentences_are_rows() {
    let conll_2003 = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n. . O O\n\n\nPeter NNP B-NP B-PER\n\
                      -DOCSTART- -X- -X- O\nBonn NNP B-NP B-LOC\n";
    let wnut_17 = "@paulwalk\tO\nEmpire\tB-location\r\nState  Building \tI-location\n\t\n\
                   #\tO\n# tag\tO\nof 1 \tB-product\n";
    let multi_coner = "# id 1 domain=en\ncolour _ _ O\n# _ _ B-X\n\n#\n# id 2 O\n#eos\tO\n";
    // A `#` that is a word: of tags of any kind, on the first line, behind the mark of a document.
    let penn = "# newdoc\nThe DT\n\n# #\n1 CD\n\n# a comment of five words\nend NN\n";
    let begins = "# O\nfive O\n";
    let marked = "-DOCSTART- -X- O\n\n# # O\n";
    for (text, wanted) in [
        (penn, vec![(2, "The", "DT"), (4, "#|1", "#|CD"), (8, "end", "NN")]),
        (begins, vec![(1, "#|five", "O|O")]),
        (marked, vec![(3, "#", "O")]),
        (conll_2003, vec![(3, "EU|rejects|.", "B-ORG|O|O"), (8, "Peter", "B-PER"), (10, "Bonn", "B-LOC")]),
        (
            wnut_17,
            vec![
                (1, "@paulwalk|Empire|State  Building", "O|B-location|I-location"),
                (5, "#|# tag|of 1", "O|O|B-product"),
            ],
        ),
        // The second comment has as many columns as a token, but no tag.
        (
            &multi_coner.replace("# id 2 O", "# id 2 domain=en").replace("#eos\tO", "# _ _ O"),
            vec![(2, "colour|#", "O|B-X"), (7, "#", "O")],
        ),
        ("a  x   O\n b x I-PER", vec![(1, "a|b", "O|I-PER")]),
    ] {
        let wanted: Vec<(usize, String, String)> =
            wanted.into_iter().map(|(line, tokens, tags)| (line, tokens.into(), tags.into())).collect();
        assert_eq!(sentences(text), wanted, "{text}");
    }
}

#[test]
fn a_sentence_with_a_wrong_line_is_left_out_as_a_whole() {
    for (line, wanted) in [
        ("b", "a.conll:4: not a valid row: one column; wanted a token and its tag"),
        ("b\t", "a.conll:4: not a valid row: one column"),
        ("b x O", "a.conll:4: not a valid row: the line has 3 columns, the file began with 2"),
        ("# a comment inside", "a.conll:4: not a valid row: the line has 4 columns"),
        ("\tO", "a.conll:4: not a valid row: the token is empty"),
        ("b\0 O", "a.conll:4: a NUL byte at column 2"),
    ] {
        let text = format!("good O\n\na O\n{line}\nc O\nd\n\nlast O\n");
        let error = rows_of("a.conll", text.as_bytes()).expect_err(line).to_string();
        assert!(error.contains(wanted), "{error:?} lacks {wanted:?}");
        let (found, report) = skipping("a.conll", text.as_bytes());
        assert_eq!(found.iter().map(|row| row.origin.line).collect::<Vec<_>>(), [1, 8], "{line}");
        assert_eq!((report.records, report.total_skipped()), (2, 1), "{line}");
        assert_eq!(report.first[0].origin.line, 4, "{line}");
    }
    assert!(matches!(rows_of("a.conll", b"-DOCSTART- -X- O\n\n# only\n"), Err(DataError::EmptyFile { .. })));
}

#[test]
fn a_sentence_has_a_limit() {
    let text = format!("{}\none O\n\nlong-{} O\nb O\n\nlast O\n", "token O\n".repeat(9), "x".repeat(40));
    let (_dir, path) = file("a.conll", text.as_bytes());
    let source = Source::open(path).expect("a file").with_max_record_bytes(30);
    let error = rows(&source).expect_err("54 bytes").to_string();
    assert!(error.contains("a.conll:1: a record of more than 30 bytes"), "{error}");
    let (found, report) = rows(&source.with_on_error(OnError::Skip)).expect("two short ones");
    assert_eq!(found.iter().map(|row| row.origin.line).collect::<Vec<_>>(), [11, 16]);
    assert_eq!(report.skipped[&SkipReason::TooLong], 2);
    assert_eq!(report.first[1].origin.line, 13);
}

#[test]
fn sentences_have_no_shape_to_train_on() {
    let (dir, path) = file("a.conll", b"a O\n");
    let error = Source::open(&path).expect("a file").read().expect_err("no shape").to_string();
    for part in ["a.conll:1: no known shape has the columns tokens, tags", "`Source::rows` reads them"] {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
    let error = JsonlWriter::create(dir.path().join("b.bio")).expect_err("no such records").to_string();
    assert!(error.contains("a name that ends in .jsonl"), "{error}");
}

fn cell() -> impl Strategy<Value = String> {
    "[!-~äß世]{1,6}"
        .prop_filter("not a mark of the format", |cell| !cell.starts_with('#') && cell != "-DOCSTART-")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn written_sentences_are_read_back(
        sentences in prop::collection::vec(prop::collection::vec((cell(), cell(), cell()), 1..6), 1..8),
        tab in any::<bool>(),
        middle in any::<bool>(),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let between = if tab { "\t" } else { " " };
        let mut text = String::new();
        for sentence in &sentences {
            text.push_str("# a comment of more words");
            text.push_str(end);
            for (token, other, tag) in sentence {
                let cells = [token.as_str(), other, tag];
                let cells = if middle { cells.to_vec() } else { vec![cells[0], cells[2]] };
                text.push_str(&cells.join(between));
                text.push_str(end);
            }
            text.push_str(end);
        }
        let found = rows_of("a.bio", text.as_bytes()).expect("sentences");
        prop_assert_eq!(found.len(), sentences.len());
        for (row, sentence) in found.iter().zip(&sentences) {
            let (tokens, tags): (Vec<&String>, Vec<&String>) =
                sentence.iter().map(|(token, _, tag)| (token, tag)).unzip();
            prop_assert_eq!(&row.columns["tokens"], &json!(tokens));
            prop_assert_eq!(&row.columns["tags"], &json!(tags));
            let line = text.lines().nth(row.origin.line - 1).expect("a line");
            prop_assert!(line.starts_with(sentence[0].0.as_str()), "{}", line);
        }
    }

    #[test]
    fn any_bytes_are_rows_or_an_error(lines in prop::collection::vec("[#\ta O\\-\u{0}ä]{0,8}", 0..12)) {
        let text = lines.join("\n");
        let (_dir, path) = file("a.conll", text.as_bytes());
        let source = Source::open(path).expect("a file").with_on_error(OnError::Skip);
        match rows(&source) {
            Ok((found, report)) => prop_assert_eq!(found.len(), report.records),
            Err(error) => prop_assert!(matches!(error, DataError::EmptyFile { .. }), "{}", error),
        }
    }
}
