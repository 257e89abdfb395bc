//! Cordoned nodes take no pods, except those that tolerate the taint that cordoning also sets.
use super::taint_toleration::tolerates;
use crate::plugin::{Check, Event, Filter, Nodes};
use crate::pod::PodView;
use k8s_openapi::api::core::v1::Taint;

/// `spec.unschedulable`.
pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Check<'a>> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if pod.tolerations.iter().any(|toleration| tolerates(toleration, &taint)) {
            return None;
        }
        Some(Box::new(|info| {
            if info.node.unschedulable { vec!["node(s) were unschedulable".into()] } else { Vec::new() }
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}
