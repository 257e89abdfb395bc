//! Which claims a pod needs and whether it may use them, and which of their devices a container sees: without I/O.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodExtendedResourceClaimStatus, PodResourceClaim};
use k8s_openapi::api::resource::v1::ResourceClaim;
use serde::{Deserialize, Serialize};

use crate::pod;

/// A device of a claim that its driver has prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    /// Name of the pool.
    pub pool_name: String,
    /// Name in the pool.
    pub device_name: String,
    /// Which part of a shared device.
    #[serde(rename = "ShareID", default)]
    pub share_id: Option<String>,
    /// Requests of the claim that it is for; none: all.
    pub request_names: Vec<String>,
    /// By which the runtime finds it.
    #[serde(rename = "CDIDeviceIDs")]
    pub cdi_devices: Vec<String>,
}

/// What a driver has prepared of a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OfDriver {
    /// Its devices.
    pub devices: Vec<Device>,
}

/// A claim in use on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InUse {
    /// The claim's uid.
    #[serde(rename = "ClaimUID")]
    pub uid: String,
    /// Its name.
    #[serde(rename = "ClaimName")]
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Uids of the pods that use it.
    #[serde(rename = "PodUIDs")]
    pub pods: BTreeSet<String>,
    /// What is prepared, by driver.
    #[serde(rename = "DriverState")]
    pub drivers: BTreeMap<String, OfDriver>,
    /// All of its drivers have prepared it.
    #[serde(skip)]
    pub is_prepared: bool,
}

/// Name of the claim behind an entry of a pod's; `None` if there is none to be. The flag: it was made for the pod.
pub fn name_of(pod: &Pod, entry: &PodResourceClaim) -> Result<Option<(String, bool)>, String> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some((name.clone(), false)));
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    let status = statuses.into_iter().flatten().find(|status| status.name == entry.name);
    match status {
        Some(status) => Ok(status.resource_claim_name.clone().map(|name| (name, true))),
        None => Err(format!("pod {}: ResourceClaim not created yet", pod::full_name(pod))),
    }
}

/// The claim that the scheduler made for the extended resources of a pod which classes of devices serve.
fn special(pod: &Pod) -> Option<&PodExtendedResourceClaimStatus> {
    pod.status.as_ref()?.extended_resource_claim_status.as_ref()
}

/// Names of all claims of a pod, with the flag of [`name_of`].
pub fn names(pod: &Pod) -> Result<Vec<(String, bool)>, String> {
    let entries = pod::spec(pod).resource_claims.iter().flatten();
    let mut names = Vec::new();
    for entry in entries {
        names.extend(name_of(pod, entry)?);
    }
    names.extend(special(pod).map(|claim| (claim.resource_claim_name.clone(), true)));
    Ok(names)
}

/// Whether the pod may use the claim; answers the drivers that have to prepare it.
pub fn check(pod: &Pod, claim: &ResourceClaim, made_for_pod: bool) -> Result<BTreeSet<String>, String> {
    let (name, uid) = (claim.metadata.name.as_deref().unwrap_or_default(), pod::uid(pod));
    let claim_uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let mut owners = claim.metadata.owner_references.iter().flatten();
    if made_for_pod && !owners.any(|owner| owner.controller == Some(true) && owner.uid == uid) {
        let namespace = pod::namespace(pod);
        return Err(format!(
            "ResourceClaim {namespace}/{name} was not created for pod {namespace}/{} (pod is not owner)",
            pod::name(pod)
        ));
    }
    let status = claim.status.as_ref();
    let mut users = status.into_iter().flat_map(|status| status.reserved_for.iter().flatten());
    if !users.any(|user| user.uid == uid) {
        let pod = pod::name(pod);
        return Err(format!("pod {pod} ({uid}) is not allowed to use ResourceClaim {name} ({claim_uid})"));
    }
    let Some(allocation) = status.and_then(|status| status.allocation.as_ref()) else {
        return Err(format!("claim {name} is not allocated"));
    };
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    Ok(results.map(|result| result.driver.clone()).collect())
}

/// Whether a device serves a request of a container's; one with alternatives is named `request/alternative`.
fn serves(device: &Device, request: Option<&str>) -> bool {
    let names = &device.request_names;
    let main = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    request.is_none_or(|request| {
        names.is_empty() || names.iter().any(|name| name == request || main(name) == request)
    })
}

/// The devices of a container: by claim, driver and device.
pub fn of_container<'a>(
    pod: &Pod,
    container: &Container,
    claims: &'a BTreeMap<(String, String), InUse>,
) -> Result<Vec<(&'a InUse, &'a str, &'a Device)>, String> {
    let wanted = container.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    let entries = pod::spec(pod).resource_claims.as_deref().unwrap_or_default();
    let mut requests: Vec<(String, Option<&str>)> = Vec::new();
    for wanted in wanted.into_iter().flatten() {
        let Some(entry) = entries.iter().find(|entry| entry.name == wanted.name) else { continue };
        let Some((name, _)) = name_of(pod, entry)? else { continue };
        requests.push((name, wanted.request.as_deref()));
    }
    if let Some(claim) = special(pod) {
        let own = claim.request_mappings.iter().filter(|mapping| mapping.container_name == container.name);
        let name = &claim.resource_claim_name;
        requests.extend(own.map(|mapping| (name.clone(), Some(mapping.request_name.as_str()))));
    }
    let mut found = Vec::new();
    for (name, request) in requests {
        let key = (pod::namespace(pod).to_owned(), name);
        let claim = claims.get(&key).filter(|claim| claim.pods.contains(pod::uid(pod)));
        let claim = claim.ok_or_else(|| {
            format!("unable to get resource for claim {}/{}: claim is not prepared", key.0, key.1)
        })?;
        for (driver, prepared) in &claim.drivers {
            let own = prepared.devices.iter().filter(|device| serves(device, request));
            found.extend(own.map(|device| (claim, driver.as_str(), device)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_with(claims: &str, status: &str) -> Pod {
        let spec = format!(
            "{{resourceClaims: {claims}, containers: [{{name: c, resources: {{claims: [{{name: a}}]}}}}]}}"
        );
        pod::tests::pod(&format!(
            "{{metadata: {{name: p, namespace: n, uid: u}}, spec: {spec}, status: {status}}}"
        ))
    }

    #[test]
    fn names_of_claims() {
        let check = |claim: &str, status: &str, expected: Result<Option<(&str, bool)>, &str>| {
            let pod = pod_with(&format!("[{claim}]"), status);
            let entry = &pod::spec(&pod).resource_claims.as_ref().expect("claims")[0];
            let expected = expected.map(|found| found.map(|(name, made)| (name.to_owned(), made)));
            assert_eq!(name_of(&pod, entry), expected.map_err(str::to_owned), "{claim} {status}");
        };
        check("{name: a, resourceClaimName: x}", "{}", Ok(Some(("x", false))));
        let template = "{name: a, resourceClaimTemplateName: t}";
        check(template, "{}", Err("pod n/p: ResourceClaim not created yet"));
        let made = "{resourceClaimStatuses: [{name: a, resourceClaimName: y}]}";
        check(template, made, Ok(Some(("y", true))));
        check(template, "{resourceClaimStatuses: [{name: a}]}", Ok(None));
    }

    #[test]
    fn who_may_use_a_claim() {
        let check = |made: bool, metadata: &str, status: &str, expected: Result<&[&str], &str>| {
            let text = format!("{{metadata: {{name: x, uid: cu{metadata}}}, spec: {{}}, status: {status}}}");
            let claim: ResourceClaim = serde_yaml_ng::from_str(&text).expect("claim");
            let found = check(&pod_with("[]", "{}"), &claim, made);
            let expected =
                expected.map(|drivers| drivers.iter().map(|driver| (*driver).to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned), "{metadata} {status}");
        };
        let reserved = "reservedFor: [{resource: pods, name: p, uid: u}]";
        let results = "{results: [{driver: d, pool: p, device: x, request: r}, {driver: e, pool: p, device: y, request: r}]}";
        let good = format!("{{{reserved}, allocation: {{devices: {results}}}}}");
        check(false, "", &good, Ok(&["d", "e"]));
        check(
            true,
            ", ownerReferences: [{apiVersion: v1, kind: Pod, name: p, uid: u, controller: true}]",
            &good,
            Ok(&["d", "e"]),
        );
        check(true, "", &good, Err("ResourceClaim n/x was not created for pod n/p (pod is not owner)"));
        check(false, "", "{}", Err("pod p (u) is not allowed to use ResourceClaim x (cu)"));
        check(false, "", &format!("{{{reserved}}}"), Err("claim x is not allocated"));
    }

    #[test]
    fn devices_of_containers() {
        let device = |name: &str, requests: &[&str]| Device {
            device_name: name.to_owned(),
            request_names: requests.iter().map(|name| (*name).to_owned()).collect(),
            ..Device::default()
        };
        let devices = vec![device("all", &[]), device("r", &["r"]), device("s", &["s/first"])];
        let claim = InUse {
            pods: ["u".to_owned()].into(),
            drivers: [("d".to_owned(), OfDriver { devices })].into(),
            ..InUse::default()
        };
        let claims = [(("n".to_owned(), "x".to_owned()), claim)].into();
        let pod = pod_with("[{name: a, resourceClaimName: x}, {name: b, resourceClaimName: y}]", "{}");
        let check = |wanted: &str, expected: Result<&[&str], &str>| {
            let text = format!("{{name: c, resources: {{claims: [{wanted}]}}}}");
            let container: Container = serde_yaml_ng::from_str(&text).expect("container");
            let found = of_container(&pod, &container, &claims);
            let names =
                found.map(|found| found.iter().map(|(_, _, device)| device.device_name.clone()).collect());
            let expected =
                expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(names, expected.map_err(str::to_owned), "{wanted}");
        };
        check("{name: a}", Ok(&["all", "r", "s"]));
        check("{name: a, request: r}", Ok(&["all", "r"]));
        check("{name: a, request: s}", Ok(&["all", "s"]));
        check("{name: b}", Err("unable to get resource for claim n/y: claim is not prepared"));
    }

    #[test]
    fn devices_for_extended_resources() {
        let mapping = "requestMappings: [{containerName: c, resourceName: example.com/r, requestName: container-0-request-0}]";
        let pod =
            pod_with("[]", &format!("{{extendedResourceClaimStatus: {{resourceClaimName: x, {mapping}}}}}"));
        assert_eq!(names(&pod), Ok(vec![("x".to_owned(), true)]));
        let device = |name: &str, request: &str| Device {
            device_name: name.to_owned(),
            request_names: vec![request.to_owned()],
            ..Device::default()
        };
        let devices = vec![device("own", "container-0-request-0"), device("other", "container-1-request-0")];
        let claim = InUse {
            pods: ["u".to_owned()].into(),
            drivers: [("d".to_owned(), OfDriver { devices })].into(),
            ..InUse::default()
        };
        let claims = [(("n".to_owned(), "x".to_owned()), claim)].into();
        let of = |container: &str| {
            let container = Container { name: container.to_owned(), ..Container::default() };
            let found = of_container(&pod, &container, &claims).expect("prepared");
            found.iter().map(|(_, _, device)| device.device_name.clone()).collect::<Vec<_>>()
        };
        assert_eq!((of("c"), of("d")), (vec!["own".to_owned()], vec![]));
    }
}
