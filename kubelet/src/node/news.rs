//! Events about the node, worded as the original's.

use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference};
use knarr_component::events::{Recorder, Type};

use super::status::is_ready;
use crate::eviction::pressure::Pressure;

/// One event.
#[derive(Debug, PartialEq, Eq)]
struct News {
    kind: Type,
    reason: String,
    message: String,
}

/// A kubelet names its node in the place of the UID, and looks for it there.
pub fn reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// Tells what happens to a node.
pub struct NodeEvents {
    recorder: Recorder,
    name: String,
    is_cordoned: bool,
}

impl NodeEvents {
    /// Events about the node of that name; says that its kubelet starts.
    pub fn starting(recorder: &Recorder, name: &str) -> Self {
        let events = Self { recorder: recorder.clone(), name: name.to_owned(), is_cordoned: false };
        events.record(News {
            kind: Type::Normal,
            reason: "Starting".to_owned(),
            message: "Starting kubelet.".to_owned(),
        });
        events
    }

    /// Tells what is new in the status: `before` is what was stored, `is_first` that this kubelet writes one for the
    /// first time.
    pub fn status(&self, before: Option<&NodeStatus>, now: &NodeStatus, is_first: bool) {
        changes(&self.name, before, now, is_first).into_iter().for_each(|news| self.record(news));
    }

    /// Tells whether the node takes new pods, if that has changed.
    pub fn cordon(&mut self, node: &Node) {
        let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        if is_cordoned != self.is_cordoned {
            self.is_cordoned = is_cordoned;
            self.record(state(
                &self.name,
                if is_cordoned { "NodeNotSchedulable" } else { "NodeSchedulable" },
            ));
        }
    }

    fn record(&self, News { kind, reason, message }: News) {
        self.recorder.event(reference(&self.name), kind, &reason, message);
    }
}

/// That the node is in a state now.
fn state(name: &str, reason: &str) -> News {
    News {
        kind: Type::Normal,
        reason: reason.to_owned(),
        message: format!("Node {name} status is now: {reason}"),
    }
}

fn changes(name: &str, before: Option<&NodeStatus>, now: &NodeStatus, is_first: bool) -> Vec<News> {
    let mut all = Vec::new();
    for pressure in [Pressure::Memory, Pressure::Disk, Pressure::Pid] {
        let is_present = |status: &NodeStatus| {
            let of_kind = status.conditions.iter().flatten().find(|one| one.type_ == pressure.condition());
            of_kind.map(|condition| condition.status == "True")
        };
        if is_first || before.and_then(is_present) != is_present(now) {
            let (reason, _) = pressure.words(is_present(now).unwrap_or_default());
            all.push(state(name, &reason.replacen("Kubelet", "Node", 1)));
        }
    }
    let was_ready = before.is_some_and(is_ready);
    if was_ready != is_ready(now) {
        all.push(state(name, if is_ready(now) { "NodeReady" } else { "NodeNotReady" }));
    }
    let boot = |status: &NodeStatus| status.node_info.as_ref().map(|info| info.boot_id.clone());
    if let (Some(old), Some(new)) = (before.and_then(boot), boot(now))
        && !old.is_empty()
        && old != new
    {
        let message = format!("Node {name} has been rebooted, boot id: {new}");
        all.push(News { kind: Type::Warning, reason: "Rebooted".to_owned(), message });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeCondition, NodeSystemInfo};

    fn status(memory: &str, ready: &str, boot_id: &str) -> NodeStatus {
        let conditions = [
            ("MemoryPressure", memory),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", ready),
        ];
        let condition = |(kind, status): (&str, &str)| NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            ..NodeCondition::default()
        };
        NodeStatus {
            conditions: Some(conditions.map(condition).to_vec()),
            node_info: Some(NodeSystemInfo { boot_id: boot_id.to_owned(), ..NodeSystemInfo::default() }),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn only_changes_are_told() {
        let (well, ill) = (status("False", "True", "a"), status("True", "False", "a"));
        let reasons = |before: Option<&NodeStatus>, now: &NodeStatus, is_first: bool| -> Vec<String> {
            changes("n", before, now, is_first).into_iter().map(|news| news.reason).collect()
        };
        let pressures = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"];
        assert_eq!(reasons(None, &well, true), [&pressures[..], &["NodeReady"]].concat());
        assert_eq!(reasons(Some(&well), &well, true), pressures, "after a restart of the kubelet");
        assert!(reasons(Some(&well), &well, false).is_empty());
        assert_eq!(reasons(Some(&well), &ill, false), ["NodeHasInsufficientMemory", "NodeNotReady"]);
        assert_eq!(reasons(Some(&ill), &well, false), ["NodeHasSufficientMemory", "NodeReady"]);
        let rebooted = changes("n", Some(&well), &status("False", "True", "b"), false);
        let message = "Node n has been rebooted, boot id: b".to_owned();
        assert_eq!(rebooted, [News { kind: Type::Warning, reason: "Rebooted".to_owned(), message }]);
    }
}
