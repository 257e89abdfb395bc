//! The store over a real database: reads, commits, watches, history, failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#[path = "postgres/database.rs"]
mod database;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use knarr_apiserver::storage::backend::{Extent, LogRow, Outcome, Range, Reads, Row};
use knarr_apiserver::storage::postgres::Postgres;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{
    Backend, BackendError, CommitError, Delivery, Group, Guard, Key, Options, ReadError, Resource, Revision,
    Scope, Selector, Start, Store, Stored, WatchEnd, WatchError, Watcher, Write,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const PODS: &str = "core/pods";
const EVENTS: &str = "core/events";

/// A store with pods in memory (watchers indexed by node) and events in the log.
struct Cluster {
    store: Store,
    shutdown: CancellationToken,
}

fn resources() -> Vec<Resource> {
    let node: Vec<Arc<str>> = vec!["spec.nodeName".into()];
    vec![Resource::new(PODS, node.clone()).hot(node), Resource::new(EVENTS, vec![]).in_log()]
}

impl Cluster {
    async fn on(backend: Arc<dyn Backend>, options: Options) -> Self {
        let shutdown = CancellationToken::new();
        let store = Store::open(backend, resources(), options, shutdown.clone()).await.unwrap();
        Self { store, shutdown }
    }

    async fn new(options: Options) -> Self {
        match database::chosen().await {
            Some(url) => Self::on(Arc::new(Postgres::open(&url).await.unwrap()), options).await,
            None => Self::on(Arc::new(Sqlite::ephemeral().await.unwrap()), options).await,
        }
    }

    async fn at(directory: &Path) -> Self {
        Self::on(Arc::new(Sqlite::open(directory).await.unwrap()), Options::default()).await
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.store.closed().await;
    }

    async fn put(&self, path: &str, node: &str, labels: &str) -> u64 {
        let group = Group::default().put(pod(path), body(path, node, labels));
        self.store.commit(group).await.unwrap()[0].0
    }

    async fn delete(&self, path: &str) -> u64 {
        self.store.commit(Group::default().delete(pod(path))).await.unwrap()[0].0
    }

    fn watch(&self, scope: Scope, start: Start) -> Watcher {
        self.store.watch(PODS, scope, start, None).unwrap()
    }
}

/// The key of `namespace/name`.
fn pod(path: &str) -> Key {
    Key(format!("{PODS}/{path}").into())
}

/// A pod whose labels are given as the inside of a JSON object.
fn body(path: &str, node: &str, labels: &str) -> Bytes {
    let (namespace, name) = path.split_once('/').unwrap();
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{{labels}}}}},"spec":{{"nodeName":"{node}"}}}}"#
    )
    .into()
}

/// Fails instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

fn show(delivery: &Delivery) -> String {
    let object = delivery.event.object(delivery.event_type);
    format!("{} {} {}", delivery.event_type.name(), object.key.name(), delivery.event.revision())
}

/// The next `count` events.
async fn events(watcher: &mut Watcher, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(soon(watcher.next()).await.unwrap().iter().map(show));
    }
    seen
}

fn names(objects: impl IntoIterator<Item = impl AsRef<Stored>>) -> Vec<String> {
    objects
        .into_iter()
        .map(|object| format!("{}@{}", object.as_ref().key.name(), object.as_ref().revision))
        .collect()
}

fn select(label: &'static str, value: &'static str) -> Option<Selector> {
    Some(Arc::new(move |object: &Stored| object.index.labels.get(label) == Some(value)))
}

#[tokio::test]
async fn writes_are_visible_when_acknowledged() {
    let cluster = Cluster::new(Options::default()).await;
    let store = &cluster.store;
    let before = store.snapshot(PODS);
    let revision = cluster.put("ns/a", "n1", r#""app":"web""#).await;
    let found = store.get(&pod("ns/a")).unwrap();
    assert_eq!(found.revision.0, revision);
    assert_eq!(store.revision().0, revision);
    assert_eq!(found.field("spec.nodeName"), "n1");
    assert_eq!(found.index.labels.get("app"), Some("web"));
    let json = String::from_utf8(found.json().to_vec()).unwrap();
    assert!(json.contains(r#""namespace":"ns","resourceVersion":"2","labels""#), "{json}");
    assert_eq!(before.iter(None, None).count(), 0, "a snapshot does not change");
    let twice = Group::create(pod("ns/a"), body("ns/a", "n1", ""));
    let conflict = store.commit(twice).await.unwrap_err();
    assert!(
        matches!(conflict, CommitError::Guard { index: 0, current: Some(Revision(2)), .. }),
        "{conflict}"
    );
    let changes = store.commit_with(Group::remove(pod("ns/a"), Revision(2)), vec![]).await.unwrap();
    assert_eq!(changes[0].previous.as_ref().unwrap().revision.0, 2);
    assert!(changes[0].current.is_none());
    assert!(store.get(&pod("ns/a")).is_none());
    assert_eq!(soon(store.fresh()).await.unwrap().0, 3);
    soon(store.wait_for(Revision(3))).await;
    assert!(store.wait_for(Revision(4)).now_or_never().is_none());
}

#[tokio::test]
async fn unstorable_writes_are_refused() {
    let cluster = Cluster::new(Options::default()).await;
    for group in [
        Group::create(pod("ns/a"), Bytes::from_static(b"{")),
        Group::create(Key::new("core/unheard", "", "a"), body("ns/a", "", "")),
    ] {
        let error = cluster.store.commit(group).await.unwrap_err();
        assert!(matches!(error, CommitError::Invalid(_)), "{error}");
    }
    assert_eq!(cluster.store.revision().0, 1);
}

#[tokio::test]
async fn snapshots_iterate_in_key_order() {
    let cluster = Cluster::new(Options::default()).await;
    for path in ["b/z", "a/x", "a-b/y", "a/w"] {
        cluster.put(path, "", "").await;
    }
    let snapshot = cluster.store.snapshot(PODS);
    assert_eq!(names(snapshot.iter(None, None)), ["y@4", "w@5", "x@3", "z@2"]);
    assert_eq!(names(snapshot.iter(Some("a"), None)), ["w@5", "x@3"]);
    assert_eq!(names(snapshot.iter(Some("a"), Some(&pod("a/w")))), ["x@3"]);
    assert_eq!(names(snapshot.iter(None, Some(&pod("a/wz")))), ["x@3", "z@2"]);
    assert_eq!(names(snapshot.iter(Some("a"), Some(&pod("a-b/y")))), ["w@5", "x@3"]);
    assert_eq!(snapshot.get("a", "x").unwrap().revision.0, 3);
    assert_eq!(snapshot.revision().0, 5);
}

#[tokio::test]
async fn watches_tell_every_change_in_order() {
    let cluster = Cluster::new(Options::default()).await;
    cluster.put("ns/old", "", "").await;
    let mut now = cluster.watch(Scope::default(), Start::Now);
    let mut beginning = cluster.watch(Scope::default(), Start::After(Revision(1)));
    assert_eq!((now.start().0, now.progress().0), (2, 2));
    cluster.put("ns/a", "", "").await;
    cluster.put("ns/a", "", "").await;
    cluster.delete("ns/a").await;
    let expected = ["ADDED a 3", "MODIFIED a 4", "DELETED a 5"];
    assert_eq!(events(&mut now, 3).await, expected);
    assert_eq!(now.progress().0, 5);
    assert_eq!(beginning.progress().0, 1, "nothing of it was read");
    let seen = events(&mut beginning, 4).await;
    assert_eq!(seen[0], "ADDED old 2");
    assert_eq!(seen[1..], expected);
    // A batch is whole, and a deletion shows the last object with the revision of the deletion.
    let group =
        Group::default().put(pod("ns/b"), body("ns/b", "", "")).put(pod("ns/c"), body("ns/c", "", ""));
    cluster.store.commit(group).await.unwrap();
    assert_eq!(events(&mut now, 2).await, ["ADDED b 6", "ADDED c 7"]);
    cluster.delete("ns/b").await;
    let batch = soon(now.next()).await.unwrap();
    let line = String::from_utf8(batch[0].event.json_line(batch[0].event_type).to_vec()).unwrap();
    assert!(
        line.starts_with(
            r#"{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b""#
        )
    );
    assert!(line.contains(r#""resourceVersion":"8""#) && line.ends_with("}}\n"), "{line}");
    let line = String::from_utf8(batch[0].event.metadata_line(batch[0].event_type).to_vec()).unwrap();
    assert_eq!(
        line,
        "{\"type\":\"DELETED\",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\
        \"metadata\":{\"name\":\"b\",\"namespace\":\"ns\",\"resourceVersion\":\"8\",\"labels\":{}}}}\n"
    );
}

#[tokio::test]
async fn scopes_and_selectors_decide_what_is_seen() {
    let cluster = Cluster::new(Options::default()).await;
    let scope = |namespace: Option<&str>, name: Option<&str>, node: Option<&str>| Scope {
        namespace: namespace.map(Into::into),
        name: name.map(Into::into),
        field: node.map(|node| ("spec.nodeName".into(), node.into())),
    };
    let mut namespace = cluster.watch(scope(Some("x"), None, None), Start::Now);
    let mut name = cluster.watch(scope(None, Some("a"), None), Start::Now);
    let mut both = cluster.watch(scope(Some("x"), Some("a"), None), Start::Now);
    let mut node1 = cluster.watch(scope(None, None, Some("n1")), Start::Now);
    let mut node2 = cluster.watch(scope(None, None, Some("n2")), Start::Now);
    let mut nowhere = cluster.watch(scope(None, None, Some("")), Start::Now);
    let mut web = cluster.store.watch(PODS, Scope::default(), Start::Now, select("app", "web")).unwrap();
    let web_app = r#""app":"web""#;
    cluster.put("x/a", "", "").await;
    cluster.put("x/a", "n1", web_app).await;
    cluster.put("y/a", "n1", "").await;
    cluster.put("x/a", "n2", web_app).await;
    cluster.put("x/b", "n2", "").await;
    cluster.put("x/a", "n2", "").await;
    cluster.delete("x/a").await;
    let x = ["ADDED a 2", "MODIFIED a 3", "MODIFIED a 5", "ADDED b 6", "MODIFIED a 7", "DELETED a 8"];
    assert_eq!(events(&mut namespace, 6).await, x);
    let a = ["ADDED a 2", "MODIFIED a 3", "ADDED a 4", "MODIFIED a 5", "MODIFIED a 7", "DELETED a 8"];
    assert_eq!(events(&mut name, 6).await, a);
    assert_eq!(events(&mut both, 5).await, [x[0], x[1], x[2], x[4], x[5]]);
    assert_eq!(events(&mut node1, 3).await, ["ADDED a 3", "ADDED a 4", "DELETED a 5"]);
    assert_eq!(events(&mut node2, 4).await, ["ADDED a 5", "ADDED b 6", "MODIFIED a 7", "DELETED a 8"]);
    assert_eq!(events(&mut nowhere, 2).await, ["ADDED a 2", "DELETED a 3"]);
    assert_eq!(events(&mut web, 3).await, ["ADDED a 3", "MODIFIED a 5", "DELETED a 7"]);
    for watcher in [&mut namespace, &mut name, &mut both, &mut node1, &mut node2, &mut nowhere, &mut web] {
        assert!(watcher.next().now_or_never().is_none(), "nothing more");
    }
    assert_eq!(cluster.store.resources().iter().map(|(_, watchers)| watchers).sum::<usize>(), 7);
    drop((namespace, name, both, node1, node2, nowhere, web));
    assert_eq!(cluster.store.resources().iter().map(|(_, watchers)| watchers).sum::<usize>(), 0);
}

#[tokio::test]
async fn clients_resume_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::at(directory.path()).await;
    cluster.put("ns/a", "n1", "").await;
    let seen = cluster.put("ns/b", "n1", "").await;
    cluster.put("ns/a", "n2", "").await;
    cluster.delete("ns/b").await;
    let list = cluster.store.snapshot(PODS);
    cluster.close().await;
    let cluster = Cluster::at(directory.path()).await;
    let again = cluster.store.snapshot(PODS);
    assert_eq!(again.revision(), list.revision());
    assert_eq!(names(again.iter(None, None)), names(list.iter(None, None)));
    let mut watcher = cluster.watch(Scope::default(), Start::After(Revision(seen)));
    assert_eq!(events(&mut watcher, 2).await, ["MODIFIED a 4", "DELETED b 5"]);
    let scope = Scope { field: Some(("spec.nodeName".into(), "n1".into())), ..Scope::default() };
    let mut node = cluster.watch(scope, Start::After(Revision(seen)));
    assert_eq!(events(&mut node, 2).await, ["DELETED a 4", "DELETED b 5"]);
    assert_eq!(cluster.put("ns/c", "", "").await, 6);
    assert_eq!(events(&mut watcher, 1).await, ["ADDED c 6"]);
}

#[tokio::test]
async fn a_slow_watcher_is_ended_alone() {
    let cluster = Cluster::new(Options { watcher_queue: 8, ..Options::default() }).await;
    let mut slow = cluster.watch(Scope::default(), Start::Now);
    let mut quick = cluster.watch(Scope::default(), Start::Now);
    for n in 0..20 {
        let revision = cluster.put("ns/a", "", "").await;
        let event = events(&mut quick, 1).await;
        assert_eq!(event, [format!("{} a {revision}", if n == 0 { "ADDED" } else { "MODIFIED" })]);
    }
    assert_eq!(events(&mut slow, 8).await.len(), 8, "what was queued is still told");
    assert_eq!(slow.progress().0, 9);
    assert_eq!(soon(slow.next()).await.unwrap_err(), WatchEnd::TooSlow);
    let mut resumed = cluster.watch(Scope::default(), Start::After(slow.progress()));
    assert_eq!(events(&mut resumed, 12).await[0], "MODIFIED a 10");
}

#[tokio::test]
async fn revisions_out_of_reach_are_refused() {
    let cluster = Cluster::new(Options { ring_bytes: 2000, ..Options::default() }).await;
    for _ in 0..40 {
        cluster.put("ns/a", "", "").await;
    }
    let start =
        |revision| cluster.store.watch(PODS, Scope::default(), Start::After(Revision(revision)), None);
    assert!(matches!(start(1).map(|_| ()), Err(WatchError::Gone { requested: Revision(1), .. })));
    start(41).unwrap();
    start(40).unwrap();
    let unknown = cluster.store.watch("core/unheard", Scope::default(), Start::Now, None).map(|_| ());
    assert!(matches!(unknown, Err(WatchError::Unknown(_))));
    let list = |revision| cluster.store.list(PODS, None, Some(Revision(revision)));
    assert!(matches!(list(42).await, Err(ReadError::Future { .. })));
    assert_eq!(names(list(7).await.unwrap().iter(None, None)), ["a@7"]);
    // A watch waits in silence for the revision that it begins after.
    let mut ahead = cluster.watch(Scope::default(), Start::After(Revision(42)));
    cluster.put("ns/a", "", "").await;
    cluster.put("ns/a", "", "").await;
    assert_eq!(events(&mut ahead, 1).await, ["MODIFIED a 43"]);
}

#[tokio::test]
async fn old_history_is_forgotten() {
    let cluster =
        Cluster::new(Options { history: Duration::from_millis(50), ring_bytes: 0, ..Options::default() })
            .await;
    for _ in 0..10 {
        cluster.put("ns/a", "", "").await;
    }
    let compacted = async {
        loop {
            match cluster.store.list(PODS, None, Some(Revision(5))).await {
                Err(ReadError::Compacted { requested: Revision(5), oldest }) => return oldest,
                Err(error) => panic!("{error}"),
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    assert!(soon(compacted).await > Revision(5));
    assert_eq!(names(cluster.store.list(PODS, None, None).await.unwrap().iter(None, None)), ["a@11"]);
}

#[tokio::test]
async fn events_live_in_the_log_and_expire() {
    let cluster =
        Cluster::new(Options { expiry_interval: Duration::from_millis(20), ..Options::default() }).await;
    let store = &cluster.store;
    let mut watcher = store.watch(EVENTS, Scope::default(), Start::Now, None).unwrap();
    let key = |name: &str| Key::new(EVENTS, "ns", name);
    let put = |name: &str, text: &str, expires| Group {
        guards: vec![],
        writes: vec![Write::Put { key: key(name), value: body(&format!("ns/{name}"), text, ""), expires }],
    };
    store.commit(put("kept", "1", None)).await.unwrap();
    store.commit(put("kept", "2", None)).await.unwrap();
    assert!(store.get(&key("kept")).is_none(), "not in memory");
    let read = store.read(&key("kept")).await.unwrap().unwrap();
    assert_eq!(read.revision.0, 3);
    assert_eq!(store.snapshot(EVENTS).iter(None, None).count(), 0);
    let list = |namespace, at: Option<u64>| store.list(EVENTS, namespace, at.map(Revision));
    assert_eq!(names(list(None, None).await.unwrap().iter(None, None)), ["kept@3"]);
    assert_eq!(names(list(Some("ns"), Some(2)).await.unwrap().iter(Some("ns"), None)), ["kept@2"]);
    assert_eq!(names(list(Some("other"), None).await.unwrap().iter(Some("other"), None)), [""; 0]);
    store.commit(put("brief", "3", Some(SystemTime::now()))).await.unwrap();
    let seen = events(&mut watcher, 4).await;
    assert_eq!(seen, ["ADDED kept 2", "MODIFIED kept 3", "ADDED brief 4", "DELETED brief 5"]);
    assert!(store.read(&key("brief")).await.unwrap().is_none());
    let changes = store.commit_with(Group::remove(key("kept"), Revision(3)), vec![]).await.unwrap();
    assert_eq!(changes[0].previous.as_ref().unwrap().body(), &body("ns/kept", "2", ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_key_take_turns() {
    let cluster = Cluster::new(Options::default()).await;
    cluster.put("ns/a", "0", "").await;
    let writers = (0..20).map(|_| {
        let store = cluster.store.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let _turn = store.lock(&pod("ns/a")).await;
                let object = store.get(&pod("ns/a")).unwrap();
                let count: u32 = object.field("spec.nodeName").parse().unwrap();
                let next = body("ns/a", &(count + 1).to_string(), "");
                store.commit(Group::update(pod("ns/a"), object.revision, next)).await.unwrap();
            }
        })
    });
    for writer in soon(join_all(writers)).await {
        writer.unwrap();
    }
    assert_eq!(cluster.store.get(&pod("ns/a")).unwrap().field("spec.nodeName"), "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_and_watchers_agree() {
    let cluster = Cluster::new(Options::default()).await;
    let writers = (0..16).map(|writer| {
        let store = cluster.store.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let path = format!("ns/{}", (writer * 7 + n) % 20);
                let group = match n % 3 {
                    0 => Group::create(pod(&path), body(&path, "", "")),
                    1 => Group::default().put(pod(&path), body(&path, "", "")),
                    _ => Group::default().guard(Guard::Present(pod(&path))).delete(pod(&path)),
                };
                match store.commit(group).await {
                    Ok(_) | Err(CommitError::Guard { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    let watchers = (0..4).map(|_| {
        let (store, shutdown) = (cluster.store.clone(), cluster.shutdown.clone());
        tokio::spawn(async move {
            let snapshot = store.snapshot(PODS);
            let mut seen: BTreeMap<_, _> =
                snapshot.iter(None, None).map(|object| (object.key.clone(), object.revision)).collect();
            let mut watcher =
                store.watch(PODS, Scope::default(), Start::After(snapshot.revision()), None).unwrap();
            let mut last = snapshot.revision();
            loop {
                match watcher.next().await {
                    Ok(batch) => {
                        for delivery in batch {
                            assert!(delivery.event.revision() > last, "in order");
                            last = delivery.event.revision();
                            let change = &delivery.event.change;
                            let before = match &change.current {
                                Some(object) => seen.insert(object.key.clone(), object.revision),
                                None => seen.remove(change.key()),
                            };
                            assert_eq!(before, change.previous.as_ref().map(|object| object.revision));
                            assert!(store.revision() >= last, "what is told is visible");
                        }
                    }
                    Err(WatchEnd::Closed) if shutdown.is_cancelled() => return seen,
                    Err(other) => panic!("{other}"),
                }
            }
        })
    });
    let watchers: Vec<_> = watchers.collect();
    tokio::task::yield_now().await;
    for writer in soon(join_all(writers)).await {
        writer.unwrap();
    }
    let snapshot = cluster.store.snapshot(PODS);
    let expected: BTreeMap<_, _> =
        snapshot.iter(None, None).map(|object| (object.key.clone(), object.revision)).collect();
    cluster.close().await;
    for watcher in soon(join_all(watchers)).await {
        assert_eq!(watcher.unwrap(), expected);
    }
}

#[tokio::test]
async fn resources_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::at(directory.path()).await;
    let store = &cluster.store;
    let widgets = || vec![Resource::new("example.com/widgets", vec![])];
    store.register(widgets()).await.unwrap();
    let key = Key::new("example.com/widgets", "ns", "w");
    store.commit(Group::create(key.clone(), body("ns/w", "", ""))).await.unwrap();
    let mut watcher = store.watch("example.com/widgets", Scope::default(), Start::Now, None).unwrap();
    let mut pods = cluster.watch(Scope::default(), Start::Now);
    store.register(widgets()).await.unwrap();
    assert_eq!(soon(watcher.next()).await.unwrap_err(), WatchEnd::Gone);
    assert!(store.get(&key).is_some(), "loaded from the database");
    let start = Start::After(Revision(1));
    let mut watcher = store.watch("example.com/widgets", Scope::default(), start, None).unwrap();
    assert_eq!(events(&mut watcher, 1).await, ["ADDED w 2"]);
    store.unregister("example.com/widgets").await;
    assert_eq!(soon(watcher.next()).await.unwrap_err(), WatchEnd::Gone);
    assert!(store.get(&key).is_none());
    assert!(matches!(store.list("example.com/widgets", None, None).await, Err(ReadError::Unknown(_))));
    cluster.put("ns/a", "", "").await;
    assert_eq!(events(&mut pods, 1).await, ["ADDED a 3"], "others go on");
    store.register(widgets()).await.unwrap();
    assert!(store.get(&key).is_some());
}

#[tokio::test]
async fn bodies_are_upgraded_at_load() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::at(directory.path()).await;
    cluster.put("ns/a", "old", "").await;
    let mut newer = resources();
    newer[0].upgrade = Some(Arc::new(|body| {
        let text = std::str::from_utf8(body).ok()?;
        text.contains("old").then(|| Bytes::from(text.replace("old", "new")))
    }));
    cluster.store.register(newer).await.unwrap();
    let object = cluster.store.get(&pod("ns/a")).unwrap();
    assert_eq!((object.field("spec.nodeName"), object.revision.0), ("new", 2));
}

#[tokio::test]
async fn closing_finishes_what_was_queued() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::at(directory.path()).await;
    let store = cluster.store.clone();
    let mut watcher = cluster.watch(Scope::default(), Start::Now);
    let queued: Vec<_> = (0..50)
        .map(|n| {
            let path = format!("ns/{n}");
            let mut commit = Box::pin(store.commit(Group::create(pod(&path), body(&path, "", ""))));
            assert!((&mut commit).now_or_never().is_none());
            commit
        })
        .collect();
    cluster.close().await;
    for commit in queued {
        soon(commit).await.unwrap();
    }
    let late = store.commit(Group::create(pod("ns/late"), body("ns/late", "", ""))).await;
    assert!(matches!(late, Err(CommitError::Unavailable(_))));
    assert_eq!(events(&mut watcher, 50).await.len(), 50);
    assert_eq!(soon(watcher.next()).await.unwrap_err(), WatchEnd::Closed);
    assert_eq!(store.snapshot(PODS).iter(None, None).count(), 50, "reads go on");
}

#[tokio::test]
async fn a_write_goes_on_without_its_caller() {
    let cluster = Cluster::new(Options::default()).await;
    let commit = cluster.store.commit(Group::create(pod("ns/a"), body("ns/a", "", "")));
    assert!(commit.now_or_never().is_none());
    soon(cluster.store.wait_for(Revision(2))).await;
    assert!(cluster.store.get(&pod("ns/a")).is_some());
}

/// A database that can be made to fail.
struct Failing {
    inner: Sqlite,
    broken: AtomicBool,
}

impl Failing {
    fn check(&self) -> Result<(), BackendError> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(BackendError::Unavailable("pulled the plug".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Reads for Failing {
    async fn get(&self, key: &Key) -> Result<Option<Row>, BackendError> {
        self.check()?;
        self.inner.get(key).await
    }
    async fn list(&self, range: &Range) -> Result<Vec<Row>, BackendError> {
        self.check()?;
        self.inner.list(range).await
    }
    async fn list_at(&self, range: &Range, at: Revision) -> Result<Vec<Row>, BackendError> {
        self.check()?;
        self.inner.list_at(range, at).await
    }
    async fn value(&self, revision: Revision) -> Result<Option<Bytes>, BackendError> {
        self.check()?;
        self.inner.value(revision).await
    }
    async fn changes(&self, after: Revision, limit: usize) -> Result<Vec<LogRow>, BackendError> {
        self.check()?;
        self.inner.changes(after, limit).await
    }
    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Row>, BackendError> {
        self.check()?;
        self.inner.expired(now, limit).await
    }
}

#[async_trait]
impl Backend for Failing {
    async fn commit(&self, groups: &[Group]) -> Vec<Outcome> {
        match self.check() {
            Ok(()) => self.inner.commit(groups).await,
            Err(error) => groups.iter().map(|_| Err(CommitError::Unavailable(error.to_string()))).collect(),
        }
    }
    async fn extent(&self) -> Result<Extent, BackendError> {
        self.check()?;
        self.inner.extent().await
    }
    fn exclusive(&self) -> bool {
        true
    }
    async fn notified(&self) {
        self.inner.notified().await
    }
    async fn compact(&self, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
        self.check()?;
        self.inner.compact(upto, limit).await
    }
    async fn probe(&self) -> Result<(), BackendError> {
        self.check()?;
        self.inner.probe().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

#[tokio::test]
async fn a_failing_database_degrades_and_recovers() {
    let inner = Sqlite::ephemeral().await.unwrap();
    let backend = Arc::new(Failing { inner, broken: AtomicBool::new(false) });
    let cluster = Cluster::on(backend.clone(), Options::default()).await;
    let store = &cluster.store;
    cluster.put("ns/a", "", "").await;
    let mut watcher = cluster.watch(Scope::default(), Start::Now);
    assert_eq!(store.ready().await, Ok(()));
    backend.broken.store(true, Ordering::Relaxed);
    let error = store.commit(Group::create(pod("ns/b"), body("ns/b", "", ""))).await.unwrap_err();
    assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
    assert!(store.ready().await.unwrap_err().contains("pulled the plug"));
    assert!(store.get(&pod("ns/a")).is_some(), "reads go on");
    assert_eq!(names(store.list(PODS, None, None).await.unwrap().iter(None, None)), ["a@2"]);
    let events_down = store.list(EVENTS, None, None).await;
    assert!(matches!(events_down, Err(ReadError::Unavailable(_))));
    backend.broken.store(false, Ordering::Relaxed);
    assert_eq!(store.ready().await, Ok(()));
    assert_eq!(cluster.put("ns/b", "", "").await, 3);
    assert_eq!(events(&mut watcher, 1).await, ["ADDED b 3"]);
}
