//! Rules of ingresses, network policies, and blocks of service addresses.
use super::cursor::{At, same};
use super::{Rules, labels, net};
use crate::{Value, names};
use std::net::IpAddr;

pub(super) const RULES: &[(&str, Rules)] = &[
    ("Ingress", Rules { object: ingress, status: ingress_status, ..Rules::PLAIN }),
    (
        "IngressClass",
        Rules {
            object: ingress_class,
            update: |at, old| at.get("spec.controller").immutable(&old["spec"]["controller"]),
            ..Rules::PLAIN
        },
    ),
    ("IPAddress", Rules { name: ip_name, object: ip_address, update: ip_address_update, ..Rules::PLAIN }),
    ("NetworkPolicy", Rules { object: network_policy, ..Rules::PLAIN }),
    ("ServiceCIDR", Rules { object: service_cidr, update: service_cidr_update, ..Rules::PLAIN }),
];

fn ingress(at: &At<'_>) {
    let spec = at.get("spec");
    let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        spec.invalid("either `defaultBackend` or `rules` must be specified");
    }
    if default.is_set() {
        backend(&default);
    }
    let (class, annotation) =
        (spec.get("ingressClassName"), at.get("metadata.annotations").key("kubernetes.io/ingress.class"));
    class.format_if_set(names::dns_subdomain);
    let created = at.before().is_none();
    if created && class.is_set() && annotation.is_set() && class.text() != annotation.text() {
        annotation.invalid("must match `ingressClassName` when both are specified");
    }
    for rule in rules.items() {
        host(&rule.get("host"));
        let Some(http) = rule.find("http") else { continue };
        let paths = http.get("paths");
        paths.need();
        for entry in paths.items() {
            path(&entry);
            backend(&entry.get("backend"));
        }
    }
    for tls in spec.get("tls").items() {
        for name in tls.get("hosts").items() {
            host(&name);
        }
        tls.get("secretName").format_if_set(names::dns_subdomain);
    }
}

/// Addresses and names of the load balancer.
fn ingress_status(at: &At<'_>, _: &Value) {
    for entry in at.get("status.loadBalancer.ingress").items() {
        let (ip, name) = (entry.get("ip"), entry.get("hostname"));
        if !ip.is_empty() {
            net::ip(&ip);
        }
        if !name.is_empty() {
            name.format(names::dns_subdomain);
            if name.text().parse::<IpAddr>().is_ok() {
                name.invalid("must be a DNS name, not an IP address");
            }
        }
    }
}

fn host(host: &At<'_>) {
    if host.is_empty() {
        return;
    }
    if host.text().parse::<IpAddr>().is_ok() {
        host.invalid("must be a DNS name, not an IP address");
    }
    if host.text().contains('*') {
        host.format(names::wildcard_subdomain);
    } else {
        host.format(names::dns_subdomain);
    }
}

fn path(entry: &At<'_>) {
    let (ty, path) = (entry.get("pathType"), entry.get("path"));
    match ty.text() {
        "" => ty.required("pathType must be specified"),
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                path.invalid_text(path.text(), "must be an absolute path");
                return;
            }
            for sequence in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(sequence) {
                    path.invalid(format!("must not contain '{sequence}'"));
                }
            }
            for suffix in ["/..", "/."] {
                if path.text().ends_with(suffix) {
                    path.invalid(format!("cannot end with '{suffix}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.text().starts_with('/') {
                path.invalid("must be an absolute path");
            }
        }
        _ => ty.not_supported(&["Exact", "ImplementationSpecific", "Prefix"]),
    }
}

fn backend(backend: &At<'_>) {
    match (backend.find("service"), backend.find("resource")) {
        (Some(_), Some(_)) => backend.invalid_text("", "cannot set both resource and service backends"),
        (None, Some(resource)) => {
            resource.get("kind").need();
            resource.get("name").need();
        }
        (Some(service), None) => {
            service.get("name").required_format(names::dns_label);
            let port = service.get("port");
            let (name, number) = (port.get("name"), port.get("number"));
            match (!name.is_empty(), number.int().unwrap_or(0) != 0) {
                (true, true) => service.invalid_text("", "cannot set both port name & port number"),
                (false, false) => service.required("port name or number is required"),
                (true, false) => name.format(names::port_name),
                (false, true) => number.port(),
            }
        }
        (None, None) => backend.required("resource or service backend is required"),
    }
}

fn ingress_class(at: &At<'_>) {
    let controller = at.get("spec.controller");
    if controller.text().len() > 250 {
        controller.too_long(250);
    }
    super::batch::domain_prefixed_path(&controller);
    let Some(parameters) = at.get("spec").find("parameters") else { return };
    parameters.get("apiGroup").format_if_set(names::dns_subdomain);
    parameters.get("kind").required_format(names::path_segment);
    parameters.get("name").required_format(names::path_segment);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match (scope.text(), namespace.is_set()) {
        ("Cluster", true) => namespace.forbidden("`parameters.scope` is set to 'Cluster'"),
        ("Namespace", false) => namespace.required("`parameters.scope` is set to 'Namespace'"),
        ("Namespace", true) => namespace.format(names::dns_label),
        ("Cluster", false) => {}
        ("", _) => scope.required(""),
        _ => scope.not_supported(&["Cluster", "Namespace"]),
    }
}

fn network_policy(at: &At<'_>) {
    let spec = at.get("spec");
    labels::selector(&spec.get("podSelector"));
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(list).items() {
            rule.get("ports").items().for_each(|port| policy_port(&port));
            rule.get(peers).items().for_each(|peer| policy_peer(&peer));
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        types.invalid("may not specify more than two policyTypes");
        return;
    }
    for ty in types.items() {
        ty.one_of(&["Egress", "Ingress"]);
    }
}

fn policy_port(at: &At<'_>) {
    at.get("protocol").one_of_if_set(&["SCTP", "TCP", "UDP"]);
    let (port, end) = (at.get("port"), at.get("endPort"));
    if port.is_set() {
        port.port_or_name();
    }
    let Some(last) = end.int() else { return };
    match (port.value(), port.int()) {
        (Value::Null, _) => end.invalid("may not be specified when `port` is not specified"),
        (_, None) => end.invalid("may not be specified when `port` is non-numeric"),
        (_, Some(first)) => {
            end.port();
            if last < first {
                end.invalid("must be greater than or equal to `port`");
            }
        }
    }
}

fn policy_peer(peer: &At<'_>) {
    let selectors = ["podSelector", "namespaceSelector"];
    let set = selectors.iter().filter_map(|name| peer.find(name)).inspect(labels::selector).count();
    let block = peer.find("ipBlock");
    if set == 0 && block.is_none() {
        peer.required("must specify a peer");
    } else if set > 0 && block.is_some() {
        peer.forbidden("may not specify both ipBlock and another peer");
    }
    let Some(block) = block else { return };
    let cidr = block.get("cidr");
    let Some(outer) = cidr.need().then(|| net::cidr(&cidr)).flatten() else { return };
    for except in block.get("except").items() {
        if net::cidr(&except).is_some_and(|inner| !outer.strictly_contains(&inner)) {
            except.invalid("must be a strict subset of `cidr`");
        }
    }
}

/// The name of an `IPAddress`: an address in its one canonical form.
fn ip_name(name: &str) -> Vec<String> {
    match name.parse::<IpAddr>() {
        Ok(address) if address.to_string() == name => Vec::new(),
        Ok(address) => vec![format!("must be in canonical form ({:?})", address.to_string())],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

fn ip_address(at: &At<'_>) {
    let parent = at.get("spec.parentRef");
    if !parent.is_set() {
        parent.required("");
        return;
    }
    parent.get("group").format_if_set(names::dns_subdomain);
    parent.get("resource").required_format(names::path_segment);
    parent.get("name").required_format(names::path_segment);
    parent.get("namespace").format_if_set(names::path_segment);
}

fn ip_address_update(at: &At<'_>, old: &Value) {
    at.get("spec.parentRef").immutable(&old["spec"]["parentRef"]);
}

fn service_cidr(at: &At<'_>) {
    let cidrs = at.get("spec.cidrs");
    if cidrs.is_empty() {
        cidrs.required("at least one CIDR required");
    }
    if cidrs.len() > 2 {
        cidrs.invalid("may only hold up to 2 values");
    }
    let blocks: Vec<net::Cidr> = cidrs.items().filter_map(|cidr| net::cidr(&cidr)).collect();
    if let [a, b] = blocks.as_slice()
        && a.address.is_ipv4() == b.address.is_ipv4()
    {
        cidrs.invalid(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96",
        );
    }
}

fn service_cidr_update(at: &At<'_>, old: &Value) {
    let (cidrs, old) = (at.get("spec.cidrs"), &old["spec"]["cidrs"]);
    let gained =
        cidrs.len() == 2 && old.as_array().is_some_and(|o| o.len() == 1) && cidrs.value()[0] == old[0];
    if !gained && !same(cidrs.value(), old) {
        cidrs.invalid(super::cursor::IMMUTABLE);
    }
}
