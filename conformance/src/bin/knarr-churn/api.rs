//! Requests as they come: paths and JSON.
use anyhow::Result;
use http::Request;
use serde_json::Value;
use std::time::Duration;

/// How long an answer may take. A request that goes out while its server is killed may never get one.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The API server, as the cluster's administrator.
#[derive(Clone)]
pub struct Api {
    /// The client below.
    pub client: kube::Client,
}

/// Namespace of everything that is churned.
pub const NAMESPACE: &str = "churn";

impl Api {
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Sends a request; `body` is null where there is none.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(text);
        let answer = self.client.request(request.map_err(kube::Error::HttpError)?);
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(late) => Err(kube::Error::Service(late.into())),
        }
    }

    /// The objects of a list.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, kube::Error> {
        let mut list = self.send("GET", path, &Value::Null).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}

/// The path of a collection in the namespace: `pods`, `apps/v1/deployments`.
pub fn path(resource: &str) -> String {
    match resource.rsplit_once('/') {
        Some((group, resource)) => format!("/apis/{group}/namespaces/{NAMESPACE}/{resource}"),
        None => format!("/api/v1/namespaces/{NAMESPACE}/{resource}"),
    }
}

/// A text of an object, by a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an object; zero where there is none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether a condition of an object is True.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
}

/// UID of the controlling owner; empty where there is none.
pub fn owner(object: &Value) -> &str {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    owner.map(|owner| text(owner, "/uid")).unwrap_or_default()
}

/// Whether a pod has ended for good.
pub fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether an object waits for its removal.
pub fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}
