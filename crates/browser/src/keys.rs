use serde_json::{Value, json};

/// The parameters of a key's `Input.dispatchKeyEvent`, in the names of `KeyboardEvent.key`.
pub(crate) fn event(key: &str, kind: &str) -> Value {
    let code = match key {
        "Backspace" => 8,
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        " " => 32,
        "PageUp" => 33,
        "PageDown" => 34,
        "End" => 35,
        "Home" => 36,
        "ArrowLeft" => 37,
        "ArrowUp" => 38,
        "ArrowRight" => 39,
        "ArrowDown" => 40,
        "Delete" => 46,
        _ => 0,
    };
    let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
    let mut letters = key.chars();
    let is_letter = letters.next().is_some() && letters.next().is_none();
    if is_letter && kind == "keyDown" {
        event["text"] = key.into();
    } else if key == "Enter" && kind == "keyDown" {
        event["text"] = "\r".into();
    } else if code > 0 {
        event["code"] = key.into();
    }
    event
}
