//! Reading run files, overriding single fields, and the file that shows every field.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Number, Value};
use toml::de::{DeInteger, DeTable, DeValue};

use crate::config::{
    Field, Kind, Need, RunConfig, SECTIONS, check_fields, describe, nearest_field, normalise,
};
use crate::error::{ConfigProblem, TrainError};

const REFERENCE_HEAD: &str = "\
# A Burnisher run file with every field. A field that is not commented out is required or shows its
# default; one that is commented out has no default and shows an example. Relative paths count from the
# working directory. The same fields can be written as YAML.
";

impl RunConfig {
    /// Reads and checks a run file: TOML if its name ends in `.toml`, YAML if in `.yaml` or `.yml`.
    ///
    /// # Errors
    ///
    /// [`TrainError::ConfigFile`] with all unknown and missing fields and all wrong types, and if there
    /// are none with all values that cannot be used; [`TrainError::ConfigSyntax`],
    /// [`TrainError::ConfigFormat`] or [`TrainError::Io`] for a file that cannot be read as either.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        Self::from_file_with::<&str>(path, &[])
    }

    /// As [`RunConfig::from_file`], with overrides such as `train.max_steps=100` that are applied to
    /// what the file says before it is checked.
    ///
    /// # Errors
    ///
    /// As [`RunConfig::from_file`], and [`TrainError::Override`] for the first override that names no
    /// field.
    pub fn from_file_with<S: AsRef<str>>(
        path: impl AsRef<Path>,
        overrides: &[S],
    ) -> Result<Self, TrainError> {
        let path = path.as_ref();
        let mut root = read(path)?;
        for text in overrides {
            let text = text.as_ref();
            apply(&mut root, text)
                .map_err(|problem| TrainError::Override { text: text.to_owned(), problems: vec![problem] })?;
        }
        let run = from_value(root);
        run.and_then(|run| {
            let problems = run.problems();
            if problems.is_empty() { Ok(run) } else { Err(problems) }
        })
        .map_err(|problems| TrainError::ConfigFile { path: path.to_path_buf(), problems })
    }

    /// Sets one field, as `section.field=value` with the value as TOML writes it; text needs no quotes.
    /// Only the type of the value is checked: [`RunConfig::validate`] checks the rest.
    ///
    /// ```
    /// # use burnisher_train::RunConfig;
    /// let mut run = RunConfig::new("base-model", "train.jsonl", "out");
    /// run.set("train.learning_rate=1e-4")?;
    /// run.set("data.columns.prompt=question")?;
    /// assert_eq!(run.train.learning_rate, 1e-4);
    /// # Ok::<(), burnisher_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrainError::Override`] for an unknown field or a value of the wrong type; nothing is changed.
    pub fn set(&mut self, text: &str) -> Result<(), TrainError> {
        let failed = |problems| TrainError::Override { text: text.to_owned(), problems };
        let mut root = serde_json::to_value(&*self)
            .map_err(|error| failed(vec![ConfigProblem::value("configuration", error, "UTF-8 paths")]))?;
        apply(&mut root, text).map_err(|problem| failed(vec![problem]))?;
        *self = from_value(root).map_err(failed)?;
        Ok(())
    }

    /// A TOML run file with every field, its meaning, and its default or an example.
    pub fn reference_toml() -> String {
        let mut text = REFERENCE_HEAD.to_owned();
        for section in SECTIONS {
            // Nested sections are optional; they are shown commented out.
            let mark = if section.name.contains('.') { "# " } else { "" };
            let _ = writeln!(text, "\n# {}\n{mark}[{}]\n", section.doc, section.name);
            for field in section.fields.iter().filter(|field| !matches!(field.kind, Kind::Section(_))) {
                let mark = if field.need == Need::Optional { "# " } else { mark };
                for line in field.doc.lines() {
                    let _ = writeln!(text, "# {line}");
                }
                let required = if field.need == Need::Required { "  # required" } else { "" };
                let _ = writeln!(text, "{mark}{} = {}{required}\n", field.name, field.value);
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

fn from_value(mut root: Value) -> Result<RunConfig, Vec<ConfigProblem>> {
    normalise(&mut root);
    let problems = check_fields(&root);
    if !problems.is_empty() {
        return Err(problems);
    }
    // The check knows every field and type; what it let through fits but for a number out of range.
    serde_json::from_value(root).map_err(|error| {
        vec![ConfigProblem::value("the file", error, "the fields of RunConfig::reference_toml")]
    })
}

pub(crate) fn read(path: &Path) -> Result<Value, TrainError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let format = match ending.as_str() {
        "toml" => "TOML",
        "yaml" | "yml" => "YAML",
        _ => return Err(TrainError::ConfigFormat { path: path.to_path_buf(), found: ending }),
    };
    let text = fs::read_to_string(path).map_err(|source| TrainError::io("read", path, source))?;
    // YAML 1.1 reads a column named `n` or `no` as false.
    let options = serde_saphyr::options! { strict_booleans: true };
    let parsed = match format {
        "TOML" => parse_toml(&text).map_err(|error| error.to_string()),
        _ => serde_saphyr::from_str_with_options(&text, options).map_err(|error| error.to_string()),
    };
    parsed.map_err(|message| TrainError::ConfigSyntax { path: path.to_path_buf(), format, message })
}

fn parse_toml(text: &str) -> Result<Value, toml::de::Error> {
    Ok(from_toml_table(DeTable::parse(text)?.get_ref()))
}

/// The fields in the order of the text, which counts in `rank_pattern`; the parser sorts them by name.
fn from_toml_table(table: &DeTable<'_>) -> Value {
    let mut fields: Vec<_> = table.iter().collect();
    fields.sort_by_key(|(key, _)| key.span().start);
    let fields =
        fields.into_iter().map(|(key, value)| (key.get_ref().to_string(), from_toml(value.get_ref())));
    Value::Object(fields.collect())
}

/// What JSON cannot hold (dates, infinities, huge numbers) becomes text, which the check refuses.
fn from_toml(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => from_toml_integer(number),
        DeValue::Float(number) => {
            let text = number.as_str();
            let finite = text.parse::<f64>().ok().and_then(Number::from_f64);
            finite.map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(moment) => Value::String(moment.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| from_toml(item.get_ref())).collect()),
        DeValue::Table(table) => from_toml_table(table),
    }
}

fn from_toml_integer(number: &DeInteger<'_>) -> Value {
    let (text, radix) = (number.as_str(), number.radix());
    if let Ok(number) = u64::from_str_radix(text, radix) {
        Value::from(number)
    } else if let Ok(number) = i64::from_str_radix(text, radix) {
        Value::from(number)
    } else {
        Value::String(text.to_owned())
    }
}

/// Puts the value of `section.field=value` into `root`.
fn apply(root: &mut Value, text: &str) -> Result<(), ConfigProblem> {
    let Some((target, value)) = text.split_once('=') else {
        return Err(ConfigProblem::value(text.trim(), "no `=`", "section.field=value"));
    };
    let (target, value) = (target.trim(), value.trim());
    let (section, field, key) = find(target)?;
    let value = override_value(field.kind, value);
    normalise(root);
    let mut place = root;
    for step in section.split('.').chain([field.name]).chain(key) {
        if !place.is_object() && !place.is_null() {
            return Err(ConfigProblem::value(target, describe(place), "a table to put it in"));
        }
        place = &mut place[step];
    }
    *place = value;
    Ok(())
}

/// The section, the field and, in a field that is a table, the key that an override names.
fn find(target: &str) -> Result<(&'static str, &'static Field, Option<&str>), ConfigProblem> {
    for section in SECTIONS {
        let Some(rest) = target.strip_prefix(section.name).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        for field in section.fields {
            let Some(rest) = rest.strip_prefix(field.name) else {
                continue;
            };
            if rest.is_empty() {
                return Ok((section.name, field, None));
            }
            let key = rest.strip_prefix('.').filter(|key| !key.is_empty() && is_table(field.kind));
            if key.is_some() {
                return Ok((section.name, field, key));
            }
        }
    }
    let (section, name) = target.rsplit_once('.').unwrap_or(("", target));
    Err(ConfigProblem::UnknownField {
        field: target.to_owned(),
        nearest: nearest_field(section, name, false),
    })
}

fn is_table(kind: Kind) -> bool {
    matches!(kind, Kind::TextMap | Kind::WholeMap | Kind::NumberMap)
}

/// The value of an override: TOML, or bare text where it is none.
fn override_value(kind: Kind, text: &str) -> Value {
    let bare = || Value::String(text.to_owned());
    let may_be_text = matches!(kind, Kind::Path | Kind::Choice(_) | Kind::Targets | Kind::TextMap);
    if may_be_text && !text.starts_with(['"', '\'', '[', '{']) {
        return bare();
    }
    match DeValue::parse(text) {
        Ok(value) => from_toml(value.get_ref()),
        Err(_) => bare(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_keeps_the_order_of_tables() -> Result<(), toml::de::Error> {
        let value = parse_toml(
            "[t]\nz = 1\na = -2\nm = { y = 0x10, b = 1e-3 }\n[s]\nlist = [true, \"x\"]\nbig = inf",
        )?;
        let text = r#"{"t":{"z":1,"a":-2,"m":{"y":16,"b":0.001}},"s":{"list":[true,"x"],"big":"inf"}}"#;
        assert_eq!(value.to_string(), text);
        Ok(())
    }

    #[test]
    fn values_of_overrides_by_table() {
        let cases = [
            (Kind::Whole, "100", "100"),
            (Kind::Number, "2e-4", "0.0002"),
            (Kind::Flag, "true", "true"),
            (Kind::Flag, "yes", "\"yes\""),
            (Kind::Path, "out/1", "\"out/1\""),
            (Kind::Path, "2024", "\"2024\""),
            (Kind::Path, "\"a b\"", "\"a b\""),
            (Kind::Targets, "all-linear", "\"all-linear\""),
            (Kind::Targets, ".*q_proj", "\".*q_proj\""),
            (Kind::Targets, "[\"q_proj\"]", "[\"q_proj\"]"),
            (Kind::TextMap, "{ prompt = \"q\" }", "{\"prompt\":\"q\"}"),
            (Kind::Whole, "4 5", "\"4 5\""),
        ];
        for (kind, text, json) in cases {
            assert_eq!(override_value(kind, text).to_string(), json, "{kind:?} {text}");
        }
    }
}
