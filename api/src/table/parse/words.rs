//! Words of a line and what the built-in ones mean.
use crate::schema::{Served, Shape, Special};

/// Splits at blanks that are not within parentheses or double quotes.
pub(super) fn split<'a>(line: &'a str, words: &mut Vec<&'a str>) {
    let (mut start, mut depth, mut quoted) = (None, 0usize, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'"' => quoted = !quoted,
            _ => {}
        }
        match (byte, start) {
            (b' ', Some(from)) if depth == 0 && !quoted => {
                words.push(&line[from..at]);
                start = None;
            }
            (b' ', _) => {}
            (_, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(&line[from..]);
    }
}

/// `word(text)` as word and text, a plain word as itself.
pub(crate) fn parameter(flag: &str) -> (&str, Option<&str>) {
    flag.strip_suffix(')').and_then(|f| f.split_once('(')).map_or((flag, None), |(w, p)| (w, Some(p)))
}

pub(crate) fn unknown(word: &str) -> String {
    format!("not understood: {word}")
}

pub(super) fn served(word: &str) -> Option<Served> {
    match word {
        "served" => Some(Served::ByDefault),
        "off" => Some(Served::OnRequest),
        "never" => Some(Served::Never),
        _ => None,
    }
}

/// The shape of a name that every package knows.
pub(super) fn base(name: &str) -> Option<Shape> {
    Some(match name {
        "string" => Shape::String,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "float64" => Shape::Float64,
        "bytes" => Shape::Bytes,
        "Time" => Shape::Special(Special::Time),
        "MicroTime" => Shape::Special(Special::MicroTime),
        "Duration" => Shape::Special(Special::Duration),
        "Quantity" => Shape::Special(Special::Quantity),
        "IntOrString" => Shape::Special(Special::IntOrString),
        "FieldsV1" => Shape::Special(Special::FieldsV1),
        "RawExtension" => Shape::Special(Special::RawExtension),
        "JSON" => Shape::Special(Special::Json),
        "any" => Shape::Special(Special::Any),
        _ => return None,
    })
}
