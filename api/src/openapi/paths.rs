//! Paths of resources.
use super::operations::Operation;
use super::parameters::{of_options, of_path};
use super::schemas::Builder;
use crate::kind::{Kind, Subresource};
use crate::{Object, Value};
use serde_json::json;
use std::collections::BTreeSet;

/// The paths of all given resources.
pub(super) fn of_kinds(builder: &mut Builder<'_>, kinds: &[&Kind]) -> Object {
    let mut paths = Object::new();
    for kind in kinds {
        resource(builder, kind, &mut paths);
    }
    paths
}

/// The paths of discovery for v2: roots, groups, group versions.
pub(super) fn discovery(builder: &mut Builder<'_>, kinds: &[&Kind]) -> Object {
    let mut paths = Object::new();
    let mut add = |path: String, id: &str, answer: Value| {
        let operation = json!({
            "description": "get information about the API", "operationId": id, "schemes": ["https"],
            "produces": ["application/json"], "consumes": ["application/json"],
            "responses": {"200": {"description": "OK", "schema": answer}, "401": {"description": "Unauthorized"}},
        });
        paths.insert(path, json!({ "get": operation }));
    };
    add("/api/".to_owned(), "getCoreAPIVersions", builder.meta("APIVersions"));
    add("/apis/".to_owned(), "getAPIVersions", builder.meta("APIGroupList"));
    let versions: BTreeSet<_> = kinds.iter().map(|k| (&*k.gvk.group, &*k.gvk.version)).collect();
    for (group, version) in versions {
        let name = camel(group);
        if !group.is_empty() {
            add(format!("/apis/{group}/"), &format!("get{name}APIGroup"), builder.meta("APIGroup"));
        }
        let id = format!("get{name}{}APIResources", capital(version));
        add(format!("{}/", base(group, version)), &id, builder.meta("APIResourceList"));
    }
    paths
}

fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// The group's name in operation ids: `Core`, `RbacAuthorization`.
fn camel(group: &str) -> String {
    let short = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    short.split('.').map(capital).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// What is common to all operations of a resource.
struct Resource<'a> {
    kind: &'a Kind,
    /// `CoreV1`.
    prefix: String,
    /// `core_v1`.
    tag: String,
    /// `Namespaced` or nothing.
    scope: &'static str,
}

impl Resource<'_> {
    fn id(&self, verb: &str, suffix: &str) -> String {
        let word = match verb {
            "get" => "read",
            "update" => "replace",
            "deletecollection" => "delete",
            verb => verb,
        };
        let collection = if verb == "deletecollection" { "Collection" } else { "" };
        format!("{word}{}{collection}{}{}{suffix}", self.prefix, self.scope, self.kind.gvk.kind)
    }

    fn operation<'s>(&'s self, verb: &'s str, id: String) -> Operation<'s> {
        Operation {
            verb,
            gvk: &self.kind.gvk,
            ty: self.kind.ty,
            list: self.kind.list,
            id,
            tag: &self.tag,
            more: Vec::new(),
            text: false,
        }
    }
}

fn resource(builder: &mut Builder<'_>, kind: &Kind, paths: &mut Object) {
    let (group, version) = (&*kind.gvk.group, &*kind.gvk.version);
    let this = Resource {
        kind,
        prefix: format!("{}{}", camel(group), capital(version)),
        tag: format!("{}_{version}", lower(&camel(group))),
        scope: if kind.namespaced { "Namespaced" } else { "" },
    };
    let base = base(group, version);
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{scope}/{}", kind.plural);
    let item = format!("{collection}/{{name}}");
    let form = builder.form;
    let mut add = |path: &str, verbs: &[&str], builder: &mut Builder<'_>, parameters: Vec<Value>| {
        let mut entry = Object::new();
        for verb in verbs.iter().filter(|v| kind.has_verb(v)) {
            let operation = this.operation(verb, this.id(verb, "")).build(builder);
            entry.insert(Operation::method(verb).to_owned(), operation);
        }
        if !entry.is_empty() {
            entry.insert("parameters".to_owned(), Value::Array(parameters));
            paths.insert(path.to_owned(), Value::Object(entry));
        }
    };
    add(
        &collection,
        &["list", "create", "deletecollection"],
        builder,
        of_path(form, kind.namespaced, None, false),
    );
    let named = of_path(form, kind.namespaced, Some(&kind.gvk.kind), false);
    add(&item, &["get", "update", "patch", "delete"], builder, named);
    if kind.namespaced && kind.has_verb("list") {
        let id = format!("list{}{}ForAllNamespaces", this.prefix, kind.gvk.kind);
        let operation = this.operation("list", id).build(builder);
        let entry = json!({"get": operation, "parameters": of_path(form, false, None, false)});
        paths.insert(format!("{base}/{}", kind.plural), entry);
    }
    for sub in &kind.subresources {
        subresource(builder, &this, sub, &item, paths);
    }
}

/// Subresources that are streams or proxies, not objects.
const CONNECT: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

fn subresource(
    builder: &mut Builder<'_>,
    resource: &Resource<'_>,
    sub: &Subresource,
    item: &str,
    paths: &mut Object,
) {
    let kind = resource.kind;
    let connect = CONNECT.contains(&&*sub.name);
    let log = &*sub.name == "log";
    let more = if connect {
        of_options(builder, sub.ty)
    } else if log {
        let options = builder.source.schema.find("io.k8s.api.core.v1.PodLogOptions");
        options.map(|ty| of_options(builder, ty)).unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut entry = Object::new();
    for verb in &sub.verbs {
        let method = Operation::method(verb);
        let name = capital(&sub.name);
        let id = if connect {
            let method = capital(method);
            format!("connect{}{method}{}{}{name}", resource.prefix, resource.scope, kind.gvk.kind)
        } else {
            resource.id(verb, &name)
        };
        let operation = Operation {
            verb: if connect { "connect" } else { verb },
            gvk: &sub.gvk,
            ty: sub.ty,
            list: None,
            id,
            tag: &resource.tag,
            more: more.clone(),
            text: connect || log,
        };
        entry.insert(method.to_owned(), operation.build(builder));
    }
    let rest = |rest: bool| of_path(builder.form, kind.namespaced, Some(&sub.gvk.kind), rest);
    if &*sub.name == "proxy" {
        let mut deep = entry.clone();
        for operation in deep.values_mut() {
            let id = operation.get("operationId").and_then(Value::as_str).map(|id| format!("{id}WithPath"));
            operation["operationId"] = id.into();
        }
        deep.insert("parameters".to_owned(), Value::Array(rest(true)));
        paths.insert(format!("{item}/proxy/{{path}}"), Value::Object(deep));
    }
    entry.insert("parameters".to_owned(), Value::Array(rest(false)));
    paths.insert(format!("{item}/{}", sub.name), Value::Object(entry));
}
