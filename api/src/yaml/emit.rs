//! [`Value`] to YAML in the original's style: sorted keys, block form, no line folding.
use super::resolve::{Plain, is_base60, resolve};
use crate::{Object, Value};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Longest key on one line; longer ones are written with `?`.
const MAX_SIMPLE_KEY: usize = 128;

/// The document, ending in a line break.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => mapping(members, 0, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut out),
        _ => {
            scalar(value, 2, false, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Writes members, the first one at the cursor, the others each on a line of its own.
fn mapping(members: &Object, indent: usize, out: &mut String) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|a, b| compare_keys(a.0, b.0));
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            blanks(indent, out);
        }
        if key.len() > MAX_SIMPLE_KEY || key.contains('\n') {
            out.push_str("? ");
            string(key, indent + 2, false, out);
            out.push('\n');
            blanks(indent, out);
        } else {
            string(key, indent, true, out);
        }
        out.push(':');
        nested(value, indent, out);
    }
}

/// A member's value after the colon.
fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            blanks(indent + 2, out);
            mapping(members, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            blanks(indent, out);
            sequence(items, indent, out);
        }
        _ => {
            out.push(' ');
            scalar(value, indent + 2, false, out);
            out.push('\n');
        }
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            blanks(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => mapping(members, indent + 2, out),
            Value::Array(items) if !items.is_empty() => sequence(items, indent + 2, out),
            _ => {
                scalar(item, indent + 2, false, out);
                out.push('\n');
            }
        }
    }
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

fn scalar(value: &Value, indent: usize, key: bool, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => {
            let mut bytes = Vec::new();
            crate::json::encode_untyped(&Value::Number(n.clone()), &mut bytes);
            out.push_str(&String::from_utf8_lossy(&bytes));
        }
        Value::String(text) => string(text, indent, key, out),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// What the characters of a text allow. Source: libyaml's analysis of scalars, which the original's library has.
struct Analysis {
    plain: bool,
    single_quoted: bool,
    literal: bool,
}

fn analyze(text: &str) -> Analysis {
    if text.is_empty() {
        return Analysis { plain: true, single_quoted: true, literal: false };
    }
    let chars: Vec<char> = text.chars().collect();
    let blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, ' ' | '\t') || is_break(*c));
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut breaks, mut break_space, mut space_break) = (false, false, false, false);
    let (mut previous_space, mut previous_break, mut after_blank) = (false, false, true);
    for (at, &c) in chars.iter().enumerate() {
        let before_blank = blank(chars.get(at + 1));
        indicators |= match c {
            '#' if at > 0 => after_blank,
            ':' => before_blank,
            '?' | '-' if at == 0 => before_blank,
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => at == 0,
            _ => false,
        };
        special |= !is_printable(c);
        if c == ' ' {
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(c) {
            breaks = true;
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
        after_blank = blank(Some(&c));
    }
    let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
    let trailing_space = chars.last() == Some(&' ');
    let bad = space_break || special;
    Analysis {
        plain: !(indicators || breaks || bad || edge(chars.first()) || edge(chars.last())),
        single_quoted: !(bad || break_space),
        literal: !(bad || trailing_space),
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}') && c != '\u{FEFF}'
}

fn string(text: &str, indent: usize, key: bool, out: &mut String) {
    let analysis = analyze(text);
    let multiline = text.contains('\n');
    if multiline && !key {
        if analysis.literal {
            return literal(text, indent, out);
        }
        return double_quoted(text, out);
    }
    let resolves = resolve(text) != Plain::Text || is_base60(text);
    if multiline || resolves || (!analysis.plain && !analysis.single_quoted) {
        double_quoted(text, out);
    } else if analysis.plain {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// `|` with its hints: an indent where the text starts with a blank, `-` without and `+` with several line
/// breaks at the end.
fn literal(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    // The last line's break is the caller's.
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            blanks(indent, out);
            out.push_str(line);
        }
    }
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\x0B' => out.push_str("\\v"),
            '\x0C' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\x1B' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{A0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            // Writing to a String cannot fail.
            c if u32::from(c) <= 0xFF => drop(write!(out, "\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xFFFF => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => drop(write!(out, "\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Natural order: runs of digits compare as numbers, and letters come after everything else.
fn compare_keys(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Within a number that both share so far, a zero counts.
    let shared = a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let lead = u64::from((x == '0' || y == '0') && shared);
    let run = |s: &[char]| {
        let digits = s[at..].iter().map_while(|c| c.to_digit(10));
        digits.fold((lead, 0usize), |(n, len), d| (n.wrapping_mul(10).wrapping_add(u64::from(d)), len + 1))
    };
    run(&a).cmp(&run(&b)).then(x.cmp(&y))
}
