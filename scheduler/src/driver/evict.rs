//! Making room: victims are told why, then deleted with their own grace.
use super::{Scheduler, reference};
use crate::plugin::Event;
use crate::pod::PodView;
use crate::preemption::Eviction;
use knarr_component::events::Type;
use knarr_component::events::series::Report;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

impl Scheduler {
    /// Deletes the victims. If that fails the promise is taken back and the pod tried again.
    pub(super) async fn evict(self: &Arc<Self>, pod: &Arc<PodView>, eviction: &Eviction) {
        let mut deletions = JoinSet::new();
        for victim in &eviction.victims {
            let (scheduler, pod, victim) = (Arc::clone(self), Arc::clone(pod), Arc::clone(victim));
            let node = eviction.node.clone();
            deletions.spawn(async move { scheduler.evict_one(&pod, &victim, &node).await });
        }
        let mut failed = false;
        for result in deletions.join_all().await {
            if let Err(error) = result {
                tracing::warn!(pod = %pod.key, node = eviction.node, %error, "victim not deleted");
                failed = true;
            }
        }
        if failed {
            let mut state = self.state.lock();
            state.cache.world_mut().nominated.remove(&pod.key);
            state.queue.event(Event::PodGone, Instant::now());
            drop(state);
            self.wake.notify_one();
        }
    }

    async fn evict_one(&self, pod: &PodView, victim: &PodView, node: &str) -> Result<(), kube::Error> {
        if victim.deleting {
            return Ok(());
        }
        let api = self.pods(&victim.key);
        let mut condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler),
            "lastProbeTime": null, "lastTransitionTime": super::report::now(),
        });
        if victim.generation > 0 {
            condition["observedGeneration"] = victim.generation.into();
        }
        let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}});
        let patched =
            api.patch_status(&victim.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if !present(patched.map(drop))? {
            return Ok(());
        }
        let preconditions = Preconditions { uid: Some(victim.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if present(api.delete(&victim.key.name, &params).await.map(drop))? {
            let note = format!("Preempted by pod {} on node {node}", pod.uid);
            let (kind, reason, action) = (Type::Normal, "Preempted", "Preempting");
            let (regarding, related) = (reference(victim), Some(reference(pod)));
            self.event(pod, Report { regarding, related, kind, reason, action, note });
        }
        Ok(())
    }

    /// Tells a pod that it has no promised room any more.
    pub(super) async fn break_promise(&self, pod: &PodView) {
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": null}});
        let api = self.pods(&pod.key);
        let patched =
            api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched {
            tracing::debug!(pod = %pod.key, %error, "nominated node not cleared");
        }
    }
}

/// Whether the pod was still there; one that is gone or was replaced needs nothing.
fn present(result: Result<(), kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}
