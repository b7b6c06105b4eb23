//! Which tokens are learnt: loss masks from byte ranges and from rendered prefixes.

use std::ops::Range;

use serde_json::Value;

use crate::error::DataError;
use crate::record::{Message, Origin};
use crate::template::ChatTemplate;

/// For each token whether its bytes overlap one of the ranges, which are in order and apart from each other.
pub(crate) fn overlapping(offsets: &[(usize, usize)], ranges: &[Range<usize>]) -> Vec<bool> {
    let overlaps = |&(start, end): &(usize, usize)| {
        let next = ranges.partition_point(|range| range.end <= start);
        start < end && ranges.get(next).is_some_and(|range| range.start < end)
    };
    offsets.iter().map(overlaps).collect()
}

/// The assistant's byte ranges of `text`, the rendered conversation, found without generation tags.
///
/// The conversation up to an assistant's turn is rendered twice: without the turn, but with the header that invites an
/// answer, and with it. What the second has more is the assistant's.
///
/// # Errors
///
/// [`DataError::TurnsRewritten`] where one text is not the beginning of the next, because the template looks at later
/// turns; [`DataError::TemplateRefused`] where the template does not render a part of the conversation.
pub(crate) fn ranges_by_prefixes(
    template: &ChatTemplate,
    messages: &[Message],
    tools: &[Value],
    text: &str,
    origin: &Origin,
) -> Result<Vec<Range<usize>>, DataError> {
    let render = |messages: &[Message], add_generation_prompt: bool| {
        let rendered = template.render_with_tools(messages, tools, add_generation_prompt);
        rendered.map(|rendered| rendered.text).map_err(|error| refused(origin, error))
    };
    let mut ranges = Vec::new();
    for (turn, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
        let before = render(&messages[..turn], true)?;
        let after = render(&messages[..=turn], false)?;
        if !after.starts_with(&before) || !text.starts_with(&after) {
            return Err(DataError::TurnsRewritten { origin: origin.clone(), turn });
        }
        if before.len() < after.len() {
            ranges.push(before.len()..after.len());
        }
    }
    Ok(ranges)
}

/// A template's error with the record it was met in.
pub(crate) fn refused(origin: &Origin, error: DataError) -> DataError {
    match error {
        DataError::Template { message } => DataError::TemplateRefused { origin: origin.clone(), message },
        other => other,
    }
}

/// Whether some trained run holds no special token although one follows it: the token that ends the turn, which a
/// model that never learns it never writes.
pub(crate) fn ends_untrained(ids: &[u32], mask: &[bool], is_special: impl Fn(u32) -> bool) -> bool {
    let mut run_has_special = false;
    for (at, trained) in mask.iter().enumerate() {
        if *trained {
            run_has_special |= is_special(ids[at]);
            continue;
        }
        let ends_run = at > 0 && mask[at - 1];
        if ends_run && !run_has_special && is_special(ids[at]) {
            return true;
        }
        run_has_special = false;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trained_if_it_overlaps_a_range() {
        let offsets = [(0, 2), (2, 2), (2, 5), (5, 6), (6, 9), (9, 9), (9, 12)];
        let cases: [(&[(usize, usize)], [bool; 7]); 5] = [
            (&[], [false; 7]),
            (&[(0, 12)], [true, false, true, true, true, false, true]),
            (&[(2, 5)], [false, false, true, false, false, false, false]),
            (&[(1, 3), (8, 9)], [true, false, true, false, true, false, false]),
            (&[(4, 5), (5, 6), (11, 40)], [false, false, true, true, false, false, true]),
        ];
        for (ranges, wanted) in cases {
            let ranges: Vec<Range<usize>> = ranges.iter().map(|(start, end)| *start..*end).collect();
            assert_eq!(overlapping(&offsets, &ranges), wanted, "{ranges:?}");
        }
    }

    #[test]
    fn ranges_by_prefixes_are_what_a_turn_adds() {
        let origin = Origin::new("a.jsonl", 3);
        let messages = [
            Message::new("user", "q"),
            Message::new("assistant", "a"),
            Message::new("user", "r"),
            Message::new("assistant", "b"),
        ];
        let turns = "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }};{% endfor %}";
        let header = "{% if add_generation_prompt %}<a>{% endif %}";
        let cases = [
            (format!("{turns}{header}"), Ok(vec![8..10, 18..20])),
            // Without a header the whole turn is the assistant's.
            (turns.to_owned(), Ok(vec![5..10, 15..20])),
            // The end appears only at the end, so the first turn is no beginning of the whole.
            (
                format!("{turns}{header}{{% if not add_generation_prompt %}}$$${{% endif %}}"),
                Err(
                    "a.jsonl:3: cannot tell which tokens are the assistant's: rendered up to messages[1], the \
                     conversation is not a beginning of the whole; the chat template needs {% generation %} tags \
                     around the assistant's text",
                ),
            ),
            (
                format!(
                    "{{% if messages | length < 2 %}}{{{{ raise_exception('too short') }}}}{{% endif %}}{turns}"
                ),
                Err("too short"),
            ),
        ];
        for (source, wanted) in cases {
            let template = ChatTemplate::parse(&source, None, None).unwrap_or_else(|error| panic!("{error}"));
            let text = template.render(&messages, false).map(|rendered| rendered.text);
            let text = text.unwrap_or_else(|error| panic!("{error}"));
            let found = ranges_by_prefixes(&template, &messages, &[], &text, &origin);
            match (found, wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{source}"),
                (Err(found), Err(wanted)) => {
                    let found = found.to_string();
                    assert!(found.starts_with("a.jsonl:3: ") && found.contains(wanted), "{found}");
                }
                (found, wanted) => panic!("{source}: {found:?}, wanted {wanted:?}"),
            }
        }
    }

    #[test]
    fn an_untrained_end_is_found() {
        let special = |id: u32| id >= 100;
        let cases = [
            ([1, 2, 100, 3], [false, true, false, false], true),
            ([1, 2, 100, 3], [false, true, true, false], false),
            ([1, 100, 3, 101], [false, true, true, false], false),
            ([1, 2, 3, 100], [false, true, false, false], false),
            ([1, 2, 3, 4], [false, true, true, true], false),
            ([100, 101, 2, 101], [true, false, true, false], true),
        ];
        for (ids, mask, wanted) in cases {
            assert_eq!(ends_untrained(&ids, &mask, special), wanted, "{ids:?} {mask:?}");
        }
    }
}
