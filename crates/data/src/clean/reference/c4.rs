use super::{chars, split_lines, words};
use crate::clean::chars::strip;
use crate::clean::filter::{C4, CITATION, Fate, Phrases, count_sentences};
use crate::clean::rule::Drop;

/// [`C4`] of a whole text.
pub(in crate::clean) fn c4(rule: &C4, text: &str) -> Fate {
    let mut kept: Vec<String> = Vec::new();
    let mut sentences = 0;
    for line in split_lines(text) {
        let words = words(line);
        if rule.max_word_length > 0 && words.iter().any(|word| chars(word) > rule.max_word_length) {
            continue;
        }
        let mut line = strip(line).to_owned();
        if rule.citations {
            line = CITATION.replace_all(&line, "").into_owned();
        }
        let is_ended = line.ends_with(['.', '?', '!', '"', '\'']) && !line.ends_with("...");
        if (rule.terminal_punctuation && !is_ended) || words.len() < rule.min_words_per_line {
            continue;
        }
        let phrases = Phrases::of_reference(&line);
        if rule.lorem_ipsum && phrases.lorem {
            return Fate::Dropped(Drop { reason: "lorem_ipsum".into(), value: 1.0 });
        }
        if rule.javascript && phrases.javascript {
            continue;
        }
        if rule.curly_bracket && line.contains('{') {
            return Fate::Dropped(Drop { reason: "curly_bracket".into(), value: 1.0 });
        }
        if rule.policy && phrases.policy {
            continue;
        }
        if rule.min_sentences > 0 {
            sentences += count_sentences(&line);
        }
        kept.push(line);
    }
    Fate::Kept { text: strip(&kept.join("\n")).to_owned(), sentences }
}
