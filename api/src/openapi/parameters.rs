//! Parameters of operations.
use super::Form;
use super::schemas::Builder;
use crate::Value;
use crate::schema::{Shape, TypeId};
use serde_json::json;

/// A query parameter: name, whether it is a number (n), truth value (b) or text (s), and what it does.
type Query = (&'static str, char, &'static str);

const PRETTY: Query = ("pretty", 's', "If true, the output is indented for people.");
const DRY_RUN: Query = ("dryRun", 's', "All: process the request completely but change nothing.");
const FIELD_MANAGER: Query =
    ("fieldManager", 's', "A name for the actor that makes the changes; required for apply requests.");
const FIELD_VALIDATION: Query = (
    "fieldValidation",
    's',
    "What to do about unknown or duplicate fields: Ignore drops them silently, Warn (the default) answers with a warning, Strict refuses the request.",
);
const FORCE: Query = ("force", 'b', "Take over fields that others own; only for apply requests.");
const LIST: &[Query] = &[
    ("allowWatchBookmarks", 'b', "Send events of type BOOKMARK now and then."),
    ("continue", 's', "The continue token of an earlier page of this list."),
    ("fieldSelector", 's', "Select objects by their fields."),
    ("labelSelector", 's', "Select objects by their labels."),
    ("limit", 'n', "The largest number of objects in the answer; the rest follows with the continue token."),
    ("resourceVersion", 's', "The resource version that the answer is to be of; see resourceVersionMatch."),
    ("resourceVersionMatch", 's', "How resourceVersion applies to a list: NotOlderThan or Exact."),
    ("sendInitialEvents", 'b', "Begin a watch with events for all existing objects and a bookmark."),
    ("timeoutSeconds", 'n', "End the request after this time."),
    ("watch", 'b', "Answer with a stream of changes instead of a list."),
];
const DELETE: &[Query] = &[
    DRY_RUN,
    ("gracePeriodSeconds", 'n', "Seconds before the object is deleted; zero means at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        'b',
        "Delete even what cannot be read from storage any more; dangerous.",
    ),
    ("orphanDependents", 'b', "Deprecated: use propagationPolicy."),
    ("propagationPolicy", 's', "What becomes of dependents: Orphan, Background or Foreground."),
];

/// The parameters of a verb.
pub(super) fn of_verb(form: Form, verb: &str) -> Vec<Value> {
    let queries: Vec<Query> = match verb {
        "create" | "update" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        "patch" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
        "delete" => DELETE.to_vec(),
        "list" => LIST.to_vec(),
        "deletecollection" => {
            let lists = LIST.iter().filter(|(name, ..)| !matches!(*name, "allowWatchBookmarks" | "watch"));
            lists.chain(DELETE).copied().collect()
        }
        _ => Vec::new(),
    };
    queries.iter().map(|q| query(form, q.0, q.1, q.2)).collect()
}

/// The parameters of every path with the given parts.
pub(super) fn of_path(form: Form, namespaced: bool, name: Option<&str>, rest: bool) -> Vec<Value> {
    let mut list = Vec::new();
    if let Some(kind) = name {
        list.push(path(form, "name", &format!("name of the {kind}")));
    }
    if namespaced {
        list.push(path(form, "namespace", "object name and auth scope, such as for teams and projects"));
    }
    if rest {
        list.push(path(form, "path", "path to the resource"));
    }
    list.push(query(form, PRETTY.0, PRETTY.1, PRETTY.2));
    list
}

/// The members of an options type (`PodExecOptions`) as parameters.
pub(super) fn of_options(builder: &Builder<'_>, ty: TypeId) -> Vec<Value> {
    let fields = builder.source.schema.json_fields(ty).filter(|f| !f.name.is_empty());
    let of_field = |field: &crate::schema::Field| {
        let form = match &field.shape {
            Shape::Bool => 'b',
            Shape::Int32 | Shape::Int64 => 'n',
            _ => 's',
        };
        query(builder.form, &field.name, form, &format!("{} of the request.", field.name))
    };
    fields.map(of_field).collect()
}

/// The body of a v2 operation.
pub(super) fn body(schema: Value, required: bool) -> Value {
    let mut body = json!({"in": "body", "name": "body", "schema": schema});
    if required {
        body["required"] = true.into();
    }
    body
}

fn path(form: Form, name: &str, text: &str) -> Value {
    with_type(form, json!({"name": name, "in": "path", "description": text, "required": true}), 's')
}

fn query(form: Form, name: &str, kind: char, text: &str) -> Value {
    with_type(form, json!({"name": name, "in": "query", "description": text}), kind)
}

fn with_type(form: Form, mut parameter: Value, kind: char) -> Value {
    let name = match kind {
        'b' => "boolean",
        'n' => "integer",
        _ => "string",
    };
    match form {
        Form::V2 => {
            parameter["type"] = name.into();
            parameter["uniqueItems"] = true.into();
        }
        Form::V3 => parameter["schema"] = json!({"type": name, "uniqueItems": true}),
    }
    parameter
}
