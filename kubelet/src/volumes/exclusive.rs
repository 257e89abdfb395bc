//! Claims that one pod alone may use, by access mode `ReadWriteOncePod` (KEP-2485): the scheduler sees to that, but pods
//! that were bound by hand are not its own.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::claim;
use crate::pod;

/// The access mode.
pub const MODE: &str = "ReadWriteOncePod";

/// Which of the node's pods has which claims, by namespace and name.
#[derive(Debug, Default)]
pub struct Exclusive(Mutex<HashMap<(String, String), BTreeSet<String>>>);

impl Exclusive {
    /// Notes the claims of a pod that has run under a kubelet before this one: it comes before all new ones. Whether they
    /// are for one pod alone is not known yet.
    pub fn adopt(&self, pod: &Pod) {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        if !statuses.into_iter().flatten().any(|status| status.container_id.is_some())
            || pod::is_terminal(pod)
        {
            return;
        }
        let volumes = pod::spec(pod).volumes.iter().flatten();
        let mut holders = self.0.lock();
        for claim in volumes.filter_map(|volume| claim::name(pod, volume)) {
            let key = (pod::namespace(pod).to_owned(), claim);
            holders.entry(key).or_default().insert(pod::uid(pod).to_owned());
        }
    }

    /// Takes a claim that is for one pod alone; whether no other has it.
    pub fn take(&self, pod: &Pod, claim: &str) -> bool {
        let mut holders = self.0.lock();
        let own = holders.entry((pod::namespace(pod).to_owned(), claim.to_owned())).or_default();
        if own.iter().any(|holder| holder != pod::uid(pod)) {
            return false;
        }
        own.insert(pod::uid(pod).to_owned());
        true
    }

    /// Nothing of a pod's volumes is left.
    pub fn release(&self, uid: &str) {
        self.0.lock().retain(|_, holders| {
            holders.remove(uid);
            !holders.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pod_at_a_time() {
        let pod = |uid: &str, more: &str| {
            let volumes = "volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]";
            pod::tests::pod(&format!(
                "{{metadata: {{name: {uid}, namespace: n, uid: {uid}}}, spec: {{containers: [], {volumes}}}{more}}}"
            ))
        };
        let (a, b) = (pod("a", ""), pod("b", ""));
        let known = Exclusive::default();
        assert!(known.take(&a, "c") && known.take(&a, "c"));
        assert!(!known.take(&b, "c"));
        assert!(known.take(&b, "other"));
        known.release("a");
        assert!(known.take(&b, "c"));

        // Who ran before comes first.
        let ran = "status: {containerStatuses: [{name: x, containerID: 'r://1', image: '', imageID: '', ready: true, restartCount: 0}]}";
        for (more, free) in [
            (format!(", {ran}"), false),
            (format!(", {}", ran.replace("status: {", "status: {phase: Failed, ")), true),
            (String::new(), true),
        ] {
            let known = Exclusive::default();
            known.adopt(&pod("a", &more));
            assert_eq!(known.take(&b, "c"), free, "{more}");
        }
    }
}
