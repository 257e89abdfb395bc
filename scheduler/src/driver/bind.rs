//! Binding: first a pod's volumes, then the pod.
use super::{Scheduler, reference};
use crate::metrics::Took;
use crate::plugin::Event;
use crate::plugins::Plan;
use crate::pod::PodView;
use crate::storage::{Claim, SELECTED_NODE, Volume};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_component::client::message;
use knarr_component::events::Type;
use knarr_component::events::series::Report;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::{Duration, Instant};

/// Why volumes could not be bound.
#[derive(Debug, thiserror::Error)]
enum VolumesError {
    #[error("{}", message(.0))]
    Write(#[from] kube::Error),
    #[error("context deadline exceeded")]
    Timeout,
    #[error("persistentvolumeclaim {0:?} not found")]
    ClaimGone(String),
    #[error("selectedNode annotation reset for PVC {0:?}")]
    Reset(String),
}

impl Scheduler {
    /// Tells the API server where the pod runs.
    pub(super) async fn bind(&self, pod: &PodView, node: &str) {
        if let Some(bound) = self.bind_by_extender(pod, node).await {
            return match bound {
                Ok(()) => self.is_bound(pod, node),
                Err(error) => {
                    tracing::warn!(pod = %pod.key, %error, "not bound");
                    self.take_back(pod);
                }
            };
        }
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let (api, params) = (self.pods(&pod.key), PostParams::default());
        let bound =
            api.create_subresource::<_, serde_json::Value>("binding", &pod.key.name, &params, &binding);
        let started = Instant::now();
        let bound = bound.await;
        self.took(pod, "Bind", bound.is_ok(), started);
        match bound {
            Ok(_) => self.is_bound(pod, node),
            Err(error) => self.binding_failed(pod, &error),
        }
    }

    fn is_bound(&self, pod: &PodView, node: &str) {
        let note = format!("Successfully assigned {} to {node}", pod.key);
        let (kind, reason, action) = (Type::Normal, "Scheduled", "Binding");
        self.event(pod, Report { regarding: reference(pod), related: None, kind, reason, action, note });
        self.state.lock().queue.placed(&pod.key, Instant::now());
    }

    fn took(&self, pod: &PodView, point: &'static str, went_well: bool, started: Instant) {
        let status = if went_well { "Success" } else { "Error" };
        self.metrics.took(&pod.scheduler, Took { point, plugin: None, status, time: started.elapsed() });
    }

    fn binding_failed(&self, pod: &PodView, error: &kube::Error) {
        let gone = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
        if gone {
            // Deleted or bound by someone else: the informer will say so.
            tracing::debug!(pod = %pod.key, %error, "not bound");
        } else {
            tracing::warn!(pod = %pod.key, %error, "not bound");
        }
        self.take_back(pod);
    }

    /// The pod is not placed after all: it is tried again, and others may have its room.
    fn take_back(&self, pod: &PodView) {
        let mut state = self.state.lock();
        state.cache.unassume(&pod.key);
        state.queue.failed(&pod.key, Instant::now());
        state.queue.event(Event::PodGone, Instant::now());
        drop(state);
        self.wake.notify_one();
    }

    /// Binds or asks for the pod's volumes, waits until they are there, then binds the pod.
    pub(super) async fn bind_with_volumes(&self, pod: &PodView, node: &str, plan: &Plan, timeout: Duration) {
        self.expect(pod, node).await;
        let started = Instant::now();
        let reserved = self.reserve_devices(pod, plan).await;
        let bound = match &reserved {
            Ok(_) => {
                let bound = tokio::time::timeout(timeout, self.bind_volumes(node, plan)).await;
                bound.unwrap_or(Err(VolumesError::Timeout))
            }
            Err(_) => Ok(()),
        };
        self.state.lock().forget_plan(plan);
        self.took(pod, "PreBind", reserved.is_ok() && bound.is_ok(), started);
        let made = match reserved {
            Ok(made) => made,
            Err(error) => {
                self.take_back(pod);
                let message = format!("running PreBind plugin \"DynamicResources\": {error}");
                return self.report(pod, "SchedulerError", &message, None).await;
            }
        };
        match bound {
            Ok(()) => self.bind(pod, node).await,
            Err(error) => {
                if let Some(claim) = made {
                    self.drop_special(pod, &claim).await;
                }
                self.take_back(pod);
                let message = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {error}");
                self.report(pod, "SchedulerError", &message, None).await;
            }
        }
    }

    async fn bind_volumes(&self, node: &str, plan: &Plan) -> Result<(), VolumesError> {
        for (claim, volume) in &plan.bind {
            self.give_volume(claim, volume).await?;
        }
        for claim in &plan.provision {
            self.choose_node(claim, node).await?;
        }
        let mut changes = self.storage_changed.subscribe();
        let mut annotated = vec![false; plan.provision.len()];
        loop {
            changes.mark_unchanged();
            if self.volumes_are_bound(node, plan, &mut annotated)? {
                return Ok(());
            }
            if changes.changed().await.is_err() {
                return Err(VolumesError::Timeout);
            }
        }
    }

    /// `annotated`: claims to provision that were seen with the chosen node.
    fn volumes_are_bound(
        &self,
        node: &str,
        plan: &Plan,
        annotated: &mut [bool],
    ) -> Result<bool, VolumesError> {
        let state = self.state.lock();
        let storage = &state.cache.world().storage;
        let current = |claim: &Claim| {
            let found = storage.claims.get(&claim.key).filter(|found| found.uid == claim.uid);
            found.ok_or_else(|| VolumesError::ClaimGone(claim.key.name.clone()))
        };
        let mut all = true;
        for (claim, _) in &plan.bind {
            all &= current(claim)?.bound;
        }
        for (claim, annotated) in plan.provision.iter().zip(annotated) {
            let claim = current(claim)?;
            if claim.selected_node == node {
                *annotated = true;
            } else if *annotated && !claim.bound {
                // The provisioner cannot make the volume there: another node must be found.
                return Err(VolumesError::Reset(claim.key.name.clone()));
            }
            all &= claim.bound;
        }
        Ok(all)
    }

    /// Reserves the volume for the claim; the volume controller does the rest.
    async fn give_volume(&self, claim: &Claim, volume: &Volume) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {
                "resourceVersion": volume.resource_version,
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
            },
            "spec": {"claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": claim.uid,
                "namespace": claim.key.namespace, "name": claim.key.name,
                "resourceVersion": claim.resource_version,
            }},
        });
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        api.patch(&volume.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Tells the provisioner where the claim's volume is wanted.
    async fn choose_node(&self, claim: &Claim, node: &str) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"uid": claim.uid, "annotations": {SELECTED_NODE: node}}});
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &claim.key.namespace);
        api.patch(&claim.key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }
}
