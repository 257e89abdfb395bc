//! Rules and commands in the language of the `nft` program: for people, in messages, logs and golden files.

use std::fmt::{self, Display, Formatter};

use ipnet::IpNet;

use super::command::{Commands, Element, What};
use super::rule::{Datum, Field, Kind, Refusal, Rule, Side, Statement, Value, Verdict, Way, state};
use super::ruleset::{Family, Holds, Hook, HookKind, Point, Set};

/// A rule of a family's table.
pub fn rule_text(family: Family, rule: &Rule) -> String {
    let texts = rule.iter().map(|statement| text(family, statement));
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

fn text(family: Family, statement: &Statement) -> String {
    let ip = family.ip();
    match statement {
        Statement::Address { side, is, ranges } => match address_set(ranges, *is) {
            Some(ranges) => format!("{ip} {} {}{ranges}", end(*side), not(*is)),
            None => String::new(),
        },
        Statement::Local(side) => format!("fib {} type local", end(*side)),
        Statement::In { fields, is, set } => format!("{} {}@{set}", beside(family, fields), not(*is)),
        Statement::Protocol(protocol) => format!("meta l4proto {protocol}"),
        Statement::Ports(protocol, ranges) => format!("{protocol} dport {}", port_set(ranges)),
        Statement::Interface { way, is, name } => {
            let word = if *way == Way::In { "iifname" } else { "oifname" };
            format!("{word} {}\"{name}\"", not(*is))
        }
        Statement::State { is: true, states } => format!("ct state {}", state_names(*states).join(",")),
        Statement::State { is: false, states } => {
            format!("ct state & ({}) == 0", state_names(*states).join(" | "))
        }
        Statement::Redirect if family == Family::V4 => "icmp type redirect".to_owned(),
        Statement::Redirect => "icmpv6 type nd-redirect".to_owned(),
        Statement::Marked(bits) => format!("meta mark and {bits:#010x} == {bits:#010x}"),
        Statement::Mark(bits) => format!("meta mark set meta mark or {bits:#010x}"),
        Statement::Unmark(bits) => format!("meta mark set meta mark xor {bits:#010x}"),
        Statement::Lead(fields, map) => format!("{} vmap @{map}", beside(family, fields)),
        Statement::Drawn(of) => format!("numgen random mod {of} 0"),
        Statement::Go(verdict) => verdict.to_string(),
        Statement::Remember(set) => format!("update @{set} {{ {ip} saddr }}"),
        Statement::Translate(to) => format!("dnat to {to}"),
        Statement::TranslateBy { fields, lot, map } => {
            let lot = lot.map(|below| format!(" . numgen random mod {below}")).unwrap_or_default();
            format!("dnat {ip} addr . port to {}{lot} map @{map}", beside(family, fields))
        }
        Statement::Masquerade { random: true } => "masquerade fully-random".to_owned(),
        Statement::Masquerade { random: false } => "masquerade".to_owned(),
        Statement::Refuse(Refusal::Reset) => "reject with tcp reset".to_owned(),
        Statement::Refuse(Refusal::Unreachable) => "reject".to_owned(),
        Statement::Count => "counter".to_owned(),
    }
}

fn not(is: bool) -> &'static str {
    if is { "" } else { "!= " }
}

fn end(side: Side) -> &'static str {
    match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    }
}

fn beside(family: Family, fields: &[Field]) -> String {
    let ip = family.ip();
    let text = |field: &Field| match field {
        Field::Source => format!("{ip} saddr"),
        Field::Destination => format!("{ip} daddr"),
        Field::Protocol => "meta l4proto".to_owned(),
        Field::Port => "th dport".to_owned(),
    };
    fields.iter().map(text).collect::<Vec<_>>().join(" . ")
}

/// A single range bare, several in braces; none where all addresses match.
fn address_set(ranges: &[IpNet], is: bool) -> Option<String> {
    let text = |range: &IpNet| match range.prefix_len() == range.max_prefix_len() {
        true => range.addr().to_string(),
        false => range.trunc().to_string(),
    };
    match ranges {
        [one] if one.prefix_len() == 0 && is => None,
        [one] => Some(text(one)),
        many => Some(format!("{{ {} }}", many.iter().map(text).collect::<Vec<_>>().join(", "))),
    }
}

fn port_set(ranges: &[(u16, u16)]) -> String {
    let text = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match ranges {
        [one] => text(one),
        many => format!("{{ {} }}", many.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

fn state_names(states: u32) -> Vec<&'static str> {
    let all = [
        (state::INVALID, "invalid"),
        (state::ESTABLISHED, "established"),
        (state::RELATED, "related"),
        (state::NEW, "new"),
    ];
    all.iter().filter(|(bit, _)| states & bit != 0).map(|(_, name)| *name).collect()
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Address(ip) => ip.fmt(f),
            Datum::Protocol(protocol) => protocol.fmt(f),
            Datum::Port(port) => port.fmt(f),
            Datum::Lot(number) => number.fmt(f),
        }
    }
}

/// Values side by side.
pub fn side_by_side(values: &[Datum]) -> String {
    values.iter().map(Datum::to_string).collect::<Vec<_>>().join(" . ")
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Verdict(verdict) => verdict.fmt(f),
            Value::Data(values) => f.write_str(&side_by_side(values)),
        }
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            HookKind::Filter => "filter",
            HookKind::Nat => "nat",
        };
        let point = match self.point {
            Point::Prerouting => "prerouting",
            Point::Input => "input",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {}; policy accept", self.priority)
    }
}

fn kinds(family: Family, kinds: &[Kind]) -> String {
    let text = |kind: &Kind| match (kind, family) {
        (Kind::Address, Family::V4) => "ipv4_addr",
        (Kind::Address, Family::V6) => "ipv6_addr",
        (Kind::Protocol, _) => "inet_proto",
        (Kind::Port, _) => "inet_service",
        (Kind::Lot, _) => "mark",
    };
    kinds.iter().map(text).collect::<Vec<_>>().join(" . ")
}

/// Expressions of these kinds: nft has no name for the type of numbers drawn by lot.
fn examples(family: Family, kinds: &[Kind]) -> String {
    let ip = family.ip();
    let text = |kind: &Kind| match kind {
        Kind::Address => format!("{ip} daddr"),
        Kind::Protocol => "meta l4proto".to_owned(),
        Kind::Port => "th dport".to_owned(),
        Kind::Lot => "numgen random mod 2".to_owned(),
    };
    kinds.iter().map(text).collect::<Vec<_>>().join(" . ")
}

fn declaration(family: Family, set: &Set) -> String {
    if let (true, Holds::Data(data)) = (set.key.contains(&Kind::Lot), set.holds) {
        return format!("typeof {} : {};", examples(family, set.key), examples(family, data));
    }
    let key = kinds(family, set.key);
    let timeout = set.timeout.map(|seconds| format!(" flags dynamic,timeout; timeout {seconds}s;"));
    match set.holds {
        Holds::Nothing => format!("type {key};{}", timeout.unwrap_or_default()),
        Holds::Verdicts => format!("type {key} : verdict;"),
        Holds::Data(data) => format!("type {key} : {};", kinds(family, data)),
    }
}

impl Set {
    fn word(&self) -> &'static str {
        if self.holds == Holds::Nothing { "set" } else { "map" }
    }
}

impl Commands<'_> {
    /// A command as nft writes it.
    pub(super) fn text(&self, at: usize) -> String {
        let Some(command) = self.list.get(at) else { return String::new() };
        let (table, family) = (self.table, command.family);
        let ip = family.ip();
        let place = |name: &str| format!("{ip} {table} {name}");
        match &command.what {
            What::AddTable => format!("add table {ip} {table}"),
            What::DeleteTable => format!("delete table {ip} {table}"),
            What::AddSet(name, set) => {
                format!("add {} {} {{ {} }}", set.word(), place(name), declaration(family, set))
            }
            What::DeleteSet(name, set) => format!("delete {} {}", set.word(), place(name)),
            What::AddChain(name, Some(hook)) => format!("add chain {} {{ {hook}; }}", place(name)),
            What::AddChain(name, None) => format!("add chain {}", place(name)),
            What::FlushChain(name) => format!("flush chain {}", place(name)),
            What::DeleteChain(name) => format!("delete chain {}", place(name)),
            What::AddRule(chain, rule) => format!("add rule {} {}", place(chain), rule_text(family, rule)),
            What::InsertRule(chain, rule, comment) => {
                format!("insert rule {} {} comment \"{comment}\"", place(chain), rule_text(family, rule))
            }
            What::DeleteRule(chain, handle) => format!("delete rule {} handle {handle}", place(chain)),
            What::AddElements(set, elements) => {
                let text = |(key, value): &Element<'_>| match value {
                    Some(value) => format!("{} : {value}", side_by_side(key)),
                    None => side_by_side(key),
                };
                let elements = elements.iter().map(text).collect::<Vec<_>>().join(", ");
                format!("add element {} {{ {elements} }}", place(set))
            }
            What::DeleteElements(set, keys) => {
                let keys = keys.iter().map(|key| side_by_side(key)).collect::<Vec<_>>().join(", ");
                format!("delete element {} {{ {keys} }}", place(set))
            }
        }
    }
}

impl Display for Commands<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (0..self.list.len()).try_for_each(|at| writeln!(f, "{}", self.text(at)))
    }
}
