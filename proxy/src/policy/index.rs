//! Policies, pods and namespaces as they are, and the rules that follow. Events go in, whole wanted rules come out; what
//! no event touched is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use knarr_component::selector::Labels;

use super::Config;
use super::model::{Numbers, Peer, Pod, Policy, Rule, Selection, port_set};
use super::render::{self, Direction};
use crate::names;
use crate::nft::{
    Family, Field, Fragment, Holds, Hook, HookKind, Key, Kind, Name, Point, Protocol, RuleSet, Statement,
    Value, Verdict, state,
};

/// The chain where packets that are forwarded meet the policies.
pub(super) const FORWARD: &str = "forward";
/// Addresses of the pods of this node that are known.
const PODS: &str = "pods";
/// Pairs of a pod's address with itself: no policy keeps a pod from itself, as by its own Service.
const THEMSELVES: &str = "themselves";
/// The kind of sets and maps of addresses.
const ADDRESS: &[Kind] = &[Kind::Address];

/// The observed world of the policies.
#[derive(Debug)]
pub struct Index {
    config: Config,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<String, Pod>,
    policies: BTreeMap<String, Policy>,
    /// Fragments of sets by the set's name, as far as they are up to date.
    sets: BTreeMap<String, Arc<Fragment>>,
}

/// A set of addresses that rules name.
enum Set<'a> {
    Peers(&'a Selection),
    Ports { name: &'a str, protocol: Protocol },
}

impl Index {
    /// An empty world.
    pub fn new(config: Config) -> Index {
        let (namespaces, pods) = (BTreeMap::new(), BTreeMap::new());
        Index { config, namespaces, pods, policies: BTreeMap::new(), sets: BTreeMap::new() }
    }

    /// Whether there is any policy.
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Takes a policy as it is now, or that it is gone.
    pub fn set_policy(&mut self, key: &str, policy: Option<Policy>) {
        change(&mut self.policies, key, policy);
    }

    /// Takes the labels of a namespace as they are now, or that it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if change(&mut self.namespaces, name, labels) {
            self.sets.clear();
        }
    }

    /// Takes a pod as it is now, or that it has no address any more.
    pub fn set_pod(&mut self, key: &str, pod: Option<Pod>) {
        let before = self.pods.get(key).cloned();
        if !change(&mut self.pods, key, pod.clone()) {
            return;
        }
        let Index { sets, policies, namespaces, .. } = self;
        for set in used(policies.values()) {
            let concerns = |pod: &Pod| set.has(pod, namespaces);
            if before.as_ref().is_some_and(concerns) || pod.as_ref().is_some_and(concerns) {
                sets.remove(&set.name());
            }
        }
    }

    /// The rules that are wanted now; empty without policies.
    pub fn rules(&mut self) -> RuleSet {
        if self.policies.is_empty() {
            self.sets.clear();
            return RuleSet::default();
        }
        let mut rules = RuleSet::new(Arc::new(self.base()));
        let chains = self.chains();
        let about: BTreeSet<&String> = chains.values().flat_map(|chain| &chain.policies).copied().collect();
        let sets: Vec<(String, Fragment)> = used(about.iter().filter_map(|key| self.policies.get(*key)))
            .filter(|set| !self.sets.contains_key(&set.name()))
            .map(|set| (set.name(), self.set(&set)))
            .collect();
        let wanted: BTreeSet<String> =
            used(about.iter().filter_map(|key| self.policies.get(*key))).map(|set| set.name()).collect();
        for ((direction, name), chain) in &chains {
            let policies: Vec<&Policy> =
                chain.policies.iter().filter_map(|key| self.policies.get(*key)).collect();
            let mut fragment = Fragment::default();
            for family in Family::ALL {
                fragment.chain(family, name.clone(), render::chain(&policies, *direction, family));
            }
            rules.insert(name, Arc::new(fragment));
        }
        rules.insert("isolated", Arc::new(isolated(&chains)));
        self.sets.extend(sets.into_iter().map(|(name, fragment)| (name, Arc::new(fragment))));
        self.sets.retain(|name, _| wanted.contains(name));
        self.sets.iter().for_each(|(name, fragment)| rules.insert(name, fragment.clone()));
        rules
    }

    /// What is there as soon as there is a policy.
    fn base(&self) -> Fragment {
        let mut base = Fragment::default();
        let bridge = self.config.bridge.as_str();
        for family in Family::ALL {
            for direction in Direction::ALL {
                base.declare_map(family, direction.map(), ADDRESS, Holds::Verdicts);
            }
            base.declare_set(family, PODS, ADDRESS);
            base.declare_set(family, THEMSELVES, &[Kind::Address, Kind::Address]);
            let (source, destination) = (&[Field::Source], &[Field::Destination]);
            let itself = Statement::among(&[Field::Source, Field::Destination], THEMSELVES);
            let unknown = Statement::In { fields: source, is: false, set: PODS.into() };
            let lead = |fields, direction: Direction| Statement::Lead(fields, direction.map().into());
            let answered = Statement::connection(state::ESTABLISHED | state::RELATED);
            let rules = vec![
                vec![answered, Statement::accept()],
                vec![itself, Statement::accept()],
                vec![Statement::came_by(bridge), unknown, Statement::drop()],
                vec![Statement::came_by(bridge), lead(source, Direction::Egress)],
                vec![Statement::leaves_by(bridge), lead(destination, Direction::Ingress)],
            ];
            // After the translation of Services, so that policies see the pods themselves.
            let hook = Hook { kind: HookKind::Filter, point: Point::Forward, priority: 10 };
            base.hook(family, FORWARD, hook, rules);
        }
        for ip in self.local().flat_map(|(_, pod)| &pod.ips) {
            let family = Family::of(ip);
            base.member(family, PODS, vec![(*ip).into()]);
            base.member(family, THEMSELVES, vec![(*ip).into(), (*ip).into()]);
        }
        base
    }

    fn local(&self) -> impl Iterator<Item = (&String, &Pod)> {
        self.pods.iter().filter(|(_, pod)| pod.node == self.config.node_name)
    }

    /// The chains of this node's isolated pods by direction and name: pods with the same policies share one.
    fn chains(&self) -> BTreeMap<(Direction, String), Chain<'_>> {
        let mut chains: BTreeMap<(Direction, String), Chain<'_>> = BTreeMap::new();
        for (_, pod) in self.local() {
            for direction in Direction::ALL {
                let about =
                    |(_, policy): &(&String, &Policy)| direction.of(policy).is_some() && policy.is_about(pod);
                let policies: Vec<&String> = self.policies.iter().filter(about).map(|(key, _)| key).collect();
                if policies.is_empty() {
                    continue;
                }
                let all: Vec<&str> = policies.iter().map(|key| key.as_str()).collect();
                let name = format!("{}-{}", direction.map(), names::digest(&all.join(" "), 16));
                let chain = chains.entry((direction, name)).or_insert(Chain { policies, pods: Vec::new() });
                chain.pods.push(pod);
            }
        }
        chains
    }

    fn set(&self, set: &Set<'_>) -> Fragment {
        let (mut fragment, name) = (Fragment::default(), Name::from(set.name()));
        let key = match set {
            Set::Peers(_) => ADDRESS,
            Set::Ports { .. } => &[Kind::Address, Kind::Protocol, Kind::Port],
        };
        Family::ALL.into_iter().for_each(|family| fragment.declare_set(family, name.clone(), key));
        for pod in self.pods.values().filter(|pod| set.has(pod, &self.namespaces)) {
            for ip in &pod.ips {
                for key in set.keys(*ip, pod) {
                    fragment.member(Family::of(ip), name.clone(), key);
                }
            }
        }
        fragment
    }
}

/// A chain of one direction.
struct Chain<'a> {
    /// Keys of its policies.
    policies: Vec<&'a String>,
    /// The pods that they are about.
    pods: Vec<&'a Pod>,
}

/// Leads packets of isolated pods to their chains. An address that two pods show, of which one is on its way out, is
/// there once.
fn isolated(chains: &BTreeMap<(Direction, String), Chain<'_>>) -> Fragment {
    let mut fragment = Fragment::default();
    for ((direction, name), chain) in chains {
        for ip in chain.pods.iter().flat_map(|pod| &pod.ips) {
            let chain = Value::Verdict(Verdict::Jump(name.clone().into()));
            fragment.map(Family::of(ip), direction.map(), vec![(*ip).into()], chain);
        }
    }
    fragment
}

impl Set<'_> {
    fn name(&self) -> String {
        match self {
            Set::Peers(selection) => selection.set(),
            Set::Ports { name, protocol } => port_set(name, *protocol),
        }
    }

    fn has(&self, pod: &Pod, namespaces: &BTreeMap<String, Labels>) -> bool {
        match self {
            Set::Peers(selection) => selection.has(pod, namespaces.get(&pod.namespace)),
            Set::Ports { name, protocol } => pod.ports.iter().any(|(n, p, _)| n == name && p == protocol),
        }
    }

    /// What is in the set for an address of a pod.
    fn keys(&self, ip: IpAddr, pod: &Pod) -> Vec<Key> {
        match self {
            Set::Peers(_) => vec![vec![ip.into()]],
            Set::Ports { name, protocol } => {
                let ports = pod.ports.iter().filter(|(n, p, _)| n == name && p == protocol);
                ports.map(|(_, protocol, port)| vec![ip.into(), (*protocol).into(), (*port).into()]).collect()
            }
        }
    }
}

/// The sets that rules of policies name, some of them several times.
fn used<'a>(policies: impl Iterator<Item = &'a Policy>) -> impl Iterator<Item = Set<'a>> {
    let rules = policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten());
    rules.flat_map(|Rule { peers, ports }| {
        let peers = peers.iter().flatten().filter_map(|peer| match peer {
            Peer::Pods(selection) => Some(Set::Peers(selection)),
            Peer::Block { .. } => None,
        });
        let ports = ports.iter().flatten().filter_map(|port| match &port.numbers {
            Numbers::Named(name) => Some(Set::Ports { name, protocol: port.protocol }),
            _ => None,
        });
        peers.chain(ports)
    })
}

/// Puts a value in its place, or takes it away; whether that changed anything.
fn change<V: PartialEq>(all: &mut BTreeMap<String, V>, key: &str, value: Option<V>) -> bool {
    if all.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(all.insert(key.to_owned(), value)),
        None => drop(all.remove(key)),
    }
    true
}
