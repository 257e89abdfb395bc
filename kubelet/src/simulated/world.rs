//! All simulated nodes and pods of a process, without I/O: told of changes and of the time, it says what to write.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use knarr_component::store::Key;
use kube::api::ObjectMeta;
use rand::rngs::StdRng;
use serde::Deserialize;

use super::addresses::Addresses;
use super::life::{Life, Moment};
use super::nodes::Nodes;
use super::stages::Stages;
use super::writes::{self, Write};
use crate::pod;
use crate::status::conditions;

/// Names a pod within the process; cheap to copy.
pub type Uid = Arc<str>;

/// Nodes, pods and what lies before them.
pub struct World {
    /// How pods and nodes behave.
    stages: Stages,
    /// The nodes.
    pub nodes: Nodes,
    pods: HashMap<Uid, Entry>,
    addresses: Addresses,
    /// When pods wake; an entry counts only while its pod says the same.
    timers: BinaryHeap<Reverse<(Timestamp, Uid)>>,
    to_write: VecDeque<Uid>,
    random: StdRng,
}

struct Entry {
    key: Key,
    node: usize,
    /// Place of the pod's stage in the file.
    stage: Option<usize>,
    life: Life,
    /// The pod as far as its life needs it, with the status it has by now; JSON.
    pod: Box<[u8]>,
    wake: Option<Timestamp>,
    /// Revision of our last write; what is older says nothing new about the status.
    revision: u64,
    /// The server has another status.
    changed: bool,
    marked: bool,
    over: bool,
    queued: bool,
    busy: bool,
    deleted: bool,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The server has it, at this revision.
    At(u64),
    /// There is no such pod any more.
    Gone,
    /// It has to be tried again.
    Failed,
}

impl World {
    /// A world without pods.
    pub fn new(stages: Stages, nodes: Nodes, addresses: Addresses, random: StdRng) -> Self {
        Self {
            stages,
            nodes,
            pods: HashMap::new(),
            addresses,
            timers: BinaryHeap::new(),
            to_write: VecDeque::new(),
            random,
        }
    }

    /// Takes a pod as the server has it.
    pub fn apply(&mut self, pod: Pod, now: Timestamp) {
        let Some(node) = self.nodes.find(pod::spec(&pod).node_name.as_deref().unwrap_or_default()) else {
            return;
        };
        if pod::is_mirror(&pod) {
            return;
        }
        let uid: Uid = pod::uid(&pod).into();
        let pod = match self.pods.contains_key(&uid) {
            true => self.update(&uid, pod),
            false => self.insert(uid.clone(), pod, node, now),
        };
        self.advance(&uid, pod, true, now);
    }

    /// Takes a pod that is new; returns what is to be kept of it.
    fn insert(&mut self, uid: Uid, pod: Pod, node: usize, now: Timestamp) -> Pod {
        let found = self.stages.of_pod(&pod, &self.nodes.get(node).labels);
        let stage = found.and_then(|found| self.stages.pods.iter().position(|one| std::ptr::eq(one, found)));
        let moment = Moment { now, stage: found, host_ips: &self.nodes.get(node).ips };
        let life = Life::adopt(&pod, &moment, &mut self.random);
        if let Some(address) = life.address() {
            self.addresses.hold(address);
        }
        let key = Key::of(&pod.metadata);
        let marked = pod.metadata.deletion_timestamp.is_some();
        let entry = Entry {
            key,
            node,
            stage,
            life,
            pod: Box::default(),
            wake: None,
            revision: 0,
            changed: false,
            marked,
            over: false,
            queued: false,
            busy: false,
            deleted: false,
        };
        self.pods.insert(uid, entry);
        trimmed(pod)
    }

    /// Takes over what others have changed: all but the status, and of that the conditions that are not ours. Returns
    /// what is to be kept.
    fn update(&mut self, uid: &Uid, mut pod: Pod) -> Pod {
        let Some(entry) = self.pods.get_mut(uid) else { return pod };
        let revision = writes::revision(&pod.metadata);
        let ours = unpacked_status(&entry.pod);
        let theirs = pod.status.take().unwrap_or_default();
        if let Some(mut ours) = ours {
            // Somebody else has spoken for us, as the node lifecycle does for a node that was silent.
            if revision > entry.revision && !entry.busy && !writes::same_conditions(&ours, &theirs) {
                entry.changed = true;
            }
            conditions::adopt(&mut ours, Some(&theirs));
            pod.status = Some(ours);
        }
        entry.marked = pod.metadata.deletion_timestamp.is_some();
        trimmed(pod)
    }

    /// Forgets a pod whose object is gone.
    pub fn remove(&mut self, uid: &str) {
        if let Some(entry) = self.pods.remove(uid)
            && let Some(address) = entry.life.address()
        {
            self.addresses.free(address);
        }
    }

    /// Lets everything happen that is due; answers when to come again.
    pub fn pass(&mut self, now: Timestamp) -> Option<Timestamp> {
        let returned = self.nodes.pass(now, &mut self.random);
        if !returned.is_empty() {
            let there = |entry: &Entry| returned.contains(&entry.node);
            let pods: Vec<Uid> =
                self.pods.iter().filter(|(_, entry)| there(entry)).map(|(uid, _)| uid.clone()).collect();
            pods.iter().for_each(|uid| self.touch(uid, now));
        }
        while let Some(Reverse((at, uid))) = self.timers.peek()
            && *at <= now
        {
            let (at, uid) = (*at, uid.clone());
            self.timers.pop();
            if self.pods.get(&uid).is_some_and(|entry| entry.wake == Some(at)) {
                self.touch(&uid, now);
            }
        }
        let pods = self.timers.peek().map(|Reverse((at, _))| *at);
        pods.into_iter().chain(self.nodes.next()).min()
    }

    /// Brings one pod to the present.
    fn touch(&mut self, uid: &Uid, now: Timestamp) {
        let pod = self.pods.get(uid).and_then(|entry| unpacked(&entry.pod));
        if let Some(pod) = pod {
            self.advance(uid, pod, false, now);
        }
    }

    /// Keeps a pod, if it is news, and brings it to the present, unless its node is lost.
    fn advance(&mut self, uid: &Uid, mut pod: Pod, news: bool, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let node = self.nodes.get(entry.node);
        if node.is_lost() {
            if news {
                entry.pod = packed(&pod);
            }
            return;
        }
        let stage = entry.stage.and_then(|stage| self.stages.pods.get(stage));
        let moment = Moment { now, stage, host_ips: &node.ips };
        let addresses = &mut self.addresses;
        let step = entry.life.step(&pod, &moment, || addresses.take(), &mut self.random);
        entry.over = step.over;
        let changed = pod.status.as_ref() != Some(&step.status);
        if changed {
            entry.changed = true;
            pod.status = Some(step.status);
        }
        if changed || news {
            entry.pod = packed(&pod);
        }
        if entry.wake != step.wake {
            entry.wake = step.wake;
            self.timers.extend(step.wake.map(|at| Reverse((at, uid.clone()))));
        }
        self.enqueue(uid);
    }

    fn enqueue(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if entry.wants_writing() && !entry.queued && !entry.busy {
            entry.queued = true;
            self.to_write.push_back(uid.clone());
        }
    }

    /// The next thing to write, if any; its end is to be told to `written`.
    pub fn next_write(&mut self) -> Option<Write> {
        while let Some(uid) = self.to_write.pop_front() {
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            entry.queued = false;
            if self.nodes.get(entry.node).is_lost() {
                continue;
            }
            let status = if entry.changed { unpacked_status(&entry.pod) } else { None };
            let write = Write {
                key: entry.key.clone(),
                status: status.map(|status| writes::patch(&uid, &status)),
                delete: entry.wants_deletion(),
                uid,
            };
            entry.busy = true;
            entry.changed = false;
            return Some(write);
        }
        None
    }

    /// Takes the end of a write.
    pub fn written(&mut self, write: &Write, how: Written) {
        let Some(entry) = self.pods.get_mut(&write.uid) else { return };
        entry.busy = false;
        match how {
            Written::At(revision) => {
                entry.revision = entry.revision.max(revision);
                entry.deleted |= write.delete;
            }
            Written::Gone => entry.deleted = true,
            Written::Failed => entry.changed |= write.status.is_some(),
        }
        self.enqueue(&write.uid);
    }
}

impl Entry {
    fn wants_deletion(&self) -> bool {
        self.over && self.marked && !self.deleted
    }

    fn wants_writing(&self) -> bool {
        (self.changed && !self.deleted) || self.wants_deletion()
    }
}

/// What a pod's life depends on; everything else is left to the server.
fn trimmed(mut pod: Pod) -> Pod {
    let slim = |container: &Container| Container {
        name: container.name.clone(),
        image: container.image.clone(),
        resources: container.resources.clone(),
        restart_policy: container.restart_policy.clone(),
        restart_policy_rules: container.restart_policy_rules.clone(),
        volume_mounts: container.volume_mounts.clone(),
        ..Default::default()
    };
    let spec = pod.spec.take().unwrap_or_default();
    let meta = pod.metadata;
    Pod {
        metadata: ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            generation: meta.generation,
            deletion_timestamp: meta.deletion_timestamp,
            deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
            ..Default::default()
        },
        spec: Some(PodSpec {
            containers: spec.containers.iter().map(slim).collect(),
            init_containers: spec.init_containers.map(|init| init.iter().map(slim).collect()),
            restart_policy: spec.restart_policy,
            host_network: spec.host_network,
            active_deadline_seconds: spec.active_deadline_seconds,
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            readiness_gates: spec.readiness_gates,
            ..Default::default()
        }),
        status: pod.status,
    }
}

fn packed(pod: &Pod) -> Box<[u8]> {
    // Objects that came as JSON can be written as such.
    serde_json::to_vec(pod).unwrap_or_default().into_boxed_slice()
}

fn unpacked(pod: &[u8]) -> Option<Pod> {
    serde_json::from_slice(pod).ok()
}

/// The status alone, which is most of what is asked of a packed pod.
fn unpacked_status(pod: &[u8]) -> Option<PodStatus> {
    #[derive(Deserialize)]
    struct Part {
        status: Option<PodStatus>,
    }
    serde_json::from_slice::<Part>(pod).ok()?.status
}

#[cfg(test)]
impl World {
    fn len(&self) -> usize {
        self.pods.len()
    }

    fn status(&self, uid: &str) -> PodStatus {
        unpacked(&self.pods[uid].pod).and_then(|pod| pod.status).expect("a status")
    }
}

#[cfg(test)]
mod tests;
