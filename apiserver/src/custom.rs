//! Follows the CustomResourceDefinitions: serves their resources, settles their names, and removes the objects of
//! those that are deleted.
//!
//! Every server runs it; all it does can be done twice.
use crate::loopback::Loopback;
use crate::objects::Objects;
use crate::registry::custom::{DEFINITIONS, has_condition};
use crate::registry::{Registry, object};
use crate::storage::Revision;
use crate::strategy::crd::{self, FINALIZER};
use futures::{FutureExt, StreamExt};
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;
use std::collections::HashMap;
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
    let mut seen: HashMap<Arc<str>, Revision> = HashMap::new();
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
        if unfinished {
            continue;
        }
        let snapshot = registry.store.snapshot(DEFINITIONS);
        seen.retain(|name, _| snapshot.iter(None, None).any(|stored| stored.key.name() == &**name));
        for stored in snapshot.iter(None, None) {
            let name = stored.key.name();
            if seen.get(name) == Some(&stored.revision) {
                continue;
            }
            let Ok(crd) = stored.value() else { continue };
            let outcome = if object::deleting(&crd) && object::finalizers(&crd).contains(&FINALIZER) {
                clean(&registry, &client, &crd).await
            } else {
                settle(&registry, &client, &crd).await
            };
            match outcome {
                Ok(Next::Done) => drop(seen.insert(name.into(), stored.revision)),
                // Another definition must change first.
                Ok(Next::Wait) => {}
                Ok(Next::Again) => unfinished = true,
                Err(status) => {
                    unfinished |= status.code != 404;
                    tracing::debug!(name, %status, "a definition could not be settled");
                }
            }
        }
    }
}

/// When a definition is to be looked at again.
enum Next {
    /// When it changes.
    Done,
    /// When any definition changes.
    Wait,
    /// Soon.
    Again,
}

fn path(crd: &Value) -> String {
    format!("/apis/{GROUP}/v1/{PLURAL}/{}", object::name(crd))
}

/// Notes names that have become free, or definitions that came from elsewhere than a create.
async fn settle(registry: &Registry, client: &Loopback, crd: &Value) -> Result<Next, Status> {
    let mut wanted = crd.clone();
    let others = crd::in_group(&registry.store, object::text(crd, &["spec", "group"]));
    crd::settle(&mut wanted, &others, Timestamp::now());
    crd::observe(&mut wanted, object::generation(crd));
    if wanted != *crd {
        client.update(&format!("{}/status", path(crd)), &wanted).await?;
    }
    Ok(if has_condition(&wanted, "NamesAccepted") { Next::Done } else { Next::Wait })
}

/// Says in the definition that its objects are being deleted.
async fn tell_of_deletion(client: &Loopback, crd: &Value) -> Result<(), Status> {
    let mut wanted = crd.clone();
    let message = "CustomResource deletion is in progress";
    crd::set_condition(
        &mut wanted,
        "Terminating",
        true,
        "InstanceDeletionInProgress",
        message,
        Timestamp::now(),
    );
    match wanted == *crd {
        true => Ok(()),
        false => client.update(&format!("{}/status", path(crd)), &wanted).await.map(drop),
    }
}

/// Deletes the objects of a definition that is being deleted, and lets it go when there are none.
async fn clean(registry: &Registry, client: &Loopback, crd: &Value) -> Result<Next, Status> {
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
    if crd::owns_names(crd) {
        if !registry.store.resources().iter().any(|(name, _)| **name == *resource) {
            // Objects that cannot be seen must not be forgotten.
            return Ok(Next::Wait);
        }
        let found = registry.store.snapshot(&resource);
        if found.iter(None, None).next().is_some() {
            tell_of_deletion(client, crd).await?;
        }
        for stored in found.iter(None, None) {
            let (namespace, name) = (stored.key.namespace(), stored.key.name());
            let scope = if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
            match client.delete(&format!("/apis/{group}/{version}/{scope}{plural}/{name}")).await {
                Err(status) if !matches!(status.code, 404 | 409) => return Err(status),
                _ => {}
            }
        }
        if registry.store.snapshot(&resource).iter(None, None).next().is_some() {
            return Ok(Next::Again);
        }
    }
    let mut wanted = client.get(&path(crd)).await?;
    // A version that was never there stored nothing, but would keep the object from being written.
    let names: Vec<&str> = versions.iter().map(|version| object::text(version, &["name"])).collect();
    let mut stored = object::list(&wanted, &["status", "storedVersions"]).to_vec();
    let told = stored.len();
    stored.retain(|version| version.as_str().is_some_and(|version| names.contains(&version)));
    if stored.len() < told {
        wanted["status"]["storedVersions"] = stored.into();
        wanted = client.update(&format!("{}/status", path(crd)), &wanted).await?;
    }
    let left: Vec<String> =
        object::finalizers(&wanted).into_iter().filter(|f| *f != FINALIZER).map(str::to_owned).collect();
    object::set_meta(&mut wanted, "finalizers", (!left.is_empty()).then(|| json!(left)));
    client.update(&path(crd), &wanted).await?;
    Ok(Next::Done)
}
