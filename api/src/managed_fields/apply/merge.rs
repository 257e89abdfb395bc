//! Merges a configuration into the live object: its fields win, items of keyed lists meet by their keys.
use super::super::compare::{Walker, is_untracked, is_untracked_metadata};
use crate::kind::Kind;
use crate::schema::{Field, ListType, Schema, Shape, TypeId};
use crate::{Object, Value};

/// Merges `config` into `live`; members that a write through the subresource does not touch stay.
pub(super) fn merge(schema: &Schema, kind: &Kind, live: &mut Value, config: Value, subresource: &str) {
    let (Value::Object(live), Value::Object(mut config)) = (live, config) else { return };
    config.retain(|name, _| !is_untracked(kind, subresource, name));
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        let identity = |name: &str| matches!(name, "name" | "namespace" | "uid" | "resourceVersion");
        metadata.retain(|name, _| {
            identity(name) || subresource != "status" || !is_untracked_metadata(kind, subresource, name)
        });
    }
    Merger { walker: Walker { schema } }.structure(kind.ty, live, config);
}

struct Merger<'s> {
    walker: Walker<'s>,
}

impl Merger<'_> {
    fn structure(&self, ty: TypeId, live: &mut Object, config: Object) {
        for (name, value) in config.into_iter().filter(|(_, value)| !value.is_null()) {
            match (live.get_mut(&name), self.walker.schema.json_field(ty, &name)) {
                (Some(old), Some(field)) if !old.is_null() => self.field(field, old, value),
                _ => {
                    live.insert(name, value);
                }
            }
        }
    }

    fn field(&self, field: &Field, old: &mut Value, new: Value) {
        match (&field.shape, old, new) {
            (_, old, new) if field.atomic => *old = new,
            (Shape::List(item), Value::Array(old), Value::Array(new))
                if field.list_type != ListType::Atomic =>
            {
                let merged = self.list(field, item, std::mem::take(old), new);
                *old = merged;
            }
            (Shape::List(_), old, new) => *old = new,
            (Shape::Struct(ty), Value::Object(old), Value::Object(new)) if field.granular => {
                self.structure(*ty, old, new);
            }
            (shape, old, new) => self.shape(shape, old, new),
        }
    }

    fn shape(&self, shape: &Shape, old: &mut Value, new: Value) {
        match (shape, old, new) {
            (Shape::Struct(ty), Value::Object(old), Value::Object(new))
                if !self.walker.schema.get(*ty).atomic =>
            {
                self.structure(*ty, old, new);
            }
            (Shape::Map(inner), Value::Object(old), Value::Object(new)) => {
                for (name, value) in new {
                    match old.get_mut(&name) {
                        Some(old) => self.shape(inner, old, value),
                        None => {
                            old.insert(name, value);
                        }
                    }
                }
            }
            (_, old, new) => *old = new,
        }
    }

    /// Items of the configuration stand in its order; live items without a counterpart keep their place among
    /// those that have one.
    fn list(&self, field: &Field, item: &Shape, old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
        let name = |value: &Value| self.walker.item_name(field, item, value);
        let named = |items: Vec<Value>| items.into_iter().map(|v| (name(&v), v)).collect::<Vec<_>>();
        let (old, new) = (named(old), named(new));
        let new_names: Vec<String> = new.iter().map(|(name, _)| name.clone()).collect();
        let live = old.clone();
        let mut old = old.into_iter().peekable();
        let mut out = Vec::with_capacity(live.len() + new.len());
        for (name, value) in new {
            let counterpart = live.iter().find(|(other, _)| *other == name);
            // Live-only items before the counterpart come first; so do those before the first item if it is new.
            while let Some((_, only)) = old.next_if(|(other, _)| *other != name && !new_names.contains(other))
            {
                out.push(only);
            }
            match counterpart {
                Some((_, merged)) => {
                    let mut merged = merged.clone();
                    self.shape(item, &mut merged, value);
                    out.push(merged);
                    old.next_if(|(other, _)| *other == name);
                }
                None => out.push(value),
            }
        }
        out.extend(old.filter(|(other, _)| !new_names.contains(other)).map(|(_, value)| value));
        out
    }
}
