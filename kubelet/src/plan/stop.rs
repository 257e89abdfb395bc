//! The order in which the containers of a pod stop: all at once, except sidecars, which go after the app
//! containers and in reverse order.

use k8s_openapi::api::core::v1::Pod;

use crate::observed::{Container, Observed};
use crate::pod;

/// The running containers that may be told to stop now.
pub fn next_to_stop<'a>(pod: &Pod, observed: &'a Observed) -> Vec<&'a Container> {
    let sidecars: Vec<&str> = pod::init_containers(pod)
        .iter()
        .filter(|container| pod::is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let is_sidecar = |container: &Container| sidecars.contains(&container.name.as_str());
    let first: Vec<_> = observed.running().filter(|container| !is_sidecar(container)).collect();
    if !first.is_empty() {
        return first;
    }
    let last =
        sidecars.iter().rev().find(|name| observed.running().any(|container| container.name == **name));
    last.into_iter().flat_map(|name| observed.running().filter(move |c| c.name == *name)).collect()
}
