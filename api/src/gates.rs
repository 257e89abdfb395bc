//! Feature gates: what is switched on, and which fields are dropped while their gates are off.
//!
//! The table has every gate with its default. [`set`] applies `--feature-gates` once at start, [`enabled`] asks,
//! [`drop_disabled`] removes fields of an incoming object whose gates are all off, unless the old object uses them.
use crate::Value;
use crate::schema::{Field, Schema, Shape, Type, TypeId};
use crate::table::{Api, builtin};
use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

/// A gate's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// On without being asked.
    pub default: bool,
    /// How far the feature is.
    pub stage: Stage,
    /// The default cannot be changed.
    pub locked: bool,
}

/// How far a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// May change or go.
    Alpha,
    /// Will stay in some form.
    Beta,
    /// Stays.
    Ga,
    /// Goes.
    Deprecated,
}

/// Why gates cannot be set as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Not in the table.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// The gate cannot be changed any more.
    #[error("cannot set feature gate {name} to {value}, feature is locked to {locked}")]
    Locked {
        /// The gate.
        name: String,
        /// What was asked.
        value: bool,
        /// What it is.
        locked: bool,
    },
    /// Gates were set or asked before.
    #[error("feature gates are set already")]
    TooLate,
}

static VALUES: OnceLock<BTreeMap<String, bool>> = OnceLock::new();

/// Sets gates for this process, before anything asks for one; `AllAlpha` and `AllBeta` stand for all of a stage.
pub fn set(wanted: &[(&str, bool)]) -> Result<(), GateError> {
    let mut values = BTreeMap::new();
    for (name, value) in wanted {
        let stage = match *name {
            "AllAlpha" => Some(Stage::Alpha),
            "AllBeta" => Some(Stage::Beta),
            _ => None,
        };
        if let Some(stage) = stage {
            let of_stage = builtin().gates.iter().filter(|(_, g)| g.stage == stage && !g.locked);
            values.extend(of_stage.map(|(name, _)| (name.to_string(), *value)));
        }
    }
    for (name, value) in wanted.iter().filter(|(name, _)| !matches!(*name, "AllAlpha" | "AllBeta")) {
        let gate = builtin().gates.get(*name).ok_or_else(|| GateError::Unknown((*name).to_owned()))?;
        if gate.locked && gate.default != *value {
            let (name, value) = ((*name).to_owned(), *value);
            return Err(GateError::Locked { name, value, locked: gate.default });
        }
        values.insert((*name).to_owned(), *value);
    }
    VALUES.set(values).map_err(|_| GateError::TooLate)
}

/// Whether a gate is on; one that the table does not have is off.
pub fn enabled(name: &str) -> bool {
    let set = VALUES.get().and_then(|v| v.get(name)).copied();
    set.unwrap_or_else(|| builtin().gates.get(name).is_some_and(|g| g.default))
}

/// Removes fields whose gates are all off, anywhere in the object, except those that the old object has anywhere:
/// switching a feature off does not take it from those who use it.
pub fn drop_disabled(api: &Api, ty: TypeId, value: &mut Value, old: Option<&Value>) {
    let disabled = disabled_in(api, ty);
    if disabled.is_empty() {
        return;
    }
    let mut used = HashSet::new();
    if let Some(old) = old {
        visit(&api.schema, ty, old, &mut |owner, name| {
            used.insert((owner.name.clone(), name.to_owned()));
        });
    }
    remove(&api.schema, &Shape::Struct(ty), value, &|owner, field| {
        is_disabled(field) && !used.contains(&(owner.name.clone(), field.name.to_string()))
    });
}

fn is_disabled(field: &Field) -> bool {
    !field.gates.is_empty() && !field.gates.iter().any(|g| enabled(g))
}

/// The disabled fields that objects of the type can hold; computed once a type.
fn disabled_in(api: &Api, ty: TypeId) -> &'static HashSet<TypeId> {
    static KNOWN: OnceLock<Vec<OnceLock<HashSet<TypeId>>>> = OnceLock::new();
    static NONE: OnceLock<HashSet<TypeId>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| builtin().schema.types.iter().map(|_| OnceLock::new()).collect());
    // Types of other schemas (custom resources) have no gates.
    if !std::ptr::eq(api, builtin()) {
        return NONE.get_or_init(HashSet::new);
    }
    known[ty.0 as usize].get_or_init(|| {
        let (mut seen, mut open, mut found) = (HashSet::new(), vec![ty], HashSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            for field in &api.schema.get(id).fields {
                if is_disabled(field) {
                    found.insert(id);
                }
                open.extend(field.shape.reference());
            }
        }
        found
    })
}

/// Calls `found` for every member of the value whose field has gates.
fn visit(schema: &Schema, ty: TypeId, value: &Value, found: &mut dyn FnMut(&Type, &str)) {
    let Value::Object(object) = value else { return };
    for (name, member) in object {
        let Some(field) = schema.json_field(ty, name) else { continue };
        if !field.gates.is_empty() {
            found(schema.get(ty), name);
        }
        let Some(inner) = field.shape.reference() else { continue };
        match (&field.shape, member) {
            (Shape::List(_), Value::Array(items)) => {
                items.iter().for_each(|item| visit(schema, inner, item, found));
            }
            (Shape::Map(_), Value::Object(members)) => {
                members.values().for_each(|item| visit(schema, inner, item, found));
            }
            _ => visit(schema, inner, member, found),
        }
    }
}

fn remove(schema: &Schema, shape: &Shape, value: &mut Value, drop: &dyn Fn(&Type, &Field) -> bool) {
    match (shape, value) {
        (Shape::Struct(ty), Value::Object(object)) => object.retain(|name, member| {
            let Some(field) = schema.json_field(*ty, name) else { return true };
            if drop(schema.get(*ty), field) {
                return false;
            }
            remove(schema, &field.shape, member, drop);
            true
        }),
        (Shape::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|v| remove(schema, item, v, drop));
        }
        (Shape::Map(item), Value::Object(members)) => {
            members.values_mut().for_each(|v| remove(schema, item, v, drop));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gates_of_the_table() {
        assert_eq!(builtin().gates.len(), 230);
        assert!(enabled("PodLevelResources"));
        assert!(!enabled("MaxUnavailableStatefulSet"));
        assert!(!enabled("NoSuchGate"));
        assert_eq!(set(&[("NoSuchGate", true)]), Err(GateError::Unknown("NoSuchGate".into())));
        let locked = set(&[("APIServerTracing", false)]).unwrap_err();
        assert_eq!(
            locked.to_string(),
            "cannot set feature gate APIServerTracing to false, feature is locked to true"
        );
        for ty in &builtin().schema.types {
            for gate in ty.fields.iter().flat_map(|f| &f.gates) {
                assert!(builtin().gates.contains_key(gate), "{}: no gate {gate}", ty.name);
            }
        }
    }

    #[test]
    fn fields_of_gates_that_are_off_are_dropped() {
        let api = builtin();
        let (ty, field) = api
            .schema
            .types
            .iter()
            .zip(0u32..)
            .find_map(|(t, id)| Some((TypeId(id), t.fields.iter().find(|f| is_disabled(f) && !f.inline)?)))
            .unwrap();
        let value = json!({&*field.name: [], "other": 1});
        let mut dropped = value.clone();
        drop_disabled(api, ty, &mut dropped, None);
        assert_eq!(dropped, json!({"other": 1}));
        let mut kept = value.clone();
        drop_disabled(api, ty, &mut kept, Some(&value));
        assert_eq!(kept, value);
    }
}
