//! The protobuf form of v2 documents (`application/com.github.proto-openapi.spec.v2.v1.0+protobuf`): the messages
//! of gnostic's `openapi.v2` package, of which the parts that our documents use are described here.
use crate::protobuf::wire::{
    put_bytes_field, put_double_field, put_int_field, put_message_field, put_varint_field,
};
use crate::{Object, Value, yaml};
use std::convert::Infallible;

/// Encodes a v2 document.
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    if let Value::Object(object) = document {
        message(&DOCUMENT, object, &mut out);
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
    Message(&'static Message),
    Messages(&'static Message),
    /// A list of parameters, each within two or three choices.
    Parameters,
    /// An object with free names: entries of name and value, in a message under the given number; the value is
    /// within further choices of number 1 where `depth` says so.
    Named {
        message: &'static Message,
        entries: u32,
        depth: u8,
    },
    /// A message within a choice of number 1.
    Choice(&'static Message),
    /// A schema or a truth value.
    SchemaOrBool,
    /// A text as a list of one.
    TextAsList,
    /// Objects whose members are lists of texts.
    Requirements,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 8, Form::Named { message: &PATH_ITEM, entries: 2, depth: 0 }),
        ("definitions", 9, Form::Named { message: &SCHEMA, entries: 1, depth: 0 }),
        ("security", 12, Form::Requirements),
        ("securityDefinitions", 13, Form::Named { message: &API_KEY_CHOICE, entries: 1, depth: 0 }),
    ],
    extensions: 16,
};
static INFO: Message =
    Message { fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)], extensions: 7 };
static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("options", 6, Form::Message(&OPERATION)),
        ("head", 7, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Form::Parameters),
    ],
    extensions: 10,
};
static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Parameters),
        ("responses", 9, Form::Named { message: &RESPONSE, entries: 1, depth: 1 }),
        ("schemes", 10, Form::Texts),
    ],
    extensions: 13,
};
static RESPONSE: Message = Message {
    fields: &[("description", 1, Form::Text), ("schema", 2, Form::Choice(&SCHEMA))],
    extensions: 5,
};
static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};
static QUERY: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("uniqueItems", 20, Form::Bool),
    ],
    extensions: 23,
};
static PATH: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("uniqueItems", 19, Form::Bool),
    ],
    extensions: 22,
};
static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Float),
        ("maximum", 7, Form::Float),
        ("exclusiveMaximum", 8, Form::Bool),
        ("minimum", 9, Form::Float),
        ("exclusiveMinimum", 10, Form::Bool),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Bool),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::Anys),
        ("additionalProperties", 21, Form::SchemaOrBool),
        ("type", 22, Form::TextAsList),
        ("items", 23, Form::Choice(&SCHEMA)),
        ("allOf", 24, Form::Messages(&SCHEMA)),
        ("properties", 25, Form::Named { message: &SCHEMA, entries: 1, depth: 0 }),
    ],
    extensions: 31,
};
/// An API key, the second of the kinds of security.
static API_KEY_CHOICE: Message = Message { fields: &[("", 2, Form::Message(&API_KEY))], extensions: 0 };
static API_KEY: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("description", 4, Form::Text),
    ],
    extensions: 5,
};

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
            within(number, out, |out| within(1, out, |out| message(inner, object, out)));
        }
        (Form::Messages(inner), Value::Array(items)) => {
            for object in items.iter().filter_map(Value::as_object) {
                within(number, out, |out| message(inner, object, out));
            }
        }
        (Form::SchemaOrBool, Value::Object(object)) => {
            within(number, out, |out| within(1, out, |out| message(&SCHEMA, object, out)));
        }
        (Form::SchemaOrBool, Value::Bool(b)) => {
            within(number, out, |out| put_varint_field(2, u64::from(*b), out));
        }
        (Form::Named { message: inner, entries, depth }, Value::Object(members)) => {
            within(number, out, |out| {
                for (name, value) in members {
                    let Value::Object(object) = value else { continue };
                    within(*entries, out, |out| {
                        put_bytes_field(1, name.as_bytes(), out);
                        within(2, out, |out| match depth {
                            0 => message(inner, object, out),
                            _ => within(1, out, |out| message(inner, object, out)),
                        });
                    });
                }
            })
        }
        (Form::Parameters, Value::Array(items)) => {
            for object in items.iter().filter_map(Value::as_object) {
                within(number, out, |out| within(1, out, |out| parameter(object, out)));
            }
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

/// The choice between body, query and path parameters.
fn parameter(object: &Object, out: &mut Vec<u8>) {
    match object.get("in").and_then(Value::as_str) {
        Some("body") => within(1, out, |out| message(&BODY, object, out)),
        Some("path") => within(2, out, |out| within(4, out, |out| message(&PATH, object, out))),
        _ => within(2, out, |out| within(3, out, |out| message(&QUERY, object, out))),
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
