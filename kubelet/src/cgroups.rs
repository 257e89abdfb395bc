//! The cgroups of pods, which the kubelet makes before the sandbox and removes after it.
//!
//! Under version 1 a pod has a directory in each hierarchy, under version 2 a single one. On a hybrid
//! machine the runtime also uses the empty version 2 tree `unified`, so that is cleaned as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::container::resources;
use crate::pod::{self, Qos};

pub mod reading;

/// Where the kernel shows cgroups.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroup trees of this machine.
#[derive(Debug, Clone)]
pub struct Cgroups {
    mount: PathBuf,
    root: String,
    unified: bool,
}

impl Cgroups {
    /// The trees mounted at `mount`; everything of ours lies below `root` (a cgroup path such as `/`).
    pub fn new(mount: impl Into<PathBuf>, root: &str) -> Self {
        let mount = mount.into();
        let unified = mount.join("cgroup.controllers").exists();
        Self { mount, root: root.trim_end_matches('/').to_owned(), unified }
    }

    /// Cgroup of a class of pods.
    fn class(&self, qos: Qos) -> String {
        let root = &self.root;
        match qos {
            Qos::Guaranteed => format!("{root}/kubepods"),
            Qos::Burstable => format!("{root}/kubepods/burstable"),
            Qos::BestEffort => format!("{root}/kubepods/besteffort"),
        }
    }

    /// Cgroup path of a pod, as the runtime is told it.
    pub fn of_pod(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.class(pod::qos(pod)), pod::uid(pod))
    }

    /// The cgroups of all pods, of those with less than everything, and of those without requests.
    pub fn classes(&self) -> [String; 3] {
        [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort].map(|qos| self.class(qos))
    }

    /// A cgroup's counters.
    pub fn group(&self, cgroup: &str) -> reading::Group {
        reading::Group(self.directories(cgroup))
    }

    /// The directories that stand for one cgroup.
    fn directories(&self, cgroup: &str) -> Vec<PathBuf> {
        let relative = cgroup.trim_start_matches('/');
        if self.unified {
            return vec![self.mount.join(relative)];
        }
        let Ok(entries) = fs::read_dir(&self.mount) else { return Vec::new() };
        // Links such as `cpu` -> `cpu,cpuacct` would name the same directory twice.
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path().join(relative))
            .collect()
    }

    /// Makes the cgroups of all classes of pods.
    pub fn create_roots(&self) -> io::Result<()> {
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            self.create(&self.class(qos))?;
        }
        // Pods without requests get CPU only when nobody else wants it.
        self.write(&self.class(Qos::BestEffort), Setting::Shares(resources::MIN_SHARES));
        Ok(())
    }

    /// Makes a pod's cgroup and sets the limits of the pod as a whole.
    pub fn create_pod(&self, pod: &Pod) -> io::Result<()> {
        let cgroup = self.of_pod(pod);
        self.create(&cgroup)?;
        for setting in settings(pod) {
            self.write(&cgroup, setting);
        }
        Ok(())
    }

    fn create(&self, cgroup: &str) -> io::Result<()> {
        for directory in self.directories(cgroup) {
            if self.unified {
                self.delegate(&directory);
            }
            if let Err(error) = fs::create_dir_all(&directory) {
                // The hybrid `unified` tree and odd hierarchies may refuse; the runtime copes.
                tracing::debug!(path = %directory.display(), %error, "cgroup not made");
                continue;
            }
            if directory.join("cpuset.cpus").exists() && !self.unified {
                inherit_cpuset(&self.mount, &directory);
            }
        }
        match self.directories(cgroup).iter().any(|directory| directory.exists()) {
            true => Ok(()),
            false => Err(io::Error::other(format!("no cgroup hierarchy took {cgroup}"))),
        }
    }

    /// Hands all controllers down to the parents of a version 2 directory.
    fn delegate(&self, directory: &Path) {
        let mut parents: Vec<&Path> =
            directory.ancestors().skip(1).take_while(|p| p.starts_with(&self.mount)).collect();
        parents.reverse();
        for parent in parents {
            if fs::create_dir_all(parent).is_err() {
                return;
            }
            let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) else { continue };
            for controller in controllers.split_whitespace() {
                // One by one: a single refused controller would refuse them all.
                let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }

    fn write(&self, cgroup: &str, setting: Setting) {
        let (file, value) = if self.unified { setting.version2() } else { setting.version1() };
        for directory in self.directories(cgroup) {
            let path = directory.join(file);
            if path.exists()
                && let Err(error) = fs::write(&path, &value)
            {
                tracing::debug!(path = %path.display(), value, %error, "cgroup setting refused");
            }
        }
    }

    /// Removes a pod's cgroup, which must be empty of processes. Which class the pod belonged to is not
    /// asked, so that leftovers of unknown pods can go too.
    pub fn remove_pod(&self, uid: &str) -> io::Result<()> {
        let mut result = Ok(());
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            for directory in self.directories(&format!("{}/pod{uid}", self.class(qos))) {
                if let Err(error) = remove_tree(&directory) {
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Uids of the pods that have a cgroup.
    pub fn pods(&self) -> Vec<String> {
        let mut uids: Vec<String> = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]
            .into_iter()
            .flat_map(|qos| self.directories(&self.class(qos)))
            .filter_map(|directory| fs::read_dir(directory).ok())
            .flat_map(|entries| entries.flatten())
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("pod")?.to_owned()))
            .collect();
        uids.sort();
        uids.dedup();
        uids
    }

    /// Removes all that [`Self::create_roots`] made, if no pod is left; the kernel refuses the rest.
    pub fn remove_roots(&self) {
        let classes = [Qos::BestEffort, Qos::Burstable, Qos::Guaranteed].map(|qos| self.class(qos));
        let root = Some(self.root.clone()).filter(|root| !root.is_empty());
        for directory in classes.into_iter().chain(root).flat_map(|cgroup| self.directories(&cgroup)) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Removes a cgroup and those below it. Its files vanish with it, so only directories are touched.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new version 1 cpuset is empty, and nothing can run in it until it has been given CPUs.
fn inherit_cpuset(mount: &Path, directory: &Path) {
    let mut chain: Vec<&Path> = directory.ancestors().take_while(|p| *p != mount).collect();
    chain.reverse();
    for pair in chain.windows(2) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(pair[1].join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Ok(parent) = fs::read_to_string(pair[0].join(file))
            {
                let _ = fs::write(pair[1].join(file), parent);
            }
        }
    }
}

/// One limit of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    /// CPU weight as version 1 counts it.
    Shares(i64),
    /// Microseconds of CPU per period.
    Quota(i64),
    /// Bytes of memory.
    Memory(i64),
}

impl Setting {
    fn version1(self) -> (&'static str, String) {
        match self {
            Setting::Shares(shares) => ("cpu.shares", shares.to_string()),
            Setting::Quota(quota) => ("cpu.cfs_quota_us", quota.to_string()),
            Setting::Memory(bytes) => ("memory.limit_in_bytes", bytes.to_string()),
        }
    }

    fn version2(self) -> (&'static str, String) {
        match self {
            // The ranges 2..262144 and 1..10000 are mapped linearly, as the runtimes do.
            Setting::Shares(shares) => ("cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()),
            Setting::Quota(quota) => ("cpu.max", format!("{quota} {}", resources::CPU_PERIOD)),
            Setting::Memory(bytes) => ("memory.max", bytes.to_string()),
        }
    }
}

/// Limits of a whole pod: those that its spec gives it, or the sum of its containers', where each of them has one;
/// what an init container alone needs counts if it is more. What the pod costs by itself comes on top.
fn settings(pod: &Pod) -> Vec<Setting> {
    let request = pod::whole_request_milli(pod, "cpu").or_else(|| {
        pod::total(pod, |container| Some(pod::request_milli(container, "cpu").unwrap_or_default()))
    });
    let limit = |resource| {
        let limit = pod::whole_limit_milli(pod, resource)
            .or_else(|| pod::total(pod, |container| pod::limit_milli(container, resource)));
        limit.map(|limit| limit + pod::overhead_milli(pod, resource))
    };
    let request = request.unwrap_or_default() + pod::overhead_milli(pod, "cpu");
    let cpu = limit("cpu").map(|cpu| Setting::Quota(resources::cpu_quota(cpu)));
    let memory = limit("memory").map(|memory| Setting::Memory(memory / 1000));
    [Some(Setting::Shares(resources::cpu_shares(request))), cpu, memory].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_whole_pods() {
        let check = |spec: &str, expected: &[Setting]| {
            assert_eq!(settings(&pod::tests::pod(&format!("{{spec: {spec}}}"))), expected, "{spec}");
        };
        check("{containers: [{name: a}]}", &[Setting::Shares(2)]);
        check(
            "{containers: [{name: a, resources: {limits: {cpu: 1, memory: 1Mi}}}, {name: b, resources: {limits: {cpu: 1}}}]}",
            &[Setting::Shares(2048), Setting::Quota(200_000)],
        );
        check(
            "{initContainers: [{name: i, resources: {limits: {cpu: 3}}}], containers: [{name: a, resources: {limits: {cpu: 1}}}]}",
            &[Setting::Shares(3072), Setting::Quota(300_000)],
        );
        let whole = "resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 1000}}";
        check(
            &format!("{{{whole}, overhead: {{cpu: 100m, memory: 24}}, containers: [{{name: a}}]}}"),
            &[Setting::Shares(204), Setting::Quota(30_000), Setting::Memory(1024)],
        );
    }

    #[test]
    fn makes_and_removes_version_1_directories() {
        let mount = tempfile::tempdir().expect("directory");
        for hierarchy in ["cpu", "memory"] {
            fs::create_dir(mount.path().join(hierarchy)).expect("hierarchy");
        }
        let cgroups = Cgroups::new(mount.path(), "/mine/");
        let pod = pod::tests::pod("{metadata: {uid: u1}, spec: {containers: [{name: a}]}}");
        assert_eq!(cgroups.of_pod(&pod), "/mine/kubepods/besteffort/podu1");
        cgroups.create_roots().expect("roots");
        cgroups.create_pod(&pod).expect("pod");
        assert!(mount.path().join("memory/mine/kubepods/besteffort/podu1").is_dir());
        assert_eq!(cgroups.pods(), ["u1"]);
        cgroups.remove_pod("u1").expect("removed");
        assert!(cgroups.pods().is_empty());
        cgroups.remove_roots();
        assert!(!mount.path().join("cpu/mine").exists());
        assert!(mount.path().join("cpu").exists());
    }

    #[test]
    fn weights_of_version_2() {
        assert_eq!(Setting::Shares(2).version2().1, "1");
        assert_eq!(Setting::Shares(1024).version2().1, "39");
        assert_eq!(Setting::Shares(262_144).version2().1, "10000");
    }
}
