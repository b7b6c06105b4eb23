//! Seeded generators of training text.
//!
//! Two worlds that share words but no subject:
//!
//! * the *general* world, on which the base model is pre-trained: [`general_documents`] writes short prose,
//!   [`general_instructions`] writes tasks with their answers (mail, product notes, news, bookings, chat, lists,
//!   copying). It shows JSON answers and the copying of names and numbers, and never a financial report;
//! * the *finance* world, on which the base model is tuned: [`finance_examples`] writes short reports together
//!   with the entities to be found in them.
//!
//! Personal and company names are made up from syllables and divided among the worlds: no full name and no
//! company of the test set occurs in any other set, see [`Split`].
//!
//! Each record is drawn from its own generator, keyed by seed, kind of record and number. A longer list
//! therefore begins with the shorter one.

mod finance;
mod general;
mod names;
mod numbers;
mod rng;
mod scene;
mod vocabulary;
mod words;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

pub use finance::{FINANCE_INSTRUCTION, FINANCE_KEYS, FinanceExample, Split, finance_examples};
pub use general::{general_documents, general_instructions, general_repetitions};
pub use rng::Rng;
pub use vocabulary::{
    BOS_TOKEN, CHAT_TEMPLATE, END_TOKEN, PAD_TOKEN, START_TOKEN, tokenizer_config_json, train_tokenizer,
};

/// A JSON object on one line without spaces, every value a string, the keys in the order given.
///
/// This is the one form in which the generators write JSON, and the form `serde_json::to_string` gives.
///
/// ```
/// use burnisher_examples::generate::json_object;
///
/// assert_eq!(json_object(&[("name", "Mara"), ("age", "31")]), r#"{"name":"Mara","age":"31"}"#);
/// ```
pub fn json_object(pairs: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}:{}", Value::from(*key), Value::from(*value))).collect();
    format!("{{{}}}", fields.join(","))
}

/// A row of the `text` shape: `{"text": …}`.
pub fn text_row(text: &str) -> Value {
    json!({ "text": text })
}

/// A row of the `messages` shape: one question of the user and one answer of the assistant.
pub fn chat_row(user: &str, assistant: &str) -> Value {
    json!({ "messages": [
        { "role": "user", "content": user },
        { "role": "assistant", "content": assistant },
    ] })
}

/// Writes one JSON value per line, and makes the folders above `path` where they are missing.
///
/// # Errors
///
/// Whatever the file system reports; a file begun before the error is left as it is.
pub fn write_jsonl<'a>(path: impl AsRef<Path>, rows: impl IntoIterator<Item = &'a Value>) -> io::Result<()> {
    let path = path.as_ref();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    for row in rows {
        writeln!(file, "{row}")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_object_keeps_order_and_escapes() {
        let text = json_object(&[("b", "x \"y\""), ("a", "1\n2")]);
        assert_eq!(text, r#"{"b":"x \"y\"","a":"1\n2"}"#);
        let back: Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(back["a"], "1\n2");
        assert_eq!(json_object(&[]), "{}");
    }

    #[test]
    fn jsonl_has_one_row_per_line() {
        let folder = std::env::temp_dir().join(format!("burnisher-jsonl-{}", std::process::id()));
        let path = folder.join("deep").join("rows.jsonl");
        let rows = [text_row("one\ntwo"), chat_row("Who?", "Mara")];
        write_jsonl(&path, &rows).expect("writes");
        let text = fs::read_to_string(&path).expect("reads");
        let back: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("valid JSON")).collect();
        fs::remove_dir_all(&folder).expect("removes");
        assert_eq!(back, rows);
        assert_eq!(back[1]["messages"][1]["role"], "assistant");
    }
}
