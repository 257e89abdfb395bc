//! Rules of what belongs to one operating system only.
use super::super::cursor::At;

/// Members of the pod's security context that Linux alone knows.
const LINUX_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "hostUsers",
    "fsGroup",
    "fsGroupChangePolicy",
    "seccompProfile",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];
const LINUX_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];
const SIGNALS: [&str; 12] = [
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT",
    "SIGTERM", "SIGUSR1", "SIGUSR2",
];

fn containers<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| spec.get(list).items().collect::<Vec<_>>())
        .collect()
}

/// `os` and what it forbids.
pub(super) fn os(spec: &At<'_>) {
    let Some(os) = spec.find("os") else { return stop_signals(spec, "") };
    let name = os.get("name");
    name.need_one_of(&["linux", "windows"]);
    let contexts = containers(spec).into_iter().map(|container| container.get("securityContext"));
    match name.text() {
        "linux" => {
            for context in std::iter::once(spec.get("securityContext")).chain(contexts) {
                if let Some(options) = context.find("windowsOptions") {
                    options.forbidden("windows options cannot be set for a linux pod");
                }
            }
        }
        "windows" => {
            let words = |member: &At<'_>| member.forbidden("cannot be set for a windows pod");
            for name in ["hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
                if spec.get(name).is_true() || name == "hostUsers" && spec.get(name).is_set() {
                    spec.get(name).forbidden("cannot be set for a windows pod");
                }
            }
            let context = spec.get("securityContext");
            LINUX_CONTEXT.iter().filter_map(|name| context.find(name)).for_each(|m| words(&m));
            for context in contexts {
                LINUX_CONTAINER.iter().filter_map(|name| context.find(name)).for_each(|m| words(&m));
            }
        }
        _ => {}
    }
    stop_signals(spec, name.text());
}

/// A signal means something only where the system is known.
fn stop_signals(spec: &At<'_>, os: &str) {
    for container in containers(spec) {
        let Some(signal) = container.get("lifecycle").find("stopSignal") else { continue };
        let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b);
        // Linux numbers many signals without names of their own, as SIGRTMIN+1.
        let known = SIGNALS.contains(&signal.text())
            || signal.text().starts_with("SIG") && signal.text().bytes().all(good);
        match os {
            "" => signal.forbidden("may not be set for containers with empty `spec.os.name`"),
            "windows" if !matches!(signal.text(), "SIGTERM" | "SIGKILL") => {
                signal.not_supported(&["SIGKILL", "SIGTERM"]);
            }
            "linux" if !known => signal.not_supported(&SIGNALS),
            _ => {}
        }
    }
}
