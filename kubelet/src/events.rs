//! Events about pods and their containers, worded as the original's.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_component::events::{Recorder, Type, reference};

use crate::pod;

/// Events about one pod.
#[derive(Clone)]
pub struct PodEvents {
    recorder: Recorder,
    pod: ObjectReference,
    init: Vec<String>,
    ephemeral: Vec<String>,
}

impl PodEvents {
    /// A recorder for this pod.
    pub fn new(recorder: &Recorder, pod: &Pod) -> Self {
        Self {
            recorder: recorder.clone(),
            pod: reference(pod),
            init: pod::init_containers(pod).iter().map(|container| container.name.clone()).collect(),
            ephemeral: pod::ephemeral_containers(pod)
                .iter()
                .map(|container| container.name.clone())
                .collect(),
        }
    }

    /// Something went as it should.
    pub fn normal(&self, reason: &str, message: impl Into<String>) {
        self.recorder.event(self.pod.clone(), Type::Normal, reason, message);
    }

    /// Something went wrong.
    pub fn warning(&self, reason: &str, message: impl Into<String>) {
        self.recorder.event(self.pod.clone(), Type::Warning, reason, message);
    }

    /// A container did as it should.
    pub fn container_normal(&self, container: &str, reason: &str, message: impl Into<String>) {
        self.recorder.event(self.of_container(container), Type::Normal, reason, message);
    }

    /// A container failed.
    pub fn container_warning(&self, container: &str, reason: &str, message: impl Into<String>) {
        self.recorder.event(self.of_container(container), Type::Warning, reason, message);
    }

    fn of_container(&self, name: &str) -> ObjectReference {
        let list = if self.init.iter().any(|init| init == name) {
            "initContainers"
        } else if self.ephemeral.iter().any(|ephemeral| ephemeral == name) {
            "ephemeralContainers"
        } else {
            "containers"
        };
        ObjectReference { field_path: Some(format!("spec.{list}{{{name}}}")), ..self.pod.clone() }
    }
}
