//! Devices and the claims on them, with the part of the driver played here.
use super::{own, pod, shows, told};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// The driver of this scenario alone.
fn driver(context: &Context) -> String {
    format!("{}.example.com", context.namespace)
}

/// Offers devices on one node, with a class that has them all.
fn offer(context: &Context, devices: Value) -> Result<()> {
    let driver = driver(context);
    let expression = format!("device.driver == '{driver}'");
    context.apply_json(&json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass",
        "metadata": {"name": own(context, "class")}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}))?;
    context.apply_json(&json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice",
    "metadata": {"name": own(context, "slice")}, "spec": {
        "driver": driver, "nodeName": "sim-2", "devices": devices,
        "pool": {"name": "sim-2", "generation": 1, "resourceSliceCount": 1},
    }}))?;
    Ok(())
}

fn withdraw(context: &Context) -> Result<()> {
    context
        .kubectl(&[
            "delete",
            &format!("deviceclass/{}", own(context, "class")),
            &format!("resourceslice/{}", own(context, "slice")),
        ])
        .map(drop)
}

fn request(context: &Context, more: Value) -> Value {
    let request = super::with(json!({"deviceClassName": own(context, "class")}), more);
    json!({"devices": {"requests": [{"name": "any", "exactly": request}]}})
}

fn claim(context: &Context, name: &str, more: Value) -> Result<String> {
    context.apply_json(&json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": name}, "spec": request(context, more)}))
}

fn user(context: &Context, name: &str, of: Value) -> Result<String> {
    let claims = json!([super::with(json!({"name": "it"}), of)]);
    context.apply_json(&pod(name, json!({"resourceClaims": claims})))
}

fn device(context: &Context, claim: &str) -> Result<String> {
    context.value(&format!("resourceclaim/{claim}"), ".status.allocation.devices.results[*].device")
}

/// A pod's claim is made from its template, allocated where the devices are, and goes with the pod.
pub fn claims(context: &Context) -> Result<()> {
    offer(context, json!([{"name": "one"}]))?;
    context.apply_json(&json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "some"}, "spec": {"spec": request(context, json!({}))}}))?;
    user(context, "user", json!({"resourceClaimTemplateName": "some"}))?;
    context.wait("pod/user", "condition=Ready")?;
    same(context.value("pod/user", ".spec.nodeName")?.as_str(), "sim-2")?;
    let name = context.value("pod/user", ".status.resourceClaimStatuses[0].resourceClaimName")?;
    let claim = format!("resourceclaim/{name}");
    same(context.value(&claim, ".status.reservedFor[0].name")?.as_str(), "user")?;
    same(device(context, &name)?.as_str(), "one")?;
    user(context, "later", json!({"resourceClaimTemplateName": "some"}))?;
    told(context, "later", "FailedScheduling", "cannot allocate all claims")?;
    context.kubectl(&["delete", "pod/user"])?;
    context.wait(&claim, "delete")?;
    context.wait("pod/later", "condition=Ready")?;
    context.kubectl(&["delete", "pod/later"])?;
    withdraw(context)
}

/// A pod that asks for an extended resource gets a claim for it, where a class of devices serves that resource.
pub fn extended_resources(context: &Context) -> Result<()> {
    offer(context, json!([{"name": "one"}]))?;
    let resource = format!("{}/thing", driver(context));
    let class = format!("deviceclass/{}", own(context, "class"));
    let patch = json!({"spec": {"extendedResourceName": resource}}).to_string();
    context.kubectl(&["patch", &class, "--type=merge", "--patch", &patch])?;
    let wanting = |name: &str| {
        let limits = json!({"limits": {resource.as_str(): "1"}});
        let container = json!([{"name": "main", "image": "any", "resources": limits}]);
        context.apply_json(&pod(name, json!({"containers": container})))
    };
    wanting("user")?;
    context.wait("pod/user", "condition=Ready")?;
    same(context.value("pod/user", ".spec.nodeName")?.as_str(), "sim-2")?;
    let status = ".status.extendedResourceClaimStatus";
    let name = context.value("pod/user", &format!("{status}.resourceClaimName"))?;
    contains(&name, "user-extended-resources-")?;
    same(context.value("pod/user", &format!("{status}.requestMappings[0].containerName"))?.as_str(), "main")?;
    same(device(context, &name)?.as_str(), "one")?;
    wanting("later")?;
    told(context, "later", "FailedScheduling", "cannot allocate all claims")?;
    context.kubectl(&["delete", "pod/user"])?;
    context.wait(&format!("resourceclaim/{name}"), "delete")?;
    context.wait("pod/later", "condition=Ready")?;
    context.kubectl(&["delete", "pod/later"])?;
    withdraw(context)
}

/// Pods that use a device go when it gets a taint that their claim does not tolerate.
pub fn eviction(context: &Context) -> Result<()> {
    offer(context, json!([{"name": "one"}, {"name": "two"}]))?;
    claim(context, "plain", json!({}))?;
    user(context, "plain", json!({"resourceClaimName": "plain"}))?;
    context.wait("pod/plain", "condition=Ready")?;
    claim(context, "tolerant", json!({"tolerations": [{"key": "broken", "operator": "Exists"}]}))?;
    user(context, "tolerant", json!({"resourceClaimName": "tolerant"}))?;
    context.wait("pod/tolerant", "condition=Ready")?;
    let taints = json!([{"key": "broken", "effect": "NoExecute"}]);
    offer(context, json!([{"name": "one", "taints": taints}, {"name": "two", "taints": taints}]))?;
    context.wait("pod/plain", "delete")?;
    told(context, "plain", "DeviceTaintManagerEviction", "Marking for deletion")?;
    same(context.value("pod/tolerant", ".metadata.deletionTimestamp")?.as_str(), "")?;
    context.kubectl(&["delete", "pod/tolerant"])?;
    withdraw(context)
}

/// An administrator's rule first only counts, then evicts, and tells how far it is; new pods get other devices.
pub fn rules(context: &Context) -> Result<()> {
    offer(context, json!([{"name": "one"}, {"name": "two"}]))?;
    claim(context, "first", json!({}))?;
    user(context, "first", json!({"resourceClaimName": "first"}))?;
    context.wait("pod/first", "condition=Ready")?;
    let taken = device(context, "first")?;
    let name = own(context, "rule");
    let rule = |effect: &str| {
        context.apply_json(&json!({"apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
        "metadata": {"name": name}, "spec": {
            "deviceSelector": {"driver": driver(context), "device": taken},
            "taint": {"key": "broken", "effect": effect},
        }}))
    };
    rule("None")?;
    let of = format!("devicetaintrule/{name}");
    let told = |part: &str| {
        context.value(&of, &format!(r#".status.conditions[?(@.type=="EvictionInProgress")].{part}"#))
    };
    eventually("it says what it would do", || {
        same(told("reason")?.as_str(), "NoEffect")?;
        let expected =
            "1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace";
        contains(&told("message")?, expected)
    })?;
    rule("NoExecute")?;
    context.wait("pod/first", "delete")?;
    eventually("it is through", || {
        same((told("status")?.as_str(), told("reason")?.as_str()), ("False", "Completed"))?;
        same(told("message")?.as_str(), "1 pod evicted since starting the controller.")
    })?;
    claim(context, "second", json!({}))?;
    user(context, "second", json!({"resourceClaimName": "second"}))?;
    context.wait("pod/second", "condition=Ready")?;
    ensure!(device(context, "second")? != taken, "it has the tainted device");
    context.kubectl(&["delete", "pod/second", &of])?;
    withdraw(context)
}

/// Several claims have shares of one device, as long as there is enough of it.
pub fn shares(context: &Context) -> Result<()> {
    let policy = json!({"default": "1G", "validRange": {"min": "1G", "step": "1G"}});
    offer(
        context,
        json!([{"name": "net", "allowMultipleAllocations": true,
        "capacity": {"bandwidth": {"value": "10G", "requestPolicy": policy}}}]),
    )?;
    let wants = |name: &str, bandwidth: &str| {
        claim(context, name, json!({"capacity": {"requests": {"bandwidth": bandwidth}}}))?;
        user(context, name, json!({"resourceClaimName": name}))
    };
    wants("a", "5500M")?;
    wants("b", "4G")?;
    context.wait("pod/a", "condition=Ready")?;
    context.wait("pod/b", "condition=Ready")?;
    let result = |name: &str, part: &str| {
        context
            .value(&format!("resourceclaim/{name}"), &format!(".status.allocation.devices.results[0].{part}"))
    };
    same(result("a", "consumedCapacity.bandwidth")?.as_str(), "6G")?;
    same((result("a", "device")?, result("b", "device")?), ("net".to_owned(), "net".to_owned()))?;
    ensure!(result("a", "shareID")? != result("b", "shareID")?, "they have the same share");
    wants("c", "1G")?;
    told(context, "c", "FailedScheduling", "cannot allocate all claims")?;
    context.kubectl(&["delete", "pod/b", "resourceclaim/b"])?;
    context.wait("pod/c", "condition=Ready")?;
    context.kubectl(&["delete", "pods", "--all"])?;
    withdraw(context)
}

/// A pod is bound when the driver has prepared its device; where that fails, it is tried anew.
pub fn conditions(context: &Context) -> Result<()> {
    offer(
        context,
        json!([{"name": "far", "bindsToNode": true,
        "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]}]),
    )?;
    claim(context, "far", json!({}))?;
    user(context, "user", json!({"resourceClaimName": "far"}))?;
    let tell = |kind: &str| {
        let condition = json!({"type": kind, "status": "True", "reason": "Said", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let device =
            json!({"driver": driver(context), "pool": "sim-2", "device": "far", "conditions": [condition]});
        let patch = json!({"status": {"devices": [device]}}).to_string();
        context.kubectl(&[
            "patch",
            "resourceclaim/far",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ])
    };
    eventually("it is allocated", || same(device(context, "far")?.as_str(), "far"))?;
    ensure!(
        !context.value("resourceclaim/far", ".status.allocation.allocationTimestamp")?.is_empty(),
        "no time is told"
    );
    same(context.value("pod/user", ".spec.nodeName")?.as_str(), "")?;
    let before = context.value("resourceclaim/far", ".status.allocation.allocationTimestamp")?;
    tell("Broken")?;
    told(context, "user", "FailedScheduling", "binding failed")?;
    eventually("it is allocated anew", || {
        let again = context.value("resourceclaim/far", ".status.allocation.allocationTimestamp")?;
        ensure!(!again.is_empty() && again != before, "not yet");
        same(context.value("resourceclaim/far", ".status.devices")?.as_str(), "")
    })?;
    same(context.value("pod/user", ".spec.nodeName")?.as_str(), "")?;
    tell("Attached")?;
    shows(context, "pod/user", ".spec.nodeName", "sim-2")?;
    context.kubectl(&["delete", "pod/user"])?;
    withdraw(context)
}
