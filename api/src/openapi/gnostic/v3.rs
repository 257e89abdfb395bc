//! Messages of the package `openapi.v3`.
use super::{Form, Message};

pub(super) static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 4, Form::Named { message: &PATH_ITEM, entries: 1, depth: 0 }),
        ("components", 5, Form::Message(&COMPONENTS)),
        ("security", 6, Form::Requirements),
    ],
    extensions: 9,
};
static INFO: Message = Message {
    fields: &[("title", 1, Form::Text), ("description", 2, Form::Text), ("version", 6, Form::Text)],
    extensions: 7,
};
static COMPONENTS: Message = Message {
    fields: &[
        ("schemas", 1, Form::Named { message: &SCHEMA, entries: 1, depth: 1 }),
        ("securitySchemes", 7, Form::Named { message: &SECURITY_SCHEME, entries: 1, depth: 1 }),
    ],
    extensions: 10,
};
static SECURITY_SCHEME: Message = Message {
    fields: &[
        ("type", 1, Form::Text),
        ("description", 2, Form::Text),
        ("name", 3, Form::Text),
        ("in", 4, Form::Text),
    ],
    extensions: 9,
};
static PATH_ITEM: Message = Message {
    fields: &[
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("get", 4, Form::Message(&OPERATION)),
        ("put", 5, Form::Message(&OPERATION)),
        ("post", 6, Form::Message(&OPERATION)),
        ("delete", 7, Form::Message(&OPERATION)),
        ("options", 8, Form::Message(&OPERATION)),
        ("head", 9, Form::Message(&OPERATION)),
        ("patch", 10, Form::Message(&OPERATION)),
        ("parameters", 13, Form::Choices(&PARAMETER)),
    ],
    extensions: 14,
};
static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("parameters", 6, Form::Choices(&PARAMETER)),
        ("requestBody", 7, Form::Choice(&REQUEST_BODY)),
        ("responses", 8, Form::Named { message: &RESPONSE, entries: 2, depth: 1 }),
        ("deprecated", 10, Form::Bool),
    ],
    extensions: 13,
};
static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Form::Text),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("schema", 10, Form::Choice(&SCHEMA)),
    ],
    extensions: 14,
};
static REQUEST_BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("content", 2, Form::Named { message: &MEDIA_TYPE, entries: 1, depth: 0 }),
        ("required", 3, Form::Bool),
    ],
    extensions: 4,
};
static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("content", 3, Form::Named { message: &MEDIA_TYPE, entries: 1, depth: 0 }),
    ],
    extensions: 5,
};
static MEDIA_TYPE: Message = Message { fields: &[("schema", 1, Form::Choice(&SCHEMA))], extensions: 5 };
static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Form::Bool),
        ("example", 7, Form::Any),
        ("title", 9, Form::Text),
        ("multipleOf", 10, Form::Float),
        ("maximum", 11, Form::Float),
        ("exclusiveMaximum", 12, Form::Bool),
        ("minimum", 13, Form::Float),
        ("exclusiveMinimum", 14, Form::Bool),
        ("maxLength", 15, Form::Integer),
        ("minLength", 16, Form::Integer),
        ("pattern", 17, Form::Text),
        ("maxItems", 18, Form::Integer),
        ("minItems", 19, Form::Integer),
        ("uniqueItems", 20, Form::Bool),
        ("maxProperties", 21, Form::Integer),
        ("minProperties", 22, Form::Integer),
        ("required", 23, Form::Texts),
        ("enum", 24, Form::Anys),
        ("type", 25, Form::Text),
        ("allOf", 26, Form::Choices(&SCHEMA)),
        ("oneOf", 27, Form::Choices(&SCHEMA)),
        ("anyOf", 28, Form::Choices(&SCHEMA)),
        ("not", 29, Form::Message(&SCHEMA)),
        ("items", 30, Form::Within(&Form::Choice(&SCHEMA))),
        ("properties", 31, Form::Named { message: &SCHEMA, entries: 1, depth: 1 }),
        ("additionalProperties", 32, Form::OrBool(&Form::Choice(&SCHEMA))),
        ("default", 33, Form::Scalar),
        ("description", 34, Form::Text),
        ("format", 35, Form::Text),
    ],
    extensions: 36,
};
