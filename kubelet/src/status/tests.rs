//! Statuses computed from what was observed.

use std::sync::LazyLock;

use super::*;
use crate::observed::Sandbox;
use crate::pod::tests::pod as yaml;
use crate::runtime::types::ContainerState;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

/// `name=run`, `name=CODE`; `name=ready` and `name=started` run and are so.
fn world(text: &str) -> (Observed, ProbeResults) {
    let mut observed = Observed::default();
    let mut probes = ProbeResults::default();
    if !text.starts_with('-') {
        let ips = vec!["10.0.0.5".to_owned()];
        observed.sandboxes.push(Sandbox { id: "s".into(), ready: true, ips, ..Default::default() });
    }
    for item in text.split_whitespace() {
        let Some((name, state)) = item.split_once('=') else { continue };
        let id = format!("{name}-id");
        let (state, exit_code) = match state {
            "run" | "ready" | "started" => {
                if state != "run" {
                    probes.started.insert(id.clone());
                }
                if state == "ready" {
                    probes.ready.insert(id.clone());
                }
                (ContainerState::Running, 0)
            }
            code => (ContainerState::Exited, code.parse().expect("code")),
        };
        observed.containers.push(crate::observed::Container {
            id,
            sandbox: "s".into(),
            name: name.into(),
            restarts: 2,
            state,
            created: at(1),
            started: at(1),
            finished: at(2),
            exit_code,
            reason: String::new(),
            message: String::new(),
            image: "img".into(),
            image_id: "sha".into(),
            user: None,
            hash: String::new(),
            log_path: String::new(),
            message_path: None,
            message_from_logs: false,
        });
    }
    (observed, probes)
}

type Nothing = (Observed, ProbeResults, BTreeMap<String, Waiting>, Resize, Vec<String>);

/// What a status of a pod is computed from, when nothing is observed.
fn inputs(pod: &Pod) -> Inputs<'_> {
    static NOTHING: LazyLock<Nothing> = LazyLock::new(|| {
        (
            Default::default(),
            Default::default(),
            BTreeMap::new(),
            Resize::default(),
            vec!["1.2.3.4".to_owned()],
        )
    });
    let (observed, probes, waiting, resize, host_ips) = &*NOTHING;
    let (verdict, ended, runtime, now) = (None, false, "containerd", at(100));
    Inputs { pod, observed, probes, waiting, resize, host_ips, verdict, ended, runtime, now }
}

fn status(manifest: &str, seen: &str, waiting: &[(&str, &str)], ended: bool) -> PodStatus {
    let pod = yaml(manifest);
    let (observed, probes) = world(seen);
    let waiting = waiting
        .iter()
        .map(|(name, reason)| {
            ((*name).to_owned(), Waiting { reason: (*reason).to_owned(), message: String::new() })
        })
        .collect();
    compute(&Inputs { observed: &observed, probes: &probes, waiting: &waiting, ended, ..inputs(&pod) })
}

const ONE: &str = "{spec: {containers: [{name: a}]}}";
const NEVER: &str = "{spec: {restartPolicy: Never, containers: [{name: a}, {name: b}]}}";
const INIT: &str = "{spec: {initContainers: [{name: i}], containers: [{name: a}]}}";
const INIT_NEVER: &str =
    "{spec: {restartPolicy: Never, initContainers: [{name: i}], containers: [{name: a}]}}";
const INIT_ALL: &str = "{spec: {restartPolicy: Never, initContainers: [{name: i, restartPolicy: Never,
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]}],
    containers: [{name: a}]}}";

#[test]
fn phases() {
    let check = |manifest: &str, seen: &str, ended: bool, expected: &str| {
        let got = status(manifest, seen, &[], ended);
        assert_eq!(got.phase.as_deref(), Some(expected), "{manifest} {seen}");
    };
    check(ONE, "-", false, "Pending");
    check(ONE, " ", false, "Pending");
    check(ONE, " a=run", false, "Running");
    check(ONE, " a=1", false, "Running");
    check(ONE, " a=0", true, "Succeeded");
    check(NEVER, " a=0 b=run", false, "Running");
    check(NEVER, " a=0 b=0", true, "Succeeded");
    check(NEVER, " a=0 b=3", true, "Failed");
    check(INIT, " i=run", false, "Pending");
    check(INIT, " i=1", false, "Pending");
    check(INIT, " i=0", false, "Pending");
    check(INIT, " i=0 a=run", false, "Running");
    check(INIT_NEVER, " i=1", false, "Failed");
    check(INIT_ALL, " i=42", false, "Pending");
    check(INIT_ALL, " i=1", false, "Failed");
    check("{status: {phase: Failed}, spec: {containers: [{name: a}]}}", " a=run", false, "Failed");
}

#[test]
fn crash_loops_show_the_last_end() {
    let got = status(ONE, " a=1", &[("a", "CrashLoopBackOff")], false);
    assert_eq!(got.phase.as_deref(), Some("Running"));
    let container = &got.container_statuses.expect("statuses")[0];
    let state = container.state.as_ref().expect("state");
    assert_eq!(state.waiting.as_ref().and_then(|w| w.reason.as_deref()), Some("CrashLoopBackOff"));
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref()).expect("last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(container.restart_count, 2);
    assert_eq!(container.container_id.as_deref(), Some("containerd://a-id"));
}

#[test]
fn waiting_reasons() {
    let reason = |manifest: &str, seen: &str, waiting: &[(&str, &str)]| {
        let got = status(manifest, seen, waiting, false).container_statuses.expect("statuses");
        got[0]
            .state
            .as_ref()
            .and_then(|s| s.waiting.as_ref())
            .and_then(|w| w.reason.clone())
            .unwrap_or_default()
    };
    assert_eq!(reason(ONE, " ", &[]), "ContainerCreating");
    assert_eq!(reason(INIT, " ", &[]), "PodInitializing");
    assert_eq!(reason(ONE, " ", &[("a", "ErrImagePull")]), "ErrImagePull");
}

#[test]
fn conditions_follow_containers() {
    let check = |manifest: &str, seen: &str, ended: bool, expected: &str| {
        let got = status(manifest, seen, &[], ended).conditions.expect("conditions");
        let text: Vec<_> = got
            .iter()
            .map(|c| {
                let short: String = c.type_.chars().filter(char::is_ascii_uppercase).collect();
                format!(
                    "{short}={}{}",
                    &c.status[..1],
                    c.reason.as_ref().map(|r| format!(":{r}")).unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(text.join(" "), expected, "{manifest} {seen}");
    };
    check(ONE, "-", false, "PRTSC=F I=T R=F:ContainersNotReady CR=F:ContainersNotReady PS=T");
    check(ONE, " a=ready", false, "PRTSC=T I=T R=T CR=T PS=T");
    check(ONE, " a=started", false, "PRTSC=T I=T R=F:ContainersNotReady CR=F:ContainersNotReady PS=T");
    check(
        INIT,
        " i=run",
        false,
        "PRTSC=T I=F:ContainersNotInitialized R=F:ContainersNotReady CR=F:ContainersNotReady PS=T",
    );
    check(NEVER, " a=0 b=0", true, "PRTSC=F I=T:PodCompleted R=F:PodCompleted CR=F:PodCompleted PS=T");
    let gated = "{spec: {readinessGates: [{conditionType: example.com/x}], containers: [{name: a}]}}";
    check(gated, " a=ready", false, "PRTSC=T I=T R=F:ReadinessGatesNotReady CR=T PS=T");
}

#[test]
fn addresses_and_times() {
    let got = status(ONE, " a=ready", &[], false);
    assert_eq!(got.pod_ip.as_deref(), Some("10.0.0.5"));
    assert_eq!(got.host_ip.as_deref(), Some("1.2.3.4"));
    assert_eq!(got.start_time, Some(Time(at(100))));
    assert_eq!(got.qos_class.as_deref(), Some("BestEffort"));
    let host = status("{spec: {hostNetwork: true, containers: [{name: a}]}}", " ", &[], false);
    assert_eq!(host.pod_ip.as_deref(), Some("1.2.3.4"));
}

#[test]
fn all_run_again_after_an_init_container() {
    let mut pod = yaml(INIT_ALL);
    let mut step = |seen: &str| {
        let (observed, probes) = world(seen);
        let status = compute(&Inputs { observed: &observed, probes: &probes, ..inputs(&pod) });
        let init = status.init_container_statuses.clone().unwrap_or_default().remove(0);
        let last = init.last_state.and_then(|state| state.terminated).map(|ended| ended.exit_code);
        let condition = status.conditions.iter().flatten().find(|one| one.type_ == "AllContainersRestarting");
        let told =
            (status.phase.clone().unwrap_or_default(), condition.expect("condition").status.clone(), last);
        pod.status = Some(status);
        told
    };
    let told = |phase: &str, restarting: &str, last| (phase.to_owned(), restarting.to_owned(), last);
    assert_eq!(step(" i=42"), told("Pending", "True", None));
    assert_eq!(step(" "), told("Pending", "False", Some(42)), "all are removed");
    assert_eq!(step(" i=run"), told("Pending", "False", Some(42)));
    assert_eq!(step(" i=0 a=run"), told("Running", "False", Some(42)));
}

#[test]
fn last_words_share_a_limit() {
    let check = |containers: &[&str], length: usize, expected: usize| {
        let all: Vec<_> = containers.iter().map(|name| format!("{{name: {name}}}")).collect();
        let pod =
            yaml(&format!("{{spec: {{initContainers: [{{name: i}}], containers: [{}]}}}}", all.join(", ")));
        let (mut observed, _) =
            world(&containers.iter().map(|name| format!(" {name}=1")).collect::<String>());
        for container in &mut observed.containers {
            container.message = "é".repeat(length / 2);
        }
        let status = compute(&Inputs { observed: &observed, ..inputs(&pod) });
        for one in status.container_statuses.expect("statuses") {
            let message = one.state.and_then(|state| state.terminated).and_then(|ended| ended.message);
            assert_eq!(message.map(|text| text.len()), Some(expected), "{containers:?} {length}");
        }
    };
    check(&["a"], 4096, 4096);
    check(&["a", "b", "c", "d", "e"], 4096, 2048);
    check(&["a", "b", "c", "d", "e"], 100, 100);
    // No half of a letter is left.
    check(&["a", "b", "c", "d", "e", "f"], 4096, 1754);
}

#[test]
fn containers_are_told_by_name() {
    let got = status(
        "{spec: {initContainers: [{name: z}, {name: y}], containers: [{name: b}, {name: a}]}}",
        " ",
        &[],
        false,
    );
    let names = |list: Option<Vec<ContainerStatus>>| -> Vec<String> {
        list.unwrap_or_default().into_iter().map(|one| one.name).collect()
    };
    assert_eq!(names(got.init_container_statuses), ["z", "y"]);
    assert_eq!(names(got.container_statuses), ["a", "b"]);
}
