//! JSON Patch (RFC 6902) over JSON Pointers (RFC 6901); as in the original, a negative index counts from the
//! end of a list.
use super::Error;
use crate::Value;
use crate::json::{MAX_DEPTH, is_deeper, json_type};

/// Most operations a patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that the copy operations of one patch may add together.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// A decoded patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operation {
    Add { path: Pointer, value: Value },
    Remove { path: Pointer },
    Replace { path: Pointer, value: Value },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: Value },
}

/// A JSON Pointer: its text and its unescaped parts.
#[derive(Clone, Debug, PartialEq)]
struct Pointer {
    text: String,
    parts: Vec<String>,
}

impl Patch {
    /// Decodes a patch document.
    pub fn decode(document: &Value) -> Result<Self, Error> {
        let malformed = |value: &Value, go: &str| {
            let what = json_type(value);
            Error::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {what} into Go value of type {go}"
            ))
        };
        let operations = document.as_array().ok_or_else(|| malformed(document, "[]handlers.jsonPatchOp"))?;
        if operations.len() > MAX_OPERATIONS {
            return Err(Error::TooManyOperations(operations.len()));
        }
        let operations = operations.iter().map(|operation| {
            if operation.is_object() {
                Operation::decode(operation)
            } else {
                Err(malformed(operation, "handlers.jsonPatchOp"))
            }
        });
        Ok(Self { operations: operations.collect::<Result<_, _>>()? })
    }

    /// Applies the operations in order; after an error `document` is in an undefined state.
    pub fn apply(&self, document: &mut Value) -> Result<(), Error> {
        let mut copied = 0;
        self.operations.iter().try_for_each(|operation| operation.apply(document, &mut copied))
    }
}

impl Operation {
    fn decode(operation: &Value) -> Result<Self, Error> {
        let text = |name: &str| {
            let missing = || Error::DoesNotApply(format!("operation missing {name} field: missing value"));
            operation[name].as_str().ok_or_else(missing)
        };
        let path = || Pointer::decode(text("path")?);
        let from = || Pointer::decode(text("from")?);
        let value = || operation["value"].clone();
        Ok(match operation["op"].as_str().unwrap_or_default() {
            "add" => Self::Add { path: path()?, value: value() },
            "remove" => Self::Remove { path: path()? },
            "replace" => Self::Replace { path: path()?, value: value() },
            "move" => Self::Move { from: from()?, path: path()? },
            "copy" => Self::Copy { from: from()?, path: path()? },
            "test" => Self::Test { path: path()?, value: value() },
            other => return Err(Error::DoesNotApply(format!("Unexpected kind: {other}"))),
        })
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), Error> {
        match self {
            Self::Add { path, value } => path.add(document, value.clone(), "add"),
            Self::Remove { path } => path.remove(document, "remove").map(drop),
            Self::Replace { path, value } => {
                let missing = path.gap(document);
                let old = path.find_mut(document).ok_or_else(|| path.missing("replace", missing))?;
                path.bears(value)?;
                *old = value.clone();
                Ok(())
            }
            Self::Move { from, path } => {
                let value = from.remove(document, "move")?;
                path.add(document, value, "move")
            }
            Self::Copy { from, path } => {
                let value = from.find_mut(document).ok_or_else(|| from.missing("copy", "path"))?.clone();
                *copied += value.to_string().len();
                if *copied > MAX_COPIED {
                    let text = "Unable to complete the copy, the accumulated size increase of copy is";
                    let text = format!("{text} {copied}, exceeding the limit {MAX_COPIED}");
                    return Err(Error::DoesNotApply(text));
                }
                path.add(document, value, "copy")
            }
            Self::Test { path, value } => {
                let found = path.find_mut(document).map_or(&Value::Null, |v| v);
                if same(found, value) {
                    return Ok(());
                }
                Err(Error::DoesNotApply(format!("testing value {} failed: test failed", path.text)))
            }
        }
    }
}

/// Equality of JSON values; `1` and `1.0` are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, value)| y.get(name).is_some_and(|y| same(value, y)))
        }
        _ => a == b,
    }
}

impl Pointer {
    fn decode(text: &str) -> Result<Self, Error> {
        let parts = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(|p| p.replace("~1", "/").replace("~0", "~")).collect(),
            None if text.is_empty() => Vec::new(),
            None => {
                return Err(Error::DoesNotApply(format!("doc is missing path: \"{text}\": missing value")));
            }
        };
        Ok(Self { text: text.to_owned(), parts })
    }

    fn missing(&self, operation: &str, what: &str) -> Error {
        let path = &self.text;
        Error::DoesNotApply(format!(
            "{operation} operation does not apply: doc is missing {what}: {path}: missing value"
        ))
    }

    /// What a document that has no value here lacks: the container, or the key in it.
    fn gap(&self, document: &Value) -> &'static str {
        let Some((_, parents)) = self.parts.split_last() else { return "path" };
        let container = parents.iter().try_fold(document, |value, part| match value {
            Value::Object(object) => object.get(part),
            Value::Array(list) => list.get(index(part, list.len())?),
            _ => None,
        });
        if container.is_some_and(|value| value.is_object() || value.is_array()) { "key" } else { "path" }
    }

    fn find_mut<'v>(&self, document: &'v mut Value) -> Option<&'v mut Value> {
        self.parts.iter().try_fold(document, |value, part| step(value, part))
    }

    /// The container that holds the last part, and that part.
    fn parent_mut<'v>(
        &self,
        document: &'v mut Value,
        operation: &str,
    ) -> Result<(&'v mut Value, &str), Error> {
        let missing = || self.missing(operation, "path");
        let (last, parents) = self.parts.split_last().ok_or_else(missing)?;
        let parent = parents.iter().try_fold(document, |value, part| step(value, part));
        Ok((parent.ok_or_else(missing)?, last))
    }

    /// Whether a value may stand here: operations that build on each other would make a document as deep as no stack
    /// bears.
    fn bears(&self, value: &Value) -> Result<(), Error> {
        match MAX_DEPTH.checked_sub(self.parts.len()) {
            Some(left) if !is_deeper(value, left) => Ok(()),
            _ => Err(Error::Malformed("exceeded max depth".to_owned())),
        }
    }

    fn add(&self, document: &mut Value, value: Value, operation: &str) -> Result<(), Error> {
        self.bears(&value)?;
        if self.parts.is_empty() {
            *document = value;
            return Ok(());
        }
        match self.parent_mut(document, operation)? {
            (Value::Object(object), last) => {
                object.insert(last.to_owned(), value);
            }
            (Value::Array(list), last) => {
                // An insertion may also go right behind the last item, hence one place more.
                let at = if last == "-" { Some(list.len()) } else { index(last, list.len() + 1) };
                let bad = || {
                    Error::DoesNotApply(format!(
                        "Unable to access invalid index: {last}: invalid index referenced"
                    ))
                };
                list.insert(at.ok_or_else(bad)?, value);
            }
            _ => return Err(self.missing(operation, "path")),
        }
        Ok(())
    }

    fn remove(&self, document: &mut Value, operation: &str) -> Result<Value, Error> {
        let removed = match self.parent_mut(document, operation)? {
            (Value::Object(object), last) => object.remove(last),
            (Value::Array(list), last) => index(last, list.len()).map(|at| list.remove(at)),
            _ => None,
        };
        removed.ok_or_else(|| self.missing(operation, "path"))
    }
}

fn step<'v>(value: &'v mut Value, part: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(object) => object.get_mut(part),
        Value::Array(list) => index(part, list.len()).and_then(|at| list.get_mut(at)),
        _ => None,
    }
}

/// A position below `len`.
fn index(part: &str, len: usize) -> Option<usize> {
    let at = match part.parse::<isize>().ok()? {
        at if at < 0 => len.checked_sub(at.unsigned_abs())?,
        at => at.unsigned_abs(),
    };
    (at < len).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use proptest::prelude::*;
    use serde_json::json;

    fn apply(mut document: Value, patch: &Value) -> Result<Value, Error> {
        Patch::decode(patch)?.apply(&mut document)?;
        Ok(document)
    }

    #[test]
    fn operations() {
        for (document, patch, expected) in [
            (json!({}), json!([{"op": "add", "path": "/a", "value": 1}]), json!({"a": 1})),
            (json!({"a": 1}), json!([{"op": "add", "path": "/a", "value": 2}]), json!({"a": 2})),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/-", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/1", "value": 2}]), json!({"a": [1, 2]})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/0"}]), json!({"a": [2]})),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
            (
                json!({"a": {"b": 1}}),
                json!([{"op": "replace", "path": "/a/b", "value": 2}]),
                json!({"a": {"b": 2}}),
            ),
            (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
            (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 1.0}]), json!({"a": 1})),
            (json!({}), json!([{"op": "test", "path": "/a", "value": null}]), json!({})),
            (json!({"x/y": {"~": 1}}), json!([{"op": "remove", "path": "/x~1y/~0"}]), json!({"x/y": {}})),
            (json!({}), json!([{"op": "add", "path": "/~01", "value": 1}]), json!({"~1": 1})),
            (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": {"b": 1}}]), json!({"b": 1})),
            (
                json!({"metadata": {"labels": {}}}),
                json!([
                    {"op": "add", "path": "/metadata/labels/app.io~1x", "value": "y"},
                    {"op": "test", "path": "/metadata/labels", "value": {"app.io/x": "y"}},
                ]),
                json!({"metadata": {"labels": {"app.io/x": "y"}}}),
            ),
        ] {
            assert_eq!(apply(document, &patch), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn failures() {
        for (patch, code) in [
            (json!({"op": "add"}), 400),
            (json!(["x"]), 400),
            (json!([{"op": "frob", "path": "/a"}]), 422),
            (json!([{"op": "add", "value": 1}]), 422),
            (json!([{"op": "add", "path": "a", "value": 1}]), 422),
            (json!([{"op": "add", "path": "/x/y", "value": 1}]), 422),
            (json!([{"op": "add", "path": "/list/2", "value": 1}]), 422),
            (json!([{"op": "add", "path": "/list/x", "value": 1}]), 422),
            (json!([{"op": "remove", "path": "/x"}]), 422),
            (json!([{"op": "remove", "path": ""}]), 422),
            (json!([{"op": "replace", "path": "/x", "value": 1}]), 422),
            (json!([{"op": "test", "path": "/list", "value": 1}]), 422),
            (json!([{"op": "move", "from": "/x", "path": "/y"}]), 422),
            (json!([{"op": "copy", "from": "/x", "path": "/y"}]), 422),
            (Value::from(vec![json!({"op": "test", "path": "/x"}); 10_001]), 413),
        ] {
            let error = apply(json!({"list": [1]}), &patch).expect_err("a failure");
            assert_eq!(Status::from(error).code, code);
        }
        let error = apply(json!({}), &json!({"op": "add"})).expect_err("a failure");
        assert_eq!(
            error.to_string(),
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
        for (path, lacks) in [("/x", "key"), ("/x/y", "path"), ("/list/0/a", "path")] {
            let patch = json!([{"op": "replace", "path": path, "value": 1}]);
            let error = apply(json!({"list": [1]}), &patch).expect_err("a failure");
            let text =
                format!("replace operation does not apply: doc is missing {lacks}: {path}: missing value");
            assert_eq!(error.to_string(), text);
        }
        let error = apply(json!({}), &json!([{"op": "remove", "path": "/x"}])).expect_err("a failure");
        assert_eq!(
            error.to_string(),
            "remove operation does not apply: doc is missing path: /x: missing value"
        );
    }

    #[test]
    fn copies_cannot_explode() {
        let big = "x".repeat(2 * 1024 * 1024);
        let patch: Vec<Value> =
            (0..2).map(|n| json!({"op": "copy", "from": "/a", "path": format!("/b{n}")})).collect();
        assert!(apply(json!({"a": big}), &Value::from(patch)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(path in "[/a0-9~-]{0,8}", from in "[/a0-9~-]{0,8}", op in "add|remove|replace|move|copy|test") {
            let patch = json!([{"op": op, "path": path, "from": from, "value": {"a": []}}]);
            let _ = apply(json!({"a": [[1], {"a": 2}], "0": {"a": 1}}), &patch);
        }
    }
}
