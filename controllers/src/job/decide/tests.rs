//! Steps of Jobs as tables.

use k8s_openapi::api::batch::v1::{JobSpec, SuccessPolicy, SuccessPolicyRule};

use super::*;
use crate::{
    meta::{name, uid},
    pods::tests::{kept, pod, test_now},
};

fn job(change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec =
        JobSpec { parallelism: Some(2), completions: Some(3), backoff_limit: Some(2), ..Default::default() };
    change(&mut spec);
    Job { spec: Some(spec), ..Default::default() }
}

/// A pod written as name and state: `R`unning, `S`ucceeded, `F`ailed, `D`eleted but not gone; for an
/// Indexed Job the name is its index.
fn member(job: &Job, text: &str) -> Arc<Pod> {
    let (pod_name, state) = text.split_at(text.len() - 1);
    let phase = match state {
        "S" => "Succeeded",
        "F" => "Failed",
        _ => "Running",
    };
    let mut pod = pod(pod_name, phase, "n", None);
    pod.metadata.deletion_timestamp = (state == "D").then(|| Time(test_now()));
    if is_indexed(job) {
        let index = pod_name.trim_end_matches(char::is_alphabetic).to_string();
        pod.metadata.annotations =
            Some([("batch.kubernetes.io/job-completion-index".to_string(), index)].into());
    }
    Arc::new(pod)
}

fn run(job: &Job, pods: &[&str]) -> Plan {
    let pods: Vec<Arc<Pod>> = pods.iter().map(|text| member(job, text)).collect();
    run_pods(job, &pods, true)
}

fn run_pods(job: &Job, pods: &[Arc<Pod>], may_manage: bool) -> Plan {
    let with_finalizer = pods.iter().map(|pod| uid(&pod.metadata).to_string()).collect();
    let (with_finalizer, given_up) = (&with_finalizer, &HashSet::new());
    plan(&World { job, pods, with_finalizer, given_up, now: test_now(), may_manage })
}

fn show(plan: &Plan) -> String {
    let mut parts: Vec<String> = plan.delete.iter().map(|pod| format!("-{}", name(&pod.metadata))).collect();
    let created = plan.create.iter().map(|place| place.index);
    parts.extend(created.map(|index| index.map_or("+".to_string(), |index| format!("+{index}"))));
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
fn pods_that_are_not_needed_are_no_failures() {
    let check = |job: &Job, pods: &[&str], uncounted: bool, failed: Option<i32>, released: usize| {
        let plan = run(job, pods);
        let found = (plan.uncounted, plan.status.failed, plan.release.len());
        assert_eq!(found, (uncounted, failed, released), "{pods:?}");
    };
    // They lose the finalizer before they are deleted, so the plan does not count them.
    check(&job(|spec| spec.suspend = Some(true)), &["aR", "bR"], true, None, 0);
    check(&job(|spec| spec.parallelism = Some(1)), &["aR", "bR"], true, None, 0);
    let first = SuccessPolicyRule { succeeded_indexes: Some("0".into()), succeeded_count: None };
    let policy = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.success_policy = Some(SuccessPolicy { rules: vec![first] });
    });
    check(&policy, &["0S", "1R", "2R"], true, None, 3);
    check(&policy, &["0S", "1F", "2R"], true, Some(1), 3);
    // Of a Job that fails every pod has failed.
    check(&job(|spec| spec.backoff_limit = Some(0)), &["aF", "bR"], false, Some(2), 2);
    check(&job(|_| {}), &["aD", "bR"], true, Some(1), 1);
}

#[test]
fn nothing_ends_before_all_pods_are_seen() {
    let failing = job(|spec| spec.backoff_limit = Some(0));
    let pods = [member(&failing, "aF"), member(&failing, "bR")];
    let plan = run_pods(&failing, &pods, false);
    assert_eq!((show(&plan).as_str(), plan.status.active, plan.status.failed), ("", Some(1), Some(1)));
    let suspended = job(|spec| spec.suspend = Some(true));
    assert_eq!(show(&run_pods(&suspended, &pods, false)), "");
    let many: Vec<Arc<Pod>> = (0..501).map(|number| member(&failing, &format!("{number}F"))).collect();
    let plan = run_pods(&failing, &many, true);
    let found = (show(&plan), plan.status.failed, plan.release.len());
    assert_eq!(found, ("FailureTarget:BackoffLimitExceeded".to_string(), Some(500), 500));
}

#[test]
fn pods_inherit_the_failures_of_their_index() {
    let indexed = job(|spec| {
        spec.completion_mode = Some("Indexed".into());
        spec.backoff_limit = Some(i32::MAX);
        spec.backoff_limit_per_index = Some(2);
    });
    let failed = |counted: &str| {
        let mut failed = (*member(&indexed, "0F")).clone();
        failed.metadata.creation_timestamp = Some(Time(test_now() - SignedDuration::from_secs(600)));
        let counts = ("batch.kubernetes.io/job-index-failure-count".to_string(), counted.to_string());
        failed.metadata.annotations.get_or_insert_default().extend([counts]);
        Arc::new(failed)
    };
    let starts = |plan: &Plan| {
        let of = |place: &Place| Some((place.index?, place.failures?.counted));
        plan.create.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(starts(&run_pods(&indexed, &[], true)), [(0, 0), (1, 0)]);
    let after = run_pods(&indexed, &[failed("1"), member(&indexed, "1R")], true);
    assert_eq!(starts(&after), [(0, 2)]);
    // Held back until the successor is there, which then knows.
    assert_eq!((after.release.len(), after.status.failed), (0, None));
    let made = kept(&indexes::pod(&indexed, after.create[0]));
    assert_eq!(Failures::of(&made), Failures { counted: 2, ignored: 0 });
    let mut successor = (*member(&indexed, "0xR")).clone();
    successor.metadata.annotations = made.metadata.annotations;
    let later = run_pods(&indexed, &[failed("1"), Arc::new(successor), member(&indexed, "1R")], true);
    assert_eq!((later.release.len(), later.status.failed), (1, Some(1)));
    // The last one that the index may have.
    let last = run_pods(&indexed, &[failed("2"), member(&indexed, "1R")], true);
    assert_eq!((last.status.failed_indexes.as_deref(), last.release.len()), (Some("0"), 1));
}

#[test]
fn failures_slow_down() {
    let job = job(|_| {});
    let mut failed = (*member(&job, "aF")).clone();
    failed.metadata.creation_timestamp = Some(Time(test_now() - SignedDuration::from_secs(4)));
    let pods = [Arc::new(failed)];
    let holding = HashSet::from(["uid-a".to_string()]);
    let check = |given_up: &HashSet<String>, expected: &str, requeue: Option<u64>| {
        let (with_finalizer, now) = (&holding, test_now());
        let world = World { job: &job, pods: &pods, with_finalizer, given_up, now, may_manage: true };
        let plan = plan(&world);
        assert_eq!((show(&plan).as_str(), plan.requeue), (expected, requeue.map(Duration::from_secs)));
    };
    check(&HashSet::new(), "", Some(6));
    check(&HashSet::from(["uid-a".to_string()]), "+ +", None);
}
