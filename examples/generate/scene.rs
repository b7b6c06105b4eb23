//! Templates with slots.
//!
//! A template is plain text with two kinds of marks:
//!
//! * `[one|two|]`: one of the alternatives, each equally likely, possibly nothing. They may hold slots, not
//!   further alternatives;
//! * `{name}`: a value, drawn from the word list or generator of that name on first use and the same from then
//!   on, so `{person}` twice is one person. Digits at the end make another value of the same kind (`{person2}`).
//!   `{Name}` is the value with a capital letter; `{a name}` and `{A name}` put the article before it.

use super::names::Realm;
use super::rng::Rng;
use super::words;

/// The values of one text and the random numbers they come from.
#[derive(Debug)]
pub(crate) struct Scene {
    rng: Rng,
    realm: Realm,
    values: Vec<(String, String)>,
}

impl Scene {
    pub(crate) fn new(rng: Rng, realm: Realm) -> Self {
        Self { rng, realm, values: Vec::new() }
    }

    /// A scene without values yet, whose random numbers continue this one's.
    pub(crate) fn another(&mut self) -> Self {
        Self::new(Rng::new(self.rng.next_u64()), self.realm)
    }

    /// How many things a text holds: mostly `low` to `high`, in one text of four up to twice as many.
    pub(crate) fn some(&mut self, low: usize, high: usize) -> usize {
        if self.rng.chance(25) { self.rng.between(high + 1, 2 * high) } else { self.rng.between(low, high) }
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Gives the slot this value.
    pub(crate) fn set(&mut self, slot: &str, value: impl Into<String>) {
        let value = value.into();
        match self.values.iter_mut().find(|(name, _)| name == slot) {
            Some((_, old)) => *old = value,
            None => self.values.push((slot.to_owned(), value)),
        }
    }

    /// The value of the slot, drawn now if it has none.
    ///
    /// # Panics
    ///
    /// If there is no word list or generator of that name: the template tables and `words` disagree.
    pub(crate) fn value(&mut self, slot: &str) -> String {
        if let Some((_, value)) = self.values.iter().find(|(name, _)| name == slot) {
            return value.clone();
        }
        if ["he", "his", "him"].contains(&slot) {
            let forms = if self.rng.chance(50) { ["he", "his", "him"] } else { ["she", "her", "her"] };
            for (name, form) in ["he", "his", "him"].iter().zip(forms) {
                self.set(name, form);
            }
            return self.value(slot);
        }
        let kind = slot.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut value = String::new();
        // Two people of one name would make the answer ambiguous; short lists may run out of other values.
        for _ in 0..20 {
            value = words::draw(kind, &mut self.rng, self.realm)
                .unwrap_or_else(|| panic!("no word list or generator is called {kind:?}"));
            if self.values.iter().all(|(_, other)| *other != value) {
                break;
            }
        }
        self.set(slot, value.clone());
        value
    }

    /// One of the templates, filled in.
    pub(crate) fn pick(&mut self, templates: &[&str]) -> String {
        let template = *self.rng.choose(templates);
        self.render(template)
    }

    /// The template with every mark replaced.
    ///
    /// # Panics
    ///
    /// If a bracket or brace is not closed.
    pub(crate) fn render(&mut self, template: &str) -> String {
        let plain = self.alternatives(template);
        replace(&plain, ('{', '}'), |slot| self.slot(slot))
    }

    fn alternatives(&mut self, template: &str) -> String {
        replace(template, ('[', ']'), |inside| {
            let options: Vec<&str> = inside.split('|').collect();
            (*self.rng.choose(&options)).to_owned()
        })
    }

    fn slot(&mut self, slot: &str) -> String {
        if let Some(inside) = slot.strip_prefix("a ") {
            let value = self.value(inside);
            return format!("{} {value}", article(&value));
        }
        if let Some(inside) = slot.strip_prefix("A ") {
            let value = self.value(inside);
            return format!("{} {value}", capitalised(article(&value)));
        }
        if slot.starts_with(|c: char| c.is_ascii_uppercase()) {
            let mut name = slot.to_owned();
            name[..1].make_ascii_lowercase();
            return capitalised(&self.value(&name));
        }
        self.value(slot)
    }
}

/// The slots that a template names, in order, without article and in small letters.
pub(crate) fn slots(template: &str) -> Vec<String> {
    let mut found = Vec::new();
    replace(template, ('{', '}'), |slot| {
        let slot = slot.strip_prefix("a ").or_else(|| slot.strip_prefix("A ")).unwrap_or(slot);
        found.push(slot.to_ascii_lowercase());
        String::new()
    });
    found
}

/// Replaces everything between the two marks, the marks included, by what `by` makes of the inside.
fn replace(text: &str, marks: (char, char), mut by: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(marks.0) {
        let (inside, behind) =
            after.split_once(marks.1).unwrap_or_else(|| panic!("{:?} is not closed in {text:?}", marks.0));
        out.push_str(before);
        out.push_str(&by(inside));
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" }
}

/// The text with its first letter made a capital.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(seed: u64) -> Scene {
        Scene::new(Rng::new(seed), Realm::General)
    }

    #[test]
    fn slots_keep_their_value() {
        let mut scene = scene(1);
        scene.set("place", "Elmford");
        let text = scene.render("{person} of {place} met {person2}. {person} smiled.");
        let (person, other) = (scene.value("person"), scene.value("person2"));
        assert_ne!(person, other);
        assert_eq!(text, format!("{person} of Elmford met {other}. {person} smiled."));
    }

    #[test]
    fn articles_capitals_and_alternatives() {
        let mut scene = scene(2);
        scene.set("animal", "owl");
        scene.set("object", "lamp");
        assert_eq!(scene.render("{A animal}, {a object}, {Object}."), "An owl, a lamp, Lamp.");
        let texts: std::collections::BTreeSet<String> =
            (0..40).map(|_| scene.render("[the|a {object}|]!")).collect();
        assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["!", "a lamp!", "the!"]);
    }

    #[test]
    fn pronouns_agree() {
        for seed in 0..20 {
            let text = scene(seed).render("{He} found {his} hat.");
            assert!(["He found his hat.", "She found her hat."].contains(&text.as_str()), "{text}");
        }
    }

    #[test]
    fn slot_names_are_listed() {
        assert_eq!(slots("{A animal} and {place2}, {Object}"), ["animal", "place2", "object"]);
    }

    #[test]
    #[should_panic(expected = "no word list or generator is called \"nothing\"")]
    fn an_unknown_slot_is_a_mistake() {
        scene(1).render("{nothing}");
    }
}
