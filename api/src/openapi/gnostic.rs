//! The protobuf forms of documents: the messages of gnostic's packages `openapi.v2` and `openapi.v3`, of which the parts
//! that our documents use are described in [`v2`] and [`v3`].
mod v2;
mod v3;

use crate::protobuf::wire::{
    put_bytes_field, put_double_field, put_int_field, put_message_field, put_varint_field,
};
use crate::{Object, Value, yaml};
use std::convert::Infallible;

/// Encodes a v2 document (`application/com.github.proto-openapi.spec.v2.v1.0+protobuf`).
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    encode(&v2::DOCUMENT, document)
}

/// Encodes a v3 document (`application/com.github.proto-openapi.spec.v3.v1.0+protobuf`).
pub fn v3_protobuf(document: &Value) -> Vec<u8> {
    encode(&v3::DOCUMENT, document)
}

fn encode(this: &Message, document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    if let Value::Object(object) = document {
        message(this, object, &mut out);
    }
    out
}

/// A message: its fields by JSON name, and the number under which extensions (`x-…`) go.
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    extensions: u32,
}

/// How a member lies on the wire.
enum Form {
    Text,
    Bool,
    /// A number, IEEE double.
    Float,
    Integer,
    Texts,
    /// Any value, as YAML text.
    Any,
    /// A list of such.
    Anys,
    /// A number, a truth value or a text within a choice of 1, 2 and 3; nothing of any other value.
    Scalar,
    Message(&'static Message),
    Messages(&'static Message),
    /// An object with free names: entries of name and value, in a message under the given number; the value is
    /// within further choices of number 1 where `depth` says so.
    Named {
        message: &'static Message,
        entries: u32,
        depth: u8,
    },
    /// A message within a choice of number 1, or a reference to one within a choice of number 2.
    Choice(&'static Message),
    /// A list of such.
    Choices(&'static Message),
    /// A form under number 1 of a message.
    Within(&'static Form),
    /// A form under number 1 of a message, or a truth value under number 2.
    OrBool(&'static Form),
    /// A text as a list of one.
    TextAsList,
    /// Objects whose members are lists of texts.
    Requirements,
    /// What no other form says: under the number.
    Own(fn(u32, &Value, &mut Vec<u8>)),
}

fn message(this: &Message, object: &Object, out: &mut Vec<u8>) {
    for (name, number, form) in this.fields {
        if name.is_empty() {
            // A choice: the object itself, one level deeper.
            if let Form::Message(inner) = form {
                within(*number, out, |out| message(inner, object, out));
            }
        } else if let Some(value) = object.get(*name) {
            member(*number, form, value, out);
        }
    }
    if this.extensions != 0 {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            within(this.extensions, out, |out| {
                put_bytes_field(1, name.as_bytes(), out);
                within(2, out, |out| any(value, out));
            });
        }
    }
}

fn member(number: u32, form: &Form, value: &Value, out: &mut Vec<u8>) {
    match (form, value) {
        (Form::Text, Value::String(text)) if !text.is_empty() => {
            put_bytes_field(number, text.as_bytes(), out)
        }
        (Form::Bool, Value::Bool(true)) => put_varint_field(number, 1, out),
        (Form::Float, Value::Number(value)) => {
            put_double_field(number, value.as_f64().unwrap_or_default(), out);
        }
        (Form::Integer, Value::Number(value)) => {
            put_int_field(number, value.as_i64().unwrap_or_default(), out);
        }
        (Form::Texts, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).for_each(|t| put_bytes_field(number, t.as_bytes(), out));
        }
        (Form::TextAsList, Value::String(text)) => {
            within(number, out, |out| put_bytes_field(1, text.as_bytes(), out));
        }
        (Form::Any, value) => within(number, out, |out| any(value, out)),
        (Form::Anys, Value::Array(items)) => {
            items.iter().for_each(|item| within(number, out, |out| any(item, out)));
        }
        (Form::Message(inner), Value::Object(object)) => {
            within(number, out, |out| message(inner, object, out))
        }
        (Form::Choice(inner), Value::Object(object)) => {
            within(number, out, |out| choice(inner, object, out));
        }
        (Form::Choices(inner), Value::Array(items)) => {
            for object in items.iter().filter_map(Value::as_object) {
                within(number, out, |out| choice(inner, object, out));
            }
        }
        (Form::Within(inner), value) => within(number, out, |out| member(1, inner, value, out)),
        (Form::OrBool(_), Value::Bool(b)) => {
            within(number, out, |out| put_varint_field(2, u64::from(*b), out));
        }
        (Form::OrBool(inner), value) => within(number, out, |out| member(1, inner, value, out)),
        (Form::Scalar, value) => within(number, out, |out| scalar(value, out)),
        (Form::Own(write), value) => write(number, value, out),
        (Form::Messages(inner), Value::Array(items)) => {
            for object in items.iter().filter_map(Value::as_object) {
                within(number, out, |out| message(inner, object, out));
            }
        }
        (Form::Named { message: inner, entries, depth }, Value::Object(members)) => {
            within(number, out, |out| {
                for (name, value) in members {
                    let Value::Object(object) = value else { continue };
                    within(*entries, out, |out| {
                        put_bytes_field(1, name.as_bytes(), out);
                        within(2, out, |out| match depth {
                            0 => message(inner, object, out),
                            _ => choice(inner, object, out),
                        });
                    });
                }
            })
        }
        (Form::Requirements, Value::Array(items)) => {
            for object in items.iter().filter_map(Value::as_object) {
                within(number, out, |out| {
                    for (name, scopes) in object {
                        within(1, out, |out| {
                            put_bytes_field(1, name.as_bytes(), out);
                            within(2, out, |out| member(1, &Form::Texts, scopes, out));
                        });
                    }
                });
            }
        }
        _ => {}
    }
}

/// A message, or a reference to one where the message itself has none.
fn choice(this: &Message, object: &Object, out: &mut Vec<u8>) {
    match object.get("$ref").and_then(Value::as_str) {
        Some(reference) if this.fields.iter().all(|(name, ..)| *name != "$ref") => {
            within(2, out, |out| put_bytes_field(1, reference.as_bytes(), out));
        }
        _ => within(1, out, |out| message(this, object, out)),
    }
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => put_double_field(1, number.as_f64().unwrap_or_default(), out),
        Value::Bool(b) => put_varint_field(2, u64::from(*b), out),
        Value::String(text) => put_bytes_field(3, text.as_bytes(), out),
        _ => {}
    }
}

fn any(value: &Value, out: &mut Vec<u8>) {
    put_bytes_field(2, yaml::emit(value).as_bytes(), out);
}

fn within(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let Ok(()) = put_message_field::<Infallible>(number, out, |out| {
        write(out);
        Ok(())
    });
}
