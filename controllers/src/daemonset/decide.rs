//! Which nodes get a daemon pod, and how an update rolls over them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetStatus},
    core::v1::{Node, PodSpec, Toleration},
};

use crate::{
    history::HASH,
    meta::{created, is_deleting, label, name, scaled},
    node_affinity,
    pods::{self, Pod, is_available, is_ready, phase},
    taints::{self, NO_EXECUTE, NO_SCHEDULE, tolerates},
};

/// Pods by the node they run on, or are meant for.
pub(super) type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// What to create and delete.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Nodes.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Failed pods by node, to be deleted with patience.
    pub failed: Vec<(String, Arc<Pod>)>,
    /// Pods by node that ended well, which a daemon should not.
    pub succeeded: Vec<(String, Arc<Pod>)>,
}

pub(super) fn by_node(all: &[Arc<Pod>]) -> ByNode {
    let mut by_node = ByNode::new();
    for pod in all {
        let bound = node_affinity::bound_node(pods::node_affinity(pod)).unwrap_or_default();
        let node = if pods::node_name(pod).is_empty() { bound } else { pods::node_name(pod) };
        if !node.is_empty() {
            by_node.entry(node.to_string()).or_default().push(pod.clone());
        }
    }
    let rank = |pod: &Arc<Pod>| {
        (pods::node_name(pod).is_empty(), created(&pod.metadata), name(&pod.metadata).to_string())
    };
    by_node.values_mut().for_each(|pods| pods.sort_by_key(rank));
    by_node
}

/// What every daemon tolerates: it should be the last to leave a node in trouble.
pub(super) fn add_tolerations(spec: &mut PodSpec) {
    let mut wanted = vec![
        (taints::NOT_READY, NO_EXECUTE),
        (taints::UNREACHABLE, NO_EXECUTE),
        (taints::DISK_PRESSURE, NO_SCHEDULE),
        (taints::MEMORY_PRESSURE, NO_SCHEDULE),
        (taints::PID_PRESSURE, NO_SCHEDULE),
        (taints::UNSCHEDULABLE, NO_SCHEDULE),
    ];
    if spec.host_network.unwrap_or(false) {
        wanted.push((taints::NETWORK_UNAVAILABLE, NO_SCHEDULE));
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in wanted {
        let toleration = Toleration {
            key: Some(key.to_string()),
            operator: Some("Exists".to_string()),
            effect: Some(effect.to_string()),
            ..Default::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Whether a pod of the set should start on a node, and whether one there may go on.
fn fits(spec: &PodSpec, node: &Node) -> (bool, bool) {
    if spec.node_name.as_deref().is_some_and(|wanted| !wanted.is_empty() && wanted != name(&node.metadata))
        || !node_affinity::allows(spec, node)
    {
        return (false, false);
    }
    let untolerated = |effect: &str| {
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        taints::taints(node)
            .iter()
            .filter(|taint| taint.effect == effect)
            .any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    let evicted = untolerated(NO_EXECUTE);
    (!evicted && !untolerated(NO_SCHEDULE), !evicted)
}

/// The pod that the set would start, as far as nodes judge it.
fn pod_spec(set: &DaemonSet) -> PodSpec {
    let mut spec = set.spec.clone().unwrap_or_default().template.spec.unwrap_or_default();
    add_tolerations(&mut spec);
    spec
}

fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default()
}

/// Pods that may be beyond and below the number of nodes during an update.
fn bounds(set: &DaemonSet, desired: i32) -> (i32, i32) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| scaled(rolling.max_surge.as_ref()?, desired, true)).unwrap_or(0);
    let unavailable =
        rolling.and_then(|rolling| scaled(rolling.max_unavailable.as_ref()?, desired, true)).unwrap_or(1);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn is_updated(pod: &Pod, hash: &str) -> bool {
    label(&pod.metadata, HASH) == Some(hash)
}

/// Brings the number of pods on each node to one.
pub(super) fn manage(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    now: Timestamp,
) -> Work {
    let spec = pod_spec(set);
    let surge = bounds(set, nodes.len() as i32).0 > 0 && is_rolling(set);
    let mut work = Work::default();
    let known: HashMap<&str, &Arc<Node>> = nodes.iter().map(|node| (name(&node.metadata), node)).collect();
    for (node_name, node) in &known {
        let (should_start, may_go_on) = fits(&spec, node);
        let have = by_node.get(*node_name).map(Vec::as_slice).unwrap_or_default();
        if should_start && have.is_empty() {
            work.create.push((*node_name).to_string());
        } else if may_go_on {
            let running = running(node_name, have, &mut work);
            if running.is_empty()
                && should_start
                && have.iter().all(|pod| is_deleting(&pod.metadata) && (surge || pods::is_finished(pod)))
            {
                work.create.push((*node_name).to_string());
            }
            work.delete.extend(superfluous(&running, surge, hash, min_ready(set), now));
        } else {
            work.delete.extend(have.iter().filter(|pod| !is_deleting(&pod.metadata)).cloned());
        }
    }
    // Pods meant for nodes that are gone, and that no kubelet will ever see.
    for (node_name, have) in by_node.iter().filter(|(node, _)| !known.contains_key(node.as_str())) {
        let lost = have.iter().filter(|pod| pods::node_name(pod).is_empty() && !is_deleting(&pod.metadata));
        tracing::debug!(node = node_name, "node of daemon pods is gone");
        work.delete.extend(lost.cloned());
    }
    work.create.sort();
    work
}

/// The pods of a node that run or will; finished ones are to be deleted.
fn running(node: &str, have: &[Arc<Pod>], work: &mut Work) -> Vec<Arc<Pod>> {
    let mut running = Vec::new();
    for pod in have.iter().filter(|pod| !is_deleting(&pod.metadata)) {
        match phase(pod) {
            "Failed" => work.failed.push((node.to_string(), pod.clone())),
            "Succeeded" => work.succeeded.push((node.to_string(), pod.clone())),
            _ => running.push(pod.clone()),
        }
    }
    running
}

/// Pods of a node beyond the one that should be there; with a surge, one old pod that is ready may
/// wait until the new one is available.
fn superfluous(
    running: &[Arc<Pod>],
    surge: bool,
    hash: &str,
    min_ready: i32,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if running.len() <= 1 {
        return Vec::new();
    }
    if !surge {
        return running[1..].to_vec();
    }
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = running.iter().partition(|pod| is_updated(pod, hash));
    let old_may_stay = match (new.first(), old.first()) {
        (Some(new), Some(old)) => is_ready(old) && !is_available(new, min_ready, now),
        _ => true,
    };
    let keep_old = usize::from(old_may_stay);
    new.into_iter().skip(1).chain(old.into_iter().skip(keep_old)).cloned().collect()
}

fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// Replaces pods of old templates as far as enough stay available.
pub(super) fn roll(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    now: Timestamp,
) -> Work {
    let mut work = Work::default();
    if !is_rolling(set) {
        return work;
    }
    let spec = pod_spec(set);
    let wanted: Vec<&str> =
        nodes.iter().filter(|node| fits(&spec, node).0).map(|node| name(&node.metadata)).collect();
    let (max_surge, max_unavailable) = bounds(set, wanted.len() as i32);
    let available = |pod: &Pod| is_available(pod, min_ready(set), now);
    let (mut unavailable, mut surging) = (0, 0);
    let (mut now_or_never, mut candidates) = (Vec::new(), Vec::new());
    for node in wanted {
        let have = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        let alive = || have.iter().filter(|pod| !is_deleting(&pod.metadata));
        let new = alive().find(|pod| is_updated(pod, hash));
        let old = alive().find(|pod| !is_updated(pod, hash));
        match (new, old) {
            (Some(new), Some(old)) if max_surge > 0 => {
                if available(new) {
                    work.delete.push(old.clone());
                } else {
                    surging += 1;
                }
            }
            (Some(new), None) => unavailable += i32::from(!available(new)),
            (None, Some(old)) if available(old) => candidates.push((node, old.clone())),
            (None, Some(old)) => {
                unavailable += 1;
                now_or_never.push((node, old.clone()));
            }
            // Someone else makes this node right; until then nothing is available there.
            (None, None) | (Some(_), Some(_)) => unavailable += 1,
        }
    }
    let budget = if max_surge > 0 { max_surge - surging } else { max_unavailable - unavailable };
    let chosen = now_or_never.into_iter().chain(candidates.into_iter().take(budget.max(0) as usize));
    for (node, old) in chosen {
        if max_surge > 0 { work.create.push(node.to_string()) } else { work.delete.push(old) }
    }
    work
}

/// Counts nodes and pods.
pub(super) fn status(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    by_node: &ByNode,
    hash: &str,
    collisions: Option<i32>,
    now: Timestamp,
) -> DaemonSetStatus {
    let spec = pod_spec(set);
    let mut status = DaemonSetStatus::default();
    let (mut updated, mut available) = (0, 0);
    for node in nodes {
        let have = by_node.get(name(&node.metadata)).map(Vec::as_slice).unwrap_or_default();
        let scheduled = i32::from(!have.is_empty());
        if !fits(&spec, node).0 {
            status.number_misscheduled += scheduled;
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += scheduled;
        // The oldest pod counts, unless a newer template's pod works already.
        let best = have.iter().max_by_key(|pod| (is_ready(pod), std::cmp::Reverse(created(&pod.metadata))));
        if let Some(pod) = best {
            status.number_ready += i32::from(is_ready(pod));
            available += i32::from(is_available(pod, min_ready(set), now));
        }
        updated += i32::from(have.iter().any(|pod| is_updated(pod, hash)));
    }
    let positive = |count: i32| Some(count).filter(|count| *count != 0);
    status.updated_number_scheduled = positive(updated);
    status.number_available = positive(available);
    status.number_unavailable = positive(status.desired_number_scheduled - available);
    status.observed_generation = set.metadata.generation;
    status.collision_count = collisions;
    status.conditions = set.status.as_ref().and_then(|status| status.conditions.clone());
    status
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::{
            apps::v1::{DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
            core::v1::{NodeSpec, Taint},
        },
        apimachinery::pkg::util::intstr::IntOrString,
    };
    use kube::api::ObjectMeta;

    use super::*;
    use crate::pods::tests::{pod, test_now};

    /// A node, tainted if written as `name!effect`.
    fn node(text: &str) -> Arc<Node> {
        let (node, effect) = text.split_once('!').unwrap_or((text, ""));
        let taint = Taint { key: "k".into(), effect: effect.into(), ..Default::default() };
        Arc::new(Node {
            metadata: ObjectMeta { name: Some(node.into()), ..Default::default() },
            spec: Some(NodeSpec { taints: (!effect.is_empty()).then(|| vec![taint]), ..Default::default() }),
            ..Default::default()
        })
    }

    fn set(surge: i32, unavailable: i32) -> DaemonSet {
        DaemonSet {
            spec: Some(DaemonSetSpec {
                update_strategy: Some(DaemonSetUpdateStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateDaemonSet {
                        max_surge: Some(IntOrString::Int(surge)),
                        max_unavailable: Some(IntOrString::Int(unavailable)),
                    }),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// A pod written as `name@node:hash`, with `+` behind it when ready, `x` when failed, `s` when it has succeeded
    /// and `-` when it is going.
    fn daemon(text: &str) -> Arc<Pod> {
        let (pod_name, rest) = text.split_once('@').unwrap();
        let (node, rest) = rest.split_once(':').unwrap();
        let phase = match rest.chars().last() {
            Some('x') => "Failed",
            Some('s') => "Succeeded",
            _ => "Running",
        };
        let mut pod = pod(pod_name, phase, node, rest.ends_with('+').then_some(60));
        pod.metadata.deletion_timestamp = rest.ends_with('-').then(crate::meta::now);
        let hash = rest.trim_end_matches(['+', 'x', 's', '-']).to_string();
        pod.metadata.labels = Some([(HASH.to_string(), hash)].into());
        Arc::new(pod)
    }

    fn show(work: &Work) -> String {
        let ended = work.failed.iter().chain(&work.succeeded).map(|(_, pod)| pod);
        let deleted = work.delete.iter().chain(ended);
        let mut parts: Vec<String> = deleted.map(|pod| format!("-{}", name(&pod.metadata))).collect();
        parts.sort();
        parts.extend(work.create.iter().map(|node| format!("+{node}")));
        parts.join(" ")
    }

    #[test]
    fn each_fitting_node_gets_one_pod() {
        let check = |nodes: &[&str], have: &[&str], expected: &str| {
            let nodes: Vec<Arc<Node>> = nodes.iter().map(|text| node(text)).collect();
            let have: Vec<Arc<Pod>> = have.iter().map(|text| daemon(text)).collect();
            let work = manage(&set(0, 1), &nodes, &by_node(&have), "new", test_now());
            assert_eq!(show(&work), expected, "{nodes:?}");
        };
        check(&["a", "b"], &[], "+a +b");
        check(&["a", "b"], &["p@a:old+"], "+b");
        check(&["a!NoSchedule"], &[], "");
        check(&["a!NoSchedule"], &["p@a:new+"], "");
        check(&["a!NoExecute"], &["p@a:new+"], "-p");
        check(&["a"], &["p@a:new+", "q@a:new+"], "-q");
        check(&["a"], &["p@a:newx"], "-p");
        check(&["a"], &["p@a:news"], "-p");
        check(&["a"], &["p@a:new-"], "");
    }

    #[test]
    fn surging_nodes_always_have_a_pod() {
        let check = |have: &[&str], expected: &str| {
            let have: Vec<Arc<Pod>> = have.iter().map(|text| daemon(text)).collect();
            let work = manage(&set(1, 0), &[node("a")], &by_node(&have), "new", test_now());
            assert_eq!(show(&work), expected, "{have:?}");
        };
        check(&["p@a:new-"], "+a");
        check(&["p@a:old-", "q@a:new"], "");
        check(&["p@a:old+", "q@a:new"], "");
        check(&["p@a:old+", "q@a:new+"], "-p");
        check(&["p@a:old", "q@a:new"], "-p");
        check(&["p@a:old", "q@a:old+"], "-q");
    }

    #[test]
    fn updates_roll_over_nodes() {
        let check = |surge, unavailable, have: &[&str], expected: &str| {
            let nodes: Vec<Arc<Node>> = ["a", "b", "c"].iter().map(|text| node(text)).collect();
            let have: Vec<Arc<Pod>> = have.iter().map(|text| daemon(text)).collect();
            let work = roll(&set(surge, unavailable), &nodes, &by_node(&have), "new", test_now());
            assert_eq!(show(&work), expected, "{have:?}");
        };
        check(0, 1, &["p@a:old+", "q@b:old+", "r@c:old+"], "-p");
        check(0, 2, &["p@a:old+", "q@b:old+", "r@c:old+"], "-p -q");
        check(0, 1, &["p@a:new", "q@b:old+", "r@c:old+"], "");
        check(0, 1, &["p@a:new+", "q@b:old+", "r@c:old+"], "-q");
        check(0, 1, &["p@a:old+", "q@b:old", "r@c:old+"], "-q");
        check(0, 1, &["q@b:old+", "r@c:old+"], "");
        check(1, 0, &["p@a:old+", "q@b:old+", "r@c:old+"], "+a");
        check(1, 0, &["p@a:old+", "n@a:new", "q@b:old+", "r@c:old+"], "");
        check(1, 0, &["p@a:old+", "n@a:new+", "q@b:old+", "r@c:old+"], "-p +b");
    }

    #[test]
    fn status_counts_nodes() {
        let nodes: Vec<Arc<Node>> = ["a", "b", "c", "d!NoSchedule"].iter().map(|text| node(text)).collect();
        let have: Vec<Arc<Pod>> =
            ["p@a:new+", "q@b:old+", "r@d:old+"].iter().map(|text| daemon(text)).collect();
        let seen = status(&set(0, 1), &nodes, &by_node(&have), "new", None, test_now());
        assert_eq!((seen.desired_number_scheduled, seen.current_number_scheduled), (3, 2));
        assert_eq!((seen.number_misscheduled, seen.number_ready), (1, 2));
        assert_eq!((seen.updated_number_scheduled, seen.number_unavailable), (Some(1), Some(1)));
    }
}
