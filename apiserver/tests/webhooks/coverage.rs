//! No verb of any kind, subresource or custom resource is kept from webhooks.
use crate::admission::{MUTATING, VALIDATING};
use crate::harness::{Client, Server, eventually};
use crate::kinds;
use crate::remote::{Remote, answered, configuration};
use http::Method;
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::table::builtin;
use serde_json::json;

struct Walk {
    admin: Client,
    remote: Remote,
    missing: Vec<String>,
}

impl Walk {
    /// Sends a write and notes whether the webhooks were told of it.
    async fn write(&mut self, method: Method, path: &str, body: Value, expected: [&str; 3]) -> (u16, Value) {
        self.remote.forget();
        let media = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.admin.raw(method.clone(), path, &[("content-type", media)], body).await;
        let code = response.status().as_u16();
        let value: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let [operation, resource, sub] = expected;
        for (hook, always) in [("/mutate", true), ("/validate", code < 300)] {
            let told = self.remote.asked().iter().any(|asked| {
                let request = &asked.body["request"];
                asked.uri.starts_with(hook)
                    && request["operation"] == operation
                    && request["resource"]["resource"] == resource
                    && request["subResource"].as_str().unwrap_or_default() == sub
            });
            if always && !told {
                self.missing.push(format!("{hook} {operation} {method} {path}: {code} {}", value["message"]));
            }
        }
        (code, value)
    }

    async fn object(&mut self, kind: &Kind) {
        let minimal = kinds::minimal(kind);
        if minimal.is_null() {
            return;
        }
        let name = kinds::name(kind);
        let collection = collection(kind);
        let mut object = minimal;
        object["metadata"] = json!({"name": name});
        let plural = &*kind.plural;
        let (code, made) = self.write(Method::POST, &collection, object, ["CREATE", plural, ""]).await;
        if code != 201 && code != 409 {
            self.missing.push(format!("{plural} cannot be created: {made}"));
            return;
        }
        let path = format!("{collection}/{name}");
        let present = self.present(kind, &path).await;
        if kind.has_verb("update") {
            self.write(Method::PUT, &path, present.clone(), ["UPDATE", plural, ""]).await;
        }
        if kind.has_verb("patch") {
            self.write(Method::PATCH, &path, json!({}), ["UPDATE", plural, ""]).await;
        }
        self.subresources(kind, &path, name, &present).await;
        if kind.has_verb("delete") {
            let path = format!("{path}?dryRun=All");
            self.write(Method::DELETE, &path, Value::Null, ["DELETE", plural, ""]).await;
        }
        if kind.has_verb("deletecollection") {
            let path = format!("{collection}?dryRun=All&fieldSelector=metadata.name%3D{name}");
            self.write(Method::DELETE, &path, Value::Null, ["DELETE", plural, ""]).await;
        }
    }

    /// The object as it is, without its version where a change needs none: others write to it too.
    async fn present(&self, kind: &Kind, path: &str) -> Value {
        let (_, mut present) = self.admin.get(path).await;
        if kind.unconditional_update
            && let Some(metadata) = present["metadata"].as_object_mut()
        {
            metadata.remove("resourceVersion");
        }
        present
    }

    async fn subresources(&mut self, kind: &Kind, path: &str, name: &str, main: &Value) {
        let plural = &*kind.plural;
        for sub in &kind.subresources {
            let of = &*sub.name;
            let connects = matches!(of, "exec" | "attach" | "portforward" | "proxy");
            let path = format!("{path}/{of}");
            let has = |verb: &str| sub.verbs.iter().any(|v| &**v == verb);
            if connects {
                self.write(Method::GET, &format!("{path}?container=c"), Value::Null, ["CONNECT", plural, of])
                    .await;
                continue;
            }
            if has("create") {
                let body = json!({"apiVersion": sub.gvk.api_version(), "kind": &*sub.gvk.kind,
                    "metadata": {"name": name}, "target": {"name": "n"}, "spec": {"audiences": []}});
                let path = format!("{path}?dryRun=All");
                self.write(Method::POST, &path, body, ["CREATE", plural, of]).await;
            }
            if has("update") {
                let present = if has("get") { self.present(kind, &path).await } else { main.clone() };
                self.write(Method::PUT, &path, present, ["UPDATE", plural, of]).await;
            }
            if has("patch") {
                self.write(Method::PATCH, &path, json!({}), ["UPDATE", plural, of]).await;
            }
        }
    }
}

fn collection(kind: &Kind) -> String {
    let (group, version) = (&kind.gvk.group, &kind.gvk.version);
    let prefix =
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{prefix}{namespace}/{}", kind.plural)
}

async fn start() -> (tempfile::TempDir, Server, Walk) {
    let directory = tempfile::tempdir().expect("directory");
    let plugins = "--disable-admission-plugins=ServiceAccount,NamespaceLifecycle,ResourceQuota,LimitRanger";
    let server = Server::start(directory.path(), &[plugins]).await;
    let admin = server.admin();
    let remote = Remote::start(|asked| answered(asked, json!({}))).await;
    let rules =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    for (path, kind, hook) in [
        (MUTATING, "MutatingWebhookConfiguration", "/mutate"),
        (VALIDATING, "ValidatingWebhookConfiguration", "/validate"),
    ] {
        let config = remote.client_config(hook);
        let webhook = remote.webhook("a.example.com", json!({"rules": rules, "clientConfig": config}));
        admin.create(path, &configuration(kind, "all", vec![webhook])).await;
    }
    (directory, server, Walk { admin, remote, missing: Vec::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_every_kind_reaches_webhooks() {
    let (_directory, server, mut walk) = start().await;
    let mut walked = 0;
    for kind in builtin().kinds.iter().filter(|kind| kind.served_by_default && !kind.external) {
        let exempt = &*kind.gvk.group == "admissionregistration.k8s.io";
        if !exempt && kind.storage.is_some() && kind.has_verb("create") {
            walk.object(kind).await;
            walked += 1;
        }
        if kind.storage.is_none() && kind.has_verb("create") {
            let plural = &*kind.plural;
            let body = json!({"apiVersion": kind.gvk.api_version(), "kind": &*kind.gvk.kind, "spec": {},
                "metadata": {"name": "one"}, "target": {"name": "n"}});
            walk.write(Method::POST, &collection(kind), body, ["CREATE", plural, ""]).await;
            walked += 1;
        }
    }
    assert!(walked > 60, "{walked} kinds");
    assert!(walk.missing.is_empty(), "{} writes missed:\n{}", walk.missing.len(), walk.missing.join("\n"));
    // Reads and the configurations themselves are nobody's business.
    walk.remote.forget();
    walk.admin.get("/api/v1/pods").await;
    let (code, _) = walk.admin.send(Method::DELETE, &format!("{MUTATING}/all"), "").await;
    assert_eq!(code, 200);
    assert!(
        walk.remote
            .asked()
            .iter()
            .all(|asked| { asked.body["request"]["resource"]["group"] != "admissionregistration.k8s.io" })
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_a_custom_resource_reaches_webhooks() {
    let (_directory, server, mut walk) = start().await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas"}}});
    let crd = json!({"metadata": {"name": "things.x.example"}, "spec": {"group": "x.example", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [version]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    walk.admin.create(definitions, &crd).await;
    let collection = "/apis/x.example/v1/namespaces/default/things";
    let client = &walk.admin;
    eventually(async || client.get(collection).await.0 == 200).await;
    let object = json!({"apiVersion": "x.example/v1", "kind": "Thing", "metadata": {"name": "one"},
        "spec": {"replicas": 1}});
    let path = format!("{collection}/one");
    walk.write(Method::POST, collection, object, ["CREATE", "things", ""]).await;
    let (_, present) = walk.admin.get(&path).await;
    walk.write(Method::PUT, &path, present.clone(), ["UPDATE", "things", ""]).await;
    walk.write(Method::PATCH, &path, json!({"spec": {"a": 1}}), ["UPDATE", "things", ""]).await;
    let sub = |name: &str| format!("{path}/{name}");
    walk.write(Method::PATCH, &sub("status"), json!({"status": {"a": 1}}), ["UPDATE", "things", "status"])
        .await;
    let replicas = json!({"spec": {"replicas": 3}});
    walk.write(Method::PATCH, &sub("scale"), replicas, ["UPDATE", "things", "scale"]).await;
    let review = walk.remote.reviews().pop().expect("a call");
    assert_eq!(
        (&review["kind"]["kind"], &review["object"]["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    assert_eq!(review["oldObject"]["spec"]["replicas"], 1);
    walk.write(Method::DELETE, collection, Value::Null, ["DELETE", "things", ""]).await;
    assert!(walk.missing.is_empty(), "{}", walk.missing.join("\n"));
    server.stop().await;
}
