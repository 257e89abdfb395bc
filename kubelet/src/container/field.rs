//! The downward API: fields and resources of a pod as text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};

use super::ConfigError;
use crate::pod;

/// What the downward API knows beyond the pod's own object.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node.
    pub host_ips: Vec<String>,
    /// Addresses of the pod, known once its sandbox is there.
    pub pod_ips: Vec<String>,
    /// What pods may use of the node, by resource, in thousandths.
    pub allocatable: BTreeMap<String, i64>,
    /// The node's folder of pods' logs.
    pub pod_logs_dir: PathBuf,
}

/// Value of a `fieldRef`.
pub fn field(pod: &Pod, path: &str, around: &Surroundings) -> Result<String, ConfigError> {
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => format_map(pod.metadata.labels.as_ref()),
        "metadata.annotations" => format_map(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => around.node_name.clone(),
        "spec.serviceAccountName" => pod::spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&around.host_ips),
        "status.hostIPs" => around.host_ips.join(","),
        "status.podIP" => first(&around.pod_ips),
        "status.podIPs" => around.pod_ips.join(","),
        _ => return subscript(pod, path),
    })
}

/// `metadata.labels['key']` and `metadata.annotations['key']`.
fn subscript(pod: &Pod, path: &str) -> Result<String, ConfigError> {
    let unsupported = || ConfigError::Invalid(format!("unsupported fieldPath: {path}"));
    let (map, key) = path.split_once("['").ok_or_else(unsupported)?;
    let key = key.strip_suffix("']").ok_or_else(unsupported)?;
    let map = match map {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return Err(unsupported()),
    };
    Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// A map as lines `key="value"`, sorted, as the downward API volume writes it.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// Value of a `resourceFieldRef`; `own` is the container it stands in.
pub fn resource(
    pod: &Pod,
    own: Option<&str>,
    selector: &ResourceFieldSelector,
    around: &Surroundings,
) -> Result<String, ConfigError> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).or(own).unwrap_or_default();
    let container = pod::find_container(pod, name)
        .ok_or_else(|| ConfigError::Invalid(format!("container {name} not found")))?;
    let unsupported =
        || ConfigError::Invalid(format!("unsupported container resource: {}", selector.resource));
    let (kind, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.unwrap_or_default();
    let of_pod = pod::spec(pod).resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let limit =
        |limits: Option<&BTreeMap<_, _>>| limits?.get(resource).map(pod::milli).filter(|value| *value > 0);
    let node = || around.allocatable.get(resource).copied().unwrap_or_default();
    let milli = match kind {
        // Containers without limits share what the whole pod may use.
        "limits" => limit(resources.limits.as_ref()).or_else(|| limit(of_pod)).unwrap_or_else(node),
        "requests" => {
            resources.requests.as_ref().and_then(|map| map.get(resource)).map(pod::milli).unwrap_or(0)
        }
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().map(pod::milli).filter(|value| *value > 0).unwrap_or(1000);
    Ok((i128::from(milli) + i128::from(divisor) - 1).div_euclid(i128::from(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    fn sample() -> (Pod, Surroundings) {
        let pod = pod::tests::pod(
            "{metadata: {name: p, namespace: n, uid: u, labels: {a: b, c: 'd\"e'}},
              spec: {serviceAccountName: s, containers: [{name: x, resources:
                {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 250m}}}, {name: y}]}}",
        );
        let around = Surroundings {
            node_name: "node".into(),
            host_ips: vec!["1.1.1.1".into()],
            pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()],
            allocatable: [("cpu".to_owned(), 2000), ("memory".to_owned(), 1 << 40)].into(),
            ..Surroundings::default()
        };
        (pod, around)
    }

    #[test]
    fn fields() {
        let (pod, around) = sample();
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(field(&pod, path, &around).ok().as_deref(), expected, "{path}");
        };
        check("metadata.name", Some("p"));
        check("metadata.labels['a']", Some("b"));
        check("metadata.labels['z']", Some(""));
        check("metadata.labels", Some("a=\"b\"\nc=\"d\\\"e\""));
        check("status.podIP", Some("10.0.0.1"));
        check("status.podIPs", Some("10.0.0.1,fd00::1"));
        check("status.hostIP", Some("1.1.1.1"));
        check("spec.nodeName", Some("node"));
        check("spec.replicas", None);
    }

    #[test]
    fn resources() {
        let (pod, around) = sample();
        let check = |container: &str, what: &str, divisor: Option<&str>, expected: &str| {
            let selector = ResourceFieldSelector {
                container_name: Some(container.to_owned()),
                resource: what.to_owned(),
                divisor: divisor.map(|text| Quantity(text.to_owned())),
            };
            assert_eq!(
                resource(&pod, None, &selector, &around).as_deref(),
                Ok(expected),
                "{container} {what}"
            );
        };
        check("x", "limits.cpu", None, "2");
        check("x", "limits.cpu", Some("1m"), "1500");
        check("x", "requests.cpu", Some("1m"), "250");
        check("x", "limits.memory", Some("1Mi"), "64");
        check("x", "requests.memory", None, "0");
        check("y", "limits.cpu", None, "2");
    }

    #[test]
    fn limits_of_the_pod_hold_for_containers_without() {
        let pod = pod::tests::pod(
            "{metadata: {name: p}, spec: {resources: {limits: {cpu: 200m, memory: 128Mi}}, containers: [
                {name: x, resources: {limits: {cpu: 100m}}}, {name: y}]}}",
        );
        for (container, what, expected) in [
            ("x", "cpu", "100"),
            ("y", "cpu", "200"),
            ("x", "memory", "134217728000"),
            ("y", "memory", "134217728000"),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some(container.to_owned()),
                resource: format!("limits.{what}"),
                divisor: Some(Quantity("1m".to_owned())),
            };
            let found = resource(&pod, None, &selector, &Surroundings::default());
            assert_eq!(found.as_deref(), Ok(expected), "{container} {what}");
        }
    }
}
