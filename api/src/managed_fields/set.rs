//! Sets of field paths in the form of `fieldsV1`.
//!
//! A set is a tree of JSON objects whose member names are path elements: `f:NAME` a field, `k:{…}` a list item by
//! its keys, `v:VALUE` a list item by its value, `i:N` a list item by its place. A node without members is in the
//! set; one with members is in it where one of them is `.`. The tree is kept as it stands in the document, so that
//! reading and writing it costs nothing.
//!
//! **Invariant**: below the root, a node's only member is never `.` (it is left out instead), and keys and values
//! in names are JSON without spaces, members in order.
use crate::{Object, Value};
use std::fmt::{self, Display, Formatter};

/// A set of field paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Object);

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum PathElement {
    /// A member of an object.
    Field(String),
    /// The item of a list with these keys.
    Key(Object),
    /// The item of a list that equals this value.
    Value(Value),
    /// The item of a list at this place.
    Index(i64),
}

/// A member name of `fieldsV1` that is no path element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// No known type letter and colon.
    #[error("missing colon: {0}")]
    Type(String),
    /// Bad JSON after `k:` or `v:`, or a bad number after `i:`.
    #[error("invalid path element: {0}")]
    Content(String),
    /// A node that is no object.
    #[error("expected an object below {0:?}")]
    Node(String),
}

impl PathElement {
    /// Reads a member name of `fieldsV1`.
    pub fn parse(text: &str) -> Result<Self, ElementError> {
        let bad = || ElementError::Content(text.to_owned());
        match text.split_once(':') {
            Some(("f", name)) => Ok(Self::Field(name.to_owned())),
            Some(("k", keys)) => serde_json::from_str(keys).map(Self::Key).map_err(|_| bad()),
            Some(("v", value)) => serde_json::from_str(value).map(Self::Value).map_err(|_| bad()),
            Some(("i", index)) => index.parse().map(Self::Index).map_err(|_| bad()),
            _ => Err(ElementError::Type(text.to_owned())),
        }
    }

    /// The member name in `fieldsV1`.
    pub fn to_name(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => key_name(keys.iter().map(|(name, value)| (name.as_str(), value))),
            Self::Value(value) => value_name(value),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

impl Display for PathElement {
    /// As in messages: `.spec`, `[name="a"]`, `[="v"]`, `[0]`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// `k:{…}` from keys that come in order.
pub(super) fn key_name<'v>(keys: impl Iterator<Item = (&'v str, &'v Value)>) -> String {
    let mut name = String::from("k:{");
    for (at, (key, value)) in keys.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Names of fields need no escapes.
        name.push_str(&format!("{comma}\"{key}\":{value}"));
    }
    name.push('}');
    name
}

pub(super) fn value_name(value: &Value) -> String {
    format!("v:{value}")
}

/// A node under construction: whether it is in the set itself, and what is below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) children: Object,
}

impl Node {
    /// Puts a finished child under the element `name`, unless nothing of it is in the set.
    pub(super) fn attach(&mut self, name: impl FnOnce() -> String, child: Self) {
        if child.member || !child.children.is_empty() {
            self.children.insert(name(), child.finish());
        }
    }

    fn finish(mut self) -> Value {
        if self.member && !self.children.is_empty() {
            self.children.insert(".".to_owned(), Value::Object(Object::new()));
        }
        Value::Object(self.children)
    }

    /// The whole as a set; its root is in no set.
    pub(super) fn into_set(self) -> Set {
        Set(self.children)
    }
}

pub(super) fn is_member(node: &Object) -> bool {
    node.is_empty() || node.contains_key(".")
}

/// Gives a node its normal form after a change of its children; false where nothing of it is left.
fn normalize(node: &mut Object, member: bool) -> bool {
    node.remove(".");
    if member && !node.is_empty() {
        node.insert(".".to_owned(), Value::Object(Object::new()));
    }
    member || !node.is_empty()
}

impl Set {
    /// Reads `fieldsV1`, bringing keys and values in member names into their normal form.
    pub fn parse(fields: Value) -> Result<Self, ElementError> {
        fn node(name: &str, value: Value) -> Result<Object, ElementError> {
            let Value::Object(members) = value else { return Err(ElementError::Node(name.to_owned())) };
            let mut out = Object::new();
            for (name, child) in members {
                if name == "." {
                    out.insert(name, Value::Object(Object::new()));
                    continue;
                }
                let name = PathElement::parse(&name)?.to_name();
                let child = node(&name, child)?;
                out.insert(name, Value::Object(child));
            }
            if out.len() == 1 {
                out.remove(".");
            }
            Ok(out)
        }
        let mut root = node("", fields)?;
        root.remove(".");
        Ok(Self(root))
    }

    /// Takes `fieldsV1` that this module has written before.
    pub(super) fn trusted(fields: Value) -> Self {
        match fields {
            Value::Object(root) => Self(root),
            _ => Self::default(),
        }
    }

    /// The value of `fieldsV1`.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// The nodes below the root.
    pub(super) fn root(&self) -> &Object {
        &self.0
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the path, given by member names, is in it.
    pub fn contains(&self, path: &[&str]) -> bool {
        let mut node = &self.0;
        for name in path {
            match node.get(*name).and_then(Value::as_object) {
                Some(child) => node = child,
                None => return false,
            }
        }
        !path.is_empty() && is_member(node)
    }

    /// The paths as messages show them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        fn walk(node: &Object, path: &str, out: &mut Vec<String>) {
            for (name, child) in node.iter().filter(|(name, _)| *name != ".") {
                let (Ok(element), Some(child)) = (PathElement::parse(name), child.as_object()) else {
                    continue;
                };
                let path = format!("{path}{element}");
                if is_member(child) {
                    out.push(path.clone());
                }
                walk(child, &path, out);
            }
        }
        let mut out = Vec::new();
        walk(&self.0, "", &mut out);
        out
    }

    /// Adds the paths of `other`.
    pub fn union(&mut self, other: Self) {
        union_children(&mut self.0, other.0);
    }

    /// Takes away the very paths of `other` (not what lies below them).
    pub fn subtract(&mut self, other: &Self) {
        subtract_children(&mut self.0, &other.0);
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(intersect_children(&self.0, &other.0))
    }
}

fn union_children(into: &mut Object, from: Object) {
    for (name, child) in from {
        if name == "." {
            continue;
        }
        let Value::Object(child) = child else { continue };
        match into.get_mut(&name).and_then(Value::as_object_mut) {
            Some(node) => {
                let member = is_member(node) || is_member(&child);
                union_children(node, child);
                normalize(node, member);
            }
            None => {
                into.insert(name, Value::Object(child));
            }
        }
    }
}

fn subtract_children(from: &mut Object, minus: &Object) {
    for (name, minus) in minus {
        let (Some(node), Some(minus)) =
            (from.get_mut(name).and_then(Value::as_object_mut), minus.as_object())
        else {
            continue;
        };
        let member = is_member(node) && !is_member(minus);
        subtract_children(node, minus);
        if name != "." && !normalize(node, member) {
            from.remove(name);
        }
    }
}

fn intersect_children(a: &Object, b: &Object) -> Object {
    let mut out = Node::default();
    for (name, a) in a {
        let (Some(a), Some(b)) = (a.as_object(), b.get(name).and_then(Value::as_object)) else { continue };
        if name != "." {
            let child = Node { member: is_member(a) && is_member(b), children: intersect_children(a, b) };
            out.attach(|| name.clone(), child);
        }
    }
    out.children
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn set(value: Value) -> Set {
        Set::parse(value).expect("a field set")
    }

    #[test]
    fn normal_form() {
        let text = json!({"f:a": {".": {}, "k:{\"b\": 1, \"a\":\"x\"}": {".": {}}}, "v: \"q\"": {}, ".": {}});
        let expected = json!({"f:a": {".": {}, "k:{\"a\":\"x\",\"b\":1}": {}}, "v:\"q\"": {}});
        assert_eq!(set(text).into_value(), expected);
        for bad in [json!({"x": {}}), json!({"k:{": {}}), json!({"i:x": {}}), json!({"f:a": 1})] {
            assert!(Set::parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn operations() {
        let mut a = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        a.subtract(&set(json!({"f:a": {}})));
        assert_eq!(a, set(json!({"f:a": {"f:b": {}}, "f:c": {}})));
        a.subtract(&set(json!({"f:a": {"f:b": {}}})));
        assert_eq!(a, set(json!({"f:c": {}})));
        a.union(set(json!({"f:c": {"f:d": {}}})));
        assert_eq!(a, set(json!({"f:c": {".": {}, "f:d": {}}})));
        a.subtract(&set(json!({"f:c": {"f:d": {}}})));
        assert_eq!(a.into_value(), json!({"f:c": {}}));
    }

    type Path = Vec<String>;

    fn paths() -> impl Strategy<Value = BTreeSet<Path>> {
        proptest::collection::btree_set(proptest::collection::vec("f:[ab]", 1..4), 0..6)
    }

    fn build(paths: &BTreeSet<Path>) -> Set {
        let mut out = Set::default();
        for path in paths {
            let leaf = Value::Object(Object::new());
            let nested = path.iter().rev().fold(leaf, |inner, name| json!({name: inner}));
            out.union(Set::trusted(nested));
        }
        out
    }

    fn flatten(set: &Set) -> BTreeSet<Path> {
        fn walk(node: &Object, path: &mut Path, out: &mut BTreeSet<Path>) {
            for (name, child) in node.iter().filter(|(name, _)| *name != ".") {
                path.push(name.clone());
                let child = child.as_object().expect("a node");
                if is_member(child) {
                    out.insert(path.clone());
                }
                walk(child, path, out);
                path.pop();
            }
        }
        let mut out = BTreeSet::new();
        walk(&set.0, &mut Vec::new(), &mut out);
        out
    }

    proptest! {
        /// The trees behave like plain sets of paths, and stay in normal form.
        #[test]
        fn algebra(a in paths(), b in paths()) {
            let (set_a, set_b) = (build(&a), build(&b));
            prop_assert_eq!(&flatten(&set_a), &a);
            let mut union = set_a.clone();
            union.union(set_b.clone());
            prop_assert_eq!(flatten(&union), &a | &b);
            let mut difference = set_a.clone();
            difference.subtract(&set_b);
            prop_assert_eq!(flatten(&difference), &a - &b);
            let common = set_a.intersection(&set_b);
            prop_assert_eq!(flatten(&common), &a & &b);
            for result in [union, difference, common] {
                prop_assert_eq!(Set::parse(result.clone().into_value()), Ok(result));
            }
        }
    }
}
