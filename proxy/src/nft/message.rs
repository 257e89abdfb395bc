//! Commands as a batch of messages for the kernel's nf_tables subsystem (`linux/netfilter/nf_tables.h`).

use std::net::IpAddr;

use super::command::{Commands, Element, What};
use super::expression;
use super::rule::{Datum, Key, Kind, Rule, Value, Verdict};
use super::ruleset::{Family, Holds, Hook, HookKind, Set};
use crate::netfilter::{ACK, APPEND, Attributes, CREATE, REQUEST, write_message};

/// The subsystem's number, and messages of it.
const SUBSYSTEM: u16 = 10;
pub(super) const NEW_TABLE: u16 = message(0);
pub(super) const GET_TABLE: u16 = message(1);
pub(super) const DELETE_TABLE: u16 = message(2);
const NEW_CHAIN: u16 = message(3);
pub(super) const GET_CHAIN: u16 = message(4);
const DELETE_CHAIN: u16 = message(5);
const NEW_RULE: u16 = message(6);
pub(super) const GET_RULE: u16 = message(7);
const DELETE_RULE: u16 = message(8);
const NEW_SET: u16 = message(9);
pub(super) const GET_SET: u16 = message(10);
const DELETE_SET: u16 = message(11);
const NEW_ELEMENTS: u16 = message(12);
pub(super) const GET_ELEMENTS: u16 = message(13);
const DELETE_ELEMENTS: u16 = message(14);
/// Messages around a batch.
const BEGIN: u16 = 16;
const END: u16 = 17;

const fn message(number: u16) -> u16 {
    SUBSYSTEM << 8 | number
}

/// Attributes of chains, rules, sets and elements, as the kernel numbers them.
pub(super) mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const HOOK_POINT: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const POLICY_DROP: u32 = 0;
    pub const POLICY_ACCEPT: u32 = 1;
}

pub(super) mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USER_DATA: u16 = 7;
    /// Of the user data: the comment, by libnftnl's convention.
    pub const COMMENT: u8 = 0;
}

pub(super) mod set {
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LENGTH: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LENGTH: u16 = 7;
    pub const DESCRIPTION: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const USER_DATA: u16 = 13;
    pub const SIZE: u16 = 1;
    pub const ANONYMOUS: u32 = 0x01;
    pub const CONSTANT: u32 = 0x02;
    pub const INTERVAL: u32 = 0x04;
    pub const MAP: u32 = 0x08;
    pub const TIMED: u32 = 0x10;
    pub const EVALUATED: u32 = 0x20;
    /// The type of verdicts in maps.
    pub const VERDICTS: u32 = 0xffff_ff00;
}

pub(super) mod element {
    pub const TABLE: u16 = 1;
    pub const SET: u16 = 2;
    pub const LIST: u16 = 3;
    pub const SET_ID: u16 = 4;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const INTERVAL_END: u32 = 1;
}

/// An entry of a list of attributes.
pub(super) const ENTRY: u16 = 1;
/// Data: a value, or a verdict with its code and chain.
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// Bytes of elements in a message: the kernel counts the length of their attribute in 16 bits.
const ELEMENTS: usize = 32 * 1024;

/// nft's numbers for the kinds of data: the kernel only keeps them, for programs that list sets.
const ADDRESS_4: u32 = 7;
const ADDRESS_6: u32 = 8;
const INET_PROTOCOL: u32 = 12;
const INET_SERVICE: u32 = 13;
/// Of packets' marks: a number of four bytes in the host's order, as those drawn by lot are.
const MARK: u32 = 19;

/// Messages that are being written.
pub(super) struct Batch<'a> {
    table: &'a str,
    bytes: Vec<u8>,
    /// The command whose message is being written.
    at: u32,
    anonymous: u32,
}

/// A batch ready to be sent. Each message has its command's place as its number.
pub(super) fn encode(commands: &Commands<'_>) -> Vec<u8> {
    let mut batch = Batch { table: commands.table, bytes: Vec::new(), at: 0, anonymous: 0 };
    let whole = (0, SUBSYSTEM);
    // What the kernel finds of the batch as a whole has this number.
    write_message(&mut batch.bytes, BEGIN, REQUEST, u32::MAX, whole, |_| {});
    for (at, command) in commands.list.iter().enumerate() {
        batch.at = u32::try_from(at).unwrap_or(u32::MAX);
        let before = batch.bytes.len();
        batch.command(command.family, &command.what);
        if at + 1 == commands.list.len() {
            acknowledge(&mut batch.bytes[before..]);
        }
    }
    write_message(&mut batch.bytes, END, REQUEST, batch.at, whole, |_| {});
    batch.bytes
}

/// Asks for an acknowledgement of the first message among these bytes, which the kernel gives only if it took all.
fn acknowledge(messages: &mut [u8]) {
    if let Some(flags) = messages.get_mut(6..8) {
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
    }
}

impl Batch<'_> {
    fn message(&mut self, kind: u16, flags: u16, family: Family, write: impl FnOnce(&mut Attributes<'_>)) {
        let table = self.table;
        write_message(&mut self.bytes, kind, REQUEST | flags, self.at, (family.number(), 0), |attributes| {
            // The table is the first attribute of every kind of message.
            attributes.text(1, table);
            write(attributes);
        });
    }

    fn command(&mut self, family: Family, what: &What<'_>) {
        match what {
            What::AddTable => self.message(NEW_TABLE, CREATE, family, |_| {}),
            What::DeleteTable => self.message(DELETE_TABLE, 0, family, |_| {}),
            What::AddSet(name, set) => self.set(family, name, set),
            What::DeleteSet(name, _) => self.message(DELETE_SET, 0, family, |a| a.text(set::NAME, name)),
            What::AddChain(name, hook) => self.message(NEW_CHAIN, CREATE, family, |a| {
                a.text(chain::NAME, name);
                if let Some(hook) = hook {
                    write_hook(a, hook);
                }
            }),
            What::FlushChain(name) => self.message(DELETE_RULE, 0, family, |a| a.text(rule::CHAIN, name)),
            What::DeleteChain(name) => self.message(DELETE_CHAIN, 0, family, |a| a.text(chain::NAME, name)),
            What::AddRule(chain, statements) => self.rule(family, chain, statements, APPEND, None),
            What::InsertRule(chain, statements, comment) => {
                self.rule(family, chain, statements, 0, Some(comment));
            }
            What::DeleteRule(chain, handle) => self.message(DELETE_RULE, 0, family, |a| {
                a.text(rule::CHAIN, chain);
                a.bytes(rule::HANDLE, &handle.to_be_bytes());
            }),
            What::AddElements(name, elements) => {
                let write =
                    |a: &mut Attributes<'_>, (key, value): &Element<'_>| write_element(a, key, *value);
                self.elements(NEW_ELEMENTS, CREATE, family, (name, None), elements, write);
            }
            What::DeleteElements(name, keys) => {
                let write = |a: &mut Attributes<'_>, key: &&Key| write_element(a, key, None);
                self.elements(DELETE_ELEMENTS, 0, family, (name, None), keys, write);
            }
        }
    }

    fn rule(&mut self, family: Family, chain: &str, statements: &Rule, place: u16, comment: Option<&str>) {
        let mut list = Vec::new();
        let mut expressions = Attributes(&mut list);
        statements.iter().for_each(|s| expression::write(self, &mut expressions, family, s));
        self.message(NEW_RULE, CREATE | place, family, |a| {
            a.text(rule::CHAIN, chain);
            a.nest(rule::EXPRESSIONS, |a| a.0.extend(&list));
            if let Some(comment) = comment {
                a.bytes(rule::USER_DATA, &user_comment(comment));
            }
        });
    }

    fn set(&mut self, family: Family, name: &str, set: &Set) {
        let dynamic = set.timeout.map_or(0, |_| set::TIMED | set::EVALUATED);
        let flags = dynamic | if set.holds == Holds::Nothing { 0 } else { set::MAP };
        self.anonymous += 1;
        let id = self.anonymous;
        self.message(NEW_SET, CREATE, family, |a| {
            a.text(set::NAME, name);
            a.number(set::FLAGS, flags);
            a.number(set::KEY_TYPE, kind_number(family, set.key));
            a.number(set::KEY_LENGTH, length(family, set.key));
            match set.holds {
                Holds::Nothing => {}
                Holds::Verdicts => {
                    a.number(set::DATA_TYPE, set::VERDICTS);
                    a.number(set::DATA_LENGTH, 0);
                }
                Holds::Data(kinds) => {
                    a.number(set::DATA_TYPE, kind_number(family, kinds));
                    a.number(set::DATA_LENGTH, length(family, kinds));
                }
            }
            a.number(set::ID, id);
            if let Some(seconds) = set.timeout {
                a.bytes(set::TIMEOUT, &(u64::from(seconds) * 1000).to_be_bytes());
            }
        });
    }

    /// Makes a set that only the rule has that comes next; returns its number within the batch.
    pub(super) fn anonymous<T>(
        &mut self,
        family: Family,
        shape: &Anonymous,
        items: &[T],
        write: impl Fn(&mut Attributes<'_>, &T),
    ) -> u32 {
        self.anonymous += 1;
        let id = self.anonymous;
        let size = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.message(NEW_SET, CREATE, family, |a| {
            a.text(set::NAME, shape.name());
            a.number(set::FLAGS, set::ANONYMOUS | set::CONSTANT | shape.flags);
            a.number(set::KEY_TYPE, shape.key_type);
            a.number(set::KEY_LENGTH, shape.key_length);
            if shape.flags & set::MAP != 0 {
                a.number(set::DATA_TYPE, set::VERDICTS);
                a.number(set::DATA_LENGTH, 0);
            }
            a.nest(set::DESCRIPTION, |a| a.number(set::SIZE, size));
            a.number(set::ID, id);
            a.bytes(set::USER_DATA, &shape.user_data);
        });
        self.elements(NEW_ELEMENTS, CREATE, family, (shape.name(), Some(id)), items, write);
        id
    }

    /// Writes elements in as many messages as they need.
    fn elements<T>(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        (name, id): (&str, Option<u32>),
        items: &[T],
        write: impl Fn(&mut Attributes<'_>, &T),
    ) {
        let mut list = Vec::new();
        let mut items = items.iter().peekable();
        while let Some(item) = items.next() {
            Attributes(&mut list).nest(ENTRY, |a| write(a, item));
            if list.len() < ELEMENTS && items.peek().is_some() {
                continue;
            }
            self.message(kind, flags, family, |a| {
                a.text(element::SET, name);
                if let Some(id) = id {
                    a.number(element::SET_ID, id);
                }
                a.nest(element::LIST, |a| a.0.extend(&list));
            });
            list.clear();
        }
    }
}

/// What an anonymous set is like.
pub(super) struct Anonymous {
    /// Beyond those of all anonymous sets.
    pub flags: u32,
    pub key_type: u32,
    pub key_length: u32,
    /// What nft keeps with the set, to list its keys in their byte order.
    pub user_data: [u8; 6],
}

impl Anonymous {
    /// The pattern from which the kernel makes a name.
    pub(super) fn name(&self) -> &'static str {
        if self.flags & set::MAP == 0 { "__set%d" } else { "__map%d" }
    }
}

fn write_hook(a: &mut Attributes<'_>, hook: &Hook) {
    a.nest(chain::HOOK, |a| {
        a.number(chain::HOOK_POINT, hook.point as u32);
        a.number(chain::HOOK_PRIORITY, hook.priority.cast_unsigned());
    });
    a.number(chain::POLICY, chain::POLICY_ACCEPT);
    a.text(
        chain::TYPE,
        match hook.kind {
            HookKind::Filter => "filter",
            HookKind::Nat => "nat",
        },
    );
}

fn write_element(a: &mut Attributes<'_>, key: &Key, value: Option<&Value>) {
    a.nest(element::KEY, |a| a.bytes(VALUE, &key_bytes(key)));
    match value {
        None => {}
        Some(Value::Verdict(verdict)) => write_verdict(a, element::DATA, verdict),
        Some(Value::Data(values)) => a.nest(element::DATA, |a| a.bytes(VALUE, &key_bytes(values))),
    }
}

/// Writes data that is a value.
pub(super) fn write_value(a: &mut Attributes<'_>, kind: u16, value: &[u8]) {
    a.nest(kind, |a| a.bytes(VALUE, value));
}

/// Writes data that is a verdict.
pub(super) fn write_verdict(a: &mut Attributes<'_>, kind: u16, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    a.nest(kind, |a| {
        a.nest(VERDICT, |a| {
            a.number(VERDICT_CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                a.text(VERDICT_CHAIN, chain);
            }
        });
    });
}

/// Values side by side, each filled up to four bytes.
pub(super) fn key_bytes(values: &[Datum]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    let alone = values.len() == 1;
    for value in values {
        match value {
            Datum::Address(ip) => bytes.extend(address_bytes(ip)),
            Datum::Protocol(protocol) => bytes.push(protocol.number()),
            Datum::Port(port) => bytes.extend(port.to_be_bytes()),
            Datum::Lot(number) => bytes.extend(number.to_ne_bytes()),
        }
        if !alone {
            bytes.resize(bytes.len().div_ceil(4) * 4, 0);
        }
    }
    bytes
}

/// An address in the network's order.
pub(super) fn address_bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn length(family: Family, kinds: &[Kind]) -> u32 {
    let one = |kind: &Kind| match kind {
        Kind::Address => family.address_length(),
        Kind::Protocol => 1,
        Kind::Port => 2,
        Kind::Lot => 4,
    };
    match kinds {
        [kind] => one(kind),
        many => many.iter().map(|kind| one(kind).div_ceil(4) * 4).sum(),
    }
}

/// nft's number of a kind; several side by side are one number of six bits each.
fn kind_number(family: Family, kinds: &[Kind]) -> u32 {
    let one = |kind: &Kind| match (kind, family) {
        (Kind::Address, Family::V4) => ADDRESS_4,
        (Kind::Address, Family::V6) => ADDRESS_6,
        (Kind::Protocol, _) => INET_PROTOCOL,
        (Kind::Port, _) => INET_SERVICE,
        (Kind::Lot, _) => MARK,
    };
    kinds.iter().fold(0, |number, kind| number << 6 | one(kind))
}

/// The number of a kind alone.
pub(super) fn kind_alone(family: Family, kind: Kind) -> u32 {
    kind_number(family, &[kind])
}

/// A comment as nft keeps it with a rule: its type, length and text with a zero.
fn user_comment(comment: &str) -> Vec<u8> {
    let text = comment.as_bytes();
    let text = &text[..text.len().min(127)];
    let mut bytes = vec![rule::COMMENT, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    bytes.extend(text);
    bytes.push(0);
    bytes
}
