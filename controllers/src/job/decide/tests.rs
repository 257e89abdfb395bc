//! Steps of Jobs as tables.

use k8s_openapi::api::batch::v1::JobSpec;

use super::*;
use crate::{
    meta::{name, uid},
    pods::tests::{pod, test_now},
};

fn job(change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec =
        JobSpec { parallelism: Some(2), completions: Some(3), backoff_limit: Some(2), ..Default::default() };
    change(&mut spec);
    Job { spec: Some(spec), ..Default::default() }
}

/// A pod written as name and state: `R`unning, `S`ucceeded, `F`ailed; for an Indexed Job the name
/// is its index.
fn member(job: &Job, text: &str) -> Arc<Pod> {
    let (pod_name, state) = text.split_at(text.len() - 1);
    let phase = match state {
        "S" => "Succeeded",
        "F" => "Failed",
        _ => "Running",
    };
    let mut pod = pod(pod_name, phase, "n", None);
    if is_indexed(job) {
        let index = pod_name.trim_end_matches(char::is_alphabetic).to_string();
        pod.metadata.annotations =
            Some([("batch.kubernetes.io/job-completion-index".to_string(), index)].into());
    }
    Arc::new(pod)
}

fn run(job: &Job, pods: &[&str]) -> Plan {
    let pods: Vec<Arc<Pod>> = pods.iter().map(|text| member(job, text)).collect();
    let with_finalizer = pods.iter().map(|pod| uid(&pod.metadata).to_string()).collect();
    plan(&World { job, pods: &pods, with_finalizer: &with_finalizer, now: test_now(), may_create: true })
}

fn show(plan: &Plan) -> String {
    let mut parts: Vec<String> = plan.delete.iter().map(|pod| format!("-{}", name(&pod.metadata))).collect();
    parts.extend(plan.create.iter().map(|index| index.map_or("+".to_string(), |index| format!("+{index}"))));
    let conditions = plan.status.conditions.iter().flatten().filter(|condition| condition.is_true());
    parts.extend(conditions.map(|condition| format!("{}:{}", condition.kind(), condition.reason())));
    parts.join(" ")
}

#[test]
fn pods_are_started_until_enough_have_succeeded() {
    let check = |pods: &[&str], expected: &str| {
        let job = job(|_| {});
        assert_eq!(show(&run(&job, pods)), expected, "{pods:?}");
    };
    check(&[], "+ +");
    check(&["aR", "bR"], "");
    check(&["aS", "bR"], "+");
    check(&["aS", "bS"], "+");
    check(&["aS", "bS", "cR"], "");
    check(&["aS", "bS", "cS"], "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached");
    check(&["aF", "bR"], "+");
    check(&["aR", "bR", "cR"], "-a");
    check(&["aF", "bF", "cF"], "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded");
    // Pods have to end before the Job has.
    check(&["aF", "bF", "cF", "dR"], "-d FailureTarget:BackoffLimitExceeded");
}

#[test]
fn work_queues_end_with_the_last_pod() {
    let queue = job(|spec| spec.completions = None);
    assert_eq!(show(&run(&queue, &[])), "+ +");
    assert_eq!(show(&run(&queue, &["aS", "bR"])), "");
    let done = "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached";
    assert_eq!(show(&run(&queue, &["aS", "bS"])), done);
}

#[test]
fn indexes_are_filled_from_below() {
    let indexed = job(|spec| spec.completion_mode = Some("Indexed".into()));
    let check = |pods: &[&str], expected: &str, completed: Option<&str>| {
        let plan = run(&indexed, pods);
        assert_eq!(show(&plan), expected, "{pods:?}");
        assert_eq!(plan.status.completed_indexes.as_deref(), completed);
    };
    check(&[], "+0 +1", None);
    check(&["0S", "1R"], "+2", Some("0"));
    check(&["0R", "0xR"], "-0x +1", None);
    check(&["0S", "0xR", "1R"], "-0x +2", Some("0"));
    check(
        &["0S", "1S", "2S"],
        "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached",
        Some("0-2"),
    );
}

#[test]
fn indexes_fail_alone_with_a_limit_each() {
    let indexed = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.backoff_limit = Some(i32::MAX);
        spec.backoff_limit_per_index = Some(0);
    });
    let plan = run(&indexed, &["0F", "1S", "2R"]);
    assert_eq!((show(&plan).as_str(), plan.status.failed_indexes.as_deref()), ("", Some("0")));
    let plan = run(&indexed, &["0F", "1S", "2S"]);
    assert_eq!(show(&plan), "FailureTarget:FailedIndexes Failed:FailedIndexes");
}

#[test]
fn suspension_ends_pods_and_the_clock() {
    let mut suspended = job(|spec| spec.suspend = Some(true));
    let plan = run(&suspended, &["aR"]);
    assert_eq!(show(&plan), "-a Suspended:JobSuspended");
    assert_eq!(plan.status.start_time, None);
    suspended.status = Some(plan.status);
    suspended.spec.as_mut().unwrap().suspend = Some(false);
    let plan = run(&suspended, &[]);
    assert_eq!(show(&plan), "+ +");
    assert!(plan.status.start_time.is_some());
    assert_eq!(plan.events, [("Resumed", "Job resumed".to_string(), false)]);
}

#[test]
fn deadlines_end_jobs() {
    let mut late = job(|spec| spec.active_deadline_seconds = Some(60));
    let first = run(&late, &[]);
    assert_eq!(first.requeue, Some(Duration::from_secs(60)));
    let begun = Time(test_now() - SignedDuration::from_secs(61));
    late.status = Some(JobStatus { start_time: Some(begun), ..Default::default() });
    assert_eq!(show(&run(&late, &["aR"])), "-a FailureTarget:DeadlineExceeded");
}

#[test]
fn failures_slow_down() {
    let job = job(|_| {});
    let mut failed = (*member(&job, "aF")).clone();
    failed.metadata.creation_timestamp = Some(Time(test_now() - SignedDuration::from_secs(4)));
    let pods = [Arc::new(failed)];
    let holding = HashSet::from(["uid-a".to_string()]);
    let world = World { job: &job, pods: &pods, with_finalizer: &holding, now: test_now(), may_create: true };
    let plan = plan(&world);
    assert_eq!((show(&plan).as_str(), plan.requeue), ("", Some(Duration::from_secs(6))));
}
