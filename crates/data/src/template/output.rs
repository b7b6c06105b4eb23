//! What `{{ … }}` writes.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Output, State, Value, escape_formatter};

/// Deeper values can only be loops that a template built.
const MAX_DEPTH: usize = 200;

/// The engine's own, after the value is paid for.
///
/// The engine charges for the text once it is there: that of a list that holds one list twice, and that another twice, is
/// never there, and a deep list has no end on the stack.
pub(super) fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    pay(state, value, 0)?;
    escape_formatter(out, state, value)
}

fn pay(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    state.consume_fuel(1)?;
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Map) {
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        let message = format!("a value is nested more than {MAX_DEPTH} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    for item in value.try_iter()? {
        let item = if kind == ValueKind::Map { value.get_item(&item)? } else { item };
        pay(state, &item, depth + 1)?;
    }
    Ok(())
}
