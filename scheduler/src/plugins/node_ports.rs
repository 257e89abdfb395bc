//! Node ports can be taken once.
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;

/// `hostPort` of containers.
pub struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        if pod.host_ports.is_empty() {
            return Prepared::Skip;
        }
        Prepared::check(|info| {
            let taken = |wanted: &crate::pod::HostPort| info.ports.iter().any(|port| port.conflicts(wanted));
            let reason = "node(s) didn't have free ports for the requested pod ports";
            pod.host_ports.iter().any(taken).then(|| Refusal::passing(reason))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node, Event::PodGone]
    }
}
