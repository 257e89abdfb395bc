//! Statuses computed from what was observed.

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
            hash: String::new(),
            log_path: String::new(),
            message_path: None,
            message_from_logs: false,
        });
    }
    (observed, probes)
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
    compute(&Inputs {
        pod: &pod,
        observed: &observed,
        probes: &probes,
        waiting: &waiting,
        resize: &Resize::default(),
        host_ips: &["1.2.3.4".to_owned()],
        verdict: None,
        ended,
        runtime: "containerd",
        now: at(100),
    })
}

const ONE: &str = "{spec: {containers: [{name: a}]}}";
const NEVER: &str = "{spec: {restartPolicy: Never, containers: [{name: a}, {name: b}]}}";
const INIT: &str = "{spec: {initContainers: [{name: i}], containers: [{name: a}]}}";
const INIT_NEVER: &str =
    "{spec: {restartPolicy: Never, initContainers: [{name: i}], containers: [{name: a}]}}";

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
