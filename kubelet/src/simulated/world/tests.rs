//! Many pods and nodes, without an API server.

use rand::SeedableRng;

use super::super::nodes::Node;
use super::*;
use crate::pod::tests::pod as yaml;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

fn world(stages: &str) -> World {
    let stages =
        Stages::parse(&format!("apiVersion: knarr.dev/v1\nkind: SimulatedStages\n{stages}")).expect("stages");
    let mut random = StdRng::seed_from_u64(1);
    let node = |name: &str| Node::new(name.to_owned(), &Default::default(), "192.0.2.1".to_owned(), at(0));
    let nodes = Nodes::new(vec![node("a"), node("b")], &stages.nodes, at(0), &mut random);
    let addresses = Addresses::new("10.0.0.0/24".parse().expect("a network"));
    World::new(stages, nodes, addresses, random)
}

fn pod(uid: &str, node: &str, rest: &str) -> Pod {
    yaml(&format!(
        "{{metadata: {{name: {uid}, namespace: n, uid: {uid}, {rest}}},
          spec: {{nodeName: {node}, containers: [{{name: c, image: i, env: [{{name: x, value: y}}]}}]}}}}"
    ))
}

/// Takes all that is to be written, as done at a revision: `uid:phase`, with `-` before a deletion.
fn written(world: &mut World, revision: u64) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(write) = world.next_write() {
        let phase =
            write.status.as_ref().map_or("", |patch| patch["status"]["phase"].as_str().expect("a phase"));
        lines.push(format!("{}{}:{phase}", if write.delete { "-" } else { "" }, write.uid));
        world.written(&write, Written::At(revision));
    }
    lines.sort();
    lines
}

#[test]
fn only_pods_of_these_nodes_live_here_and_are_written_once() {
    let mut world = world("");
    for node in ["a", "b", "elsewhere"] {
        world.apply(pod(&format!("on-{node}"), node, ""), at(10));
    }
    assert_eq!(written(&mut world, 5), ["on-a:Running", "on-b:Running"]);
    assert_eq!((written(&mut world, 6), world.pass(at(1000)), world.len()), (vec![], None, 2));
}

#[test]
fn a_deletion_frees_the_address() {
    let mut world = world("");
    world.apply(pod("p", "a", ""), at(10));
    written(&mut world, 5);
    let address = world.status("p").pod_ip.expect("an address");
    world.apply(pod("p", "a", "deletionTimestamp: 2026-01-01T00:00:00Z"), at(11));
    assert_eq!(written(&mut world, 6), ["-p:Failed"]);
    assert_eq!(written(&mut world, 7), [""; 0], "one deletion is enough");
    world.remove("p");
    assert_eq!(world.len(), 0);
    assert!(world.addresses.offset_is_free(&address));
}

#[test]
fn a_failed_write_comes_again_and_changes_meanwhile_are_not_lost() {
    let mut world = world("pods: [{ready: {delay: 2s}}]");
    world.apply(pod("p", "a", ""), at(10));
    let first = world.next_write().expect("a write");
    assert_eq!(world.pass(at(12)), None);
    assert_eq!(world.next_write(), None, "one write of a pod at a time");
    world.written(&first, Written::Failed);
    let second = world.next_write().expect("a write");
    assert_ne!(first.status, second.status);
    world.written(&second, Written::Gone);
    assert_eq!(world.next_write(), None);
}

#[test]
fn what_others_say_of_a_silent_nodes_pods_is_put_right_after_its_return() {
    let mut world = world("nodes: [{after: {delay: 20s}, lasts: {delay: 60s}, failure: Lost}]");
    world.apply(pod("p", "a", ""), at(10));
    written(&mut world, 5);
    assert_eq!(world.pass(at(20)), Some(at(80)));
    let mut told = pod("p", "a", "resourceVersion: '9'");
    told.status = Some(
        serde_json::from_value(serde_json::json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "False"}, {"type": "DisruptionTarget", "status": "True"},
        ]}))
        .expect("a status"),
    );
    world.apply(told, at(70));
    assert_eq!(written(&mut world, 10), [""; 0]);
    world.pass(at(80));
    assert_eq!(written(&mut world, 11), ["p:Running"]);
    let conditions = world.status("p").conditions.expect("conditions");
    assert!(conditions.iter().any(|condition| condition.type_ == "DisruptionTarget"));
}
