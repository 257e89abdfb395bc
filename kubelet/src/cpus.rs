//! CPUs that a container has for itself: the static policy.
//!
//! Containers of guaranteed pods that ask for whole CPUs get some of their own; all others share the rest. Who has which
//! is noted in the original's file `cpu_manager_state`.
//!
//! Source: kubernetes.io, "Control CPU Management Policies on the Node".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use serde_json::json;

use crate::admission::Refusal;
use crate::checkpoint;
use crate::grants::unexpected;
use crate::pod::{self, Qos};
use crate::topology::cpus::{CpuSet, Cpus, format, parse};
use crate::topology::{Hints, Mask, hints_of_counts};

const FILE: &str = "cpu_manager_state";
const CHECK: &str = "checksum";

/// How CPUs are given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// All containers share all of them.
    #[default]
    None,
    /// Some get CPUs for themselves.
    Static,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "static" => Ok(Self::Static),
            _ => Err(format!("unknown policy: {text:?}")),
        }
    }
}

impl Policy {
    /// The word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Static => "static",
        }
    }
}

/// What the static policy may be told further.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only whole cores are given away.
    pub full_cores_only: bool,
    /// Nobody shares the CPUs that are kept for the system.
    pub strict_reservation: bool,
}

impl Options {
    /// Reads options by their names in the settings.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut all = Self::default();
        for (name, value) in options {
            let place = match name.as_str() {
                "full-pcpus-only" => &mut all.full_cores_only,
                "strict-cpu-reservation" => &mut all.strict_reservation,
                _ => return Err(format!("CPUManager policy option {name:?} is not supported")),
            };
            *place = value
                .parse()
                .map_err(|_| format!("bad value for option {name:?}: {value:?} is not true or false"))?;
        }
        Ok(all)
    }
}

/// Containers' CPUs, by uid of the pod and name of the container.
type Assignments = BTreeMap<String, BTreeMap<String, CpuSet>>;

#[derive(Debug, Default)]
struct State {
    shared: CpuSet,
    assigned: Assignments,
}

/// Gives out CPUs.
#[derive(Debug)]
pub struct CpuManager {
    policy: Policy,
    options: Options,
    machine: Cpus,
    reserved: CpuSet,
    file: PathBuf,
    state: Mutex<State>,
}

impl CpuManager {
    /// Goes on from what a kubelet before this one noted below `root`. `reserved` are kept for the system.
    pub fn open(
        root: &Path,
        policy: Policy,
        options: Options,
        machine: Cpus,
        reserved: CpuSet,
    ) -> Result<Self, String> {
        if policy == Policy::Static && reserved.is_empty() {
            return Err(
                "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero"
                    .to_owned(),
            );
        }
        if !reserved.is_subset(&machine.all()) {
            return Err(format!("reserved CPUs {:?} are not all online", format(&reserved)));
        }
        let mut usable = machine.all();
        if options.strict_reservation {
            usable.retain(|cpu| !reserved.contains(cpu));
        }
        let file = root.join(FILE);
        let state = match load(&file, policy)? {
            Some(state) => state,
            None => State { shared: usable.clone(), assigned: Assignments::new() },
        };
        let manager = Self { policy, options, machine, reserved, file, state: Mutex::new(state) };
        if policy == Policy::Static {
            manager.check(&usable)?;
        }
        manager.note()?;
        Ok(manager)
    }

    /// Whether what was noted can be of this machine.
    fn check(&self, usable: &CpuSet) -> Result<(), String> {
        let state = self.state.lock();
        let given = state.assigned.values().flat_map(BTreeMap::values).flatten();
        let known: CpuSet = state.shared.iter().chain(given).copied().collect();
        if known == *usable {
            return Ok(());
        }
        Err(format!(
            "current set of available CPUs \"{}\" doesn't match with CPUs in state \"{}\"",
            format(usable),
            format(&known)
        ))
    }

    fn note(&self) -> Result<(), String> {
        let state = self.state.lock();
        let of_pod = |(uid, containers): (&String, &BTreeMap<String, CpuSet>)| {
            let texts: BTreeMap<&String, String> =
                containers.iter().map(|(name, cpus)| (name, format(cpus))).collect();
            (uid.clone(), json!(texts))
        };
        let entries: serde_json::Map<_, _> = state.assigned.iter().map(of_pod).collect();
        let shared = match self.policy {
            Policy::None => String::new(),
            Policy::Static => format(&state.shared),
        };
        let data = json!({"policyName": self.policy.as_str(), "defaultCpuSet": shared, "entries": entries});
        checkpoint::store(&self.file, data, CHECK)
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// How many CPUs a container has for itself.
    fn wanted(&self, pod: &Pod, container: &Container) -> usize {
        if self.policy == Policy::None
            || pod::qos(pod) != Qos::Guaranteed
            || pod::spec(pod).resources.is_some()
        {
            return 0;
        }
        let milli = pod::request_milli(container, "cpu").unwrap_or_default();
        if milli % 1000 == 0 { usize::try_from(milli / 1000).unwrap_or_default() } else { 0 }
    }

    /// CPUs that can be given away.
    fn free(&self, state: &State) -> CpuSet {
        state.shared.difference(&self.reserved).copied().collect()
    }

    /// Where all containers of a pod together could get their CPUs.
    pub fn hints_of_pod(&self, pod: &Pod, all: Mask) -> Hints {
        let of = |container: &Container| i64::try_from(self.wanted(pod, container)).ok();
        let count = usize::try_from(pod::total(pod, of).unwrap_or_default()).unwrap_or_default();
        if count == 0 {
            return Hints::new();
        }
        let every = self.machine.nodes_of(&self.machine.all());
        let free = self.machine.nodes_of(&self.free(&self.state.lock()));
        [("cpu".to_owned(), Some(hints_of_counts(all, count, &every, &free, &[])))].into()
    }

    /// Where a container could get its CPUs.
    pub fn hints(&self, pod: &Pod, container: &Container, reusable: &CpuSet, all: Mask) -> Hints {
        let count = self.wanted(pod, container);
        if count == 0 {
            return Hints::new();
        }
        let state = self.state.lock();
        let every = self.machine.nodes_of(&self.machine.all());
        let held = state.assigned.get(pod::uid(pod)).and_then(|containers| containers.get(&container.name));
        let hints = match held {
            Some(held) if held.len() != count => Vec::new(),
            Some(held) => hints_of_counts(all, count, &every, &self.machine.nodes_of(held), &[]),
            None => {
                let free: CpuSet = self.free(&state).difference(reusable).copied().collect();
                let (free, must) = (self.machine.nodes_of(&free), self.machine.nodes_of(reusable));
                hints_of_counts(all, count, &every, &free, &must)
            }
        };
        [("cpu".to_owned(), Some(hints))].into()
    }

    /// Gives a container its CPUs, near to what `affinity` says; `reusable` are those of init containers that have ended
    /// before. Answers whether the CPUs that all others share are fewer now.
    pub fn allocate(
        &self,
        pod: &Pod,
        container: &Container,
        reusable: &mut CpuSet,
        affinity: Option<Mask>,
        ends: bool,
    ) -> Result<bool, Refusal> {
        let count = self.wanted(pod, container);
        let (uid, name) = (pod::uid(pod), container.name.clone());
        let mut state = self.state.lock();
        if count == 0 || state.assigned.get(uid).is_some_and(|containers| containers.contains_key(&name)) {
            return Ok(false);
        }
        let free: CpuSet = self.free(&state).union(reusable).copied().collect();
        self.check_cores(count, &free)?;
        let Some(cpus) = self.choose(&free, count, affinity) else {
            return Err(unexpected(&format!(
                "not enough cpus available to satisfy request: requested={count}, available={}",
                free.len()
            )));
        };
        state.shared.retain(|cpu| !cpus.contains(cpu));
        state.assigned.entry(uid.to_owned()).or_default().insert(name, cpus.clone());
        if ends {
            reusable.extend(cpus);
        } else {
            reusable.retain(|cpu| !cpus.contains(cpu));
        }
        drop(state);
        self.note().map_err(|error| unexpected(&error))?;
        Ok(true)
    }

    fn check_cores(&self, count: usize, free: &CpuSet) -> Result<(), Refusal> {
        let per_core = self.machine.per_core();
        if !self.options.full_cores_only {
            return Ok(());
        }
        let refusal = |text: String| Refusal {
            reason: "SMTAlignmentError".to_owned(),
            message: format!("SMT Alignment Error: {text}"),
        };
        if !count.is_multiple_of(per_core) {
            return Err(refusal(format!("requested {count} cpus not multiple cpus per core = {per_core}")));
        }
        let whole = self.machine.whole_cores(free).len();
        if whole < count {
            return Err(refusal(format!(
                "not enough free physical CPUs: available physical CPUs = {whole}, requested CPUs = {count}, CPUs per core = {per_core}"
            )));
        }
        Ok(())
    }

    /// On the wanted nodes as far as they go.
    fn choose(&self, free: &CpuSet, count: usize, affinity: Option<Mask>) -> Option<CpuSet> {
        let Some(nodes) = affinity else { return self.machine.take(free, count) };
        let near: CpuSet = self.machine.on(nodes).intersection(free).copied().collect();
        let mut cpus = self.machine.take(&near, count.min(near.len()))?;
        let rest: CpuSet = free.difference(&cpus).copied().collect();
        cpus.extend(self.machine.take(&rest, count - cpus.len())?);
        Some(cpus)
    }

    /// The CPUs that a container may run on, as the kernel writes them; empty: all.
    pub fn cpuset(&self, uid: &str, container: &str) -> String {
        if self.policy == Policy::None {
            return String::new();
        }
        let state = self.state.lock();
        let own = state.assigned.get(uid).and_then(|containers| containers.get(container));
        format(own.unwrap_or(&state.shared))
    }

    /// The CPUs that a container has for itself.
    pub fn held(&self, uid: &str, container: &str) -> CpuSet {
        let state = self.state.lock();
        state.assigned.get(uid).and_then(|containers| containers.get(container)).cloned().unwrap_or_default()
    }

    /// The CPUs that containers may have.
    pub fn allocatable(&self) -> CpuSet {
        match self.policy {
            Policy::None => CpuSet::new(),
            Policy::Static => self.machine.all().difference(&self.reserved).copied().collect(),
        }
    }

    /// Takes away what pods have but those to keep; answers whether that was anything.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> bool {
        let mut state = self.state.lock();
        let gone: Vec<String> = state.assigned.keys().filter(|uid| !keep(uid)).cloned().collect();
        for uid in &gone {
            let cpus = state.assigned.remove(uid).into_iter().flat_map(BTreeMap::into_values).flatten();
            let cpus: Vec<u32> = cpus.collect();
            state.shared.extend(cpus);
        }
        drop(state);
        if !gone.is_empty()
            && let Err(error) = self.note()
        {
            tracing::warn!(error);
        }
        !gone.is_empty()
    }
}

fn load(file: &Path, policy: Policy) -> Result<Option<State>, String> {
    let advice = "please drain this node and delete the CPU manager checkpoint file";
    let named = |error: String| {
        format!(
            "could not restore state from checkpoint: {error}, {advice} {:?} before restarting Kubelet",
            file.display().to_string()
        )
    };
    let Some(data) = checkpoint::load(file, CHECK).map_err(|error| named(error.to_string()))? else {
        return Ok(None);
    };
    let noted = data["policyName"].as_str().unwrap_or_default();
    if noted != policy.as_str() {
        return Err(named(format!(
            "configured policy {:?} differs from state checkpoint policy {noted:?}",
            policy.as_str()
        )));
    }
    if policy == Policy::None {
        return Ok(None);
    }
    let entries: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_value(data["entries"].clone()).map_err(|error| named(error.to_string()))?;
    let mut assigned = Assignments::new();
    for (uid, containers) in entries {
        for (name, text) in containers {
            assigned.entry(uid.clone()).or_default().insert(name, parse(&text).map_err(named)?);
        }
    }
    let shared = parse(data["defaultCpuSet"].as_str().unwrap_or_default()).map_err(named)?;
    Ok(Some(State { shared, assigned }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::cpus::tests::machine;

    fn open(root: &Path, options: Options) -> Result<CpuManager, String> {
        CpuManager::open(root, Policy::Static, options, machine(), parse("0")?)
    }

    fn pod(uid: &str, cpus: &str) -> Pod {
        let resources = format!("{{limits: {{cpu: {cpus}, memory: 1Gi}}}}");
        let container = |name: &str| format!("[{{name: {name}, resources: {resources}}}]");
        pod::tests::pod(&format!(
            "{{metadata: {{uid: {uid}}}, spec: {{initContainers: {}, containers: {}}}}}",
            container("i"),
            container("c")
        ))
    }

    fn give(manager: &CpuManager, pod: &Pod, affinity: Option<Mask>) -> Result<(), String> {
        let mut reusable = CpuSet::new();
        let told = |refusal: Refusal| format!("{}: {}", refusal.reason, refusal.message);
        manager.allocate(pod, &pod::init_containers(pod)[0], &mut reusable, affinity, true).map_err(told)?;
        manager
            .allocate(pod, &pod::containers(pod)[0], &mut reusable, affinity, false)
            .map(drop)
            .map_err(told)
    }

    #[test]
    fn whole_cpus_are_given_away_and_come_back() {
        let root = tempfile::tempdir().expect("directory");
        let manager = open(root.path(), Options::default()).expect("a manager");
        give(&manager, &pod("u", "2"), None).expect("CPUs");
        assert_eq!(manager.cpuset("u", "c"), "1,3");
        assert_eq!(manager.cpuset("u", "i"), "1,3", "an init container has ended before");
        give(&manager, &pod("v", "1500m"), None).expect("shared");
        assert_eq!(manager.cpuset("v", "c"), "0,2,4-7");
        give(&manager, &pod("w", "2"), Some(Mask::from_iter([1]))).expect("CPUs");
        assert_eq!(manager.cpuset("w", "c"), "4,6");
        let error = give(&manager, &pod("x", "4"), None).expect_err("too many");
        assert!(error.ends_with("requested=4, available=3, which is unexpected"), "{error}");

        // A new kubelet goes on from there.
        let later = open(root.path(), Options::default()).expect("a manager");
        assert_eq!(later.cpuset("u", "c"), "1,3");
        assert!(later.retain(|uid| uid == "w"));
        assert_eq!(later.cpuset("v", "c"), "0-3,5,7");
        assert!(!later.retain(|_| true));
    }

    #[test]
    fn hints_are_where_cpus_are_free() {
        let root = tempfile::tempdir().expect("directory");
        let manager = open(root.path(), Options::default()).expect("a manager");
        let hints = |cpus: &str| {
            let pod = pod("u", cpus);
            let hints =
                manager.hints(&pod, &pod::containers(&pod)[0], &CpuSet::new(), Mask::from_iter([0, 1]));
            let hints = hints.into_values().flatten().flatten();
            hints
                .map(|hint| {
                    (hint.nodes.map(|nodes| nodes.nodes().collect()).unwrap_or_default(), hint.is_preferred)
                })
                .collect::<Vec<_>>()
        };
        let expected: Vec<(Vec<u32>, bool)> = vec![(vec![1], true), (vec![0, 1], false)];
        assert_eq!(hints("4"), expected);
        assert_eq!(hints("5"), [(vec![0, 1], true)]);
        assert!(hints("1500m").is_empty());
    }

    #[test]
    fn whole_cores_only() {
        let root = tempfile::tempdir().expect("directory");
        let manager =
            open(root.path(), Options { full_cores_only: true, ..Options::default() }).expect("a manager");
        let error = |cpus: &str| give(&manager, &pod("u", cpus), None).expect_err("refused");
        let odd = "SMTAlignmentError: SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2";
        assert_eq!(error("3"), odd);
        let many = "not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2";
        assert!(error("8").ends_with(many));
    }

    #[test]
    fn what_was_noted_must_fit() {
        let root = tempfile::tempdir().expect("directory");
        open(root.path(), Options::default()).expect("a manager");
        let none = CpuManager::open(root.path(), Policy::None, Options::default(), machine(), CpuSet::new());
        let error = none.expect_err("another policy");
        assert!(
            error.contains("configured policy \"none\" differs from state checkpoint policy \"static\""),
            "{error}"
        );
        let strict = open(root.path(), Options { strict_reservation: true, ..Options::default() });
        let error = strict.expect_err("other CPUs");
        assert_eq!(error, "current set of available CPUs \"1-7\" doesn't match with CPUs in state \"0-7\"");
        let options = |name: &str| Options::read(&[(name.to_owned(), "true".to_owned())].into());
        assert_eq!(options("full-pcpus-only"), Ok(Options { full_cores_only: true, ..Options::default() }));
        assert!(options("align-by-socket").is_err());
    }
}
