//! Names taken apart into labels, and addresses written as labels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// The labels of a name in lower case, leftmost first. Labels that are no UTF-8 match nothing of ours.
pub(super) fn labels(name: &Name) -> Vec<String> {
    name.iter().map(|l| String::from_utf8_lossy(l).to_ascii_lowercase()).collect()
}

/// An address as one label: dots and colons become dashes.
pub(super) fn dashed(ip: &IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// The address that such a label stands for.
pub(super) fn undashed(label: &str) -> Option<IpAddr> {
    if let Ok(ip) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(ip));
    }
    label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_labels_and_back() {
        for (ip, label) in [("10.244.1.7", "10-244-1-7"), ("fd00::7", "fd00--7"), ("::1", "--1")] {
            let ip: IpAddr = ip.parse().expect("address");
            assert_eq!(dashed(&ip), label);
            assert_eq!(undashed(label), Some(ip));
        }
        assert_eq!(undashed("10-244-1"), None);
        assert_eq!(undashed("web-0"), None);
    }
}
