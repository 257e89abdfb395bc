//! Canonical form of a [`Value`]: type checks, pruning, zero members.
use super::parse::report;
use super::path::{Frame, place};
use super::scalar::{self, is_empty, json_type};
use super::{DecodeError, StrictError};
use crate::schema::{Field, Schema, Shape, Special, Type, TypeId};
use crate::{Object, Value};

/// Brings a document of a type to canonical form. Members that the type does not have are removed and go to
/// `strict`; a value of the wrong form is an error and leaves the document half done.
pub fn normalize(
    schema: &Schema,
    ty: TypeId,
    value: &mut Value,
    strict: &mut Vec<StrictError>,
) -> Result<(), DecodeError> {
    let mut walk = Walk { schema, strict };
    if value.is_null() {
        *value = super::empty_object();
    }
    walk.structure(ty, value, &Frame::root(), None)
}

/// Like [`normalize`] for a value of any shape (a field's value within a patch).
pub fn normalize_shape(
    schema: &Schema,
    shape: &Shape,
    value: &mut Value,
    strict: &mut Vec<StrictError>,
) -> Result<(), DecodeError> {
    Walk { schema, strict }.value(shape, None, value, &Frame::root(), None)
}

struct Walk<'a> {
    schema: &'a Schema,
    strict: &'a mut Vec<StrictError>,
}

impl Walk<'_> {
    fn structure(
        &mut self,
        ty: TypeId,
        value: &mut Value,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        let schema = self.schema;
        let this = schema.get(ty);
        let Value::Object(object) = value else {
            if this.custom && owner.is_some() {
                return Ok(());
            }
            return Err(mismatch(value, owner, path, this.go_name()));
        };
        let mut failure = None;
        object.retain(|name, member| {
            if failure.is_some() {
                return true;
            }
            self.member(ty, this, name, member, path).unwrap_or_else(|error| {
                failure = Some(error);
                true
            })
        });
        if let Some(error) = failure {
            return Err(error);
        }
        self.fill(ty, object);
        Ok(())
    }

    /// One member of a struct; false: it is to be removed.
    fn member(
        &mut self,
        ty: TypeId,
        this: &Type,
        name: &str,
        member: &mut Value,
        path: &Frame<'_>,
    ) -> Result<bool, DecodeError> {
        let path = path.key(name);
        let Some(field) = self.schema.json_field(ty, name) else {
            if this.has_type_meta && matches!(name, "apiVersion" | "kind") {
                return self.type_meta(this, member, &path);
            }
            if !this.preserve_unknown {
                report(self.strict, StrictError::Unknown(path.full()));
            }
            return Ok(this.preserve_unknown);
        };
        if member.is_null() {
            return Ok(this.custom);
        }
        self.value(&field.shape, field.alias.as_deref(), member, &path, Some(this))?;
        Ok(!(member.is_null() || omitted(field, member)))
    }

    fn type_meta(&self, this: &Type, member: &Value, path: &Frame<'_>) -> Result<bool, DecodeError> {
        match member {
            Value::Null => Ok(false),
            Value::String(text) => Ok(!text.is_empty()),
            _ => Err(mismatch(member, Some(this), path, "string")),
        }
    }

    /// Adds the zero members that Go would write.
    fn fill(&self, ty: TypeId, object: &mut Object) {
        for at in &self.schema.get(ty).always {
            let field = self.schema.json_field_at(ty, *at as usize);
            if !field.pointer && !object.contains_key(&*field.name) {
                let zero = scalar::zero(self.schema, &field.shape);
                if !zero.is_null() {
                    object.insert((*field.name).to_owned(), zero);
                }
            }
        }
    }

    fn value(
        &mut self,
        shape: &Shape,
        alias: Option<&str>,
        value: &mut Value,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        match shape {
            Shape::Struct(ty) => self.structure(*ty, value, path, owner),
            Shape::List(item) => match value {
                Value::Array(items) => self.items(item, items, path, owner),
                _ if is_custom(owner) => Ok(()),
                _ => Err(self.wrong(shape, alias, value, path, owner)),
            },
            Shape::Map(item) => match value {
                Value::Object(members) => self.members(item, members, path, owner),
                _ if is_custom(owner) => Ok(()),
                _ => Err(self.wrong(shape, alias, value, path, owner)),
            },
            Shape::Special(special) => self.special(*special, value, path, owner),
            _ => {
                if scalar::normalize(shape, value)? {
                    Ok(())
                } else {
                    Err(self.wrong(shape, alias, value, path, owner))
                }
            }
        }
    }

    fn items(
        &mut self,
        item: &Shape,
        items: &mut [Value],
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        for (at, value) in items.iter_mut().enumerate() {
            self.element(item, value, &path.index(at), owner)?;
        }
        Ok(())
    }

    fn members(
        &mut self,
        item: &Shape,
        members: &mut Object,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        for (name, value) in members.iter_mut() {
            self.element(item, value, &path.entry(name), owner)?;
        }
        Ok(())
    }

    /// A list item or a map's value: null is its zero.
    fn element(
        &mut self,
        shape: &Shape,
        value: &mut Value,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        if value.is_null() && is_custom(owner) {
            return Ok(());
        }
        if value.is_null() {
            *value = scalar::zero(self.schema, shape);
            return Ok(());
        }
        self.value(shape, None, value, path, owner)
    }

    fn special(
        &mut self,
        special: Special,
        value: &mut Value,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> Result<(), DecodeError> {
        match (special, &mut *value) {
            (Special::SchemaOrBool(_), Value::Bool(_)) => Ok(()),
            (Special::SchemaOrArray(ty), Value::Array(items)) => {
                self.items(&Shape::Struct(ty), items, path, owner)
            }
            (Special::SchemaOrStrings(_), Value::Array(items)) => {
                self.items(&Shape::String, items, path, owner)
            }
            (
                Special::SchemaOrBool(ty) | Special::SchemaOrArray(ty) | Special::SchemaOrStrings(ty),
                Value::Object(_),
            ) => self.structure(ty, value, path, owner),
            (Special::SchemaOrBool(_), _) => {
                Err(DecodeError::Invalid("boolean or JSON schema expected".to_owned()))
            }
            _ => {
                if scalar::normalize_special(special, value)? {
                    Ok(())
                } else {
                    Err(self.wrong(&Shape::Special(special), None, value, path, owner))
                }
            }
        }
    }

    fn wrong(
        &self,
        shape: &Shape,
        alias: Option<&str>,
        value: &Value,
        path: &Frame<'_>,
        owner: Option<&Type>,
    ) -> DecodeError {
        let go = alias.map_or_else(|| go_type(self.schema, shape), str::to_owned);
        mismatch(value, owner, path, &go)
    }
}

fn is_custom(owner: Option<&Type>) -> bool {
    owner.is_some_and(|owner| owner.custom)
}

/// Whether Go leaves the (canonical) member out.
pub(super) fn omitted(field: &Field, value: &Value) -> bool {
    field.omit_empty
        && !field.pointer
        && !matches!(field.shape, Shape::Struct(_) | Shape::Special(_))
        && is_empty(value)
}

fn mismatch(value: &Value, owner: Option<&Type>, path: &Frame<'_>, go: &str) -> DecodeError {
    let what = match value {
        // Go names the number itself where an integer was wanted and the text is none or does not fit.
        Value::Number(n) if matches!(go, "int32" | "int64") => format!("number {n}"),
        _ => json_type(value).to_owned(),
    };
    DecodeError::Type(format!("json: cannot unmarshal {what} into Go {} of type {go}", place(owner, path)))
}

/// The Go spelling of a shape, for error texts.
fn go_type(schema: &Schema, shape: &Shape) -> String {
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float64 => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Struct(ty) => schema.get(*ty).go_name().to_owned(),
        Shape::List(item) => format!("[]{}", go_type(schema, item)),
        Shape::Map(item) => format!("map[string]{}", go_type(schema, item)),
        Shape::Special(Special::Quantity) => "resource.Quantity".to_owned(),
        Shape::Special(Special::IntOrString) => "intstr.IntOrString".to_owned(),
        Shape::Special(Special::FieldsV1) => "v1.FieldsV1".to_owned(),
        Shape::Special(_) => "string".to_owned(),
    }
}
