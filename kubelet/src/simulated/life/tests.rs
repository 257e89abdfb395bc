//! Lives of pods by their stages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::stages::Stages;
use super::*;
use crate::pod::tests::pod as yaml;

/// Plays a pod through moments given in seconds and compares, at each, its phase, readiness, restarts, what its first
/// container is in, and when something happens next.
struct Play {
    pod: Pod,
    stages: Stages,
    life: Life,
    random: StdRng,
}

impl Play {
    fn new(manifest: &str, stages: &str) -> Self {
        let head = "apiVersion: knarr.dev/v1\nkind: SimulatedStages\n";
        let stages = Stages::parse(&format!("{head}{stages}")).expect("stages");
        Self { pod: yaml(manifest), stages, life: Life::default(), random: StdRng::seed_from_u64(7) }
    }

    fn at(&mut self, second: i64) -> String {
        let host_ips = ["192.0.2.1".to_owned()];
        let now = Timestamp::from_second(second).expect("time");
        let moment = Moment { now, stage: self.stages.pods.first(), host_ips: &host_ips };
        let address = || Some("10.0.0.7".to_owned());
        let step = self.life.step(&self.pod, &moment, address, &mut self.random);
        let status = &step.status;
        let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
        let container = &status.container_statuses.as_ref().expect("containers")[0];
        let state = container.state.as_ref().expect("a state");
        let what = match (&state.waiting, &state.terminated) {
            (Some(waiting), _) => waiting.reason.clone().unwrap_or_default(),
            (_, Some(ended)) => {
                format!("{}:{}", ended.reason.as_deref().unwrap_or_default(), ended.exit_code)
            }
            _ => "running".to_owned(),
        };
        let wake = step.wake.map_or("never".to_owned(), |at| at.as_second().to_string());
        let line = format!(
            "{} {} restarts={} {what} over={} wake={wake}",
            status.phase.as_deref().unwrap_or_default(),
            if ready.is_some_and(|ready| ready.status == "True") { "ready" } else { "unready" },
            container.restart_count,
            step.over
        );
        self.pod.status = Some(step.status);
        line
    }
}

const FOREVER: &str = "{metadata: {name: p, namespace: n}, spec: {containers: [{name: a, image: i}]}}";
const JOB: &str = "{metadata: {name: p}, spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}";

#[test]
fn a_pod_without_stages_runs_at_once() {
    let mut play = Play::new(FOREVER, "");
    assert_eq!(play.at(100), "Running ready restarts=0 running over=false wake=never");
    let status = play.pod.status.clone().expect("a status");
    assert_eq!((status.pod_ip.as_deref(), status.host_ip.as_deref()), (Some("10.0.0.7"), Some("192.0.2.1")));
    assert_eq!(play.at(100_000), "Running ready restarts=0 running over=false wake=never");
}

#[test]
fn work_is_done_after_its_time() {
    let mut play = Play::new(JOB, "");
    assert_eq!(play.at(100), "Running ready restarts=0 running over=false wake=101");
    assert_eq!(play.at(101), "Succeeded unready restarts=0 Completed:0 over=true wake=never");
}

#[test]
fn init_containers_come_first() {
    let manifest = "{metadata: {name: p}, spec: {initContainers: [{name: i, image: i}], containers: [{name: a, image: i}]}}";
    let mut play = Play::new(manifest, "pods: [{outcomes: [{}]}]");
    assert_eq!(play.at(1), "Pending unready restarts=0 PodInitializing over=false wake=2");
    assert_eq!(play.at(2), "Running ready restarts=0 running over=false wake=never");
}

#[test]
fn delays_of_start_and_readiness() {
    let mut play = Play::new(FOREVER, "pods: [{start: {delay: 3s}, ready: {delay: 5s}}]");
    assert_eq!(play.at(100), "Pending unready restarts=0 ContainerCreating over=false wake=103");
    assert_eq!(play.at(103), "Running unready restarts=0 running over=false wake=108");
    assert_eq!(play.at(108), "Running ready restarts=0 running over=false wake=never");
}

#[test]
fn crashes_wait_longer_each_time() {
    let stages = "pods: [{outcomes: [{after: {delay: 1s}, exitCode: 3, reason: Broken}]}]";
    let mut play = Play::new(FOREVER, stages);
    assert_eq!(play.at(0), "Running ready restarts=0 running over=false wake=1");
    assert_eq!(play.at(1), "Running ready restarts=1 running over=false wake=2");
    assert_eq!(play.at(2), "Running unready restarts=1 CrashLoopBackOff over=false wake=12");
    assert_eq!(play.at(12), "Running ready restarts=2 running over=false wake=13");
    assert_eq!(play.at(13), "Running unready restarts=2 CrashLoopBackOff over=false wake=33");
    let status = play.pod.status.clone().expect("a status").container_statuses.expect("containers").remove(0);
    let last = status.last_state.and_then(|last| last.terminated).expect("its last end");
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Broken")));
    let mut play = Play::new(JOB, stages);
    play.at(0);
    assert_eq!(play.at(1), "Failed unready restarts=0 Broken:3 over=true wake=never");
}

#[test]
fn deleted_pods_stop_within_their_grace() {
    let mut play = Play::new(FOREVER, "pods: [{stop: {delay: 10s}}]");
    play.at(100);
    play.pod.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(130).expect("time")));
    play.pod.metadata.deletion_grace_period_seconds = Some(4);
    assert_eq!(play.at(101), "Running ready restarts=0 running over=false wake=105");
    assert_eq!(play.at(105), "Failed unready restarts=0 Error:143 over=true wake=never");
}

#[test]
fn pods_that_are_active_for_too_long_fail() {
    let manifest =
        "{metadata: {name: p}, spec: {activeDeadlineSeconds: 20, containers: [{name: a, image: i}]}}";
    let mut play = Play::new(manifest, "");
    assert_eq!(play.at(100), "Running ready restarts=0 running over=false wake=120");
    assert_eq!(play.at(120), "Failed unready restarts=0 Error:143 over=true wake=never");
    assert_eq!(play.pod.status.expect("a status").reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn another_process_goes_on_where_one_ended() {
    let mut play = Play::new(FOREVER, "pods: [{outcomes: [{after: {delay: 60s}, exitCode: 1}]}]");
    play.at(100);
    let before = play.pod.status.clone();
    let host_ips = ["192.0.2.1".to_owned()];
    let now = Timestamp::from_second(130).expect("time");
    let stages = play.stages.clone();
    let moment = Moment { now, stage: stages.pods.first(), host_ips: &host_ips };
    play.life = Life::adopt(&play.pod, &moment, &mut play.random);
    assert_eq!(play.life.address(), Some("10.0.0.7"));
    assert_eq!(play.at(130), "Running ready restarts=0 running over=false wake=160");
    assert_eq!(play.pod.status, before);
    let ended = yaml("{metadata: {name: p}, spec: {containers: [{name: a}]}, status: {phase: Succeeded}}");
    assert!(Life::adopt(&ended, &moment, &mut play.random).over);
}
