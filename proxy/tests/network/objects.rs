//! Builders of Services and EndpointSlices.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_proxy::nft::RuleSet;
use knarr_proxy::service::{Config, Index, Plans, desired};
use serde_json::{Value, json};

/// A Service `default/NAME` with a spec, whose `ports` default to TCP 80.
pub fn service(name: &str, spec: Value) -> Service {
    let mut object = json!({
        "metadata": { "namespace": "default", "name": name },
        "spec": { "ports": [{ "port": 80, "protocol": "TCP" }] },
    });
    merge(&mut object["spec"], spec);
    serde_json::from_value(object).expect("service")
}

/// A slice with ready endpoints on this node.
pub fn slice(service: &str, protocol: &str, endpoints: &[SocketAddr]) -> Arc<EndpointSlice> {
    slice_with(service, protocol, endpoints, json!({ "nodeName": "node-1", "conditions": { "ready": true } }))
}

/// A slice whose endpoints share the given fields.
pub fn slice_with(
    service: &str,
    protocol: &str,
    endpoints: &[SocketAddr],
    fields: Value,
) -> Arc<EndpointSlice> {
    let family = if endpoints.first().is_some_and(SocketAddr::is_ipv6) { "IPv6" } else { "IPv4" };
    let entry = |e: &SocketAddr| {
        let mut entry = fields.clone();
        entry["addresses"] = json!([e.ip()]);
        entry
    };
    let object = json!({
        "metadata": {
            "namespace": "default",
            "name": format!("{service}-{family}-{protocol}"),
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": family,
        "ports": [{ "port": endpoints.first().map_or(80, SocketAddr::port), "protocol": protocol }],
        "endpoints": endpoints.iter().map(entry).collect::<Vec<_>>(),
    });
    Arc::new(serde_json::from_value(object).expect("slice"))
}

/// What is to become of one service's traffic.
pub fn plans(config: &Config, service: &Service, slices: &[Arc<EndpointSlice>]) -> Plans {
    let mut index = Index::new(config.clone());
    index.apply_service(service);
    slices.iter().for_each(|slice| index.apply_slice(slice));
    index.plans()
}

/// The rules of one service, for nftables.
pub fn rules(config: &Config, service: &Service, slices: &[Arc<EndpointSlice>]) -> RuleSet {
    desired([service], slices, config)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}
