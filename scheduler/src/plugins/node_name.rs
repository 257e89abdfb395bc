//! A pod that names its node fits no other.
use crate::plugin::{Check, Event, Filter, Nodes};
use crate::pod::PodView;

/// `spec.nodeName`.
pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Check<'a>> {
        if pod.node.is_empty() {
            return None;
        }
        Some(Box::new(|info| {
            let other = info.node.name != pod.node;
            if other { vec!["node(s) didn't match the requested node name".into()] } else { Vec::new() }
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}
