//! Tells kubelets how long they may keep what Secrets and config maps hold: the longer, the more
//! nodes ask.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{annotation, ignore_absent, name},
};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Numbers of nodes from and to which a step holds, and its seconds. The ranges overlap, so that a
/// node that comes and goes does not change all others.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// The step for a number of nodes, starting from the one that holds.
fn step(mut current: usize, nodes: usize) -> usize {
    while nodes > STEPS[current].1 {
        current += 1;
    }
    while nodes < STEPS[current].0 {
        current -= 1;
    }
    current
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let nodes: Informer<Node> = context.informers.get();
    let queue = Queue::new();
    let current = Arc::new(Mutex::new(0));
    let (added, known, state) = (queue.clone(), nodes.clone(), current.clone());
    nodes.on_change(move |change| {
        let mut current = state.lock();
        let now = step(*current, known.len());
        if now != std::mem::replace(&mut *current, now) {
            known.list().iter().for_each(|node| added.add(Key::of(&node.metadata)));
        }
        if !change.is_deletion() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let (this, synced) = (context.clone(), nodes.synced());
    context
        .work("ttl-controller", synced, queue, 1, move |key: Key| {
            let (context, nodes, seconds) =
                (this.clone(), nodes.clone(), STEPS[*current.lock()].2.to_string());
            async move {
                let Some(node) = nodes.get(&key) else { return Ok(None) };
                if annotation(&node.metadata, ANNOTATION) != Some(&seconds) {
                    let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: seconds}}}));
                    let api = context.api_all::<Node>();
                    let patched = api.patch(name(&node.metadata), &PatchParams::default(), &patch).await;
                    ignore_absent(patched)?;
                }
                SyncResult::Ok(None)
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        let mut current = 0;
        let numbers = [(1, 0), (100, 0), (101, 15), (95, 15), (89, 0), (5000, 300), (1900, 300), (1, 0)];
        for (nodes, expected) in numbers {
            current = step(current, nodes);
            assert_eq!(STEPS[current].2, expected, "{nodes}");
        }
    }
}
