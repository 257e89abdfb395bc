//! Cells that no path expresses: one small function each, found by name in `columns.txt`.
mod apps;
mod cluster;
mod pod;
mod service;

use crate::Value;
use crate::time::Timestamp;

/// What a cell function sees.
pub(super) struct Context<'a> {
    /// The object of the row.
    pub(super) object: &'a Value,
    /// The text behind the function's name.
    pub(super) argument: &'a str,
    /// The time that ages are measured to.
    pub(super) now: Timestamp,
}

/// A cell, or nothing where the absent text is to stand.
pub(super) type CellFn = fn(&Context<'_>) -> Option<Value>;

impl<'a> Context<'a> {
    /// The value at a dotted path below the object.
    fn at(&self, path: &str) -> Option<&'a Value> {
        let names = path.trim_start_matches('.').split('.');
        names.into_iter().try_fold(self.object, |value, name| value.get(name)).filter(|v| !v.is_null())
    }

    /// A text that is not empty.
    fn text(&self, path: &str) -> Option<&'a str> {
        self.at(path).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    fn items(&self, path: &str) -> impl Iterator<Item = &'a Value> + Clone + use<'a> {
        self.at(path).and_then(Value::as_array).into_iter().flatten()
    }

    fn int(&self, path: &str) -> i64 {
        self.at(path).and_then(Value::as_i64).unwrap_or(0)
    }

    /// A condition of a type; those of a ComponentStatus have no status around them.
    fn condition(&self, ty: &str) -> Option<&'a Value> {
        self.items("status.conditions").chain(self.items("conditions")).find(|c| c["type"] == ty)
    }

    fn is_true(&self, ty: &str) -> bool {
        self.condition(ty).is_some_and(|c| c["status"] == "True")
    }

    fn deleting(&self) -> bool {
        self.at("metadata.deletionTimestamp").is_some()
    }

    fn since(&self, time: Option<&Value>, absent: &str) -> String {
        super::since(time.unwrap_or(&Value::Null), self.now, absent)
    }
}

fn str_of<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// The first `limit` texts by commas, and how many more there are; nothing without texts.
fn limited(texts: &[String], limit: usize) -> Option<Value> {
    let shown = texts[..texts.len().min(limit)].join(",");
    match texts.len() {
        0 => None,
        n if n > limit => Some(Value::from(format!("{shown} + {} more...", n - limit))),
        _ => Some(Value::from(shown)),
    }
}

/// Functions by the names that the table uses.
pub(super) fn find(name: &str) -> Option<CellFn> {
    let functions: [&[(&str, CellFn)]; 5] =
        [GENERAL, pod::CELLS, service::CELLS, apps::CELLS, cluster::CELLS];
    functions.into_iter().flatten().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

const GENERAL: &[(&str, CellFn)] = &[
    ("boolean", |c| Some(Value::from(c.at(c.argument).and_then(Value::as_bool).unwrap_or(false)))),
    ("bool_text", |c| {
        let text = match c.at(c.argument).and_then(Value::as_bool) {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        Some(Value::from(text))
    }),
    ("condition_field", |c| {
        let (ty, member) = c.argument.split_once('.')?;
        c.condition(ty)?.get(member).cloned()
    }),
    ("integer", |c| Some(Value::from(c.int(c.argument)))),
    ("name_with_default", |c| {
        let annotations = c.at("metadata.annotations");
        let marked = |key: &str| annotations.is_some_and(|a| a[key] == "true");
        let suffix = if c.argument.split(' ').any(marked) { " (default)" } else { "" };
        Some(Value::from(format!("{}{suffix}", c.text("metadata.name").unwrap_or_default())))
    }),
    ("text", |c| match c.at(c.argument)? {
        Value::String(text) => Some(Value::from(text.as_str())),
        other => Some(Value::from(other.to_string())),
    }),
    ("true_unless", |c| Some(Value::from(c.at(c.argument).and_then(Value::as_bool).unwrap_or(true)))),
];
