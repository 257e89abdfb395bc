//! Operations: what a verb takes and answers.
use super::schemas::Builder;
use super::{Form, gvk_value, parameters};
use crate::kind::GroupVersionKind;
use crate::schema::TypeId;
use crate::{Object, Value};
use serde_json::json;

const JSON_TYPES: [&str; 4] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
const STREAM_TYPES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    STRATEGIC,
    "application/apply-patch+yaml",
];
/// Custom resources have no such patches, and kubectl believes what is said here.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One operation to describe.
pub(super) struct Operation<'a> {
    /// A verb of the API, or `connect`.
    pub(super) verb: &'a str,
    /// What it is about.
    pub(super) gvk: &'a GroupVersionKind,
    /// The object it takes and answers.
    pub(super) ty: TypeId,
    /// The list it answers.
    pub(super) list: Option<TypeId>,
    /// Its name within all documents.
    pub(super) id: String,
    /// The group version's tag.
    pub(super) tag: &'a str,
    /// More parameters.
    pub(super) more: Vec<Value>,
    /// It answers text and no object.
    pub(super) text: bool,
}

impl Operation<'_> {
    /// The HTTP method of the verb.
    pub(super) fn method(verb: &str) -> &'static str {
        match verb {
            "create" => "post",
            "update" => "put",
            "patch" => "patch",
            "delete" | "deletecollection" => "delete",
            _ => "get",
        }
    }

    fn action(&self) -> &str {
        match self.verb {
            "create" => "post",
            "update" => "put",
            verb => verb,
        }
    }

    fn summary(&self) -> String {
        let kind = &self.gvk.kind;
        match self.verb {
            "get" => format!("read the specified {kind}"),
            "list" => format!("list or watch objects of kind {kind}"),
            "create" => format!("create {kind}"),
            "update" => format!("replace the specified {kind}"),
            "patch" => format!("partially update the specified {kind}"),
            "delete" => format!("delete {kind}"),
            "deletecollection" => format!("delete collection of {kind}"),
            _ => format!("connect requests to {kind}"),
        }
    }

    /// The operation's object.
    pub(super) fn build(self, builder: &mut Builder<'_>) -> Value {
        let form = builder.form;
        let object = (!self.text).then(|| builder.reference(self.ty));
        let answer = match self.verb {
            "list" => self.list.map_or_else(|| json!({"type": "object"}), |ty| builder.reference(ty)),
            "delete" | "deletecollection" => builder.meta("Status"),
            _ => object.clone().unwrap_or_else(|| json!({"type": "string"})),
        };
        let body = match self.verb {
            "create" | "update" => object,
            "patch" => Some(builder.patch()),
            "delete" | "deletecollection" => Some(builder.meta("DeleteOptions")),
            _ => None,
        };
        let mut list = parameters::of_verb(form, self.verb);
        list.extend(self.more.iter().cloned());
        let mut operation = Object::new();
        let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
        put("description", self.summary().into());
        put("operationId", self.id.clone().into());
        put("tags", json!([self.tag]));
        let produces: Vec<&str> = match self.verb {
            _ if self.text => vec!["*/*"],
            "list" => JSON_TYPES.iter().chain(&STREAM_TYPES).copied().collect(),
            _ => JSON_TYPES.to_vec(),
        };
        let is_custom = !builder.source.overrides.is_empty();
        let consumes: Vec<&str> = match self.verb {
            "patch" => PATCH_TYPES.into_iter().filter(|ty| !is_custom || *ty != STRATEGIC).collect(),
            _ => vec!["*/*"],
        };
        if let Some(schema) = body {
            let required = !self.verb.starts_with("delete");
            match form {
                Form::V2 => list.insert(0, parameters::body(schema, required)),
                Form::V3 => {
                    let content = content(&consumes, &schema);
                    let body = if required {
                        json!({"content": content, "required": true})
                    } else {
                        json!({"content": content})
                    };
                    put("requestBody", body);
                }
            }
        }
        if form == Form::V2 {
            put("schemes", json!(["https"]));
            put("produces", json!(produces));
            put("consumes", json!(consumes));
        }
        if !list.is_empty() {
            put("parameters", Value::Array(list));
        }
        put("responses", responses(form, self.verb, &produces, &answer));
        if !self.action().is_empty() {
            put("x-kubernetes-action", self.action().into());
        }
        put("x-kubernetes-group-version-kind", gvk_value(self.gvk));
        Value::Object(operation)
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|ty| ((*ty).to_owned(), json!({ "schema": schema }))).collect())
}

fn responses(form: Form, verb: &str, produces: &[&str], schema: &Value) -> Value {
    let codes: &[(&str, &str)] = match verb {
        "create" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "update" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let response = |text: &str| match form {
        Form::V2 => json!({"description": text, "schema": schema}),
        Form::V3 => json!({"description": text, "content": content(produces, schema)}),
    };
    let mut all: Object = codes.iter().map(|(code, text)| ((*code).to_owned(), response(text))).collect();
    all.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(all)
}
