//! `{% generation %}` … `{% endgeneration %}`: the tags that mark assistant text.
//!
//! The engine has no custom tags. A `{% filter %}` block has the same shape, and white space around it is handled as
//! around any block tag; so the tags are rewritten to one whose filter puts a sentinel on either side.

use std::ops::Range;

/// The filter that the tags are rewritten to.
pub(super) const FILTER: &str = "burnisher_assistant_text";

/// Private-use characters at the end of Unicode, which no known font or data set uses.
const OPEN: char = '\u{10FFF0}';
const CLOSE: char = '\u{10FFF1}';

/// Puts the sentinels around assistant text: the filter's body.
pub(super) fn mark(text: String) -> String {
    format!("{OPEN}{text}{CLOSE}")
}

/// The sentinel that a text holds, if it holds one.
pub(super) fn find_sentinel(text: &str) -> Option<char> {
    text.chars().find(|letter| [OPEN, CLOSE].contains(letter))
}

/// The template with filter blocks in place of the generation tags; `None` if it has none.
///
/// Tags inside comments, raw blocks and string literals are left alone.
pub(super) fn rewrite(source: &str) -> Option<String> {
    let mut out = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    let mut at = 0;
    while let Some(start) = next_tag(source, at) {
        let inside = start + 2;
        at = match source.as_bytes()[start + 1] {
            b'#' => source[inside..].find("#}").map_or(source.len(), |end| inside + end + 2),
            b'{' => end_of_tag(source, inside, b"}}"),
            _ => {
                let name = tag_name(source, inside);
                let end = end_of_tag(source, inside, b"%}");
                let replacement = match &source[name.clone()] {
                    "generation" => Some(format!("filter {FILTER}")),
                    "endgeneration" => Some("endfilter".to_owned()),
                    _ => None,
                };
                if let Some(replacement) = replacement {
                    out.push_str(&source[copied..name.start]);
                    out.push_str(&replacement);
                    copied = name.end;
                }
                if &source[name] == "raw" { end_of_raw(source, end) } else { end }
            }
        };
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&source[copied..]);
    Some(out)
}

/// Takes the sentinels out of rendered text: the text and the byte ranges that stood between them, in order.
///
/// `None` if they do not pair up, which happens only if the template cuts marked text apart.
pub(super) fn take_ranges(rendered: &str) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(rendered.len());
    let mut ranges = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for letter in rendered.chars() {
        match letter {
            OPEN => {
                if depth == 0 {
                    start = text.len();
                }
                depth += 1;
            }
            CLOSE => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && start < text.len() {
                    ranges.push(start..text.len());
                }
            }
            letter => text.push(letter),
        }
    }
    (depth == 0).then_some((text, ranges))
}

/// Where the next `{{`, `{%` or `{#` begins.
fn next_tag(source: &str, from: usize) -> Option<usize> {
    let mut pairs = source.as_bytes()[from..].windows(2);
    pairs.position(|pair| pair[0] == b'{' && b"{%#".contains(&pair[1])).map(|start| from + start)
}

/// The first word of a block tag, behind white space and a white space mark.
fn tag_name(source: &str, from: usize) -> Range<usize> {
    let bytes = source.as_bytes();
    let mut start = from;
    if matches!(bytes.get(start), Some(b'-' | b'+')) {
        start += 1;
    }
    while bytes.get(start).is_some_and(u8::is_ascii_whitespace) {
        start += 1;
    }
    let mut end = start;
    while bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        end += 1;
    }
    start..end
}

/// Behind the end of the tag that `from` is in; string literals and brackets may hold what looks like an end.
fn end_of_tag(source: &str, from: usize, close: &[u8; 2]) -> usize {
    let bytes = source.as_bytes();
    let (mut at, mut depth, mut quote) = (from, 0_usize, None);
    while at < bytes.len() {
        let byte = bytes[at];
        if let Some(mark) = quote {
            match byte {
                b'\\' => at += 1,
                byte if byte == mark => quote = None,
                _ => {}
            }
        } else if depth == 0 && bytes[at..].starts_with(close) {
            return at + close.len();
        } else {
            match byte {
                b'\'' | b'"' => quote = Some(byte),
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        at += 1;
    }
    bytes.len()
}

/// Behind the `{% endraw %}` of the raw block that `from` is in.
fn end_of_raw(source: &str, mut from: usize) -> usize {
    while let Some(start) = source[from..].find("{%") {
        let inside = from + start + 2;
        let name = tag_name(source, inside);
        if &source[name.clone()] == "endraw" {
            return end_of_tag(source, name.end, b"%}");
        }
        from = inside;
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_tags_are_rewritten() {
        let cases = [
            ("{% generation %}a{% endgeneration %}", "{% filter F %}a{% endfilter %}"),
            ("{%- generation -%} a {%-endgeneration+%}", "{%- filter F -%} a {%-endfilter+%}"),
            (
                "{#- {% generation %} -#}{%generation%}{{ x }}{%endgeneration%}",
                "{#- {% generation %} -#}{%filter F%}{{ x }}{%endfilter%}",
            ),
            (
                "{{ '{% generation %}' }}{% set x = \"%}\\\"{% generation %}\" %}{% generation %}{% endgeneration %}",
                "{{ '{% generation %}' }}{% set x = \"%}\\\"{% generation %}\" %}{% filter F %}{% endfilter %}",
            ),
            (
                "{% raw %}{% generation %}{%- endraw -%}{% generation %}{% endgeneration %}",
                "{% raw %}{% generation %}{%- endraw -%}{% filter F %}{% endfilter %}",
            ),
            (
                "{{ {'a': {}} }}{% if {'a': '}'} %}{% generation %}é{% endgeneration %}{% endif %}",
                "{{ {'a': {}} }}{% if {'a': '}'} %}{% filter F %}é{% endfilter %}{% endif %}",
            ),
        ];
        for (source, wanted) in cases {
            assert_eq!(rewrite(source), Some(wanted.replace('F', FILTER)), "{source}");
        }
        for source in [
            "",
            "{",
            "{{",
            "{% generation_prompt %}",
            "{# {% generation %} #}{% if add_generation_prompt %}{% endif %}",
            "{{ 'open",
            "{% raw %}{% generation %}",
            "a {# never closed {% generation %}",
            "{% set x = 'é\\",
        ] {
            assert_eq!(rewrite(source), None, "{source}");
        }
    }

    #[test]
    fn ranges_are_byte_ranges_of_the_text_without_sentinels() {
        let cases = [
            (
                format!("é{OPEN}bü{CLOSE} c {OPEN}{CLOSE}d{OPEN}e{CLOSE}"),
                Some(("ébü c de", vec![2..5, 9..10])),
            ),
            (format!("{OPEN}a{OPEN}b{CLOSE}{CLOSE}{OPEN}c{CLOSE}"), Some(("abc", vec![0..2, 2..3]))),
            (format!("a{OPEN}b"), None),
            (format!("a{CLOSE}b{OPEN}"), None),
        ];
        for (rendered, wanted) in cases {
            let wanted = wanted.map(|(text, ranges)| (text.to_owned(), ranges));
            assert_eq!(take_ranges(&rendered), wanted, "{rendered:?}");
        }
        assert_eq!(find_sentinel(&mark("a".to_owned())), Some(OPEN));
        assert_eq!(find_sentinel("a\u{F0001}"), None);
    }
}
