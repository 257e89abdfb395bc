//! What rules follow from policies, pods and namespaces.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Pod, Policy};
use super::render::merged;
use super::{Config, Index};
use crate::nft::{self, Family, RuleSet};

fn index() -> Index {
    let mut index = Index::new(Config { node_name: "n1".to_owned(), bridge: "kn-c".to_owned() });
    let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    index.set_namespace("a", Some(labels("one")));
    index.set_namespace("b", Some(labels("two")));
    for (key, node, app, ips) in [
        ("a/web", "n1", "web", &["10.42.0.2", "fd42::2"][..]),
        ("a/db", "n2", "db", &["10.42.1.2"]),
        ("b/web", "n2", "web", &["10.42.1.3"]),
    ] {
        index.set_pod(key, Some(pod(key, node, app, ips)));
    }
    index
}

fn pod(key: &str, node: &str, app: &str, ips: &[&str]) -> Pod {
    let (namespace, name) = key.split_once('/').expect("key");
    let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let object = json!({
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": ips},
    });
    Pod::read(&serde_json::from_value(object).expect("pod")).expect("a pod with addresses")
}

fn policy(namespace: &str, spec: &Value) -> Policy {
    let object = json!({"metadata": {"namespace": namespace, "name": "p"}, "spec": spec});
    Policy::read(&serde_json::from_value(object).expect("policy"))
}

/// Rules of the only chain of a direction for IPv4, with names of sets shortened to their kind.
fn chain(rules: &RuleSet, direction: &str) -> Option<Vec<String>> {
    let chains = rules.fragments().flat_map(|fragment| &fragment.chains);
    let found = chains.filter(|((family, name), _)| {
        *family == Family::V4 && name.strip_prefix(direction).is_some_and(|rest| rest.starts_with('-'))
    });
    let mut found: Vec<_> = found
        .map(|(_, chain)| chain.rules.iter().map(|rule| nft::rule_text(Family::V4, rule)).collect::<Vec<_>>())
        .collect();
    assert!(found.len() <= 1, "{found:?}");
    let short = |rule: String| {
        let words = rule.split(' ').map(|word| match word.starts_with('@') {
            true => word.split('-').next().unwrap_or_default().to_owned(),
            false => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    found.pop().map(|rules| rules.into_iter().map(short).collect())
}

/// Members of the only set of this kind.
fn members(rules: &RuleSet, kind: &str) -> Vec<String> {
    let elements = rules.services().flat_map(|(_, fragment)| fragment.elements.keys());
    elements.filter(|(_, set, _)| set.starts_with(kind)).map(|(_, _, key)| nft::side_by_side(key)).collect()
}

#[test]
fn chains_follow_policies() {
    let check = |spec: Value, ingress: Option<&[&str]>, egress: Option<&[&str]>| {
        let mut index = index();
        index.set_policy("a/p", Some(policy("a", &spec)));
        let rules = index.rules();
        for (direction, expected) in [("ingress", ingress), ("egress", egress)] {
            let found = chain(&rules, direction);
            let expected = expected.map(|all| all.iter().map(|rule| (*rule).to_owned()).collect());
            assert_eq!(found, expected, "{direction} of {spec}");
        }
    };
    let drop = Some(&["drop"][..]);
    // Types, and what they are without being told.
    check(json!({"podSelector": {}}), drop, None);
    check(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), drop, drop);
    check(json!({"podSelector": {}, "policyTypes": ["Egress"]}), None, drop);
    check(json!({"podSelector": {}, "egress": [{}]}), drop, Some(&["return", "drop"]));
    check(json!({"podSelector": {}, "ingress": [{}]}), Some(&["return", "drop"]), None);
    // Whom it is about.
    check(json!({"podSelector": {"matchLabels": {"app": "web"}}}), drop, None);
    check(json!({"podSelector": {"matchLabels": {"app": "db"}}}), None, None);
    // Peers and ports.
    let ingress = |rule: Value| json!({"podSelector": {}, "ingress": [rule]});
    let allows = |rule: Value, lines: &[&str]| {
        let lines: Vec<&str> = lines.iter().copied().chain(["drop"]).collect();
        check(ingress(rule), Some(&lines), None);
    };
    allows(json!({"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}), &["ip saddr @peers return"]);
    allows(json!({"from": [{"ipBlock": {"cidr": "192.0.2.9/24"}}]}), &["ip saddr 192.0.2.0/24 return"]);
    allows(json!({"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}), &[]);
    allows(
        json!({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16"]}}]}),
        &["ip saddr != 10.0.0.0/8 ip saddr != 10.1.0.0/16 return"],
    );
    allows(json!({"from": []}), &["return"]);
    allows(
        json!({"ports": [{"port": 80}, {"port": 8000, "endPort": 8080}, {"port": 81, "protocol": "TCP"}]}),
        &["tcp dport { 80-81, 8000-8080 } return"],
    );
    allows(
        json!({"ports": [{"protocol": "UDP"}, {"protocol": "SCTP", "port": 5}]}),
        &["meta l4proto udp return", "sctp dport 5 return"],
    );
    allows(json!({"ports": [{"port": "http"}]}), &["ip daddr . meta l4proto . th dport @ports return"]);
    allows(
        json!({"from": [{"ipBlock": {"cidr": "192.0.2.1/32"}}, {"podSelector": {}}], "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}),
        &[
            "ip saddr 192.0.2.1 tcp dport 80 return",
            "ip saddr 192.0.2.1 udp dport 53 return",
            "ip saddr @peers tcp dport 80 return",
            "ip saddr @peers udp dport 53 return",
        ],
    );
    let out = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {}}]}]});
    check(out, None, Some(&["ip daddr @peers return", "drop"]));
}

#[test]
fn peers_are_selected_by_namespace_and_labels() {
    let check = |peer: Value, expected: &[&str]| {
        let mut index = index();
        index
            .set_policy("a/p", Some(policy("a", &json!({"podSelector": {}, "ingress": [{"from": [peer]}]}))));
        assert_eq!(members(&index.rules(), "peers-"), expected, "{peer}");
    };
    let web = json!({"matchLabels": {"app": "web"}});
    let two = json!({"matchLabels": {"team": "two"}});
    check(json!({"podSelector": {}}), &["10.42.0.2", "10.42.1.2", "fd42::2"]);
    check(json!({"podSelector": web}), &["10.42.0.2", "fd42::2"]);
    check(json!({"namespaceSelector": {}}), &["10.42.0.2", "10.42.1.2", "10.42.1.3", "fd42::2"]);
    check(json!({"namespaceSelector": two}), &["10.42.1.3"]);
    check(json!({"namespaceSelector": two, "podSelector": web}), &["10.42.1.3"]);
    check(json!({"namespaceSelector": two, "podSelector": {"matchLabels": {"app": "db"}}}), &[]);
}

#[test]
fn sets_follow_pods_and_namespaces() {
    let mut index = index();
    let spec = json!({"podSelector": {}, "ingress": [
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "two"}}}], "ports": [{"port": "http"}]}]});
    index.set_policy("a/p", Some(policy("a", &spec)));
    let first = index.rules();
    assert_eq!(members(&first, "peers-"), ["10.42.1.3"]);
    index.set_pod("b/other", Some(pod("b/other", "n3", "x", &["10.42.3.3"])));
    assert_eq!(members(&index.rules(), "peers-"), ["10.42.1.3", "10.42.3.3"]);
    assert!(members(&index.rules(), "ports-").contains(&"10.42.3.3 . tcp . 8080".to_owned()));
    index.set_pod("b/other", None);
    index.set_namespace("b", Some(BTreeMap::new()));
    assert!(members(&index.rules(), "peers-").is_empty());
    // Nothing changed: nothing is written.
    let now = index.rules();
    assert!(nft::diff("t", &now, &index.rules()).is_empty());
    index.set_policy("a/p", None);
    assert_eq!(index.rules(), RuleSet::default());
}

#[test]
fn only_isolated_pods_of_this_node_are_led_to_chains() {
    let mut index = index();
    index.set_policy("a/p", Some(policy("a", &json!({"podSelector": {}}))));
    index.set_policy("b/p", Some(policy("b", &json!({"podSelector": {}}))));
    assert_eq!(members(&index.rules(), "ingress"), ["10.42.0.2", "fd42::2"]);
    assert_eq!(members(&index.rules(), "egress"), Vec::<String>::new());
    // Two policies make one chain, which allows what either allows.
    index.set_policy(
        "a/q",
        Some(policy("a", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}]}))),
    );
    assert_eq!(
        chain(&index.rules(), "ingress"),
        Some(vec!["tcp dport 1 return".to_owned(), "drop".to_owned()])
    );
}

#[test]
fn pods_without_an_address_of_their_own_are_not_seen() {
    let check = |spec: Value, status: Value, expected: bool| {
        let object = json!({"metadata": {"namespace": "a", "name": "p"}, "spec": spec, "status": status});
        let found = Pod::read(&serde_json::from_value(object).expect("pod"));
        assert_eq!(found.is_some(), expected, "{spec} {status}");
    };
    let (plain, ips) = (json!({"containers": []}), json!([{"ip": "10.42.0.2"}]));
    check(plain.clone(), json!({"phase": "Running", "podIPs": ips}), true);
    check(plain.clone(), json!({"phase": "Pending"}), false);
    check(plain, json!({"phase": "Succeeded", "podIPs": ips}), false);
    check(json!({"containers": [], "hostNetwork": true}), json!({"phase": "Running", "podIPs": ips}), false);
}

#[test]
fn ranges_of_ports_are_merged() {
    let check =
        |ranges: &[(u16, u16)], expected: &[(u16, u16)]| assert_eq!(merged(ranges.to_vec()), expected);
    check(&[(80, 80), (79, 79), (90, 100), (95, 99)], &[(79, 80), (90, 100)]);
    check(&[(1, 65535), (65535, 65535)], &[(1, 65535)]);
    check(&[(5, 4)], &[]);
}
