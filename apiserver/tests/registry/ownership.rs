//! What belongs to whom: a write to an object leaves its status alone, a write to its status leaves the rest alone, and
//! the server counts generations. For every kind that has a status of its own.
use super::harness::Server;
use super::kinds;
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::schema::Shape;
use knarr_api::table::builtin;
use serde_json::json;

/// Kinds whose status a create may set.
const KEPT_ON_CREATE: [&str; 1] = ["Node"];

/// A condition that no kind knows and every kind takes.
fn condition() -> Value {
    json!({"type": "x.example/Told", "status": "True", "reason": "Told", "message": "m",
        "lastTransitionTime": "2024-01-01T00:00:00Z"})
}

fn is_told(object: &Value) -> bool {
    let list = object["status"]["conditions"].as_array();
    list.is_some_and(|list| list.iter().any(|c| c["type"] == "x.example/Told"))
}

/// Kinds with a status subresource whose status has conditions.
fn kinds_with_conditions() -> impl Iterator<Item = &'static Kind> {
    let api = builtin();
    let fields = |id| &api.schema.get(id).fields;
    let kinds = api.kinds.iter().filter(|k| k.served_by_default && !k.external && k.storage.is_some());
    kinds.filter(|kind| kind.subresource("status").is_some()).filter(move |kind| {
        fields(kind.ty).iter().any(|field| match &field.shape {
            Shape::Struct(id) => {
                &*field.name == "status" && fields(*id).iter().any(|f| &*f.name == "conditions")
            }
            _ => false,
        })
    })
}

#[tokio::test]
async fn status_and_the_rest_do_not_touch_each_other() {
    let server = Server::start().await;
    let mut count = 0;
    for kind in kinds_with_conditions() {
        check(&server, kind).await;
        count += 1;
    }
    assert!(count >= 20, "{count} kinds");
}

async fn check(server: &Server, kind: &'static Kind) {
    let path = super::crud::collection(kind);
    let one = format!("{path}/{}", kinds::name(kind));
    let mut object = kinds::minimal(kind);
    object["metadata"] = json!({"name": kinds::name(kind), "generation": 77});
    object["status"] = json!({"conditions": [condition()]});
    let created = server.post(&path, &object).await.expect(201);
    let kept = KEPT_ON_CREATE.contains(&&*kind.gvk.kind);
    assert_eq!(is_told(&created), kept, "{path}: {created}");
    let generation = created["metadata"]["generation"].clone();
    assert!(generation.is_null() || generation == 1, "{path}: {generation}");

    // Through the status.
    let mut told = created.clone();
    told["status"] = json!({"conditions": [condition()]});
    for name in ["phase", "storedVersions", "acceptedNames"] {
        if let Some(value) = created["status"].get(name) {
            told["status"][name] = value.clone();
        }
    }
    if told.get("spec").is_some() {
        told["spec"] = json!({});
    }
    told["metadata"]["generation"] = 78.into();
    let answer = server.put(&format!("{one}/status"), &told).await.expect(200);
    assert!(is_told(&answer), "{path}: {answer}");
    assert_eq!(answer.get("spec"), created.get("spec"), "{path}");
    assert_eq!(answer["metadata"]["generation"], generation, "{path}");

    // Through the object.
    let mut changed = answer.clone();
    changed["status"] = json!({});
    changed["metadata"]["annotations"] = json!({"x.example/a": "b"});
    let answer = server.put(&one, &changed).await.expect(200);
    assert!(is_told(&answer), "{path}: {answer}");
    assert_eq!(answer["metadata"]["annotations"]["x.example/a"], "b", "{path}");
    server.delete(&format!("{one}?propagationPolicy=Background")).await.expect(200);
}
