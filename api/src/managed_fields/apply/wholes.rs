//! What server-side apply takes as a whole: atomic lists, maps and structs in a part of an object.
use crate::Value;
use crate::schema::{ListType, Schema, Shape, TypeId};

/// The paths of atomic values in an object of a type.
pub(super) fn find(schema: &Schema, ty: TypeId, object: &Value, path: &str, out: &mut Vec<String>) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let Some(field) = schema.json_field(ty, name) else { continue };
        let path = format!("{path}.{name}");
        let whole = match (&field.shape, value) {
            (Shape::List(_), Value::Array(_)) => field.list_type == ListType::Atomic,
            (Shape::Struct(inner), Value::Object(_)) => {
                field.atomic || schema.get(*inner).atomic && !field.granular
            }
            (Shape::Map(_), Value::Object(_)) => field.atomic,
            _ => false,
        };
        if whole {
            out.push(path.clone());
        }
        within(schema, &field.shape, value, &path, out);
    }
}

fn within(schema: &Schema, shape: &Shape, value: &Value, path: &str, out: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Struct(ty), Value::Object(_)) => find(schema, *ty, value, path, out),
        (Shape::List(item), Value::Array(items)) => {
            for (at, value) in items.iter().enumerate() {
                within(schema, item, value, &format!("{path}[{at}]"), out);
            }
        }
        (Shape::Map(inner), Value::Object(members)) => {
            for (name, value) in members {
                within(schema, inner, value, &format!("{path}.{name}"), out);
            }
        }
        _ => {}
    }
}
