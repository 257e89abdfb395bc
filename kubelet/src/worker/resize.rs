//! Changing limits of running containers in place.

use k8s_openapi::api::core::v1::Container;

use super::{Asked, Worker};
use crate::allocation::{self, Step, event_message};
use crate::container::resources;
use crate::observed::Observed;
use crate::plan::restart;
use crate::pod;
use crate::runtime::RuntimeError;
use crate::runtime::types::LinuxContainerResources;

/// What to do about changed limits.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// Nothing changed.
    Nothing,
    /// The kernel is told.
    InPlace,
    /// The container wants to be restarted for it.
    Restart,
}

/// What became of changed limits.
#[derive(Default)]
struct Outcome {
    /// Some container was stopped, to start with its new limits.
    stopped: bool,
    /// The first failure.
    error: Option<String>,
}

impl Worker {
    /// Takes over whether the pod waits for what it asks for, and tells of it once.
    pub(super) fn note_pending(&mut self, asked: Option<Asked>) {
        let (wanted, pending) = asked.map(|asked| (asked.pod, asked.pending)).unzip();
        if let (Some(wanted), Some(pending)) = (wanted, &pending)
            && self.resize.pending.as_ref() != Some(pending)
        {
            let event = format!("Resize{}", pending.reason);
            self.events.warning(&event, event_message(&wanted, Step::Pending(pending)));
        }
        self.resize.pending = pending;
    }

    /// Applies changed limits to containers that run; answers whether some container was stopped.
    pub(super) async fn resize(&mut self, observed: &Observed) -> bool {
        let mut outcome = Outcome::default();
        for running in observed.running() {
            let Some(container) = pod::find_container(&self.pod, &running.name) else { continue };
            self.resize_container(&container, &running.id, &mut outcome).await;
        }
        self.applied.retain(|id, _| observed.running().any(|running| running.id == *id));
        if let Some(error) = &outcome.error {
            if self.resize.progress.as_ref() != Some(&Some(error.clone())) {
                self.events.warning("ResizeError", event_message(&self.pod, Step::Error(error)));
            }
            self.resize.progress = Some(Some(error.clone()));
        } else if self.resize.progress.is_some() && !outcome.stopped && self.all_run(observed) {
            self.events.normal("ResizeCompleted", event_message(&self.pod, Step::Completed));
            self.resize.progress = None;
        }
        outcome.stopped
    }

    async fn resize_container(&mut self, container: &Container, id: &str, outcome: &mut Outcome) {
        let memory = self.context.facts.memory;
        let wanted = self.limits(container);
        let applied = self.applied.entry(id.to_owned()).or_insert_with(|| {
            // It was made by a kubelet before this one, which has told what it gave.
            let before = allocation::as_reported(&self.pod);
            let then = pod::find_container(&before, &container.name);
            let given = then.map_or_else(
                || wanted.clone(),
                |then| {
                    let quota = if wanted.cpu_quota < 0 { Some(wanted.cpu_quota) } else { None };
                    let given = resources::container(&before, &then, memory);
                    LinuxContainerResources { cpu_quota: quota.unwrap_or(given.cpu_quota), ..given }
                },
            );
            // Its CPUs may have changed since.
            LinuxContainerResources { cpuset_cpus: String::new(), cpuset_mems: String::new(), ..given }
        });
        if (&applied.cpuset_cpus, &applied.cpuset_mems) != (&wanted.cpuset_cpus, &wanted.cpuset_mems) {
            self.move_container(id, &wanted).await;
        }
        let Some(applied) = self.applied.get(id) else { return };
        let change = change(container, applied, &wanted);
        if change == Change::Nothing {
            return;
        }
        if self.resize.progress.is_none() {
            self.resize.progress = Some(None);
            self.events.normal("ResizeStarted", event_message(&self.pod, Step::Started));
        }
        if change == Change::Restart {
            let message = format!("Container {} resize requires restart", container.name);
            self.stop_container(id, &container.name, &message, None).await;
            outcome.stopped = true;
        } else if let Err(error) = self.update_limits(id, &wanted).await {
            outcome
                .error
                .get_or_insert(format!("error updating resources of container {}: {error}", container.name));
            return;
        }
        self.applied.insert(id.to_owned(), wanted);
    }

    /// What a container gets of the node.
    pub(super) fn limits(&self, container: &Container) -> LinuxContainerResources {
        let mut limits = resources::container(&self.pod, container, self.context.facts.memory);
        self.context.grants.confine(&self.pod, container, &mut limits);
        limits
    }

    /// Tells a running container which CPUs and memory nodes are left for it.
    async fn move_container(&mut self, id: &str, wanted: &LinuxContainerResources) {
        let (cpus, mems) = (wanted.cpuset_cpus.clone(), wanted.cpuset_mems.clone());
        let only = LinuxContainerResources {
            cpuset_cpus: cpus.clone(),
            cpuset_mems: mems.clone(),
            ..LinuxContainerResources::default()
        };
        if let Err(error) = self.context.runtime.update_container_resources(id, only).await {
            // It is tried again when the pod is looked at next.
            tracing::warn!(id, %error, "container not moved to other CPUs");
        } else if let Some(applied) = self.applied.get_mut(id) {
            (applied.cpuset_cpus, applied.cpuset_mems) = (cpus, mems);
        }
    }

    /// The pod's limits are raised before and lowered after those of the container; a refused order is put right by
    /// the other.
    async fn update_limits(&self, id: &str, wanted: &LinuxContainerResources) -> Result<(), RuntimeError> {
        let first = self.context.cgroups.create_pod(&self.pod);
        self.context.runtime.update_container_resources(id, wanted.clone()).await?;
        if let Err(error) = first.and_then(|()| self.context.cgroups.create_pod(&self.pod)) {
            tracing::warn!(pod = pod::full_name(&self.pod), %error, "limits of the pod");
        }
        Ok(())
    }

    /// Whether no container is still to start with its new limits.
    fn all_run(&self, observed: &Observed) -> bool {
        let waits = |container: &Container| {
            restart::should_restart(&self.pod, container, observed.latest(&container.name))
        };
        !pod::containers(&self.pod).iter().any(waits)
    }
}

fn change(container: &Container, old: &LinuxContainerResources, new: &LinuxContainerResources) -> Change {
    let cpu = (old.cpu_shares, old.cpu_quota) != (new.cpu_shares, new.cpu_quota);
    let memory = old.memory_limit_in_bytes != new.memory_limit_in_bytes;
    let restarts = |resource: &str| {
        let policies = container.resize_policy.iter().flatten();
        policies.into_iter().any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
    };
    match (cpu, memory) {
        (false, false) => Change::Nothing,
        _ if (cpu && restarts("cpu")) || (memory && restarts("memory")) => Change::Restart,
        _ => Change::InPlace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let check = |policy: &str, shares: i64, memory: i64, expected: Change| {
            let container: Container =
                serde_yaml_ng::from_str(&format!("{{name: a, resizePolicy: {policy}}}")).expect("container");
            let of = |cpu_shares, memory_limit_in_bytes| LinuxContainerResources {
                cpu_shares,
                memory_limit_in_bytes,
                ..Default::default()
            };
            assert_eq!(change(&container, &of(2, 10), &of(shares, memory)), expected, "{policy}");
        };
        let restart = "[{resourceName: memory, restartPolicy: RestartContainer}]";
        check("[]", 2, 10, Change::Nothing);
        check("[]", 4, 10, Change::InPlace);
        check(restart, 4, 10, Change::InPlace);
        check(restart, 2, 20, Change::Restart);
    }
}
