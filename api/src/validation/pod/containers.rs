//! Rules of containers: the three lists of a pod, and everything inside one container.
use super::super::cursor::At;
use super::super::resources;
use super::volumes::Volume;
use super::{Place, security};
use crate::names;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Field labels that pods know, though not every place may use each.
const POD_FIELDS: [&str; 19] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.host",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.qosClass",
    "status.reason",
];
const RESOURCE_FIELDS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
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
    container.get("env").items().for_each(|variable| env(&variable));
    env_from(&container.get("envFrom"));
    mounts(container, volumes);
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

fn env(variable: &At<'_>) {
    variable.get("name").required_format(names::env_var_name);
    let Some(from) = variable.find("valueFrom") else { return };
    let mut sources = 0;
    if let Some(source) = from.find("fieldRef") {
        sources += 1;
        field_ref(&source, &ENV_FIELDS);
    }
    if let Some(source) = from.find("resourceFieldRef") {
        sources += 1;
        resource_field_ref(&source, false);
    }
    for source in ["configMapKeyRef", "secretKeyRef"].iter().filter_map(|name| from.find(name)) {
        sources += 1;
        source.get("name").need();
        source.get("key").required_format(names::config_map_key);
    }
    sources += usize::from(from.find("fileKeyRef").is_some());
    if sources == 0 {
        from.invalid_text(
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if !variable.get("value").is_empty() {
        from.invalid_text("", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        from.invalid_text("", "may not have more than one field specified at a time");
    }
}

fn env_from(list: &At<'_>) {
    for source in list.items() {
        source.get("prefix").format_if_set(names::env_var_name);
        let set: Vec<At<'_>> =
            ["configMapRef", "secretRef"].iter().filter_map(|name| source.find(name)).collect();
        set.iter().for_each(|reference| {
            reference.get("name").need();
        });
        match set.len() {
            1 => {}
            0 => list.invalid_text("", "must specify one of: `configMapRef` or `secretRef`"),
            _ => list.invalid_text("", "may not have more than one field specified at a time"),
        }
    }
}

/// A reference to one of some fields of the pod, or to one of its labels or annotations.
pub(super) fn field_ref(reference: &At<'_>, fields: &[&str]) {
    reference.get("apiVersion").need();
    let path = reference.get("fieldPath");
    if !path.need() {
        return;
    }
    let text = path.text();
    if let Some((head, key)) = text.strip_suffix("']").and_then(|t| t.split_once("['")) {
        let faults = match head {
            "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
            "metadata.labels" => names::qualified_name(key),
            _ => {
                reference.invalid_text(head, "does not support subscript");
                return;
            }
        };
        faults.into_iter().for_each(|fault| reference.invalid_text(key, fault));
    } else if !POD_FIELDS.contains(&text) {
        path.invalid(format!("error converting fieldPath: field label not supported: {text}"));
    } else if !fields.contains(&text) {
        let mut supported = fields.to_vec();
        supported.sort_unstable();
        path.not_supported(&supported);
    }
}

/// A reference to an amount of a container's resources.
pub(super) fn resource_field_ref(reference: &At<'_>, volume: bool) {
    let resource = reference.get("resource");
    if volume && !reference.get("containerName").need() || !resource.need() {
        return;
    }
    let text = resource.text();
    let huge = text.starts_with("limits.hugepages-") || text.starts_with("requests.hugepages-");
    if !RESOURCE_FIELDS.contains(&text) && !huge {
        resource.not_supported(&RESOURCE_FIELDS);
    }
    let divisor = reference.get("divisor");
    let Some(unit) = divisor.quantity().filter(|unit| !unit.is_zero()).map(|unit| unit.to_string()) else {
        return;
    };
    let name = text.split_once('.').map_or(text, |(_, name)| name);
    let sizes = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if name == "cpu" {
        if !["1m", "1"].contains(&unit.as_str()) {
            divisor.invalid_text(name, "only divisor's values 1m and 1 are supported with the cpu resource");
        }
    } else if !sizes.contains(&unit.as_str()) {
        let sizes = sizes.join(", ");
        divisor.invalid_text(
            name,
            format!("only divisor's values {sizes} are supported with the {name} resource"),
        );
    }
}

fn mounts(container: &At<'_>, volumes: &[Volume<'_>]) {
    let mut paths: Vec<&str> = Vec::new();
    let devices: Vec<(&str, &str)> = container
        .get("volumeDevices")
        .items()
        .map(|device| (device.get("name").text(), device.get("devicePath").text()))
        .collect();
    for mount in container.get("volumeMounts").items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.need() && !volumes.iter().any(|v| v.name == name.text()) {
            name.not_found();
        }
        if path.need() && paths.contains(&path.text()) {
            path.invalid("must be unique");
        }
        paths.push(path.text());
        if devices.iter().any(|(device, _)| *device == name.text()) {
            name.invalid("must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == path.text()) {
            path.invalid("must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        local_descending_path(&sub);
        if !expression.is_empty() {
            if !sub.is_empty() {
                expression.invalid("subPathExpr and subPath are mutually exclusive");
            }
            local_descending_path(&expression);
        }
        propagation(&mount, container);
        recursive_read_only(&mount);
    }
    let mut device_paths: Vec<&str> = Vec::new();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.need() {
            match volumes.iter().find(|v| v.name == name.text()) {
                None => name.not_found(),
                Some(volume) if !volume.block => name.invalid(
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ),
                Some(_) => {}
            }
        }
        if path.need() {
            if device_paths.contains(&path.text()) {
                path.invalid("must be unique");
            }
            no_backsteps(&path);
        }
        device_paths.push(path.text());
    }
}

fn propagation(mount: &At<'_>, container: &At<'_>) {
    let propagation = mount.get("mountPropagation");
    propagation.one_of_if_set(&["Bidirectional", "HostToContainer", "None"]);
    let privileged = container.get("securityContext.privileged").is_true();
    if propagation.text() == "Bidirectional" && !privileged {
        propagation.forbidden("Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursive_read_only(mount: &At<'_>) {
    let recursive = mount.get("recursiveReadOnly");
    recursive.one_of_if_set(&["Disabled", "Enabled", "IfPossible"]);
    if !matches!(recursive.text(), "Enabled" | "IfPossible") {
        return;
    }
    if !mount.get("readOnly").is_true() {
        recursive.forbidden("may only be specified when readOnly is true");
    }
    if !matches!(mount.get("mountPropagation").text(), "" | "None") {
        recursive.forbidden("may only be specified when mountPropagation is None or not specified");
    }
}

/// A relative path that does not leave its place.
pub(super) fn local_descending_path(path: &At<'_>) {
    if path.text().starts_with('/') {
        path.invalid("must be a relative path");
    }
    no_backsteps(path);
}

pub(in super::super) fn no_backsteps(path: &At<'_>) {
    if path.text().split('/').any(|part| part == "..") {
        path.invalid("must not contain '..'");
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
