//! The fields that a document sets: what an applier comes to own.
//!
//! Other than in a comparison, a struct, map or list with something in it is not itself a field; an entry of a
//! map and an item of a list always are.
use super::compare::{Walker, is_untracked, is_untracked_metadata};
use super::set::{Node, PathElement, Set};
use crate::go_text;
use crate::kind::Kind;
use crate::schema::{Field, ListType, Schema, Shape, Special, TypeId};
use crate::{Object, Value};

/// The fields of `object`, but those that nobody owns; the error is the first member that the schema does not
/// know, or the first item that stands twice in a keyed list, in the original's words.
pub fn field_set(schema: &Schema, kind: &Kind, object: &Value, subresource: &str) -> Result<Set, String> {
    let mut root = Node::default();
    let walker = FieldSet { walker: Walker { schema } };
    for (name, value) in object.as_object().into_iter().flatten() {
        if is_untracked(kind, subresource, name) {
            continue;
        }
        let mut child = Node::default();
        match (schema.json_field(kind.ty, name).map(|field| &field.shape), value) {
            (Some(Shape::Struct(ty)), Value::Object(members)) if name == "metadata" => {
                let skip = |name: &str| is_untracked_metadata(kind, subresource, name);
                walker.structure(*ty, members, skip, ".metadata", &mut child)?;
            }
            _ => walker.member(kind.ty, name, value, "", &mut child)?,
        }
        root.attach(|| format!("f:{name}"), child);
    }
    Ok(root.into_set())
}

struct FieldSet<'s> {
    walker: Walker<'s>,
}

impl FieldSet<'_> {
    /// A member of a struct, declared or not.
    fn member(
        &self,
        ty: TypeId,
        name: &str,
        value: &Value,
        path: &str,
        node: &mut Node,
    ) -> Result<(), String> {
        let of = self.walker.schema.get(ty);
        let own_path = format!("{path}.{name}");
        match self.walker.schema.json_field(ty, name) {
            Some(field) => self.field(field, value, &own_path, node),
            // Of an object within the object.
            None if of.has_type_meta && matches!(name, "apiVersion" | "kind") => {
                self.shape(&Shape::String, value, &own_path, node)
            }
            None if of.preserve_unknown => {
                untyped(value, node);
                node.member = true;
                Ok(())
            }
            None => Err(format!("{own_path}: field not declared in schema")),
        }
    }

    fn field(&self, field: &Field, value: &Value, path: &str, node: &mut Node) -> Result<(), String> {
        match (&field.shape, value) {
            (Shape::List(item), Value::Array(items))
                if !items.is_empty() && field.list_type != ListType::Atomic && !field.atomic =>
            {
                self.list(field, item, items, path, node)
            }
            (Shape::Struct(ty), Value::Object(members))
                if field.granular && !field.atomic && !members.is_empty() =>
            {
                self.structure(*ty, members, |_| false, path, node)
            }
            (Shape::List(_), value) => {
                fits(&field.shape, value, path)?;
                node.member = true;
                Ok(())
            }
            _ if field.atomic => {
                fits(&field.shape, value, path)?;
                node.member = true;
                Ok(())
            }
            (shape, value) => self.shape(shape, value, path, node),
        }
    }

    fn shape(&self, shape: &Shape, value: &Value, path: &str, node: &mut Node) -> Result<(), String> {
        match (shape, value) {
            (Shape::Struct(ty), Value::Object(members))
                if !members.is_empty() && !self.walker.schema.get(*ty).atomic =>
            {
                self.structure(*ty, members, |_| false, path, node)
            }
            (Shape::Map(inner), Value::Object(members)) if !members.is_empty() => {
                for (name, value) in members {
                    let mut child = Node { member: true, ..Node::default() };
                    self.shape(inner, value, &format!("{path}.{name}"), &mut child)?;
                    node.attach(|| format!("f:{name}"), child);
                }
                Ok(())
            }
            (Shape::Special(Special::Any), value) => {
                untyped(value, node);
                Ok(())
            }
            _ => {
                fits(shape, value, path)?;
                node.member = true;
                Ok(())
            }
        }
    }

    fn structure(
        &self,
        ty: TypeId,
        members: &Object,
        skip: impl Fn(&str) -> bool,
        path: &str,
        node: &mut Node,
    ) -> Result<(), String> {
        for (name, value) in members.iter().filter(|(name, value)| !skip(name) && !value.is_null()) {
            let mut child = Node::default();
            self.member(ty, name, value, path, &mut child)?;
            node.attach(|| format!("f:{name}"), child);
        }
        Ok(())
    }

    fn list(
        &self,
        field: &Field,
        item: &Shape,
        items: &[Value],
        path: &str,
        node: &mut Node,
    ) -> Result<(), String> {
        for (at, value) in items.iter().enumerate() {
            if let (ListType::Map, Some(key)) = (field.list_type, self.walker.missing_key(field, item, value))
            {
                return Err(format!(
                    "{path}: element {at}: associative list with keys has an element that omits key field {key:?} (and \
                     doesn't have default value)"
                ));
            }
            let name = self.walker.item_name(field, item, value);
            if node.children.contains_key(&name) {
                let element = PathElement::parse(&name).map(|e| e.to_string()).unwrap_or_default();
                return Err(format!("{path}: duplicate entries for key {element}"));
            }
            let mut child = Node { member: true, ..Node::default() };
            self.shape(item, value, path, &mut child)?;
            child.member = true;
            node.attach(|| name, child);
        }
        Ok(())
    }
}

/// The form of a value, as far as it is looked at before types are: the original knows text, numbers, truth, lists and
/// maps there, and leaves special forms alone. Null fits everywhere.
fn fits(shape: &Shape, value: &Value, path: &str) -> Result<(), String> {
    let expected = match (shape, value) {
        (_, Value::Null)
        | (Shape::String | Shape::Bytes, Value::String(_))
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Int32 | Shape::Int64 | Shape::Float64, Value::Number(_))
        | (Shape::List(_), Value::Array(_))
        | (Shape::Map(_) | Shape::Struct(_), Value::Object(_))
        | (Shape::Special(_), _) => return Ok(()),
        (Shape::String | Shape::Bytes, _) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_text::literal(value))
        }
        (Shape::Int32 | Shape::Int64 | Shape::Float64, _) => {
            format!("expected numeric (int or float), got {}", go_text::type_name(value))
        }
        (Shape::Bool, _) => format!("expected boolean, got &{{{}}}", go_text::plain(value)),
        (Shape::List(_), _) => format!("expected list, got &{{{}}}", go_text::plain(value)),
        (Shape::Map(_) | Shape::Struct(_), _) => format!("expected map, got &{{{}}}", go_text::plain(value)),
    };
    Err(format!("{path}: {expected}"))
}

/// Without a schema objects are looked into, and lists are single fields.
fn untyped(value: &Value, node: &mut Node) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let mut child = Node { member: true, ..Node::default() };
                untyped(value, &mut child);
                node.attach(|| format!("f:{name}"), child);
            }
        }
        _ => node.member = true,
    }
}
