//! What pods are told: events, the `PodScheduled` condition and the node they are promised.
use super::{Scheduler, reference};
use crate::pod::PodView;
use knarr_component::events::Type;
use knarr_component::events::series::Report;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// The time, as conditions give it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Scheduler {
    /// Reports in the name of the pod's scheduler.
    pub(super) fn event(&self, pod: &PodView, report: Report) {
        if let Some(reporter) = self.reporters.get(&pod.scheduler) {
            reporter.report(report);
        }
    }

    /// Says where a pod is to run whose volumes or devices take a while, so that autoscalers keep the node for it.
    ///
    /// Source: KEP-5278, Nominated node name for an expected pod placement.
    pub(super) async fn expect(&self, pod: &PodView, node: &str) {
        if pod.nominated == node || !knarr_api::gates::enabled("NominatedNodeNameForExpectation") {
            return;
        }
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": node}}));
        let patched = self.pods(&pod.key).patch_status(&pod.key.name, &PatchParams::default(), &patch).await;
        if let Err(error) = patched {
            tracing::debug!(pod = %pod.key, %error, "expected node not told");
        }
    }

    /// Tells the pod why it has no node: an event, and its status where that says another thing. `promise` is the
    /// node on which room is made for it, empty when that is not so any more.
    pub(super) async fn report(&self, pod: &PodView, reason: &str, message: &str, promise: Option<&str>) {
        let (kind, event, action) = (Type::Warning, "FailedScheduling", "Scheduling");
        let (regarding, note) = (reference(pod), message.to_owned());
        self.event(pod, Report { regarding, related: None, kind, reason: event, action, note });
        let promise = promise.filter(|node| *node != pod.nominated);
        let told = pod.unscheduled_message.as_deref() == Some(message);
        if told && promise.is_none() {
            return;
        }
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null,
        });
        // The time of the change, which another message is not.
        if pod.unscheduled_message.is_none() {
            condition["lastTransitionTime"] = now().into();
        }
        if pod.generation > 0 {
            condition["observedGeneration"] = pod.generation.into();
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(node) = promise {
            status["nominatedNodeName"] = if node.is_empty() { serde_json::Value::Null } else { node.into() };
        }
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        let api = self.pods(&pod.key);
        let patched =
            api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Err(error) = patched {
            tracing::debug!(pod = %pod.key, %error, "condition not set");
        }
    }
}
