//! What pods are granted of the node's own: devices of plugins, CPUs and memory, as near to each other as the node's
//! settings demand, and devices of claims.
//!
//! A pod asks once, before anything of it is made; it is refused as a whole if one of its containers cannot get what it
//! needs. Pods are granted one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;

use crate::admission::{Refusal, is_extended};
use crate::cpus::CpuManager;
use crate::devices::{Devices, Extras, Ids};
use crate::dra::Dra;
use crate::memory::MemoryManager;
use crate::pod;
use crate::runtime::types::LinuxContainerResources;
use crate::topology::cpus::CpuSet;
use crate::topology::{self, Hints, Mask, Policy, Scope};

/// How near to each other what a pod is granted should be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nearness {
    /// The machine's memory nodes.
    pub nodes: Mask,
    /// How strict.
    pub policy: Policy,
    /// What is kept together.
    pub scope: Scope,
}

/// Grants of a node.
#[derive(Debug)]
pub struct Grants {
    /// Devices of plugins.
    pub devices: Arc<Devices>,
    /// Devices of claims.
    pub dra: Arc<Dra>,
    /// CPUs.
    pub cpus: CpuManager,
    /// Memory.
    pub memory: MemoryManager,
    nearness: Nearness,
    /// Counts changes of what all other containers share.
    changes: watch::Sender<u64>,
    /// Held while a pod is granted what it needs.
    turn: tokio::sync::Mutex<()>,
}

/// A refusal for what only happens when the scheduler was wrong, or not asked.
pub fn unexpected(error: &str) -> Refusal {
    Refusal {
        reason: "UnexpectedAdmissionError".to_owned(),
        message: format!("Allocate failed due to {error}, which is unexpected"),
    }
}

/// How many devices are asked for, by resource.
type Wanted = BTreeMap<String, usize>;

/// The devices that a container asks for.
fn wanted(container: &Container) -> Wanted {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let extended = limits.into_iter().flatten().filter(|(name, _)| is_extended(name));
    let counted =
        extended.map(|(name, amount)| (name.clone(), usize::try_from(pod::value(amount)).unwrap_or(0)));
    counted.filter(|(_, count)| *count > 0).collect()
}

impl Grants {
    /// Nothing is granted yet but what the parts know.
    pub fn new(
        devices: Arc<Devices>,
        dra: Arc<Dra>,
        cpus: CpuManager,
        memory: MemoryManager,
        nearness: Nearness,
    ) -> Self {
        let changes = watch::Sender::new(0);
        Self { devices, dra, cpus, memory, nearness, changes, turn: tokio::sync::Mutex::default() }
    }

    /// Tells when the CPUs that containers share have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Grants a pod what it needs, unless it has it.
    pub async fn admit(&self, pod: &Pod) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let granted = self.grant(pod).await;
        if granted.is_err() {
            self.release(pod::uid(pod));
        }
        granted
    }

    async fn grant(&self, pod: &Pod) -> Result<(), Refusal> {
        let mut reusable: BTreeMap<String, Ids> = BTreeMap::new();
        let (all, mut cpus) = (self.nearness.nodes, CpuSet::new());
        let of_pod = match self.nearness.scope {
            Scope::Pod => Some(self.place(&[
                self.device_hints(pod, "", &self.of_pod(pod), &reusable),
                self.cpus.hints_of_pod(pod, all),
                self.memory.hints_of_pod(pod, all),
            ])?),
            Scope::Container => None,
        };
        let init = pod::init_containers(pod).iter().map(|container| (container, !pod::is_sidecar(container)));
        for (container, ends) in init.chain(pod::containers(pod).iter().map(|container| (container, false))) {
            let devices = self.known(wanted(container));
            let affinity = match of_pod {
                Some(affinity) => affinity,
                None => self.place(&[
                    self.device_hints(pod, &container.name, &devices, &reusable),
                    self.cpus.hints(pod, container, &cpus, all),
                    self.memory.hints(pod, container, all),
                ])?,
            };
            for (resource, count) in devices {
                let holder = (pod::uid(pod).to_owned(), container.name.clone(), resource.clone());
                let free = reusable.entry(resource).or_default();
                let given = self.devices.allocate(&holder, count, free, affinity).await;
                let given = given.map_err(|error| unexpected(&error))?;
                if ends {
                    free.extend(given);
                } else {
                    free.retain(|id| !given.contains(id));
                }
            }
            if self.cpus.allocate(pod, container, &mut cpus, affinity, ends)? {
                self.changes.send_modify(|count| *count += 1);
            }
            self.memory.allocate(pod, container, affinity, all)?;
        }
        Ok(())
    }

    /// Where a container or pod should be; `None`: anywhere.
    fn place(&self, hints: &[Hints]) -> Result<Option<Mask>, Refusal> {
        let Nearness { nodes, policy, .. } = self.nearness;
        let best = topology::merge(policy, nodes, hints);
        if policy.admits(best) {
            return Ok(best.nodes);
        }
        Err(Refusal {
            reason: "TopologyAffinityError".to_owned(),
            message: "Resources cannot be allocated with Topology locality".to_owned(),
        })
    }

    /// What no plugin has offered is somebody else's business.
    fn known(&self, mut wanted: Wanted) -> Wanted {
        wanted.retain(|resource, _| self.devices.is_known(resource));
        wanted
    }

    /// The devices that all containers of a pod need at a time.
    fn of_pod(&self, pod: &Pod) -> Wanted {
        let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
        let resources: BTreeSet<String> = all.flat_map(|container| wanted(container).into_keys()).collect();
        let total = |resource: &String| {
            let of = |container: &Container| {
                Some(
                    wanted(container)
                        .get(resource)
                        .map_or(0, |count| i64::try_from(*count).unwrap_or(i64::MAX)),
                )
            };
            usize::try_from(pod::total(pod, of).unwrap_or_default()).unwrap_or_default()
        };
        self.known(resources.iter().map(|resource| (resource.clone(), total(resource))).collect())
    }

    fn device_hints(
        &self,
        pod: &Pod,
        container: &str,
        wanted: &Wanted,
        reusable: &BTreeMap<String, Ids>,
    ) -> Hints {
        let none = Ids::new();
        let hints = |(resource, count): (&String, &usize)| {
            let holder = (pod::uid(pod).to_owned(), container.to_owned(), resource.clone());
            let reusable = reusable.get(resource).unwrap_or(&none);
            (resource.clone(), self.devices.hints(&holder, *count, reusable, self.nearness.nodes))
        };
        wanted.iter().map(hints).collect()
    }

    /// What a container that is about to be made must get.
    pub async fn prepare(&self, pod: &Pod, container: &Container) -> Result<Extras, String> {
        let mut extras = self.devices.prepare(pod::uid(pod), &container.name).await?;
        extras.cdi_devices.extend(self.dra.devices(pod, container)?);
        Ok(extras)
    }

    /// Confines a container to its CPUs and memory nodes. Where it has CPUs for itself, it may use them up.
    pub fn confine(&self, pod: &Pod, container: &Container, limits: &mut LinuxContainerResources) {
        limits.cpuset_cpus = self.cpus.cpuset(pod::uid(pod), &container.name);
        limits.cpuset_mems = self.memory.nodes(pod::uid(pod), &container.name);
        if !self.cpus.held(pod::uid(pod), &container.name).is_empty() {
            limits.cpu_quota = -1;
        }
    }

    /// A pod needs nothing any more.
    pub fn release(&self, uid: &str) {
        self.retain(|holder| holder != uid);
    }

    /// Takes back what pods have but those to keep.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.devices.retain(&keep);
        self.memory.retain(&keep);
        if self.cpus.retain(&keep) {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_extended_resources() {
        let pod = pod::tests::pod(
            "{spec: {containers: [{name: a, resources: {limits: {cpu: 1, example.com/gpu: 2, example.com/none: 0, \
             hugepages-2Mi: 2Mi, requests.example.com/x: 1}}}]}}",
        );
        let wanted = wanted(&pod::containers(&pod)[0]);
        assert_eq!(wanted, [("example.com/gpu".to_owned(), 2)].into());
    }
}
