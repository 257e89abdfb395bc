//! IP addresses and blocks of them.
use super::cursor::At;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address; none, and a fault, where it is not one.
pub(super) fn ip(at: &At<'_>) -> Option<IpAddr> {
    let text = at.text();
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            at.invalid_text(text, "must not be an IPv4-mapped IPv6 address");
            None
        }
        Ok(address) => Some(address),
        Err(_) if has_leading_zeros(text) => {
            at.invalid_text(text, "must not have leading 0s");
            None
        }
        Err(_) => {
            at.invalid_text(text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            None
        }
    }
}

/// Four decimal parts, at least one of them with a needless zero before it.
fn has_leading_zeros(text: &str) -> bool {
    let trim = |part: &str| match part.trim_start_matches('0') {
        "" => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let parts: Vec<String> = text.split('.').map(trim).collect();
    parts.len() == 4 && parts.join(".").parse::<Ipv4Addr>().is_ok() && text.parse::<Ipv4Addr>().is_err()
}

/// An address that can belong to an endpoint or service: no special one.
pub(super) fn not_special(at: &At<'_>, address: IpAddr) {
    let faults = [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (is_link_local(address), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            is_link_local_multicast(address),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    for (_, fault) in faults.into_iter().filter(|(holds, _)| *holds) {
        at.invalid_text(at.text(), fault);
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

impl Cidr {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, digits) = (address.parse::<IpAddr>().ok()?, prefix);
        let prefix: u8 = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits && prefix.to_string() == digits).then_some(Self { address, prefix })
    }

    /// The first address of the block.
    pub(super) fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        }
    }

    /// Whether `inner` lies in the block and is smaller.
    pub(super) fn strictly_contains(&self, inner: &Self) -> bool {
        self.address.is_ipv4() == inner.address.is_ipv4()
            && inner.prefix > self.prefix
            && Self { address: inner.address, prefix: self.prefix }.network() == self.network()
    }
}

/// A block of addresses without host bits; none, and a fault, where it is not one.
pub(super) fn cidr(at: &At<'_>) -> Option<Cidr> {
    let text = at.text();
    let Some(cidr) = Cidr::parse(text) else {
        at.invalid_text(text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    if cidr.network() != cidr.address {
        at.invalid_text(text, "must not have bits set beyond the prefix length");
        return None;
    }
    Some(cidr)
}
