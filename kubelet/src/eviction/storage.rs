//! Pods that use more local storage than they may: limits of `emptyDir` volumes, of containers and of the whole pod.
//!
//! Source: Kubernetes documentation, "Local ephemeral storage".

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use knarr_api::quantity::{Format, Quantity};

use crate::pod;

const RESOURCE: &str = "ephemeral-storage";

/// Bytes that a pod uses on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of each `emptyDir` volume, and whether it is in memory.
    pub volumes: BTreeMap<String, (u64, bool)>,
    /// Of each container: what it wrote outside of volumes, and its logs.
    pub containers: BTreeMap<String, u64>,
}

impl Usage {
    /// What counts as the pod's local storage.
    pub fn total(&self) -> u64 {
        let volumes = self.volumes.values().filter(|(_, in_memory)| !in_memory).map(|(bytes, _)| bytes);
        volumes.chain(self.containers.values()).sum()
    }
}

/// Whether a pod has limits that must be looked after.
pub fn is_limited(pod: &Pod) -> bool {
    let mut volumes = pod::spec(pod).volumes.iter().flatten().filter_map(|volume| volume.empty_dir.as_ref());
    volumes.any(|source| limited(source.size_limit.as_ref()))
        || all_containers(pod).any(|container| limit(container).is_some())
}

fn limited(limit: Option<&Text>) -> bool {
    limit.is_some_and(|limit| pod::value(limit) > 0)
}

fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod::init_containers(pod).iter().chain(pod::containers(pod))
}

fn limit(container: &Container) -> Option<&Text> {
    container.resources.as_ref()?.limits.as_ref()?.get(RESOURCE).filter(|limit| limited(Some(limit)))
}

/// Why the pod has to go, if it has.
pub fn excess(pod: &Pod, usage: &Usage) -> Option<String> {
    let exceeds = |limit: &Text, used: u64| used > u64::try_from(pod::value(limit)).unwrap_or(0);
    for volume in pod::spec(pod).volumes.iter().flatten() {
        let limit = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
        let used = usage.volumes.get(&volume.name).map_or(0, |(bytes, _)| *bytes);
        if let Some(limit) = limit.filter(|limit| limited(Some(limit)) && exceeds(limit, used)) {
            return Some(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
                volume.name, limit.0
            ));
        }
    }
    if let Some(limit) =
        pod_limit(pod).filter(|limit| i64::try_from(usage.total()).unwrap_or(i64::MAX) > *limit)
    {
        let shown = Quantity::from_int(limit, Format::BinarySi);
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
        ));
    }
    all_containers(pod).find_map(|container| {
        let used = usage.containers.get(&container.name).copied().unwrap_or_default();
        let limit = limit(container).filter(|limit| exceeds(limit, used))?;
        Some(format!(
            "Container {} exceeded its local ephemeral storage limit {:?}. ",
            container.name, limit.0
        ))
    })
}

/// The limit of the whole pod: of its containers together, or of its largest init container. None without limits.
fn pod_limit(pod: &Pod) -> Option<i64> {
    let value = |container: &Container| limit(container).map(pod::value);
    let together: Option<i64> =
        pod::containers(pod).iter().filter_map(value).reduce(|one, other| one + other);
    let largest = pod::init_containers(pod).iter().filter_map(value).max();
    together.max(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_pods() {
        let check = |spec: &str, volume: u64, container: u64, expected: Option<&str>| {
            let pod = pod::tests::pod(&format!("{{spec: {spec}}}"));
            let usage = Usage {
                volumes: [("v".to_owned(), (volume, false))].into(),
                containers: [("a".to_owned(), container)].into(),
            };
            assert_eq!(excess(&pod, &usage).as_deref(), expected, "{spec} {volume} {container}");
        };
        let volume = "{containers: [{name: a}], volumes: [{name: v, emptyDir: {sizeLimit: 5Mi}}]}";
        check(volume, 5 << 20, 1 << 30, None);
        check(volume, (5 << 20) + 1, 0, Some("Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". "));
        let container = "{containers: [{name: a, resources: {limits: {ephemeral-storage: 5Mi}}}, {name: b}]}";
        check(container, 0, 5 << 20, None);
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
        check(container, 3 << 20, 3 << 20, Some(whole));
        let two = "{containers: [{name: a, resources: {limits: {ephemeral-storage: 1Mi}}}, \
            {name: b, resources: {limits: {ephemeral-storage: 9Mi}}}]}";
        check(two, 0, 2 << 20, Some("Container a exceeded its local ephemeral storage limit \"1Mi\". "));
        check("{containers: [{name: a}], volumes: [{name: v, emptyDir: {}}]}", 9 << 20, 9 << 20, None);
    }

    #[test]
    fn what_is_looked_at() {
        let check = |spec: &str, expected: bool| {
            assert_eq!(is_limited(&pod::tests::pod(&format!("{{spec: {spec}}}"))), expected, "{spec}");
        };
        check("{containers: [{name: a}], volumes: [{name: v, emptyDir: {}}]}", false);
        check("{containers: [{name: a}], volumes: [{name: v, emptyDir: {sizeLimit: 1}}]}", true);
        check("{containers: [{name: a, resources: {limits: {ephemeral-storage: 1}}}]}", true);
        check("{containers: [{name: a, resources: {limits: {memory: 1}}}]}", false);
    }
}
