//! Changing limits of running containers in place.

use k8s_openapi::api::core::v1::Container;

use super::Worker;
use crate::container::resources;
use crate::observed::Observed;
use crate::pod;
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

impl Worker {
    /// Applies changed limits to containers that run; answers whether some container was stopped.
    pub(super) async fn resize(&mut self, observed: &Observed) -> bool {
        let mut stopped = false;
        let memory = self.context.facts.memory;
        for running in observed.running() {
            let Some(container) = pod::find_container(&self.pod, &running.name) else { continue };
            let wanted = resources::container(&self.pod, &container, memory);
            // What a container was made with is what the spec said then.
            let Some(applied) = self.applied.get(&running.id) else {
                self.applied.insert(running.id.clone(), wanted);
                continue;
            };
            match change(&container, applied, &wanted) {
                Change::Nothing => continue,
                Change::Restart => {
                    let message = format!("Container {} resize requires restart", container.name);
                    self.stop_container(&running.id, &container.name, &message, None).await;
                    stopped = true;
                }
                Change::InPlace => {
                    // The pod's limits are raised before and lowered after those of the container; a
                    // refused order is put right by the other.
                    let first = self.context.cgroups.create_pod(&self.pod);
                    let update = self.context.runtime.update_container_resources(&running.id, wanted.clone());
                    if let Err(error) = update.await {
                        let message =
                            format!("error updating resources of container {}: {error}", container.name);
                        self.events.container_warning(&container.name, "ResizeError", message);
                        continue;
                    }
                    if let Err(error) = first.and_then(|()| self.context.cgroups.create_pod(&self.pod)) {
                        tracing::warn!(pod = pod::full_name(&self.pod), %error, "limits of the pod");
                    }
                    let message = format!("Container {} resized in place", container.name);
                    self.events.container_normal(&container.name, "ResizeCompleted", message);
                }
            }
            self.applied.insert(running.id.clone(), wanted);
        }
        self.applied.retain(|id, _| observed.running().any(|running| running.id == *id));
        stopped
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
