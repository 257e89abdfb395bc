//! Values that only functions look into.
use super::authorizer::Check;
use super::net::Cidr;
use super::semver::Semver;
use super::url::Url;
use crate::quantity::Quantity;
use std::net::IpAddr;
use std::rc::Rc;

/// The names of all opaque types that expressions can name.
pub const TYPES: [&str; 11] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// A value of an opaque type.
#[derive(Clone, Debug)]
pub enum Opaque<'a> {
    /// `kubernetes.URL`.
    Url(Rc<Url>),
    /// `net.IP`.
    Ip(IpAddr),
    /// `net.CIDR`.
    Cidr(Cidr),
    /// `kubernetes.Quantity`.
    Quantity(Quantity),
    /// `kubernetes.Semver`.
    Semver(Rc<Semver>),
    /// `kubernetes.NamedFormat`, by name.
    Format(&'static str),
    /// What leads from an authorizer to a decision.
    Check(Rc<Check<'a>>),
}

impl Opaque<'_> {
    /// The name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Check(check) => check.type_name(),
        }
    }

    /// What operations on it are charged by.
    pub fn size(&self) -> Option<u64> {
        let bytes = |ip: &IpAddr| if ip.is_ipv4() { 4 } else { 16 };
        match self {
            Self::Ip(ip) => Some(bytes(ip)),
            Self::Cidr(cidr) => Some(u64::from(cidr.bits).div_ceil(8)),
            _ => None,
        }
    }
}

impl PartialEq for Opaque<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Check(a), Self::Check(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}
