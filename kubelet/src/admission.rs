//! Whether the node takes a pod: what the scheduler decided is checked once more, since pods may also be
//! bound by hand or come from manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, Taint};
use knarr_component::placement;

use crate::eviction::pressure::Pressure;
use crate::pod;

/// Label of a node's operating system.
const OS: &str = "kubernetes.io/os";

/// The node as admission sees it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// What pods may use, by resource, in thousandths.
    pub allocatable: BTreeMap<String, i64>,
    /// How many pods it takes.
    pub max_pods: usize,
    /// Its kernel confines programs by AppArmor.
    pub has_app_armor: bool,
    /// What it runs short of.
    pub pressures: BTreeSet<Pressure>,
    /// The machine goes down.
    pub is_shutting_down: bool,
    /// Other resources that its object has, in thousandths, but those that plugins look after.
    pub extended: BTreeMap<String, i64>,
}

/// Whether the name is that of a resource which neither Kubernetes nor the node itself knows.
pub fn is_extended(resource: &str) -> bool {
    let domain = resource.split_once('/').map(|(domain, _)| domain);
    let own = |domain: &str| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    domain.is_some_and(|domain| !own(domain)) && !resource.starts_with("requests.")
}

/// Kernel settings that a pod may change: they count for the pod alone and cannot harm others.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why the node does not take a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// For example `OutOfcpu`, `NodeAffinity`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    fn new(reason: &str, message: &str) -> Self {
        Self { reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// What the node has too little of for a pod; amounts are thousandths, and numbers of pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lack {
    /// The resource.
    pub resource: String,
    /// What the pod asks for.
    pub wanted: i64,
    /// What others have.
    pub used: i64,
    /// What there is.
    pub available: i64,
    /// What is missing.
    pub missing: i64,
}

impl Lack {
    /// What of the resource is missing, if anything is.
    fn of(resource: &str, wanted: i64, used: i64, available: i64) -> Option<Self> {
        let missing = used + wanted - available;
        (missing > 0).then(|| Self { resource: resource.to_owned(), wanted, used, available, missing })
    }

    /// How many thousandths messages count as one.
    fn unit(&self) -> i64 {
        if self.resource == "pods" { 1 } else { unit(&self.resource) }
    }

    /// What is missing, as messages tell it.
    pub fn shown_missing(&self) -> i64 {
        self.missing / self.unit()
    }

    fn refusal(&self) -> Refusal {
        let (resource, unit) = (&self.resource, self.unit());
        Refusal {
            reason: format!("OutOf{resource}"),
            message: format!(
                "Node didn't have enough resource: {resource}, requested: {}, used: {}, capacity: {}",
                self.wanted / unit,
                self.used / unit,
                self.available / unit
            ),
        }
    }
}

/// Checks a new pod against the node and the pods that are on it. Answers what others have to make room of for a
/// critical pod.
pub fn check(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<Vec<Lack>, Refusal> {
    if node.is_shutting_down {
        return Err(Refusal::new("NodeShutdown", "Pod was rejected as the node is shutting down."));
    }
    let spec = pod::spec(pod);
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(Refusal::new("PodOSNotSupported", message));
    }
    let selected = spec.node_selector.as_ref().and_then(|selector| selector.get(OS));
    if selected.is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(Refusal::new("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    if !placement::allows(spec, &node.name, &node.labels) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(Refusal::new("NodeAffinity", message));
    }
    if asks_for_app_armor(pod) && !node.has_app_armor {
        let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        return Err(Refusal::new("AppArmor", message));
    }
    check_taints(pod, node)?;
    check_pressures(pod, node)?;
    for sysctl in pod::security(pod).sysctls.iter().flatten() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.replace('/', ".").as_str()) {
            return Err(Refusal {
                reason: "SysctlForbidden".to_owned(),
                message: format!("forbidden sysctl: {:?} not allowlisted", sysctl.name),
            });
        }
    }
    let mut lacks = Vec::from_iter(Lack::of("pods", 1, others.len() as i64, node.max_pods as i64));
    lacks.extend(lacking(pod, others, node));
    match lacks.first() {
        Some(first) if !pod::is_critical(pod) => Err(first.refusal()),
        _ => check_host_ports(pod, others).map(|()| lacks),
    }
}

/// Whether some container must be confined by AppArmor.
fn asks_for_app_armor(pod: &Pod) -> bool {
    let of_pod = pod::security(pod).app_armor_profile.as_ref();
    let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
    let own = all.filter_map(|container| container.security_context.as_ref()?.app_armor_profile.as_ref());
    own.chain(of_pod).any(|profile| profile.type_ != "Unconfined")
}

/// Taints that send pods away; a static pod stays whatever they are.
fn check_taints(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let tolerations = pod::spec(pod).tolerations.as_deref().unwrap_or_default();
    let tolerated =
        |taint: &&Taint| tolerations.iter().any(|toleration| placement::tolerates(toleration, taint));
    let mut taints = node.taints.iter().filter(|taint| taint.effect == "NoExecute");
    if pod::is_static(pod) || taints.all(|taint| tolerated(&taint)) {
        return Ok(());
    }
    let message = "Predicate TaintToleration failed: node(s) had untolerated taint(s)";
    Err(Refusal::new("TaintToleration", message))
}

/// A node that runs short takes no pods but critical ones; one that is short of memory alone still takes those that
/// say how much they need.
fn check_pressures(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let memory_alone = node.pressures.iter().all(|pressure| *pressure == Pressure::Memory);
    let tolerations = pod::spec(pod).tolerations.as_deref().unwrap_or_default();
    let taint = Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    let welcome = memory_alone
        && (pod::qos(pod) != pod::Qos::BestEffort
            || tolerations.iter().any(|toleration| placement::tolerates(toleration, &taint)));
    if node.pressures.is_empty() || welcome || pod::is_critical(pod) {
        return Ok(());
    }
    let names: Vec<&str> = node.pressures.iter().map(|pressure| pressure.condition()).collect();
    Err(Refusal::new("Evicted", &format!("The node had condition: [{}]. ", names.join(" "))))
}

/// Whether the node has what a pod asks for beside what others have.
pub fn check_resources(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Refusal> {
    lacking(pod, others, node).first().map_or(Ok(()), |lack| Err(lack.refusal()))
}

/// What the node has too little of for a pod beside others.
fn lacking(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Vec<Lack> {
    let lack = |resource: String| {
        let wanted = requested(pod, &resource);
        if wanted <= 0 {
            return None;
        }
        let available = match is_extended(&resource) {
            // What the node does not have at all, nobody asks this kubelet for.
            true => node.extended.get(&resource).copied().unwrap_or(i64::MAX),
            false => node.allocatable.get(&resource).copied().unwrap_or_default(),
        };
        let used: i64 = others.iter().map(|other| requested(other, &resource)).sum();
        Lack::of(&resource, wanted, used, available)
    };
    requested_resources(pod).into_iter().filter_map(lack).collect()
}

/// How many thousandths messages count as one: CPU is told in thousandths, all else in whole units.
pub fn unit(resource: &str) -> i64 {
    if resource == "cpu" { 1 } else { 1000 }
}

/// The resources that a pod asks for, in the order in which they are checked.
fn requested_resources(pod: &Pod) -> Vec<String> {
    let first = ["cpu", "memory", "ephemeral-storage"].map(str::to_owned);
    let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
    let named = all.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    let rest: BTreeSet<String> =
        named.flat_map(BTreeMap::keys).filter(|name| !first.contains(name)).cloned().collect();
    first.into_iter().chain(rest).collect()
}

/// What a pod asks for, in thousandths: what it says for the whole pod, or its containers together or its largest
/// init container; and its overhead.
pub fn requested(pod: &Pod, resource: &str) -> i64 {
    let of = |container: &Container| Some(pod::request_milli(container, resource).unwrap_or_default());
    let containers = pod::total(pod, of).unwrap_or_default();
    pod::whole_request_milli(pod, resource).unwrap_or(containers) + pod::overhead_milli(pod, resource)
}

fn check_host_ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let wanted = host_ports(pod);
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    let clash = wanted.iter().any(|(protocol, port, ip)| {
        taken.iter().any(|(other_protocol, other_port, other_ip)| {
            protocol == other_protocol && port == other_port && (ip == other_ip || any(ip) || any(other_ip))
        })
    });
    if !clash {
        return Ok(());
    }
    Err(Refusal {
        reason: "NodePorts".to_owned(),
        message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
            .to_owned(),
    })
}

fn host_ports(pod: &Pod) -> Vec<(String, i32, String)> {
    let all = pod::containers(pod).iter().flat_map(|container| container.ports.iter().flatten());
    all.filter_map(|port| {
        let number = port.host_port.filter(|port| *port > 0)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some((protocol, number, port.host_ip.clone().unwrap_or_default()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_refused_for_good_reasons() {
        let node = Node {
            labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            allocatable: [("cpu".to_owned(), 2000), ("memory".to_owned(), (1 << 30) * 1000)].into(),
            max_pods: 2,
            extended: [("example.com/gpu".to_owned(), 1000)].into(),
            ..Default::default()
        };
        let other = "containers: [{name: o, resources: {requests: {cpu: 500m}}, ports: [{containerPort: 1, hostPort: 80}]}]";
        let other = Arc::new(pod::tests::pod(&format!("{{spec: {{{other}}}}}")));
        let check = |spec: &str, others: usize, expected: Option<&str>| {
            let pod = pod::tests::pod(&format!("{{spec: {spec}}}"));
            let others = vec![Arc::clone(&other); others];
            let got = check(&pod, &others, &node).err().map(|refusal| refusal.reason);
            assert_eq!(got.as_deref(), expected, "{spec}");
        };
        check("{containers: [{name: a}]}", 1, None);
        check("{containers: [{name: a}]}", 2, Some("OutOfpods"));
        check("{containers: [{name: a, resources: {requests: {cpu: 1500m}}}]}", 1, None);
        check("{containers: [{name: a, resources: {requests: {cpu: 1501m}}}]}", 1, Some("OutOfcpu"));
        check("{containers: [{name: a, resources: {requests: {memory: 2Gi}}}]}", 0, Some("OutOfmemory"));
        check("{nodeSelector: {disk: hdd}, containers: [{name: a}]}", 0, Some("NodeAffinity"));
        check("{nodeSelector: {disk: ssd}, containers: [{name: a}]}", 0, None);
        check("{os: {name: windows}, containers: []}", 0, Some("PodOSNotSupported"));
        check(
            "{nodeSelector: {kubernetes.io/os: windows}, containers: []}",
            0,
            Some("PodOSSelectorNodeLabelDoesNotMatch"),
        );
        let affinity = |value: &str| {
            let rule = format!("[{{key: disk, operator: In, values: [{value}]}}]");
            format!(
                "{{containers: [], affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: \
                 {{nodeSelectorTerms: [{{matchExpressions: {rule}}}]}}}}}}}}"
            )
        };
        check(&affinity("ssd"), 0, None);
        check(&affinity("hdd"), 0, Some("NodeAffinity"));
        check("{overhead: {cpu: 1501m}, containers: []}", 1, Some("OutOfcpu"));
        check("{resources: {requests: {cpu: 2001m}}, containers: [{name: a}]}", 0, Some("OutOfcpu"));
        check(
            "{containers: [{name: a, resources: {requests: {example.com/gpu: 2}}}]}",
            0,
            Some("OutOfexample.com/gpu"),
        );
        check("{containers: [{name: a, resources: {requests: {example.com/other: 1}}}]}", 0, None);
        let profile = "{securityContext: {appArmorProfile: {type: RuntimeDefault}}, containers: []}";
        check(profile, 0, Some("AppArmor"));
        let sysctl = |name: &str| {
            format!("{{securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}, containers: []}}")
        };
        check(&sysctl("net.ipv4.tcp_syncookies"), 0, None);
        check(&sysctl("kernel.msgmax"), 0, Some("SysctlForbidden"));
        let port = "{containers: [{name: a, ports: [{containerPort: 1, hostPort: 80}]}]}";
        check(port, 0, None);
        check(port, 1, Some("NodePorts"));
        let critical = |more: &str| {
            format!(
                "{{priority: 2000000000, containers: [{{name: a, resources: {{requests: {{cpu: 2}}}}{more}}}]}}"
            )
        };
        check(&critical(""), 1, None);
        check(&critical(", ports: [{containerPort: 1, hostPort: 80}]"), 1, Some("NodePorts"));
        let pod = pod::tests::pod(&format!("{{spec: {}}}", critical("")));
        let lacks = super::check(&pod, &[Arc::clone(&other), other], &node).expect("others make room");
        let told: Vec<_> = lacks.iter().map(|lack| (lack.resource.as_str(), lack.shown_missing())).collect();
        assert_eq!(told, [("pods", 1), ("cpu", 1000)]);
    }

    #[test]
    fn nodes_that_run_short() {
        let node = |pressures: &[Pressure]| Node {
            pressures: pressures.iter().copied().collect(),
            max_pods: 9,
            allocatable: [("memory".to_owned(), 1_000_000)].into(),
            ..Default::default()
        };
        let refused = |spec: &str, pressures: &[Pressure]| {
            let pod = pod::tests::pod(&format!("{{spec: {spec}}}"));
            check(&pod, &[], &node(pressures)).is_err()
        };
        let (plain, frugal) =
            ("{containers: [{name: a}]}", "{containers: [{name: a, resources: {requests: {memory: 1}}}]}");
        assert!(!refused(plain, &[]));
        assert!(refused(plain, &[Pressure::Memory]));
        assert!(!refused(frugal, &[Pressure::Memory]));
        assert!(refused(frugal, &[Pressure::Memory, Pressure::Disk]));
        assert!(!refused("{priority: 2000000000, containers: [{name: a}]}", &[Pressure::Disk]));
    }

    #[test]
    fn machines_that_go_down() {
        let node = Node { is_shutting_down: true, max_pods: 9, ..Default::default() };
        let refusal = check(&pod::tests::pod("{spec: {containers: []}}"), &[], &node).expect_err("refused");
        assert_eq!(refusal.reason, "NodeShutdown");
    }

    #[test]
    fn taints_that_send_away() {
        let taint =
            |effect: &str| Taint { key: "k".to_owned(), effect: effect.to_owned(), ..Default::default() };
        let node = |effect| Node { taints: vec![taint(effect)], max_pods: 9, ..Default::default() };
        let pod = pod::tests::pod("{spec: {containers: []}}");
        let tolerant = pod::tests::pod("{spec: {containers: [], tolerations: [{operator: Exists}]}}");
        let reason = |pod, effect| check(pod, &[], &node(effect)).err().map(|refusal| refusal.reason);
        assert_eq!(reason(&pod, "NoExecute").as_deref(), Some("TaintToleration"));
        assert_eq!(reason(&pod, "NoSchedule"), None);
        assert_eq!(reason(&tolerant, "NoExecute"), None);
    }
}
