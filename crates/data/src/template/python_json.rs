//! The filter `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`, no HTML escaping.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values can only be loops that a template built.
const MAX_DEPTH: usize = 200;
/// The widest indentation; a template's author has no use for more.
const MAX_INDENT: i64 = 64;

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(given) => Some(given),
        None => options.get::<Option<Value>>("ensure_ascii")?,
    };
    let indent = options.get::<Option<Value>>("indent")?.map(|indent| indent_text(&indent)).transpose()?;
    let separators = options.get::<Option<Value>>("separators")?;
    let sort_keys = options.get::<Option<Value>>("sort_keys")?;
    options.assert_all_used()?;
    let (item, key) = match separators {
        Some(pair) => (separator(&pair, 0)?, separator(&pair, 1)?),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer {
        state,
        out: String::new(),
        charged: 0,
        depth: 0,
        ensure_ascii: ensure_ascii.is_some_and(|value| value.is_true()),
        sort_keys: sort_keys.is_some_and(|value| value.is_true()),
        indent,
        item,
        key,
    };
    writer.value(value)?;
    Ok(Value::from(writer.out))
}

/// Python takes the text itself, or a number of spaces.
fn indent_text(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let spaces = i64::try_from(indent.clone())?;
    if spaces > MAX_INDENT {
        return Err(refused(format!("tojson: indent is {spaces}; wanted at most {MAX_INDENT}")));
    }
    Ok(" ".repeat(usize::try_from(spaces).unwrap_or(0)))
}

fn separator(pair: &Value, index: usize) -> Result<String, Error> {
    let separator = pair.get_item_by_index(index)?;
    let text = separator.as_str().map(str::to_owned);
    text.ok_or_else(|| refused(format!("tojson: separators is {pair}; wanted two strings")))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

struct Writer<'a, 't, 'e> {
    /// Pays for what is written: a value that holds one list twice, and that one another twice, is small and its text
    /// is not.
    state: &'a State<'t, 'e>,
    out: String,
    /// Bytes of `out` that are paid for.
    charged: usize,
    depth: usize,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        self.state.consume_fuel(1 + (self.out.len() - self.charged) as u64 / 64)?;
        self.charged = self.out.len();
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value)?,
            ValueKind::Map => self.mapping(value)?,
            kind => return Err(refused(format!("tojson: a value of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value) -> Result<(), Error> {
        let items: Vec<Value> = value.try_iter()?.collect();
        self.container('[', ']', items.len(), |writer, index| writer.value(&items[index]))
    }

    fn mapping(&mut self, value: &Value) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        self.container('{', '}', keys.len(), |writer, index| {
            let key = &keys[index];
            let text = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::None => "null".to_owned(),
                ValueKind::Bool => (if key.is_true() { "true" } else { "false" }).to_owned(),
                ValueKind::Number => number(key)?,
                kind => return Err(refused(format!("tojson: a key of type {kind} is not JSON"))),
            };
            writer.string(&text);
            writer.out.push_str(&writer.key);
            writer.value(&value.get_item(key)?)
        })
    }

    /// Brackets, separators and line breaks around what `entry` writes for each index.
    fn container(
        &mut self,
        open: char,
        close: char,
        count: usize,
        entry: impl Fn(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(refused(format!("tojson: a value is nested more than {MAX_DEPTH} deep")));
        }
        self.out.push(open);
        self.depth += 1;
        for index in 0..count {
            if index > 0 {
                self.out.push_str(&self.item);
            }
            self.line_break();
            entry(self, index)?;
        }
        self.depth -= 1;
        if count > 0 {
            self.line_break();
        }
        self.out.push(close);
        Ok(())
    }

    fn line_break(&mut self) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                letter if letter < ' ' || (self.ensure_ascii && letter > '~') => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                letter => self.out.push(letter),
            }
        }
        self.out.push('"');
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() { Ok(value.to_string()) } else { Ok(float(f64::try_from(value.clone())?)) }
}

/// Python's `repr`: the shortest digits that give the number back, with an exponent below 1e-4 and from 1e16 on.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned();
    }
    let scientific = format!("{value:e}");
    if let Some((digits, exponent)) = scientific.split_once('e')
        && let Ok(exponent) = exponent.parse::<i32>()
        && !(-4..16).contains(&exponent)
    {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    /// Expected strings: `repr` of CPython 3.
    #[test]
    fn floats_print_as_in_python() {
        for (value, wanted) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (1e15, "1000000000000000.0"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float(value), wanted);
        }
    }

    /// Expected strings: `json.dumps` of CPython 3 with the same arguments and `ensure_ascii=False` by default.
    #[test]
    fn prints_as_json_dumps() {
        let mut env = Environment::new();
        env.add_filter("tojson", tojson);
        let render = |source: &str| {
            let ctx = context! {
                flat => Value::from_pairs([("k", Value::from("<é> & '\"\\\n\t\u{8}\u{c}\u{1}\u{7f}🙂"))]),
                nested => Value::from_pairs([("l", Value::from_iter([1, 2])), ("m", Value::from_iter([0_i64; 0]))]),
                letters => Value::from_iter(["a", "b"]),
            };
            env.render_str(source, ctx).map_err(|error| error.to_string())
        };
        let cases = [
            ("{{ flat | tojson }}", "{\"k\": \"<é> & '\\\"\\\\\\n\\t\\b\\f\\u0001\u{7f}🙂\"}"),
            (
                "{{ flat | tojson(ensure_ascii=true) }}",
                "{\"k\": \"<\\u00e9> & '\\\"\\\\\\n\\t\\b\\f\\u0001\\u007f\\ud83d\\ude42\"}",
            ),
            ("{{ nested | tojson }}", "{\"l\": [1, 2], \"m\": []}"),
            ("{{ nested | tojson(indent=2) }}", "{\n  \"l\": [\n    1,\n    2\n  ],\n  \"m\": []\n}"),
            ("{{ letters | tojson(indent='\t') }}", "[\n\t\"a\",\n\t\"b\"\n]"),
            ("{{ letters | tojson(indent=0) }}", "[\n\"a\",\n\"b\"\n]"),
            ("{{ nested | tojson(separators=(',', ':')) }}", "{\"l\":[1,2],\"m\":[]}"),
            ("{{ {'b': 1.0, 'a': none} | tojson(sort_keys=true) }}", "{\"a\": null, \"b\": 1.0}"),
            ("{{ [true, false, none, 1e16, -3, 'x'] | tojson }}", "[true, false, null, 1e+16, -3, \"x\"]"),
            ("{{ letters[1:] | tojson }}", "[\"b\"]"),
            ("{{ {1: 2, none: 3} | tojson(sort_keys=false) | length }}", "19"),
        ];
        for (source, wanted) in cases {
            assert_eq!(render(source).as_deref(), Ok(wanted), "{source}");
        }
        for source in [
            "{{ nothing | tojson }}",
            "{{ flat | tojson(wide=1) }}",
            "{{ flat | tojson(indent=1000) }}",
            "{{ flat | tojson(separators='a') }}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
    }
}
