//! Where the machine's CPUs are, and which of them are taken first: without I/O but for [`Cpus::of_machine`].
//!
//! As in the original, what is taken together lies together: whole memory nodes or sockets first, then whole cores, then
//! single threads, each where the least is free.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Mask, parse_list};

/// Numbers of CPUs.
pub type CpuSet = BTreeSet<u32>;

/// Where a CPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its memory node.
    pub node: u32,
    /// Its socket.
    pub socket: u32,
    /// Its core, by the lowest CPU of that.
    pub core: u32,
}

/// The CPUs of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus(BTreeMap<u32, Place>);

/// CPUs as the kernel writes them: `0-2,5`.
pub fn format(cpus: &CpuSet) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let range = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<String>>().join(",")
}

/// Reads CPUs as the kernel writes them.
pub fn parse(text: &str) -> Result<CpuSet, String> {
    parse_list(text).map(CpuSet::from_iter).ok_or_else(|| format!("{text:?} is no list of CPUs"))
}

impl FromIterator<(u32, Place)> for Cpus {
    fn from_iter<T: IntoIterator<Item = (u32, Place)>>(cpus: T) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl Cpus {
    /// The CPUs that are switched on, as the kernel tells below `/sys/devices/system`.
    pub fn of_machine(system: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(system.join(path)).unwrap_or_default();
        let list = |path: &str| parse_list(&read(path)).unwrap_or_default();
        let mut nodes: BTreeMap<u32, u32> = BTreeMap::new();
        for node in list("node/online") {
            nodes.extend(list(&format!("node/node{node}/cpulist")).into_iter().map(|cpu| (cpu, node)));
        }
        let place = |cpu: u32| {
            let socket = read(&format!("cpu/cpu{cpu}/topology/physical_package_id")).trim().parse();
            let siblings = list(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"));
            let place = Place {
                node: nodes.get(&cpu).copied().unwrap_or_default(),
                socket: socket.unwrap_or_default(),
                core: siblings.into_iter().min().unwrap_or(cpu),
            };
            (cpu, place)
        };
        list("cpu/online").into_iter().map(place).collect()
    }

    /// All of them.
    pub fn all(&self) -> CpuSet {
        self.0.keys().copied().collect()
    }

    /// Those on some memory nodes.
    pub fn on(&self, nodes: Mask) -> CpuSet {
        self.0.iter().filter(|(_, place)| nodes.contains(place.node)).map(|(cpu, _)| *cpu).collect()
    }

    /// The memory node of each of some CPUs.
    pub fn nodes_of(&self, cpus: &CpuSet) -> Vec<Mask> {
        cpus.iter().filter_map(|cpu| self.0.get(cpu)).map(|place| Mask::from_iter([place.node])).collect()
    }

    /// How many CPUs a core has.
    pub fn per_core(&self) -> usize {
        self.groups(&self.all(), |place| place.core).values().map(CpuSet::len).max().unwrap_or(1)
    }

    /// CPUs of whose cores none is missing.
    pub fn whole_cores(&self, cpus: &CpuSet) -> CpuSet {
        let cores = self.groups(&self.all(), |place| place.core);
        cores.into_values().filter(|core| core.is_subset(cpus)).flatten().collect()
    }

    fn groups(&self, cpus: &CpuSet, by: impl Fn(&Place) -> u32) -> BTreeMap<u32, CpuSet> {
        let mut groups: BTreeMap<u32, CpuSet> = BTreeMap::new();
        for (cpu, place) in self.0.iter().filter(|(cpu, _)| cpus.contains(*cpu)) {
            groups.entry(by(place)).or_default().insert(*cpu);
        }
        groups
    }

    /// Free CPUs by groups, those with the least first.
    fn scarce(&self, free: &CpuSet, by: impl Fn(&Place) -> u32) -> Vec<(u32, CpuSet)> {
        let mut groups: Vec<(u32, CpuSet)> = self.groups(free, by).into_iter().collect();
        groups.sort_by_key(|(group, cpus)| (cpus.len(), *group));
        groups
    }

    /// Takes whole groups as long as they are needed.
    fn take_groups(
        &self,
        taken: &mut CpuSet,
        free: &CpuSet,
        count: usize,
        by: impl Fn(&Place) -> u32 + Copy,
    ) {
        let sizes = self.groups(&self.all(), by);
        let left: CpuSet = free.difference(taken).copied().collect();
        for (group, cpus) in self.scarce(&left, by) {
            if cpus.len() == sizes[&group].len() && cpus.len() <= count - taken.len() {
                taken.extend(cpus);
            }
        }
    }

    /// Cores with free CPUs, in the order in which they are taken.
    fn cores(&self, free: &CpuSet) -> Vec<CpuSet> {
        let nodes = self.scarce(free, |place| place.node);
        let of_node = |(_, cpus): &(u32, CpuSet)| self.scarce(cpus, |place| place.core);
        nodes.iter().flat_map(of_node).map(|(_, cpus)| cpus).collect()
    }

    /// Takes so many of the free CPUs; `None` if there are not as many.
    pub fn take(&self, free: &CpuSet, count: usize) -> Option<CpuSet> {
        if free.len() < count {
            return None;
        }
        let mut taken = CpuSet::new();
        let distinct = |by: fn(&Place) -> u32| self.0.values().map(by).collect::<BTreeSet<u32>>().len();
        // The larger groups come first.
        if distinct(|place| place.socket) >= distinct(|place| place.node) {
            self.take_groups(&mut taken, free, count, |place| place.node);
            self.take_groups(&mut taken, free, count, |place| place.socket);
        } else {
            self.take_groups(&mut taken, free, count, |place| place.socket);
            self.take_groups(&mut taken, free, count, |place| place.node);
        }
        let left = |taken: &CpuSet| free.difference(taken).copied().collect::<CpuSet>();
        let size = self.per_core();
        for core in self.cores(&left(&taken)) {
            if core.len() == size && core.len() <= count - taken.len() {
                taken.extend(core);
            }
        }
        for cpu in self.cores(&left(&taken)).into_iter().flatten() {
            if taken.len() < count {
                taken.insert(cpu);
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two nodes, each a socket of two cores with two threads: 0, 2 | 1, 3 are the cores of node 0, 4, 6 | 5, 7 of node 1.
    pub fn machine() -> Cpus {
        let place = |cpu: u32| {
            let node = cpu / 4;
            (cpu, Place { node, socket: node, core: node * 4 + cpu % 2 })
        };
        (0..8).map(place).collect()
    }

    #[test]
    fn cpus_are_taken_together() {
        let check = |free: &str, count, expected: Option<&str>| {
            let taken = machine().take(&parse(free).expect("CPUs"), count);
            assert_eq!(taken.map(|cpus| format(&cpus)).as_deref(), expected, "{free} {count}");
        };
        check("0-7", 4, Some("0-3"));
        check("1-7", 4, Some("4-7"));
        check("0-7", 2, Some("0,2"));
        check("1-7", 1, Some("2"));
        check("1-7", 2, Some("1,3"));
        check("1-7", 5, Some("2,4-7"));
        check("0-7", 6, Some("0-4,6"));
        check("0,5", 2, Some("0,5"));
        check("0,5", 3, None);
    }

    #[test]
    fn whole_cores() {
        let machine = machine();
        assert_eq!(machine.per_core(), 2);
        assert_eq!(format(&machine.whole_cores(&parse("0-2,4,6-7").expect("CPUs"))), "0,2,4,6");
        assert_eq!(format(&machine.on(Mask::from_iter([1]))), "4-7");
    }

    #[test]
    fn the_kernel_tells_where_cpus_are() {
        let system = tempfile::tempdir().expect("directory");
        let write = |path: &str, text: &str| {
            let path = system.path().join(path);
            std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
            std::fs::write(path, text).expect("file");
        };
        write("cpu/online", "0-1,3\n");
        write("node/online", "0-1\n");
        write("node/node1/cpulist", "3\n");
        write("cpu/cpu1/topology/thread_siblings_list", "0-1\n");
        write("cpu/cpu3/topology/physical_package_id", "1\n");
        let expected = [(0, [0, 0, 0]), (1, [0, 0, 0]), (3, [1, 1, 3])];
        let expected: Cpus = expected
            .map(|(cpu, [node, socket, core])| (cpu, Place { node, socket, core }))
            .into_iter()
            .collect();
        assert_eq!(Cpus::of_machine(system.path()), expected);
    }
}
