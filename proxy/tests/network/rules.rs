//! What the kernel makes of rules: as much as was sent, and the same as of nft's own text of them.

use std::net::SocketAddr;

use ipnet::IpNet;
use knarr_proxy::cni::in_namespace;
use knarr_proxy::nft::{
    self, Commands, Content, Datum, Family, Field, Fragment, Holds, Hook, HookKind, Kind, Point, Protocol,
    Refusal, Rule, RuleSet, Side, Statement, Value, Verdict, What, state,
};
use serde_json::json;

use crate::objects::*;
use crate::support::*;

/// A state with every kind of statement, set and element in it.
fn everything() -> RuleSet {
    let mut all = Fragment::default();
    for family in Family::ALL {
        let (one, range, odd, other, listener): (IpNet, IpNet, IpNet, IpNet, SocketAddr) = match family {
            Family::V4 => ("192.0.2.7/32", "10.42.0.0/16", "10.64.0.0/10", "203.0.113.0/24", "10.42.0.1:53"),
            Family::V6 => ("2001:db8::7/128", "fd42::/48", "fd44::/10", "2001:db8:1::/64", "[fd42::1]:53"),
        }
        .map_texts();
        const FRONTEND: &[Field] = &[Field::Destination, Field::Protocol, Field::Port];
        all.declare_map(family, "verdicts", &[Kind::Address, Kind::Protocol, Kind::Port], Holds::Verdicts);
        all.declare_map(
            family,
            "targets",
            &[Kind::Address, Kind::Protocol, Kind::Port],
            Holds::Data(&[Kind::Address, Kind::Port]),
        );
        let address = one.addr();
        all.declare_map(family, "lots", &[Kind::Port, Kind::Lot], Holds::Data(&[Kind::Address, Kind::Port]));
        all.map(
            family,
            "lots",
            vec![80.into(), Datum::Lot(4)],
            Value::Data(vec![address.into(), 8080.into()]),
        );
        all.declare_set(family, "pairs", &[Kind::Address, Kind::Address]);
        all.declare_set(family, "ports", &[Kind::Protocol, Kind::Port]);
        all.declare_set(family, "addresses", &[Kind::Address]);
        let clients = nft::Set { key: &[Kind::Address], holds: Holds::Nothing, timeout: Some(90) };
        all.sets.insert((family, "clients".into()), clients);
        let frontend = || vec![address.into(), Protocol::Sctp.into(), 443.into()];
        all.map(family, "verdicts", frontend(), Value::Verdict(Verdict::Goto("to".into())));
        let http = vec![address.into(), Protocol::Tcp.into(), 80.into()];
        all.map(family, "verdicts", http, Value::Verdict(Verdict::Drop));
        all.map(family, "targets", frontend(), Value::Data(vec![address.into(), 8080.into()]));
        all.member(family, "pairs", vec![address.into(), range.addr().into()]);
        all.member(family, "ports", vec![Protocol::Udp.into(), 53.into()]);
        all.member(family, "addresses", vec![address.into()]);
        let outside = |ranges: &[IpNet]| Statement::outside(Side::Destination, ranges);
        let within = |ranges: &[IpNet]| Statement::within(Side::Source, ranges);
        let translation: Vec<Rule> = vec![
            vec![Statement::Lead(FRONTEND, "verdicts".into())],
            vec![within(&[one]), outside(&[range]), Statement::jump("to")],
            vec![within(&[odd]), outside(&[odd]), Statement::goto("to")],
            vec![within(&[odd, other, one]), outside(&[range, other]), Statement::Go(Verdict::Return)],
            vec![Statement::Local(Side::Destination), Statement::Local(Side::Source), Statement::accept()],
            vec![Statement::Remember("clients".into())],
            vec![Statement::among(&[Field::Source], "clients"), Statement::goto("to")],
            vec![Statement::Drawn(3), Statement::goto("there")],
            vec![Statement::Protocol(Protocol::Udp), Statement::Translate(listener)],
            vec![
                Statement::Protocol(Protocol::Tcp),
                Statement::TranslateBy { fields: FRONTEND, lot: None, map: "targets".into() },
            ],
            vec![
                Statement::Protocol(Protocol::Sctp),
                Statement::TranslateBy { fields: &[Field::Port], lot: Some(5), map: "lots".into() },
            ],
        ];
        let nat = |point, priority| Hook { kind: HookKind::Nat, point, priority };
        all.hook(family, "before", nat(Point::Prerouting, -101), translation);
        let masquerade = vec![
            vec![Statement::Marked(0x4000), Statement::Masquerade { random: true }],
            vec![Statement::Masquerade { random: false }],
        ];
        all.hook(family, "after", nat(Point::Postrouting, 99), masquerade);
        let filter: Vec<Rule> = vec![
            vec![Statement::connection(state::NEW), Statement::came_by("eth0"), Statement::drop()],
            vec![Statement::connection(state::ESTABLISHED | state::RELATED), Statement::accept()],
            vec![Statement::State { is: false, states: state::INVALID | state::NEW }, Statement::drop()],
            vec![Statement::leaves_by("a-long-name-15c"), Statement::Redirect, Statement::drop()],
            vec![
                Statement::In { fields: &[Field::Source], is: false, set: "addresses".into() },
                Statement::Count,
                Statement::Ports(Protocol::Tcp, [(80, 80)].into()),
                Statement::drop(),
            ],
            vec![Statement::Ports(Protocol::Sctp, [(8000, 8080)].into()), Statement::drop()],
            vec![
                Statement::Ports(Protocol::Udp, [(1, 1), (53, 53), (8000, 8080), (60_000, 65_535)].into()),
                Statement::drop(),
            ],
            vec![Statement::among(&[Field::Source, Field::Destination], "pairs"), Statement::drop()],
            vec![Statement::among(&[Field::Protocol, Field::Port], "ports"), Statement::drop()],
            vec![Statement::Protocol(Protocol::Tcp), Statement::Refuse(Refusal::Reset)],
            vec![Statement::Refuse(Refusal::Unreachable)],
        ];
        let hook = Hook { kind: HookKind::Filter, point: Point::Forward, priority: 10 };
        all.hook(family, "forward", hook, filter);
        all.chain(family, "to", vec![vec![Statement::Mark(0x4000)], vec![Statement::Unmark(0x4000)]]);
        all.chain(family, "there", Vec::new());
        all.chain(family, "away", Vec::new());
    }
    RuleSet::new(std::sync::Arc::new(all))
}

trait Texts<T> {
    /// Each text as what it stands for.
    fn map_texts(self) -> T;
}

impl Texts<(IpNet, IpNet, IpNet, IpNet, SocketAddr)> for (&str, &str, &str, &str, &str) {
    fn map_texts(self) -> (IpNet, IpNet, IpNet, IpNet, SocketAddr) {
        let range = |text: &str| text.parse().expect("range");
        (range(self.0), range(self.1), range(self.2), range(self.3), self.4.parse().expect("address"))
    }
}

/// Lines of a listing with the elements of sets in order: the kernel gives them as they lie in its tables.
fn lines(listing: &str) -> Vec<String> {
    let mut elements: Vec<String> = Vec::new();
    let mut all = Vec::new();
    // The program keeps with a map of numbers drawn by lot how it was declared, and shows them by that.
    let listing = listing.replace("0x0000000", "");
    let is_lot = |line: &&str| line.contains(" . mark : ") || line.starts_with("typeof ");
    for line in listing.lines().map(str::trim).filter(|line| !is_lot(line)) {
        let (open, close) = (line.starts_with("elements = {"), line.ends_with('}'));
        if open || !elements.is_empty() {
            let bare = line.trim_start_matches("elements = {").trim_end_matches('}');
            elements.extend(bare.split(',').map(|e| e.trim().to_owned()).filter(|e| !e.is_empty()));
            if close {
                elements.sort();
                all.append(&mut elements);
            }
        } else {
            all.push(line.to_owned());
        }
    }
    all
}

#[test]
fn the_kernel_reads_rules_as_the_program_does() {
    on_node("reads", |node| {
        let slices = [slice("web", "TCP", &["10.77.1.5:8080".parse().expect("address")])];
        let affine = json!({
            "clusterIP": "10.96.0.20", "type": "NodePort", "sessionAffinity": "ClientIP",
            "ports": [{ "port": 80, "nodePort": 30080 }],
        });
        for rules in [everything(), rules(&node.services, &service("web", affine), &slices)] {
            let commands = nft::full("test", &rules);
            node.commands(&commands);
            let other = namespace();
            nft_program(&other, &["-f", "-"], &commands.to_string());
            let ours = node.list(&["ruleset"]);
            assert_eq!(lines(&ours), lines(&nft_program(&other, &["list", "ruleset"], "")));
            // And over netlink: as many rules and elements, in the same chains and sets.
            let content = |family| {
                let ask = || async { Ok(node.kernel.content(family, "test").await?) };
                in_namespace(Some(&node.namespace), ask).expect("content")
            };
            for family in Family::ALL {
                assert_eq!(content(family), Content::of(&rules, family));
            }
            // The same again changes nothing.
            node.commands(&nft::full("test", &rules));
            assert_eq!(lines(&node.list(&["ruleset"])), lines(&ours));
            node.commands(&nft::without("test"));
            assert_eq!(node.list(&["ruleset"]), "");
            assert_eq!(content(Family::V4), Content::default());
        }
    });
}

#[test]
fn many_elements_and_long_maps_arrive() {
    on_node("many", |node| {
        let mut all = Fragment::default();
        all.declare_set(Family::V4, "addresses", &[Kind::Address]);
        for number in 0..20_000_u32 {
            all.member(Family::V4, "addresses", vec![std::net::IpAddr::from(number.to_be_bytes()).into()]);
        }
        let ports: Vec<(u16, u16)> = (0..2_000).map(|i| (10 * i + 1, 10 * i + 2)).collect();
        let hook = Hook { kind: HookKind::Filter, point: Point::Input, priority: 0 };
        all.hook(
            Family::V4,
            "input",
            hook,
            vec![vec![Statement::Ports(Protocol::Tcp, ports.into()), Statement::drop()]],
        );
        let rules = RuleSet::new(std::sync::Arc::new(all));
        node.commands(&nft::full("many", &rules));
        let held = || async { Ok(node.kernel.holds("many", &rules).await?) };
        assert!(in_namespace(Some(&node.namespace), held).expect("content"));
        assert!(node.list(&["chain", "ip", "many", "input"]).contains("19991-19992"));
        node.nft("flush chain ip many input\n");
        assert!(!in_namespace(Some(&node.namespace), held).expect("content"));
    });
}

#[test]
fn a_refused_command_is_told_and_nothing_is_changed() {
    on_node("refused", |node| {
        let rule = vec![Statement::goto("nowhere")];
        let mut commands = Commands::new("test");
        commands.push(Family::V4, What::AddTable);
        commands.push(Family::V4, What::AddChain("a", None));
        commands.push(Family::V4, What::AddRule("a", &rule));
        let apply = || async { Ok(node.kernel.apply(&commands).await?) };
        let error = in_namespace(Some(&node.namespace), apply).expect_err("no such chain").chain();
        assert!(error.contains("`add rule ip test a goto nowhere`"), "{error}");
        assert!(error.contains("No such file or directory"), "{error}");
        assert_eq!(node.list(&["ruleset"]), "");
    });
}
