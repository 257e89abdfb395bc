//! The table is complete and holds together, and agrees with the facts it was written from where these are at
//! hand.
use super::*;
use crate::Value;
use crate::schema::{Field, ListType, Served, Shape, Special, Type};
use std::path::PathBuf;

/// A file of the API facts; none (with a note) outside of the project's workplace.
pub(crate) fn fact(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/kubernetes-api").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

fn facts(name: &str) -> Option<Value> {
    let text = std::fs::read(fact(name)?).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn parse_text(text: &str) -> Result<Api, TableError> {
    Api::parse(&[("test", text)])
}

#[test]
fn table_is_complete() {
    let api = builtin();
    assert_eq!(api.schema.types.len(), 1233);
    assert_eq!(api.schema.types.iter().map(|t| t.fields.len()).sum::<usize>(), 4308);
    assert_eq!(api.groups.len(), 23);
    assert_eq!(api.kinds.iter().filter(|k| !k.external).count(), 95);
    assert_eq!(api.kinds.iter().filter(|k| k.served_by_default).count(), 68);
    assert_eq!(api.kinds.iter().map(|k| k.subresources.len()).sum::<usize>(), 55);
}

#[test]
fn every_served_resource_is_usable() {
    let api = builtin();
    for kind in &api.kinds {
        let name = format!("{:?}", kind.gvk);
        assert_eq!(api.schema.get(kind.ty).gvk.as_ref(), Some(&kind.gvk), "{name}");
        assert_eq!(kind.list.is_some(), kind.has_verb("list"), "{name}");
        if let Some(list) = kind.list {
            let Shape::List(item) = &api.schema.get(list).field("items").unwrap().shape else {
                panic!("{name}: items is no list")
            };
            assert_eq!(**item, Shape::Struct(kind.ty), "{name}");
        }
        if let Some(storage) = &kind.storage {
            let stored = api.kind(&storage.group, &storage.version, &storage.kind).unwrap();
            assert_eq!(stored.storage.as_ref(), Some(storage), "{name} is stored as something not stored");
            assert_eq!(stored.plural, kind.storage_resource, "{name}");
            assert!(!kind.storage_hash.is_empty());
        }
        if !kind.external {
            let group = api.group(&kind.gvk.group).unwrap();
            let version = group.versions.iter().find(|v| v.version == kind.gvk.version).unwrap();
            assert!(version.served_by_default || !kind.served_by_default, "{name}");
        }
        for sub in &kind.subresources {
            assert!(!sub.gvk.kind.is_empty(), "{name}/{}", sub.name);
        }
    }
}

#[test]
fn lookups() {
    let api = builtin();
    let pods = api.resource("", "v1", "pods").unwrap();
    assert_eq!(&*pods.gvk.kind, "Pod");
    assert_eq!(pods.short_names, ["po".into()]);
    assert_eq!(
        api.kind("apps", "v1", "Deployment").unwrap().subresource("scale").unwrap().gvk.api_version(),
        "autoscaling/v1"
    );
    assert!(api.resource("apps", "v1", "pods").is_none());
    let options = api.type_of("apps", "v1", "DeleteOptions").unwrap();
    assert_eq!(api.schema.get(options).short_name(), "DeleteOptions");
    assert_eq!(
        api.type_of_document("v1", "Status"),
        api.schema.find("io.k8s.apimachinery.pkg.apis.meta.v1.Status")
    );
    let events: Vec<_> =
        api.siblings(api.resource("", "v1", "events").unwrap()).map(|k| k.gvk.api_version()).collect();
    assert_eq!(events, ["v1", "events.k8s.io/v1"]);
    let apps: Vec<_> = api.resources("apps", "v1").map(|k| k.plural.to_string()).collect();
    assert_eq!(apps, ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]);
    let volume = api.schema.find("io.k8s.api.core.v1.Volume").unwrap();
    let names: Vec<_> = api.schema.json_fields(volume).take(3).map(|f| f.name.to_string()).collect();
    assert_eq!(names, ["name", "hostPath", "emptyDir"]);
    assert!(api.schema.json_field(volume, "configMap").is_some());
    assert!(api.schema.json_field(volume, "ConfigMap").is_none());
    assert_eq!(digest().len(), 64);
}

#[test]
fn broken_tables_are_refused() {
    let head = "package a.v1 x.a.v1 group(a) version(v1) proto(p) served\n";
    let check = |body: &str, expected: &str| {
        let error = parse_text(&format!("{head}{body}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("type A\n  b 1 Missing", "test.kt:3: there is no type Missing");
    check("type A\n  b x string", "test.kt:3: not understood: x");
    check("type A\n  b 1 string what", "not understood: what");
    check("type A\n  b 1 string\n  c 1 string", "x.a.v1.A.c clashes");
    check("type A\n  b 1 string\n  b 2 string", "x.a.v1.A.b clashes");
    check("type A\ntype A", "declared twice");
    check("type A\n  b 1 []B map(name)\ntype B\n  key 1 string", "keyed by name");
    check("type A\n  & 1 string", "inline");
    check("nonsense", "test.kt:2: not understood");
    check("resource as A", "there is no type A");
}

#[test]
fn table_agrees_with_the_facts() {
    let Some(facts) = facts("types.json") else { return };
    let api = builtin();
    let types = facts["types"].as_object().unwrap();
    assert_eq!(types.len(), api.schema.types.len());
    for (name, fact) in types {
        let ty = api.schema.get(api.schema.find(name).unwrap_or_else(|| panic!("{name} is missing")));
        check_type(api, ty, fact);
    }
}

fn check_type(api: &Api, ty: &Type, fact: &Value) {
    let name = &ty.name;
    assert_eq!(ty.has_type_meta, fact["kind"].is_string(), "{name}");
    if let Some(proto) = fact["proto"].as_str() {
        assert_eq!(ty.proto.as_deref(), Some(proto));
    } else {
        assert_eq!(ty.proto, None, "{name}");
    }
    let served = match fact["served_by_default"].as_bool() {
        Some(true) => Served::ByDefault,
        Some(false) => Served::OnRequest,
        None => Served::Never,
    };
    assert_eq!(ty.served, served, "{name}");
    assert_eq!(ty.atomic, fact["struct_type"] == "atomic", "{name}");
    let fields = fact["fields"].as_array().unwrap();
    assert_eq!(fields.len(), ty.fields.len(), "{name}");
    for (field, fact) in ty.fields.iter().zip(fields) {
        check_field(api, field, fact, &format!("{name}.{}", fact["go"]));
    }
}

fn check_field(api: &Api, field: &Field, fact: &Value, at: &str) {
    let flag = |key: &str| fact[key] == true;
    assert_eq!(*field.name, fact["name"], "{at}");
    assert_eq!(u64::from(field.number), fact["pb"]["n"].as_u64().unwrap_or(0), "{at}");
    assert_eq!(field.pointer, flag("pointer"), "{at}");
    assert_eq!(field.omit_empty, flag("omitempty"), "{at}");
    assert_eq!(field.omit_zero, flag("omitzero"), "{at}");
    assert_eq!(field.inline, flag("inline"), "{at}");
    if !field.name.is_empty() {
        assert_eq!(field.required, flag("required"), "{at}");
    }
    let list_type = match fact["list_type"].as_str() {
        Some("map") => ListType::Map,
        Some("set") => ListType::Set,
        _ => ListType::Atomic,
    };
    assert_eq!(field.list_type, list_type, "{at}");
    assert_eq!(field.list_type_marked, fact["list_type"].is_string(), "{at}");
    assert_eq!(
        Value::from(field.list_keys.iter().map(|k| k.to_string()).collect::<Vec<_>>()),
        fact.get("list_map_keys").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        "{at}"
    );
    let strategy = fact["patch_strategy"].as_str().unwrap_or_default();
    assert_eq!(field.patch.merge, strategy.contains("merge"), "{at}");
    assert_eq!(field.patch.retain_keys, strategy.contains("retainKeys"), "{at}");
    assert_eq!(field.patch.replace, strategy.contains("replace"), "{at}");
    assert_eq!(field.patch_key.as_deref(), fact["patch_merge_key"].as_str(), "{at}");
    assert_eq!(field.default.as_ref(), fact.get("default"), "{at}");
    let mut values: Vec<_> =
        fact["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    values.sort_unstable();
    assert_eq!(field.enumeration.iter().map(|v| &**v).collect::<Vec<_>>(), values, "{at}");
    // Two gates are gone with their features on for good, one field's gate has another name.
    let gates = fact["feature_gates"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let gates = gates.filter(|g| !matches!(*g, "CSIStorageCapacity" | "TopologyAwareHints"));
    let gates: Vec<_> =
        gates.map(|g| if g == "PodCertificateProjection" { "PodCertificateRequest" } else { g }).collect();
    assert_eq!(field.gates.iter().map(|v| &**v).collect::<Vec<_>>(), gates, "{at}");
    check_shape(api, &field.shape, &fact["type"], at);
}

fn check_shape(api: &Api, shape: &Shape, fact: &Value, at: &str) {
    let struct_name = |id| &*api.schema.get(id).name;
    match shape {
        Shape::String => assert_eq!(fact, "string", "{at}"),
        Shape::Bool => assert_eq!(fact, "bool", "{at}"),
        Shape::Int32 => assert_eq!(fact, "int32", "{at}"),
        Shape::Int64 => assert_eq!(fact, "int64", "{at}"),
        Shape::Float64 => assert_eq!(fact, "float64", "{at}"),
        Shape::Bytes => assert_eq!(fact, "bytes", "{at}"),
        Shape::Struct(id) => assert_eq!(fact["ref"], *struct_name(*id), "{at}"),
        Shape::List(item) => check_shape(api, item, &fact["list"], at),
        Shape::Map(item) => check_shape(api, item, &fact["map"], at),
        Shape::Special(special) => {
            let name = match special {
                Special::SchemaOrBool(id) => format!("{}OrBool", struct_name(*id)),
                Special::SchemaOrArray(id) => format!("{}OrArray", struct_name(*id)),
                Special::SchemaOrStrings(id) => format!("{}OrStringArray", struct_name(*id)),
                Special::Json => "JSON".to_owned(),
                Special::Any => "any".to_owned(),
                other => format!("{other:?}"),
            };
            assert_eq!(fact.as_str().or(fact["ref"].as_str()), Some(&*name), "{at}");
        }
    }
}

#[test]
fn resources_agree_with_the_facts() {
    let Some(facts) = facts("resources.json") else { return };
    let api = builtin();
    for fact in facts["resources"].as_array().unwrap() {
        let text = |key: &str| fact[key].as_str().unwrap_or_default();
        let at = format!("{}/{} {}", text("group"), text("version"), text("plural"));
        let kind =
            api.resource(text("group"), text("version"), text("plural")).unwrap_or_else(|| panic!("{at}"));
        let list = |key: &str| {
            fact[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(Arc::from))
                .collect::<Vec<Arc<str>>>()
        };
        assert_eq!(*kind.singular, *text("singular"), "{at}");
        assert_eq!(kind.verbs, list("verbs"), "{at}");
        assert_eq!(kind.short_names, list("short_names"), "{at}");
        assert_eq!(kind.categories, list("categories"), "{at}");
        let mut selectors = list("field_selectors");
        let mut ours = kind.field_selectors.clone();
        selectors.sort();
        ours.sort();
        assert_eq!(ours, selectors, "{at}");
        assert_eq!(kind.namespaced, fact["namespaced"] == true, "{at}");
        assert_eq!(kind.served_by_default, fact["served_by_default"] == true, "{at}");
        assert_eq!(&*kind.storage_hash, fact["storage"]["hash"].as_str().unwrap_or_default(), "{at}");
        let subs: Vec<_> =
            fact["subresources"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
        assert_eq!(kind.subresources.iter().map(|s| &*s.name).collect::<Vec<_>>(), subs, "{at}");
    }
    let groups: Vec<_> =
        facts["groups"].as_array().unwrap().iter().map(|g| g["group"].as_str().unwrap()).collect();
    assert_eq!(api.groups.iter().map(|g| &*g.name).collect::<Vec<_>>(), groups);
}
