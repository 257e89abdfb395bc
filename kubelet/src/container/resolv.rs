//! What a pod's `resolv.conf` says, by DNS policy.

use k8s_openapi::api::core::v1::Pod;

use crate::pod;
use crate::runtime::types::DnsConfig;

/// The cluster's DNS as the node's flags give it.
#[derive(Debug, Clone, Default)]
pub struct ClusterDns {
    /// Addresses of the cluster's DNS service.
    pub servers: Vec<String>,
    /// The cluster's domain, for example `cluster.local`.
    pub domain: String,
}

/// Limits of `resolv.conf` that the original keeps.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

/// Reads the node's `resolv.conf`.
pub fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.next()),
            Some("search") => config.searches = words.filter(|word| word != ".").collect(),
            Some("options") => config.options = words.collect(),
            _ => {}
        }
    }
    config
}

/// The DNS settings of a pod, with warnings about what does not fit; `node` is what the node itself uses.
pub fn config(pod: &Pod, cluster: &ClusterDns, node: &DnsConfig) -> (DnsConfig, Vec<String>) {
    let spec = pod::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster_first = match policy {
        "ClusterFirst" => !pod::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = match policy {
        "None" => DnsConfig::default(),
        _ if cluster_first && !cluster.servers.is_empty() => DnsConfig {
            servers: cluster.servers.clone(),
            searches: cluster_searches(pod, cluster, node),
            options: vec!["ndots:5".to_owned()],
        },
        _ => node.clone(),
    };
    if let Some(own) = &spec.dns_config {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            config.options.retain(|old| old.split(':').next() != Some(name));
            config.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.to_owned(),
            });
        }
    }
    dedup(&mut config.servers);
    dedup(&mut config.searches);
    let mut warnings = Vec::new();
    if config.servers.len() > MAX_SERVERS {
        config.servers.truncate(MAX_SERVERS);
        warnings.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            config.servers.join(" ")
        ));
    }
    let before = config.searches.len();
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.iter().map(|search| search.len() + 1).sum::<usize>() > MAX_SEARCH_BYTES {
        config.searches.pop();
    }
    if config.searches.len() < before {
        warnings.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            config.searches.join(" ")
        ));
    }
    (config, warnings)
}

fn cluster_searches(pod: &Pod, cluster: &ClusterDns, node: &DnsConfig) -> Vec<String> {
    let domain = &cluster.domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", pod::namespace(pod)));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    searches.extend(node.searches.iter().cloned());
    searches
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told() {
        let (long, other) = ("x".repeat(1500), "y".repeat(1500));
        let searches = format!("searches: [a.b, {long}, {other}]");
        let text = format!(
            "{{spec: {{containers: [], dnsPolicy: None, dnsConfig: {{nameservers: ['1', '2', '3', '4'], {searches}}}}}}}"
        );
        let (made, warnings) = config(&pod::tests::pod(&text), &ClusterDns::default(), &DnsConfig::default());
        assert_eq!(made.servers, ["1", "2", "3"]);
        assert_eq!(made.searches, ["a.b", &long]);
        assert!(warnings[0].ends_with("the applied nameserver line is: 1 2 3"), "{warnings:?}");
        assert!(warnings[1].starts_with("Search Line limits were exceeded"), "{warnings:?}");
    }

    #[test]
    fn policies() {
        let cluster = ClusterDns { servers: vec!["10.96.0.10".into()], domain: "cluster.local".into() };
        let node = parse("# x\nnameserver 1.1.1.1\nsearch corp.example .\noptions edns0\n");
        let check = |spec: &str, expected: (&str, &str, &str)| {
            let pod =
                pod::tests::pod(&format!("{{metadata: {{namespace: n}}, spec: {{containers: [], {spec}}}}}"));
            let (made, warnings) = config(&pod, &cluster, &node);
            assert!(warnings.is_empty(), "{spec}");
            let got = (made.servers.join(" "), made.searches.join(" "), made.options.join(" "));
            assert_eq!((got.0.as_str(), got.1.as_str(), got.2.as_str()), expected, "{spec}");
        };
        let usual = "n.svc.cluster.local svc.cluster.local cluster.local corp.example";
        check("dnsPolicy: ClusterFirst", ("10.96.0.10", usual, "ndots:5"));
        check("hostNetwork: true", ("1.1.1.1", "corp.example", "edns0"));
        check("hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet", ("10.96.0.10", usual, "ndots:5"));
        check("dnsPolicy: Default", ("1.1.1.1", "corp.example", "edns0"));
        check(
            "dnsPolicy: None, dnsConfig: {nameservers: [9.9.9.9], searches: [a.b], options: [{name: ndots, value: '2'}]}",
            ("9.9.9.9", "a.b", "ndots:2"),
        );
        check(
            "dnsConfig: {options: [{name: ndots, value: '1'}, {name: debug}]}",
            ("10.96.0.10", usual, "ndots:1 debug"),
        );
    }
}
