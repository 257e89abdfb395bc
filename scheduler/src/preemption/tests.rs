//! Tables of nodes with pods: who must leave, or the message that says why nobody does.
use super::*;
use crate::profile::Profile;
use crate::selector::Selector;
use crate::testing::{container, full_pod, node, pod, world};
use serde_json::json;

fn nodes(names: &[&str]) -> Vec<k8s_openapi::api::core::v1::Node> {
    names.iter().map(|name| node(name, json!({}), json!({"kubernetes.io/hostname": name}))).collect()
}

/// A pod on a node: `NAME NODE PRIORITY CPU AGE`, the youngest with the largest age.
fn placed(line: &str) -> PodView {
    let [name, node, priority, cpu, started] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    full_pod(json!({
        "metadata": {"name": name, "uid": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": node, "priority": priority.parse::<i32>().unwrap(),
            "containers": container(json!({"cpu": cpu}))},
        "status": {"phase": "Running", "startTime": format!("2026-01-01T00:00:{started}Z")},
    }))
}

fn preempt(pod: &PodView, mut world: World) -> String {
    let mut algorithm = Algorithm::new(Profile::default());
    let mut failure = algorithm.schedule(pod, &mut world).unwrap_err();
    match algorithm.preempt(pod, &world, &failure) {
        Ok(eviction) => {
            let victims: Vec<_> = eviction.victims.iter().map(|pod| pod.key.name.as_str()).collect();
            format!("{}: {}", eviction.node, victims.join(","))
        }
        Err(no_room) => {
            failure.preemption = Some(no_room.message);
            failure.message()
        }
    }
}

fn important(cpu: &str) -> PodView {
    pod("x", json!({"priority": 100, "containers": container(json!({"cpu": cpu}))}))
}

fn check(cpu: &str, names: &[&str], pods: &[&str], expected: &str) {
    let world = world(nodes(names), pods.iter().map(|line| placed(line)).collect());
    assert_eq!(preempt(&important(cpu), world), expected, "{cpu} {pods:?}");
}

#[test]
fn victims_are_the_fewest_and_least_important() {
    // Only as many as must; the less important, then the younger.
    check("1", &["n"], &["a n 1 1 00", "b n 0 1 00"], "n: b");
    check("1", &["n"], &["a n 0 1 00", "b n 0 1 09"], "n: b");
    check("2", &["n"], &["a n 1 1 00", "b n 0 1 00"], "n: a,b");
    check("1500m", &["n"], &["a n 1 500m 00", "b n 0 1500m 00"], "n: b");
}

#[test]
fn nodes_are_chosen_by_what_is_lost() {
    // The lowest highest priority; then the smallest sum; then the fewest; then the youngest.
    check("1", &["n1", "n2"], &["a n1 5 2 00", "b n2 4 2 00"], "n2: b");
    check("2", &["n1", "n2"], &["a n1 5 1 00", "b n1 3 1 00", "c n2 5 1 00", "d n2 2 1 00"], "n2: c,d");
    check("2", &["n1", "n2"], &["a n1 5 1 00", "b n1 5 1 00", "c n2 5 2 00"], "n2: c");
    check("1", &["n1", "n2"], &["a n1 5 2 01", "b n2 5 2 09"], "n2: b");
    check("1", &["n1", "n2"], &["a n1 5 2 01", "b n2 5 2 01"], "n1: a");
}

#[test]
fn messages_of_preemption() {
    let prefix = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: ";
    let none = "0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    check("1", &["n"], &["a n 100 2 00"], &format!("{prefix}{none}"));
    let hopeless = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    check("3", &["n"], &["a n 0 2 00"], &format!("{prefix}{hopeless}"));
    check(
        "2",
        &["n"],
        &["a n 0 1 00", "b n 200 1 00"],
        &format!("{prefix}0/1 nodes are available: 1 Insufficient cpu."),
    );
    let polite =
        json!({"priority": 100, "preemptionPolicy": "Never", "containers": container(json!({"cpu": "1"}))});
    let world = world(nodes(&["n"]), vec![placed("a n 0 2 00")]);
    assert_eq!(
        preempt(&pod("x", polite), world),
        format!("{prefix}not eligible due to preemptionPolicy=Never.")
    );
}

fn budget(app: &str, allowed: i64) -> (Key, Budget) {
    let selector = Selector::of_labels(&[("app".to_owned(), app.to_owned())].into());
    (Key::new("default", app), Budget { selector, allowed, ..Budget::default() })
}

#[test]
fn budgets_are_respected_where_possible() {
    let with = |budgets: Vec<(Key, Budget)>, names: &[&str], pods: &[&str], expected: &str| {
        let mut world = world(nodes(names), pods.iter().map(|line| placed(line)).collect());
        world.budgets.extend(budgets);
        assert_eq!(preempt(&important("1"), world), expected, "{pods:?}");
    };
    // The protected one is spared, though it is less important.
    with(vec![budget("b", 0)], &["n"], &["a n 1 1 00", "b n 0 1 00"], "n: a");
    with(vec![budget("b", 1)], &["n"], &["a n 1 1 00", "b n 0 1 00"], "n: b");
    // The node without violation wins, though its victim is more important.
    with(vec![budget("b", 0)], &["n1", "n2"], &["b n1 0 2 00", "a n2 50 2 00"], "n2: a");
    // A budget does not stop what must be.
    with(vec![budget("b", 0)], &["n"], &["b n 0 2 00"], "n: b");
}

#[test]
fn other_refusals_end_with_victims_too() {
    let required = |app: &str| {
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}})
    };
    let here = || vec![placed("a n 0 100m 00"), placed("b n 0 100m 00")];
    let lonely = pod("x", json!({"priority": 100, "affinity": required("a")}));
    assert_eq!(preempt(&lonely, world(nodes(&["n"]), here())), "n: a");
    let mut repelling = here();
    let meta = json!({"name": "r", "uid": "r", "namespace": "default", "labels": {"app": "r"}});
    repelling.push(full_pod(json!({"metadata": meta, "spec": {"nodeName": "n", "affinity": required("a")}})));
    let welcome = pod("x", json!({"priority": 100}));
    assert_eq!(preempt(&welcome, world(nodes(&["n"]), repelling)), "n: r");
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "a"}}, "nodeTaintsPolicy": "Honor"}]);
    let full = placed("z m 200 2 00");
    let spread = pod(
        "x",
        json!({"priority": 100, "topologySpreadConstraints": spread, "containers": container(json!({"cpu": "1"}))}),
    );
    let mut pods = here();
    pods.push(full);
    assert_eq!(preempt(&spread, world(nodes(&["n", "m"]), pods)), "n: a");
}

#[test]
fn promised_room_is_kept_and_waited_for() {
    let mut algorithm = Algorithm::new(Profile::default());
    let mut world = world(nodes(&["n"]), vec![]);
    world.nominated.set(Arc::new(important("1500m")), "n");
    let small = |priority: i32| {
        let mut pod = pod("y", json!({"containers": container(json!({"cpu": "1"}))}));
        pod.priority = priority;
        pod
    };
    assert!(algorithm.schedule(&small(0), &mut world).is_err(), "the room is another's");
    assert_eq!(algorithm.schedule(&small(200), &mut world).unwrap(), "n");
    assert_eq!(algorithm.schedule(&important("1500m"), &mut world).unwrap(), "n");
    // While the victim leaves, no further one is chosen.
    let mut victim = placed("a n 0 1 00");
    (victim.deleting, victim.preempted) = (true, true);
    world.add_pod(&Arc::new(victim));
    let other = Arc::new(placed("b n 0 500m 00"));
    world.add_pod(&other);
    let message = preempt(&important("1500m"), world);
    let waits = "not eligible due to a terminating pod on the nominated node.";
    assert!(message.ends_with(waits), "{message}");
    // Nor before the deletion is seen.
    let mut unseen =
        crate::testing::world(nodes(&["n"]), vec![placed("a n 0 1 00"), placed("b n 0 500m 00")]);
    unseen.nominated.set(Arc::new(important("1500m")), "n");
    unseen.nominated.made_by(&important("1500m").key, &[Arc::new(placed("a n 0 1 00"))]);
    let message = preempt(&important("1500m"), unseen);
    assert!(message.ends_with(waits), "{message}");
}
