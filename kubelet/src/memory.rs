//! Memory of chosen nodes for containers of guaranteed pods: the static policy.
//!
//! Who has how much of which nodes is noted in the original's file `memory_manager_state`. Nodes that a container has
//! together are not given singly to others, and the other way round.
//!
//! Source: kubernetes.io, "Control Memory Management Policies on a Node".

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_api::quantity::Quantity;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::Refusal;
use crate::checkpoint;
use crate::grants::unexpected;
use crate::pod::{self, Qos};
use crate::topology::cpus::format;
use crate::topology::{Hint, Hints, Mask, merge};

const FILE: &str = "memory_manager_state";
const CHECK: &str = "checksum";

/// How memory is given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// The kernel decides.
    #[default]
    None,
    /// From chosen nodes.
    Static,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "None" => Ok(Self::None),
            "Static" => Ok(Self::Static),
            _ => Err(format!("unknown policy: {text:?}")),
        }
    }
}

impl Policy {
    /// The word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Static => "Static",
        }
    }
}

/// Bytes by resource: `memory`, `hugepages-2Mi` and so on.
pub type Amounts = BTreeMap<String, u64>;

/// Bytes by memory node and resource.
pub type OfNodes = BTreeMap<u32, Amounts>;

/// Memory of one kind that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The nodes.
    #[serde(rename = "numaAffinity")]
    pub nodes: Vec<u32>,
    /// The resource.
    pub r#type: String,
    /// Bytes.
    pub size: u64,
}

impl Block {
    fn mask(&self) -> Mask {
        self.nodes.iter().copied().collect()
    }
}

/// By uid of the pod and name of the container.
type Assignments = BTreeMap<String, BTreeMap<String, Vec<Block>>>;

/// Gives out memory.
#[derive(Debug)]
pub struct MemoryManager {
    policy: Policy,
    /// What pods may have.
    usable: OfNodes,
    file: PathBuf,
    assigned: Mutex<Assignments>,
}

/// Reads `--reserved-memory`: `0:memory=1Gi,hugepages-2Mi=4Mi;1:memory=1Gi`.
pub fn parse_reserved(text: &str) -> Result<OfNodes, String> {
    let mut all = OfNodes::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let wrong = || format!("{part:?} is not NODE:RESOURCE=AMOUNT,…");
        let (node, amounts) = part.split_once(':').ok_or_else(wrong)?;
        let of_node = all.entry(node.trim().parse().map_err(|_| wrong())?).or_default();
        for amount in amounts.split(',') {
            let (resource, quantity) = amount.split_once('=').ok_or_else(wrong)?;
            let quantity: Quantity = quantity.trim().parse().map_err(|_| wrong())?;
            of_node.insert(resource.trim().to_owned(), u64::try_from(quantity.value()).map_err(|_| wrong())?);
        }
    }
    Ok(all)
}

/// What the machine has, node by node, as the kernel tells below `/sys/devices/system/node`.
pub fn of_machine(folder: &Path, nodes: Mask, whole: u64) -> OfNodes {
    let read = |path: String| std::fs::read_to_string(folder.join(path)).ok();
    let of_node = |node: u32| {
        let meminfo = read(format!("node{node}/meminfo")).unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.split_once("MemTotal:"));
        let total = total.and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok());
        // A machine without nodes has all of it on one.
        let mut amounts =
            Amounts::from([("memory".to_owned(), total.map_or(whole, |kilobytes| kilobytes * 1024))]);
        for (size, name) in [(2048_u64, "hugepages-2Mi"), (1 << 20, "hugepages-1Gi")] {
            let count = read(format!("node{node}/hugepages/hugepages-{size}kB/nr_hugepages"));
            if let Some(count) = count.and_then(|count| count.trim().parse::<u64>().ok()) {
                amounts.insert(name.to_owned(), count * size * 1024);
            }
        }
        (node, amounts)
    };
    nodes.nodes().map(of_node).collect()
}

impl MemoryManager {
    /// Goes on from what a kubelet before this one noted below `root`. Of each node `reserved` is kept for the system, in
    /// all as much as the node's settings hold back (`held_back`, bytes).
    pub fn open(
        root: &Path,
        policy: Policy,
        mut machine: OfNodes,
        reserved: &OfNodes,
        held_back: u64,
    ) -> Result<Self, String> {
        if policy == Policy::Static {
            let sum: u64 = reserved.values().filter_map(|amounts| amounts.get("memory")).sum();
            if sum != held_back {
                return Err(format!(
                    "the total amount \"{sum}\" of type \"memory\" is not equal to the value \"{held_back}\" determined by Node Allocatable feature"
                ));
            }
        }
        for (node, amounts) in reserved {
            for (resource, amount) in amounts {
                let there = machine.get_mut(node).and_then(|amounts| amounts.get_mut(resource));
                let there = there.ok_or_else(|| format!("NUMA node {node} has no {resource} to reserve"))?;
                *there = there.saturating_sub(*amount);
            }
        }
        let file = root.join(FILE);
        let assigned = Mutex::new(load(&file, policy)?);
        let manager = Self { policy, usable: machine, file, assigned };
        manager.note()?;
        Ok(manager)
    }

    fn note(&self) -> Result<(), String> {
        let assigned = self.assigned.lock();
        let data =
            json!({"policyName": self.policy.as_str(), "machineState": self.usable, "entries": *assigned});
        checkpoint::store(&self.file, data, CHECK)
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// What a container needs from chosen nodes.
    fn wanted(&self, pod: &Pod, container: &Container) -> Amounts {
        if self.policy == Policy::None
            || pod::qos(pod) != Qos::Guaranteed
            || pod::spec(pod).resources.is_some()
        {
            return Amounts::new();
        }
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let memory = limits
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name == "memory" || name.starts_with("hugepages-"));
        let amounts =
            memory.map(|(name, amount)| (name.clone(), u64::try_from(pod::value(amount)).unwrap_or(0)));
        amounts.filter(|(_, amount)| *amount > 0).collect()
    }

    /// How much of a resource is left on some nodes; `None` where other containers have them in other company.
    fn left(&self, assigned: &Assignments, mask: Mask, resource: &str) -> Option<u64> {
        let usable = |node: u32| self.usable.get(&node).and_then(|amounts| amounts.get(resource)).copied();
        let mut left: u64 = mask.nodes().filter_map(usable).sum();
        for block in assigned.values().flat_map(BTreeMap::values).flatten() {
            let own = block.mask();
            if own.meets(mask) && own != mask && (own.count() > 1 || mask.count() > 1) {
                return None;
            }
            if own == mask && block.r#type == resource {
                left = left.saturating_sub(block.size);
            }
        }
        Some(left)
    }

    /// The nodes that can give all of what is wanted.
    fn fitting(&self, assigned: &Assignments, wanted: &Amounts, all: Mask) -> Vec<Hint> {
        let could = |mask: Mask, resource: &String, amount: u64| {
            let usable =
                |node: u32| self.usable.get(&node).and_then(|amounts| amounts.get(resource)).copied();
            mask.nodes().filter_map(usable).sum::<u64>() >= amount
        };
        let mut least = all.count();
        let mut hints = Vec::new();
        for mask in all.parts() {
            if !wanted.iter().all(|(resource, amount)| could(mask, resource, *amount)) {
                continue;
            }
            least = least.min(mask.count());
            let left = |(resource, amount): (&String, &u64)| {
                self.left(assigned, mask, resource).is_some_and(|left| left >= *amount)
            };
            if wanted.iter().all(left) {
                hints.push(Hint { nodes: Some(mask), is_preferred: false });
            }
        }
        for hint in &mut hints {
            hint.is_preferred = hint.nodes.is_some_and(|nodes| nodes.count() == least);
        }
        hints
    }

    /// Where all containers of a pod together could get their memory.
    pub fn hints_of_pod(&self, pod: &Pod, all: Mask) -> Hints {
        let containers = pod::init_containers(pod).iter().chain(pod::containers(pod));
        let resources: BTreeSet<String> =
            containers.flat_map(|container| self.wanted(pod, container).into_keys()).collect();
        let total = |resource: &String| {
            let of = |container: &Container| {
                i64::try_from(self.wanted(pod, container).get(resource).copied().unwrap_or_default()).ok()
            };
            u64::try_from(pod::total(pod, of).unwrap_or_default()).unwrap_or_default()
        };
        let wanted: Amounts = resources.iter().map(|resource| (resource.clone(), total(resource))).collect();
        let hints = self.fitting(&self.assigned.lock(), &wanted, all);
        wanted.into_keys().map(|resource| (resource, Some(hints.clone()))).collect()
    }

    /// Where a container could get its memory.
    pub fn hints(&self, pod: &Pod, container: &Container, all: Mask) -> Hints {
        let wanted = self.wanted(pod, container);
        let assigned = self.assigned.lock();
        let held = assigned.get(pod::uid(pod)).and_then(|containers| containers.get(&container.name));
        let hints = match held.and_then(|blocks| blocks.first()) {
            Some(block) => vec![Hint { nodes: Some(block.mask()), is_preferred: true }],
            None => self.fitting(&assigned, &wanted, all),
        };
        wanted.into_keys().map(|resource| (resource, Some(hints.clone()))).collect()
    }

    /// Gives a container its memory: from the nodes of `affinity`, or more where those have too little; without one from
    /// the best there are.
    pub fn allocate(
        &self,
        pod: &Pod,
        container: &Container,
        affinity: Option<Mask>,
        all: Mask,
    ) -> Result<(), Refusal> {
        let wanted = self.wanted(pod, container);
        let (uid, name) = (pod::uid(pod), &container.name);
        let mut assigned = self.assigned.lock();
        if wanted.is_empty() || assigned.get(uid).is_some_and(|containers| containers.contains_key(name)) {
            return Ok(());
        }
        let hints = self.fitting(&assigned, &wanted, all);
        let wide_enough = |hint: &&Hint| {
            let nodes = hint.nodes.unwrap_or(all);
            affinity.is_none_or(|affinity| nodes.covers(affinity))
        };
        let hints: Vec<Hint> = hints.iter().filter(wide_enough).copied().collect();
        if hints.is_empty() {
            return Err(unexpected(
                "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
            ));
        }
        let hints = [("memory".to_owned(), Some(hints))].into();
        let best = merge(crate::topology::Policy::BestEffort, all, &[hints]);
        let nodes: Vec<u32> = best.nodes.unwrap_or(all).nodes().collect();
        let block = |(r#type, size)| Block { nodes: nodes.clone(), r#type, size };
        let blocks = wanted.into_iter().map(block).collect();
        assigned.entry(uid.to_owned()).or_default().insert(name.clone(), blocks);
        drop(assigned);
        self.note().map_err(|error| unexpected(&error))
    }

    /// The nodes that a container may have memory of, as the kernel writes them; empty: all.
    pub fn nodes(&self, uid: &str, container: &str) -> String {
        let blocks = self.held(uid, container);
        format(&blocks.into_iter().flat_map(|block| block.nodes).collect())
    }

    /// What a container has.
    pub fn held(&self, uid: &str, container: &str) -> Vec<Block> {
        let assigned = self.assigned.lock();
        assigned.get(uid).and_then(|containers| containers.get(container)).cloned().unwrap_or_default()
    }

    /// What pods may have, node by node.
    pub fn allocatable(&self) -> Vec<Block> {
        if self.policy == Policy::None {
            return Vec::new();
        }
        let of_node = |(node, amounts): (&u32, &Amounts)| {
            let block = |(resource, size): (&String, &u64)| Block {
                nodes: vec![*node],
                r#type: resource.clone(),
                size: *size,
            };
            amounts.iter().map(block).collect::<Vec<Block>>()
        };
        self.usable.iter().flat_map(of_node).collect()
    }

    /// Takes away what pods have but those to keep.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut assigned = self.assigned.lock();
        let before = assigned.len();
        assigned.retain(|uid, _| keep(uid));
        let changed = assigned.len() != before;
        drop(assigned);
        if changed && let Err(error) = self.note() {
            tracing::warn!(error);
        }
    }
}

fn load(file: &Path, policy: Policy) -> Result<Assignments, String> {
    let advice = "please drain this node and delete the memory manager checkpoint file";
    let named = |error: String| {
        let file = file.display().to_string();
        format!(
            "could not restore state from checkpoint: {error}, {advice} {file:?} before restarting Kubelet"
        )
    };
    let data = checkpoint::load(file, CHECK).map_err(|error| named(error.to_string()))?;
    let Some(data) = data else { return Ok(Assignments::new()) };
    let noted = data["policyName"].as_str().unwrap_or_default();
    if noted != policy.as_str() {
        let own = policy.as_str();
        return Err(named(format!(
            "configured policy {own:?} differs from state checkpoint policy {noted:?}"
        )));
    }
    serde_json::from_value(data["entries"].clone()).map_err(|error| named(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;

    /// Two nodes with 4 GiB each, of which one is kept for the system on node 0.
    fn open(root: &Path) -> MemoryManager {
        let node = || Amounts::from([("memory".to_owned(), 4 * GB)]);
        let reserved = parse_reserved("0:memory=1Gi").expect("amounts");
        MemoryManager::open(root, Policy::Static, [(0, node()), (1, node())].into(), &reserved, GB)
            .expect("a manager")
    }

    fn pod(uid: &str, memory: &str) -> Pod {
        pod::tests::pod(&format!(
            "{{metadata: {{uid: {uid}}}, spec: {{containers: [{{name: c, resources: {{limits: {{cpu: 1, memory: {memory}}}}}}}]}}}}"
        ))
    }

    fn give(manager: &MemoryManager, uid: &str, memory: &str, affinity: Option<u32>) -> String {
        let (pod, all) = (pod(uid, memory), Mask::from_iter([0, 1]));
        let affinity = affinity.map(|node| Mask::from_iter([node]));
        match manager.allocate(&pod, &pod::containers(&pod)[0], affinity, all) {
            Ok(()) => manager.nodes(uid, "c"),
            Err(refusal) => refusal.reason,
        }
    }

    #[test]
    fn memory_is_given_from_nodes() {
        let root = tempfile::tempdir().expect("directory");
        let manager = open(root.path());
        assert_eq!(give(&manager, "a", "2Gi", None), "0");
        assert_eq!(give(&manager, "b", "2Gi", None), "1");
        assert_eq!(give(&manager, "c", "1Gi", Some(1)), "1");
        assert_eq!(give(&manager, "d", "4Gi", None), "UnexpectedAdmissionError", "nodes in other company");
        manager.retain(|_| false);
        assert_eq!(give(&manager, "d", "6Gi", Some(0)), "0-1");
        assert_eq!(give(&manager, "e", "1Gi", None), "0-1");
        assert_eq!(open(root.path()).nodes("d", "c"), "0-1");
    }

    #[test]
    fn hints_are_where_memory_is_left() {
        let root = tempfile::tempdir().expect("directory");
        let manager = open(root.path());
        let hints = |memory: &str| -> Vec<(Vec<u32>, bool)> {
            let pod = pod("p", memory);
            let hints = manager.hints(&pod, &pod::containers(&pod)[0], Mask::from_iter([0, 1]));
            let hints = hints.into_values().flatten().flatten();
            hints
                .map(|hint| {
                    (hint.nodes.map(|nodes| nodes.nodes().collect()).unwrap_or_default(), hint.is_preferred)
                })
                .collect()
        };
        assert_eq!(hints("3584Mi"), [(vec![1], true), (vec![0, 1], false)]);
        assert_eq!(hints("5Gi"), [(vec![0, 1], true)]);
        assert_eq!(hints("8Gi"), []);
    }

    #[test]
    fn settings_must_fit() {
        let root = tempfile::tempdir().expect("directory");
        let machine = || OfNodes::from([(0, Amounts::from([("memory".to_owned(), GB)]))]);
        let error = |reserved: &str, held_back| {
            let reserved = parse_reserved(reserved).expect("amounts");
            MemoryManager::open(root.path(), Policy::Static, machine(), &reserved, held_back)
                .expect_err("refused")
        };
        assert!(
            error("0:memory=1Mi", 5)
                .contains("\"1048576\" of type \"memory\" is not equal to the value \"5\"")
        );
        assert_eq!(error("3:memory=5", 5), "NUMA node 3 has no memory to reserve");
        open(root.path());
        let none = MemoryManager::open(root.path(), Policy::None, machine(), &OfNodes::new(), 0);
        assert!(
            none.expect_err("another policy").contains("differs from state checkpoint policy \"Static\"")
        );
        assert!(parse_reserved("x").is_err());
    }

    #[test]
    fn the_kernel_tells_what_nodes_have() {
        let folder = tempfile::tempdir().expect("directory");
        let pages = folder.path().join("node0/hugepages/hugepages-2048kB");
        std::fs::create_dir_all(&pages).expect("folder");
        std::fs::write(pages.join("nr_hugepages"), "3\n").expect("file");
        std::fs::write(folder.path().join("node0/meminfo"), "Node 0 MemTotal:  16 kB\n").expect("file");
        let found = of_machine(folder.path(), Mask::from_iter([0, 1]), 99);
        assert_eq!(
            found[&0],
            [("hugepages-2Mi".to_owned(), 6 << 20), ("memory".to_owned(), 16 << 10)].into()
        );
        assert_eq!(found[&1], [("memory".to_owned(), 99)].into());
    }
}
