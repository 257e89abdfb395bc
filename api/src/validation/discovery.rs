//! Rules of endpoints and endpoint slices.
use super::constraints::Rule::{Need, Unique};
use super::constraints::check;
use super::cursor::At;
use super::{Rules, net};
use crate::{Value, names};
use std::net::IpAddr;

pub(super) const CORE_RULES: &[(&str, Rules)] = &[("Endpoints", Rules { object: endpoints, ..Rules::PLAIN })];

pub(super) const RULES: &[(&str, Rules)] = &[(
    "EndpointSlice",
    Rules {
        object: slice,
        update: |at, old: &Value| at.get("addressType").immutable(&old["addressType"]),
        ..Rules::PLAIN
    },
)];

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

fn endpoints(at: &At<'_>) {
    for subset in at.get("subsets").items() {
        let (ready, waiting) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && waiting.is_empty() {
            subset.required("must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(waiting.items()) {
            let ip = address.get("ip");
            if let Some(address) = net::ip(&ip) {
                net::not_special(&ip, address);
            }
            address.get("hostname").format_if_set(names::dns_label);
            address.get("nodeName").format_if_set(names::dns_subdomain);
        }
        let ports = subset.get("ports");
        for port in ports.items() {
            let name = port.get("name");
            if !name.is_empty() {
                name.format(names::dns_label);
            } else if ports.len() > 1 {
                name.required("");
            }
            port.get("port").port();
            port.get("protocol").need_one_of(&PROTOCOLS);
            port.get("appProtocol").format_if_set(names::qualified_name);
        }
    }
}

fn slice(at: &At<'_>) {
    let ty = at.get("addressType");
    ty.need_one_of(&["FQDN", "IPv4", "IPv6"]);
    let endpoints = at.get("endpoints");
    endpoints.at_most(ENDPOINTS_MAX);
    for endpoint in endpoints.items().take(ENDPOINTS_MAX) {
        one(&endpoint, ty.text());
    }
    let ports = at.get("ports");
    ports.at_most(PORTS_MAX);
    let mut seen: Vec<&str> = Vec::new();
    for port in ports.items().take(PORTS_MAX) {
        let name = port.get("name");
        name.format_if_set(names::dns_label);
        if seen.contains(&name.text()) {
            name.duplicate_text(name.text());
        }
        seen.push(name.text());
        port.get("protocol").need_one_of(&PROTOCOLS);
        port.get("appProtocol").format_if_set(names::qualified_name);
    }
}

fn one(endpoint: &At<'_>, ty: &str) {
    let addresses = endpoint.get("addresses");
    if addresses.is_empty() {
        addresses.required("must contain at least 1 address");
    }
    addresses.at_most(ADDRESSES_MAX);
    for address in addresses.items() {
        match (ty, address.text().parse::<IpAddr>()) {
            ("IPv6", Ok(IpAddr::V6(ip))) if ip.to_ipv4_mapped().is_some() => {
                address.invalid("must be a valid IPv6 address");
            }
            ("IPv4", Ok(ip @ IpAddr::V4(_))) | ("IPv6", Ok(ip @ IpAddr::V6(_))) => {
                net::not_special(&address, ip);
            }
            ("IPv4", _) => address.invalid("must be a valid IPv4 address"),
            ("IPv6", _) => address.invalid("must be a valid IPv6 address"),
            ("FQDN", _) => address.format(full_domain),
            _ => {}
        }
    }
    endpoint.get("nodeName").format_if_set(names::dns_subdomain);
    endpoint.get("hostname").format_if_set(names::dns_label);
    for hints in ["forZones", "forNodes"].map(|name| endpoint.get("hints").get(name)) {
        hints.at_most(HINTS_MAX);
        check(&hints, &[("", Unique("name"))]);
        hints.items().for_each(|hint| check(&hint, &[("name", Need)]));
    }
}

/// A domain name of at least two labels.
fn full_domain(text: &str) -> Vec<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let faults = names::dns_subdomain(text);
    if faults.is_empty() && !text.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    faults
}
