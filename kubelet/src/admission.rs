//! Whether the node takes a pod: what the scheduler decided is checked once more, since pods may also be
//! bound by hand or come from manifests.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::pod;
use crate::status::Verdict;

/// The node as admission sees it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What pods may use, by resource, in thousandths.
    pub allocatable: BTreeMap<String, i64>,
    /// How many pods it takes.
    pub max_pods: usize,
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

/// Checks a new pod against the node and the pods that are on it.
pub fn check(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Verdict> {
    for (key, value) in pod::spec(pod).node_selector.iter().flatten() {
        if node.labels.get(key) != Some(value) {
            return Err(Verdict {
                reason: "NodeAffinity".to_owned(),
                message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned(),
            });
        }
    }
    for sysctl in pod::security(pod).sysctls.iter().flatten() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.replace('/', ".").as_str()) {
            return Err(Verdict {
                reason: "SysctlForbidden".to_owned(),
                message: format!("Pod was rejected: forbidden sysctl: {:?} not allowlisted", sysctl.name),
            });
        }
    }
    if others.len() >= node.max_pods {
        return Err(out_of("pods", 1, others.len() as i64, node.max_pods as i64));
    }
    for resource in ["cpu", "memory"] {
        let wanted = requested(pod, resource);
        let Some(available) = node.allocatable.get(resource).copied().filter(|_| wanted > 0) else {
            continue;
        };
        let used: i64 = others.iter().map(|other| requested(other, resource)).sum();
        if used + wanted > available {
            // Memory is counted in bytes, CPU in thousandths.
            let unit = if resource == "memory" { 1000 } else { 1 };
            return Err(out_of(resource, wanted / unit, used / unit, available / unit));
        }
    }
    check_host_ports(pod, others)
}

fn out_of(resource: &str, wanted: i64, used: i64, capacity: i64) -> Verdict {
    Verdict {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
        ),
    }
}

/// What a pod asks for, in thousandths: its containers together, or its largest init container.
fn requested(pod: &Pod, resource: &str) -> i64 {
    let of = |container| pod::request_milli(container, resource).unwrap_or_default();
    let (mut sidecars, mut peak) = (0, 0);
    for container in pod::init_containers(pod) {
        if pod::is_sidecar(container) {
            sidecars += of(container);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(container));
        }
    }
    (sidecars + pod::containers(pod).iter().map(of).sum::<i64>()).max(peak)
}

fn check_host_ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Verdict> {
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
    Err(Verdict {
        reason: "NodePorts".to_owned(),
        message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".to_owned(),
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
        };
        let other = "containers: [{name: o, resources: {requests: {cpu: 500m}}, ports: [{containerPort: 1, hostPort: 80}]}]";
        let other = Arc::new(pod::tests::pod(&format!("{{spec: {{{other}}}}}")));
        let check = |spec: &str, others: usize, expected: Option<&str>| {
            let pod = pod::tests::pod(&format!("{{spec: {spec}}}"));
            let others = vec![Arc::clone(&other); others];
            let got = check(&pod, &others, &node).err().map(|verdict| verdict.reason);
            assert_eq!(got.as_deref(), expected, "{spec}");
        };
        check("{containers: [{name: a}]}", 1, None);
        check("{containers: [{name: a}]}", 2, Some("OutOfpods"));
        check("{containers: [{name: a, resources: {requests: {cpu: 1500m}}}]}", 1, None);
        check("{containers: [{name: a, resources: {requests: {cpu: 1501m}}}]}", 1, Some("OutOfcpu"));
        check("{containers: [{name: a, resources: {requests: {memory: 2Gi}}}]}", 0, Some("OutOfmemory"));
        check("{nodeSelector: {disk: hdd}, containers: [{name: a}]}", 0, Some("NodeAffinity"));
        check("{nodeSelector: {disk: ssd}, containers: [{name: a}]}", 0, None);
        let sysctl = |name: &str| {
            format!("{{securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}, containers: []}}")
        };
        check(&sysctl("net.ipv4.tcp_syncookies"), 0, None);
        check(&sysctl("kernel.msgmax"), 0, Some("SysctlForbidden"));
        let port = "{containers: [{name: a, ports: [{containerPort: 1, hostPort: 80}]}]}";
        check(port, 0, None);
        check(port, 1, Some("NodePorts"));
    }
}
