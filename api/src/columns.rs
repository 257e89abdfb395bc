//! Server-side tables: what `kubectl get` prints.
//!
//! The columns of each kind are rows of `api/table/columns.txt`; cells that a path cannot express are functions
//! in [`cells`]. Source of columns and cells: the original's printed tables.
mod cells;
mod custom;
mod descriptions;
mod parse;

use crate::kind::Kind;
use crate::time::{Timestamp, duration};
use crate::{Object, Value};
use cells::CellFn;
use descriptions::Description;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

/// What a row carries of its object (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// A `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The columns of one kind.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `group/Kind` of a built-in kind, whose types document the columns; `*` for custom resources.
    kind: String,
    columns: Vec<Column>,
    /// Made when they are first asked for, since texts come from the documents of types.
    definitions: OnceLock<Vec<Value>>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    ty: &'static str,
    format: &'static str,
    description: Description,
    /// 0, or 1 for columns of wide output.
    priority: u8,
    /// Rows have the cell, but no column is defined for it.
    hidden: bool,
    cell: Cell,
}

/// How a cell comes from an object.
#[derive(Clone, Debug)]
enum Cell {
    Value {
        path: Path,
        absent: Value,
    },
    Age,
    /// A JSONPath in an object of a custom resource.
    Custom(custom::JsonPath),
    Since {
        path: Path,
        absent: String,
    },
    Count(Path),
    Join {
        path: Path,
        absent: String,
    },
    Labels(Path),
    Selector(Path),
    /// A member of the containers of the pod specification at a path.
    Containers {
        path: Path,
        member: &'static str,
    },
    Ratio(Path, Path),
    Function {
        function: CellFn,
        argument: String,
        absent: String,
    },
}

/// Names of nested members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Path(Vec<String>);

impl Path {
    fn of(names: &[&str]) -> Self {
        Self(names.iter().copied().map(ToOwned::to_owned).collect())
    }

    fn find<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, name| value.get(name)).filter(|value| !value.is_null())
    }
}

/// The columns of a kind; kinds without a row of their own have a name and a creation time.
pub fn of(kind: &Kind) -> &'static Columns {
    of_kind(&kind.gvk.group, &kind.gvk.kind)
}

/// The columns of a kind by its names.
pub fn of_kind(group: &str, kind: &str) -> &'static Columns {
    let key = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
    known().get(&key).unwrap_or_else(|| &known()["*"])
}

/// All of `columns.txt`.
fn known() -> &'static HashMap<String, Columns> {
    static TABLE: LazyLock<HashMap<String, Columns>> =
        LazyLock::new(|| match parse::table(include_str!("../table/columns.txt")) {
            Ok(table) => table,
            // The text is part of the program and a test parses it: this cannot happen in a released build.
            Err(error) => panic!("the table of columns is broken: {error}"),
        });
    &TABLE
}

impl Columns {
    /// The columns of a version of a custom resource: its name, then its `additionalPrinterColumns`, or its age where
    /// it has none.
    pub fn custom(additional: &[Value]) -> Self {
        let mut columns =
            of_kind("*", "*").columns.iter().filter(|c| c.name == "Name").cloned().collect::<Vec<_>>();
        columns.extend(additional.iter().map(custom::column));
        if additional.is_empty() {
            let path = ".metadata.creationTimestamp";
            let mut age = custom::column(&json!({"name": "Age", "type": "date", "jsonPath": path}));
            age.description = Description::Field(Path::of(&["metadata", "creationTimestamp"]));
            columns.push(age);
        }
        Self { kind: "*".to_owned(), columns, ..Self::default() }
    }

    /// `columnDefinitions` of the `Table`.
    pub fn definitions(&self) -> Vec<Value> {
        let made = || {
            let shown: Vec<&Column> = self.columns.iter().filter(|c| !c.hidden).collect();
            let texts = descriptions::texts(&self.kind, shown.iter().map(|c| &c.description));
            let definition = |(c, text): (&&Column, String)| {
                json!({
                    "name": c.name, "type": c.ty, "format": c.format, "description": text, "priority": c.priority,
                })
            };
            shown.iter().zip(texts).map(definition).collect()
        };
        self.definitions.get_or_init(made).clone()
    }

    /// The row of one object, whose `apiVersion` and `kind` must be set if it is to be included whole. `version`
    /// is the group version of the `Table` itself.
    pub fn row(&self, object: &Value, include: IncludeObject, version: &str, now: Timestamp) -> Value {
        let mut row = Object::new();
        let cells = self.columns.iter().map(|c| c.cell.show(object, c.ty, now));
        row.insert("cells".to_owned(), cells.collect());
        if let Some(condition) = completed(object) {
            row.insert("conditions".to_owned(), Value::from(vec![condition]));
        }
        let included = match include {
            IncludeObject::None => None,
            IncludeObject::Metadata => Some(json!({
                "kind": "PartialObjectMetadata", "apiVersion": version, "metadata": object["metadata"],
            })),
            IncludeObject::Object => Some(object.clone()),
        };
        row.insert("object".to_owned(), included.unwrap_or_default());
        Value::Object(row)
    }
}

/// A `Table` from its rows; `metadata` is that of the list, or the resourceVersion of the single object. Watches
/// send `columns` with the first event only, and requests with `noHeaders` get none.
pub fn table(version: &str, metadata: Value, columns: Option<&Columns>, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table", "apiVersion": version, "metadata": metadata,
        "columnDefinitions": columns.map(Columns::definitions).unwrap_or_default(), "rows": rows,
    })
}

/// The condition of the row of a pod that has come to its end.
fn completed(object: &Value) -> Option<Value> {
    if object["kind"] != "Pod" && object["spec"].get("containers").is_none() {
        return None;
    }
    let (reason, message) = match object["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

impl Cell {
    fn show(&self, object: &Value, ty: &str, now: Timestamp) -> Value {
        match self {
            Self::Value { path, absent } => match path.find(object) {
                Some(Value::String(text)) if text.is_empty() => absent.clone(),
                Some(value @ (Value::Array(_) | Value::Object(_))) => Value::from(value.to_string()),
                Some(value) => value.clone(),
                None if *absent == "" && ty == "integer" => Value::from(0),
                None if *absent == "" && ty == "boolean" => Value::from(false),
                None => absent.clone(),
            },
            Self::Custom(path) => path.cell(object, ty, now),
            Self::Age => Value::from(since(&object["metadata"]["creationTimestamp"], now, "<unknown>")),
            Self::Since { path, absent } => {
                Value::from(since(path.find(object).unwrap_or(&Value::Null), now, absent))
            }
            Self::Count(path) => Value::from(count(path.find(object))),
            Self::Join { path, absent } => {
                let items = path.find(object).and_then(Value::as_array).into_iter().flatten();
                let texts: Vec<&str> = items.filter_map(Value::as_str).collect();
                Value::from(if texts.is_empty() { absent.clone() } else { texts.join(",") })
            }
            Self::Labels(path) => Value::from(labels(path.find(object))),
            Self::Selector(path) => Value::from(selector(path.find(object))),
            Self::Containers { path, member } => {
                let containers = path.find(object).and_then(|spec| spec["containers"].as_array());
                let texts = containers.into_iter().flatten().filter_map(|c| c[*member].as_str());
                Value::from(texts.collect::<Vec<_>>().join(","))
            }
            Self::Ratio(a, b) => {
                let number = |path: &Path| path.find(object).and_then(Value::as_i64).unwrap_or(0);
                Value::from(format!("{}/{}", number(a), number(b)))
            }
            Self::Function { function, argument, absent } => {
                match function(&cells::Context { object, argument, now }) {
                    Some(value) => value,
                    None => Value::from(absent.as_str()),
                }
            }
        }
    }
}

/// The time since a timestamp, for people.
fn since(time: &Value, now: Timestamp, absent: &str) -> String {
    match time.as_str().map(Timestamp::parse) {
        Some(Ok(time)) if !time.is_zero() => duration::human(now.seconds_since(time)),
        _ => absent.to_owned(),
    }
}

fn count(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

fn labels(labels: Option<&Value>) -> String {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

fn selector(selector: Option<&Value>) -> String {
    match crate::selector::LabelSelector::from_object(selector) {
        Ok(selector) if selector.requirements().is_empty() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

#[cfg(test)]
mod tests;
