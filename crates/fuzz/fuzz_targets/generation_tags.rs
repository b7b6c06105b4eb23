//! Generation tags among everything that may hold what looks like one: each byte of the input is a piece of a template.
//!
//! The tags change nothing but the ranges: with blocks that are always taken in their place, the text is the same.
#![no_main]

use burnisher_data::{ChatTemplate, Message};
use libfuzzer_sys::fuzz_target;

/// Pieces of templates. Those with a tag come with what stands in its place.
const PIECES: [(&str, &str); 28] = [
    ("{% generation %}", "{% if true %}"),
    ("{% endgeneration %}", "{% endif %}"),
    ("{%- generation -%}", "{%- if true -%}"),
    ("{%- endgeneration -%}", "{%- endif -%}"),
    ("{%+ generation +%}", "{%+ if true +%}"),
    ("{%+endgeneration+%}", "{%+endif+%}"),
    ("{% for m in messages %}", ""),
    ("{% endfor %}", ""),
    ("{% if loop.first %}", ""),
    ("{% else %}", ""),
    ("{% endif %}", ""),
    ("{{ m.content }}", ""),
    ("{{- m.role -}}", ""),
    ("{{ '%}' }}", ""),
    ("{{ {'a': '}}'}['a'] }}", ""),
    ("{% set x = \"{{ %}\" %}", ""),
    ("{# a comment #}", ""),
    ("{#- a comment -#}", ""),
    ("{% raw %}", ""),
    ("{% endraw %}", ""),
    ("{%", ""),
    ("%}", ""),
    ("'", ""),
    ("\\", ""),
    (" ", ""),
    ("\n", ""),
    ("é", ""),
    ("x", ""),
];

fuzz_target!(|data: &[u8]| {
    let pieces = || data.iter().map(|byte| PIECES[usize::from(*byte) % PIECES.len()]);
    let tagged: String = pieces().map(|(piece, _)| piece).collect();
    let plain: String = pieces().map(|(piece, other)| if other.is_empty() { piece } else { other }).collect();
    let messages = [Message::new("user", "é?"), Message::new("assistant", "yes")];
    let render = |source: &str| ChatTemplate::parse(source, None, None)?.render(&messages, false);
    let Ok(rendered) = render(&tagged) else {
        return;
    };
    let mut end = 0;
    for range in &rendered.assistant {
        assert!(range.start >= end && !rendered.text[range.clone()].is_empty());
        end = range.end;
    }
    // In text, tags are only text.
    if !rendered.text.contains("generation")
        && let Ok(plain) = render(&plain)
    {
        assert_eq!(plain.text, rendered.text, "{tagged:?}");
    }
});
