//! Results as files.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::document::{ChunkFailure, Extracted};
use super::extraction::{Extraction, Flag, Status};
use crate::error::DataError;
use crate::record::Origin;
use crate::writer::temporary_beside;

/// Writes documents as JSON lines in langextract's form (`data_lib.py`, 1.7.1), which its tools read too:
/// `document_id`, `text`, and `extractions` with `char_interval` in code points and `alignment_status` (null where
/// ungrounded). Two keys are ours and appear only where they hold something: `flags` and `failures`.
///
/// The file is written beside its place and renamed.
///
/// # Errors
///
/// [`DataError::Write`].
pub fn write_jsonl(path: impl AsRef<Path>, documents: &[Extracted]) -> Result<(), DataError> {
    let mut text = String::new();
    for document in documents {
        text.push_str(&to_json(document).to_string());
        text.push('\n');
    }
    write_whole(path.as_ref(), &text)
}

/// Reads what [`write_jsonl`] wrote, or langextract.
///
/// # Errors
///
/// [`DataError::Read`]; [`DataError::Json`] with the line for what is no such document, or for a span that is not
/// within its text.
pub fn read_jsonl(path: impl AsRef<Path>) -> Result<Vec<Extracted>, DataError> {
    let path = path.as_ref();
    let text =
        fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let mut documents = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refuse = |message: String| DataError::Json {
            origin: Origin::new(path.display().to_string(), number + 1),
            message,
        };
        let value: Value = serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
        documents.push(from_json(&value).map_err(refuse)?);
    }
    Ok(documents)
}

/// Writes beside the place, then renames.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), DataError> {
    let write = |source| DataError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(write)?;
    let mut file = temporary_beside(path).map_err(write)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(write)?;
    file.persist(path).map_err(|error| write(error.error))?;
    Ok(())
}

fn to_json(document: &Extracted) -> Value {
    let extraction = |e: &Extraction| {
        let chars = e.chars.as_ref().map(|at| json!({"start_pos": at.start, "end_pos": at.end}));
        let status = (e.status != Status::Ungrounded).then(|| e.status.as_str());
        json!({
            "extraction_class": e.class,
            "extraction_text": e.text,
            "char_interval": chars,
            "alignment_status": status,
            "extraction_index": e.index,
            "group_index": e.group,
            "description": null,
            "attributes": e.attributes,
        })
    };
    let mut object = json!({
        "extractions": document.extractions.iter().map(extraction).collect::<Vec<_>>(),
        "text": document.text,
        "document_id": document.id,
    });
    let flags: Vec<Value> = document
        .extractions
        .iter()
        .enumerate()
        .flat_map(|(number, e)| e.flags.iter().map(move |flag| (number, flag)))
        .map(|(number, flag)| {
            let mut value = json!(flag);
            value["extraction"] = number.into();
            value
        })
        .collect();
    if !flags.is_empty() {
        object["flags"] = flags.into();
    }
    let failure = |f: &ChunkFailure| {
        let chars = json!({"start_pos": f.chars.start, "end_pos": f.chars.end});
        json!({"chunk": f.chunk, "pass": f.pass, "char_interval": chars, "reason": f.reason})
    };
    if !document.failures.is_empty() {
        object["failures"] = document.failures.iter().map(failure).collect();
    }
    object
}

fn from_json(value: &Value) -> Result<Extracted, String> {
    let text = text_of(value, "text")?;
    let length = text.chars().count();
    let mut document = Extracted::new(text_of(value, "document_id").unwrap_or_default(), text, []);
    for (number, item) in list_of(value, "extractions").iter().enumerate() {
        let extraction = extraction_from(item, length);
        document.extractions.push(extraction.map_err(|error| format!("extractions[{number}]: {error}"))?);
    }
    for item in list_of(value, "flags") {
        let mut flag = item.clone();
        let number = flag.as_object_mut().and_then(|flag| flag.remove("extraction")?.as_u64());
        let place = number.and_then(|number| document.extractions.get_mut(usize::try_from(number).ok()?));
        let place = place.ok_or_else(|| format!("a flag of no extraction: {item}"))?;
        place.flags.push(serde_json::from_value::<Flag>(flag).map_err(|error| error.to_string())?);
    }
    for item in list_of(value, "failures") {
        document.failures.push(ChunkFailure {
            chunk: number_of(item, "chunk").unwrap_or_default(),
            pass: u32::try_from(number_of(item, "pass").unwrap_or_default()).unwrap_or(u32::MAX),
            chars: span_of(item, length)?.unwrap_or_default(),
            reason: text_of(item, "reason")?,
        });
    }
    Ok(document)
}

fn extraction_from(item: &Value, length: usize) -> Result<Extraction, String> {
    let chars = span_of(item, length)?;
    let status = match item.get("alignment_status") {
        None | Some(Value::Null) => Status::Ungrounded,
        // langextract's type has a fourth status, which it never sets.
        Some(status) => serde_json::from_value(status.clone()).map_err(|_| {
            format!("alignment_status {status} is none of match_exact, match_lesser, match_fuzzy")
        })?,
    };
    if chars.is_some() != (status != Status::Ungrounded) {
        return Err(format!("alignment_status {status} does not go with char_interval {chars:?}"));
    }
    Ok(Extraction {
        attributes: item
            .get("attributes")
            .and_then(Value::as_object)
            .cloned()
            .filter(|a: &Map<_, _>| !a.is_empty()),
        index: number_of(item, "extraction_index").unwrap_or_default(),
        group: number_of(item, "group_index").unwrap_or_default(),
        status,
        chars,
        ..Extraction::new(text_of(item, "extraction_class")?, text_of(item, "extraction_text")?)
    })
}

fn span_of(item: &Value, length: usize) -> Result<Option<std::ops::Range<usize>>, String> {
    let Some(interval) = item.get("char_interval").filter(|interval| !interval.is_null()) else {
        return Ok(None);
    };
    match (number_of(interval, "start_pos"), number_of(interval, "end_pos")) {
        (Some(start), Some(end)) if start <= end && end <= length => Ok(Some(start..end)),
        _ => Err(format!("char_interval {interval} is not within the text of {length} code points")),
    }
}

fn text_of(value: &Value, key: &str) -> Result<String, String> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("{key:?} must be text"))
}

fn number_of(value: &Value, key: &str) -> Option<usize> {
    usize::try_from(value.get(key)?.as_u64()?).ok()
}

fn list_of<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
