//! Counts that were kept current are the same as counts made anew.
use super::*;
use crate::selector::Selector;
use crate::testing::{full_pod, node};
use crate::world::World;
use serde_json::json;
use std::sync::Arc;

fn query(app: &str) -> Query {
    let selector = Selector::of_labels(&[("app".to_owned(), app.to_owned())].into());
    let group = Group {
        namespaces: ["a".to_owned()].into(),
        namespace_selector: Some(Selector::default()),
        selector,
    };
    Query { groups: vec![group], living: true }
}

/// All counts in a form that compares.
fn counts(world: &mut World) -> Vec<String> {
    let mut lines = Vec::new();
    for app in ["x", "y"] {
        world.ask(query(app), "zone");
        let answer = world.index().answer(&query(app)).unwrap();
        lines.extend(answer.nodes.iter().map(|(node, count)| format!("{app} on {node}: {count}")));
        let domains = answer.domains("zone").unwrap();
        lines.extend(domains.iter().map(|(zone, count)| format!("{app} in {zone}: {count}")));
    }
    lines.extend(
        world.index().domains("zone").unwrap().iter().map(|(zone, nodes)| format!("{zone} has {nodes}")),
    );
    let standing = world.index().standing();
    lines.extend(standing.flat_map(|(bond, _, domains)| {
        domains.iter().map(move |(zone, count)| format!("{bond:?} in {zone}: {count}"))
    }));
    lines.sort();
    lines
}

#[test]
fn kept_counts_equal_fresh_ones() {
    let mut kept = World::default();
    // A fixed sequence that looks random: which node, pod and deed.
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for step in 0..2000 {
        let host = format!("n{}", next(5));
        let name = format!("p{}", next(20));
        match next(8) {
            0 => {
                let labels = json!({"zone": format!("z{}", next(3))});
                let view =
                    NodeView::new(node(&host, json!({}), if next(4) == 0 { json!({}) } else { labels }));
                kept.set_node(Arc::new(view));
            }
            1 if next(4) == 0 => drop(kept.remove_node(&host)),
            2 => {
                let key = knarr_component::store::Key::new(["a", "b"][next(2) as usize], name);
                kept.remove_pod(&host, &key);
            }
            _ => {
                let term = json!([{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}]);
                let anti =
                    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
                let affinity = if next(2) == 0 { anti } else { json!({}) };
                let app = ["x", "y"][next(2) as usize];
                let namespace = ["a", "b"][next(2) as usize];
                let mut meta = json!({"name": name, "namespace": namespace, "labels": {"app": app}});
                if next(5) == 0 {
                    meta["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                }
                let pod = json!({"metadata": meta, "spec": {"nodeName": host, "affinity": affinity}});
                kept.add_pod(&Arc::new(full_pod(pod)));
            }
        }
        if step % 10 == 0 {
            let mut fresh = World::default();
            for info in kept.nodes().values() {
                fresh.set_node(Arc::clone(&info.node));
                for pod in info.pods.values() {
                    fresh.add_pod(pod);
                }
            }
            assert_eq!(counts(&mut kept), counts(&mut fresh), "step {step}");
        }
    }
}
