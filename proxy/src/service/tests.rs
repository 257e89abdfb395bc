//! Rules as golden text. `UPDATE_GOLDEN=1` writes the files anew; read the difference before you commit it.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::{Config, Index, Rules, desired};
use crate::nft::{self, RuleSet};

fn config() -> Config {
    Config {
        node_name: "node-1".to_owned(),
        zone: Some("zone-a".to_owned()),
        cluster_cidrs: ["10.244.0.0/16", "fd44::/16"].map(|r| r.parse().expect("range")).into(),
        service_cidrs: vec!["10.96.0.0/16".parse().expect("range")],
        bridge: "kn-dev".to_owned(),
        localhost_node_ports: true,
        masquerade_bit: 14,
        dns: vec![("10.96.0.10".parse().expect("ip"), "10.244.0.1:53".parse().expect("address"))],
        ..Config::default()
    }
}

fn service(name: &str, spec: Value) -> Service {
    let mut object = json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
    if object["spec"]["ports"].is_null() {
        object["spec"]["ports"] = json!([{ "name": "http", "port": 80 }]);
    }
    serde_json::from_value(object).expect("service")
}

fn slice(service: &str, endpoints: Value) -> Arc<EndpointSlice> {
    let object = json!({
        "metadata": {
            "namespace": "shop", "name": format!("{service}-1"),
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(object).expect("slice"))
}

/// The rules of all that an index knows.
fn rules(index: &mut Index) -> RuleSet {
    Rules::new(config()).of(&index.plans())
}

/// An endpoint on a node.
fn on(node: &str, ip: &str) -> Value {
    json!({ "addresses": [ip], "nodeName": node, "conditions": { "ready": true } })
}

/// Compares what services add to the base with a golden file.
fn check(name: &str, services: &[Service], slices: &[Arc<EndpointSlice>]) {
    let rules = desired(services, slices, &config());
    let base = RuleSet::new(rules.base.clone());
    golden(name, &nft::diff("knarr-dev", &base, &rules).to_string());
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/service/golden/{name}.nft"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("write golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs: see UPDATE_GOLDEN", path.display());
}

#[test]
fn base() {
    golden("base", &nft::full("knarr-dev", &desired([], [], &config())).to_string());
}

#[test]
fn cluster_ip() {
    let slices = [slice("web", json!([on("node-1", "10.244.0.5"), on("node-2", "10.244.1.5")]))];
    check("cluster_ip", &[service("web", json!({ "clusterIP": "10.96.0.20" }))], &slices);
}

#[test]
fn node_port_with_affinity() {
    let spec = json!({
        "clusterIP": "10.96.0.20", "type": "NodePort", "sessionAffinity": "ClientIP",
        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
    });
    let slices = [slice("web", json!([on("node-1", "10.244.0.5"), on("node-2", "10.244.1.5")]))];
    check("node_port_with_affinity", &[service("web", spec)], &slices);
}

#[test]
fn load_balancer_with_local_policy_and_source_ranges() {
    let mut web = service(
        "web",
        json!({
            "clusterIP": "10.96.0.20", "type": "LoadBalancer",
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
            "loadBalancerSourceRanges": ["192.0.2.0/24", "2001:db8::/32"],
        }),
    );
    let ingress = json!([{ "ip": "203.0.113.9" }, { "ip": "203.0.113.10", "ipMode": "Proxy" }]);
    let status = json!({ "loadBalancer": { "ingress": ingress } });
    web.status = serde_json::from_value(status).expect("status");
    let slices = [slice("web", json!([on("node-1", "10.244.0.5"), on("node-2", "10.244.1.5")]))];
    check("load_balancer_local", &[web.clone()], &slices);
    let elsewhere = [slice("web", json!([on("node-2", "10.244.1.5")]))];
    check("load_balancer_local_elsewhere", &[web], &elsewhere);
}

#[test]
fn no_endpoints_and_no_virtual_addresses() {
    let services = [
        service("web", json!({ "clusterIP": "10.96.0.20", "ports": [{ "port": 80, "nodePort": 30080 }] })),
        service("headless", json!({ "clusterIP": "None" })),
        service("out", json!({ "type": "ExternalName", "externalName": "example.org" })),
        service(
            "kube-dns",
            json!({ "clusterIP": "10.96.0.10", "ports": [{ "port": 53, "protocol": "UDP" }] }),
        ),
    ];
    check("no_endpoints", &services, &[slice("headless", json!([on("node-1", "10.244.0.5")]))]);
}

/// Where the front ends of a service lead to.
fn targets(fragment: &nft::Fragment) -> Vec<String> {
    let target = |value: &Option<nft::Value>| match value {
        Some(nft::Value::Data(target)) => Some(nft::side_by_side(target).replace(" . ", "/")),
        _ => None,
    };
    fragment.elements.values().filter_map(target).collect()
}

/// Which endpoints a service with these leads to.
fn check_chosen(endpoints: Value, expected: &[&str]) {
    let rules = desired(
        [&service("web", json!({ "clusterIP": "10.96.0.20" }))],
        [&slice("web", endpoints)],
        &config(),
    );
    assert_eq!(targets(rules.get("shop/web").expect("the service")), expected);
}

#[test]
fn endpoints_are_chosen_by_condition_and_hint() {
    let with = |ip: &str, extra: Value| {
        let mut endpoint = on("node-2", ip);
        extra.as_object().into_iter().flatten().for_each(|(k, v)| endpoint[k] = v.clone());
        endpoint
    };
    let conditions = |ready: bool, serving: bool, terminating: bool| json!({ "conditions": { "ready": ready, "serving": serving, "terminating": terminating } });
    let zone = |name: &str| json!({ "hints": { "forZones": [{ "name": name }] } });
    let (ready, leaving) = (conditions(true, true, false), conditions(false, true, true));

    check_chosen(
        json!([with("10.244.0.5", ready), with("10.244.0.6", leaving.clone())]),
        &["10.244.0.5/8080"],
    );
    check_chosen(
        json!([with("10.244.0.5", conditions(false, false, false)), with("10.244.0.6", leaving)]),
        &["10.244.0.6/8080"],
    );
    check_chosen(json!([with("10.244.0.5", conditions(false, true, false))]), &[]);
    check_chosen(json!([{ "addresses": ["10.244.0.5"] }]), &["10.244.0.5/8080"]);
    check_chosen(
        json!([with("10.244.0.5", zone("zone-a")), with("10.244.0.6", zone("zone-b"))]),
        &["10.244.0.5/8080"],
    );
    // A hint that is missing, or none for this zone: all are used.
    check_chosen(
        json!([with("10.244.0.5", zone("zone-a")), with("10.244.0.6", json!({}))]),
        &["10.244.0.5/8080", "10.244.0.6/8080"],
    );
    check_chosen(
        json!([with("10.244.0.5", zone("zone-b")), with("10.244.0.6", zone("zone-c"))]),
        &["10.244.0.5/8080", "10.244.0.6/8080"],
    );
    let node = json!({ "hints": { "forNodes": [{ "name": "node-1" }], "forZones": [{ "name": "zone-a" }] } });
    let other =
        json!({ "hints": { "forNodes": [{ "name": "node-9" }], "forZones": [{ "name": "zone-a" }] } });
    check_chosen(json!([with("10.244.0.5", node), with("10.244.0.6", other)]), &["10.244.0.5/8080"]);
}

#[test]
fn one_service_answers_where_two_want_to() {
    let external =
        |name: &str, ip: &str| service(name, json!({ "clusterIP": ip, "externalIPs": ["192.0.2.7"] }));
    let (a, b) = (external("a", "10.96.0.21"), external("b", "10.96.0.22"));
    let answers = |rules: &RuleSet| {
        let address: std::net::IpAddr = "192.0.2.7".parse().expect("address");
        let frontend = vec![address.into(), nft::Protocol::Tcp.into(), 80.into()];
        let key = (nft::Family::V4, "service-ips".into(), frontend);
        let has = |f: &Arc<nft::Fragment>| f.elements.contains_key(&key);
        rules.services().filter(|(_, f)| has(f)).map(|(k, _)| k.to_owned()).collect::<Vec<_>>()
    };
    let mut index = Index::new(config());
    index.apply_service(&b);
    assert_eq!(answers(&rules(&mut index)), ["shop/b"]);
    index.apply_service(&a);
    assert_eq!(answers(&rules(&mut index)), ["shop/a"]);
    index.delete_service("shop/a");
    assert_eq!(answers(&rules(&mut index)), ["shop/b"]);
}

#[test]
fn a_change_of_one_service_leaves_the_others_alone() {
    let names: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
    let mut index = Index::new(config());
    for (i, name) in names.iter().enumerate() {
        index.apply_service(&service(name, json!({ "clusterIP": format!("10.96.1.{i}") })));
        index.apply_slice(&slice(name, json!([on("node-1", "10.244.0.5")])));
    }
    let mut kept = Rules::new(config());
    let before = kept.of(&index.plans());
    index.apply_slice(&slice("s7", json!([on("node-1", "10.244.0.5"), on("node-1", "10.244.0.6")])));
    let after = kept.of(&index.plans());
    let is_shared = |(key, now): &(&str, &Arc<_>)| before.get(key).is_some_and(|old| Arc::ptr_eq(now, old));
    let shared = after.services().filter(is_shared).count();
    // The other services, and what all of them share: an address and a chain.
    assert_eq!(shared, 101);
    golden("one_more_endpoint", &nft::diff("knarr-dev", &before, &after).to_string());
    // An event that changes nothing leads to no command.
    index.apply_slice(&slice("s7", json!([on("node-1", "10.244.0.6"), on("node-1", "10.244.0.5")])));
    assert!(nft::diff("knarr-dev", &after, &kept.of(&index.plans())).is_empty());
}

#[test]
fn slices_move_between_services() {
    let mut index = Index::new(config());
    index.apply_service(&service("a", json!({ "clusterIP": "10.96.0.21" })));
    index.apply_service(&service("b", json!({ "clusterIP": "10.96.0.22" })));
    let mut moving = (*slice("a", json!([on("node-1", "10.244.0.5")]))).clone();
    index.apply_slice(&Arc::new(moving.clone()));
    let endpoints = |index: &mut Index, key: &str| {
        let rules = rules(index);
        targets(rules.get(key).expect("the service")).len()
    };
    assert_eq!((endpoints(&mut index, "shop/a"), endpoints(&mut index, "shop/b")), (1, 0));
    if let Some(labels) = moving.metadata.labels.as_mut() {
        labels.insert("kubernetes.io/service-name".to_owned(), "b".to_owned());
    }
    index.apply_slice(&Arc::new(moving));
    assert_eq!((endpoints(&mut index, "shop/a"), endpoints(&mut index, "shop/b")), (0, 1));
    index.delete_slice("shop/a-1");
    assert_eq!(endpoints(&mut index, "shop/b"), 0);
}

#[test]
fn what_services_share_is_there_as_long_as_one_needs_it() {
    let mut index = Index::new(config());
    let shared = |index: &mut Index| -> Vec<String> {
        let rules = rules(index);
        let keys = rules.services().map(|(key, _)| key.to_owned());
        keys.filter(|key| !key.contains('/')).collect()
    };
    for (name, ip) in [("a", "10.96.0.21"), ("b", "10.96.0.22")] {
        index.apply_service(&service(name, json!({ "clusterIP": ip })));
        index.apply_slice(&slice(name, json!([on("node-1", "10.244.0.5"), on("node-2", "10.244.1.5")])));
    }
    assert_eq!(shared(&mut index), ["inside-2 ip", "itself 10.244.0.5"]);
    index.delete_service("shop/a");
    assert_eq!(shared(&mut index), ["inside-2 ip", "itself 10.244.0.5"]);
    index.apply_slice(&slice("b", json!([on("node-2", "10.244.1.5")])));
    assert_eq!(shared(&mut index), ["inside-1 ip"]);
    index.delete_service("shop/b");
    assert_eq!(shared(&mut index), Vec::<String>::new());
    // What is left are the rules of no services at all.
    assert_eq!(rules(&mut index), desired([], [], &config()));
}

#[test]
fn node_ports_and_external_addresses_have_endpoints_of_their_own() {
    let spec = json!({
        "clusterIP": "10.96.0.20", "type": "NodePort", "externalIPs": ["192.0.2.7"],
        "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
    });
    let slices = [slice("web", json!([on("node-1", "10.244.0.5"), on("node-2", "10.244.1.5")]))];
    check("node_port", &[service("web", spec)], &slices);
}
