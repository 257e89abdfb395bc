//! What the runtime asks of whoever gives pods their network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use knarr_api::quantity::Quantity;

use crate::runtime::types::PortMapping;

/// Gives sandboxes their network. Calls block and may come from any thread; what is gone is no error.
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether sandboxes can be attached, or why not.
    fn ready(&self) -> Result<(), String>;
    /// Gives the network namespace at the path `namespace` an interface, addresses, host ports and limits.
    fn attach(
        &self,
        sandbox: &str,
        namespace: &str,
        ports: &[PortMapping],
        bandwidth: Bandwidth,
    ) -> Result<Vec<IpAddr>, String>;
    /// Takes them away, also when the namespace is no more.
    fn detach(&self, sandbox: &str) -> Result<(), String>;
}

/// Annotations of a pod that limit its traffic.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// What may be asked for, in bits a second.
const LEAST: i64 = 1_000;
const MOST: i64 = 1_000_000_000_000_000;

/// Limits of what a pod receives and sends, in bits a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// What it receives.
    pub ingress: Option<u64>,
    /// What it sends.
    pub egress: Option<u64>,
}

impl Bandwidth {
    /// The limits that annotations ask for, or why they cannot be kept, in containerd's words.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Bandwidth, String> {
        let limit = |name: &str| annotations.get(name).map(|text| bits(text)).transpose();
        let both = limit(INGRESS).and_then(|ingress| Ok(Bandwidth { ingress, egress: limit(EGRESS)? }));
        both.map_err(|error| format!("failed to get bandwidth info from annotations: {error}"))
    }
}

fn bits(text: &str) -> Result<u64, String> {
    match text.parse::<Quantity>().map_err(|error| error.to_string())?.value() {
        ..LEAST => Err("resource is unreasonably small (< 1kbit)".to_owned()),
        bits if bits > MOST => Err("resource is unreasonably large (> 1Pbit)".to_owned()),
        bits => Ok(bits.unsigned_abs()),
    }
}

/// No network: only pods on the host's network run.
pub struct HostOnly;

impl PodNetwork for HostOnly {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn attach(&self, _: &str, _: &str, _: &[PortMapping], _: Bandwidth) -> Result<Vec<IpAddr>, String> {
        Err("there is no pod network on this node".to_owned())
    }

    fn detach(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_limit_bandwidth() {
        let check = |annotations: &[(&str, &str)], expected: Result<Bandwidth, &str>| {
            let all = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let found = Bandwidth::of(&all);
            let found = found.as_ref().map(|b| *b).map_err(|error| {
                error.strip_prefix("failed to get bandwidth info from annotations: ").unwrap_or(error)
            });
            assert_eq!(found, expected, "{annotations:?}");
        };
        check(&[], Ok(Bandwidth::default()));
        check(&[(INGRESS, "10M")], Ok(Bandwidth { ingress: Some(10_000_000), egress: None }));
        let both = Bandwidth { ingress: Some(1_000), egress: Some(MOST.unsigned_abs()) };
        check(&[(INGRESS, "1k"), (EGRESS, "1P")], Ok(both));
        check(&[(EGRESS, "999")], Err("resource is unreasonably small (< 1kbit)"));
        check(&[(INGRESS, "2P")], Err("resource is unreasonably large (> 1Pbit)"));
        assert!(Bandwidth::of(&BTreeMap::from([(EGRESS.to_owned(), "fast".to_owned())])).is_err());
    }
}
