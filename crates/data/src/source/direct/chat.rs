//! The turns of a conversation.

use serde_json::Map;

use super::scanner::Scanner;
use crate::record::Message;
use crate::source::shape::role_of;

/// The list of messages that is next, if every content is a string.
pub(super) fn turns(scanner: &mut Scanner<'_>, scratch: &mut String) -> Option<Vec<Message>> {
    scanner.take(b'[')?;
    let mut messages = Vec::new();
    loop {
        messages.push(turn(scanner, scratch)?);
        if !scanner.has_more(b']')? {
            return Some(messages);
        }
    }
}

/// `{role, content}`, or ShareGPT's `{from, value}`.
fn turn(scanner: &mut Scanner<'_>, scratch: &mut String) -> Option<Message> {
    let (mut role, mut content, mut from, mut value) = (None, None, None, None);
    let mut extra = Map::new();
    scanner.take(b'{')?;
    loop {
        let part = match scanner.string(scratch)? {
            "role" => Ok(&mut role),
            "content" => Ok(&mut content),
            "from" => Ok(&mut from),
            "value" => Ok(&mut value),
            other => Err(other.to_owned()),
        };
        scanner.take(b':')?;
        match part {
            Ok(part) => *part = Some(scanner.text(scratch)??),
            Err(name) => {
                extra.insert(name, scanner.value(scratch)?);
            }
        }
        if !scanner.has_more(b'}')? {
            break;
        }
    }
    // A turn that has both spellings keeps one beside the message.
    let (role, content) = match (role, content, from, value) {
        (Some(role), Some(content), None, None) => (role, content),
        (None, None, Some(from), Some(value)) => (role_of(&from)?.to_owned(), value),
        _ => return None,
    };
    if role != "tool" {
        extra.shift_remove("name");
    }
    Some(Message { role, content, extra })
}
