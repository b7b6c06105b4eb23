use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::Regex;

use crate::clean::rule::{Rule, Scratch};
use crate::clean::settings::settings;

settings! {
    /// Removes lines that web pages put around their text: cookies, subscriptions, sharing, copyright, navigation.
    BoilerplateLines = "boilerplate_lines" {
        /// Use the built-in English phrases.
        english / with_english: bool = true,
        /// Further phrases; in ASCII without regard to case.
        phrases / with_phrases: Vec<String> = Vec::new(),
        /// Regular expressions; a line with a match is removed whatever its length.
        patterns / with_patterns: Vec<String> = Vec::new(),
        /// Lines with more characters are text and stay, whatever phrases they hold.
        max_characters / with_max_characters: usize = 120,
    }
}

/// What boilerplate says.
const ENGLISH: [&str; 45] = [
    "accept all cookies",
    "accept cookies",
    "all rights reserved",
    "back to top",
    "by continuing to use this site",
    "click here to",
    "cookie policy",
    "cookie settings",
    "create an account",
    "follow us on",
    "forgot your password",
    "get the latest news",
    "home about contact",
    "home | about",
    "join our mailing list",
    "leave a comment",
    "leave a reply",
    "log in to comment",
    "no comments yet",
    "please enable javascript",
    "posted in uncategorized",
    "powered by wordpress",
    "previous post",
    "next post",
    "print this page",
    "privacy policy",
    "read more »",
    "related posts",
    "share on facebook",
    "share on linkedin",
    "share on twitter",
    "share this article",
    "share this post",
    "share this:",
    "sign in to continue",
    "sign up for our newsletter",
    "skip to content",
    "skip to main content",
    "subscribe to our newsletter",
    "terms and conditions",
    "terms of service",
    "terms of use",
    "this site uses cookies",
    "we use cookies",
    "your email address will not be published",
];

/// [`BoilerplateLines`] with its phrases and expressions compiled.
#[derive(Debug)]
pub(in crate::clean) struct LineFinder {
    phrases: AhoCorasick,
    patterns: Vec<Regex>,
    max_characters: usize,
}

impl LineFinder {
    /// The finder, or what is wrong with the phrases or patterns.
    pub(in crate::clean) fn new(settings: &BoilerplateLines) -> Result<Self, String> {
        let english = if settings.english { &ENGLISH[..] } else { &[] };
        let own = settings.phrases.iter().map(String::as_str).filter(|phrase| !phrase.is_empty());
        let own_count = settings.phrases.len();
        let phrases = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            // Few patterns at most, and without regard to case no prefilter helps.
            .kind((own_count < 500).then_some(AhoCorasickKind::DFA))
            .build(english.iter().copied().chain(own))
            .map_err(|error| error.to_string())?;
        let patterns: Result<Vec<Regex>, regex::Error> =
            settings.patterns.iter().map(|pattern| Regex::new(pattern)).collect();
        let patterns = patterns.map_err(|error| error.to_string())?;
        Ok(Self { phrases, patterns, max_characters: settings.max_characters })
    }

    fn is_boilerplate(&self, line: &str) -> bool {
        let most = self.max_characters;
        let is_short = || line.len() <= most || (line.len() / 4 <= most && line.chars().count() <= most);
        self.patterns.iter().any(|pattern| pattern.is_match(line))
            || (is_short() && self.phrases.is_match(line))
    }
}

impl Rule for LineFinder {
    fn edits(&self) -> bool {
        true
    }

    fn edit(&self, text: &str, _scratch: &mut Scratch) -> Option<String> {
        if !text.split('\n').any(|line| self.is_boilerplate(line)) {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let (mut kept, mut removed) = (0, 0);
        for line in text.split('\n') {
            if self.is_boilerplate(line) {
                removed += 1;
                continue;
            }
            if kept > 0 {
                out.push('\n');
            }
            out.push_str(line);
            kept += 1;
        }
        (removed > 0).then_some(out)
    }
}
