//! Short ways to what the kubelet keeps asking of a pod object.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, Pod, PodSecurityContext, PodSpec, Probe, ResourceRequirements,
};
use knarr_api::quantity::Quantity;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::labels;

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static NO_SECURITY: LazyLock<PodSecurityContext> = LazyLock::new(PodSecurityContext::default);

/// The priority from which on pods belong to the system.
const SYSTEM_PRIORITY: i32 = 2_000_000_000;

/// The spec; an empty one if there is none, which a validated pod never has.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&NO_SPEC)
}

/// The uid, empty for a pod that was never stored.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The namespace; pods always have one.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace(uid)`, how the original names a pod in messages.
pub fn display(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// `namespace/name`.
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", namespace(pod), name(pod))
}

/// The init containers, sidecars included.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// The app containers.
pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// The ephemeral containers.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// How many containers of all kinds it has.
pub fn count_containers(pod: &Pod) -> usize {
    init_containers(pod).len() + containers(pod).len() + ephemeral_containers(pod).len()
}

/// An ephemeral container in the shape of any other.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    Container {
        name: ephemeral.name.clone(),
        image: ephemeral.image.clone(),
        command: ephemeral.command.clone(),
        args: ephemeral.args.clone(),
        working_dir: ephemeral.working_dir.clone(),
        env: ephemeral.env.clone(),
        env_from: ephemeral.env_from.clone(),
        volume_mounts: ephemeral.volume_mounts.clone(),
        volume_devices: ephemeral.volume_devices.clone(),
        image_pull_policy: ephemeral.image_pull_policy.clone(),
        security_context: ephemeral.security_context.clone(),
        resources: ephemeral.resources.clone(),
        stdin: ephemeral.stdin,
        stdin_once: ephemeral.stdin_once,
        tty: ephemeral.tty,
        termination_message_path: ephemeral.termination_message_path.clone(),
        termination_message_policy: ephemeral.termination_message_policy.clone(),
        ..Default::default()
    }
}

/// Whether this init container is a sidecar: restarted always, and waited for only until it started.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The pod's security context.
pub fn security(pod: &Pod) -> &PodSecurityContext {
    spec(pod).security_context.as_ref().unwrap_or(&NO_SECURITY)
}

/// Whether the pod lives in the node's network namespace.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// The pod's restart policy; `Always` if unset.
pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// Seconds a container gets to stop: of the deletion request if there is one, else of the spec.
pub fn grace_seconds(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_grace_period_seconds
        .filter(|_| pod.metadata.deletion_timestamp.is_some())
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(30)
        .max(0)
}

/// Whether the node must not end it to help itself: pods of the node itself, and those that the system cannot do
/// without.
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || is_mirror(pod) || has_system_priority(pod)
}

/// Whether its priority is one of the system's own.
pub fn has_system_priority(pod: &Pod) -> bool {
    spec(pod).priority.is_some_and(|priority| priority >= SYSTEM_PRIORITY)
}

/// Value of an annotation.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the pod came from a manifest on this node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, labels::CONFIG_SOURCE).is_some_and(|source| source != "api")
}

/// Whether the object only mirrors a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, labels::CONFIG_MIRROR).is_some()
}

/// The phase last written to the API.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the API says that the pod has ended.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// A container of any kind by its name.
pub fn find_container(pod: &Pod, name: &str) -> Option<Container> {
    init_containers(pod)
        .iter()
        .chain(containers(pod))
        .find(|container| container.name == name)
        .cloned()
        .or_else(|| ephemeral_containers(pod).iter().find(|c| c.name == name).map(as_container))
}

/// Hash of the fields whose change makes a running container outdated: name and image.
pub fn container_hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex::text(&hash.finalize()[..4])
}

/// The grace period of a probe's kill, if it has one of its own.
pub fn probe_grace(probe: Option<&Probe>) -> Option<i64> {
    probe.and_then(|probe| probe.termination_grace_period_seconds)
}

/// Quality of service, which decides cgroup, CPU shares and who dies first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has equal requests and limits of CPU and memory.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl Qos {
    /// The word in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Computes the quality of service from requests and limits: of the whole pod where it has some, else of all
/// containers.
pub fn qos(pod: &Pod) -> Qos {
    let whole = spec(pod).resources.as_ref().filter(|own| own.requests.is_some() || own.limits.is_some());
    let each =
        init_containers(pod).iter().chain(containers(pod)).map(|container| container.resources.as_ref());
    match whole {
        Some(whole) => qos_of([Some(whole)].into_iter()),
        None => qos_of(each),
    }
}

fn qos_of<'a>(all: impl Iterator<Item = Option<&'a ResourceRequirements>>) -> Qos {
    let mut any = false;
    let mut guaranteed = true;
    for resources in all {
        for resource in ["cpu", "memory"] {
            let get = |map: Option<&std::collections::BTreeMap<String, _>>| {
                map.and_then(|map| map.get(resource)).map(milli).filter(|value| *value > 0)
            };
            let limit = get(resources.and_then(|r| r.limits.as_ref()));
            let request = get(resources.and_then(|r| r.requests.as_ref()));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// A quantity in thousandths, rounded up; zero if it cannot be read.
pub fn milli(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> i64 {
    quantity.0.parse::<Quantity>().map(|q| q.milli_value()).unwrap_or_default()
}

/// A quantity in whole units, rounded up; zero if it cannot be read.
pub fn value(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> i64 {
    quantity.0.parse::<Quantity>().map(|q| q.value()).unwrap_or_default()
}

/// What all containers need together, or what an init container needs beside the sidecars before it, if that is more;
/// `None` if some container has no amount.
pub fn total(pod: &Pod, of: impl Fn(&Container) -> Option<i64>) -> Option<i64> {
    let (mut sidecars, mut peak) = (0, 0);
    for container in init_containers(pod) {
        let amount = of(container)?;
        if is_sidecar(container) {
            sidecars += amount;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + amount);
        }
    }
    let mut sum = sidecars;
    for container in containers(pod) {
        sum += of(container)?;
    }
    Some(sum.max(peak))
}

/// What the pod as a whole may use of a resource in thousandths, if its spec says so and not its containers'.
pub fn whole_limit_milli(pod: &Pod, resource: &str) -> Option<i64> {
    let limits = spec(pod).resources.as_ref()?.limits.as_ref()?;
    limits.get(resource).map(milli).filter(|value| *value > 0)
}

/// What the pod as a whole asks for of a resource in thousandths, likewise.
pub fn whole_request_milli(pod: &Pod, resource: &str) -> Option<i64> {
    spec(pod).resources.as_ref()?.requests.as_ref()?.get(resource).map(milli)
}

/// What the pod costs beside its containers, in thousandths.
pub fn overhead_milli(pod: &Pod, resource: &str) -> i64 {
    spec(pod).overhead.as_ref().and_then(|overhead| overhead.get(resource)).map_or(0, milli)
}

/// By what a container's crashes are counted: one whose spec has changed begins anew.
pub fn crash_key(container: &Container) -> String {
    format!("{}_{}", container.name, container_hash(container))
}

/// A container's request of a resource in thousandths; its limit counts where no request is given.
pub fn request_milli(container: &Container, resource: &str) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    let of = |map: &Option<std::collections::BTreeMap<String, _>>| map.as_ref()?.get(resource).map(milli);
    of(&resources.requests).or_else(|| of(&resources.limits))
}

/// A container's limit of a resource in thousandths, if it has one above zero.
pub fn limit_milli(container: &Container, resource: &str) -> Option<i64> {
    container.resources.as_ref()?.limits.as_ref()?.get(resource).map(milli).filter(|value| *value > 0)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A pod from YAML, for tests.
    pub fn pod(yaml: &str) -> Pod {
        serde_yaml_ng::from_str(yaml).expect("test pod")
    }

    #[test]
    fn quality_of_service() {
        let check = |resources: &str, expected: Qos| {
            let pod = pod(&format!("{{spec: {{containers: [{{name: a, resources: {resources}}}]}}}}"));
            assert_eq!(qos(&pod), expected, "{resources}");
        };
        check("{}", Qos::BestEffort);
        check("{requests: {cpu: 100m}}", Qos::Burstable);
        check("{limits: {cpu: 1, memory: 1Gi}}", Qos::Guaranteed);
        check("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1Gi}}", Qos::Guaranteed);
        check("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}", Qos::Burstable);
        check("{limits: {cpu: 0}}", Qos::BestEffort);
    }
}
