//! Cordoned nodes take no pods, except those that tolerate the taint that cordoning also sets.
use super::taint_toleration::tolerates;
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;
use k8s_openapi::api::core::v1::Taint;

/// `spec.unschedulable`.
pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if pod.tolerations.iter().any(|toleration| tolerates(toleration, &taint)) {
            return Prepared::Skip;
        }
        Prepared::check(|info| {
            info.node.unschedulable.then(|| Refusal::lasting("node(s) were unschedulable"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}
