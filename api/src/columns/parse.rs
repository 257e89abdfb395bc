//! Reads `columns.txt`; the language is described at its head.
use super::{Cell, Column, Columns, Description, Path, cells};
use crate::Value;
use std::collections::HashMap;

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub(super) struct ColumnsError {
    line: usize,
    fault: String,
}

pub(super) fn table(text: &str) -> Result<HashMap<String, Columns>, ColumnsError> {
    let mut table: HashMap<String, Columns> = HashMap::new();
    let mut kind = String::new();
    for (at, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(' ') {
            line.clone_into(&mut kind);
            continue;
        }
        let column = column(line.trim()).map_err(|fault| ColumnsError { line: at + 1, fault })?;
        let columns = table.entry(kind.clone()).or_default();
        kind.clone_into(&mut columns.kind);
        columns.columns.push(column);
    }
    Ok(table)
}

fn column(line: &str) -> Result<Column, String> {
    let mut parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
    let (Some(name), Some(ty), Some(text), described, None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a line is: name, type, cell, description".to_owned());
    };
    let priority = u8::from(ty.ends_with('+'));
    let hidden = ty == "hidden";
    let (ty, format) = match ty.trim_end_matches('+') {
        "name" => ("string", "name"),
        "quantity" => ("string", "quantity"),
        "duration" => ("string", "duration"),
        "hidden" => ("string", ""),
        "string" => ("string", ""),
        "integer" => ("integer", ""),
        "boolean" => ("boolean", ""),
        "date" => ("date", ""),
        other => return Err(format!("no such type: {other}")),
    };
    let description = description(described, text)?;
    Ok(Column { name: name.to_owned(), ty, format, description, priority, hidden, cell: cell(text)? })
}

/// The description that a line gives; else that of the field which the cell shows.
fn description(given: Option<&str>, cell: &str) -> Result<Description, String> {
    match given {
        Some("-") => return Ok(Description::None),
        Some(text) if text.starts_with('.') => return Ok(Description::Field(path(text)?)),
        Some(text) => {
            let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
            let inner = inner.ok_or_else(|| format!("no description: {text}"))?;
            return Ok(Description::Text(inner.to_owned()));
        }
        None => {}
    }
    if cell == "age" {
        return Ok(Description::Field(path(".metadata.creationTimestamp")?));
    }
    let shown = cell.split(' ').find(|word| word.starts_with('.'));
    Ok(Description::Field(path(shown.ok_or_else(|| format!("a cell without a field: {cell}"))?)?))
}

fn cell(text: &str) -> Result<Cell, String> {
    let (text, absent) = text.split_once(" | ").unwrap_or((text, ""));
    let (word, argument) = text.split_once(' ').unwrap_or((text, ""));
    let absent = absent.to_owned();
    let at = || path(argument);
    Ok(match word {
        "age" => Cell::Age,
        "since" => Cell::Since { path: at()?, absent },
        "count" => Cell::Count(at()?),
        "join" => Cell::Join { path: at()?, absent },
        "labels" => Cell::Labels(at()?),
        "selector" => Cell::Selector(at()?),
        "containers" => Cell::Containers { path: at()?, member: "name" },
        "images" => Cell::Containers { path: at()?, member: "image" },
        "ratio" => {
            let (a, b) = argument.split_once(' ').ok_or("ratio needs two paths")?;
            Cell::Ratio(path(a)?, path(b)?)
        }
        _ => match word.strip_prefix('=') {
            Some(name) => {
                let function = cells::find(name).ok_or_else(|| format!("no such function: {name}"))?;
                Cell::Function { function, argument: argument.to_owned(), absent }
            }
            None => Cell::Value { path: path(word)?, absent: Value::from(absent) },
        },
    })
}

fn path(text: &str) -> Result<Path, String> {
    let names = text.strip_prefix('.').ok_or_else(|| format!("a path begins with a dot: {text}"))?;
    Ok(Path::of(&names.split('.').collect::<Vec<_>>()))
}
