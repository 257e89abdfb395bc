//! The difference of two versions of an object as sets of field paths.
//!
//! What counts as one field is the schema's matter: scalars, atomic lists, maps and structs, and anything empty
//! are single fields; other structs, maps and lists are looked into. A container that comes or goes is itself
//! part of the difference, beside what is in it. A field that Go always writes (no `omitempty`) is there even
//! where the document lacks it, with its zero value.
use super::set::{Node, Set, key_name, value_name};
use crate::kind::Kind;
use crate::schema::{Field, ListType, Schema, Shape, Special, TypeId};
use crate::{Object, Value};

/// What a write changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields that are new or have another value.
    pub changed: Set,
    /// Fields that are gone.
    pub removed: Set,
}

impl Comparison {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Members of the object and of its metadata that the server sets and nobody owns.
const UNTRACKED: [&str; 2] = ["apiVersion", "kind"];
const UNTRACKED_METADATA: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Whether a top-level member takes no part in a write through a subresource.
pub(super) fn is_untracked(kind: &Kind, subresource: &str, name: &str) -> bool {
    UNTRACKED.contains(&name)
        || match subresource {
            "" => name == "status" && kind.subresource("status").is_some(),
            "status" | "approval" => !matches!(name, "metadata" | "status"),
            "finalize" => name == "status",
            _ => false,
        }
}

/// What single kinds reset beyond that on a write to `status`: group, plural, member of metadata (empty: all of it).
const RESET_METADATA: [(&str, &str, &str); 7] = [
    ("", "pods", "deletionTimestamp"),
    ("", "pods", "ownerReferences"),
    ("apps", "deployments", "labels"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", ""),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", ""),
    ("resource.k8s.io", "resourceclaims", ""),
    ("storage.k8s.io", "volumeattachments", ""),
];

/// Whether a member of metadata takes no part in a write through the subresource.
pub(super) fn is_untracked_metadata(kind: &Kind, subresource: &str, name: &str) -> bool {
    let resets = |(group, plural, member): &(&str, &str, &str)| {
        *kind.gvk.group == **group && *kind.plural == **plural && (member.is_empty() || *member == name)
    };
    UNTRACKED_METADATA.contains(&name) || (subresource == "status" && RESET_METADATA.iter().any(resets))
}

/// Compares the live object (absent: a create) with the new one. A write through the main resource does not
/// touch the status of a kind whose status is a subresource, one through `status` only status and metadata.
pub fn compare(
    schema: &Schema,
    kind: &Kind,
    live: Option<&Value>,
    new: &Value,
    subresource: &str,
) -> Comparison {
    let skip = |name: &str| is_untracked(kind, subresource, name);
    let old = live.map_or(Side::Zero, Side::Value);
    let mut diff = Diff::default();
    let walker = Walker { schema };
    walker.object(kind.ty, old, Side::Value(new), skip, &mut diff, |field, old, new, diff| {
        match (&*field.name, &field.shape) {
            ("metadata", Shape::Struct(ty)) => {
                let skip = |name: &str| is_untracked_metadata(kind, subresource, name);
                walker.object(*ty, old, new, skip, diff, |f, old, new, diff| walker.field(f, old, new, diff));
                // Nobody owns the metadata as such: they would go with what was applied in them.
                diff.changed.member = false;
                diff.removed.member = false;
            }
            _ => walker.field(field, old, new, diff),
        }
    });
    diff.finish()
}

/// One side's value at a path.
#[derive(Clone, Copy, Debug)]
enum Side<'v> {
    /// Not there.
    Missing,
    /// There with its zero value, though the document does not show it.
    Zero,
    /// There.
    Value(&'v Value),
}

impl<'v> Side<'v> {
    fn is_missing(self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Whether a container has nothing in it.
    fn is_empty(self) -> bool {
        match self {
            Self::Value(Value::Object(object)) => object.is_empty(),
            Self::Value(Value::Array(items)) => items.is_empty(),
            _ => true,
        }
    }

    fn members(self) -> Option<&'v Object> {
        match self {
            Self::Value(value) => value.as_object(),
            _ => None,
        }
    }

    fn items(self) -> &'v [Value] {
        match self {
            Self::Value(Value::Array(items)) => items,
            _ => &[],
        }
    }

    fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => same(a, b),
            (Self::Value(value), Self::Zero) | (Self::Zero, Self::Value(value)) => is_zero(value),
            _ => true,
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_zero),
    }
}

/// Both sets of a comparison at one path.
#[derive(Debug, Default)]
struct Diff {
    changed: Node,
    removed: Node,
}

impl Diff {
    fn attach(&mut self, name: impl Fn() -> String, child: Self) {
        self.changed.attach(&name, child.changed);
        self.removed.attach(&name, child.removed);
    }

    /// A single field.
    fn leaf(&mut self, old: Side<'_>, new: Side<'_>) {
        match (old, new) {
            (Side::Missing, Side::Missing) => {}
            (_, Side::Missing) => self.removed.member = true,
            (Side::Missing, _) => self.changed.member = true,
            _ => self.changed.member |= !old.equals(new),
        }
    }

    /// The container itself, after what is in it.
    fn container(&mut self, old: Side<'_>, new: Side<'_>) {
        self.changed.member |= old.is_missing() && !new.is_missing();
        self.removed.member |= new.is_missing() && !old.is_missing();
    }

    fn finish(self) -> Comparison {
        Comparison { changed: self.changed.into_set(), removed: self.removed.into_set() }
    }
}

/// Walks values under a schema.
pub(super) struct Walker<'s> {
    pub(super) schema: &'s Schema,
}

impl Walker<'_> {
    fn field(&self, field: &Field, old: Side<'_>, new: Side<'_>, diff: &mut Diff) {
        match &field.shape {
            _ if field.atomic => diff.leaf(old, new),
            Shape::List(item) => match field.list_type {
                ListType::Atomic => diff.leaf(old, new),
                _ => self.list(field, item, old, new, diff),
            },
            Shape::Struct(ty) if field.granular => self.structure(*ty, old, new, diff),
            shape => self.shape(shape, old, new, diff),
        }
    }

    fn shape(&self, shape: &Shape, old: Side<'_>, new: Side<'_>, diff: &mut Diff) {
        match shape {
            Shape::Struct(ty) if !self.schema.get(*ty).atomic => self.structure(*ty, old, new, diff),
            Shape::Map(inner) => {
                self.map(old, new, diff, |old, new, diff| self.shape(inner, old, new, diff));
            }
            Shape::Special(Special::Any) => self.untyped(old, new, diff),
            _ => diff.leaf(old, new),
        }
    }

    fn structure(&self, ty: TypeId, old: Side<'_>, new: Side<'_>, diff: &mut Diff) {
        let each = |f: &Field, old: Side<'_>, new: Side<'_>, diff: &mut Diff| self.field(f, old, new, diff);
        self.object(ty, old, new, |_| false, diff, each);
    }

    /// A struct; `skip` names members that are left out.
    fn object(
        &self,
        ty: TypeId,
        old: Side<'_>,
        new: Side<'_>,
        skip: impl Fn(&str) -> bool,
        diff: &mut Diff,
        each: impl Fn(&Field, Side<'_>, Side<'_>, &mut Diff),
    ) {
        if old.is_empty() && new.is_empty() {
            return diff.leaf(old, new);
        }
        for (name, old_value, new_value) in pairs(old.members(), new.members()) {
            if skip(name) {
                continue;
            }
            let mut child = Diff::default();
            match self.schema.json_field(ty, name) {
                Some(field) => {
                    each(field, side(field, old_value, old), side(field, new_value, new), &mut child);
                }
                None if self.schema.get(ty).preserve_unknown => {
                    self.untyped(plain(old_value), plain(new_value), &mut child);
                }
                None => continue,
            }
            diff.attach(|| format!("f:{name}"), child);
        }
        diff.container(old, new);
    }

    fn map(
        &self,
        old: Side<'_>,
        new: Side<'_>,
        diff: &mut Diff,
        each: impl Fn(Side<'_>, Side<'_>, &mut Diff),
    ) {
        if old.is_empty() && new.is_empty() {
            return diff.leaf(old, new);
        }
        for (name, old, new) in pairs(old.members(), new.members()) {
            let mut child = Diff::default();
            each(plain(old), plain(new), &mut child);
            diff.attach(|| format!("f:{name}"), child);
        }
        diff.container(old, new);
    }

    /// Values without a schema: objects are looked into, lists are single fields.
    fn untyped(&self, old: Side<'_>, new: Side<'_>, diff: &mut Diff) {
        let object = |side: Side<'_>| match side {
            Side::Value(value) => value.is_object(),
            _ => true,
        };
        if object(old) && object(new) {
            self.map(old, new, diff, |old, new, diff| self.untyped(old, new, diff));
        } else {
            diff.leaf(old, new);
        }
    }

    /// A list whose items have an identity.
    fn list(&self, field: &Field, item: &Shape, old: Side<'_>, new: Side<'_>, diff: &mut Diff) {
        if old.is_empty() && new.is_empty() {
            return diff.leaf(old, new);
        }
        let (old_items, new_items) = (self.named(field, item, old), self.named(field, item, new));
        let (mut old_rest, mut new_rest) = (old_items.as_slice(), new_items.as_slice());
        while let Some(name) = [old_rest.first(), new_rest.first()].into_iter().flatten().map(|i| &i.0).min()
        {
            let run = |rest: &[(String, &Value)]| rest.iter().take_while(|i| i.0 == *name).count();
            let (olds, old_after) = old_rest.split_at(run(old_rest));
            let (news, new_after) = new_rest.split_at(run(new_rest));
            let mut child = Diff::default();
            match (olds, news) {
                ([_, _, ..], _) | (_, [_, _, ..]) => {
                    child.container(first(olds), first(news));
                    let values =
                        |run: &'_ [(String, &Value)]| run.iter().map(|i| i.1.clone()).collect::<Vec<_>>();
                    child.changed.member |= !news.is_empty() && values(olds) != values(news);
                }
                _ => self.shape(item, first(olds), first(news), &mut child),
            }
            diff.attach(|| name.clone(), child);
            (old_rest, new_rest) = (old_after, new_after);
        }
        diff.container(old, new);
    }

    /// The items of a list with their path elements, sorted by these.
    fn named<'v>(&self, field: &Field, item: &Shape, list: Side<'v>) -> Vec<(String, &'v Value)> {
        let mut items: Vec<(String, &Value)> =
            list.items().iter().map(|v| (self.item_name(field, item, v), v)).collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items
    }

    /// The path element of a list item: its keys, absent ones by their defaults; or itself.
    pub(super) fn item_name(&self, field: &Field, shape: &Shape, item: &Value) -> String {
        if field.list_type == ListType::Set {
            return value_name(item);
        }
        let mut keys: Vec<(&str, &Value)> = field
            .list_keys
            .iter()
            .filter_map(|key| Some((&**key, item.get(&**key).or_else(|| self.default(shape, key))?)))
            .collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        key_name(keys.into_iter())
    }

    /// The first key that an item of a keyed list lacks, and for which there is no default.
    pub(super) fn missing_key<'f>(&self, field: &'f Field, shape: &Shape, item: &Value) -> Option<&'f str> {
        let missing = |key: &&str| item.get(*key).is_none() && self.default(shape, key).is_none();
        field.list_keys.iter().map(|key| &**key).find(missing)
    }

    fn default(&self, shape: &Shape, key: &str) -> Option<&Value> {
        match shape {
            Shape::Struct(ty) => self.schema.json_field(*ty, key).and_then(|f| f.default.as_ref()),
            _ => None,
        }
    }
}

fn first<'v>(run: &[(String, &'v Value)]) -> Side<'v> {
    run.first().map_or(Side::Missing, |item| Side::Value(item.1))
}

fn plain(value: Option<&Value>) -> Side<'_> {
    value.map_or(Side::Missing, Side::Value)
}

/// A member's side: where the document lacks it but Go would write it, its zero value.
fn side<'v>(field: &Field, value: Option<&'v Value>, parent: Side<'_>) -> Side<'v> {
    // Go's `omitempty` never leaves out a struct, which most special forms are.
    let omitted = field.omit_empty && !matches!(field.shape, Shape::Struct(_) | Shape::Special(_))
        || field.omit_zero
        || field.pointer;
    match value {
        Some(value) => Side::Value(value),
        None if parent.is_missing() || omitted => Side::Missing,
        None => Side::Zero,
    }
}

/// The members of two objects side by side, in order of their names.
fn pairs<'v>(
    old: Option<&'v Object>,
    new: Option<&'v Object>,
) -> impl Iterator<Item = (&'v str, Option<&'v Value>, Option<&'v Value>)> {
    let mut old = old.into_iter().flatten().peekable();
    let mut new = new.into_iter().flatten().peekable();
    std::iter::from_fn(move || {
        let take_old = match (old.peek(), new.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return None,
        };
        match take_old {
            std::cmp::Ordering::Less => old.next().map(|(name, value)| (name.as_str(), Some(value), None)),
            std::cmp::Ordering::Greater => new.next().map(|(name, value)| (name.as_str(), None, Some(value))),
            std::cmp::Ordering::Equal => {
                let (name, old) = old.next()?;
                Some((name.as_str(), Some(old), new.next().map(|(_, value)| value)))
            }
        }
    })
}
