//! Admission policies through the real HTTP server: what they refuse, what they change, and how they fail.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[path = "policies/mutating.rs"]
mod mutating;
#[path = "policies/validating.rs"]
mod validating;

use harness::{Client, Server};
use http::Method;
use knarr_api::Value;
use serde_json::json;
use tempfile::TempDir;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server with a client that may do everything.
async fn start() -> (TempDir, Server, Client) {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    (directory, server, admin)
}

/// Constraints to ConfigMaps.
fn config_maps() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"],
        "resources": ["configmaps"]}]})
}

/// Creates a policy of ConfigMaps named `p`, with its binding `b`.
async fn bound(admin: &Client, kind: &str, mut spec: Value, mut binding: Value) {
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = config_maps();
    }
    if kind == "MutatingAdmissionPolicy" && spec["reinvocationPolicy"].is_null() {
        spec["reinvocationPolicy"] = json!("Never");
    }
    let plural = match kind {
        "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
        _ => "validatingadmissionpolicies",
    };
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    admin.create(&format!("{GROUP}/{plural}"), &object(kind, "p", spec)).await;
    binding["policyName"] = json!("p");
    if kind == "ValidatingAdmissionPolicy" && binding["validationActions"].is_null() {
        binding["validationActions"] = json!(["Deny"]);
    }
    let bindings = plural.replace("policies", "policybindings");
    admin.create(&format!("{GROUP}/{bindings}"), &object(&format!("{kind}Binding"), "b", binding)).await;
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// The code, reason and message of creating a ConfigMap.
async fn create(admin: &Client, name: &str, data: Value) -> (u16, String, String) {
    let (code, answer) = admin.post(MAPS, &map(name, data)).await;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (code, text("reason"), text("message"))
}

/// The `Warning` headers of creating a ConfigMap.
async fn warnings(admin: &Client, name: &str, data: Value) -> Vec<String> {
    let body = map(name, data).to_string();
    let answer = admin.raw(Method::POST, MAPS, &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status(), 201);
    answer.headers().get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}
