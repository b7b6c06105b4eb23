use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Makes text of HTML, by html2text; needs the feature `html`. Text without a tag or an entity stays as it is.
    Html = "html" {
        /// Columns after which lines are wrapped.
        width / with_width: usize = 10_000,
    }
}

impl Rule for Html {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        if !has_markup(text) {
            return None;
        }
        imp::to_text(text, self.width.max(20)).filter(|new| new != text)
    }
}

impl Html {
    /// Whether this build can run the step.
    pub(in crate::clean) const IS_BUILT: bool = cfg!(feature = "html");
}

/// A tag (`<p`, `</p`, `<!--`) or an entity (`&amp;`, `&#39;`).
fn has_markup(text: &str) -> bool {
    let follows = |mark: char, wanted: fn(u8) -> bool| {
        text.match_indices(mark).any(|(at, _)| text.as_bytes().get(at + 1).is_some_and(|b| wanted(*b)))
    };
    follows('<', |b| b.is_ascii_alphabetic() || b == b'/' || b == b'!')
        || text.match_indices('&').any(|(at, _)| {
            let rest = &text.as_bytes()[at + 1..];
            let name = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'#').count();
            (2..=10).contains(&name) && rest.get(name) == Some(&b';')
        })
}

#[cfg(feature = "html")]
mod imp {
    /// The text of a page, without marks for links and emphasis.
    pub(super) fn to_text(html: &str, width: usize) -> Option<String> {
        html2text::config::plain_no_decorate().string_from_read(html.as_bytes(), width).ok()
    }
}

#[cfg(not(feature = "html"))]
mod imp {
    /// Pipelines with this step are refused when they are built.
    pub(super) fn to_text(_html: &str, _width: usize) -> Option<String> {
        None
    }
}
