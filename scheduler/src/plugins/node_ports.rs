//! Node ports can be taken once.
use crate::plugin::{Check, Event, Filter, Nodes};
use crate::pod::PodView;

/// `hostPort` of containers.
pub struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare<'a>(&self, pod: &'a PodView, _: &'a Nodes) -> Option<Check<'a>> {
        if pod.host_ports.is_empty() {
            return None;
        }
        Some(Box::new(|info| {
            let taken = |wanted: &crate::pod::HostPort| info.ports.iter().any(|port| port.conflicts(wanted));
            if pod.host_ports.iter().any(taken) {
                vec!["node(s) didn't have free ports for the requested pod ports".into()]
            } else {
                Vec::new()
            }
        }))
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone]
    }
}
