//! What is written, and that it is laid out as the original's.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::chains::{Chains, steps};
use super::names::Names;
use super::render;
use crate::nft::Family;
use crate::service::{Config, Index};

fn config() -> Config {
    Config {
        node_name: "node-1".to_owned(),
        cluster_cidrs: vec!["10.244.0.0/16".parse().expect("range")],
        service_cidrs: vec!["10.96.0.0/16".parse().expect("range")],
        bridge: "kn-dev".to_owned(),
        localhost_node_ports: true,
        masquerade_bit: 14,
        published: vec![(8000, 30080)],
        dns: vec![("10.96.0.10".parse().expect("ip"), "10.244.0.1:53".parse().expect("address"))],
        ..Config::default()
    }
}

/// The chains for a Service with an endpoint on this node and one elsewhere.
fn chains(spec: Value, status: Value, endpoints: &[(&str, &str)]) -> Chains {
    let object = json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": spec, "status": status});
    let service: Service = serde_json::from_value(object).expect("service");
    let endpoints: Vec<Value> =
        endpoints.iter().map(|(node, ip)| json!({"addresses": [ip], "nodeName": node})).collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    }))
    .expect("slice");
    let mut index = Index::new(config());
    index.apply_service(&service);
    index.apply_slice(&Arc::new(slice));
    render::chains(&index.plans(), &config(), &Names::of("dev"), Family::V4, false)
}

fn golden(name: &str, chains: &Chains) {
    let names = Names::of("dev");
    let bare = render::chains(&Default::default(), &config(), &names, Family::V4, false);
    let text = steps(&bare, chains, &[]).0;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("src/mode/iptables/golden/{name}.rules"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("write golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs: see UPDATE_GOLDEN", path.display());
}

const BOTH: [(&str, &str); 2] = [("node-1", "10.244.0.5"), ("node-2", "10.244.1.5")];

#[test]
fn base() {
    let names = Names::of("dev");
    let bare = render::chains(&Default::default(), &config(), &names, Family::V4, true);
    let jumps = render::jumps(&names);
    let text = steps(&Chains::default(), &bare, &jumps.iter().collect::<Vec<_>>()).0;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/mode/iptables/golden/base.rules");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).expect("write golden file");
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default());
}

#[test]
fn node_port_with_affinity() {
    let spec = json!({
        "clusterIP": "10.96.0.20", "type": "NodePort", "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
    });
    golden("node_port_with_affinity", &chains(spec, json!({}), &BOTH));
}

#[test]
fn load_balancer_with_local_policy_and_source_ranges() {
    let spec = || {
        json!({
            "clusterIP": "10.96.0.20", "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local", "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
            "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["192.0.2.7"], "healthCheckNodePort": 32000,
        })
    };
    let status = || json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}});
    golden("load_balancer_local", &chains(spec(), status(), &BOTH));
    golden("load_balancer_local_elsewhere", &chains(spec(), status(), &BOTH[1..]));
    golden("load_balancer_without_endpoints", &chains(spec(), status(), &[]));
}
