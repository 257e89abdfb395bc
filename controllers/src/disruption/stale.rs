//! Pods that were to be ended and then were not: their condition DisruptionTarget is set back.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    context::Context,
    meta::{self, ignore_absent, is_deleting},
    pods::{self, Pod},
};

/// How long the deletion may take after it was announced.
const PATIENCE: Duration = Duration::from_secs(120);
const TARGET: &str = "DisruptionTarget";

/// How long until a pod's condition is stale: zero when it is already, `None` when it has none that could be.
/// What the kubelet announces may take as long as the pod's grace period, and pods that have ended need no change.
fn until_stale(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pods::condition(pod, TARGET).filter(|condition| condition.status == "True")?;
    let is_by_kubelet = condition.reason.as_deref() == Some("TerminationByKubelet");
    if is_deleting(&pod.metadata) || is_by_kubelet || pods::is_finished(pod) {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(PATIENCE.saturating_sub(passed))
}

/// Works as long as the controller does.
pub(super) async fn run(context: Context, pods: Informer<Pod>) -> anyhow::Result<()> {
    let queue = Queue::new();
    let added = queue.clone();
    pods.on_change(move |change| {
        let pod = change.object();
        if !change.is_deletion() && until_stale(pod, Timestamp::now()).is_some() {
            added.add(Key::of(&pod.metadata));
        }
    });
    let synced = pods.synced();
    let client = context.clone();
    context
        .work("disruption-controller-stale", synced, queue, 1, move |key| {
            let (context, pods) = (client.clone(), pods.clone());
            async move { sync(&context, &pods, key).await }
        })
        .await
}

async fn sync(context: &Context, pods: &Informer<Pod>, key: Key) -> SyncResult {
    let Some(pod) = pods.get(&key) else { return Ok(None) };
    let Some(wait) = until_stale(&pod, Timestamp::now()) else { return Ok(None) };
    if !wait.is_zero() {
        return Ok(Some(Requeue::After(wait)));
    }
    let condition = json!({
        "type": TARGET, "status": "False", "reason": null, "message": null, "lastTransitionTime": meta::now(),
    });
    let patch = Patch::Strategic(json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": [condition]},
    }));
    let api = context.api::<Pod>(&key.namespace);
    ignore_absent(api.patch_status(&key.name, &PatchParams::default(), &patch).await)
        .context("cannot set back DisruptionTarget")?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::PodCondition, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;
    use crate::pods::tests::{pod, test_now};

    #[test]
    fn announcements_are_stale_after_two_minutes() {
        let check = |phase: &str, reason: &str, status: &str, seconds: i64, expected: Option<u64>| {
            let mut pod = pod("a", phase, "n", None);
            let since = test_now() - jiff::SignedDuration::from_secs(seconds);
            pod.status.as_mut().unwrap().conditions = Some(vec![PodCondition {
                type_: TARGET.into(),
                status: status.into(),
                reason: Some(reason.into()),
                last_transition_time: Some(Time(since)),
                ..Default::default()
            }]);
            let found = until_stale(&pod, test_now()).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{phase} {reason} {status} {seconds}");
            pod.metadata.deletion_timestamp = Some(meta::now());
            assert_eq!(until_stale(&pod, test_now()), None);
        };
        check("Running", "EvictionByEvictionAPI", "True", 10, Some(110));
        check("Running", "EvictionByEvictionAPI", "True", 300, Some(0));
        check("Running", "EvictionByEvictionAPI", "False", 300, None);
        check("Running", "TerminationByKubelet", "True", 300, None);
        check("Failed", "EvictionByEvictionAPI", "True", 300, None);
    }
}
