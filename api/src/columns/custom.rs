//! Columns of custom resources: `additionalPrinterColumns`, whose cells are JSONPaths.
//!
//! Of JSONPath there is what client-go's package knows of paths: members (`.a`, `\.` for a dot in a name; `['a.b']` is
//! another way to write `.a.b`), indexes,
//! slices (`[-1:]`, `[0:4:2]`), unions (`[0,2]`), `[*]`, descent (`..a`), and filters that compare or ask for a member
//! (`[?(@.type=="Ready")]`, `[?(@.weight>2)]`, `[?(@.name)]`). A path of another form gives empty cells.
use super::{Cell, Column, Description, since};
use crate::Value;
use crate::time::Timestamp;
use std::cmp::Ordering;

/// A parsed path.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonPath(Option<Vec<Step>>);

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    /// What one step after the other leads to.
    Path(Vec<Step>),
    /// From the end where negative.
    Index(i64),
    /// Items from one to before another, each so many further; negative ones count from the end.
    Slice(Option<i64>, Option<i64>, i64),
    /// What several steps give, one after the other.
    Union(Vec<Step>),
    All,
    /// A value with everything in it.
    Descent,
    /// Items in which a path leads to something, that compares so where it is to be compared.
    Filter(Vec<Step>, Option<(Comparison, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// As they are written; what begins another comes after it.
    const WRITTEN: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            (Value::Number(left), Value::Number(right)) => {
                left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
            }
            _ => None,
        };
        match self {
            Self::Equal => order.map_or(left == right, Ordering::is_eq),
            Self::Unequal => order.map_or(left != right, Ordering::is_ne),
            Self::Less => order.is_some_and(Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order.is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
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
        let Some(steps) = &self.0 else { return Vec::new() };
        let mut found = walk(steps, object);
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
            // Of several the first, as in the original.
            "string" => plain(first).into(),
            _ => Value::Null,
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a path leads to.
fn walk<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    steps
        .iter()
        .fold(vec![value], |found, step| found.into_iter().flat_map(|value| step.apply(value)).collect())
}

/// A value and all below it, what is above first.
fn descend<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, found)),
        Value::Object(members) => members.values().for_each(|member| descend(member, found)),
        _ => {}
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Path(steps) => walk(steps, value),
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
            Self::Slice(from, to, step) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let length = items.len() as i64;
                let place = |at: i64| if at < 0 { at + length } else { at }.clamp(0, length) as usize;
                let (from, to) = (from.map_or(0, place), to.map_or(items.len(), place));
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                items.get(from..to).unwrap_or_default().iter().step_by(step).collect()
            }
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(value)).collect(),
            Self::Descent => {
                let mut found = Vec::new();
                descend(value, &mut found);
                found
            }
            Self::Filter(path, condition) => {
                let matches = |item: &&Value| match (walk(path, item).as_slice(), condition) {
                    ([], _) => false,
                    (_, None) => true,
                    ([left], Some((comparison, right))) => comparison.holds(left, right),
                    _ => false,
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
        if let Some(after) = rest.strip_prefix('.') {
            steps.push(Step::Descent);
            rest = after;
        }
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
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return condition(filter);
    }
    let parts = split(text, ',');
    if parts.len() > 1 {
        return parts.into_iter().map(bracket).collect::<Option<_>>().map(Step::Union);
    }
    if let Some(path) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return parse(&format!(".{path}")).map(Step::Path);
    }
    let bound = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    match *text.split(':').map(str::trim).collect::<Vec<_>>() {
        [index] => index.parse().ok().map(Step::Index),
        [from, to] => Some(Step::Slice(bound(from)?, bound(to)?, 1)),
        [from, to, step] => Some(Step::Slice(bound(from)?, bound(to)?, bound(step)?.unwrap_or(1))),
        _ => None,
    }
}

/// What stands in `?(…)`.
fn condition(filter: &str) -> Option<Step> {
    let below = |path: &str| parse(path.trim().strip_prefix('@')?);
    let outside = |mark: &str| {
        let parts = split(filter, mark.chars().next().unwrap_or_default());
        let left = parts.first().filter(|_| parts.len() > 1)?;
        filter[left.len()..].strip_prefix(mark).map(|right| (*left, right))
    };
    let found = Comparison::WRITTEN
        .iter()
        .find_map(|(mark, comparison)| outside(mark).map(|(left, right)| (left, *comparison, right.trim())));
    let Some((left, comparison, right)) = found else {
        return below(filter).map(|path| Step::Filter(path, None));
    };
    let value = match quoted(right) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Filter(below(left)?, Some((comparison, value))))
}

/// The parts between separators that stand in no quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, c) if c == separator => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.trim().strip_prefix(*q)?.strip_suffix(*q))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_those_of_the_original_do() {
        let object = json!({
            "l": [{"n": "a", "v": 1}, {"n": "b", "v": 2, "k": true}, {"n": "c,d", "v": 3}],
            "m": {"x.y": "dotted", "v": 4},
        });
        let check = |path: &str, expected: Value| {
            let found = JsonPath(parse(path));
            let texts: Vec<String> = found.find(&object).into_iter().map(plain).collect();
            let expected: Vec<&str> =
                expected.as_str().map(|text| text.split(' ').collect()).unwrap_or_default();
            assert_eq!(texts, expected, "{path}");
            let cell = found.cell(&object, "string", Timestamp { seconds: 0, nanos: 0 });
            assert_eq!(cell.as_str(), expected.first().copied(), "{path}");
        };
        check(".l[0].n", json!("a"));
        check(".l[-1].n", json!("c,d"));
        check(".l[-1:].n", json!("c,d"));
        check(".l[:2].n", json!("a b"));
        check(".l[1:9].v", json!("2 3"));
        check(".l[0:3:2].v", json!("1 3"));
        check(".l[3:]", Value::Null);
        check(".l[0,2].v", json!("1 3"));
        check(r".m['x\.y','v']", json!("dotted 4"));
        check(".m['x.y']", Value::Null);
        check("['m.v']", json!("4"));
        check(r#".m["v"]"#, Value::Null);
        check(r".m.x\.y", json!("dotted"));
        check("..v", json!("1 2 3 4"));
        check(".l[*].v", json!("1 2 3"));
        check(".l[?(@.k)].n", json!("b"));
        check(".l[?(@.v>1)].v", json!("2 3"));
        check(".l[?(@.v <= 2)].n", json!("a b"));
        check(r#".l[?(@.n=="c,d")].v"#, json!("3"));
        check(".l[?(@.n!='a')].v", json!("2 3"));
        check(r#".l[?(@.n>"a")].v"#, json!("2 3"));
        check(".l[", Value::Null);
        check(".l[?(@.n=)].v", Value::Null);
    }
}
