//! Types and rows from a structural schema.
use super::{Custom, ScalePaths, path, text};
use crate::Value;
use crate::columns::Columns;
use crate::kind::{GroupVersionKind, Kind, Subresource};
use crate::re2::Regex;
use crate::schema::{Field, ListType, Schema, Shape, Special, Type, TypeId};
use crate::table::builtin;
use base64::Engine;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn words(list: &Value) -> Vec<Arc<str>> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

/// The row of one version.
pub(super) fn kind(schema: &mut Schema, crd: &Value, version: &Value, storage: &str) -> (Kind, Custom) {
    let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
    let (group, kind) = (text(&spec["group"]), text(&names["kind"]));
    let gvk = GroupVersionKind::new(group, text(&version["name"]), kind);
    let root = version["schema"]["openAPIV3Schema"].clone();
    let ty = object(schema, &gvk, &root);
    let list_kind = match text(&names["listKind"]) {
        "" => format!("{kind}List"),
        given => given.to_owned(),
    };
    let list = list(schema, &GroupVersionKind::new(group, &gvk.version, &list_kind), ty);
    let digest = Sha256::digest(format!("{group}/{storage}/{kind}"));
    let singular = match text(&names["singular"]) {
        "" => kind.to_lowercase(),
        given => given.to_owned(),
    };
    let namespaced = spec["scope"] == "Namespaced";
    let mut selectors: Vec<Arc<str>> = vec!["metadata.name".into()];
    if namespaced {
        selectors.push("metadata.namespace".into());
    }
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    selectors.extend(selectable.map(|f| text(&f["jsonPath"]).trim_start_matches('.').into()));
    let mut subresources = Vec::new();
    let verbs = |list: &[&str]| list.iter().map(|v| Arc::from(*v)).collect::<Vec<Arc<str>>>();
    let changing = ["get", "patch", "update"];
    if version["subresources"]["status"].is_object() {
        let (name, gvk) = ("status".into(), gvk.clone());
        subresources.push(Subresource { name, gvk, verbs: verbs(&changing), ty });
    }
    let scale = &version["subresources"]["scale"];
    let scale = scale.is_object().then(|| ScalePaths {
        spec: path(text(&scale["specReplicasPath"])),
        status: path(text(&scale["statusReplicasPath"])),
        selector: scale["labelSelectorPath"].as_str().filter(|p| !p.is_empty()).map(path),
    });
    if scale.is_some() {
        let ty = import(schema, SCALE);
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        subresources.push(Subresource { name: "scale".into(), gvk, verbs: verbs(&changing), ty });
    }
    let columns = version["additionalPrinterColumns"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut patterns = HashMap::new();
    collect_patterns(&root, &mut patterns);
    let deprecation = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(given) => given.to_owned(),
        None => format!("{} {kind} is deprecated", gvk.api_version()),
    });
    let columns = Columns::custom(columns);
    let rules = OnceLock::new();
    let custom = Custom { schema: root, patterns, rules, columns, scale, deprecation };
    let mut row = Kind::new(gvk, text(&names["plural"]).into(), ty);
    row.singular = singular.into();
    row.list_kind = list_kind.into();
    row.short_names = words(&names["shortNames"]);
    row.categories = words(&names["categories"]);
    row.namespaced = namespaced;
    row.verbs = verbs(&VERBS);
    row.served_by_default = true;
    row.storage = Some(GroupVersionKind::new(group, storage, kind));
    row.storage_hash = base64::engine::general_purpose::STANDARD.encode(&digest[..8]).into();
    row.field_selectors = selectors;
    row.subresources = subresources;
    row.list = Some(list);
    (row, custom)
}

fn go_package(gvk: &GroupVersionKind) -> String {
    let reversed: Vec<&str> = gvk.group.rsplit('.').collect();
    format!("{}.{}", reversed.join("."), gvk.version)
}

/// The type of the object itself: `metadata` is the built-in type whatever the schema says of it.
fn object(schema: &mut Schema, gvk: &GroupVersionKind, root: &Value) -> TypeId {
    let meta = import(schema, OBJECT_META);
    let name = format!("{}.{}", go_package(gvk), gvk.kind);
    let mut ty = structure(schema, root, &name);
    ty.has_type_meta = true;
    ty.gvk = Some(gvk.clone());
    ty.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    ty.fields.insert(0, optional("metadata", Shape::Struct(meta)));
    schema.add(ty)
}

fn list(schema: &mut Schema, gvk: &GroupVersionKind, item: TypeId) -> TypeId {
    let meta = import(schema, LIST_META);
    let mut ty = Type { name: format!("{}.{}", go_package(gvk), gvk.kind).into(), ..Type::default() };
    ty.has_type_meta = true;
    ty.gvk = Some(gvk.clone());
    ty.fields.push(optional("metadata", Shape::Struct(meta)));
    ty.fields.push(optional("items", Shape::List(Box::new(Shape::Struct(item)))));
    ty.fields[1].required = true;
    schema.add(ty)
}

/// A member that is written exactly where it is present.
fn optional(name: &str, shape: Shape) -> Field {
    let mut field = Field::new(name.into(), shape);
    field.omit_empty = true;
    field.pointer = true;
    field
}

/// Copies a built-in type with all it refers to; once.
fn import(schema: &mut Schema, name: &str) -> TypeId {
    if let Some(known) = schema.find(name) {
        return known;
    }
    let builtin = &builtin().schema;
    let Some(from) = builtin.find(name) else { return schema.add(Type::default()) };
    let id = schema.add(builtin.get(from).clone());
    for at in 0..schema.get(id).fields.len() {
        let mut shape = schema.get(id).fields[at].shape.clone();
        if let Some(inner) = struct_of(&mut shape) {
            let name = builtin.get(*inner).name.clone();
            *inner = import(schema, &name);
            schema.types[id.0 as usize].fields[at].shape = shape;
        }
    }
    id
}

fn struct_of(shape: &mut Shape) -> Option<&mut TypeId> {
    match shape {
        Shape::Struct(id) => Some(id),
        Shape::List(inner) | Shape::Map(inner) => struct_of(inner),
        _ => None,
    }
}

fn structure(schema: &mut Schema, given: &Value, name: &str) -> Type {
    let mut ty = Type { name: name.into(), custom: true, ..Type::default() };
    ty.preserve_unknown = given["x-kubernetes-preserve-unknown-fields"] == true;
    ty.atomic = given["x-kubernetes-map-type"] == "atomic";
    for (member, child) in given["properties"].as_object().into_iter().flatten() {
        let shape = shape(schema, child, &format!("{name}.{member}"));
        let mut field = optional(member, shape);
        field.atomic = child["x-kubernetes-map-type"] == "atomic";
        field.default = child.get("default").cloned();
        mark_list(schema, child, &mut field);
        ty.fields.push(field);
    }
    if given["x-kubernetes-embedded-resource"] == true {
        let meta = import(schema, OBJECT_META);
        ty.has_type_meta = true;
        ty.fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
        ty.fields.insert(0, optional("metadata", Shape::Struct(meta)));
    }
    ty
}

fn mark_list(schema: &Schema, child: &Value, field: &mut Field) {
    let kind = child["x-kubernetes-list-type"].as_str();
    field.list_type_marked = kind.is_some();
    match kind {
        Some("set") => field.list_type = ListType::Set,
        Some("map") => {
            let keys = words(&child["x-kubernetes-list-map-keys"]);
            let item = field.shape.reference().map(|id| schema.get(id));
            let has = |key: &Arc<str>| item.is_some_and(|item| item.fields.iter().any(|f| f.name == *key));
            if !keys.is_empty() && keys.iter().all(has) {
                field.list_type = ListType::Map;
                field.list_keys = keys;
            }
        }
        _ => {}
    }
}

fn shape(schema: &mut Schema, given: &Value, name: &str) -> Shape {
    match given["type"].as_str() {
        Some("array") => Shape::List(Box::new(shape(schema, &given["items"], name))),
        Some("object") if given["additionalProperties"].is_object() => {
            Shape::Map(Box::new(shape(schema, &given["additionalProperties"], name)))
        }
        Some("object") if given["additionalProperties"] == true => Shape::Special(Special::Any),
        Some("object") => {
            let ty = structure(schema, given, name);
            Shape::Struct(schema.add(ty))
        }
        _ => Shape::Special(Special::Any),
    }
}

pub(super) fn collect_patterns(given: &Value, out: &mut HashMap<String, Regex>) {
    match given {
        Value::Object(members) => {
            if let Some(pattern) = members.get("pattern").and_then(Value::as_str)
                && let Ok(regex) = Regex::new(pattern)
            {
                out.insert(pattern.to_owned(), regex);
            }
            members.values().for_each(|child| collect_patterns(child, out));
        }
        Value::Array(items) => items.iter().for_each(|child| collect_patterns(child, out)),
        _ => {}
    }
}
