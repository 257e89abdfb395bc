//! [`Value`] to message.
use super::Error;
use super::wire::{put_bytes_field, put_double_field, put_int_field, put_message_field, put_varint_field};
use crate::json::{DecodeError, encode_untyped};
use crate::schema::{Field, Schema, Shape, Special, TypeId};
use crate::time::{Timestamp, duration};
use crate::{Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends the bare message of a canonical value.
pub fn encode_message(schema: &Schema, ty: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    let this = schema.get(ty);
    if this.proto.is_none() {
        return Err(Error::NoMessage(this.name.to_string()));
    }
    Encoder { schema }.message(ty, Some(value), out)
}

struct Encoder<'a> {
    schema: &'a Schema,
}

impl Encoder<'_> {
    /// A struct's fields in ascending order; an absent value is the zero struct, which is written in full.
    fn message(&self, ty: TypeId, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), Error> {
        let object = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(other) => return Err(wrong(other, &self.schema.get(ty).name)),
        };
        self.fields(ty, object, out)
    }

    fn fields(&self, ty: TypeId, object: Option<&Object>, out: &mut Vec<u8>) -> Result<(), Error> {
        let this = self.schema.get(ty);
        for at in &this.by_number {
            let field = &this.fields[*at as usize];
            if field.inline
                && let Shape::Struct(inner) = field.shape
            {
                put_message_field(field.number, out, |out| self.fields(inner, object, out))?;
                continue;
            }
            let value = object.and_then(|o| o.get(&*field.name)).filter(|v| !v.is_null());
            self.field(field, value, out)?;
        }
        Ok(())
    }

    fn field(&self, field: &Field, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), Error> {
        let number = field.number;
        match (&field.shape, value) {
            (Shape::List(item), Some(Value::Array(items))) if field.wrapped => {
                put_message_field(number, out, |out| self.items(1, item, items, out))
            }
            (Shape::List(item), Some(Value::Array(items))) => self.items(number, item, items, out),
            (Shape::Map(item), Some(Value::Object(members))) => {
                for (key, member) in members {
                    put_message_field(number, out, |out| {
                        put_bytes_field(1, key.as_bytes(), out);
                        self.entry(item, member, out)
                    })?;
                }
                Ok(())
            }
            (Shape::List(_) | Shape::Map(_) | Shape::Bytes, None) => Ok(()),
            (Shape::Special(Special::Any), _) => Ok(()),
            (_, None) if field.pointer => Ok(()),
            (shape, value) => self.single(number, shape, value, out),
        }
    }

    fn entry(&self, item: &Shape, member: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
        match (item, member) {
            (Shape::List(inner), Value::Array(items)) => {
                put_message_field(2, out, |out| self.items(1, inner, items, out))
            }
            (Shape::List(_), Value::Null) => {
                put_bytes_field(2, b"", out);
                Ok(())
            }
            _ => self.single(2, item, Some(member).filter(|m| !m.is_null()), out),
        }
    }

    fn items(&self, number: u32, item: &Shape, items: &[Value], out: &mut Vec<u8>) -> Result<(), Error> {
        for value in items {
            self.single(number, item, Some(value).filter(|v| !v.is_null()), out)?;
        }
        Ok(())
    }

    /// One value that is no list or map; absent means zero.
    fn single(
        &self,
        number: u32,
        shape: &Shape,
        value: Option<&Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match (shape, value) {
            (Shape::String | Shape::Bytes, None) => put_bytes_field(number, b"", out),
            (Shape::String, Some(Value::String(text))) => put_bytes_field(number, text.as_bytes(), out),
            (Shape::Bytes, Some(Value::String(text))) => {
                let bytes = STANDARD.decode(text).map_err(|_| wrong(&Value::Null, "base64"))?;
                put_bytes_field(number, &bytes, out);
            }
            (Shape::Bool, None) => put_varint_field(number, 0, out),
            (Shape::Bool, Some(Value::Bool(b))) => put_varint_field(number, u64::from(*b), out),
            (Shape::Int32 | Shape::Int64, None) => put_int_field(number, 0, out),
            (Shape::Int32 | Shape::Int64, Some(Value::Number(n))) if n.is_i64() => {
                put_int_field(number, n.as_i64().unwrap_or_default(), out);
            }
            (Shape::Float64, None) => put_double_field(number, 0.0, out),
            (Shape::Float64, Some(Value::Number(n))) => {
                put_double_field(number, n.as_f64().unwrap_or_default(), out);
            }
            (Shape::Struct(ty), value) => {
                put_message_field(number, out, |out| self.message(*ty, value, out))?;
            }
            (Shape::Special(special), value) => {
                put_message_field(number, out, |out| self.special(*special, value, out))?;
            }
            (shape, Some(other)) => return Err(wrong(other, &format!("{shape:?}"))),
            (shape, None) => return Err(wrong(&Value::Null, &format!("{shape:?}"))),
        }
        Ok(())
    }

    /// The message of a special form.
    fn special(&self, special: Special, value: Option<&Value>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mismatch = |other: &Value| wrong(other, &format!("{special:?}"));
        match (special, value) {
            (Special::Time | Special::MicroTime, None) => {}
            (Special::Time | Special::MicroTime, Some(Value::String(text))) => {
                let time = Timestamp::parse(text).map_err(|e| DecodeError::Invalid(e.to_string()))?;
                let nanos = if special == Special::Time { 0 } else { i64::from(time.nanos) / 1000 * 1000 };
                put_int_field(1, time.seconds, out);
                put_int_field(2, nanos, out);
            }
            (Special::Duration, value) => {
                let text = value.and_then(Value::as_str).unwrap_or("0s");
                let nanos = duration::parse(text).map_err(|e| DecodeError::Invalid(e.to_string()))?;
                put_int_field(1, nanos, out);
            }
            (Special::Quantity, None) => put_bytes_field(1, b"0", out),
            (Special::Quantity, Some(Value::String(text))) => put_bytes_field(1, text.as_bytes(), out),
            (Special::IntOrString, value) => {
                let (form, number, text) = match value {
                    Some(Value::String(text)) => (1, 0, text.as_str()),
                    Some(Value::Number(n)) => (0, n.as_i64().unwrap_or_default(), ""),
                    None => (0, 0, ""),
                    Some(other) => return Err(mismatch(other)),
                };
                put_int_field(1, form, out);
                put_int_field(2, number, out);
                put_bytes_field(3, text.as_bytes(), out);
            }
            (Special::FieldsV1 | Special::RawExtension | Special::Json, value) => {
                if let Some(value) = value {
                    let mut raw = Vec::new();
                    encode_untyped(value, &mut raw);
                    put_bytes_field(1, &raw, out);
                }
            }
            (Special::SchemaOrBool(ty), value) => {
                let allows = !matches!(value, Some(Value::Bool(false)) | None);
                put_varint_field(1, u64::from(allows), out);
                if let Some(schema @ Value::Object(_)) = value {
                    self.single(2, &Shape::Struct(ty), Some(schema), out)?;
                }
            }
            (Special::SchemaOrArray(ty), Some(Value::Array(items))) => {
                self.items(2, &Shape::Struct(ty), items, out)?;
            }
            (Special::SchemaOrStrings(_), Some(Value::Array(items))) => {
                self.items(2, &Shape::String, items, out)?;
            }
            (Special::SchemaOrArray(ty) | Special::SchemaOrStrings(ty), Some(schema @ Value::Object(_))) => {
                self.single(1, &Shape::Struct(ty), Some(schema), out)?;
            }
            (Special::SchemaOrArray(_) | Special::SchemaOrStrings(_) | Special::Any, None) => {}
            (_, Some(other)) => return Err(mismatch(other)),
        }
        Ok(())
    }
}

fn wrong(value: &Value, form: &str) -> Error {
    Error::Value(DecodeError::Type(format!("a value of the wrong form for {form}: {value}")))
}
