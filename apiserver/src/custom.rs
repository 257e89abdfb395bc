//! Follows the CustomResourceDefinitions: serves their resources, settles their names, and removes the objects of
//! those that are deleted.
//!
//! Every server runs it; all it does can be done twice.
use crate::loopback::Loopback;
use crate::objects::Objects;
use crate::registry::custom::DEFINITIONS;
use crate::registry::{Registry, object};
use crate::strategy::crd::{self, FINALIZER};
use futures::{FutureExt, StreamExt};
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Pause before objects that would not go are looked at again.
const AGAIN: Duration = Duration::from_millis(500);

/// Works for ever.
pub async fn keep(registry: Arc<Registry>, client: Loopback) {
    let mut changes = Objects::follow(&registry.store, GROUP, PLURAL);
    let mut unfinished = false;
    loop {
        let next = if unfinished {
            tokio::time::timeout(AGAIN, changes.next()).await.ok().flatten()
        } else {
            changes.next().await
        };
        if next.is_none() && !unfinished {
            return;
        }
        // What is ready by now is one change.
        while let Some(Some(_)) = changes.next().now_or_never() {}
        unfinished = registry.sync_custom().await.is_err();
        let all: Vec<Value> =
            Objects::list(&registry.store, GROUP, PLURAL, None).iter().map(|crd| (**crd).clone()).collect();
        for crd in &all {
            let outcome = if object::deleting(crd) && object::finalizers(crd).contains(&FINALIZER) {
                clean(&registry, &client, crd).await
            } else {
                settle(&client, crd, &all).await.map(|()| true)
            };
            match outcome {
                Ok(done) => unfinished |= !done,
                Err(status) => {
                    unfinished |= !matches!(status.code, 404);
                    tracing::debug!(name = object::name(crd), %status, "a definition could not be settled");
                }
            }
        }
    }
}

fn path(crd: &Value) -> String {
    format!("/apis/{GROUP}/v1/{PLURAL}/{}", object::name(crd))
}

/// Notes names that have become free, or definitions that came from elsewhere than a create.
async fn settle(client: &Loopback, crd: &Value, all: &[Value]) -> Result<(), Status> {
    let mut wanted = crd.clone();
    crd::settle(&mut wanted, all, Timestamp::now());
    if wanted == *crd {
        return Ok(());
    }
    client.update(&format!("{}/status", path(crd)), &wanted).await.map(drop)
}

/// Deletes the objects of a definition that is being deleted, and lets it go when there are none; returns whether it
/// is gone.
async fn clean(registry: &Registry, client: &Loopback, crd: &Value) -> Result<bool, Status> {
    debug_assert!(DEFINITIONS.ends_with(PLURAL));
    let (group, plural) =
        (object::text(crd, &["spec", "group"]), object::text(crd, &["spec", "names", "plural"]));
    let resource = format!("{group}/{plural}");
    let versions = object::list(crd, &["spec", "versions"]);
    let version = versions.iter().find(|v| v["storage"] == true).map(|v| object::text(v, &["name"]));
    let served = versions.iter().find(|v| v["served"] == true).map(|v| object::text(v, &["name"]));
    let version = match version {
        Some(version) if registry.rows.find(group, version, plural).is_some() => version,
        _ => served.unwrap_or_default(),
    };
    if crd::owns_names(crd) && registry.rows.find(group, version, plural).is_some() {
        for stored in registry.store.snapshot(&resource).iter(None, None) {
            let (namespace, name) = (stored.key.namespace(), stored.key.name());
            let scope = if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
            match client.delete(&format!("/apis/{group}/{version}/{scope}{plural}/{name}")).await {
                Err(status) if !matches!(status.code, 404 | 409) => return Err(status),
                _ => {}
            }
        }
        if registry.store.snapshot(&resource).iter(None, None).next().is_some() {
            return Ok(false);
        }
    }
    let mut wanted = client.get(&path(crd)).await?;
    let left: Vec<String> =
        object::finalizers(&wanted).into_iter().filter(|f| *f != FINALIZER).map(str::to_owned).collect();
    object::set_meta(&mut wanted, "finalizers", (!left.is_empty()).then(|| json!(left)));
    client.update(&path(crd), &wanted).await?;
    Ok(true)
}
