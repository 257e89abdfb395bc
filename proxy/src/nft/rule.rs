//! What a rule says, as plain data: matches and what follows from them, in the order in which the kernel works
//! them off.

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use ipnet::IpNet;

/// The name of a chain or a set, shared by all that refer to it.
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Made(Arc<str>),
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Fixed(text) => text,
            Text::Made(text) => text,
        }
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Name {
        Name(Text::Fixed(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        Name(Text::Made(text.into()))
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> std::cmp::Ordering {
        (**self).cmp(other)
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol of an API object's field, where absence means TCP; `None` for one that is unknown.
    pub fn parse(name: Option<&str>) -> Option<Protocol> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// Its number in an IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// The kinds of values in sets and maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address of the table's family.
    Address,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// A number drawn by lot.
    Lot,
}

/// A value in a set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// An address.
    Address(IpAddr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// A number drawn by lot.
    Lot(u32),
}

impl From<IpAddr> for Datum {
    fn from(ip: IpAddr) -> Datum {
        Datum::Address(ip)
    }
}

impl From<Protocol> for Datum {
    fn from(protocol: Protocol) -> Datum {
        Datum::Protocol(protocol)
    }
}

impl From<u16> for Datum {
    fn from(port: u16) -> Datum {
        Datum::Port(port)
    }
}

/// The key of an element, or what a map holds for it: one value or several side by side.
pub type Key = Vec<Datum>;

/// What a map holds for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Where a packet goes on.
    Verdict(Verdict),
    /// An address and port to which it is translated.
    Data(Key),
}

/// Where a packet goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// On its way.
    Accept,
    /// Nowhere.
    Drop,
    /// Back to the chain it came from.
    Return,
    /// To a chain, and back when that ends.
    Jump(Name),
    /// To a chain for good.
    Goto(Name),
}

/// What a rule reads of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Where it comes from.
    Source,
    /// Where it is addressed to.
    Destination,
    /// Its transport protocol.
    Protocol,
    /// The port it is addressed to.
    Port,
}

impl Field {
    /// What it is in sets.
    pub fn kind(self) -> Kind {
        match self {
            Field::Source | Field::Destination => Kind::Address,
            Field::Protocol => Kind::Protocol,
            Field::Port => Kind::Port,
        }
    }
}

/// The end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it is addressed to.
    Destination,
}

/// The way of a packet through an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It came in by it.
    In,
    /// It leaves by it.
    Out,
}

/// States of a packet's connection, as the kernel's bits.
pub mod state {
    /// It belongs to none.
    pub const INVALID: u32 = 1;
    /// It has been answered.
    pub const ESTABLISHED: u32 = 2;
    /// It follows from another.
    pub const RELATED: u32 = 4;
    /// This is its first packet.
    pub const NEW: u32 = 8;
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// By a reset of TCP.
    Reset,
    /// By saying that the port cannot be reached.
    Unreachable,
}

/// A match, or what is done with a packet that passed all matches before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Whether an end of the packet's way is in any of these ranges, which are of the table's family.
    Address {
        /// Which end.
        side: Side,
        /// Whether it must be, or must not.
        is: bool,
        /// The ranges.
        ranges: Box<[IpNet]>,
    },
    /// Whether an end of the packet's way is this host.
    Local(Side),
    /// Whether what these fields hold is in a set.
    In {
        /// Read side by side.
        fields: &'static [Field],
        /// Whether it must be, or must not.
        is: bool,
        /// The set.
        set: Name,
    },
    /// Whether the packet is of a protocol.
    Protocol(Protocol),
    /// Whether the packet is of a protocol and addressed to a port within any of these ranges.
    Ports(Protocol, Box<[(u16, u16)]>),
    /// Whether it passes through an interface.
    Interface {
        /// In or out.
        way: Way,
        /// Whether it must, or must not.
        is: bool,
        /// Name of the interface.
        name: Name,
    },
    /// Whether its connection is in any of these states ([`state`]).
    State {
        /// Whether it must be, or must not.
        is: bool,
        /// Their bits.
        states: u32,
    },
    /// Whether it tells of a better way to somewhere.
    Redirect,
    /// Whether it has all bits of a mark.
    Marked(u32),
    /// Sets bits of its mark.
    Mark(u32),
    /// Turns bits of its mark over.
    Unmark(u32),
    /// Sends it where a map says, if that has an entry.
    Lead(&'static [Field], Name),
    /// Whether a lot falls on it, which does once in so many times.
    Drawn(u32),
    /// Sends it on.
    Go(Verdict),
    /// Adds its source address to a set, or lets it stay there longer.
    Remember(Name),
    /// Addresses its connection to somewhere else.
    Translate(SocketAddr),
    /// Addresses its connection to where a map says, if that has an entry.
    TranslateBy {
        /// Read side by side.
        fields: &'static [Field],
        /// Beside them a number below this one, drawn by lot.
        lot: Option<u32>,
        /// The map.
        map: Name,
    },
    /// Lets its connection come from this host's own address.
    Masquerade {
        /// Whether the source port is drawn by lot.
        random: bool,
    },
    /// Refuses it.
    Refuse(Refusal),
    /// Counts it.
    Count,
}

/// A rule: its statements in order.
pub type Rule = Vec<Statement>;

impl Statement {
    /// Whether an end is in any of these ranges.
    pub fn within(side: Side, ranges: impl Into<Box<[IpNet]>>) -> Statement {
        Statement::Address { side, is: true, ranges: ranges.into() }
    }

    /// Whether an end is outside of these ranges.
    pub fn outside(side: Side, ranges: impl Into<Box<[IpNet]>>) -> Statement {
        Statement::Address { side, is: false, ranges: ranges.into() }
    }

    /// Whether fields are in a set.
    pub fn among(fields: &'static [Field], set: impl Into<Name>) -> Statement {
        Statement::In { fields, is: true, set: set.into() }
    }

    /// Whether the packet came in by an interface.
    pub fn came_by(name: &str) -> Statement {
        Statement::Interface { way: Way::In, is: true, name: name.to_owned().into() }
    }

    /// Whether the packet leaves by an interface.
    pub fn leaves_by(name: &str) -> Statement {
        Statement::Interface { way: Way::Out, is: true, name: name.to_owned().into() }
    }

    /// Whether the connection is in any of these states.
    pub fn connection(states: u32) -> Statement {
        Statement::State { is: true, states }
    }

    /// Goes to a chain and comes back.
    pub fn jump(chain: impl Into<Name>) -> Statement {
        Statement::Go(Verdict::Jump(chain.into()))
    }

    /// Goes to a chain for good.
    pub fn goto(chain: impl Into<Name>) -> Statement {
        Statement::Go(Verdict::Goto(chain.into()))
    }

    /// Drops the packet.
    pub fn drop() -> Statement {
        Statement::Go(Verdict::Drop)
    }

    /// Lets the packet pass this hook.
    pub fn accept() -> Statement {
        Statement::Go(Verdict::Accept)
    }
}
