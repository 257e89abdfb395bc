//! What is known of the program itself: its build, its feature gates, and what the kernel says of its process.
use crate::own_paths::Version;
use knarr_api::gates::Stage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    build_date: &'static str,
    compiler: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    git_version: String,
    go_version: &'static str,
    major: &'static str,
    minor: &'static str,
    platform: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GateLabels {
    name: String,
    stage: &'static str,
}

/// What the kernel knows of the process, looked up when somebody asks.
pub(super) struct Process {
    memory: Gauge,
    virtual_memory: Gauge,
    descriptors: Gauge,
    seconds: Counter<f64, AtomicU64>,
}

impl Process {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this = Self {
            memory: Gauge::default(),
            virtual_memory: Gauge::default(),
            descriptors: Gauge::default(),
            seconds: Counter::default(),
        };
        let most = Gauge::<i64>::default();
        if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
            most.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
        registry.register("process_max_fds", "Open file descriptors at most", most);
        registry.register("process_virtual_memory_bytes", "Virtual memory", this.virtual_memory.clone());
        let started = Gauge::<f64, AtomicU64>::default();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs_f64());
        registry.register("process_resident_memory_bytes", "Resident memory", this.memory.clone());
        registry.register("process_open_fds", "Open file descriptors", this.descriptors.clone());
        registry.register("process_cpu_seconds", "User and system time", this.seconds.clone());
        registry.register("process_start_time_seconds", "Start, since the Unix epoch", started);
        this
    }

    pub(super) fn look(&self) {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
        let pages = read("/proc/self/statm");
        let mut pages = pages.split(' ').map(|count| number(Some(count)) * 4096);
        self.virtual_memory.set(pages.next().unwrap_or_default());
        self.memory.set(pages.next().unwrap_or_default());
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.descriptors.set(i64::try_from(open).unwrap_or(i64::MAX));
        let stat = read("/proc/self/stat");
        // The program's name may hold spaces: count from the parenthesis behind it.
        let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let ticks = number(rest.next()) + number(rest.next());
        // Linux tells 100 ticks a second to programs, whatever it uses itself.
        self.seconds.inc_by((ticks as f64 / 100.0 - self.seconds.get()).max(0.0));
    }
}

/// Facts that do not change: the build and the feature gates.
pub(super) fn describe(registry: &mut Registry) {
    let build = Family::<BuildLabels, Gauge>::default();
    let Version {
        major,
        minor,
        git_version,
        git_commit,
        git_tree_state,
        build_date,
        go_version,
        compiler,
        platform,
        ..
    } = Version::current();
    let labels = BuildLabels {
        build_date,
        compiler,
        git_commit,
        git_tree_state,
        git_version,
        go_version,
        major,
        minor,
        platform,
    };
    build.get_or_create(&labels).set(1);
    registry.register("kubernetes_build_info", "The build", build);
    let gates = Family::<GateLabels, Gauge>::default();
    for (name, gate) in &knarr_api::table::builtin().gates {
        let stage = match gate.stage {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            Stage::Ga => "",
            Stage::Deprecated => "DEPRECATED",
        };
        let labels = GateLabels { name: name.to_string(), stage };
        gates.get_or_create(&labels).set(i64::from(knarr_api::gates::enabled(name)));
    }
    registry.register("kubernetes_feature_enabled", "Feature gates: on or off", gates);
}
