//! What templates of tasks have beside Jinja's own.

use std::collections::BTreeMap;

use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};
use minijinja::{escape_formatter, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::tagging::{TagReading, TagScheme, TaggingConfig, detect_scheme};

/// What one rendering may cost, in instructions or in 64 bytes of text: 128 MB.
const MAX_FUEL: u64 = 2_000_000;

/// Deeper values can only be loops that a template built.
const MAX_DEPTH: usize = 100;

/// The widest indentation of `tojson`.
const MAX_INDENT: usize = 16;

/// Jinja as lm-eval sets it up: strict, nothing escaped, line breaks at the end of templates kept.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.unwrap_or_else(|error| unreachable!("the default delimiters: {error:#}")));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_formatter(write);
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_filter("entities", entities);
    environment
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Writes texts, numbers and truth values only: what Jinja makes of the others is never meant.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => Err(refused("a null is no text; give one for it: {{ column or \"\" }}")),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Err(refused(format!(
            "{} is no text; join its items, {{{{ column | join(\", \") }}}}, or write it as JSON, \
             {{{{ column | tojson }}}}",
            if value.kind() == ValueKind::Map { "an object" } else { "a list" }
        ))),
        _ => escape_formatter(out, state, value),
    }
}

/// Python's methods, `index` of lists among them.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.kind(), name, args) {
        (ValueKind::Seq, "index", [wanted]) => {
            let at = value.try_iter()?.position(|item| item == *wanted);
            at.map(Value::from).ok_or_else(|| refused(format!("index: {wanted} is not in the list")))
        }
        _ => unknown_method_callback(state, value, name, args),
    }
}

/// As Python's `json.dumps(value, ensure_ascii=False)`; `indent` may be given.
fn to_json(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    options.assert_all_used()?;
    let json = plain(state, value, 0)?;
    let text = match indent {
        None => print(&json, Spaced),
        Some(indent) if indent <= MAX_INDENT => {
            print(&json, PrettyFormatter::with_indent(" ".repeat(indent).as_bytes()))
        }
        Some(indent) => {
            return Err(refused(format!("tojson: indent is {indent}; wanted at most {MAX_INDENT}")));
        }
    };
    Ok(Value::from(text))
}

/// The value as JSON, paid for node by node: templates can build lists that hold themselves many times over.
fn plain(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<Json, Error> {
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Err(refused(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::Seq | ValueKind::Iterable => Ok(Json::Array(
            value.try_iter()?.map(|item| plain(state, &item, depth + 1)).collect::<Result<_, _>>()?,
        )),
        ValueKind::Map => {
            let pair = |key: Value| {
                let item = plain(state, &value.get_item(&key)?, depth + 1)?;
                Ok((key.as_str().map_or_else(|| key.to_string(), str::to_owned), item))
            };
            Ok(Json::Object(value.try_iter()?.map(pair).collect::<Result<_, Error>>()?))
        }
        _ => serde_json::to_value(value).map_err(|error| refused(format!("tojson: {error}"))),
    }
}

/// `, ` and `: ` as Python has them.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

fn print(json: &Json, formatter: impl Formatter) -> String {
    let mut bytes = Vec::new();
    let written = serde::Serialize::serialize(json, &mut Serializer::with_formatter(&mut bytes, formatter));
    written.unwrap_or_else(|error| unreachable!("JSON into memory: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The entities of tagged tokens, `{type: [texts]}`, types by name, texts in order, tokens joined by spaces.
///
/// Without `scheme` BILOU is told by its L and U; all others read as CoNLL's evaluation script reads them.
fn entities(tokens: &Value, tags: &Value, options: Kwargs) -> Result<Value, Error> {
    let scheme = options.get::<Option<&str>>("scheme")?;
    options.assert_all_used()?;
    let (tokens, tags) = (texts("tokens", tokens)?, texts("tags", tags)?);
    if tokens.len() != tags.len() {
        return Err(refused(format!("entities: found {} tokens and {} tags", tokens.len(), tags.len())));
    }
    let sentence = [tags];
    let config = match scheme {
        Some(name) => TaggingConfig::strict(scheme_named(name)?),
        None => match detect_scheme(&sentence, Default::default()) {
            Some(TagScheme::Bilou) => TaggingConfig::strict(TagScheme::Bilou),
            _ => TaggingConfig { reading: TagReading::Lenient, ..TaggingConfig::default() },
        },
    };
    let spans = config.spans(&sentence).map_err(|error| refused(format!("entities: {error}")))?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for span in spans {
        found.entry(span.label).or_default().push(tokens[span.start..span.end].join(" "));
    }
    Ok(Value::from(Serde(found)))
}

fn scheme_named(name: &str) -> Result<TagScheme, Error> {
    serde_json::from_value(name.to_ascii_uppercase().into()).map_err(|_| {
        refused(format!("entities: found scheme `{name}`, wanted IOB1, IOB2, IOE1, IOE2, IOBES or BILOU"))
    })
}

fn texts(what: &str, values: &Value) -> Result<Vec<String>, Error> {
    match values.kind() {
        ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
        ValueKind::Seq | ValueKind::Iterable => {}
        other => return Err(refused(format!("entities: {what} are a {other}, wanted a list of texts"))),
    }
    let text = |(at, value): (usize, Value)| match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(refused(format!("entities: item {at} of {what} is {value}, wanted a text"))),
    };
    values.try_iter()?.enumerate().map(text).collect()
}
