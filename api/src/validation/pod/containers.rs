//! Rules of containers: the three lists of a pod, and everything inside one container.
use super::super::cursor::At;
use super::super::resources;
use super::volumes::Volume;
use super::{Place, env, mounts, security};
use crate::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// Members that an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 7] =
    ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources", "resizePolicy"];

/// All containers of a pod specification.
pub(super) fn all(spec: &At<'_>, volumes: &[Volume<'_>], place: Place) {
    let list = spec.get("containers");
    if list.is_empty() {
        list.required("");
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut host_ports: Vec<String> = Vec::new();
    let host_network = spec.get("hostNetwork").is_true();
    for container in list.items() {
        container_name(&container, &mut seen);
        one(&container, volumes, place);
        probes_and_hooks(&container, spec);
        ports(&container.get("ports"), host_network, &mut host_ports);
    }
    for container in spec.get("initContainers").items() {
        container_name(&container, &mut seen);
        one(&container, volumes, place);
        ports(&container.get("ports"), host_network, &mut Vec::new());
        if container.get("restartPolicy").text() == "Always" {
            probes_and_hooks(&container, spec);
            continue;
        }
        for member in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(found) = container.find(member) {
                found.forbidden("may not be set for init containers without restartPolicy=Always");
            }
        }
    }
    for container in spec.get("ephemeralContainers").items() {
        container_name(&container, &mut seen);
        one(&container, volumes, place);
        for member in NOT_EPHEMERAL.iter().filter_map(|name| container.find(name)).filter(|m| !m.is_empty()) {
            member.forbidden("cannot be set for an Ephemeral Container");
        }
        let target = container.get("targetContainerName");
        if !target.is_empty()
            && !spec.get("containers").items().any(|c| c.get("name").text() == target.text())
        {
            target.not_found();
        }
    }
}

fn container_name<'a>(container: &At<'a>, seen: &mut Vec<&'a str>) {
    let name = container.get("name");
    name.required_format(names::dns_label);
    if !name.is_empty() && seen.contains(&name.text()) {
        name.duplicate();
    }
    seen.push(name.text());
}

/// What all sorts of containers have in common.
fn one(container: &At<'_>, volumes: &[Volume<'_>], place: Place) {
    let image = container.get("image");
    if image.is_empty() {
        image.required("");
    } else if place == Place::Pod && image.text().trim() != image.text() {
        image.invalid("must not have leading or trailing whitespace");
    }
    container.get("terminationMessagePolicy").need_one_of(&["FallbackToLogsOnError", "File"]);
    container.get("env").items().for_each(|variable| env::env(&variable, volumes));
    env::env_from(&container.get("envFrom"));
    mounts::mounts(container, volumes);
    container.get("imagePullPolicy").need_one_of(&["Always", "IfNotPresent", "Never"]);
    resources::container(&container.get("resources"));
    container.get("resizePolicy").unique("resourceName");
    for policy in container.get("resizePolicy").items() {
        policy.get("resourceName").need_one_of(&["cpu", "memory"]);
        policy.get("restartPolicy").need_one_of(&["NotRequired", "RestartContainer"]);
    }
    security::container(&container.get("securityContext"));
    restart_rules(container);
}

/// A container's own restart policy and what its exit codes change of it.
fn restart_rules(container: &At<'_>) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    policy.one_of_if_set(&["Always", "Never", "OnFailure"]);
    if rules.is_empty() {
        return;
    }
    if !policy.is_set() {
        policy.required("must specify restartPolicy when restart rules are used");
    }
    rules.at_most(20);
    for rule in rules.items() {
        rule.get("action").need_one_of(&["Restart", "RestartAllContainers"]);
        let codes = rule.get("exitCodes");
        if codes.need() {
            codes.get("operator").need_one_of(&["In", "NotIn"]);
            codes.get("values").at_most(255);
        }
    }
}

fn ports(ports: &At<'_>, host_network: bool, taken: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            name.format(names::port_name);
            if seen.contains(&name.text()) {
                name.duplicate();
            }
            seen.push(name.text());
        }
        let (number, host) = (port.get("containerPort"), port.get("hostPort"));
        match number.int().unwrap_or(0) {
            0 => number.required(""),
            _ => number.port(),
        }
        port.get("protocol").need_one_of(&PROTOCOLS);
        let Some(host_port) = host.int().filter(|port| *port != 0) else { continue };
        host.port();
        if host_network && number.int() != Some(host_port) {
            number.invalid("must match `hostPort` when `hostNetwork` is true");
        }
        let key = format!("{}/{}/{host_port}", port.get("protocol").text(), port.get("hostIP").text());
        if taken.contains(&key) {
            host.duplicate_text(&key);
        }
        taken.push(key);
    }
}

fn probes_and_hooks(container: &At<'_>, spec: &At<'_>) {
    let grace = spec.get("terminationGracePeriodSeconds").int().unwrap_or(30);
    for hook in ["lifecycle.postStart", "lifecycle.preStop"].map(|name| container.get(name)) {
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.find(name) else { continue };
        handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace);
        let numbers = [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ];
        for number in numbers {
            probe.get(number).not_negative();
        }
        let own_grace = probe.get("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if own_grace.is_set() {
                own_grace.invalid("must not be set for readinessProbes");
            }
            continue;
        }
        own_grace.positive();
        let threshold = probe.get("successThreshold");
        if threshold.int().is_some_and(|n| n != 1) {
            threshold.invalid("must be 1");
        }
    }
}

/// Exactly one way of asking or acting.
fn handler(at: &At<'_>, members: &[&str], grace: i64) {
    at.exactly_one(members, "may not specify more than 1 handler type", "must specify a handler type");
    if let Some(exec) = at.find("exec") {
        exec.get("command").need();
    }
    if let Some(http) = at.find("httpGet") {
        http.get("path").need();
        http.get("port").port_or_name();
        http.get("scheme").one_of(&["HTTP", "HTTPS"]);
        for header in http.get("httpHeaders").items() {
            http.get("httpHeaders").with(header.get("name").value()).format(names::http_header_name);
        }
    }
    if let Some(tcp) = at.find("tcpSocket") {
        tcp.get("port").port_or_name();
    }
    if let Some(grpc) = at.find("grpc") {
        grpc.get("port").port();
    }
    if let Some(sleep) = at.find("sleep") {
        let seconds = sleep.get("seconds");
        if !(0..=grace).contains(&seconds.int().unwrap_or(0)) {
            sleep.with(seconds.value()).invalid(format!(
                "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            ));
        }
    }
}
