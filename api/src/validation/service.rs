//! Rules of services.
use super::cursor::{At, same};
use super::{Rules, labels, net};
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[(
    "Service",
    Rules { name: names::dns_label, object: service, update, status: |at, _| load_balancer_status(at) },
)];

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
/// One day.
const AFFINITY_MAX: i64 = 86_400;

fn service(at: &At<'_>) {
    let spec = at.get("spec");
    let ty = spec.get("type");
    let headless = is_headless(&spec);
    ports(&spec, ty.text(), headless);
    match ty.text() {
        "ExternalName" => external_name(&spec),
        "LoadBalancer" | "NodePort" if headless => {
            let first = spec.get("clusterIPs").items().next().unwrap_or_else(|| spec.get("clusterIP"));
            first.invalid(format!("may not be set to 'None' for {} services", ty.text()));
        }
        _ => {}
    }
    labels::labels(&spec.get("selector"));
    session_affinity(&spec);
    cluster_ips(&spec);
    for ip in spec.get("externalIPs").items() {
        if let Some(address) = net::ip(&ip) {
            net::not_special(&ip, address);
        }
    }
    ty.need_one_of(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    load_balancer(&spec, ty.text());
    traffic_policies(&spec, ty.text());
    // A Service that is balanced no more keeps its status until the balancer's controller takes it away.
}

fn is_headless(spec: &At<'_>) -> bool {
    spec.get("clusterIP").text() == "None" || spec.get("clusterIPs").items().map(|ip| ip.text()).eq(["None"])
}

fn ports(spec: &At<'_>, ty: &str, headless: bool) {
    let list = spec.get("ports");
    if list.is_empty() && !headless && ty != "ExternalName" {
        list.required("");
    }
    let several = list.len() > 1;
    let mut seen_ports: Vec<(&str, Option<i64>)> = Vec::new();
    let mut seen_node_ports: Vec<(&str, i64)> = Vec::new();
    list.unique("name");
    for port in list.items() {
        let (name, number, protocol) = (port.get("name"), port.get("port"), port.get("protocol"));
        if !name.is_empty() {
            name.format(names::dns_label);
        } else if several {
            name.required("");
        }
        number.port();
        protocol.need_one_of(&PROTOCOLS);
        port.get("targetPort").port_or_name();
        port.get("appProtocol").format_if_set(names::qualified_name);
        let node_port = port.get("nodePort");
        if let Some(node) = node_port.int().filter(|node| *node != 0) {
            if ty == "ClusterIP" {
                node_port.forbidden("may not be used when `type` is 'ClusterIP'");
            }
            if seen_node_ports.contains(&(protocol.text(), node)) {
                node_port.duplicate();
            }
            seen_node_ports.push((protocol.text(), node));
        }
        let identity = (protocol.text(), number.int());
        if seen_ports.contains(&identity) {
            // The original compares ports that have nothing else.
            port.duplicate_shown(format_args!(
                "{{\"Name\":\"\",\"Protocol\":{:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                protocol.text(),
                number.int().unwrap_or_default()
            ));
        }
        seen_ports.push(identity);
    }
}

fn external_name(spec: &At<'_>) {
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].map(|name| spec.get(name)) {
        if !name.is_empty() {
            name.forbidden("may not be set for ExternalName services");
        }
    }
    let name = spec.get("externalName");
    if name.need() {
        name.format(|text| names::dns_subdomain(text.strip_suffix('.').unwrap_or(text)));
    }
}

fn session_affinity(spec: &At<'_>) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    affinity.one_of(&["ClientIP", "None"]);
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.get("clientIP.timeoutSeconds");
            if !timeout.is_set() {
                config.required("when session affinity type is ClientIP");
            } else if !(1..=AFFINITY_MAX).contains(&timeout.int().unwrap_or(0)) {
                timeout.invalid(format!("must be greater than 0 and less than {AFFINITY_MAX}"));
            }
        }
        "None" if config.is_set() => {
            config.forbidden("must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_ips(spec: &At<'_>) {
    if spec.get("type").text() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let first = ips.items().next();
    match &first {
        Some(first) if first.text() != ip.text() => ips.invalid("first value must match `clusterIP`"),
        None if !ip.is_empty() => ips.required(""),
        _ => {}
    }
    if ips.len() > 2 {
        ips.invalid("may only hold up to 2 values");
    }
    let policy = spec.get("ipFamilyPolicy");
    policy.one_of_if_set(&["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let mut families: Vec<&str> = Vec::new();
    for family in spec.get("ipFamilies").items() {
        family.one_of(&FAMILIES);
        if families.contains(&family.text()) {
            family.duplicate();
        }
        families.push(family.text());
    }
    if policy.text() == "SingleStack" {
        for list in [spec.get("ipFamilies"), ips.clone()].into_iter().filter(|list| list.len() > 1) {
            list.invalid("may only hold one value when `ipFamilyPolicy` is SingleStack");
        }
    }
    for (at, ip) in ips.items().enumerate() {
        if ip.text() == "None" {
            if ips.len() > 1 {
                ip.invalid("'None' must be the first and only value");
            }
            continue;
        }
        let Some(address) = net::ip(&ip) else { continue };
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        if families.get(at).is_some_and(|expected| *expected != family) {
            ip.invalid(format!("expected an {} value as indicated by `ipFamilies[{at}]`", families[at]));
        }
    }
}

fn load_balancer(spec: &At<'_>, ty: &str) {
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() && ty != "LoadBalancer" {
        ranges.forbidden(ONLY_LOAD_BALANCER);
    }
    for range in ranges.items() {
        net::cidr(&range);
    }
    let class = spec.get("loadBalancerClass");
    for field in [class.clone(), spec.get("allocateLoadBalancerNodePorts")] {
        if field.is_set() && ty != "LoadBalancer" {
            field.forbidden(ONLY_LOAD_BALANCER);
        }
    }
    if ty == "LoadBalancer" {
        class.format_if_set(names::qualified_name);
        if class.is_set() && class.is_empty() {
            class.format(names::qualified_name);
        }
        if !spec.get("allocateLoadBalancerNodePorts").is_set() {
            spec.get("allocateLoadBalancerNodePorts").required("");
        }
    }
}

fn traffic_policies(spec: &At<'_>, ty: &str) {
    let (external, health) = (spec.get("externalTrafficPolicy"), spec.get("healthCheckNodePort"));
    let reachable = matches!(ty, "LoadBalancer" | "NodePort") || !spec.get("externalIPs").is_empty();
    if reachable {
        if external.is_empty() {
            external.required("");
        } else {
            external.one_of(&["Cluster", "Local"]);
        }
    } else if !external.is_empty() {
        external.invalid("may only be set for externally-accessible services");
    }
    let checked = ty == "LoadBalancer" && external.text() == "Local";
    match health.int().unwrap_or(0) {
        0 => {}
        _ if !checked => {
            health.invalid(
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            );
        }
        _ => health.port(),
    }
    let internal = spec.get("internalTrafficPolicy");
    if ty != "ExternalName" && !internal.is_set() {
        internal.required("");
    }
    internal.one_of_if_set(&["Cluster", "Local"]);
    spec.get("trafficDistribution").one_of_if_set(&["PreferClose", "PreferSameNode", "PreferSameZone"]);
}

fn load_balancer_status(at: &At<'_>) {
    let ingress = at.get("status.loadBalancer.ingress");
    if !ingress.is_empty() && at.get("spec.type").text() != "LoadBalancer" {
        ingress.forbidden("may only be used when `spec.type` is \"LoadBalancer\"");
    }
    for point in ingress.items() {
        if !point.get("ip").is_empty() {
            net::ip(&point.get("ip"));
        }
        point.get("ipMode").one_of_if_set(&["Proxy", "VIP"]);
        let host = point.get("hostname");
        if !host.is_empty() {
            host.format(names::dns_subdomain);
            if host.text().parse::<std::net::IpAddr>().is_ok() {
                host.invalid("must be a DNS name, not an IP address");
            }
        }
    }
}

fn update(at: &At<'_>, old: &Value) {
    let (spec, old_spec) = (at.get("spec"), &old["spec"]);
    let external = |ty: &str| ty == "ExternalName";
    let old_type = old_spec["type"].as_str().unwrap_or_default();
    if external(spec.get("type").text()) || external(old_type) {
        return;
    }
    once_set(&spec, old_spec, "clusterIPs", "primary clusterIP can not be unset");
    once_set(&spec, old_spec, "ipFamilies", "primary ipFamily can not be unset");
    if spec.get("type").text() == old_type && !same(&old_spec["loadBalancerClass"], &Value::Null) {
        let class = spec.get("loadBalancerClass");
        if !same(class.value(), &old_spec["loadBalancerClass"]) {
            class.invalid("may not change once set");
        }
    }
    let checked = |spec: &Value| spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local";
    if checked(spec.value()) && checked(old_spec) {
        let health = spec.get("healthCheckNodePort");
        if !same(health.value(), &old_spec["healthCheckNodePort"]) {
            health.invalid("field is immutable");
        }
    }
}

/// The first value of a list stays once it is set; a second may come and go.
fn once_set(spec: &At<'_>, old: &Value, name: &str, unset: &str) {
    let (new, old) = (spec.get(name), &old[name]);
    let Some(first) = old.get(0).filter(|first| **first != "") else { return };
    match new.items().next() {
        None => new.invalid(unset),
        Some(item) if item.value() != first => item.with(new.value()).invalid("may not change once set"),
        Some(_) => {}
    }
    if let (Some(old), Some(item)) = (old.get(1), new.items().nth(1))
        && item.value() != old
    {
        item.with(new.value()).invalid("may not change once set");
    }
}
