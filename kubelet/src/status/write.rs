//! What is written of a pod: its status as a patch, and in the end the deletion of its object.

use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::pod;

/// All that is read of the answer to a patch.
#[derive(Deserialize)]
struct Answer {
    metadata: AnswerMeta,
}

#[derive(Deserialize)]
struct AnswerMeta {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
}

/// The path of a pod.
pub fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

/// The same of a pod's object.
pub fn path_of(pod: &Pod) -> String {
    path(pod::namespace(pod), pod::name(pod))
}

/// Sends a strategic merge patch of the status of the pod at `path`; answers the revision it got.
pub async fn status(client: &Client, path: &str, patch: &Value) -> Result<Option<u64>, kube::Error> {
    let request = http::Request::patch(format!("{path}/status"))
        .header(CONTENT_TYPE, "application/strategic-merge-patch+json")
        .body(patch.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    let answer: Answer = client.request(request).await?;
    Ok(answer.metadata.resource_version.parse().ok())
}

/// Removes the object at `path` at once, if it is the one with this uid.
pub async fn removal(client: &Client, path: &str, uid: &str) -> Result<(), kube::Error> {
    let body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "gracePeriodSeconds": 0, "preconditions": {"uid": uid},
    });
    let request = http::Request::delete(path)
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request::<IgnoredAny>(request).await.map(drop)
}
