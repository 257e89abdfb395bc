//! IP families of a Service: defaults from the cluster's ranges and from the addresses asked for.
use super::{get, has_addresses, is_headless, set, spec};
use crate::registry::object;
use ipnet::IpNet;
use knarr_api::Value;
use serde_json::json;
use std::net::IpAddr;

pub(super) fn name(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

fn of(address: &str) -> Option<&'static str> {
    address.parse::<IpAddr>().ok().map(|a| name(a.is_ipv6()))
}

fn of_range(range: &IpNet) -> &'static str {
    name(matches!(range, IpNet::V6(_)))
}

/// A Service that goes from two families back to one loses the second family and its address, if the client left them
/// as they were.
pub(super) fn trim(service: &mut Value, old: &Value) {
    let had_two = matches!(spec(old, "ipFamilyPolicy"), "PreferDualStack" | "RequireDualStack");
    if !had_two || spec(service, "ipFamilyPolicy") != "SingleStack" {
        return;
    }
    for name in ["clusterIPs", "ipFamilies"] {
        if let Some(Value::Array(mut list)) =
            get(old, name).filter(|list| get(service, name).as_ref() == Some(list))
        {
            list.truncate(1);
            set(service, name, Some(list.into()));
        }
    }
}

/// Fills `ipFamilyPolicy` and `ipFamilies`.
pub(super) fn complete(service: &mut Value, ranges: &[IpNet]) {
    if !has_addresses(service) {
        return;
    }
    let served: Vec<&str> = ranges.iter().map(of_range).collect();
    let default = served.first().copied().unwrap_or("IPv4");
    let addresses: Vec<String> = object::list(service, &["spec", "clusterIPs"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut families: Vec<String> = object::list(service, &["spec", "ipFamilies"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    // A headless Service without selector may have any endpoints, whatever the cluster's own addresses are.
    let selectorless = get(service, "selector").is_none_or(|s| s.as_object().is_some_and(|m| m.is_empty()));
    let free = is_headless(service) && selectorless;
    if spec(service, "ipFamilyPolicy").is_empty() {
        let two = families.len() > 1 || addresses.len() > 1;
        let policy = if free || two { "RequireDualStack" } else { "SingleStack" };
        set(service, "ipFamilyPolicy", Some(policy.into()));
    }
    for (at, address) in addresses.iter().enumerate() {
        if let (Some(family), true) = (of(address), families.len() == at) {
            families.push(family.to_owned());
        }
    }
    if families.is_empty() {
        families.push(default.to_owned());
    }
    let dual = spec(service, "ipFamilyPolicy") != "SingleStack";
    if dual && families.len() == 1 && (free || served.len() > 1) {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    set(service, "ipFamilies", Some(json!(families)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ranges: &[&str], spec: Value, policy: &str, families: &[&str]) {
        let ranges: Vec<IpNet> = ranges.iter().map(|r| r.parse().unwrap()).collect();
        let mut service = json!({"spec": spec});
        complete(&mut service, &ranges);
        assert_eq!(service["spec"]["ipFamilyPolicy"], policy);
        assert_eq!(service["spec"]["ipFamilies"], json!(families));
    }

    #[test]
    fn the_second_family_goes() {
        let two = json!({"spec": {"ipFamilyPolicy": "PreferDualStack", "clusterIP": "10.0.0.9",
            "clusterIPs": ["10.0.0.9", "fd00::9"], "ipFamilies": ["IPv4", "IPv6"]}});
        let mut one = two.clone();
        trim(&mut one, &two);
        assert_eq!(one, two);
        one["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        trim(&mut one, &two);
        assert_eq!(one["spec"]["clusterIPs"], json!(["10.0.0.9"]));
        assert_eq!(one["spec"]["ipFamilies"], json!(["IPv4"]));
        let mut other = two.clone();
        other["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        other["spec"]["clusterIPs"] = json!(["10.0.0.9", "fd00::8"]);
        trim(&mut other, &two);
        assert_eq!(other["spec"]["clusterIPs"], json!(["10.0.0.9", "fd00::8"]), "what the client says stays");
    }

    #[test]
    fn defaults() {
        let (v4, v6) = ("10.0.0.0/24", "fd00::/112");
        check(&[v4], json!({"type": "ClusterIP"}), "SingleStack", &["IPv4"]);
        check(&[v4, v6], json!({"type": "ClusterIP"}), "SingleStack", &["IPv4"]);
        check(
            &[v4, v6],
            json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            &["IPv4", "IPv6"],
        );
        check(
            &[v4],
            json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack",
            &["IPv4"],
        );
        check(
            &[v4, v6],
            json!({"type": "ClusterIP", "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}),
            "SingleStack",
            &["IPv6"],
        );
        check(
            &[v4],
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}),
            "RequireDualStack",
            &["IPv4", "IPv6"],
        );
        check(
            &[v4],
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}),
            "SingleStack",
            &["IPv4"],
        );
    }
}
