//! Defaulting: what the API sets where a client has not.
//!
//! [`apply`] brings a canonical object of any kind to its defaulted form, which is canonical too; it is
//! idempotent. What is set lies in `api/table/defaults.kt` and the `default(…)` markers of fields; the few rules
//! that are code are named functions in `rules`. A type's rules run before those of its members.
mod rules;

use crate::gates;
use crate::schema::{Field, Schema, Shape, TypeId};
use crate::table::{Api, parameter, unknown};
use crate::{Object, Value};
use std::sync::Arc;

/// Sets the defaults of an object of the type, in place. The object must be canonical ([`crate::json::normalize`]).
pub fn apply(api: &Api, ty: TypeId, value: &mut Value) {
    if let Some(custom) = api.custom.get(&ty) {
        return crate::custom::default_object(custom, value);
    }
    if let Value::Object(object) = value {
        api.defaults.structure(ty, object);
    }
}

/// One line of a type's defaults.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    action: Action,
    make: bool,
    conditions: Vec<Condition>,
    gates: Vec<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Action {
    Set(Vec<Step>, Value),
    Copy(Vec<Step>, Vec<Step>),
    Call(fn(&mut Object)),
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member { name: Arc<str>, pointer: bool },
    Items,
    Values,
}

#[derive(Clone, Debug)]
struct Condition {
    path: Vec<Arc<str>>,
    values: Vec<Arc<str>>,
    wanted: bool,
}

impl Rule {
    /// From the words of a line: `PATH = JSON flags…` or `call NAME flags…`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let (action, flags) = match words {
            ["call", name, flags @ ..] => {
                let rule = rules::named(name).ok_or_else(|| format!("there is no rule {name}"))?;
                (Action::Call(rule), flags)
            }
            [path, "=", value, flags @ ..] => match parameter(value) {
                ("copy", Some(from)) => (Action::Copy(steps(path), steps(from)), flags),
                _ => {
                    let value = serde_json::from_str(value).map_err(|e| format!("{value}: {e}"))?;
                    (Action::Set(steps(path), value), flags)
                }
            },
            _ => return Err(unknown(&words.join(" "))),
        };
        let mut rule = Self { action, make: false, conditions: Vec::new(), gates: Vec::new() };
        for flag in flags {
            match parameter(flag) {
                ("make", None) => rule.make = true,
                ("if", Some(text)) => rule.conditions.push(Condition::parse(text, true)),
                ("unless", Some(text)) => rule.conditions.push(Condition::parse(text, false)),
                ("gates", Some(list)) => rule.gates = list.split(',').map(Arc::from).collect(),
                _ => return Err(unknown(flag)),
            }
        }
        Ok(rule)
    }

    fn run(&self, object: &mut Object) {
        let on = self.gates.is_empty() || self.gates.iter().any(|g| gates::enabled(g));
        if !on || !self.conditions.iter().all(|c| c.holds(object)) {
            return;
        }
        match &self.action {
            Action::Call(rule) => rule(object),
            Action::Set(path, value) => set(object, path, value, self.make),
            Action::Copy(to, from) => {
                if let Some(value) = get(object, from).cloned().filter(is_set) {
                    set(object, to, &value, self.make);
                }
            }
        }
    }
}

impl Condition {
    fn parse(text: &str, wanted: bool) -> Self {
        let (path, values) = text.split_once('=').unwrap_or((text, ""));
        let path = path.split('.').map(Arc::from).collect();
        Self { path, values: values.split('|').filter(|v| !v.is_empty()).map(Arc::from).collect(), wanted }
    }

    fn holds(&self, object: &Object) -> bool {
        let mut found = self.path.first().and_then(|name| object.get(&**name));
        for name in self.path.iter().skip(1) {
            found = found.and_then(|v| v.get(&**name));
        }
        let matches = match found {
            Some(value) if self.values.is_empty() => is_set(value),
            Some(Value::String(text)) => self.values.iter().any(|v| **v == **text),
            // An absent enum value is the empty text, which no condition names.
            _ => false,
        };
        matches == self.wanted
    }
}

/// Not zero; an empty object counts as set, since canonical form drops empty maps.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        other => !is_zero(other),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, tail) = match (part.strip_suffix("[]"), part.strip_suffix("[*]")) {
            (Some(name), _) => (name, Some(Step::Items)),
            (_, Some(name)) => (name, Some(Step::Values)),
            _ => (part, None),
        };
        steps.push(Step::Member { name: name.into(), pointer: false });
        steps.extend(tail);
    }
    steps
}

fn get<'a>(object: &'a Object, path: &[Step]) -> Option<&'a Value> {
    let mut steps = path.iter();
    let Some(Step::Member { name, .. }) = steps.next() else { return None };
    let mut value = object.get(&**name)?;
    for step in steps {
        let Step::Member { name, .. } = step else { return None };
        value = value.get(&**name)?;
    }
    Some(value)
}

/// Sets the member at the path where it is absent, or zero and no pointer.
fn set(object: &mut Object, path: &[Step], value: &Value, make: bool) {
    let [Step::Member { name, pointer }, rest @ ..] = path else { return };
    if rest.is_empty() {
        let free = match object.get(&**name) {
            None => true,
            Some(Value::Null) => true,
            Some(present) => !pointer && is_zero(present),
        };
        if free {
            object.insert(name.to_string(), value.clone());
        }
        return;
    }
    match (rest, object.get_mut(&**name)) {
        ([Step::Items, rest @ ..], Some(Value::Array(items))) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| set(item, rest, value, make));
        }
        ([Step::Values, rest @ ..], Some(Value::Object(members))) => {
            members
                .values_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| set(item, rest, value, make));
        }
        ([Step::Items | Step::Values, ..], _) => {}
        (rest, Some(Value::Object(inner))) => set(inner, rest, value, make),
        (rest, None) if make || !pointer => {
            let mut inner = Object::new();
            set(&mut inner, rest, value, make);
            object.insert(name.to_string(), Value::Object(inner));
        }
        _ => {}
    }
}

/// All rules, by type, with the way to them: types without any are skipped.
#[derive(Debug, Default)]
pub struct Plan {
    types: Vec<TypePlan>,
}

#[derive(Debug, Default)]
struct TypePlan {
    rules: Vec<Rule>,
    /// `default(…)` markers: name, pointer, value.
    markers: Vec<(Arc<str>, bool, Value)>,
    /// Members that have something to default within.
    nested: Vec<Nested>,
}

#[derive(Debug)]
struct Nested {
    name: Arc<str>,
    form: Form,
}

/// What a member holds.
#[derive(Debug)]
enum Form {
    Inline(TypeId),
    Struct(TypeId),
    List(TypeId),
    Map(TypeId),
    /// A map of quantities that is rounded.
    ResourceList,
}

impl Plan {
    /// Resolves the rules against the schema; the error names what is not there.
    pub(crate) fn compile(schema: &Schema, rules: &[(TypeId, Rule)]) -> Result<Self, String> {
        let mut types: Vec<TypePlan> = schema.types.iter().map(|_| TypePlan::default()).collect();
        for (ty, rule) in rules {
            let mut rule = rule.clone();
            match &mut rule.action {
                Action::Set(path, _) => check_path(schema, *ty, path)?,
                Action::Copy(to, from) => {
                    check_path(schema, *ty, to)?;
                    check_path(schema, *ty, from)?;
                }
                Action::Call(_) => {}
            }
            types[ty.0 as usize].rules.push(rule);
        }
        for (ty, plan) in schema.types.iter().zip(&mut types) {
            // A zero that canonical form leaves out needs no rule.
            let marked = |f: &Field| {
                let value = f.default.clone().filter(|v| f.pointer || !is_zero(v))?;
                Some((f.name.clone(), f.pointer, value))
            };
            plan.markers = ty.fields.iter().filter_map(marked).collect();
        }
        let reaching = reaching(schema, &types);
        for (ty, plan) in schema.types.iter().zip(&mut types) {
            plan.nested = ty.fields.iter().filter_map(|f| nested(f, &reaching)).collect();
        }
        Ok(Self { types })
    }

    fn structure(&self, ty: TypeId, object: &mut Object) {
        let Some(plan) = self.types.get(ty.0 as usize) else { return };
        for rule in &plan.rules {
            rule.run(object);
        }
        for (name, pointer, value) in &plan.markers {
            let free = object.get(&**name).is_none_or(|v| v.is_null() || (!pointer && is_zero(v)));
            if free {
                object.insert(name.to_string(), value.clone());
            }
        }
        for Nested { name, form } in &plan.nested {
            if let Form::Inline(ty) = form {
                self.structure(*ty, object);
                continue;
            }
            match (form, object.get_mut(&**name)) {
                (Form::Struct(ty), Some(Value::Object(inner))) => self.structure(*ty, inner),
                (Form::List(ty), Some(Value::Array(items))) => {
                    items.iter_mut().filter_map(Value::as_object_mut).for_each(|o| self.structure(*ty, o));
                }
                (Form::Map(ty), Some(Value::Object(members))) => {
                    members
                        .values_mut()
                        .filter_map(Value::as_object_mut)
                        .for_each(|o| self.structure(*ty, o));
                }
                (Form::ResourceList, Some(Value::Object(members))) => rules::round_up(members),
                _ => {}
            }
        }
    }
}

/// Proves a path and notes which of its members are pointers.
fn check_path(schema: &Schema, ty: TypeId, path: &mut [Step]) -> Result<(), String> {
    let mut current = Some(ty);
    for step in path {
        let Step::Member { name, pointer } = step else { continue };
        let owner = current.ok_or_else(|| format!("{name} is a member of something that has none"))?;
        let field = schema
            .json_field(owner, name)
            .ok_or_else(|| format!("{} has no member {name}", schema.get(owner).name))?;
        *pointer = field.pointer;
        current = field.shape.reference();
    }
    Ok(())
}

/// For each type, whether something is to be defaulted in it or below it.
fn reaching(schema: &Schema, types: &[TypePlan]) -> Vec<bool> {
    let mut reaching: Vec<bool> =
        types.iter().map(|plan| !plan.rules.is_empty() || !plan.markers.is_empty()).collect();
    loop {
        let mut changed = false;
        for (at, ty) in schema.types.iter().enumerate() {
            if !reaching[at] && ty.fields.iter().any(|f| reaches(f, &reaching)) {
                (reaching[at], changed) = (true, true);
            }
        }
        if !changed {
            return reaching;
        }
    }
}

fn is_resource_list(field: &Field) -> bool {
    field.alias.as_deref() == Some("v1.ResourceList")
}

fn reaches(field: &Field, reaching: &[bool]) -> bool {
    is_resource_list(field) || field.shape.reference().is_some_and(|id| reaching[id.0 as usize])
}

fn nested(field: &Field, reaching: &[bool]) -> Option<Nested> {
    if is_resource_list(field) {
        return Some(Nested { name: field.name.clone(), form: Form::ResourceList });
    }
    let id = field.shape.reference().filter(|id| reaching[id.0 as usize])?;
    let form = match &field.shape {
        Shape::Struct(_) if field.inline => Form::Inline(id),
        Shape::Struct(_) => Form::Struct(id),
        Shape::List(_) => Form::List(id),
        Shape::Map(_) => Form::Map(id),
        _ => return None,
    };
    Some(Nested { name: field.name.clone(), form })
}

#[cfg(test)]
mod tests;
