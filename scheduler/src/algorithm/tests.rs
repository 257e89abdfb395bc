//! Tables of pods and nodes: which node is chosen, or the message that says why none is.
use super::*;
use crate::testing::{container, node, pod, world};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

fn three() -> Vec<Node> {
    let zone = |zone: &str| json!({"zone": zone, "kubernetes.io/hostname": zone});
    vec![
        node("n1", json!({}), zone("a")),
        node("n2", json!({"unschedulable": true}), zone("b")),
        node("n3", json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}), zone("c")),
    ]
}

fn check(spec: Value, pods: Vec<PodView>, expected: &str) {
    let mut algorithm = Algorithm::new(Profile::default());
    let result = algorithm.schedule(&pod("x", spec.clone()), &mut world(three(), pods));
    assert_eq!(result.unwrap_or_else(|e| e.message()), expected, "{spec}");
}

#[test]
fn plain_pods_avoid_cordoned_and_tainted_nodes() {
    check(json!({}), vec![], "n1");
    check(json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"zone": "c"}}), vec![], "n3");
    check(json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"zone": "b"}}), vec![], "n2");
}

#[test]
fn messages_count_reasons() {
    let elsewhere = "1 node(s) had untolerated taint(s), 1 node(s) were unschedulable";
    check(
        json!({"containers": container(json!({"cpu": "3"}))}),
        vec![],
        &format!("0/3 nodes are available: 1 Insufficient cpu, {elsewhere}."),
    );
    check(
        json!({"nodeSelector": {"zone": "x"}}),
        vec![],
        &format!(
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, {elsewhere}."
        ),
    );
    let port = json!([{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]);
    let taken = pod("other", json!({"nodeName": "n1", "containers": port}));
    check(
        json!({"containers": port}),
        vec![taken],
        &format!(
            "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, {elsewhere}."
        ),
    );
}

#[test]
fn no_nodes() {
    let mut algorithm = Algorithm::new(Profile::default());
    let failure = algorithm.schedule(&pod("x", json!({})), &mut World::default()).unwrap_err();
    assert_eq!(failure.message(), "no nodes available to schedule pods");
    assert_eq!(failure.events, [Event::Node]);
}

#[test]
fn emptier_nodes_are_better() {
    let nodes = vec![node("n1", json!({}), json!({})), node("n2", json!({}), json!({}))];
    let busy =
        pod("busy", json!({"nodeName": "n1", "containers": container(json!({"cpu": "1", "memory": "2Gi"}))}));
    let mut algorithm = Algorithm::new(Profile::default());
    assert_eq!(algorithm.schedule(&pod("x", json!({})), &mut world(nodes, vec![busy])).unwrap(), "n2");
}

#[test]
fn spreading_over_zones() {
    let constraint = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "a"}}}]);
    let all = json!([{"operator": "Exists"}]);
    let on = |name: &str, node: &str| pod(name, json!({"nodeName": node}));
    let spec = json!({"tolerations": all, "topologySpreadConstraints": constraint});
    check(spec, vec![on("1", "n1"), on("2", "n2")], "n3");
    // A zone nobody tolerates still counts, unless taints are honoured.
    let strict = json!({"topologySpreadConstraints": constraint});
    let message = "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
        1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    check(strict, vec![on("1", "n1"), on("2", "n2")], message);
}

#[test]
fn affinity_and_anti_affinity_between_pods() {
    let term =
        |label: &str| json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": label}}}]);
    let required = |terms: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    let all = json!([{"operator": "Exists"}]);
    let there = || pod("1", json!({"nodeName": "n3"}));
    let join = json!({"tolerations": all, "affinity": {"podAffinity": required(term("a"))}});
    check(join.clone(), vec![there()], "n3");
    check(join, vec![], "n1"); // the first of its group
    let lonely = json!({"affinity": {"podAffinity": required(term("b"))}});
    let elsewhere = "1 node(s) had untolerated taint(s), 1 node(s) were unschedulable";
    check(
        lonely,
        vec![],
        &format!("0/3 nodes are available: 1 node(s) didn't match pod affinity rules, {elsewhere}."),
    );
    let apart = json!({"affinity": {"podAntiAffinity": required(term("a"))}});
    let here = pod("1", json!({"nodeName": "n1"}));
    check(
        apart.clone(),
        vec![here],
        &format!("0/3 nodes are available: 1 node(s) didn't match pod anti-affinity rules, {elsewhere}."),
    );
    let mut repelling = apart;
    repelling["nodeName"] = "n1".into();
    check(
        json!({}),
        vec![pod("1", repelling)],
        &format!(
            "0/3 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, {elsewhere}."
        ),
    );
}

#[test]
fn enough_nodes_are_looked_at() {
    for (nodes, expected) in [(0, 1), (50, 50), (100, 100), (1000, 420), (5000, 500), (10000, 500)] {
        assert_eq!(enough(nodes, 0), expected, "{nodes}");
    }
}
