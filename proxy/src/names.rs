//! Names of everything a cluster leaves on a host, derived from the cluster's name alone, so that several
//! clusters live side by side and removal needs no record of what was made.

use sha2::{Digest, Sha256};

/// Longest name of a network interface that Linux takes (`IFNAMSIZ` less the final zero).
const MAX_INTERFACE: usize = 15;

/// The nftables table of the services of a cluster; one in each of the families `ip` and `ip6`.
pub fn service_table(cluster: &str) -> String {
    format!("knarr-{cluster}")
}

/// The nftables table of the host ports of pods. It is the CNI plugin's alone: a full resync of the
/// services replaces the other table and must not touch mappings that only the plugin knows.
pub fn host_port_table(cluster: &str) -> String {
    format!("knarr-{cluster}-hostports")
}

/// The nftables table of the network policies, which is there only while there are any.
pub fn policy_table(cluster: &str) -> String {
    format!("knarr-{cluster}-policies")
}

/// The bridge that joins the cluster's pods on this node.
pub fn bridge(cluster: &str) -> String {
    interface("kn-", cluster)
}

/// The tunnel that leads to the cluster's pods on other nodes.
pub fn tunnel(cluster: &str) -> String {
    interface("kx-", cluster)
}

/// The host's end of a pod's veth pair.
pub fn host_veth(cluster: &str, container: &str, interface_name: &str) -> String {
    format!("knv{}", digest(&format!("{cluster}/{container}/{interface_name}"), MAX_INTERFACE - 3))
}

/// The interface through which what a pod sends is led, where its bandwidth is limited; named as the host's end of its
/// pair is.
pub fn shaper(host_veth: &str) -> String {
    format!("knb{}", host_veth.strip_prefix("knv").unwrap_or(host_veth))
}

/// `prefix` and `name` where that fits an interface's name, else a digest in place of the name.
fn interface(prefix: &str, name: &str) -> String {
    if prefix.len() + name.len() <= MAX_INTERFACE && is_plain(name) {
        format!("{prefix}{name}")
    } else {
        format!("{prefix}{}", digest(name, MAX_INTERFACE - prefix.len()))
    }
}

/// Whether a name holds only what DNS labels hold: neither `/` nor blanks, which interfaces refuse.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The first `length` hexadecimal digits of a name's SHA-256.
pub(crate) fn digest(name: &str, length: usize) -> String {
    let mut text: String = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_readable_and_long_ones_fit() {
        assert_eq!(bridge("dev"), "kn-dev");
        assert_eq!(bridge("abcdefghijkl"), "kn-abcdefghijkl");
        let long = bridge("a-cluster-with-a-long-name");
        assert_eq!(long.len(), MAX_INTERFACE);
        assert_ne!(long, bridge("a-cluster-with-a-long-name2"));
    }

    #[test]
    fn veth_names_differ_by_cluster_container_and_interface() {
        let name = host_veth("dev", "c1", "eth0");
        assert_eq!(name.len(), MAX_INTERFACE);
        assert_ne!(name, host_veth("ci", "c1", "eth0"));
        assert_ne!(name, host_veth("dev", "c2", "eth0"));
        assert_ne!(name, host_veth("dev", "c1", "eth1"));
    }
}
