//! PEFT's matching rules over module paths, compiled.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    config::LoraConfig,
    error::LoraError,
    target::{ModuleInfo, ModuleKind, TargetModules},
};

/// How a module was chosen: by its whole path in a list, or otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    WholePath,
    Pattern,
}

/// A [`TargetModules`] ready to match.
#[derive(Debug)]
pub(crate) enum Matcher {
    Entries(Vec<String>),
    Regex(Regex),
    AllLinear,
}

impl Matcher {
    pub(crate) fn new(field: &str, targets: &TargetModules) -> Result<Self, LoraError> {
        Ok(match targets {
            TargetModules::Suffixes(entries) => Self::Entries(entries.clone()),
            TargetModules::Regex(pattern) => Self::Regex(full_regex(field, pattern)?),
            TargetModules::AllLinear => Self::AllLinear,
        })
    }

    pub(crate) fn hit(&self, module: &ModuleInfo) -> Option<Hit> {
        let path = module.path.as_str();
        let pattern = match self {
            Self::Entries(entries) if entries.iter().any(|entry| entry == path) => {
                return Some(Hit::WholePath);
            }
            Self::Entries(entries) => entries.iter().any(|entry| ends_in(path, entry)),
            Self::Regex(regex) => regex.is_match(path),
            Self::AllLinear => module.kind == ModuleKind::Linear,
        };
        pattern.then_some(Hit::Pattern)
    }

    /// Every entry by itself has to match something.
    pub(crate) fn check_used(&self, field: &str, modules: &[ModuleInfo]) -> Result<(), LoraError> {
        let unused: Vec<String> = match self {
            Self::Entries(entries) => entries
                .iter()
                .filter(|entry| !modules.iter().any(|m| m.path == **entry || ends_in(&m.path, entry)))
                .cloned()
                .collect(),
            _ if modules.iter().any(|module| self.hit(module).is_some()) => Vec::new(),
            // The pattern without the anchors that `full_regex` put around it.
            Self::Regex(regex) => {
                let pattern = regex.as_str();
                vec![
                    pattern
                        .strip_prefix(FULL.0)
                        .and_then(|p| p.strip_suffix(FULL.1))
                        .unwrap_or(pattern)
                        .into(),
                ]
            }
            Self::AllLinear => vec!["all-linear".into()],
        };
        if unused.is_empty() { Ok(()) } else { Err(no_target(field, unused, modules)) }
    }
}

/// `layers_to_transform` and `layers_pattern`, ready to match.
#[derive(Debug)]
pub(crate) struct Layers {
    /// `None`: every layer.
    numbers: Option<BTreeSet<usize>>,
    regexes: Vec<Regex>,
}

impl Layers {
    pub(crate) fn new(
        wanted: &[usize],
        patterns: &[String],
        modules: &[ModuleInfo],
    ) -> Result<Self, LoraError> {
        if wanted.is_empty() {
            return Ok(Self { numbers: None, regexes: Vec::new() });
        }
        let mut patterns = patterns.to_vec();
        let named = !patterns.is_empty();
        if !named {
            patterns.push("[^.]*".into());
        }
        let regexes = patterns.iter().map(|p| layer_regex(p)).collect::<Result<Vec<_>, LoraError>>()?;
        let unused: Vec<String> = regexes
            .iter()
            .zip(&patterns)
            .filter(|(regex, _)| !modules.iter().any(|module| regex.is_match(&module.path)))
            .map(|(_, pattern)| pattern.clone())
            .collect();
        if named && !unused.is_empty() {
            return Err(no_target("layers_pattern", unused, modules));
        }
        let layers = Self { numbers: Some(wanted.iter().copied().collect()), regexes };
        let there: BTreeSet<usize> =
            modules.iter().filter_map(|module| layers.number(&module.path)).collect();
        let unused: Vec<String> =
            wanted.iter().filter(|number| !there.contains(*number)).map(usize::to_string).collect();
        if !unused.is_empty() {
            return Err(no_target("layers_to_transform", unused, modules));
        }
        Ok(layers)
    }

    pub(crate) fn contain(&self, path: &str) -> bool {
        match &self.numbers {
            None => true,
            Some(numbers) => self.number(path).is_some_and(|number| numbers.contains(&number)),
        }
    }

    /// The layer a path lies in: the first pattern that matches says.
    fn number(&self, path: &str) -> Option<usize> {
        let captures = self.regexes.iter().find_map(|regex| regex.captures(path))?;
        captures.name("layer")?.as_str().parse().ok()
    }
}

/// `rank_pattern` and `alpha_pattern`, compiled.
#[derive(Debug)]
pub(crate) struct ScalingRules<'a> {
    config: &'a LoraConfig,
    ranks: Vec<Regex>,
    alphas: Vec<Regex>,
}

impl<'a> ScalingRules<'a> {
    pub(crate) fn new(config: &'a LoraConfig) -> Result<Self, LoraError> {
        let ranks = config.rank_pattern.iter().map(|(key, _)| pattern_regex("rank_pattern", key));
        let alphas = config.alpha_pattern.iter().map(|(key, _)| pattern_regex("alpha_pattern", key));
        Ok(Self {
            config,
            ranks: ranks.collect::<Result<_, _>>()?,
            alphas: alphas.collect::<Result<_, _>>()?,
        })
    }

    /// Rank, alpha and scaling of the module at `path`.
    pub(crate) fn of(&self, path: &str) -> (usize, f64, f64) {
        let rank = self.ranks.iter().position(|regex| regex.is_match(path));
        let alpha = self.alphas.iter().position(|regex| regex.is_match(path));
        let r = rank.map_or(self.config.r, |index| self.config.rank_pattern[index].1);
        let alpha = alpha.map_or(self.config.lora_alpha, |index| self.config.alpha_pattern[index].1);
        let divisor = if self.config.use_rslora { (r as f64).sqrt() } else { r as f64 };
        (r, alpha, alpha / divisor)
    }

    /// The keys of a pattern field that match none of `paths`, with the field's name.
    pub(crate) fn unused(&self, paths: &[&str]) -> [(&'static str, Vec<String>); 2] {
        let unused = |regexes: &[Regex], keys: Vec<&String>| -> Vec<String> {
            regexes
                .iter()
                .zip(keys)
                .filter(|(regex, _)| !paths.iter().any(|path| regex.is_match(path)))
                .map(|(_, key)| key.clone())
                .collect()
        };
        let ranks = self.config.rank_pattern.iter().map(|(key, _)| key).collect();
        let alphas = self.config.alpha_pattern.iter().map(|(key, _)| key).collect();
        [("rank_pattern", unused(&self.ranks, ranks)), ("alpha_pattern", unused(&self.alphas, alphas))]
    }
}

fn ends_in(path: &str, entry: &str) -> bool {
    path.strip_suffix(entry).is_some_and(|head| head.ends_with('.'))
}

/// The number of the block that a module lies in: the first part of its path that is a number.
pub(crate) fn layer_number(path: &str) -> Option<usize> {
    path.split('.').find_map(|part| part.parse().ok())
}

/// The error for entries that match nothing. Norms are no candidates for an adapter.
pub(crate) fn no_target(field: &str, wanted: Vec<String>, modules: &[ModuleInfo]) -> LoraError {
    let any = field != "target_modules";
    let there = modules.iter().filter(|module| any || module.kind.is_adaptable(true));
    let candidates = there.map(|module| module.path.clone()).collect();
    LoraError::NoTarget { field: field.into(), wanted, candidates }
}

/// What [`full_regex`] puts around a pattern.
const FULL: (&str, &str) = (r"\A(?:", r")\z");

/// Python's `re.fullmatch(pattern, path)`.
pub(crate) fn full_regex(field: &str, pattern: &str) -> Result<Regex, LoraError> {
    compile(field, pattern, &format!("{}{pattern}{}", FULL.0, FULL.1))
}

/// Python's `re.match(rf"(.*\.)?({key})$", path)`: `key` may start with `^`.
pub(crate) fn pattern_regex(field: &str, key: &str) -> Result<Regex, LoraError> {
    compile(field, key, &format!(r"\A(?:.*\.)?(?:{key})\z"))
}

/// Python's `re.match(rf".*?\.{pattern}\.(\d+)\.", path)`; the number is the group `layer`.
pub(crate) fn layer_regex(pattern: &str) -> Result<Regex, LoraError> {
    compile("layers_pattern", pattern, &format!(r"\A.*?\.(?:{pattern})\.(?P<layer>[0-9]+)\."))
}

/// The pattern is compiled alone first: `a)(b` must not be saved by the group around it.
fn compile(field: &str, pattern: &str, anchored: &str) -> Result<Regex, LoraError> {
    Regex::new(pattern).and_then(|_| Regex::new(anchored)).map_err(|error| {
        // The last line says what is wrong; those before it draw where.
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        LoraError::config(
            field,
            format_args!("{pattern:?} ({reason})"),
            "a regular expression without look-around and back-references",
        )
    })
}
