//! Keeping the configuration current, and the objects of the configuration as they should be.
use super::FlowControl;
use super::bootstrap;
use super::config::Config;
use crate::bootstrap::ensure;
use crate::loopback::Loopback;
use crate::objects::{Change, Objects};
use futures::StreamExt;
use futures::stream::select;
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const PATH: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// Objects that nobody may take over or do without.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// Time between two looks at what must be there, as in the original.
const AGAIN: Duration = Duration::from_secs(60);

/// Creates the objects that every cluster is born with, and brings their specs up to date where nobody has taken them
/// over (annotation `apf.kubernetes.io/autoupdate-spec`) or may.
///
/// # Errors
/// The first refusal.
pub async fn publish(client: &Loopback) -> Result<(), Status> {
    for object in bootstrap::objects() {
        let collection = format!("{PATH}/{}", plural(&object));
        let found = client.get(&format!("{collection}/{}", name(&object))).await.unwrap_or_default();
        let automatic = found["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] == "true";
        let kept: &[&str] = if automatic || MANDATORY.contains(&name(&object)) { &["/spec"] } else { &[] };
        ensure(client, &collection, &object, kept).await?;
    }
    Ok(())
}

/// Publishes the objects again and again, so that those that were deleted or spoilt come back.
pub async fn keep(client: &Loopback) {
    loop {
        tokio::time::sleep(AGAIN).await;
        if let Err(status) = publish(client).await {
            tracing::warn!(%status, "the configuration of flow control could not be kept");
        }
    }
}

/// Takes every change of the objects over, for ever, and notes in each schema whether its level exists.
pub async fn follow(control: Arc<FlowControl>, objects: Arc<dyn Objects>, client: Loopback) {
    let feed = |resource: &'static str| objects.follow(GROUP, resource).map(move |change| (resource, change));
    let mut changes = select(feed("flowschemas"), feed("prioritylevelconfigurations"));
    let mut known: BTreeMap<(&str, Arc<str>), Arc<Value>> = BTreeMap::new();
    let mut synced = 0;
    while let Some((resource, change)) = changes.next().await {
        match change {
            Change::Put { name, object, .. } => drop(known.insert((resource, name), object)),
            Change::Gone { name, .. } => drop(known.remove(&(resource, name))),
            Change::Synced => synced += 1,
        }
        if synced < 2 {
            continue;
        }
        let all: Vec<Value> = known.values().map(|object| (**object).clone()).collect();
        control.configure(Config::new(&all));
        for object in all.iter().filter(|object| object["kind"] == "FlowSchema") {
            let level = object["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
            let exists = known.contains_key(&("prioritylevelconfigurations", level.into()));
            if let Some(noted) = with_condition(object, level, exists) {
                let path = format!("{PATH}/flowschemas/{}/status", name(object));
                if let Err(status) = client.update(&path, &noted).await {
                    tracing::debug!(%status, %path, "the state of a flow schema could not be noted");
                }
            }
        }
    }
}

/// The schema with its condition `Dangling` as it should be; none if it is.
fn with_condition(schema: &Value, level: &str, exists: bool) -> Option<Value> {
    let (status, reason, tail) = if exists {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let known = conditions.iter().find(|condition| condition["type"] == "Dangling");
    if known.is_some_and(|condition| condition["status"] == status) {
        return None;
    }
    let mut conditions: Vec<Value> = conditions.into_iter().filter(|c| c["type"] != "Dangling").collect();
    conditions.push(json!({
        "type": "Dangling", "status": status, "reason": reason,
        "lastTransitionTime": Timestamp::now().to_rfc3339(),
        "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {tail}"),
    }));
    let mut schema = schema.clone();
    schema["status"] = json!({"conditions": conditions});
    Some(schema)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn plural(object: &Value) -> &'static str {
    if object["kind"] == "FlowSchema" { "flowschemas" } else { "prioritylevelconfigurations" }
}
