//! Conditions, taints and eviction rates, without I/O.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::taints::{
    DISK_PRESSURE, MEMORY_PRESSURE, NETWORK_UNAVAILABLE, NO_EXECUTE, NO_SCHEDULE, NOT_READY, PID_PRESSURE,
    UNREACHABLE, UNSCHEDULABLE, taints,
};

/// What the condition `Ready` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ready {
    Yes,
    No,
    Unknown,
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(super) fn ready(node: &Node) -> Ready {
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("True") => Ready::Yes,
        Some("False") => Ready::No,
        _ => Ready::Unknown,
    }
}

/// Conditions, by value, and the taint of each.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", MEMORY_PRESSURE),
    ("DiskPressure", "True", DISK_PRESSURE),
    ("NetworkUnavailable", "True", NETWORK_UNAVAILABLE),
    ("PIDPressure", "True", PID_PRESSURE),
];

/// A taint without the time at which it was set.
pub(super) fn without_time(taint: &Taint) -> (&str, &str, Option<&str>) {
    (&taint.key, &taint.effect, taint.value.as_deref().filter(|value| !value.is_empty()))
}

fn taint(key: &str, effect: &str, time: Option<&Time>) -> Taint {
    Taint { key: key.to_string(), effect: effect.to_string(), value: None, time_added: time.cloned() }
}

/// The taints of a node with those `NoSchedule` ones that its conditions call for, and without
/// `NoExecute` ones that a ready node does not deserve.
pub(super) fn with_condition_taints(node: &Node) -> Vec<Taint> {
    let status = |kind: &str| condition(node, kind).map(|condition| condition.status.as_str());
    let mut wanted: Vec<&str> = CONDITION_TAINTS
        .iter()
        .filter(|(kind, value, _)| status(kind) == Some(value))
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push(UNSCHEDULABLE);
    }
    let is_ours =
        |key: &str| key == UNSCHEDULABLE || CONDITION_TAINTS.iter().any(|(_, _, ours)| *ours == key);
    // A node that has not reported yet keeps what it registered with.
    let reported = condition(node, "Ready").is_some();
    let keep = |have: &&Taint| {
        let stale_schedule = have.effect == NO_SCHEDULE
            && is_ours(&have.key)
            && !wanted.contains(&have.key.as_str())
            && (reported || have.key == UNSCHEDULABLE);
        !(stale_schedule || (is_eviction_taint(have) && ready(node) == Ready::Yes))
    };
    let mut all: Vec<Taint> = taints(node).iter().filter(keep).cloned().collect();
    for key in wanted {
        if !all.iter().any(|have| have.key == key && have.effect == NO_SCHEDULE) {
            all.push(taint(key, NO_SCHEDULE, None));
        }
    }
    all
}

/// Whether a taint is one that drives pods from a lost node.
pub(super) fn is_eviction_taint(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

/// The taints of a node with the one eviction taint for its state, or `None` when it is so already.
pub(super) fn with_eviction_taint(node: &Node, state: Ready, now: &Time) -> Option<Vec<Taint>> {
    let wanted = match state {
        Ready::Yes => None,
        Ready::No => Some(NOT_READY),
        Ready::Unknown => Some(UNREACHABLE),
    };
    let have: Vec<&str> = taints(node)
        .iter()
        .filter(|taint| is_eviction_taint(taint))
        .map(|taint| taint.key.as_str())
        .collect();
    if have == wanted.into_iter().collect::<Vec<_>>() {
        return None;
    }
    let mut all: Vec<Taint> =
        taints(node).iter().filter(|taint| !is_eviction_taint(taint)).cloned().collect();
    all.extend(wanted.map(|key| taint(key, NO_EXECUTE, Some(now))));
    Some(all)
}

/// The conditions that change when a node has been silent for too long.
pub(super) fn silent_conditions(node: &Node, now: &Time) -> Vec<NodeCondition> {
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
        .into_iter()
        .filter_map(|kind| match condition(node, kind) {
            None => Some(NodeCondition {
                type_: kind.to_string(),
                status: "Unknown".to_string(),
                reason: Some("NodeStatusNeverUpdated".to_string()),
                message: Some("Kubelet never posted node status.".to_string()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(now.clone()),
            }),
            Some(known) if known.status != "Unknown" => Some(NodeCondition {
                status: "Unknown".to_string(),
                reason: Some("NodeStatusUnknown".to_string()),
                message: Some("Kubelet stopped posting node status.".to_string()),
                last_transition_time: Some(now.clone()),
                ..known.clone()
            }),
            Some(_) => None,
        })
        .collect()
}

/// How a zone fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZoneState {
    Normal,
    /// Many nodes are lost.
    Partial,
    /// No node works.
    Full,
}

/// When pods are driven away.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    /// Nodes a second.
    pub normal: f64,
    /// The same in large zones that are mostly lost; in small ones it is zero.
    pub reduced: f64,
    /// Share of lost nodes from which a zone counts as partially lost.
    pub unhealthy: f64,
    /// Nodes from which a zone counts as large.
    pub large: usize,
}

pub(super) fn zone_state(nodes: &[Ready], unhealthy: f64) -> ZoneState {
    let lost = nodes.iter().filter(|state| **state != Ready::Yes).count();
    if lost > 0 && lost == nodes.len() {
        ZoneState::Full
    } else if lost > 2 && lost as f64 / nodes.len() as f64 >= unhealthy {
        ZoneState::Partial
    } else {
        ZoneState::Normal
    }
}

/// Evictions of each zone.
pub(super) struct Evictions {
    rates: Rates,
    /// Nodes a second, and when the last one was evicted.
    zones: HashMap<String, (f64, Option<Instant>)>,
}

impl Evictions {
    pub fn new(rates: Rates) -> Self {
        Self { rates, zones: HashMap::new() }
    }

    /// Takes in the states of all nodes by zone; whether all zones are lost.
    pub fn observe(&mut self, zones: &HashMap<String, Vec<Ready>>) -> bool {
        self.zones.retain(|zone, _| zones.contains_key(zone));
        for (zone, nodes) in zones {
            let rate = match zone_state(nodes, self.rates.unhealthy) {
                ZoneState::Normal | ZoneState::Full => self.rates.normal,
                ZoneState::Partial if nodes.len() > self.rates.large => self.rates.reduced,
                ZoneState::Partial => 0.0,
            };
            self.zones.entry(zone.clone()).or_insert((rate, None)).0 = rate;
        }
        !zones.is_empty()
            && zones.values().all(|nodes| zone_state(nodes, self.rates.unhealthy) == ZoneState::Full)
    }

    /// Whether one more node of a zone may be evicted now; if so, it counts.
    pub fn may_evict(&mut self, zone: &str, now: Instant) -> bool {
        let Some((rate, last)) = self.zones.get_mut(zone) else { return false };
        if *rate <= 0.0 {
            return false;
        }
        let pause = Duration::from_secs_f64(1.0 / *rate);
        if last.is_some_and(|last| now.duration_since(last) < pause) {
            return false;
        }
        *last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};

    use super::*;

    /// A node with conditions written as `Ready=True` and taints as `key:effect`.
    fn node(conditions: &[&str], have: &[&str]) -> Node {
        let condition = |text: &&str| {
            let (kind, status) = text.split_once('=').unwrap();
            NodeCondition { type_: kind.into(), status: status.into(), ..Default::default() }
        };
        let make = |text: &&str| {
            let (key, effect) = text.split_once(':').unwrap();
            taint(&full(key), effect, None)
        };
        Node {
            spec: Some(NodeSpec { taints: Some(have.iter().map(make).collect()), ..Default::default() }),
            status: Some(NodeStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn full(key: &str) -> String {
        if key == "own" { key.to_string() } else { format!("node.kubernetes.io/{key}") }
    }

    fn show(taints: &[Taint]) -> Vec<String> {
        let short = |taint: &Taint| {
            format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect)
        };
        taints.iter().map(short).collect()
    }

    #[test]
    fn taints_follow_conditions() {
        let check = |conditions: &[&str], have: &[&str], expected: &[&str]| {
            assert_eq!(
                show(&with_condition_taints(&node(conditions, have))),
                expected,
                "{conditions:?} {have:?}"
            );
        };
        check(&["Ready=True"], &["not-ready:NoSchedule"], &[]);
        check(&["Ready=True"], &["not-ready:NoExecute", "own:NoSchedule"], &["own:NoSchedule"]);
        check(&["Ready=False"], &[], &["not-ready:NoSchedule"]);
        check(&["Ready=Unknown"], &["not-ready:NoSchedule"], &["unreachable:NoSchedule"]);
        check(
            &["Ready=Unknown"],
            &["unreachable:NoExecute"],
            &["unreachable:NoExecute", "unreachable:NoSchedule"],
        );
        check(&["Ready=True", "DiskPressure=True"], &[], &["disk-pressure:NoSchedule"]);
        check(&[], &["not-ready:NoSchedule"], &["not-ready:NoSchedule"]);
    }

    #[test]
    fn lost_nodes_get_one_eviction_taint() {
        let check = |state, have: &[&str], expected: Option<&[&str]>| {
            let changed = with_eviction_taint(&node(&[], have), state, &crate::meta::now());
            assert_eq!(
                changed.map(|all| show(&all)).as_deref(),
                expected.map(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>()).as_deref()
            );
        };
        check(Ready::Yes, &[], None);
        check(Ready::No, &[], Some(&["not-ready:NoExecute"]));
        check(Ready::Unknown, &["not-ready:NoExecute"], Some(&["unreachable:NoExecute"]));
        check(Ready::Unknown, &["unreachable:NoExecute"], None);
        check(Ready::Yes, &["unreachable:NoExecute", "own:NoExecute"], Some(&["own:NoExecute"]));
    }

    #[test]
    fn silent_nodes_are_unknown() {
        let mut silent = node(&["Ready=True", "DiskPressure=Unknown"], &[]);
        let changed = silent_conditions(&silent, &crate::meta::now());
        let text: Vec<String> = changed
            .iter()
            .map(|c| format!("{} {}", c.type_, c.reason.as_deref().unwrap_or_default()))
            .collect();
        let never = "NodeStatusNeverUpdated";
        assert_eq!(
            text,
            [
                "Ready NodeStatusUnknown".to_string(),
                format!("MemoryPressure {never}"),
                format!("PIDPressure {never}")
            ]
        );
        silent.status.as_mut().unwrap().conditions = Some(changed);
        assert_eq!(ready(&silent), Ready::Unknown);
    }

    #[test]
    fn zones_fail_together() {
        let check = |yes: usize, lost: usize, expected| {
            let nodes: Vec<Ready> =
                std::iter::repeat_n(Ready::Yes, yes).chain(std::iter::repeat_n(Ready::No, lost)).collect();
            assert_eq!(zone_state(&nodes, 0.55), expected, "{yes}+{lost}");
        };
        check(3, 0, ZoneState::Normal);
        check(0, 1, ZoneState::Full);
        check(1, 2, ZoneState::Normal);
        check(2, 3, ZoneState::Partial);
        check(5, 3, ZoneState::Normal);
    }

    #[test]
    fn evictions_are_limited() {
        let rates = Rates { normal: 0.1, reduced: 0.01, unhealthy: 0.55, large: 50 };
        let mut evictions = Evictions::new(rates);
        let mut zones = HashMap::from([("z".to_string(), vec![Ready::Yes, Ready::No])]);
        assert!(!evictions.observe(&zones));
        let start = Instant::now();
        assert!(evictions.may_evict("z", start));
        assert!(!evictions.may_evict("z", start + Duration::from_secs(9)));
        assert!(evictions.may_evict("z", start + Duration::from_secs(11)));
        zones.insert("z".to_string(), vec![Ready::No, Ready::No]);
        assert!(evictions.observe(&zones), "nothing works any more");
    }
}
