//! IP addresses and networks.
use super::opaque::Opaque;
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const ROWS: Rows = &[
    ("ip", "string_to_ip", "string -> net.IP"),
    ("ip", "cidr_ip", "net.CIDR . -> net.IP"),
    ("isIP", "is_ip", "string -> bool"),
    ("ip.isCanonical", "ip_is_canonical", "string -> bool"),
    ("family", "ip_family", "net.IP . -> int"),
    ("isUnspecified", "ip_is_unspecified", "net.IP . -> bool"),
    ("isLoopback", "ip_is_loopback", "net.IP . -> bool"),
    ("isLinkLocalMulticast", "ip_is_link_local_multicast", "net.IP . -> bool"),
    ("isLinkLocalUnicast", "ip_is_link_local_unicast", "net.IP . -> bool"),
    ("isGlobalUnicast", "ip_is_global_unicast", "net.IP . -> bool"),
    ("string", "ip_to_string", "net.IP -> string"),
    ("string", "cidr_to_string", "net.CIDR -> string"),
    ("cidr", "string_to_cidr", "string -> net.CIDR"),
    ("isCIDR", "is_cidr", "string -> bool"),
    ("containsIP", "cidr_contains_ip_string", "net.CIDR . string -> bool"),
    ("containsIP", "cidr_contains_ip_ip", "net.CIDR . net.IP -> bool"),
    ("containsCIDR", "cidr_contains_cidr_string", "net.CIDR . string -> bool"),
    ("containsCIDR", "cidr_contains_cidr", "net.CIDR . net.CIDR -> bool"),
    ("prefixLength", "cidr_prefix_length", "net.CIDR . -> int"),
    ("masked", "cidr_masked", "net.CIDR . -> net.CIDR"),
];

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits of the network.
    pub bits: u8,
}

impl Display for Cidr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

impl Cidr {
    fn masked(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
            }
        };
        Self { ip, ..self }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && Self { ip, ..self }.masked().ip == self.masked().ip
    }
}

/// An address without zone; one of IPv4 in the form of IPv6 is refused.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let wrong = |what: &str| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {what}"
        )
    };
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let ip: IpAddr =
        address.parse().map_err(|_| wrong(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    if let IpAddr::V6(six) = ip
        && six.to_ipv4_mapped().is_some()
    {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    let digits = !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits.len() == 1 || !bits.starts_with('0'));
    let bits: u8 = if digits { bits.parse().ok() } else { None }
        .ok_or_else(|| wrong(&format!("bad bits after slash: {bits:?}")))?;
    if bits > if ip.is_ipv4() { 32 } else { 128 } {
        return Err(wrong("prefix length out of range"));
    }
    Ok(Cidr { ip, bits })
}

fn of_ip(name: &str, ip: IpAddr) -> Option<Val<'static>> {
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    Some(match name {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalMulticast" => Val::Bool(link_multicast),
        "isLinkLocalUnicast" => Val::Bool(link_local),
        "isGlobalUnicast" => Val::Bool(
            !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local),
        ),
        "string" => Val::text(ip.to_string()),
        _ => return None,
    })
}

fn or_fault<'a, T>(found: Result<T, String>, make: impl Fn(T) -> Val<'a>) -> Out<'a> {
    found.map_or_else(fault, |found| Ok(make(found)))
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let (ip, cidr) = (|ip| Val::Opaque(Opaque::Ip(ip)), |cidr| Val::Opaque(Opaque::Cidr(cidr)));
    Some(match (name, args) {
        ("ip", [Val::String(text)]) => or_fault(parse_ip(text), ip),
        ("isIP", [Val::String(text)]) => Ok(Val::Bool(parse_ip(text).is_ok())),
        ("ip.isCanonical", [Val::String(text)]) => {
            or_fault(parse_ip(text), |ip| Val::Bool(ip.to_string() == **text))
        }
        ("cidr", [Val::String(text)]) => or_fault(parse_cidr(text), cidr),
        ("isCIDR", [Val::String(text)]) => Ok(Val::Bool(parse_cidr(text).is_ok())),
        (name, [Val::Opaque(Opaque::Ip(ip))]) => return of_ip(name, *ip).map(Ok),
        ("ip", [Val::Opaque(Opaque::Cidr(of))]) => Ok(ip(of.ip)),
        ("string", [Val::Opaque(Opaque::Cidr(of))]) => Ok(Val::text(of.to_string())),
        ("prefixLength", [Val::Opaque(Opaque::Cidr(of))]) => Ok(Val::Int(of.bits.into())),
        ("masked", [Val::Opaque(Opaque::Cidr(of))]) => Ok(cidr(of.masked())),
        ("containsIP", [Val::Opaque(Opaque::Cidr(of)), Val::String(text)]) => {
            or_fault(parse_ip(text), |ip| Val::Bool(of.contains(ip)))
        }
        ("containsIP", [Val::Opaque(Opaque::Cidr(of)), Val::Opaque(Opaque::Ip(ip))]) => {
            Ok(Val::Bool(of.contains(*ip)))
        }
        ("containsCIDR", [Val::Opaque(Opaque::Cidr(of)), other]) => {
            let inner = match other {
                Val::String(text) => parse_cidr(text),
                Val::Opaque(Opaque::Cidr(inner)) => Ok(*inner),
                _ => return None,
            };
            or_fault(inner, |inner| Val::Bool(inner.bits >= of.bits && of.contains(inner.ip)))
        }
        _ => return None,
    })
}
