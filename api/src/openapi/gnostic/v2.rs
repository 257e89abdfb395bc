//! Messages of the package `openapi.v2`.
use super::{Form, Message, message, within};
use crate::{Object, Value};

pub(super) static DOCUMENT: Message = Message {
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
        ("parameters", 9, Form::Own(parameters)),
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
        ("parameters", 8, Form::Own(parameters)),
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
        ("additionalProperties", 21, Form::OrBool(&Form::Message(&SCHEMA))),
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

/// A list of parameters, each within two or three choices.
fn parameters(number: u32, list: &Value, out: &mut Vec<u8>) {
    for object in list.as_array().into_iter().flatten().filter_map(Value::as_object) {
        within(number, out, |out| within(1, out, |out| parameter(object, out)));
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
