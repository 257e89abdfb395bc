//! Lists at every revision and watches from every revision, against a model that remembers all states.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
use bytes::Bytes;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{
    Backend, Group, Key, Options, ReadError, Resource, Revision, Scope, Start, Store, WatchError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const PODS: &str = "core/pods";

/// Key to revision.
type State = BTreeMap<String, u64>;

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Delete(usize),
    /// Several puts in one group.
    Group(Vec<usize>),
    /// Forget what is older than so many revisions.
    Compact(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_usize).prop_map(Step::Put),
        3 => (0..8_usize).prop_map(Step::Delete),
        2 => prop::collection::vec(0..8_usize, 1..5).prop_map(Step::Group),
        1 => (0..12_u64).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn key(n: usize) -> Key {
    Key::new(PODS, ["a", "a-b", "c"][n % 3], &n.to_string())
}

fn body(n: usize) -> Bytes {
    format!("{{\"metadata\":{{\"name\":\"{n}\"}}}}").into()
}

struct Run {
    directory: tempfile::TempDir,
    ring_bytes: usize,
    open: Option<Open>,
    /// The state at each revision from 1 on.
    states: Vec<State>,
    compacted: u64,
}

/// Dropping it releases the directory.
struct Open {
    store: Store,
    backend: Arc<Sqlite>,
    shutdown: CancellationToken,
}

impl Open {
    async fn new(directory: &Path, ring_bytes: usize) -> Self {
        let backend = Arc::new(Sqlite::open(directory).await.unwrap());
        let shutdown = CancellationToken::new();
        let options = Options { ring_bytes, ..Options::default() };
        let resources = vec![Resource::new(PODS, vec![])];
        let store = Store::open(backend.clone(), resources, options, shutdown.clone()).await.unwrap();
        Self { store, backend, shutdown }
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.store.closed().await;
    }
}

impl Run {
    async fn new(ring_bytes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = Some(Open::new(directory.path(), ring_bytes).await);
        Self { directory, ring_bytes, open, states: vec![State::new(); 2], compacted: 1 }
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    fn head(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    async fn step(&mut self, step: Step) {
        let state = &self.states[self.states.len() - 1];
        let group = match step {
            Step::Put(n) => Group::default().put(key(n), body(n)),
            Step::Delete(n) if !state.contains_key(key(n).as_str()) => return,
            Step::Delete(n) => Group::default().delete(key(n)),
            Step::Group(all) => all.into_iter().fold(Group::default(), |group, n| group.put(key(n), body(n))),
            Step::Compact(keep) => {
                let target = Revision(self.head().saturating_sub(keep));
                self.compacted = self.open().backend.compact(target, 1000).await.unwrap().0;
                return;
            }
            Step::Reopen => {
                self.open.take().unwrap().close().await;
                self.open = Some(Open::new(self.directory.path(), self.ring_bytes).await);
                return;
            }
        };
        for write in &group.writes {
            let mut state = self.states[self.states.len() - 1].clone();
            let name = write.key().0.to_string();
            match write {
                knarr_apiserver::storage::Write::Put { .. } => state.insert(name, self.head() + 1),
                knarr_apiserver::storage::Write::Delete { .. } => state.remove(&name),
            };
            self.states.push(state);
        }
        let revisions = self.open().store.commit(group).await.unwrap();
        assert_eq!(revisions.last().unwrap().0, self.head());
    }

    /// The list at a revision is right, or refused because it is compacted.
    async fn check_list(&self, at: u64, namespace: Option<&str>) {
        match self.open().store.list(PODS, namespace, Some(Revision(at))).await {
            Ok(snapshot) => {
                let got: State = snapshot
                    .iter(namespace, None)
                    .map(|object| (object.key.0.to_string(), object.revision.0))
                    .collect();
                let prefix = namespace.map_or(format!("{PODS}/"), |namespace| format!("{PODS}/{namespace}/"));
                let mut expected = self.states[at as usize].clone();
                expected.retain(|key, _| key.starts_with(&prefix));
                assert_eq!(got, expected, "at {at}");
            }
            Err(ReadError::Compacted { oldest, .. }) => {
                assert!(at < self.compacted, "at {at}");
                // As far as the store has heard: another one may have compacted further.
                assert!(at < oldest.0 && oldest.0 <= self.compacted, "at {at}: {oldest}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A watch from a revision leads from the state then to the state now, or is refused because it is too old.
    async fn check_watch(&self, from: u64) {
        match self.open().store.watch(PODS, Scope::default(), Start::After(Revision(from)), None) {
            Ok(mut watcher) => {
                let mut state = self.states[from as usize].clone();
                let mut last = from;
                while last < self.head() {
                    for delivery in watcher.next().await.unwrap() {
                        let change = &delivery.event.change;
                        assert_eq!(change.revision.0, last + 1);
                        last += 1;
                        let key = change.key().0.to_string();
                        let before = match &change.current {
                            Some(object) => state.insert(key, object.revision.0),
                            None => state.remove(&key),
                        };
                        assert_eq!(before, change.previous.as_ref().map(|object| object.revision.0));
                        assert_eq!(state, self.states[last as usize]);
                    }
                }
            }
            Err(WatchError::Gone { oldest, .. }) => {
                assert!(from < oldest.0 && oldest.0 <= self.head());
                assert!(self.ring_bytes < 1 << 20 || from < self.compacted);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_readable_revision_is_right(
        steps in prop::collection::vec(step(), 1..40),
        ring_bytes in prop_oneof![Just(0_usize), Just(2_000), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(ring_bytes).await;
            for step in steps {
                run.step(step).await;
            }
            for at in 1..=run.head() {
                run.check_list(at, None).await;
                run.check_list(at, Some("a")).await;
                run.check_watch(at).await;
            }
            run.open.take().unwrap().close().await;
        });
    }
}
