//! Removes what a manager applied before and nobody owns any more.
use super::super::compare::Walker;
use super::super::set::{PathElement, Set, is_member};
use crate::schema::{Field, Schema, Shape, TypeId};
use crate::{Object, Value};

/// Removes from `object` the fields of `last` that are not in `owned`. A named field counts as owned, in either
/// set, by what is below it.
pub(super) fn prune(schema: &Schema, ty: TypeId, object: &mut Value, last: &Set, owned: &Set) {
    let pruner = Pruner { walker: Walker { schema } };
    pruner.value(None, &Shape::Struct(ty), object, last.root(), Some(owned.root()));
}

struct Pruner<'s> {
    walker: Walker<'s>,
}

impl Pruner<'_> {
    /// `field` is the one that holds a list, for its keys.
    fn value(
        &self,
        field: Option<&Field>,
        shape: &Shape,
        value: &mut Value,
        last: &Object,
        owned: Option<&Object>,
    ) {
        for (name, last) in last.iter().filter(|(name, _)| *name != ".") {
            let (Ok(element), Some(last)) = (PathElement::parse(name), last.as_object()) else { continue };
            let owned = owned.and_then(|o| o.get(name)).and_then(Value::as_object);
            match (&element, &mut *value) {
                (PathElement::Field(member), Value::Object(members)) => {
                    self.member(shape, member, members, last, owned);
                }
                (PathElement::Key(_) | PathElement::Value(_), Value::Array(items)) => {
                    let (Some(field), Shape::List(item)) = (field, shape) else { continue };
                    let found = items.iter().position(|v| self.walker.item_name(field, item, v) == *name);
                    let Some(at) = found else { continue };
                    if is_member(last) && !owned.is_some_and(is_member) {
                        items.remove(at);
                    } else {
                        self.value(None, item, &mut items[at], last, owned);
                    }
                }
                _ => {}
            }
        }
    }

    fn member(&self, shape: &Shape, name: &str, members: &mut Object, last: &Object, owned: Option<&Object>) {
        let field = match shape {
            Shape::Struct(ty) => self.walker.schema.json_field(*ty, name),
            _ => None,
        };
        let named = field.is_some();
        let holds = |node: &Object| named || is_member(node);
        if holds(last) && !owned.is_some_and(holds) {
            members.remove(name);
            return;
        }
        let inner = match (field, shape) {
            (Some(field), _) => &field.shape,
            (None, Shape::Map(inner)) => &**inner,
            _ => return,
        };
        let Some(value) = members.get_mut(name) else { return };
        let had = !is_empty(value);
        self.value(field, inner, value, last, owned);
        if had && is_empty(value) {
            members.remove(name);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
