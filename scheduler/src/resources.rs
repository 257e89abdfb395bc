//! Amounts of resources: what pods request and what nodes have.
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// CPU that a container without a request is taken to use when nodes are scored, in thousandths.
const DEFAULT_MILLI_CPU: i64 = 100;
/// Memory that a container without a request is taken to use when nodes are scored, in bytes.
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub milli_cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Local disk in bytes.
    pub ephemeral_storage: i64,
    /// Everything else: extended resources and huge pages.
    pub others: BTreeMap<String, i64>,
}

impl Resources {
    /// The amounts of a resource list; what does not parse counts as nothing (the API server refuses it).
    pub fn from_list(list: &BTreeMap<String, Quantity>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list {
            let amount = quantity.0.parse::<knarr_api::quantity::Quantity>().unwrap_or_default();
            match name.as_str() {
                "cpu" => resources.milli_cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral_storage = amount.value(),
                "pods" => {}
                other => {
                    resources.others.insert(other.to_owned(), amount.value());
                }
            }
        }
        resources
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_add(b));
    }

    /// Takes `other` away.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, |a, b| a.saturating_sub(b));
    }

    /// Raises each amount to that of `other`.
    pub fn max(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            let entry = self.others.entry(name.clone()).or_default();
            *entry = f(*entry, *amount);
        }
    }
}

/// What a pod requests: the larger of its containers together and of each init container beside the sidecars
/// started before it, plus overhead; pod-level requests take the place of the sum.
///
/// Source: KEP-753 (sidecar containers), KEP-2837 (pod-level resources).
pub fn pod_requests(spec: &PodSpec) -> Resources {
    effective(spec, |container| requests(container.resources.as_ref()))
}

/// CPU (thousandths) and memory (bytes) for scoring, where a container without a request counts a little.
pub fn pod_requests_for_score(spec: &PodSpec) -> (i64, i64) {
    let assumed = |container: &Container| {
        let mut resources = requests(container.resources.as_ref());
        if resources.milli_cpu == 0 {
            resources.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if resources.memory == 0 {
            resources.memory = DEFAULT_MEMORY;
        }
        resources
    };
    let resources = effective(spec, assumed);
    (resources.milli_cpu, resources.memory)
}

fn effective(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut running = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&running);
            running = sidecars.clone();
        } else {
            running.add(&sidecars);
        }
        peak.max(&running);
    }
    total.add(&sidecars);
    total.max(&peak);
    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let level = Resources::from_list(list);
        for name in list.keys() {
            match name.as_str() {
                "cpu" => total.milli_cpu = level.milli_cpu,
                "memory" => total.memory = level.memory,
                other => {
                    total
                        .others
                        .insert(other.to_owned(), level.others.get(other).copied().unwrap_or_default());
                }
            }
        }
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_list(overhead));
    }
    total
}

fn requests(resources: Option<&ResourceRequirements>) -> Resources {
    let list = resources.and_then(|resources| resources.requests.as_ref());
    list.map(Resources::from_list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: serde_json::Value, milli_cpu: i64, memory: i64) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let requests = pod_requests(&spec);
        assert_eq!((requests.milli_cpu, requests.memory), (milli_cpu, memory));
    }

    fn container(name: &str, cpu: &str, memory: &str) -> serde_json::Value {
        serde_json::json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(name: &str, cpu: &str, memory: &str) -> serde_json::Value {
        let mut container = container(name, cpu, memory);
        container["restartPolicy"] = "Always".into();
        container
    }

    #[test]
    fn requests_of_pods() {
        let app = container("a", "100m", "1Mi");
        check(serde_json::json!({"containers": [app, container("b", "0.2", "1Mi")]}), 300, 2 << 20);
        // An init container alone needs more than the application.
        check(
            serde_json::json!({"initContainers": [container("i", "2", "1Mi")], "containers": [app]}),
            2000,
            1 << 20,
        );
        // A sidecar runs beside the application and beside later init containers.
        let init = [sidecar("s", "1", "1Mi"), container("i", "1500m", "0")];
        check(serde_json::json!({"initContainers": init, "containers": [app]}), 2500, 2 << 20);
        check(serde_json::json!({"overhead": {"cpu": "50m"}, "containers": [app]}), 150, 1 << 20);
        check(
            serde_json::json!({"resources": {"requests": {"cpu": "1"}}, "containers": [app]}),
            1000,
            1 << 20,
        );
    }
}
