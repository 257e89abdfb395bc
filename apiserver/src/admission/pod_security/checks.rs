//! The Pod Security Standards: one function a control, each giving what violates it, worded as the original words it.
use crate::admission::array;
use knarr_api::Value;
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// How much is asked of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing that is known to lead to the host.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Display for Level {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Capabilities a container may add under baseline.
const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "",
];
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// With the version that they came with.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.tcp_wmem", 32),
];
/// Volume types allowed under restricted; `name` is no type.
const VOLUMES: [&str; 9] = [
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The version that a control came with, and the control.
type Control = (u32, fn(&Pod<'_>) -> Option<String>);

/// The newest version, whatever it is.
pub const LATEST: u32 = u32::MAX;

/// Baseline controls in the order they are told.
const BASELINE: [Control; 12] = [
    (0, app_armor),
    (0, capabilities_baseline),
    (0, host_namespaces),
    (0, host_path),
    (0, host_ports),
    (34, host_probes),
    (0, privileged),
    (0, proc_mount),
    (0, selinux),
    (19, seccomp_baseline),
    (0, sysctls),
    (0, windows_host_process),
];
/// Restricted controls; they replace the baseline ones of capabilities and seccomp.
const RESTRICTED: [Control; 6] = [
    (8, privilege_escalation),
    (22, capabilities_restricted),
    (0, restricted_volumes),
    (0, run_as_non_root),
    (23, run_as_user),
    (19, seccomp_restricted),
];

/// What violates a level of a version (the minor of Kubernetes'), control by control.
pub fn violations(pod: &Value, level: Level, minor: u32) -> Vec<String> {
    let pod = Pod { pod, spec: &pod["spec"], level, minor };
    let restricted: &[Control] = if level == Level::Restricted { &RESTRICTED } else { &[] };
    let is_there = |(since, _): &&Control| *since <= minor;
    // A stricter control takes the place of the baseline's from its version on.
    let replaced = |(_, control): &&Control| {
        [(22, capabilities_baseline as fn(&Pod<'_>) -> Option<String>), (19, seccomp_baseline)].iter().any(
            |(since, baseline)| {
                level == Level::Restricted && *since <= minor && std::ptr::fn_addr_eq(*baseline, *control)
            },
        )
    };
    let baseline = BASELINE.iter().filter(is_there).filter(|control| !replaced(control));
    baseline.chain(restricted.iter().filter(is_there)).filter_map(|(_, control)| control(&pod)).collect()
}

/// What a violation is of, without the details that follow in parentheses.
pub fn title(violation: &str) -> &str {
    violation.split_once(" (").map_or(violation, |(title, _)| title)
}

struct Pod<'a> {
    pod: &'a Value,
    spec: &'a Value,
    level: Level,
    minor: u32,
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|field| array(&spec[field]))
    }

    /// Controls of Linux alone do not count, from the version on that can tell.
    fn is_windows(&self) -> bool {
        self.minor >= 25 && self.spec["os"]["name"] == "windows"
    }

    /// Has it users of its own, so that root within is nobody outside? That counts from v1.35 on.
    fn has_own_users(&self) -> bool {
        self.minor >= 35 && self.spec["hostUsers"] == false
    }

    /// Names of the containers for which this holds.
    fn named(&self, mut holds: impl FnMut(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| holds(c)).filter_map(|c| c["name"].as_str()).collect()
    }
}

/// `container "a"`, `containers "a", "b"`.
fn listed(what: &str, names: &[&str]) -> String {
    let quoted = names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    if names.len() == 1 { format!("{what} {quoted}") } else { format!("{what}s {quoted}") }
}

fn told(title: &str, parts: &[String]) -> Option<String> {
    (!parts.is_empty()).then(|| format!("{title} ({})", parts.join("; ")))
}

fn app_armor(pod: &Pod<'_>) -> Option<String> {
    let mut parts = Vec::new();
    let bad = |context: &Value| context["appArmorProfile"]["type"] == "Unconfined";
    if bad(&pod.spec["securityContext"]) {
        parts.push("pod must not set securityContext.appArmorProfile.type to \"Unconfined\"".to_owned());
    }
    let containers = pod.named(|c| bad(&c["securityContext"]));
    if !containers.is_empty() {
        let who = listed("container", &containers);
        parts.push(format!("{who} must not set securityContext.appArmorProfile.type to \"Unconfined\""));
    }
    for (key, value) in pod.pod["metadata"]["annotations"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let allowed = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed {
            parts.push(format!("annotation {key}={value:?}"));
        }
    }
    told("forbidden AppArmor profile", &parts)
}

fn added(container: &Value) -> impl Iterator<Item = &str> {
    array(&container["securityContext"]["capabilities"]["add"]).iter().filter_map(Value::as_str)
}

fn forbidden_capabilities(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let containers = pod.named(|c| added(c).any(|cap| !allowed.contains(&cap)));
    if containers.is_empty() {
        return None;
    }
    let all: BTreeSet<&str> = pod.containers().flat_map(added).filter(|cap| !allowed.contains(cap)).collect();
    let all = all.iter().map(|cap| format!("{cap:?}")).collect::<Vec<_>>().join(", ");
    Some(format!(
        "{} must not include {all} in securityContext.capabilities.add",
        listed("container", &containers)
    ))
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<String> {
    forbidden_capabilities(pod, &CAPABILITIES).map(|text| format!("non-default capabilities ({text})"))
}

fn capabilities_restricted(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    let mut parts = Vec::new();
    let keeping =
        pod.named(|c| !array(&c["securityContext"]["capabilities"]["drop"]).iter().any(|cap| cap == "ALL"));
    if !keeping.is_empty() {
        parts.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            listed("container", &keeping)
        ));
    }
    parts.extend(forbidden_capabilities(pod, &["NET_BIND_SERVICE"]));
    told("unrestricted capabilities", &parts)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<String> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| format!("host namespaces ({})", set.join(", ")))
}

fn host_path(pod: &Pod<'_>) -> Option<String> {
    let volumes = array(&pod.spec["volumes"]).iter().filter(|v| v.get("hostPath").is_some());
    let names: Vec<&str> = volumes.filter_map(|v| v["name"].as_str()).collect();
    (!names.is_empty()).then(|| format!("hostPath volumes ({})", listed("volume", &names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<String> {
    let ports = |c: &Value| -> Vec<u64> {
        array(&c["ports"]).iter().filter_map(|p| p["hostPort"].as_u64()).filter(|p| *p > 0).collect()
    };
    let containers = pod.named(|c| !ports(c).is_empty());
    if containers.is_empty() {
        return None;
    }
    let all: BTreeSet<u64> = pod.containers().flat_map(ports).collect();
    let shown = all.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let uses = if containers.len() == 1 { "uses" } else { "use" };
    let word = if all.len() == 1 { "hostPort" } else { "hostPorts" };
    Some(format!("hostPort ({} {uses} {word} {shown})", listed("container", &containers)))
}

fn host_probes(pod: &Pod<'_>) -> Option<String> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let hosts = |c: &Value| -> Vec<String> {
        let of = |handler: &Value| {
            ["httpGet", "tcpSocket"]
                .into_iter()
                .filter_map(|kind| handler[kind]["host"].as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let found = HANDLERS.iter().filter_map(|path| c.pointer(path)).flat_map(of);
        found.filter(|host| !matches!(host.as_str(), "" | "127.0.0.1" | "::1")).collect()
    };
    let containers = pod.named(|c| !hosts(c).is_empty());
    if containers.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    let shown = all.iter().map(|host| format!("{host:?}")).collect::<Vec<_>>().join(", ");
    let uses = if containers.len() == 1 { "uses" } else { "use" };
    Some(format!(
        "probe or lifecycle host ({} {uses} probe or lifecycle hosts {shown})",
        listed("container", &containers)
    ))
}

fn privileged(pod: &Pod<'_>) -> Option<String> {
    let containers = pod.named(|c| c["securityContext"]["privileged"] == true);
    let text = || {
        format!(
            "privileged ({} must not set securityContext.privileged=true)",
            listed("container", &containers)
        )
    };
    (!containers.is_empty()).then(text)
}

fn proc_mount(pod: &Pod<'_>) -> Option<String> {
    if pod.level == Level::Baseline && pod.has_own_users() {
        return None;
    }
    let bad =
        |c: &Value| c["securityContext"]["procMount"].as_str().filter(|m| *m != "Default").map(str::to_owned);
    let containers = pod.named(|c| bad(c).is_some());
    if containers.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = pod.containers().filter_map(bad).map(|m| format!("{m:?}")).collect();
    let all = all.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!(
        "procMount ({} must not set securityContext.procMount to {all})",
        listed("container", &containers)
    ))
}

fn selinux(pod: &Pod<'_>) -> Option<String> {
    let mut faults: BTreeSet<String> = BTreeSet::new();
    let mut bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or_default().to_owned();
        let before = faults.len();
        let kind = text("type");
        let mut is_bad = false;
        let too_new = kind == "container_engine_t" && pod.minor < 31;
        if too_new || !SELINUX_TYPES.contains(&kind.as_str()) {
            faults.insert(format!("type {kind:?}"));
            is_bad = true;
        }
        for field in ["user", "role"] {
            if !text(field).is_empty() {
                faults.insert(format!("{field} may not be set"));
                is_bad = true;
            }
        }
        is_bad || faults.len() > before
    };
    let mut who = Vec::new();
    if bad(&pod.spec["securityContext"]) {
        who.push("pod".to_owned());
    }
    let containers = pod.named(|c| bad(&c["securityContext"]));
    if !containers.is_empty() {
        who.push(listed("container", &containers));
    }
    let faults = faults.into_iter().collect::<Vec<_>>().join("; ");
    (!who.is_empty()).then(|| {
        format!(
            "seLinuxOptions ({} set forbidden securityContext.seLinuxOptions: {faults})",
            who.join(" and ")
        )
    })
}

fn seccomp_type(context: &Value) -> Option<&str> {
    context["seccompProfile"]["type"].as_str()
}

fn unconfined(pod: &Pod<'_>) -> Vec<String> {
    let must_not = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    let mut parts = Vec::new();
    if seccomp_type(&pod.spec["securityContext"]) == Some("Unconfined") {
        parts.push(format!("pod {must_not}"));
    }
    let containers = pod.named(|c| seccomp_type(&c["securityContext"]) == Some("Unconfined"));
    if !containers.is_empty() {
        parts.push(format!("{} {must_not}", listed("container", &containers)));
    }
    parts
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<String> {
    told("seccompProfile", &unconfined(pod))
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    let mut parts = unconfined(pod);
    if seccomp_type(&pod.spec["securityContext"]).is_none() {
        let containers = pod.named(|c| seccomp_type(&c["securityContext"]).is_none());
        if !containers.is_empty() {
            let who = listed("container", &containers);
            let must = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
            parts.push(format!("pod or {who} {must}"));
        }
    }
    told("seccompProfile", &parts)
}

fn sysctls(pod: &Pod<'_>) -> Option<String> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && *since <= pod.minor);
    let set = array(&pod.spec["securityContext"]["sysctls"]).iter().filter_map(|s| s["name"].as_str());
    let bad: Vec<&str> = set.filter(|name| !allowed(name)).collect();
    (!bad.is_empty()).then(|| format!("forbidden sysctls ({})", bad.join(", ")))
}

fn windows_host_process(pod: &Pod<'_>) -> Option<String> {
    let bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let mut who = Vec::new();
    if bad(&pod.spec["securityContext"]) {
        who.push("pod".to_owned());
    }
    let containers = pod.named(|c| bad(&c["securityContext"]));
    if !containers.is_empty() {
        who.push(listed("container", &containers));
    }
    let who = who.join(" and ");
    (!who.is_empty())
        .then(|| format!("hostProcess ({who} must not set securityContext.windowsOptions.hostProcess=true)"))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<String> {
    if pod.is_windows() {
        return None;
    }
    let containers = pod.named(|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    let who = || listed("container", &containers);
    let text = || {
        format!(
            "allowPrivilegeEscalation != false ({} must set securityContext.allowPrivilegeEscalation=false)",
            who()
        )
    };
    (!containers.is_empty()).then(text)
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<String> {
    let kind = |v: &Value| -> Option<String> {
        v.as_object()?.keys().find(|key| !VOLUMES.contains(&key.as_str())).cloned()
    };
    let volumes: Vec<&Value> = array(&pod.spec["volumes"]).iter().filter(|v| kind(v).is_some()).collect();
    if volumes.is_empty() {
        return None;
    }
    let names: Vec<&str> = volumes.iter().filter_map(|v| v["name"].as_str()).collect();
    let kinds: BTreeSet<String> = volumes.iter().filter_map(|v| kind(v)).map(|k| format!("{k:?}")).collect();
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let word = if kinds.len() == 1 { "type" } else { "types" };
    let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!(
        "restricted volume types ({} {uses} restricted volume {word} {kinds})",
        listed("volume", &names)
    ))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<String> {
    if pod.has_own_users() {
        return None;
    }
    let by_pod = &pod.spec["securityContext"]["runAsNonRoot"];
    let mut parts = Vec::new();
    if *by_pod == false {
        parts.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    let explicit = pod.named(|c| c["securityContext"]["runAsNonRoot"] == false);
    if !explicit.is_empty() {
        parts.push(format!(
            "{} must not set securityContext.runAsNonRoot=false",
            listed("container", &explicit)
        ));
    }
    if *by_pod != true {
        let silent = pod.named(|c| c["securityContext"]["runAsNonRoot"].is_null());
        if !silent.is_empty() && parts.is_empty() {
            parts.push(format!(
                "pod or {} must set securityContext.runAsNonRoot=true",
                listed("container", &silent)
            ));
        }
    }
    told("runAsNonRoot != true", &parts)
}

fn run_as_user(pod: &Pod<'_>) -> Option<String> {
    if pod.has_own_users() {
        return None;
    }
    let mut who = Vec::new();
    if pod.spec["securityContext"]["runAsUser"] == 0 {
        who.push("pod".to_owned());
    }
    let containers = pod.named(|c| c["securityContext"]["runAsUser"] == 0);
    if !containers.is_empty() {
        who.push(listed("container", &containers));
    }
    (!who.is_empty()).then(|| format!("runAsUser=0 ({} must not set runAsUser=0)", who.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, level: Level, expected: &[&str]) {
        assert_eq!(violations(&json!({"metadata": {}, "spec": spec}), level, LATEST), expected);
    }

    #[test]
    fn baseline() {
        check(json!({"containers": [{"name": "a"}]}), Level::Baseline, &[]);
        check(
            json!({"hostNetwork": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": [
                {"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}],
                 "securityContext": {"privileged": true, "capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}}]}),
            Level::Baseline,
            &[
                "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in \
                 securityContext.capabilities.add)",
                "host namespaces (hostNetwork=true)",
                "hostPath volumes (volume \"v\")",
                "hostPort (container \"a\" uses hostPort 80)",
                "privileged (container \"a\" must not set securityContext.privileged=true)",
            ],
        );
    }

    #[test]
    fn restricted() {
        check(
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            Level::Restricted,
            &[
                "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set \
                 securityContext.allowPrivilegeEscalation=false)",
                "unrestricted capabilities (containers \"a\", \"b\" must set \
                 securityContext.capabilities.drop=[\"ALL\"])",
                "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true)",
                "seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \
                 \"RuntimeDefault\" or \"Localhost\")",
            ],
        );
        let hardened = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        check(
            json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "n", "nfs": {}}],
                "containers": [{"name": "a", "securityContext": hardened}]}),
            Level::Restricted,
            &["restricted volume types (volume \"n\" uses restricted volume type \"nfs\")"],
        );
    }

    #[test]
    fn versions() {
        let check = |spec: Value, level: Level, minor: u32, expected: usize| {
            let found = violations(&json!({"spec": spec}), level, minor);
            assert_eq!(found.len(), expected, "v1.{minor} {found:?}");
        };
        let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        check(sysctl("net.ipv4.tcp_rmem"), Level::Baseline, 31, 1);
        check(sysctl("net.ipv4.tcp_rmem"), Level::Baseline, 32, 0);
        check(sysctl("net.ipv4.tcp_syncookies"), Level::Baseline, 0, 0);
        let engine = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
        check(engine.clone(), Level::Baseline, 30, 1);
        check(engine, Level::Baseline, 31, 0);
        let probe = json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "x"}}}]});
        check(probe.clone(), Level::Baseline, 33, 0);
        check(probe, Level::Baseline, 34, 1);
        // What a bare container violates: non-root; escalation; seccomp; capabilities.
        let bare = || json!({"containers": [{"name": "a"}]});
        check(bare(), Level::Restricted, 7, 1);
        check(bare(), Level::Restricted, 8, 2);
        check(bare(), Level::Restricted, 19, 3);
        check(bare(), Level::Restricted, 22, 4);
        let mut own =
            json!({"hostUsers": false, "securityContext": {"runAsUser": 0}, "containers": [{"name": "a"}]});
        check(own.clone(), Level::Restricted, 34, 5);
        check(own.clone(), Level::Restricted, 35, 3);
        own["containers"][0]["securityContext"] = json!({"procMount": "Unmasked"});
        check(own.clone(), Level::Restricted, 35, 4);
        check(own.clone(), Level::Baseline, 34, 1);
        check(own.clone(), Level::Baseline, 35, 0);
        own["hostUsers"] = true.into();
        check(own, Level::Baseline, LATEST, 1);
        let mut windows = bare();
        windows["os"] = json!({"name": "windows"});
        check(windows.clone(), Level::Restricted, 24, 4);
        check(windows, Level::Restricted, 25, 1);
    }
}
