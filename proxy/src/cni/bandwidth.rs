//! Limits of what a pod sends and receives.

use serde::Deserialize;

use super::Error;
use crate::names;
use crate::network::netlink::{Bucket, Netlink};

/// How much a pod may send at once, as a part of what it may send in a second. Runtimes ask for bursts of minutes, in which
/// there would be no limit.
const BURST_PARTS: u64 = 10;
/// The least burst in bytes: the kernel hands packets of a connection on together, up to this size.
const LEAST_BURST: u64 = 64 * 1024;
/// How long packets may wait, as a part of a second.
const WAIT_PARTS: u64 = 40;

/// Limits, as the `bandwidth` capability of CNI writes them. containerd begins the names with capitals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// Bits a second that the pod receives; zero is no limit.
    #[serde(alias = "IngressRate")]
    pub ingress_rate: u64,
    /// Bits that it receives at once; zero leaves it to the plugin.
    #[serde(alias = "IngressBurst")]
    pub ingress_burst: u64,
    /// Bits a second that the pod sends; zero is no limit.
    #[serde(alias = "EgressRate")]
    pub egress_rate: u64,
    /// Bits that it sends at once; zero leaves it to the plugin.
    #[serde(alias = "EgressBurst")]
    pub egress_burst: u64,
}

impl Bandwidth {
    /// Limits a pod at the host's end of its pair: what that sends is what the pod receives.
    pub(super) async fn apply(&self, netlink: &Netlink, host_interface: &str, mtu: u32) -> Result<(), Error> {
        let (ingress, egress) =
            (bucket(self.ingress_rate, self.ingress_burst), bucket(self.egress_rate, self.egress_burst));
        if ingress.is_none() && egress.is_none() {
            return Ok(());
        }
        let index = netlink.index(host_interface).await?;
        if let Some(bucket) = ingress {
            netlink.limit_sent(index, bucket).await?;
        }
        if let Some(bucket) = egress {
            netlink.limit_received(index, &names::shaper(host_interface), mtu, bucket).await?;
        }
        Ok(())
    }
}

/// The bucket of a rate and burst in bits, if there is a limit.
fn bucket(rate: u64, burst: u64) -> Option<Bucket> {
    if rate == 0 {
        return None;
    }
    let rate = (rate / 8).max(1);
    let most = (rate / BURST_PARTS).max(LEAST_BURST);
    let burst = if burst == 0 { most } else { (burst / 8).clamp(LEAST_BURST, most) };
    let bytes = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Bucket { rate, burst: bytes(burst), queue: bytes(burst.saturating_add(rate / WAIT_PARTS)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_rates() {
        let check = |rate, burst, expected: Option<(u64, u32, u32)>| {
            let expected = expected.map(|(rate, burst, queue)| Bucket { rate, burst, queue });
            assert_eq!(bucket(rate, burst), expected, "{rate} {burst}");
        };
        check(0, 5, None);
        check(8_000_000, 0, Some((1_000_000, 100_000, 125_000)));
        check(8_000_000, u64::from(u32::MAX), Some((1_000_000, 100_000, 125_000)));
        check(8_000_000, 8 * 80_000, Some((1_000_000, 80_000, 105_000)));
        check(1_000, 0, Some((125, 65_536, 65_539)));
        check(1_000_000_000_000_000, 0, Some((125_000_000_000_000, u32::MAX, u32::MAX)));
    }

    #[test]
    fn limits_are_read_in_either_spelling() {
        let expected = Bandwidth { ingress_rate: 1, ingress_burst: 2, egress_rate: 3, egress_burst: 4 };
        let read = |text: &str| serde_json::from_str::<Bandwidth>(text).expect("limits");
        assert_eq!(read(r#"{"ingressRate":1,"ingressBurst":2,"egressRate":3,"egressBurst":4}"#), expected);
        assert_eq!(read(r#"{"IngressRate":1,"IngressBurst":2,"EgressRate":3,"EgressBurst":4}"#), expected);
        assert_eq!(read(r#"{"egressRate":3}"#), Bandwidth { egress_rate: 3, ..Bandwidth::default() });
    }
}
