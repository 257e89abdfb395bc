//! Names of chains: the original's, with a tag of the cluster, since the clusters of a host share the tables.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use crate::nft::Protocol;

/// Letters of a cluster's tag: as many as the longest of the original's names leaves (28 letters at most).
const TAG: usize = 5;
/// Letters of a hash, as in the original.
const HASH: usize = 16;
/// Letters in which a hash is written.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The names of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    tag: String,
}

impl Names {
    /// Of this cluster.
    pub fn of(cluster: &str) -> Names {
        Names { tag: hash(cluster, TAG) }
    }

    /// A chain that is there once: `KUBE-SERVICES-` and the tag.
    pub fn base(&self, name: &str) -> String {
        format!("{name}-{}", self.tag)
    }

    /// A chain of a service's port, by kind: `KUBE-SVC-`, the tag and a hash.
    pub fn of_port(&self, kind: &str, service: &str, name: &str, protocol: Protocol) -> String {
        self.hashed(kind, &format!("{}{protocol}", port_name(service, name)))
    }

    /// The chain of an endpoint of a service's port.
    pub fn of_endpoint(
        &self,
        service: &str,
        name: &str,
        protocol: Protocol,
        endpoint: &SocketAddr,
    ) -> String {
        self.hashed("KUBE-SEP", &format!("{}{protocol}{endpoint}", port_name(service, name)))
    }

    fn hashed(&self, kind: &str, what: &str) -> String {
        format!("{kind}-{}{}", self.tag, hash(what, HASH - TAG))
    }

    /// Whether a chain is the cluster's.
    pub fn owns(&self, chain: &str) -> bool {
        let hashed = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];
        let tagged = |kind: &&str| {
            let rest = chain.strip_prefix(*kind);
            rest.is_some_and(|rest| rest.len() == HASH && rest.starts_with(&self.tag))
        };
        let base = || ["KUBE-", "KNARR-"].iter().any(|prefix| chain.starts_with(prefix));
        hashed.iter().any(tagged) || (base() && chain.ends_with(&format!("-{}", self.tag)))
    }
}

/// `namespace/name:port`, by which the original calls a port.
pub fn port_name(service: &str, name: &str) -> String {
    if name.is_empty() { service.to_owned() } else { format!("{service}:{name}") }
}

/// Letters that follow from a text, 32 of them as in the original.
fn hash(text: &str, length: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let letter = |at: usize| {
        let bits = (0..5).map(|bit| (at * 5 + bit, digest[(at * 5 + bit) / 8]));
        let value = bits.fold(0, |value, (bit, byte)| value << 1 | usize::from(byte >> (7 - bit % 8) & 1));
        char::from(ALPHABET[value])
    };
    (0..length).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_in_the_original() {
        // printf %s default/kubernetes:httpstcp | sha256sum | xxd -r -p | base32 | cut -c1-16
        assert_eq!(hash("default/kubernetes:httpstcp", HASH), "NPX46M4PTMTKRN6Y");
        assert_eq!(hash("kube-system/kube-dns:dnsudp", HASH), "TCOU7JCQXEZGVUNU");
    }

    #[test]
    fn clusters_have_names_of_their_own() {
        let (one, other) = (Names::of("one"), Names::of("other"));
        let at: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let of = |names: &Names| {
            [
                names.base("KUBE-EXTERNAL-SERVICES"),
                names.base("KNARR-POSTROUTING"),
                names.of_port("KUBE-SVC", "a/b", "c", Protocol::Tcp),
                names.of_endpoint("a/b", "c", Protocol::Tcp, &at),
            ]
        };
        for (own, foreign) in of(&one).into_iter().zip(of(&other)) {
            assert!(own.len() <= 28, "{own}");
            assert!(one.owns(&own) && !one.owns(&foreign), "{own} {foreign}");
        }
        // Those of a kube-proxy, a kubelet, and of others.
        for foreign in ["KUBE-SERVICES", "KUBE-SVC-NPX46M4PTMTKRN6Y", "KUBE-FIREWALL", "FORWARD", "DOCKER"] {
            assert!(!one.owns(foreign), "{foreign}");
        }
    }
}
