//! The pod's `/etc/hosts`.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

use crate::pod;

/// Text of the file for a pod with a network of its own.
pub fn file(pod: &Pod, ips: &[String], hostname: &str, domain: Option<&str>) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        match domain {
            Some(domain) => text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    text.push_str(&aliases(pod::spec(pod).host_aliases.as_deref().unwrap_or_default()));
    text
}

/// Text of the file for a pod in the node's network: the node's own file and the pod's aliases.
pub fn host_network_file(pod: &Pod, of_node: &str) -> String {
    let mut text = String::from("# Kubernetes-managed hosts file (host network).\n");
    text.push_str(of_node);
    text.push_str(&aliases(pod::spec(pod).host_aliases.as_deref().unwrap_or_default()));
    text
}

fn aliases(list: &[HostAlias]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in list {
        let names = alias.hostnames.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

/// Host name and domain of a pod: `hostnameOverride`, or `hostname` and `subdomain` of its spec; without a host name
/// the pod's name, cut to 63 characters.
pub fn names(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod::spec(pod);
    if let Some(whole) = spec.hostname_override.clone().filter(|name| !name.is_empty()) {
        return (whole, None);
    }
    let mut hostname =
        spec.hostname.clone().filter(|name| !name.is_empty()).unwrap_or(pod::name(pod).to_owned());
    hostname.truncate(63);
    let hostname = hostname.trim_end_matches(['-', '.']).to_owned();
    let domain = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty())
        .map(|subdomain| format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod)));
    (hostname, domain)
}

/// Whether the kernel takes the pod's name: with its domain it may be too long.
pub fn check_name(pod: &Pod, cluster_domain: &str) -> Result<(), String> {
    let (name, domain) = names(pod, cluster_domain);
    let Some(domain) = domain.filter(|_| pod::spec(pod).set_hostname_as_fqdn == Some(true)) else {
        return Ok(());
    };
    let whole = format!("{name}.{domain}");
    if whole.len() <= 64 {
        return Ok(());
    }
    Err(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long (64 characters is \
         the max, {} characters requested)",
        whole.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods() {
        let check = |manifest: &str, host: &str, domain: Option<&str>| {
            let pod = pod::tests::pod(manifest);
            assert_eq!(
                names(&pod, "cluster.local"),
                (host.to_owned(), domain.map(str::to_owned)),
                "{manifest}"
            );
        };
        check("{metadata: {name: p}, spec: {containers: []}}", "p", None);
        check(
            "{metadata: {name: p, namespace: n}, spec: {hostname: h, subdomain: s, containers: []}}",
            "h",
            Some("s.n.svc.cluster.local"),
        );
        check(
            "{metadata: {name: p}, spec: {hostnameOverride: over.ride, subdomain: s, containers: []}}",
            "over.ride",
            None,
        );
        let long = "x".repeat(62);
        check(&format!("{{metadata: {{name: {long}-y}}, spec: {{containers: []}}}}"), &long, None);
    }

    #[test]
    fn file_has_addresses_and_aliases() {
        let pod =
            pod::tests::pod("{spec: {hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}], containers: []}}");
        let text = file(&pod, &["10.0.0.1".to_owned()], "h", Some("s.n.svc.c"));
        assert!(text.contains("10.0.0.1\th.s.n.svc.c\th\n"));
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }
}
