//! Columns of custom resources: `additionalPrinterColumns`, whose cells are JSONPaths.
//!
//! Of JSONPath there is what printer columns use: members (`.a`, `['a']`, `\.` for a dot in a name), indexes, `[*]`
//! and filters by equality (`[?(@.type=="Ready")]`). A path of another form gives empty cells.
use super::{Cell, Column, Description, since};
use crate::Value;
use crate::time::Timestamp;

/// A parsed path.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonPath(Option<Vec<Step>>);

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    /// From the end where negative.
    Index(i64),
    All,
    /// Items with a member at these names that is equal (or not).
    Filter {
        names: Vec<String>,
        value: Value,
        equal: bool,
    },
}

/// One column; validation has checked it.
pub(super) fn column(given: &Value) -> Column {
    let text = |name: &str| given[name].as_str().unwrap_or_default();
    let known = |list: &[&'static str], name: &str| list.iter().copied().find(|known| *known == name);
    let types = ["integer", "number", "string", "boolean", "date"];
    let formats = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
    Column {
        name: text("name").to_owned(),
        ty: known(&types, text("type")).unwrap_or("string"),
        format: known(&formats, text("format")).unwrap_or_default(),
        description: Description::Text(match text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
            given => given.to_owned(),
        }),
        priority: given["priority"].as_u64().and_then(|p| u8::try_from(p).ok()).unwrap_or(0),
        hidden: false,
        cell: Cell::Custom(JsonPath(parse(text("jsonPath")))),
    }
}

impl JsonPath {
    fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![object];
        let Some(steps) = &self.0 else { return Vec::new() };
        for step in steps {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found.retain(|value| !value.is_null());
        found
    }

    /// The cell of an object: null where it has nothing at the path or not of the column's type.
    pub(super) fn cell(&self, object: &Value, ty: &str, now: Timestamp) -> Value {
        let found = self.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match ty {
            "date" if first.is_string() => since(first, now, "<invalid>").into(),
            "integer" => match (first.as_i64(), first.as_f64()) {
                (Some(n), _) => n.into(),
                (_, Some(n)) => (n as i64).into(),
                _ => Value::Null,
            },
            "number" if first.is_number() => (*first).clone(),
            "boolean" if first.is_boolean() => (*first).clone(),
            "string" => found.iter().map(|value| plain(value)).collect::<Vec<_>>().join(" ").into(),
            _ => Value::Null,
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Step {
    fn apply<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(at) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let at = if *at < 0 { at + items.len() as i64 } else { *at };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(members) => members.values().collect(),
                _ => Vec::new(),
            },
            Self::Filter { names, value: wanted, equal } => {
                let matches = |item: &&Value| {
                    let found = names.iter().try_fold(*item, |v, name| v.get(name));
                    found.is_some_and(|found| (found == wanted) == *equal)
                };
                value.as_array().into_iter().flatten().filter(matches).collect()
            }
        }
    }
}

fn parse(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            steps.push(bracket(inner[..end].trim())?);
            rest = &inner[end + 1..];
            continue;
        }
        rest = rest.strip_prefix('.')?;
        if rest.starts_with('[') {
            continue;
        }
        let (name, after) = member(rest);
        rest = after;
        match name.as_str() {
            "" => return None,
            "*" => steps.push(Step::All),
            _ => steps.push(Step::Member(name)),
        }
    }
    Some(steps)
}

/// A name up to the next dot or bracket; a backslash takes the character after it into the name.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// The position of the bracket that closes one already opened, outside quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Member(name.to_owned()));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (left, right, equal) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, right, true),
            (_, Some((left, right))) => (left, right, false),
            _ => return None,
        };
        let path = parse(left.trim().strip_prefix('@')?)?;
        let names = path.into_iter().map(|step| match step {
            Step::Member(name) => Some(name),
            _ => None,
        });
        let right = right.trim();
        let value = match quoted(right) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(right).ok()?,
        };
        return Some(Step::Filter { names: names.collect::<Option<_>>()?, value, equal });
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}
