//! On which memory nodes the parts of a pod should be: hints of those who give out CPUs, memory and devices are merged
//! by a policy.
//!
//! Source: kubernetes.io, "Control Topology Management Policies on a node"; what it leaves open is as in the original.

use std::collections::BTreeMap;
use std::str::FromStr;

pub mod cpus;
mod merge;

pub use merge::merge;

/// A set of memory nodes, by their numbers below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mask(u64);

impl Mask {
    /// Whether a node is in it.
    pub fn contains(self, node: u32) -> bool {
        node < u64::BITS && self.0 & (1 << node) != 0
    }

    /// Those in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it has all of another.
    pub fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some node is in both.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The nodes in order.
    pub fn nodes(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |node| self.contains(*node))
    }

    /// Every part of it but the empty one, small ones first, then by the numbers of their nodes.
    pub fn parts(self) -> Vec<Self> {
        let nodes: Vec<u32> = self.nodes().collect();
        let mut all: Vec<Self> = (1_u64..1 << nodes.len())
            .map(|chosen| {
                let taken = nodes.iter().enumerate().filter(|(index, _)| chosen & (1 << index) != 0);
                taken.map(|(_, node)| *node).collect()
            })
            .collect();
        all.sort_by_key(|part| (part.count(), part.nodes().collect::<Vec<u32>>()));
        all
    }
}

impl FromIterator<u32> for Mask {
    fn from_iter<T: IntoIterator<Item = u32>>(nodes: T) -> Self {
        Self(nodes.into_iter().filter(|node| *node < u64::BITS).fold(0, |mask, node| mask | 1 << node))
    }
}

/// Numbers written as the kernel writes them: `0-2,5`.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.trim().parse::<u32>().ok()?..=last.trim().parse().ok()?);
    }
    Some(all)
}

/// The memory nodes of this machine; one if the kernel does not say.
pub fn machine_nodes() -> Mask {
    let text = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    let nodes = parse_list(&text).filter(|nodes| !nodes.is_empty());
    nodes.unwrap_or_else(|| vec![0]).into_iter().collect()
}

/// Where something could be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// From these nodes; `None`: from any.
    pub nodes: Option<Mask>,
    /// Not from more nodes than it must be.
    pub is_preferred: bool,
}

/// Hints by resource; `None` where it does not matter, an empty list where nothing fits.
pub type Hints = BTreeMap<String, Option<Vec<Hint>>>;

/// Hints for `count` of things: `every` one there is by its nodes, those that are `free`, and those that must be among
/// them (`must`).
pub fn hints_of_counts(all: Mask, count: usize, every: &[Mask], free: &[Mask], must: &[Mask]) -> Vec<Hint> {
    let within = |things: &[Mask], mask: Mask| things.iter().filter(|nodes| nodes.meets(mask)).count();
    let mut least = all.count();
    let mut hints = Vec::new();
    for mask in all.parts() {
        if within(every, mask) >= count {
            least = least.min(mask.count());
        }
        let placed = must.iter().filter(|nodes| nodes.count() > 0);
        if placed.clone().any(|nodes| !nodes.meets(mask)) {
            continue;
        }
        if placed.count() + within(free, mask) >= count {
            hints.push(Hint { nodes: Some(mask), is_preferred: false });
        }
    }
    for hint in &mut hints {
        hint.is_preferred = hint.nodes.is_some_and(|nodes| nodes.count() == least);
    }
    hints
}

/// How strictly parts of a pod are kept together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Not at all.
    #[default]
    None,
    /// Where it is possible.
    BestEffort,
    /// Pods that would be on more nodes than they must are refused.
    Restricted,
    /// Pods that do not fit on one node are refused.
    SingleNumaNode,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "best-effort" => Ok(Self::BestEffort),
            "restricted" => Ok(Self::Restricted),
            "single-numa-node" => Ok(Self::SingleNumaNode),
            _ => Err(format!("unknown policy: {text:?}")),
        }
    }
}

impl Policy {
    /// The word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BestEffort => "best-effort",
            Self::Restricted => "restricted",
            Self::SingleNumaNode => "single-numa-node",
        }
    }

    /// Whether a pod may come whose best place is this.
    pub fn admits(self, best: Hint) -> bool {
        match self {
            Self::None | Self::BestEffort => true,
            Self::Restricted | Self::SingleNumaNode => best.is_preferred,
        }
    }
}

/// What is kept together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each container.
    #[default]
    Container,
    /// The whole pod.
    Pod,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "pod" => Ok(Self::Pod),
            _ => Err(format!("unknown scope: {text:?}")),
        }
    }
}

impl Scope {
    /// The word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel() {
        assert_eq!(parse_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("a"), None);
    }

    #[test]
    fn parts_of_sets() {
        let parts = Mask::from_iter([0, 2, 3]).parts();
        let parts: Vec<Vec<u32>> = parts.into_iter().map(|part| part.nodes().collect()).collect();
        assert_eq!(parts, [vec![0], vec![2], vec![3], vec![0, 2], vec![0, 3], vec![2, 3], vec![0, 2, 3]]);
        assert!(Mask::default().parts().is_empty());
    }
}
