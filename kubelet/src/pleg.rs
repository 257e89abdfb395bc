//! Finds out which pods changed in the runtime and wakes their workers.
//!
//! The runtime's events say that something happened; what happened is found by listing. Without events
//! the list is polled each second, with them only now and then, should one be lost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::labels;
use crate::manager::Manager;
use crate::metrics::{self, Name};
use crate::runtime::{Result, Runtime};

const POLL_WITH_EVENTS: Duration = Duration::from_secs(15);
const POLL_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// Events come in bunches; one list answers them all.
const GATHER: Duration = Duration::from_millis(20);
/// The runtime counts as broken when no list succeeded for this long.
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(180);

/// When the last list succeeded, in seconds since 1970.
#[derive(Debug, Default)]
pub struct Pulse(AtomicI64);

impl Pulse {
    fn beat(&self) {
        self.0.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    /// How long ago the last list succeeded.
    pub fn age(&self) -> Duration {
        let seconds = Timestamp::now().as_second() - self.0.load(Ordering::Relaxed);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

/// States of all sandboxes and containers: by pod, a set of `(id, state)`.
type World = HashMap<String, BTreeSet<(String, i32)>>;

/// Watches the runtime until told to stop.
pub async fn run(manager: Arc<Manager>, pulse: Arc<Pulse>, stop: CancellationToken) {
    let runtime = Arc::clone(&manager.context().runtime);
    let mut known = World::new();
    loop {
        let mut events = runtime.events().fuse();
        // The subscription may begin a moment after the first list.
        let mut poll = POLL_WITHOUT_EVENTS;
        let mut lost = false;
        while !lost {
            let begun = Instant::now();
            let listed = list(runtime.as_ref()).await;
            metrics::observe(Name::PlegRelistSeconds, &[], begun.elapsed());
            match listed {
                Ok(world) => {
                    pulse.beat();
                    manager.poke(changed(&known, &world));
                    known = world;
                }
                Err(error) => tracing::debug!(%error, "runtime not listed"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(poll) => poll = next_poll(poll),
                event = events.next() => {
                    lost = event.is_none();
                    let pause = if lost { POLL_WITHOUT_EVENTS } else { GATHER };
                    tokio::time::sleep(pause).await;
                    poll = GATHER;
                }
            }
            // What was gathered meanwhile is answered by the next list.
            while let Some(Some(())) = futures::FutureExt::now_or_never(events.next()) {}
        }
    }
}

/// The runtime's own books follow its events only after a while, so that lists come quickly at first and
/// then ever more slowly.
fn next_poll(poll: Duration) -> Duration {
    if poll < POLL_WITHOUT_EVENTS { poll * 2 } else { POLL_WITH_EVENTS }
}

async fn list(runtime: &dyn Runtime) -> Result<World> {
    let (sandboxes, containers) =
        futures::try_join!(runtime.list_pod_sandboxes(None), runtime.list_containers(None))?;
    let mut world = World::new();
    let sandboxes = sandboxes.into_iter().map(|sandbox| (sandbox.labels, sandbox.id, sandbox.state));
    let containers =
        containers.into_iter().map(|container| (container.labels, container.id, container.state));
    for (mut labels, id, state) in sandboxes.chain(containers) {
        if let Some(uid) = labels.remove(labels::POD_UID) {
            world.entry(uid).or_default().insert((id, state));
        }
    }
    Ok(world)
}

/// Uids of the pods that differ.
fn changed(old: &World, new: &World) -> Vec<String> {
    let gone = old.keys().filter(|uid| !new.contains_key(*uid));
    let differs = new.iter().filter(|(uid, states)| old.get(*uid) != Some(states)).map(|(uid, _)| uid);
    gone.chain(differs).cloned().collect()
}
