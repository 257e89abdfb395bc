//! All pods of the node and their workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{self, Refusal};
use crate::allocation;
use crate::context::Context;
use crate::events::PodEvents;
use crate::labels;
use crate::metrics;
use crate::pod;
use crate::preemption;
use crate::status::Verdict;
use crate::worker::{Asked, Inbox, Worker};

/// Keeps one worker for each pod.
pub struct Manager {
    context: Arc<Context>,
    inboxes: Mutex<HashMap<String, Arc<Inbox>>>,
    node: Mutex<admission::Node>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Manager {
    /// No pods yet; workers end with `stop`, their pods go on.
    pub fn new(context: Arc<Context>, node: admission::Node, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            context,
            inboxes: Mutex::default(),
            node: Mutex::new(node),
            tasks: TaskTracker::new(),
            stop,
        })
    }

    /// What all workers share.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Takes over what the API knows of the node and pods may ask for: labels, taints and resources.
    pub fn set_node(&self, node: &Node) {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let devices = &self.context.grants.devices;
        let extended = allocatable
            .into_iter()
            .flatten()
            .filter(|(name, _)| admission::is_extended(name) && !devices.is_known(name));
        let extended = extended.map(|(name, amount)| (name.clone(), pod::milli(amount))).collect();
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let mut known = self.node.lock();
        (known.labels, known.taints, known.extended) = (labels, taints, extended);
    }

    /// A pod is there or has changed.
    pub fn apply(self: &Arc<Self>, pod: Arc<Pod>) {
        let uid = pod::uid(&pod).to_owned();
        let mut inboxes = self.inboxes.lock();
        if let Some(inbox) = inboxes.get(&uid) {
            self.give(inbox, &pod, &inbox.pod(), &inboxes);
            self.retry(&inboxes);
            return;
        }
        self.context.exclusive.adopt(&pod);
        let given = Arc::new(allocation::as_reported(&pod));
        let inbox = Inbox::new(Arc::clone(&given));
        self.give(&inbox, &pod, &given, &inboxes);
        let mut before = predecessors(&inboxes, &pod);
        let victims = self.admit(&pod, &inboxes).unwrap_or_else(|refusal| {
            tracing::info!(pod = pod::full_name(&pod), refusal.reason, refusal.message, "pod refused");
            PodEvents::new(&self.context.events, &pod).warning(&refusal.reason, refusal.message.as_str());
            inbox.evict(Verdict::refusal(&refusal));
            Vec::new()
        });
        before.extend(victims);
        inboxes.insert(uid.clone(), Arc::clone(&inbox));
        self.weigh(&inboxes);
        drop(inboxes);
        let worker = Worker::new(Arc::clone(&self.context), Arc::clone(&inbox));
        let (manager, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(async move {
            for ended in before {
                stop.run_until_cancelled(ended.cancelled()).await;
            }
            worker.run(stop).await;
            if inbox.done.is_cancelled() {
                let mut inboxes = manager.inboxes.lock();
                inboxes.remove(&uid);
                manager.weigh(&inboxes);
                manager.retry(&inboxes);
            }
        });
    }

    /// Gives classes of pods the weight of their pods.
    fn weigh(&self, inboxes: &HashMap<String, Arc<Inbox>>) {
        let pods: Vec<Arc<Pod>> = inboxes.values().map(|inbox| inbox.pod()).collect();
        self.context.cgroups.weigh(pods.iter().map(AsRef::as_ref));
    }

    /// Whether a new pod can run here, and whose end it has to wait for. Pods that already ran here are not asked again.
    fn admit(
        &self,
        pod: &Pod,
        inboxes: &HashMap<String, Arc<Inbox>>,
    ) -> Result<Vec<CancellationToken>, Refusal> {
        let begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if begun || pod::is_terminal(pod) || pod.metadata.deletion_timestamp.is_some() {
            return Ok(Vec::new());
        }
        let others = others(inboxes, pod::uid(pod));
        let mut node = self.node.lock();
        node.pressures = self.context.evictions.pressures();
        node.is_shutting_down = self.context.shutdown.has_begun();
        let lacks = admission::check(pod, &others, &node)?;
        drop(node);
        let victims = preemption::choose(pod, &others, &lacks).map_err(|error| Refusal {
            reason: "UnexpectedAdmissionError".to_owned(),
            message: format!(
                "Unexpected error while attempting to recover from admission failure: preemption: error finding a \
                 set of pods to preempt: {error}"
            ),
        })?;
        let resource = lacks.first().map_or("", |lack| lack.resource.as_str());
        let victims = victims.iter().filter_map(|victim| Some((victim, inboxes.get(pod::uid(victim))?)));
        Ok(victims.map(|(victim, inbox)| self.preempt(victim, inbox, resource)).collect())
    }

    /// Ends a pod that makes room; answers what tells that it has ended.
    fn preempt(&self, pod: &Pod, inbox: &Inbox, resource: &str) -> CancellationToken {
        let verdict = preemption::verdict();
        tracing::info!(pod = pod::full_name(pod), verdict.message, "pod preempted");
        metrics::count(metrics::Name::Preemptions, &[("preemption_signal", resource)]);
        PodEvents::new(&self.context.events, pod).warning(&verdict.reason, verdict.message.as_str());
        inbox.evict(verdict);
        inbox.ended.clone()
    }

    /// Hands a changed pod on, with what it asks for if the node can give that, or with what it was given before.
    fn give(&self, inbox: &Inbox, pod: &Arc<Pod>, given: &Pod, inboxes: &HashMap<String, Arc<Inbox>>) {
        if allocation::same_resources(pod, given) || pod.metadata.deletion_timestamp.is_some() {
            inbox.update(Arc::clone(pod), None);
            return;
        }
        match allocation::decide(pod, &others(inboxes, pod::uid(pod)), &self.node.lock()) {
            Ok(()) => inbox.update(Arc::clone(pod), None),
            Err(pending) => {
                let before = Arc::new(allocation::with_resources_of(pod, given));
                inbox.update(before, Some(Asked { pod: Arc::clone(pod), pending }));
            }
        }
    }

    /// Others may have left room for what pods wait for.
    fn retry(&self, inboxes: &HashMap<String, Arc<Inbox>>) {
        for inbox in inboxes.values() {
            if let Some(asked) = inbox.asked() {
                self.give(inbox, &asked.pod, &inbox.pod(), inboxes);
            }
        }
    }

    /// A pod's object or manifest is gone.
    pub fn remove(&self, uid: &str) {
        if let Some(inbox) = self.inboxes.lock().get(uid) {
            inbox.remove();
        }
    }

    /// Ends a pod by the kubelet's own decision.
    pub fn evict(&self, uid: &str, verdict: Verdict) {
        if let Some(inbox) = self.inboxes.lock().get(uid) {
            inbox.evict(verdict);
        }
    }

    /// Returns once nothing of a pod runs any more.
    pub async fn ended(&self, uid: &str) {
        let ended = self.inboxes.lock().get(uid).map(|inbox| inbox.ended.clone());
        if let Some(ended) = ended {
            ended.cancelled().await;
        }
    }

    /// What tells that a pod has ended, if there is one that has not.
    pub fn alive(&self, uid: &str) -> Option<CancellationToken> {
        let ended = self.inboxes.lock().get(uid)?.ended.clone();
        (!ended.is_cancelled()).then_some(ended)
    }

    /// Something happened to these pods in the runtime.
    pub fn poke(&self, uids: impl IntoIterator<Item = String>) {
        let inboxes = self.inboxes.lock();
        for uid in uids {
            if let Some(inbox) = inboxes.get(&uid) {
                inbox.poke();
            }
        }
    }

    /// Objects that these pods' volumes may show have changed.
    pub fn refresh(&self, wanted: impl Fn(&Pod) -> bool) {
        for inbox in self.inboxes.lock().values() {
            if wanted(&inbox.pod()) {
                inbox.refresh();
            }
        }
    }

    /// Uids of all pods that have a worker.
    pub fn uids(&self) -> HashSet<String> {
        self.inboxes.lock().keys().cloned().collect()
    }

    /// All pods, with their newest status and where they come from.
    pub fn pods(&self) -> Vec<Pod> {
        let inboxes = self.inboxes.lock();
        inboxes
            .iter()
            .map(|(uid, inbox)| {
                let mut pod = Pod::clone(&inbox.pod());
                if let Some(status) = self.context.statuses.get(uid) {
                    pod.status = Some(status);
                }
                let annotations = pod.metadata.annotations.get_or_insert_default();
                annotations.entry(labels::CONFIG_SOURCE.to_owned()).or_insert_with(|| "api".to_owned());
                let seen = || inbox.seen.to_string();
                annotations.entry(labels::CONFIG_SEEN.to_owned()).or_insert_with(seen);
                pod
            })
            .collect()
    }

    /// The pod of that name, with its uid if it must be that one.
    pub fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let inboxes = self.inboxes.lock();
        let mut found: Vec<Arc<Pod>> = inboxes
            .values()
            .map(|inbox| inbox.pod())
            .filter(|pod| pod::namespace(pod) == namespace && pod::name(pod) == name)
            .filter(|pod| uid.is_none_or(|uid| pod::uid(pod) == uid))
            .collect();
        // A successor of the same name may be there before its predecessor is gone.
        found.sort_by_key(|pod| pod.metadata.deletion_timestamp.is_some());
        found.into_iter().next()
    }

    /// Waits until all workers have let go of their pods.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The pods beside the one with this uid that have something of the node.
fn others(inboxes: &HashMap<String, Arc<Inbox>>, uid: &str) -> Vec<Arc<Pod>> {
    let others = inboxes.iter().filter(|(other, _)| *other != uid).map(|(_, inbox)| inbox.pod());
    others.filter(|other| !pod::is_terminal(other)).collect()
}

/// What tells that static pods of the same name have ended: a changed one begins only then, since both would use the
/// same ports and files.
fn predecessors(inboxes: &HashMap<String, Arc<Inbox>>, pod: &Pod) -> Vec<CancellationToken> {
    if !pod::is_static(pod) {
        return Vec::new();
    }
    let is_before = |inbox: &&Arc<Inbox>| {
        let other = inbox.pod();
        pod::is_static(&other) && pod::full_name(&other) == pod::full_name(pod) && !inbox.ended.is_cancelled()
    };
    inboxes.values().filter(is_before).map(|inbox| inbox.ended.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_static_pods_wait() {
        let pod = |name: &str, uid: &str, source: &str| {
            pod::tests::pod(&format!(
                "{{metadata: {{name: {name}, namespace: n, uid: {uid},
                   annotations: {{kubernetes.io/config.source: {source}}}}}}}"
            ))
        };
        let inbox = Inbox::new(Arc::new(pod("p", "a", "file")));
        let inboxes = HashMap::from([("a".to_owned(), Arc::clone(&inbox))]);
        let count = |name, source| predecessors(&inboxes, &pod(name, "b", source)).len();
        assert_eq!((count("p", "file"), count("q", "file"), count("p", "api")), (1, 0, 0));
        inbox.ended.cancel();
        assert_eq!(count("p", "file"), 0);
    }
}
