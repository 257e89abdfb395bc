//! The next steps of pods in every state.

use super::*;
use crate::observed::Sandbox;
use crate::pod::tests::pod as yaml;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

fn sandbox(ready: bool) -> Sandbox {
    Sandbox { id: "s".into(), ready, ips: vec!["10.0.0.2".into()], ..Default::default() }
}

fn container(pod: &Pod, name: &str, state: ContainerState, exit_code: i32) -> observed::Container {
    observed::Container {
        id: format!("{name}-id"),
        sandbox: "s".into(),
        name: name.into(),
        restarts: 0,
        state,
        created: at(1),
        started: at(1),
        finished: at(2),
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: String::new(),
        image_id: String::new(),
        user: None,
        hash: pod::find_container(pod, name).map(|c| pod::container_hash(&c)).unwrap_or_default(),
        log_path: String::new(),
        message_path: None,
        message_from_logs: false,
    }
}

/// A world in few letters: `a=run`, `a=0` (exited with 0), `a=made`; `!` is a dead sandbox, `-` none; `~a=0` was in a
/// sandbox before.
fn world(pod: &Pod, text: &str) -> Observed {
    let mut observed = Observed::default();
    match text.chars().next() {
        Some('-') | None => {}
        Some('!') => observed.sandboxes.push(sandbox(false)),
        _ => observed.sandboxes.push(sandbox(true)),
    }
    for item in text.trim_start_matches(['-', '!']).split_whitespace() {
        let Some((name, state)) = item.split_once('=') else { continue };
        let (state, code) = match state {
            "run" => (ContainerState::Running, 0),
            "made" => (ContainerState::Created, 0),
            code => (ContainerState::Exited, code.parse().expect("exit code")),
        };
        let mut seen = container(pod, name.trim_start_matches('~'), state, code);
        if name.starts_with('~') {
            seen.sandbox = "before".to_owned();
        }
        observed.containers.push(seen);
    }
    observed
}

fn summary(plan: &Plan) -> String {
    let mut words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::StopSandbox { .. } => "stop-sandbox".to_owned(),
            Action::CreateSandbox { attempt } => format!("sandbox#{attempt}"),
            Action::StopContainer { name, .. } => format!("stop:{name}"),
            Action::RemoveContainer { .. } => "remove".to_owned(),
            Action::StartContainer { name } => format!("start:{name}"),
        })
        .collect();
    words.extend(plan.waiting.keys().map(|name| format!("wait:{name}")));
    if plan.ended {
        words.push("ended".to_owned());
    }
    words.join(" ")
}

const TWO: &str = "{spec: {containers: [{name: a}, {name: b}]}}";
const TWO_NEVER: &str = "{spec: {restartPolicy: Never, containers: [{name: a}, {name: b}]}}";
const TWO_ON_FAILURE: &str = "{spec: {restartPolicy: OnFailure, containers: [{name: a}, {name: b}]}}";
const INIT: &str = "{spec: {initContainers: [{name: i}, {name: j}], containers: [{name: a}]}}";
const INIT_NEVER: &str =
    "{spec: {restartPolicy: Never, initContainers: [{name: i}, {name: j}], containers: [{name: a}]}}";
const SIDECAR: &str =
    "{spec: {restartPolicy: Never, initContainers: [{name: s, restartPolicy: Always}, {name: i}],
    containers: [{name: a}]}}";
const SIDECAR_ALWAYS: &str =
    "{spec: {initContainers: [{name: s, restartPolicy: Always}, {name: i}], containers: [{name: a}]}}";
const ALL: &str =
    "{spec: {restartPolicy: Never, initContainers: [{name: i}], containers: [{name: a}, {name: b,
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [88]}}]}]}}";
const ALL_INIT: &str = "{spec: {restartPolicy: Never, initContainers: [{name: s, restartPolicy: Always}, {name: i},
    {name: j, restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In,
    values: [42]}}]}], containers: [{name: a}]}}";
const ALL_BEGUN: &str = "{spec: {initContainers: [{name: i}], containers: [{name: a, restartPolicyRules:
    [{action: RestartAllContainers, exitCodes: {operator: In, values: [88]}}]}]},
    status: {conditions: [{type: AllContainersRestarting, status: 'True'}]}}";
const RULES: &str = "{spec: {restartPolicy: Never, containers: [{name: a, restartPolicy: Never,
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]}]}}";

#[test]
fn next_steps() {
    let check = |manifest: &str, seen: &str, expected: &str| {
        let pod = yaml(manifest);
        let observed = world(&pod, seen);
        let started = observed.running().map(|c| c.id.clone()).collect();
        let probes = ProbeResults { started, ..Default::default() };
        let inputs = Inputs {
            pod: &pod,
            observed: &observed,
            probes: &probes,
            backoff: &Backoff::default(),
            now: at(9),
        };
        assert_eq!(summary(&plan(&inputs)), expected, "{manifest} seen as {seen:?}");
    };
    // Sandboxes.
    check(TWO, "-", "sandbox#0");
    check(TWO, "!", "sandbox#1");
    check(TWO, "! a=run", "stop-sandbox sandbox#1");
    check(TWO, "! a=0 b=0", "sandbox#1");
    check(TWO_NEVER, "! a=0 b=137", "ended");
    check(TWO_NEVER, "!", "sandbox#1");
    check(TWO_ON_FAILURE, "! a=0 b=0", "ended");
    check(TWO_ON_FAILURE, "! a=0 b=1", "sandbox#1");
    // Init containers run again in a new sandbox.
    check(INIT, "! i=0 j=0 a=137", "sandbox#1");
    check(INIT, " ~i=0 ~j=0 ~a=137", "start:i");
    check(INIT, " i=0 ~j=0 ~a=137", "start:j");
    check(INIT, " i=0 j=0 ~a=137", "start:a");
    check(INIT, " i=0 j=0 a=run", "");
    check(INIT_NEVER, "! i=0 j=0 a=137", "ended");
    check(SIDECAR_ALWAYS, " ~s=137 ~i=0 ~a=137", "start:s");
    check(SIDECAR_ALWAYS, " s=run ~i=0 ~a=137", "start:i");
    // All containers run again when one ends as a rule says.
    check(ALL, " i=0 a=run b=run", "");
    check(ALL, " i=0 a=run b=1", "");
    check(ALL, " i=0 a=run b=88", "stop:a remove remove remove");
    check(ALL, " i=0 a=0 b=88", "remove remove remove");
    check(ALL, " b=88", "remove");
    check(ALL, " ", "start:i");
    check(ALL_INIT, " s=run i=0 j=42", "stop:s remove remove remove");
    check(ALL_INIT, " s=run i=0 j=0", "start:a");
    check(ALL_INIT, " s=run i=0 j=1", "ended");
    check(ALL_BEGUN, " a=run", "stop:a remove");
    check(ALL_BEGUN, " ", "start:i");
    // App containers and restart policies.
    check(TWO, " ", "start:a start:b");
    check(TWO, " a=run b=run", "");
    check(TWO, " a=run b=0", "start:b");
    check(TWO, " a=run b=made", "remove start:b");
    check(TWO_NEVER, " a=run b=1", "");
    check(TWO_NEVER, " a=0 b=1", "ended");
    check(TWO_ON_FAILURE, " a=0 b=1", "start:b");
    check(TWO_ON_FAILURE, " a=0 b=0", "ended");
    check(RULES, " a=42", "start:a");
    check(RULES, " a=41", "ended");
    // Init containers.
    check(INIT, " ", "start:i");
    check(INIT, " i=run", "");
    check(INIT, " i=0", "start:j");
    check(INIT, " i=0 j=1", "start:j");
    check(INIT, " i=0 j=0", "start:a");
    check(INIT, " a=run", "");
    check(INIT, " i=1 j=1 a=1", "start:a");
    check(INIT_NEVER, " i=0 j=1", "ended");
    // Sidecars.
    check(SIDECAR, " ", "start:s");
    check(SIDECAR, " s=run", "start:i");
    check(SIDECAR, " s=1", "start:s");
    check(SIDECAR, " s=1 i=run", "start:s");
    check(SIDECAR, " s=run i=0", "start:a");
    check(SIDECAR, " s=0 i=0 a=run", "start:s");
    check(SIDECAR, " s=run i=0 a=0", "ended");
    check(SIDECAR, " s=1 i=0 a=0", "ended");
}

#[test]
fn probes_and_changes_restart() {
    let pod = yaml(TWO);
    let mut observed = world(&pod, " a=run b=run");
    let mut probes = ProbeResults::default();
    probes.liveness_failed.insert("a-id".to_owned());
    let backoff = Backoff::default();
    let inputs = Inputs { pod: &pod, observed: &observed, probes: &probes, backoff: &backoff, now: at(9) };
    let made = plan(&inputs);
    assert_eq!(summary(&made), "stop:a");
    let Action::StopContainer { message, .. } = &made.actions[0] else { panic!("{made:?}") };
    assert_eq!(message, "Container a failed liveness probe, will be restarted");

    observed.containers[1].hash = "old".to_owned();
    let probes = ProbeResults::default();
    let inputs = Inputs { pod: &pod, observed: &observed, probes: &probes, backoff: &backoff, now: at(9) };
    assert_eq!(summary(&plan(&inputs)), "stop:b start:b");
}

#[test]
fn init_containers_run_to_their_end() {
    let pod = yaml(INIT);
    let mut observed = world(&pod, " i=run");
    observed.containers[0].hash = "old".to_owned();
    let (probes, backoff) = (ProbeResults::default(), Backoff::default());
    let inputs = Inputs { pod: &pod, observed: &observed, probes: &probes, backoff: &backoff, now: at(9) };
    assert_eq!(summary(&plan(&inputs)), "");
}

#[test]
fn crash_loops_wait() {
    let pod = yaml(TWO);
    let observed = world(&pod, " a=run b=1");
    let mut backoff = Backoff::default();
    let crashed = pod::find_container(&pod, "b").expect("container");
    backoff.advance(&pod::crash_key(&crashed), at(1), at(1));
    let probes = ProbeResults::default();
    let inputs = Inputs { pod: &pod, observed: &observed, probes: &probes, backoff: &backoff, now: at(5) };
    let made = plan(&inputs);
    assert_eq!(summary(&made), "wait:b");
    assert_eq!(made.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(made.waiting["b"].message, "back-off 10s restarting failed container=b pod=_default()");

    let repaired = yaml(&TWO.replace("name: b", "name: b, image: repaired"));
    let inputs = Inputs { pod: &repaired, ..inputs };
    assert_eq!(summary(&plan(&inputs)), "start:b", "it is another container now");
}

#[test]
fn stops_sidecars_last_and_backwards() {
    let pod = yaml(
        "{spec: {initContainers: [{name: s, restartPolicy: Always}, {name: t, restartPolicy: Always}],
            containers: [{name: a}, {name: b}]}}",
    );
    let check = |seen: &str, expected: &[&str]| {
        let observed = world(&pod, seen);
        let names: Vec<_> = stop::next_to_stop(&pod, &observed).iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, expected, "{seen}");
    };
    check(" s=run t=run a=run b=run", &["a", "b"]);
    check(" s=run t=run a=run b=0", &["a"]);
    check(" s=run t=run a=0 b=0", &["t"]);
    check(" s=run t=0 a=0 b=0", &["s"]);
    check(" s=0 t=0 a=0 b=0", &[]);
}

#[test]
fn durations_read_as_gos() {
    let check = |seconds: u64, expected: &str| {
        assert_eq!(duration_text(Duration::from_secs(seconds)), expected);
    };
    check(10, "10s");
    check(80, "1m20s");
    check(300, "5m0s");
    check(3600, "1h0m0s");
}
