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
    assert_eq!(result.unwrap_or_else(|e| e.refusal()), expected, "{spec}");
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
fn kubelets_declare_features() {
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}]);
    let needs = json!({"containers": [{"name": "c", "restartPolicyRules": rules}]});
    let both = json!({"hostNetwork": true, "hostUsers": false, "containers": needs["containers"]});
    let node = |name: &str, features: Value| {
        let mut object = node(name, json!({}), json!({}));
        object.status.as_mut().unwrap().declared_features = serde_json::from_value(features).unwrap();
        object
    };
    let nodes = || {
        vec![
            node("old", json!([])),
            node("new", json!(["RestartAllContainersOnContainerExits", "UnheardOf"])),
        ]
    };
    let check = |spec: &Value, expected: &str| {
        let mut algorithm = Algorithm::new(Profile::default());
        let result = algorithm.schedule(&pod("x", spec.clone()), &mut world(nodes(), vec![]));
        assert_eq!(result.unwrap_or_else(|e| e.refusal()), expected, "{spec}");
    };
    check(&needs, "new");
    check(&both, "0/2 nodes are available: 2 node(s) didn't match Pod's required features.");
}

#[test]
fn claims_of_devices_are_not_ignored() {
    let message = "0/3 nodes are available: resourceclaim.resource.k8s.io \"g\" not found.";
    check(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "g"}]}), vec![], message);
}

#[test]
fn no_nodes() {
    let mut algorithm = Algorithm::new(Profile::default());
    let failure = algorithm.schedule(&pod("x", json!({})), &mut World::default()).unwrap_err();
    assert_eq!(failure.refusal(), "no nodes available to schedule pods");
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

#[test]
fn affinity_by_namespace_labels_and_label_keys() {
    let hosts =
        || vec![node("n1", json!({}), json!({"zone": "a"})), node("n2", json!({}), json!({"zone": "b"}))];
    let check = |term: Value, expected: &str| {
        let far = json!({"metadata": {"name": "1", "namespace": "far", "labels": {"app": "a", "v": "1"}},
            "spec": {"nodeName": "n2"}});
        let mut world = world(hosts(), vec![crate::testing::full_pod(far)]);
        world.set_namespace("far", Some([("team".to_owned(), "red".to_owned())].into()));
        let mut term = term;
        term["topologyKey"] = "zone".into();
        term["labelSelector"] = json!({"matchLabels": {"app": "a"}});
        let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let object = json!({"metadata": {"name": "x", "namespace": "default", "labels": {"app": "b", "v": "1"}},
            "spec": {"affinity": affinity}});
        let result =
            Algorithm::new(Profile::default()).schedule(&crate::testing::full_pod(object), &mut world);
        assert_eq!(result.unwrap_or_else(|failure| failure.refusal()), expected, "{affinity}");
    };
    let none = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.";
    check(json!({}), none);
    check(json!({"namespaces": ["far"]}), "n2");
    check(json!({"namespaceSelector": {}}), "n2");
    check(json!({"namespaceSelector": {"matchLabels": {"team": "red"}}}), "n2");
    check(json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}}), none);
    check(json!({"namespaceSelector": {}, "matchLabelKeys": ["v"]}), "n2");
    check(json!({"namespaceSelector": {}, "mismatchLabelKeys": ["v"]}), none);
}

#[test]
fn preferences_of_both_sides_count() {
    let hosts =
        || vec![node("n1", json!({}), json!({"zone": "a"})), node("n2", json!({}), json!({"zone": "b"}))];
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}});
    let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let check = |own: Value, others: Value, expected: &str| {
        let placed = pod("1", json!({"nodeName": "n2", "affinity": others}));
        let mut algorithm = Algorithm::new(Profile::default());
        let found =
            algorithm.schedule(&pod("x", json!({"affinity": own})), &mut world(hosts(), vec![placed]));
        assert_eq!(found.unwrap(), expected, "{own} {others}");
    };
    check(json!({}), json!({}), "n1");
    check(json!({"podAffinity": preferred}), json!({}), "n2");
    check(json!({"podAntiAffinity": preferred}), json!({}), "n1");
    check(json!({}), json!({"podAffinity": preferred}), "n2");
    check(json!({}), json!({"podAffinity": required}), "n2");
    check(json!({}), json!({"podAntiAffinity": preferred}), "n1");
}

#[test]
fn spreading_policies() {
    let all = json!([{"operator": "Exists"}]);
    let on = |name: &str, node: &str| pod(name, json!({"nodeName": node}));
    let spread = |extra: Value, spec: Value, pods: Vec<PodView>, expected: &str| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "a"}}});
        for (name, value) in extra.as_object().unwrap() {
            constraint[name] = value.clone();
        }
        let mut spec = spec;
        spec["topologySpreadConstraints"] = json!([constraint]);
        check(spec, pods, expected);
    };
    // Taints honoured: the zone nobody tolerates does not count.
    let one = || vec![on("1", "n1")];
    let elsewhere = "1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    let skewed = format!(
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, {elsewhere}"
    );
    spread(json!({}), json!({}), one(), &skewed);
    let cordoned =
        json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    spread(json!({"nodeTaintsPolicy": "Honor"}), cordoned, one(), "n2");
    // Affinity ignored: zones the pod cannot use count.
    let only = json!({"nodeSelector": {"zone": "a"}});
    spread(json!({}), only.clone(), one(), "n1");
    let skewed = "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
        1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    spread(json!({"nodeAffinityPolicy": "Ignore"}), only, one(), skewed);
    // More domains wanted than there are: the fewest is nothing.
    let full = || vec![on("1", "n1"), on("2", "n2"), on("3", "n3")];
    spread(json!({"minDomains": 3}), json!({"tolerations": all}), full(), "n1");
    let refused = "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints.";
    spread(json!({"minDomains": 4}), json!({"tolerations": all}), full(), refused);
    // Only pods of the same revision count.
    spread(
        json!({"matchLabelKeys": ["app"]}),
        json!({"tolerations": all}),
        vec![on("1", "n1"), on("2", "n2")],
        "n3",
    );
}

#[test]
fn default_constraints_spread_a_services_pods() {
    let zones = |name: &str, zone: &str| {
        node(name, json!({}), json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}))
    };
    let nodes = vec![zones("n1", "a"), zones("n2", "a"), zones("n3", "b")];
    let request = || container(json!({"cpu": "100m", "memory": "200Mi"}));
    let placed = pod("1", json!({"nodeName": "n1", "containers": request()}));
    // Two strangers make the third node fuller than the second.
    let stranger = |name: &str| {
        let object = json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n3", "containers": request()}});
        crate::testing::full_pod(object)
    };
    let mut world = world(nodes, vec![placed, stranger("2"), stranger("3")]);
    let new = pod("x", json!({"containers": request()}));
    assert_eq!(Algorithm::new(Profile::default()).schedule(&new, &mut world).unwrap(), "n2");
    let selector = crate::selector::Selector::of_labels(&[("app".to_owned(), "a".to_owned())].into());
    world.services.insert(knarr_component::store::Key::new("default", "s"), selector);
    assert_eq!(Algorithm::new(Profile::default()).schedule(&new, &mut world).unwrap(), "n3");
}

#[test]
fn pods_of_daemons_look_at_their_node_only() {
    let named = |name: &str| {
        let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        json!({"affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
    };
    check(named("n1"), vec![], "n1");
    check(
        named("n2"),
        vec![],
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].",
    );
}

#[test]
fn what_is_said_once_no_node_was_found() {
    let failure = |claims, preemption: Option<&str>| Unschedulable {
        nodes: 5,
        whole: Some("pod has unbound immediate PersistentVolumeClaims".into()),
        claims,
        preemption: preemption.map(str::to_owned),
        ..Unschedulable::default()
    };
    let check = |failure: Unschedulable, expected: &str| {
        let prefix = "0/5 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        assert_eq!(failure.message(), format!("{prefix}{expected}"));
    };
    check(failure(Claims::Unseen, None), " not found");
    check(failure(Claims::Nothing, None), " no new claims to deallocate");
    check(failure(Claims::Nothing, Some("x")), " no new claims to deallocate, preemption: x");
    check(failure(Claims::NotAsked, Some("x")), " preemption: x");
    check(failure(Claims::NotAsked, None), "");
    let profile = Profile::default();
    assert!(profile.is_before_claims("VolumeBinding") && !profile.is_before_claims("DynamicResources"));
}
