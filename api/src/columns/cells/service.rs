//! Cells of services, endpoints, ingresses and their kin.
use super::{CellFn, Context, limited, str_of};
use crate::Value;
use std::collections::BTreeSet;

pub(super) const CELLS: &[(&str, CellFn)] = &[
    // With subsets whose addresses are not ready the cell is empty.
    ("endpoints", |c| Some(if c.items("subsets").next().is_none() { "<none>".into() } else { endpoints(c) })),
    ("ingress_address", |c| Some(Value::from(load_balancer(c)))),
    ("ingress_class_parameters", |c| {
        let Some(parameters) = c.at("spec.parameters") else { return Some(Value::from("<none>")) };
        let group = str_of(parameters, "apiGroup");
        let dot = if group.is_empty() { "" } else { "." };
        let (kind, name) = (str_of(parameters, "kind"), str_of(parameters, "name"));
        Some(Value::from(format!("{kind}{dot}{group}/{name}")))
    }),
    ("ingress_hosts", |c| {
        let mut hosts = c.items("spec.rules").map(|rule| str_of(rule, "host"));
        let shown: Vec<&str> = hosts.by_ref().filter(|host| !host.is_empty()).take(3).collect();
        // What is counted is rules, with a host or without.
        let more = match hosts.next() {
            Some(_) => format!(" + {} more...", c.items("spec.rules").count() - shown.len()),
            None => String::new(),
        };
        Some(Value::from(if shown.is_empty() { "*".to_owned() } else { shown.join(",") + &more }))
    }),
    ("ingress_ports", |c| {
        Some(Value::from(if c.items("spec.tls").next().is_some() { "80, 443" } else { "80" }))
    }),
    ("parent_reference", |c| {
        let Some(parent) = c.at("spec.parentRef") else { return Some(Value::from("<none>")) };
        let mut text = str_of(parent, "resource").to_owned();
        for (separator, member) in [(".", "group"), ("/", "namespace")] {
            if !str_of(parent, member).is_empty() {
                text.push_str(separator);
                text.push_str(str_of(parent, member));
            }
        }
        Some(Value::from(format!("{}/{}", text.to_lowercase(), str_of(parent, "name"))))
    }),
    ("service_cluster_ip", |c| {
        let ip =
            c.items("spec.clusterIPs").next().and_then(Value::as_str).or_else(|| c.text("spec.clusterIP"));
        Some(Value::from(ip.unwrap_or("<none>")))
    }),
    ("service_external_ip", |c| Some(Value::from(external_ip(c)))),
    ("service_ports", |c| {
        let ports = c.items("spec.ports").map(|port| {
            let node = port["nodePort"].as_i64().filter(|n| *n > 0).map(|n| format!(":{n}"));
            format!("{}{}/{}", port["port"], node.unwrap_or_default(), str_of(port, "protocol"))
        });
        let ports = ports.collect::<Vec<_>>().join(",");
        Some(Value::from(if ports.is_empty() { "<none>".to_owned() } else { ports }))
    }),
    ("slice_endpoints", |c| {
        let addresses = c.items("endpoints").flat_map(|e| e["addresses"].as_array().into_iter().flatten());
        let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        Some(limited(&addresses, 3).unwrap_or_else(|| Value::from("<unset>")))
    }),
    ("slice_ports", |c| {
        let ports = c.items("ports").map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, name) => name.unwrap_or("*").to_owned(),
        });
        let shown = limited(&ports.collect::<Vec<_>>(), 3).filter(|shown| shown != "");
        Some(shown.unwrap_or_else(|| Value::from("<unset>")))
    }),
];

/// Addresses with ports; a subset without ports gives its bare addresses.
fn endpoints(c: &Context<'_>) -> Value {
    let mut texts = Vec::new();
    for subset in c.items("subsets") {
        let addresses = || subset["addresses"].as_array().into_iter().flatten().map(|a| str_of(a, "ip"));
        let ports = subset["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        if ports.is_empty() {
            texts.extend(addresses().map(ToOwned::to_owned));
        }
        for port in ports {
            let number = &port["port"];
            texts.extend(addresses().map(|ip| {
                if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") }
            }));
        }
    }
    limited(&texts, 3).unwrap_or_else(|| Value::from(""))
}

/// The distinct addresses of the load balancer, sorted.
fn load_balancer(c: &Context<'_>) -> String {
    let address = |i: &Value| match (str_of(i, "ip"), str_of(i, "hostname")) {
        ("", name) => name.to_owned(),
        (ip, _) => ip.to_owned(),
    };
    let addresses = c.items("status.loadBalancer.ingress").map(address).filter(|a| !a.is_empty());
    addresses.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

fn external_ip(c: &Context<'_>) -> String {
    let external = c.items("spec.externalIPs").filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let or = |text: String, absent: &str| if text.is_empty() { absent.to_owned() } else { text };
    match c.text("spec.type") {
        Some("ClusterIP" | "NodePort") => or(external, "<none>"),
        Some("LoadBalancer") => {
            let both: Vec<String> =
                [load_balancer(c), external].into_iter().filter(|t| !t.is_empty()).collect();
            or(both.join(","), "<pending>")
        }
        Some("ExternalName") => c.text("spec.externalName").unwrap_or_default().to_owned(),
        _ => "<unknown>".to_owned(),
    }
}
