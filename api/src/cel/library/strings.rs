//! Functions of texts.
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::Val;

pub(super) const ROWS: Rows = &[
    ("contains", "contains_string", "string . string -> bool"),
    ("startsWith", "starts_with_string", "string . string -> bool"),
    ("endsWith", "ends_with_string", "string . string -> bool"),
    ("charAt", "string_char_at_int", "string . int -> string"),
    ("indexOf", "string_index_of_string", "string . string -> int"),
    ("indexOf", "string_index_of_string_int", "string . string int -> int"),
    ("lastIndexOf", "string_last_index_of_string", "string . string -> int"),
    ("lastIndexOf", "string_last_index_of_string_int", "string . string int -> int"),
    ("lowerAscii", "string_lower_ascii", "string . -> string"),
    ("upperAscii", "string_upper_ascii", "string . -> string"),
    ("replace", "string_replace_string_string", "string . string string -> string"),
    ("replace", "string_replace_string_string_int", "string . string string int -> string"),
    ("split", "string_split_string", "string . string -> list(string)"),
    ("split", "string_split_string_int", "string . string int -> list(string)"),
    ("substring", "string_substring_int", "string . int -> string"),
    ("substring", "string_substring_int_int", "string . int int -> string"),
    ("trim", "string_trim", "string . -> string"),
    ("reverse", "string_reverse", "string . -> string"),
    ("join", "list_join", "list(string) . -> string"),
    ("join", "list_join_string", "list(string) . string -> string"),
    ("strings.quote", "strings_quote", "string -> string"),
];

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    Some(match (name, args) {
        ("contains", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.contains(&**part))),
        ("startsWith", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.starts_with(&**part))),
        ("endsWith", [Val::String(text), Val::String(part)]) => Ok(Val::Bool(text.ends_with(&**part))),
        ("charAt", [Val::String(text), Val::Int(at)]) => char_at(text, *at),
        ("indexOf", [Val::String(text), Val::String(part)]) => Ok(Val::Int(first_index(text, part, 0))),
        ("indexOf", [Val::String(text), Val::String(part), Val::Int(from)]) => match in_bounds(text, *from) {
            Ok(from) => Ok(Val::Int(first_index(text, part, from))),
            Err(error) => error,
        },
        ("lastIndexOf", [Val::String(text), Val::String(part)]) => {
            Ok(Val::Int(last_index(text, part, usize::MAX)))
        }
        ("lastIndexOf", [Val::String(text), Val::String(part), Val::Int(from)]) => {
            match in_bounds(text, *from) {
                Ok(from) => Ok(Val::Int(last_index(text, part, from))),
                Err(error) => error,
            }
        }
        ("lowerAscii", [Val::String(text)]) => Ok(Val::text(text.to_ascii_lowercase())),
        ("upperAscii", [Val::String(text)]) => Ok(Val::text(text.to_ascii_uppercase())),
        ("replace", [Val::String(text), Val::String(from), Val::String(to)]) => {
            replace(context, text, from, to, usize::MAX)
        }
        ("replace", [Val::String(text), Val::String(from), Val::String(to), Val::Int(n)]) => {
            replace(context, text, from, to, usize::try_from(*n).unwrap_or(usize::MAX))
        }
        ("split", [Val::String(text), Val::String(by)]) => split(context, text, by, -1),
        ("split", [Val::String(text), Val::String(by), Val::Int(n)]) => split(context, text, by, *n),
        ("substring", [Val::String(text), Val::Int(from)]) => substring(text, *from, None),
        ("substring", [Val::String(text), Val::Int(from), Val::Int(to)]) => substring(text, *from, Some(*to)),
        ("trim", [Val::String(text)]) => Ok(Val::text(text.trim())),
        ("reverse", [Val::String(text)]) => Ok(Val::text(text.chars().rev().collect::<String>())),
        ("join", [Val::List(list)]) => return join(context, list.iter(), ""),
        ("join", [Val::List(list), Val::String(by)]) => return join(context, list.iter(), by),
        ("strings.quote", [Val::String(text)]) => Ok(Val::text(quote(text))),
        _ => return None,
    })
}

fn char_at<'a>(text: &str, at: i64) -> Out<'a> {
    let found = usize::try_from(at).ok().and_then(|index| text.chars().nth(index));
    match found {
        Some(c) => Ok(Val::text(c.to_string())),
        None if at >= 0 && at == i64::try_from(text.chars().count()).unwrap_or(i64::MAX) => Ok(Val::text("")),
        None => fault(format!("index out of range: {at}")),
    }
}

fn in_bounds<'a>(text: &str, at: i64) -> Result<usize, Out<'a>> {
    let size = text.chars().count();
    match usize::try_from(at) {
        Ok(at) if at <= size => Ok(at),
        _ => Err(fault(format!("index out of range: {at}"))),
    }
}

fn signed(n: Option<usize>) -> i64 {
    n.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
}

/// In characters.
fn first_index(text: &str, part: &str, from: usize) -> i64 {
    let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    let found = text[start..].find(part).map(|at| from + text[start..start + at].chars().count());
    signed(found)
}

fn last_index(text: &str, part: &str, from: usize) -> i64 {
    let end = match text.char_indices().nth(from) {
        Some((at, _)) => (at + part.len()).min(text.len()),
        None => text.len(),
    };
    let end = (end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    signed(text[..end].rfind(part).map(|at| text[..at].chars().count()))
}

fn replace<'a>(context: &mut Context<'_>, text: &str, from: &str, to: &str, n: usize) -> Out<'a> {
    let places = if from.is_empty() { text.len() + 1 } else { text.len() / from.len() };
    context.bytes(text.len().saturating_add(places.min(n).saturating_mul(to.len())))?;
    Ok(Val::text(if n == usize::MAX { text.replace(from, to) } else { text.replacen(from, to, n) }))
}

fn split<'a>(context: &mut Context<'_>, text: &str, by: &str, n: i64) -> Out<'a> {
    context.bytes(text.len())?;
    let chars = || text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
    let parts: Vec<&str> = match (usize::try_from(n), by.is_empty()) {
        (Ok(0), _) => Vec::new(),
        (Ok(n), true) => {
            let whole = text.char_indices().nth(n.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
            let mut parts: Vec<&str> = chars().take(n.saturating_sub(1)).collect();
            if whole < text.len() {
                parts.push(&text[whole..]);
            }
            parts
        }
        (Ok(n), false) => text.splitn(n, by).collect(),
        (Err(_), true) => chars().collect(),
        (Err(_), false) => text.split(by).collect(),
    };
    context.work(parts.len())?;
    Ok(Val::list(parts.into_iter().map(Val::text).collect()))
}

fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Out<'a> {
    let size = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let end = to.unwrap_or(size);
    if from < 0 || from > size {
        return fault(format!("index out of range: {from}"));
    }
    if end < 0 || end > size {
        return fault(format!("index out of range: {end}"));
    }
    if from > end {
        return fault(format!("invalid substring range. start: {from}, end: {end}"));
    }
    let count = |n: i64| usize::try_from(n).unwrap_or_default();
    Ok(Val::text(text.chars().skip(count(from)).take(count(end - from)).collect::<String>()))
}

fn join<'a>(context: &mut Context<'_>, items: impl Iterator<Item = Val<'a>>, by: &str) -> Option<Out<'a>> {
    let mut out = String::new();
    for (at, item) in items.enumerate() {
        let Val::String(text) = item else { return None };
        if let Err(error) = context.bytes(text.len() + by.len()) {
            return Some(Err(error));
        }
        if at > 0 {
            out.push_str(by);
        }
        out.push_str(&text);
    }
    Some(Ok(Val::text(out)))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
