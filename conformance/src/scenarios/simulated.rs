//! Every controller and the scheduler, on simulated nodes: what a user sees of each within seconds.
//!
//! A scenario of a controller has that controller's name, so that `conformance/controllers/run` notices one without. The
//! cluster is the one which that script makes: zones, gates and flags matter.
mod accounts;
mod devices;
mod nodes;
mod scheduling;
mod services;
mod storage;
mod tidiness;
mod workloads;

use super::{Scenario, scenario};
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Every scenario, by name of the controller; those of the scheduler last.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario("bootstrap-signer-controller", accounts::cluster_info),
        scenario("certificatesigningrequest-approving-controller", accounts::approval),
        scenario("certificatesigningrequest-signing-controller", accounts::signature),
        scenario("clusterrole-aggregation-controller", accounts::aggregation),
        scenario("cronjob-controller", workloads::cron_job),
        scenario("daemonset-controller", workloads::daemon_set),
        scenario("deployment-controller", workloads::deployment),
        scenario("device-taint-eviction-controller", devices::eviction),
        scenario("disruption-controller", workloads::disruption),
        scenario("endpoints-controller", services::endpoints),
        scenario("endpointslice-controller", services::slices),
        scenario("endpointslice-mirroring-controller", services::mirrored),
        scenario("ephemeral-volume-controller", storage::ephemeral),
        scenario("garbage-collector-controller", tidiness::garbage),
        scenario("horizontal-pod-autoscaler-controller", workloads::autoscaler),
        scenario("job-controller", workloads::job),
        scenario("local-path-provisioner-controller", storage::local_path),
        scenario("scheduler-expected-node", storage::expected_node),
        scenario("namespace-controller", tidiness::namespace),
        scenario("node-ipam-controller", nodes::addresses),
        scenario("node-lifecycle-controller", nodes::lifecycle),
        scenario("persistentvolume-attach-detach-controller", storage::attachment),
        scenario("persistentvolume-binder-controller", storage::binding),
        scenario("persistentvolume-expander-controller", storage::expansion),
        scenario("persistentvolume-protection-controller", storage::volume_protection),
        scenario("persistentvolumeclaim-protection-controller", storage::claim_protection),
        scenario("pod-garbage-collector-controller", tidiness::pods),
        scenario("replicaset-controller", workloads::replica_set),
        scenario("replicationcontroller-controller", workloads::replication_controller),
        scenario("resourceclaim-controller", devices::claims),
        scenario("resourcequota-controller", tidiness::quota),
        scenario("root-ca-certificate-publisher-controller", accounts::root_ca),
        scenario("service-cidr-controller", services::ranges),
        scenario("service-lb-controller", services::balancer),
        scenario("serviceaccount-controller", accounts::account),
        scenario("serviceaccount-token-controller", accounts::token),
        scenario("statefulset-controller", workloads::stateful_set),
        scenario("storage-version-migrator-controller", tidiness::migration),
        scenario("taint-eviction-controller", nodes::taints),
        scenario("token-cleaner-controller", accounts::expired_token),
        scenario("ttl-after-finished-controller", workloads::time_to_live),
        scenario("ttl-controller", nodes::time_to_live),
        scenario("volumeattributesclass-protection-controller", storage::class_protection),
        scenario("scheduler-diagnosis", scheduling::diagnosis),
        scenario("scheduler-extended-resources", devices::extended_resources),
        scenario("scheduler-spread", scheduling::spread),
        scenario("scheduler-affinity", scheduling::affinity),
        scenario("scheduler-gates", scheduling::gates),
        scenario("scheduler-preemption", scheduling::preemption),
        scenario("scheduler-extender-preemption", scheduling::extender_preemption),
        scenario("scheduler-shared-devices", devices::shares),
        scenario("scheduler-prepared-devices", devices::conditions),
        scenario("scheduler-device-rules", devices::rules),
        Scenario { name: "scheduler-election", alone: true, play: scheduling::election },
    ]
}

/// A pod's specification that runs on any node.
fn spec() -> Value {
    json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "any"}]})
}

/// A value with further members.
fn with(mut value: Value, more: Value) -> Value {
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

/// A pod labelled `app=name`.
fn pod(name: &str, more: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": with(spec(), more),
    })
}

/// A workload of the group `apps` with pods labelled `app=name`; `more` belongs to its specification.
fn workload(kind: &str, name: &str, more: Value) -> Value {
    let labels = json!({"app": name});
    let own = json!({
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec()},
    });
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": with(own, more)})
}

/// Waits until a value of an object, by JSONPath, is this.
fn shows(context: &Context, resource: &str, path: &str, expected: &str) -> Result<()> {
    eventually(&format!("{resource} {path}"), || same(context.value(resource, path)?.as_str(), expected))
}

/// Waits until so many objects are there, of those that `arguments` of `kubectl get` choose.
fn counts(context: &Context, arguments: &[&str], expected: usize) -> Result<()> {
    let arguments = [&["get", "--output", "name"][..], arguments].concat();
    eventually(&arguments.join(" "), || {
        let found = context.kubectl(&arguments)?;
        ensure!(found.lines().count() == expected, "expected {expected}, found {found:?}");
        Ok(())
    })
}

/// Waits for an event with this reason and such a message about an object of that name.
fn told(context: &Context, about: &str, reason: &str, part: &str) -> Result<()> {
    let selector = format!("involvedObject.name={about},reason={reason}");
    let arguments =
        ["get", "events", "--field-selector", &selector, "--output", "jsonpath={.items[*].message}"];
    eventually(&format!("event {reason} of {about}"), || contains(&context.kubectl(&arguments)?, part))
}

/// A name for an object without a namespace, of this scenario alone.
fn own(context: &Context, name: &str) -> String {
    format!("{}-{name}", context.namespace)
}
