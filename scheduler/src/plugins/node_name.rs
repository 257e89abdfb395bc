//! A pod that names its node fits no other.
use crate::plugin::{Event, Filter, Prepared, Refusal};
use crate::pod::PodView;
use crate::world::World;

/// `spec.nodeName`.
pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        if pod.node.is_empty() {
            return Prepared::Skip;
        }
        Prepared::check(|info| {
            let other = info.node.name != pod.node;
            other.then(|| Refusal::lasting("node(s) didn't match the requested node name"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}
