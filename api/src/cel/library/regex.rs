//! Regular expressions.
use super::{Out, Rows};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use crate::re2::Regex;

pub(super) const ROWS: Rows = &[
    ("matches", "matches", "string string -> bool"),
    ("matches", "matches_string", "string . string -> bool"),
    ("find", "string_find_string", "string . string -> string"),
    ("findAll", "string_find_all_string", "string . string -> list(string)"),
    ("findAll", "string_find_all_string_int", "string . string int -> list(string)"),
];

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [Val::String(text), Val::String(pattern), rest @ ..] = args else { return None };
    let regex = match context.regex(pattern) {
        Ok(regex) => regex,
        Err(error) => return Some(Err(error)),
    };
    Some(match (name, rest) {
        ("matches", []) => Ok(Val::Bool(regex.is_match(text))),
        ("find", []) => Ok(Val::text(regex.find(text).map_or("", |found| &text[found]))),
        ("findAll", []) => Ok(all(&regex, text, usize::MAX)),
        ("findAll", [Val::Int(n)]) => Ok(all(&regex, text, usize::try_from(*n).unwrap_or(usize::MAX))),
        _ => return None,
    })
}

fn all<'a>(regex: &Regex, text: &str, most: usize) -> Val<'a> {
    Val::list(regex.find_iter(text).take(most).map(|found| Val::text(&text[found])).collect())
}
