//! Tables of usages and what they ask for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::pods::tests::{pod, test_now};

const TOLERANCE: Tolerance = Tolerance { up: 0.1, down: 0.1 };
const PATIENCE: Patience =
    Patience { initialization: Duration::from_secs(120), first_readiness: Duration::from_secs(30) };

/// A pod that requests 1000 thousandths, and its usage if it has one.
fn measured(index: usize, kind: char, value: Option<i64>) -> (Arc<Pod>, Option<(String, Sample)>) {
    let pod_name = format!("p{index}");
    let mut made = match kind {
        'r' => pod(&pod_name, "Running", "n", Some(5000)),
        'p' => pod(&pod_name, "Pending", "n", None),
        'f' => pod(&pod_name, "Failed", "n", None),
        // Running, not ready since it started.
        _ => pod(&pod_name, "Running", "n", None),
    };
    let started = test_now() - Duration::from_secs(6000);
    if let Some(status) = &mut made.status {
        status.start_time = Some(Time(started));
    }
    let resources = ResourceRequirements {
        requests: Some([("cpu".to_string(), Quantity("1".into()))].into()),
        ..Default::default()
    };
    if let Some(spec) = &mut made.spec {
        spec.containers =
            vec![Container { name: "c".into(), resources: Some(Box::new(resources)), ..Default::default() }];
    }
    let sample = |value| Sample { value, at: test_now(), window: Duration::from_secs(60) };
    (Arc::new(made), value.map(|value| (pod_name, sample(value))))
}

type Row<'a> = (i32, Goal, &'a [(char, Option<i64>)], Result<(i32, i64), &'a str>);

#[test]
fn usage_of_pods() {
    let percent = Goal::Utilization(50);
    let average = Goal::Average(500);
    let table: &[Row<'_>] = &[
        // Twice the target, half of it, and within the tolerance.
        (2, percent, &[('r', Some(1000)), ('r', Some(1000))], Ok((4, 1000))),
        (4, percent, &[('r', Some(250)); 4], Ok((2, 250))),
        (2, percent, &[('r', Some(540)), ('r', Some(540))], Ok((2, 540))),
        (2, average, &[('r', Some(1000)), ('r', Some(1000))], Ok((4, 1000))),
        (4, average, &[('r', Some(250)); 4], Ok((2, 250))),
        // A missing pod counts as idle on the way up, as busy on the way down.
        (3, percent, &[('r', Some(1000)), ('r', Some(1000)), ('r', None)], Ok((4, 1000))),
        (3, percent, &[('r', Some(100)), ('r', Some(100)), ('r', None)], Ok((3, 100))),
        (3, average, &[('r', Some(100)), ('r', Some(100)), ('r', None)], Ok((2, 100))),
        // Unready pods count as idle on the way up, and not at all on the way down.
        (3, percent, &[('r', Some(1000)), ('r', Some(1000)), ('p', None)], Ok((4, 1000))),
        (3, percent, &[('r', Some(300)), ('r', Some(300)), ('p', None)], Ok((2, 300))),
        (3, percent, &[('r', Some(700)), ('u', Some(9000)), ('u', Some(9000))], Ok((3, 700))),
        // Finished ones never count.
        (2, percent, &[('r', Some(1000)), ('r', Some(1000)), ('f', Some(5))], Ok((4, 1000))),
        (
            1,
            percent,
            &[('p', None)],
            Err("did not receive metrics for targeted pods (pods might be unready)"),
        ),
        (1, percent, &[], Err("No pods returned by selector while calculating replica count")),
    ];
    for (current, goal, kinds, expected) in table {
        let all = kinds.iter().enumerate().map(|(index, (kind, value))| measured(index, *kind, *value));
        let (pods, samples): (Vec<_>, Vec<_>) = all.unzip();
        let samples = samples.into_iter().flatten().collect();
        let what = Measured { resource: "cpu", container: "" };
        let found = by_pods(*current, *goal, what, &pods, samples, (TOLERANCE, PATIENCE), test_now());
        let found = found.map(|proposal| (proposal.replicas, proposal.average));
        assert_eq!(found, expected.map_err(ToString::to_string), "{goal:?} {kinds:?}");
    }
}

#[test]
fn requests_must_be_known() {
    let (pod, sample) = measured(0, 'r', Some(1000));
    let samples: Samples = sample.into_iter().collect();
    let what = Measured { resource: "memory", container: "" };
    let found = by_pods(1, Goal::Utilization(50), what, &[pod], samples, (TOLERANCE, PATIENCE), test_now());
    assert_eq!(found, Err("missing request for memory in container c of Pod p0".to_string()));
}

#[test]
fn young_pods_are_not_believed() {
    let check = |started_ago: u64, ready: &str, changed_ago: u64, expected: bool| {
        let ago = |seconds| Time(test_now() - Duration::from_secs(seconds));
        let mut young = pod("p", "Running", "n", Some(0));
        let status = young.status.as_mut().unwrap();
        status.start_time = Some(ago(started_ago));
        let condition = &mut status.conditions.as_mut().unwrap()[0];
        condition.status = ready.into();
        condition.last_transition_time = Some(ago(changed_ago));
        let sample = Sample { value: 1, at: test_now(), window: Duration::from_secs(30) };
        let believed = is_believed(&young, &sample, PATIENCE, test_now());
        assert_eq!(believed, expected, "{started_ago} {ready} {changed_ago}");
    };
    check(60, "True", 40, true);
    check(60, "True", 10, false);
    check(60, "False", 40, false);
    check(600, "True", 1, true);
    check(600, "False", 590, false);
    check(600, "False", 100, true);
}

#[test]
fn values_of_all_pods() {
    let pods: Vec<_> = (0..3).map(|index| measured(index, 'r', None).0).collect();
    let check = |current, usage, target, expected| {
        assert_eq!(by_value(current, usage, target, &pods, TOLERANCE), Ok(expected), "{usage}/{target}");
    };
    check(3, 20_000, 10_000, 6);
    check(3, 10_500, 10_000, 3);
    check(3, 5_000, 10_000, 2);
    check(0, 25_000, 10_000, 3);
    assert!(by_value(3, 20, 10, &[], TOLERANCE).is_err());
    assert_eq!(by_share(4, 20_000, 10_000, TOLERANCE), (2, 5_000));
    assert_eq!(by_share(2, 21_000, 10_000, TOLERANCE), (2, 10_500));
    assert_eq!(by_share(2, 45_000, 10_000, TOLERANCE), (5, 22_500));
}
