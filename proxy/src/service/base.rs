//! Rules that are there without any service: where packets enter, masquerading, refusals.

use crate::nft::{Family, Fragment};

use super::{Config, ranges};

/// Verdicts by address, protocol and port.
pub(super) const SERVICE_IPS: &str = "service-ips";
/// Verdicts by protocol and port, for the node's own addresses.
pub(super) const NODE_PORTS: &str = "service-nodeports";
/// Verdicts by protocol and port, for ports of the host that are published.
pub(super) const PUBLISHED: &str = "published-ports";
/// All virtual addresses of the cluster: what is still addressed to one after translation is refused.
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
/// The chain that refuses at once: plain ICMP makes TCP clients on the host wait a second.
pub(super) const REFUSE: &str = "refuse";
/// The chain that asks for masquerading when the packet leaves.
pub(super) const MARK: &str = "mark-masquerade";

/// The base of both families.
pub(super) fn fragment(config: &Config) -> Fragment {
    let mut base = Fragment::default();
    for family in Family::ALL {
        maps(&mut base, family, config);
        entry(&mut base, family, config);
        masquerade(&mut base, family, config);
        filter(&mut base, family, config);
        dns(&mut base, family, config);
    }
    base
}

fn maps(base: &mut Fragment, family: Family, config: &Config) {
    let address = family.address_type();
    let by_address = format!("type {address} . inet_proto . inet_service : verdict;");
    base.declare_map(family, SERVICE_IPS, by_address);
    let by_port = || "type inet_proto . inet_service : verdict;".to_owned();
    base.declare_map(family, NODE_PORTS, by_port());
    if !config.published.is_empty() {
        base.declare_map(family, PUBLISHED, by_port());
    }
    base.declare_set(family, CLUSTER_IPS, format!("type {address};"));
}

/// Where the first packet of a connection meets the services: coming in, or made on this host.
fn entry(base: &mut Fragment, family: Family, config: &Config) {
    let ip = family.ip();
    let mut rules = vec![format!("{ip} daddr . meta l4proto . th dport vmap @{SERVICE_IPS}")];
    let node_port = format!("fib daddr type local meta l4proto . th dport vmap @{NODE_PORTS}");
    let not_localhost = match family {
        Family::V4 if config.localhost_node_ports => String::new(),
        Family::V4 => "ip daddr != 127.0.0.0/8 ".to_owned(),
        // There is no route_localnet for IPv6: a packet to ::1 never leaves the loopback interface.
        Family::V6 => "ip6 daddr != ::1 ".to_owned(),
    };
    if config.node_port_addresses.is_empty() {
        rules.push(format!("{not_localhost}{node_port}"));
    } else if let Some(addresses) = ranges(&config.node_port_addresses, family) {
        rules.push(format!("{ip} daddr {addresses} {not_localhost}{node_port}"));
    }
    if !config.published.is_empty() {
        let not_localhost = if family == Family::V6 { "ip6 daddr != ::1 " } else { "" };
        rules.push(format!("{not_localhost}fib daddr type local meta l4proto . th dport vmap @{PUBLISHED}"));
    }
    base.chain(family, "services", rules);
    let jump = || vec!["jump services".to_owned()];
    base.hook(family, "nat-prerouting", "type nat hook prerouting priority dstnat; policy accept", jump());
    // The number, since nft before 1.0.8 knows the name `dstnat` only for prerouting.
    base.hook(family, "nat-output", "type nat hook output priority -100; policy accept", jump());
}

/// Connections that need this node's address as their source: those marked, and pods leaving the cluster.
fn masquerade(base: &mut Fragment, family: Family, config: &Config) {
    let (ip, mark) = (family.ip(), config.mark());
    base.chain(family, MARK, vec![format!("meta mark set meta mark or {mark}")]);
    let mut rules = vec![format!("meta mark and {mark} == {mark} goto masquerade-marked")];
    if let Some(pods) = config.pods(family) {
        let group = match family {
            Family::V4 => "224.0.0.0/4",
            Family::V6 => "ff00::/8",
        };
        rules.push(format!(
            "{ip} saddr {pods} {ip} daddr != {pods} {ip} daddr != {group} oifname != \"{}\" \
             masquerade fully-random",
            config.bridge
        ));
    }
    let hook = "type nat hook postrouting priority srcnat; policy accept";
    base.hook(family, "nat-postrouting", hook, rules);
    // The mark goes, so that the packet is not masqueraded again on its way through a tunnel.
    let clear = format!("meta mark set meta mark xor {mark}");
    base.chain(family, "masquerade-marked", vec![clear, "masquerade fully-random".to_owned()]);
}

fn filter(base: &mut Fragment, family: Family, config: &Config) {
    let (ip, bridge) = (family.ip(), &config.bridge);
    let unknown_port = format!("ct state new {ip} daddr @{CLUSTER_IPS} goto {REFUSE}");
    // Not refused: a service that is being made gets the client's next try.
    let unknown_address =
        ranges(&config.service_cidrs, family).map(|range| format!("{ip} daddr {range} drop"));
    let unknown = || [unknown_port.clone()].into_iter().chain(unknown_address.clone());
    // A packet outside any connection is not translated back: its receiver would reset the connection.
    let invalid = format!("iifname \"{bridge}\" ct state invalid drop");
    let forward = "type filter hook forward priority filter; policy accept";
    base.hook(family, "filter-forward", forward, [invalid].into_iter().chain(unknown()).collect());
    // Pods reach each other through the gateway; a redirect would send them past the translation.
    let redirect = match family {
        Family::V4 => "icmp type redirect",
        Family::V6 => "icmpv6 type nd-redirect",
    };
    let redirect = format!("oifname \"{bridge}\" {redirect} drop");
    let output = "type filter hook output priority filter; policy accept";
    base.hook(family, "filter-output", output, [redirect].into_iter().chain(unknown()).collect());
    if family == Family::V4 {
        // `route_localnet` on the bridge lets replies to 127.0.0.1 in, and must let in nothing else.
        let martian =
            format!("iifname \"{bridge}\" ip daddr 127.0.0.0/8 ct state != {{ established, related }} drop");
        let input = "type filter hook input priority filter; policy accept";
        base.hook(family, "filter-input", input, vec![martian]);
    }
    base.chain(
        family,
        REFUSE,
        vec!["meta l4proto tcp reject with tcp reset".to_owned(), "reject".to_owned()],
    );
}

/// The cluster's DNS addresses lead to this node's own server.
fn dns(base: &mut Fragment, family: Family, config: &Config) {
    for (ip, listener) in config.dns.iter().filter(|(ip, _)| Family::of(ip) == family) {
        base.member(family, CLUSTER_IPS, ip.to_string());
        let chain = format!("dns-{}", ip.to_string().replace(':', "_"));
        let rule = |protocol| format!("meta l4proto {protocol} dnat to {listener}");
        base.chain(family, chain.clone(), vec![rule("udp"), rule("tcp")]);
        for protocol in ["udp", "tcp"] {
            base.map(family, SERVICE_IPS, format!("{ip} . {protocol} . 53"), format!("goto {chain}"));
        }
    }
}
