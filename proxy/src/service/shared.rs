//! What several services may need: chains that draw among a number of endpoints, and addresses of this node's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Config;
use super::base::{
    FRONTEND, MARK, NODE_PORT_ENDPOINTS, NODE_PORT_LOCAL_ENDPOINTS, PORT, PUBLISHED_ENDPOINTS,
    PUBLISHED_LOCAL_ENDPOINTS, SERVICE_ENDPOINTS, SERVICE_LOCAL_ENDPOINTS, THEMSELVES,
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
        /// How many of them are on this node, where clients outside may use those only (policy Local).
        local: Option<u32>,
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

    /// The map of this node's endpoints, for clients outside.
    pub(super) fn local_endpoints(self) -> &'static str {
        match self {
            Class::Inside | Class::Outside => SERVICE_LOCAL_ENDPOINTS,
            Class::NodePort => NODE_PORT_LOCAL_ENDPOINTS,
            Class::Published => PUBLISHED_LOCAL_ENDPOINTS,
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
            Shared::Lot { class, of, local: None, .. } => format!("{}-{of}", class.name()),
            Shared::Lot { class, of, local: Some(local), .. } => {
                format!("{}-{of}-local-{local}", class.name())
            }
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
            Shared::Lot { class, family, of, local } => {
                let pods = config.pods(*family);
                let mut rules = match local {
                    None => anywhere(*class, *of, pods),
                    Some(local) => near(*class, *of, *local, pods),
                };
                // An endpoint that has just gone: the client's next try finds another.
                rules.push(vec![Statement::drop()]);
                fragment.chain(*family, self.key(), rules);
            }
        }
        fragment
    }
}

/// All clients may use all endpoints.
fn anywhere(class: Class, of: u32, pods: Vec<IpNet>) -> Vec<Rule> {
    let mut rules = Vec::new();
    match class {
        Class::Inside if pods.is_empty() => {}
        Class::Inside => rules.push(vec![Statement::outside(Side::Source, pods), Statement::jump(MARK)]),
        _ => rules.push(vec![Statement::jump(MARK)]),
    }
    rules.extend(draw(class, None, class.endpoints(), of));
    rules
}

/// Clients outside may use this node's endpoints only, and keep their address. Pods and this host are inside: for them
/// the policy does not count.
fn near(class: Class, of: u32, local: u32, pods: Vec<IpNet>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if !pods.is_empty() {
        let pod = Statement::within(Side::Source, pods);
        rules.extend(draw(class, Some(&pod), class.endpoints(), of));
    }
    let host = Statement::Local(Side::Source);
    rules.push(vec![host.clone(), Statement::jump(MARK)]);
    rules.extend(draw(class, Some(&host), class.endpoints(), of));
    if local > 0 {
        rules.extend(draw(class, None, class.local_endpoints(), local));
    }
    rules
}

/// Rules that draw one of a number of endpoints in a map.
fn draw(class: Class, client: Option<&Statement>, map: &'static str, of: u32) -> impl Iterator<Item = Rule> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().map(move |protocol| {
        let to = Statement::TranslateBy { fields: class.fields(), lot: Some(of), map: map.into() };
        client.cloned().into_iter().chain([Statement::Protocol(protocol), to]).collect()
    })
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
