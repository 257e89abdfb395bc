//! OpenAPI documents from the table: v3 (one document a group version) and v2 (one for everything, also in the
//! protobuf form that client-go and Helm ask for).
//!
//! [`v3`] and [`v2`] build documents for a [`Source`]; [`v3_index`] lists the v3 documents with their hashes;
//! [`v2_protobuf`] and [`v3_protobuf`] encode documents. Documents are built when asked for and not kept here: a core/v1 document
//! takes some tens of milliseconds, and its bytes are the caller's to cache.
//!
//! Clients read these with care: `kubectl explain` finds a kind by the `x-kubernetes-group-version-kind` of a
//! path's `get` and of the schema, `kubectl apply` needs the patch extensions, and what `fieldValidation` and
//! `dryRun` can do is read off the parameters of a path's `patch`.
mod custom;
mod descriptions;
mod gnostic;
mod operations;
mod parameters;
mod paths;
mod schemas;

use crate::kind::{GroupVersionKind, Kind};
use crate::schema::Schema;
use crate::{Object, Value, table};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(crate) use descriptions::Descriptions;
pub use gnostic::{v2_protobuf, v3_protobuf};

/// The version that documents name.
pub const VERSION: &str = "v1.36.3";

/// Title and version of the documents of custom resources.
const CUSTOM: (&str, &str) = ("Kubernetes CRD Swagger", "v0.1.0");

/// The two forms of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Form {
    /// A reference to a schema.
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// What to describe: resources and the schema that their types belong to.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The types.
    pub schema: &'a Schema,
    /// The resources that are served.
    pub kinds: Vec<&'a Kind>,
    /// Ready schemas by OpenAPI name, used in place of the table's (custom resources).
    pub overrides: BTreeMap<String, Value>,
}

impl<'a> Source<'a> {
    /// Resources of the built-in table.
    pub fn builtin(kinds: impl IntoIterator<Item = &'a Kind>) -> Self {
        let kinds = kinds.into_iter().collect();
        Self { schema: &table::builtin().schema, kinds, overrides: BTreeMap::new() }
    }
}

impl<'a> Source<'a> {
    /// Resources of the table of a CustomResourceDefinition; their schemas are those of the definition.
    pub fn custom(api: &'a table::Api, kinds: Vec<&'a Kind>, form: Form) -> Self {
        let ready = |kind: &&Kind| {
            let custom = api.custom.get(&kind.ty)?;
            let schema = custom::published(&custom.schema, kind, form);
            Some((api.schema.get(kind.ty).name.to_string(), schema))
        };
        let overrides = kinds.iter().filter_map(ready).collect();
        Self { schema: &api.schema, kinds, overrides }
    }
}

/// Puts the paths and schemas of a v3 document into another of the same group version.
pub fn v3_merge(into: &mut Value, from: Value) {
    for part in ["/paths", "/components/schemas"] {
        let more = from.pointer(part).and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(members) = into.pointer_mut(part).and_then(Value::as_object_mut) {
            members.extend(more);
        }
    }
}

/// The path of a group version below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
pub fn v3_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The hash of a group version's v3 document: changes when the table or the set of resources does.
pub fn v3_hash(source: &Source<'_>, group: &str, version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(table::digest());
    hash.update(v3_path(group, version));
    for kind in of_group_version(source, group, version) {
        hash.update(&*kind.plural);
        hash.update([0]);
        for sub in &kind.subresources {
            hash.update(&*sub.name);
            hash.update([1]);
        }
    }
    for (name, schema) in &source.overrides {
        hash.update(name);
        hash.update(schema.to_string());
    }
    hash.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// `GET /openapi/v3`: paths of the documents with their hashes, from `(path, hash)`.
pub fn v3_index<'p>(documents: impl IntoIterator<Item = (&'p str, &'p str)>) -> Value {
    let paths: Object = documents
        .into_iter()
        .map(|(path, hash)| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({ "paths": paths })
}

/// `GET /openapi/v3/apis/‹group›/‹version›`.
pub fn v3(source: &Source<'_>, group: &str, version: &str) -> Value {
    let kinds: Vec<&Kind> = of_group_version(source, group, version).collect();
    let mut builder = schemas::Builder::new(Form::V3, source, &kinds);
    let paths = paths::of_kinds(&mut builder, &kinds);
    let (title, release) = match source.overrides.is_empty() {
        true => ("Kubernetes", VERSION),
        false => CUSTOM,
    };
    json!({
        "openapi": "3.0.0",
        "info": {"title": title, "version": release},
        "paths": paths,
        "components": {
            "schemas": builder.finish(),
            "securitySchemes": {"BearerToken": bearer_token()},
        },
    })
}

/// The paths and definitions that the resources of a CustomResourceDefinition add to a v2 document of the built-in
/// ones, which has the types that they share.
pub fn v2_addition(source: &Source<'_>) -> Value {
    let mut builder = schemas::Builder::new(Form::V2, source, &source.kinds);
    let paths = paths::of_kinds(&mut builder, &source.kinds);
    let mut definitions = builder.finish();
    definitions.retain(|name, _| {
        let own = |ty: &crate::schema::TypeId| *source.schema.get(*ty).name == **name;
        source.kinds.iter().any(|kind| own(&kind.ty) || kind.list.as_ref().is_some_and(own))
    });
    json!({"paths": paths, "definitions": definitions})
}

/// `GET /openapi/v2` as JSON: all resources of the source.
pub fn v2(source: &Source<'_>) -> Value {
    let mut builder = schemas::Builder::new(Form::V2, source, &source.kinds);
    let mut paths = paths::of_kinds(&mut builder, &source.kinds);
    paths.extend(paths::discovery(&mut builder, &source.kinds));
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": builder.finish(),
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"})
}

fn of_group_version<'a>(
    source: &Source<'a>,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Kind> {
    let kinds = source.kinds.clone();
    kinds.into_iter().filter(move |k| &*k.gvk.group == group && &*k.gvk.version == version)
}

/// The extension that ties operations and schemas to kinds.
fn gvk_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": &*gvk.group, "kind": &*gvk.kind, "version": &*gvk.version})
}

#[cfg(test)]
mod tests;
