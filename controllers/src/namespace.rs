//! Deletes everything in a namespace that is going away, and then lets it go.
//!
//! Pods go first (KEP-5080): what protects them, such as network policies, stays until they have
//! stopped. The conditions tell what is in the way.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};

use crate::{
    conditions::{self, Condition},
    context::Context,
    control::message,
    meta::{ignore_absent, is_code, is_deleting, now},
    resources::{Resource, discover, stale},
};

/// The finalizer that this controller takes away.
const FINALIZER: &str = "kubernetes";
/// Requests at a time for one namespace.
const PARALLEL: usize = 8;

/// What is left of one resource.
#[derive(Debug, Default, Clone)]
struct Remains {
    resource: String,
    count: usize,
    /// How many objects have each finalizer.
    finalizers: BTreeMap<String, usize>,
}

/// What happened on the way.
#[derive(Debug, Default)]
struct Outcome {
    discovery_error: Option<String>,
    errors: Vec<String>,
    remains: Vec<Remains>,
}

impl Outcome {
    fn is_done(&self) -> bool {
        self.discovery_error.is_none() && self.errors.is_empty() && self.remains.is_empty()
    }

    /// Conditions as the original words them: type, whether it is a problem, reason, message.
    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
        for remains in &self.remains {
            for (finalizer, count) in &remains.finalizers {
                *finalizers.entry(finalizer).or_default() += count;
            }
        }
        let counted: Vec<String> = self
            .remains
            .iter()
            .map(|remains| {
                let dot = if remains.resource.contains('.') { "" } else { "." };
                format!("{}{dot} has {} resource instances", remains.resource, remains.count)
            })
            .collect();
        let held: Vec<String> =
            finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
        let either = |problem: bool, bad: (&'static str, String), good: (&'static str, &str)| {
            if problem { (true, bad.0, bad.1) } else { (false, good.0, good.1.to_string()) }
        };
        let discovery = self.discovery_error.clone().unwrap_or_default();
        let row = |kind, (problem, reason, text)| (kind, problem, reason, text);
        [
            row(
                "NamespaceDeletionDiscoveryFailure",
                either(
                    self.discovery_error.is_some(),
                    ("DiscoveryFailed", discovery),
                    ("ResourcesDiscovered", "All resources successfully discovered"),
                ),
            ),
            row(
                "NamespaceDeletionGroupVersionParsingFailure",
                (false, "ParsedGroupVersions", "All legacy kube types successfully parsed".to_string()),
            ),
            row(
                "NamespaceDeletionContentFailure",
                either(
                    !self.errors.is_empty(),
                    (
                        "ContentDeletionFailed",
                        format!(
                            "Failed to delete all resource types, {} remaining: {}",
                            self.errors.len(),
                            self.errors.join(", ")
                        ),
                    ),
                    ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
                ),
            ),
            row(
                "NamespaceContentRemaining",
                either(
                    !self.remains.is_empty(),
                    ("SomeResourcesRemain", format!("Some resources are remaining: {}", counted.join(", "))),
                    ("ContentRemoved", "All content successfully removed"),
                ),
            ),
            row(
                "NamespaceFinalizersRemaining",
                either(
                    !held.is_empty(),
                    (
                        "SomeFinalizersRemain",
                        format!(
                            "Some content in the namespace has finalizers remaining: {}",
                            held.join(", ")
                        ),
                    ),
                    ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
                ),
            ),
        ]
    }
}

/// The status with the conditions of an outcome; problems are set at once, and conditions that
/// are fine only follow once there is any, so that a quick deletion costs no extra write.
fn with_conditions(status: &NamespaceStatus, outcome: &Outcome) -> NamespaceStatus {
    let mut status = status.clone();
    let any_problem = outcome.conditions().iter().any(|(_, problem, _, _)| *problem);
    if !any_problem && status.conditions.is_none() {
        return status;
    }
    for (kind, problem, reason, text) in outcome.conditions() {
        let state = if problem { "True" } else { "False" };
        let new = NamespaceCondition::new(kind, state, reason, &text, &now());
        let old = conditions::find(status.conditions.as_ref(), kind).cloned();
        if old.as_ref().is_some_and(|old| old.status() == state && old.message() != text) {
            conditions::remove(&mut status.conditions, kind);
        }
        conditions::set(&mut status.conditions, new);
    }
    status
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let spaces: Informer<Namespace> = context.informers.get();
    let queue = Queue::with_max_delay(Duration::from_secs(60));
    let added = queue.clone();
    spaces.on_change(move |change| {
        let space = change.object();
        if is_deleting(&space.metadata) && !change.is_deletion() {
            added.add(space.metadata.name.clone().unwrap_or_default());
        }
    });
    let synced = spaces.synced();
    let this = context.clone();
    let workers = context.args.workers.concurrent_namespace_syncs;
    context
        .work("namespace-controller", synced, queue, workers, move |name| {
            let context = this.clone();
            async move { sync(&context, &name).await }
        })
        .await
}

async fn sync(context: &Context, name: &str) -> SyncResult {
    let api = context.api_all::<Namespace>();
    let Some(mut space) = api.get_opt(name).await? else { return Ok(None) };
    let finalizers = space.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if !is_deleting(&space.metadata) || !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(None);
    }
    if space.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating") {
        space.status.get_or_insert_default().phase = Some("Terminating".to_string());
        let Some(updated) = ignore_absent(api.replace_status(name, &PostParams::default(), &space).await)?
        else {
            return Ok(None);
        };
        space = updated;
    }
    let outcome = delete_content(context, name).await;
    let status = with_conditions(space.status.as_ref().unwrap_or(&NamespaceStatus::default()), &outcome);
    if space.status.as_ref() != Some(&status) {
        space.status = Some(status);
        let Some(updated) = ignore_absent(api.replace_status(name, &PostParams::default(), &space).await)?
        else {
            return Ok(None);
        };
        space = updated;
    }
    if outcome.is_done() {
        finalize(&api, name, space).await?;
        return Ok(None);
    }
    if outcome.errors.is_empty() && outcome.discovery_error.is_none() {
        // Objects that end gracefully or wait for their own finalizers.
        let held = outcome.remains.iter().any(|remains| !remains.finalizers.is_empty());
        return Ok(Some(Requeue::After(Duration::from_millis(if held { 2000 } else { 500 }))));
    }
    Ok(Some(Requeue::RateLimited))
}

/// Takes our finalizer away; the server removes the namespace with the last one.
async fn finalize(api: &Api<Namespace>, name: &str, mut space: Namespace) -> anyhow::Result<()> {
    if let Some(finalizers) = space.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    space.metadata.managed_fields = None;
    let result = api.replace_subresource("finalize", name, &PostParams::default(), &space).await;
    ignore_absent(result).context("cannot finalize").map(drop)
}

async fn delete_content(context: &Context, space: &str) -> Outcome {
    let resources = match discover(&context.client).await {
        Ok(resources) => resources,
        Err(error) => return Outcome { discovery_error: Some(message(&error)), ..Default::default() },
    };
    let deletable = |resource: &&Arc<Resource>| resource.namespaced && resource.can(&["delete", "list"]);
    let (pods, others): (Vec<_>, Vec<_>) =
        resources.iter().filter(deletable).partition(|resource| resource.name() == "pods");
    // What can be found goes; the namespace stays for what may be left where nobody could look.
    let discovery_error = match stale(&context.client).await {
        Ok(behind) => partly_discovered(&behind),
        Err(error) => Some(message(&error)),
    };
    let mut outcome = Outcome { discovery_error, ..Default::default() };
    for stage in [pods, others] {
        let results: Vec<_> = stream::iter(stage.into_iter().cloned())
            .map(|resource| async move {
                let result = delete_all(context, &resource, space).await;
                (resource, result)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for (resource, result) in results {
            match result {
                Ok(None) => {}
                Ok(Some(remains)) => outcome.remains.push(remains),
                Err(error) => outcome.errors.push(format!(
                    "unexpected error deleting {} in namespace {space}: {}",
                    resource.name(),
                    message(&error)
                )),
            }
        }
        if !outcome.remains.is_empty() || !outcome.errors.is_empty() {
            break;
        }
    }
    outcome.remains.sort_by(|a, b| a.resource.cmp(&b.resource));
    outcome
}

/// What is said of group versions that could not be looked at.
fn partly_discovered(behind: &[String]) -> Option<String> {
    let failures: Vec<String> =
        behind.iter().map(|version| format!("{version}: stale GroupVersion discovery: {version}")).collect();
    (!behind.is_empty()).then(|| {
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            behind.len(),
            failures.join(", ")
        )
    })
}

/// Deletes all objects of a resource; what is left, if anything.
async fn delete_all(context: &Context, resource: &Resource, space: &str) -> kube::Result<Option<Remains>> {
    let api = resource.objects(&context.client, space);
    let before = match api.list_metadata(&ListParams::default().limit(1)).await {
        Err(error) if is_code(&error, 404) || is_code(&error, 405) => return Ok(None),
        result => result?,
    };
    if before.items.is_empty() {
        return Ok(None);
    }
    if resource.can(&["deletecollection"]) {
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    } else {
        for object in api.list_metadata(&ListParams::default()).await?.items {
            let name = object.metadata.name.unwrap_or_default();
            ignore_absent(api.delete(&name, &DeleteParams::background()).await)?;
        }
    }
    let left = api.list_metadata(&ListParams::default()).await?.items;
    if left.is_empty() {
        return Ok(None);
    }
    let mut remains = Remains { resource: resource.name(), count: left.len(), ..Default::default() };
    for finalizer in left.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
        *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
    }
    Ok(Some(remains))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_what_is_in_the_way() {
        let status = NamespaceStatus::default();
        assert_eq!(with_conditions(&status, &Outcome::default()), status, "nothing to tell");
        let outcome = Outcome {
            remains: vec![Remains {
                resource: "pods".into(),
                count: 2,
                finalizers: [("example.com/hold".to_string(), 1)].into(),
            }],
            ..Default::default()
        };
        let blocked = with_conditions(&status, &outcome);
        let text = |status: &NamespaceStatus, kind: &str| {
            let condition = conditions::find(status.conditions.as_ref(), kind).unwrap();
            format!("{} {} {}", condition.status(), condition.reason(), condition.message())
        };
        assert_eq!(
            text(&blocked, "NamespaceContentRemaining"),
            "True SomeResourcesRemain Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(
            text(&blocked, "NamespaceFinalizersRemaining"),
            "True SomeFinalizersRemain Some content in the namespace has finalizers remaining: \
             example.com/hold in 1 resource instances"
        );
        assert!(text(&blocked, "NamespaceDeletionContentFailure").starts_with("False ContentDeleted "));
        let behind =
            Outcome { discovery_error: partly_discovered(&["example.com/v1".into()]), ..Default::default() };
        assert!(!behind.is_done());
        assert_eq!(
            text(&with_conditions(&status, &behind), "NamespaceDeletionDiscoveryFailure"),
            "True DiscoveryFailed Discovery failed for some groups, 1 failing: unable to retrieve the complete list of \
             server APIs: example.com/v1: stale GroupVersion discovery: example.com/v1"
        );
        let freed = with_conditions(&blocked, &Outcome::default());
        assert_eq!(
            text(&freed, "NamespaceContentRemaining"),
            "False ContentRemoved All content successfully removed"
        );
    }
}
