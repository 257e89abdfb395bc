//! Rollouts, scaling and rollover as tables.

use k8s_openapi::{
    api::{
        apps::v1::{DeploymentSpec, DeploymentStrategy, ReplicaSetStatus, RollingUpdateDeployment},
        core::v1::{Container, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::*;

fn template(image: &str) -> PodTemplateSpec {
    let labels = Some([("app".to_string(), "web".to_string())].into());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels, ..Default::default() }),
        spec: Some(PodSpec {
            containers: vec![Container { image: Some(image.into()), ..Default::default() }],
            ..Default::default()
        }),
    }
}

fn deployment(wanted: i32, surge: i32, unavailable: i32) -> Deployment {
    Deployment {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("ns".into()),
            uid: Some("d".into()),
            generation: Some(1),
            ..Default::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(wanted),
            progress_deadline_seconds: Some(600),
            revision_history_limit: Some(10),
            selector: LabelSelector {
                match_labels: Some([("app".to_string(), "web".to_string())].into()),
                ..Default::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(surge)),
                    max_unavailable: Some(IntOrString::Int(unavailable)),
                }),
            }),
            template: template("new"),
            ..Default::default()
        }),
        status: None,
    }
}

type Row<'a> = (&'a str, i32, i32, Option<(i32, i32)>);
type Sets<'a> = &'a [Row<'a>];

/// ReplicaSets called by their template's image, `(image, size, available, noted wanted + max)`.
fn sets(of: &Deployment, all: Sets<'_>) -> Vec<Arc<ReplicaSet>> {
    let make = |(age, (image, replicas, available, noted)): (usize, &Row<'_>)| {
        let mut of = of.clone();
        of.spec.as_mut().unwrap().template = template(image);
        let mut set = revision::new_set(&of, age as i64 + 1);
        set.metadata.name = Some(image.to_string());
        set.metadata.uid = Some(format!("uid-{image}"));
        set.metadata.generation = Some(1);
        set.metadata.creation_timestamp = Some(Time(Timestamp::from_second(age as i64).unwrap()));
        set.spec.as_mut().unwrap().replicas = Some(*replicas);
        if let Some((desired, max)) = noted {
            scale::note(&mut set, *desired, *max);
        }
        set.status = Some(ReplicaSetStatus {
            replicas: *replicas,
            available_replicas: Some(*available),
            ready_replicas: Some(*available),
            observed_generation: Some(1),
            ..Default::default()
        });
        Arc::new(set)
    };
    all.iter().enumerate().map(make).collect()
}

fn show(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan
        .updates
        .iter()
        .filter_map(|update| {
            Some(format!("{} {}->{}", name(&update.set.metadata), update.scaled_from?, size(&update.set)))
        })
        .collect();
    lines.sort();
    lines.extend(plan.create.iter().map(|set| format!("create {}", size(set))));
    lines.extend(plan.delete.iter().map(|name| format!("delete {name}")));
    lines.join(", ")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

#[test]
fn rolling_updates() {
    let check = |(wanted, surge, unavailable): (i32, i32, i32), all: Sets<'_>, expected: &str| {
        let deployment = deployment(wanted, surge, unavailable);
        let plan = plan(&deployment, &sets(&deployment, all), &[], now());
        assert_eq!(show(&plan), expected, "{wanted}+{surge}-{unavailable} {all:?}");
    };
    check((3, 1, 0), &[], "create 3");
    check((10, 3, 2), &[("a", 10, 10, None)], "a 10->8, create 3");
    check((10, 3, 0), &[("a", 10, 10, None)], "create 3");
    check((10, 0, 2), &[("a", 10, 10, None)], "a 10->8, create 0");
    check((10, 0, 2), &[("a", 8, 8, None), ("new", 0, 0, None)], "new 0->2");
    check((10, 3, 0), &[("a", 10, 10, None), ("new", 3, 2, None)], "a 10->8");
    check((10, 3, 0), &[("a", 10, 10, None), ("new", 3, 0, None)], "");
    // Pods that do not work anyway go first.
    check((10, 0, 2), &[("a", 10, 8, None), ("new", 0, 0, None)], "a 10->8");
    // Rollover: a third template while the second is on its way.
    check((10, 3, 2), &[("a", 8, 8, None), ("b", 5, 0, None)], "b 5->0, create 0");
    check((4, 1, 0), &[("new", 4, 4, None)], "");
    check((2, 1, 0), &[("new", 4, 4, None)], "new 4->2");
}

#[test]
fn both_bounds_zero_still_move() {
    assert_eq!(max_unavailable(&deployment(3, 0, 0)), 1);
    assert_eq!(max_unavailable(&deployment(0, 0, 0)), 0);
    assert_eq!(max_surge(&deployment(3, 2, 0)), 2);
}

#[test]
fn scaling_is_proportional() {
    let check = |wanted: i32, all: Sets<'_>, expected: &str| {
        let deployment = deployment(wanted, 3, 2);
        let plan = plan(&deployment, &sets(&deployment, all), &[], now());
        assert_eq!(show(&plan), expected, "{wanted} {all:?}");
    };
    let noted = Some((10, 13));
    check(30, &[("a", 8, 8, noted), ("new", 5, 0, noted)], "a 8->20, new 5->13");
    check(5, &[("a", 8, 8, noted), ("new", 5, 0, noted)], "a 8->5, new 5->3");
    check(0, &[("a", 8, 8, noted), ("new", 5, 0, noted)], "a 8->0, new 5->0");
    // Only one has pods: no proportions.
    check(12, &[("a", 10, 10, noted), ("new", 0, 0, noted)], "a 10->12");
    check(12, &[("a", 0, 0, noted), ("new", 10, 10, noted)], "new 10->12");
    // Equal ones: the newer grows more, the older shrinks more.
    let noted = Some((10, 10));
    check(11, &[("a", 5, 5, noted), ("new", 5, 0, noted)], "a 5->7, new 5->7");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut paused = deployment(10, 3, 2);
    paused.spec.as_mut().unwrap().paused = Some(true);
    let plan = plan(&paused, &sets(&paused, &[("a", 5, 5, Some((5, 8)))]), &[], now());
    assert_eq!(show(&plan), "a 5->10");
    let reason =
        plan.status.conditions.unwrap().iter().find(|c| c.type_ == "Progressing").unwrap().reason.clone();
    assert_eq!(reason.as_deref(), Some("DeploymentPaused"));
}

#[test]
fn recreation_waits_for_the_last_old_pod() {
    let mut recreate = deployment(3, 0, 0);
    recreate.spec.as_mut().unwrap().strategy =
        Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    let pod = |phase: &str| {
        let mut pod = pods::tests::pod("p", phase, "n", None);
        let old = sets(&recreate, &[("a", 0, 0, None)]).remove(0);
        pod.metadata.owner_references = Some(vec![crate::meta::controller_reference(&*old)]);
        Arc::new(pod)
    };
    let check = |all: Sets<'_>, pods: &[Arc<Pod>], expected: &str| {
        assert_eq!(show(&plan(&recreate, &sets(&recreate, all), pods, now())), expected, "{all:?}");
    };
    check(&[("a", 3, 3, None)], &[], "a 3->0");
    check(&[("a", 0, 0, None)], &[pod("Running")], "");
    check(&[("a", 0, 0, None)], &[pod("Succeeded")], "create 3");
    check(&[("a", 0, 0, None)], &[], "create 3");
}

#[test]
fn rollback_gives_an_old_template_the_newest_revision() {
    let deployment = deployment(3, 1, 0);
    let all = sets(&deployment, &[("new", 0, 0, None), ("b", 3, 3, None)]);
    let plan = plan(&deployment, &all, &[], now());
    assert_eq!(plan.revision.as_deref(), Some("3"));
    let update = plan.updates.iter().find(|update| name(&update.set.metadata) == "new").unwrap();
    assert_eq!(revision(&update.set), 3);
    let history = crate::meta::annotation(&update.set.metadata, "deployment.kubernetes.io/revision-history");
    assert_eq!(history, Some("1"));
}

#[test]
fn history_beyond_the_limit_goes_when_the_rollout_is_complete() {
    let mut deployment = deployment(1, 1, 0);
    deployment.spec.as_mut().unwrap().revision_history_limit = Some(1);
    let all = sets(&deployment, &[("a", 0, 0, None), ("b", 0, 0, None), ("new", 1, 1, None)]);
    assert_eq!(show(&plan(&deployment, &all, &[], now())), "delete a");
    let all = sets(&deployment, &[("a", 0, 0, None), ("b", 0, 0, None), ("new", 1, 0, None)]);
    assert_eq!(show(&plan(&deployment, &all, &[], now())), "");
}

#[test]
fn progress_is_reported_until_the_deadline() {
    let reason = |plan: &Plan| {
        let conditions = plan.status.conditions.clone().unwrap();
        conditions.into_iter().find(|c| c.type_ == "Progressing").unwrap().reason.unwrap()
    };
    let mut deployment = deployment(2, 1, 0);
    let stuck = sets(&deployment, &[("new", 2, 1, None)]);
    let first = plan(&deployment, &stuck, &[], now());
    assert_eq!(reason(&first), "ReplicaSetUpdated");
    assert_eq!(first.requeue, Some(Duration::from_secs(601)));
    deployment.status = Some(first.status);
    let later = now() + jiff::SignedDuration::from_secs(601);
    let late = plan(&deployment, &stuck, &[], later);
    assert_eq!(reason(&late), "ProgressDeadlineExceeded");
    assert_eq!(late.requeue, None);
    deployment.status = Some(late.status);
    let done = plan(&deployment, &sets(&deployment, &[("new", 2, 2, None)]), &[], later);
    assert_eq!(reason(&done), "NewReplicaSetAvailable");
    assert_eq!(done.status.conditions.unwrap().len(), 2);
}
