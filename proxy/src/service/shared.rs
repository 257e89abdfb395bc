//! What several services may need: chains that draw among a number of endpoints, and addresses of this node's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Config;
use super::base::{
    FRONTEND, MARK, NODE_PORT_ENDPOINTS, PORT, PUBLISHED_ENDPOINTS, SERVICE_ENDPOINTS, THEMSELVES,
};
use crate::nft::{Family, Field, Fragment, Protocol, Rule, RuleSet, Side, Statement};

/// Something that several services may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// That an endpoint at this address is masqueraded when it calls itself.
    Itself(IpAddr),
    /// The chain that draws one of some endpoints.
    Lot {
        /// For front ends of this kind.
        class: Class,
        /// In the table of this family.
        family: Family,
        /// How many endpoints there are.
        of: u32,
    },
}

/// A kind of front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A virtual address.
    Inside,
    /// An address for clients outside.
    Outside,
    /// A node port.
    NodePort,
    /// A published port of the host.
    Published,
}

impl Class {
    /// The map of endpoints.
    pub(super) fn endpoints(self) -> &'static str {
        match self {
            Class::Inside | Class::Outside => SERVICE_ENDPOINTS,
            Class::NodePort => NODE_PORT_ENDPOINTS,
            Class::Published => PUBLISHED_ENDPOINTS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Class::Inside => "inside",
            Class::Outside => "outside",
            Class::NodePort => "nodeport",
            Class::Published => "published",
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Class::Inside | Class::Outside => FRONTEND,
            Class::NodePort | Class::Published => PORT,
        }
    }
}

impl Shared {
    /// Its key among the rules, which no service has; of a chain its name as well, which is the same in both families.
    pub(super) fn key(&self) -> String {
        match self {
            Shared::Itself(ip) => ip.to_string(),
            Shared::Lot { class, of, .. } => format!("{}-{of}", class.name()),
        }
    }

    /// Its key among all rules: no service has such a one.
    fn place(&self) -> String {
        match self {
            Shared::Itself(ip) => format!("itself {ip}"),
            Shared::Lot { family, .. } => format!("{} {}", self.key(), family.ip()),
        }
    }

    fn fragment(&self, config: &Config) -> Fragment {
        let mut fragment = Fragment::default();
        match self {
            Shared::Itself(ip) => {
                fragment.member(Family::of(ip), THEMSELVES, vec![(*ip).into(), (*ip).into()]);
            }
            Shared::Lot { class, family, of } => {
                fragment.chain(*family, self.key(), draw(*class, *family, *of, config));
            }
        }
        fragment
    }
}

fn draw(class: Class, family: Family, of: u32, config: &Config) -> Vec<Rule> {
    let mut rules = Vec::new();
    match (class, config.pods(family)) {
        (Class::Inside, pods) if pods.is_empty() => {}
        (Class::Inside, pods) => {
            rules.push(vec![Statement::outside(Side::Source, pods), Statement::jump(MARK)]);
        }
        _ => rules.push(vec![Statement::jump(MARK)]),
    }
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let map = class.endpoints().into();
        let to = Statement::TranslateBy { fields: class.fields(), lot: Some(of), map };
        rules.push(vec![Statement::Protocol(protocol), to]);
    }
    // An endpoint that has just gone: the client's next try finds another.
    rules.push(vec![Statement::drop()]);
    rules
}

/// Who needs what.
#[derive(Debug, Default)]
pub(super) struct Needs {
    by_service: BTreeMap<String, BTreeSet<Shared>>,
    counts: BTreeMap<Shared, usize>,
}

impl Needs {
    /// Takes what a service needs now, and puts what is needed for the first time among the rules, or takes away what
    /// nobody needs any more.
    pub(super) fn set(&mut self, service: &str, now: BTreeSet<Shared>, config: &Config, rules: &mut RuleSet) {
        let before = self.by_service.remove(service).unwrap_or_default();
        for new in now.difference(&before) {
            let count = self.counts.entry(*new).or_default();
            *count += 1;
            if *count == 1 {
                rules.insert(&new.place(), Arc::new(new.fragment(config)));
            }
        }
        for old in before.difference(&now) {
            let Some(count) = self.counts.get_mut(old) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(old);
                rules.remove(&old.place());
            }
        }
        if !now.is_empty() {
            self.by_service.insert(service.to_owned(), now);
        }
    }
}
