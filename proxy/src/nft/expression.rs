//! Statements of rules as the kernel's expressions: small instructions that load fields of a packet into registers,
//! compare them, look them up, and act.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{
    Anonymous, Batch, ENTRY, address_bytes, element, kind_alone, set, write_value, write_verdict,
};
use super::rule::{Field, Kind, Protocol, Refusal, Side, Statement, Way};
use super::ruleset::Family;
use crate::netfilter::Attributes;

/// Attributes of an expression: its name and what it works with.
const NAME: u16 = 1;
const DATA: u16 = 2;

/// The register of verdicts, and registers of four bytes; an address of IPv6 takes four of them.
const VERDICT: u32 = 0;
const FIRST: u32 = 8;
/// Behind an address of either family.
const BEHIND: u32 = FIRST + 4;

/// Parts of a packet to load from.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// What is known of a packet beside its bytes.
const META_MARK: u32 = 3;
const META_IN: u32 = 6;
const META_OUT: u32 = 7;
const META_PROTOCOL: u32 = 16;
/// Comparisons.
const EQUAL: u32 = 0;
const DIFFERENT: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// The kernel's number of addresses of this host (`RTN_LOCAL`).
const LOCAL: u32 = 2;
/// Length of an interface's name with the zeros behind it.
const INTERFACE: usize = 16;
/// Messages that tell of a better way, and their protocols.
const ICMP: u8 = 1;
const ICMP_REDIRECT: u8 = 5;
const ICMP6: u8 = 58;
const ICMP6_REDIRECT: u8 = 137;
/// Codes of ICMP and ICMPv6 for a port that cannot be reached.
const PORT_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE_6: u8 = 4;
/// What nft keeps with a set of keys in the network's byte order.
const NETWORK_ORDER: [u8; 6] = user_order(2);

const fn user_order(order: u32) -> [u8; 6] {
    let [a, b, c, d] = order.to_ne_bytes();
    [0, 4, a, b, c, d]
}

/// Writes a statement's expressions; sets that it needs for itself go into the batch before its rule.
pub(super) fn write(batch: &mut Batch<'_>, out: &mut Attributes<'_>, family: Family, statement: &Statement) {
    match statement {
        Statement::Address { side, is, ranges } => address(batch, out, family, *side, *is, ranges),
        Statement::Local(side) => {
            local(out, *side);
            compare(out, EQUAL, &LOCAL.to_ne_bytes());
        }
        Statement::In { fields, is, set } => {
            load(out, family, fields);
            lookup(out, set, None, (!is).then_some(Inverted));
        }
        Statement::Protocol(protocol) => of_protocol(out, protocol.number()),
        Statement::Ports(protocol, ranges) => ports(batch, out, family, *protocol, ranges),
        Statement::Interface { way, is, name } => {
            meta(out, if *way == Way::In { META_IN } else { META_OUT }, FIRST);
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(INTERFACE, 0);
            compare(out, if *is { EQUAL } else { DIFFERENT }, &bytes);
        }
        Statement::State { is, states } => {
            expression(out, "ct", |a| {
                a.number(1, FIRST);
                a.number(2, 0);
            });
            bits(out, &states.to_ne_bytes(), &[0; 4]);
            compare(out, if *is { DIFFERENT } else { EQUAL }, &[0; 4]);
        }
        Statement::Redirect => redirect(out, family),
        Statement::Marked(mark) => {
            meta(out, META_MARK, FIRST);
            bits(out, &mark.to_ne_bytes(), &[0; 4]);
            compare(out, EQUAL, &mark.to_ne_bytes());
        }
        Statement::Mark(mark) => set_mark(out, !mark, *mark),
        Statement::Unmark(mark) => set_mark(out, u32::MAX, *mark),
        Statement::Lead(fields, map) => {
            load(out, family, fields);
            lookup(out, map, Some(VERDICT), None);
        }
        Statement::Drawn(of) => {
            draw(out, *of, FIRST);
            compare(out, EQUAL, &0_u32.to_ne_bytes());
        }
        Statement::Go(verdict) => expression(out, "immediate", |a| {
            a.number(1, VERDICT);
            write_verdict(a, 2, verdict);
        }),
        Statement::Remember(set) => {
            load(out, family, &[Field::Source]);
            expression(out, "dynset", |a| {
                a.text(1, set);
                a.number(3, 1);
                a.number(4, FIRST);
            });
        }
        Statement::Translate(to) => {
            immediate(out, FIRST, &address_bytes(&to.ip()));
            immediate(out, BEHIND, &to.port().to_be_bytes());
            translate(out, family, BEHIND);
        }
        Statement::TranslateBy { fields, lot, map } => {
            let behind = load(out, family, fields);
            if let Some(below) = lot {
                draw(out, *below, behind);
            }
            lookup(out, map, Some(FIRST), None);
            translate(out, family, FIRST + family.address_length() / 4);
        }
        Statement::Masquerade { random } => expression(out, "masq", |a| {
            if *random {
                a.number(1, 1 << 4);
            }
        }),
        Statement::Refuse(refusal) => refuse(out, family, *refusal),
        Statement::Count => expression(out, "counter", |_| {}),
    }
}

fn expression(out: &mut Attributes<'_>, name: &str, write: impl FnOnce(&mut Attributes<'_>)) {
    out.nest(ENTRY, |a| {
        a.text(NAME, name);
        a.nest(DATA, write);
    });
}

/// Loads fields side by side from the first register on; returns the one behind them.
fn load(out: &mut Attributes<'_>, family: Family, fields: &[Field]) -> u32 {
    let mut register = FIRST;
    for field in fields {
        match field {
            Field::Source => {
                payload(out, NETWORK, family.address_at(Side::Source), family.address_length(), register)
            }
            Field::Destination => {
                payload(
                    out,
                    NETWORK,
                    family.address_at(Side::Destination),
                    family.address_length(),
                    register,
                );
            }
            Field::Protocol => meta(out, META_PROTOCOL, register),
            Field::Port => payload(out, TRANSPORT, 2, 2, register),
        }
        register += match field.kind() {
            Kind::Address => family.address_length() / 4,
            Kind::Protocol | Kind::Port | Kind::Lot => 1,
        };
    }
    register
}

/// Draws a number below another by lot into a register.
fn draw(out: &mut Attributes<'_>, below: u32, register: u32) {
    expression(out, "numgen", |a| {
        a.number(1, register);
        a.number(2, below);
        // By lot, not in turn.
        a.number(3, 1);
        a.number(4, 0);
    });
}

fn payload(out: &mut Attributes<'_>, base: u32, offset: u32, length: u32, register: u32) {
    expression(out, "payload", |a| {
        a.number(1, register);
        a.number(2, base);
        a.number(3, offset);
        a.number(4, length);
    });
}

fn meta(out: &mut Attributes<'_>, key: u32, register: u32) {
    expression(out, "meta", |a| {
        a.number(1, register);
        a.number(2, key);
    });
}

fn compare(out: &mut Attributes<'_>, how: u32, with: &[u8]) {
    expression(out, "cmp", |a| {
        a.number(1, FIRST);
        a.number(2, how);
        write_value(a, 3, with);
    });
}

/// Keeps the bits of a mask in the first register and turns others over.
fn bits(out: &mut Attributes<'_>, mask: &[u8], turn: &[u8]) {
    expression(out, "bitwise", |a| {
        a.number(1, FIRST);
        a.number(2, FIRST);
        a.number(3, u32::try_from(mask.len()).unwrap_or_default());
        write_value(a, 4, mask);
        write_value(a, 5, turn);
    });
}

fn set_mark(out: &mut Attributes<'_>, keep: u32, turn: u32) {
    meta(out, META_MARK, FIRST);
    bits(out, &keep.to_ne_bytes(), &turn.to_ne_bytes());
    expression(out, "meta", |a| {
        a.number(2, META_MARK);
        a.number(3, FIRST);
    });
}

fn immediate(out: &mut Attributes<'_>, register: u32, value: &[u8]) {
    expression(out, "immediate", |a| {
        a.number(1, register);
        write_value(a, 2, value);
    });
}

/// A match that is the other way round.
struct Inverted;

/// Looks the first register up in a set, or in a map whose value goes into a register.
fn lookup(out: &mut Attributes<'_>, set: &str, into: Option<u32>, inverted: Option<Inverted>) {
    lookup_in(out, set, None, into, inverted);
}

fn lookup_in(
    out: &mut Attributes<'_>,
    set: &str,
    id: Option<u32>,
    into: Option<u32>,
    inverted: Option<Inverted>,
) {
    expression(out, "lookup", |a| {
        a.text(1, set);
        a.number(2, FIRST);
        if let Some(register) = into {
            a.number(3, register);
        }
        if let Some(id) = id {
            a.number(4, id);
        }
        if inverted.is_some() {
            a.number(5, 1);
        }
    });
}

fn of_protocol(out: &mut Attributes<'_>, number: u8) {
    meta(out, META_PROTOCOL, FIRST);
    compare(out, EQUAL, &[number]);
}

/// One range is compared, with as few bytes as it has where it ends with one; several are looked up.
fn address(
    batch: &mut Batch<'_>,
    out: &mut Attributes<'_>,
    family: Family,
    side: Side,
    is: bool,
    ranges: &[IpNet],
) {
    let how = if is { EQUAL } else { DIFFERENT };
    let (at, whole) = (family.address_at(side), family.address_length());
    let [range] = ranges else {
        let shape = Anonymous {
            flags: set::INTERVAL,
            key_type: kind_alone(family, Kind::Address),
            key_length: whole,
            user_data: NETWORK_ORDER,
        };
        let ends: Vec<End> = IpNet::aggregate(&ranges.to_vec()).iter().flat_map(ends_of_range).collect();
        let id = batch.anonymous(family, &shape, &ends, write_end);
        payload(out, NETWORK, at, whole, FIRST);
        return lookup_in(out, shape.name(), Some(id), None, (!is).then_some(Inverted));
    };
    let prefix = u32::from(range.prefix_len());
    let bytes = address_bytes(&range.network());
    match (prefix, prefix % 8) {
        (0, _) if is => {}
        (1.., 0) => {
            payload(out, NETWORK, at, prefix / 8, FIRST);
            compare(out, how, &bytes[..prefix as usize / 8]);
        }
        _ => {
            payload(out, NETWORK, at, whole, FIRST);
            bits(out, &address_bytes(&range.netmask()), &vec![0; bytes.len()]);
            compare(out, how, &bytes);
        }
    }
}

/// Where ranges in a set of intervals begin, and what comes right behind them.
struct End {
    key: Vec<u8>,
    behind: bool,
}

/// The ends of a range; the last of all has nothing behind it.
fn ends(first: Vec<u8>, behind: Option<Vec<u8>>) -> impl Iterator<Item = End> {
    let behind = behind.map(|key| End { key, behind: true });
    std::iter::once(End { key: first, behind: false }).chain(behind)
}

fn ends_of_range(range: &IpNet) -> impl Iterator<Item = End> {
    let next = match range.broadcast() {
        IpAddr::V4(last) => u32::from(last).checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        IpAddr::V6(last) => u128::from(last).checked_add(1).map(|next| next.to_be_bytes().to_vec()),
    };
    ends(address_bytes(&range.network()), next)
}

fn ends_of_ports(&(first, last): &(u16, u16)) -> impl Iterator<Item = End> {
    ends(first.to_be_bytes().to_vec(), last.checked_add(1).map(|next| next.to_be_bytes().to_vec()))
}

fn write_end(a: &mut Attributes<'_>, end: &End) {
    write_value(a, element::KEY, &end.key);
    if end.behind {
        a.number(element::FLAGS, element::INTERVAL_END);
    }
}

/// Ports of a protocol: one range is compared, several are looked up. They must be in order and not touch.
fn ports(
    batch: &mut Batch<'_>,
    out: &mut Attributes<'_>,
    family: Family,
    protocol: Protocol,
    ranges: &[(u16, u16)],
) {
    of_protocol(out, protocol.number());
    load(out, family, &[Field::Port]);
    match ranges {
        [(first, last)] if first == last => compare(out, EQUAL, &first.to_be_bytes()),
        [(first, last)] => {
            compare(out, AT_LEAST, &first.to_be_bytes());
            compare(out, AT_MOST, &last.to_be_bytes());
        }
        many => {
            let shape = Anonymous {
                flags: set::INTERVAL,
                key_type: kind_alone(family, Kind::Port),
                key_length: 2,
                user_data: NETWORK_ORDER,
            };
            let ends: Vec<End> = many.iter().flat_map(ends_of_ports).collect();
            let id = batch.anonymous(family, &shape, &ends, write_end);
            lookup_in(out, shape.name(), Some(id), None, None);
        }
    }
}

fn local(out: &mut Attributes<'_>, side: Side) {
    expression(out, "fib", |a| {
        a.number(1, FIRST);
        // The type of an address.
        a.number(2, 3);
        a.number(3, if side == Side::Source { 1 } else { 2 });
    });
}

fn redirect(out: &mut Attributes<'_>, family: Family) {
    let (protocol, kind) = match family {
        Family::V4 => (ICMP, ICMP_REDIRECT),
        Family::V6 => (ICMP6, ICMP6_REDIRECT),
    };
    of_protocol(out, protocol);
    payload(out, TRANSPORT, 0, 1, FIRST);
    compare(out, EQUAL, &[kind]);
}

/// Translates the destination to the address in the first register and a port in another.
fn translate(out: &mut Attributes<'_>, family: Family, port: u32) {
    expression(out, "nat", |a| {
        a.number(1, 1);
        a.number(2, u32::from(family.number()));
        a.number(3, FIRST);
        a.number(5, port);
    });
}

fn refuse(out: &mut Attributes<'_>, family: Family, refusal: Refusal) {
    let code = match (refusal, family) {
        (Refusal::Reset, _) => 0,
        (Refusal::Unreachable, Family::V4) => PORT_UNREACHABLE,
        (Refusal::Unreachable, Family::V6) => PORT_UNREACHABLE_6,
    };
    expression(out, "reject", |a| {
        a.number(1, if refusal == Refusal::Reset { 1 } else { 0 });
        a.bytes(2, &[code]);
    });
}
