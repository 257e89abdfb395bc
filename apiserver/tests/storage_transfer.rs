//! Backups: out of either database into either, while a server writes, and what comes after.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#[path = "postgres/database.rs"]
mod database;

use bytes::Bytes;
use knarr_apiserver::storage::backend::{Backend, BackendError, Range};
use knarr_apiserver::storage::postgres::Postgres;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::transfer::{Place, Record, TransferError};
use knarr_apiserver::storage::{
    Group, Key, Options, Resource, Revision, Scope, Start, Store, WatchEnd, Write,
};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const MAPS: &str = "core/configmaps";

fn key(name: &str) -> Key {
    Key::new(MAPS, "ns", name)
}

fn body(name: &str) -> Bytes {
    format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}").into()
}

async fn open(place: &Place) -> Arc<dyn Backend> {
    match place {
        Place::Sqlite(directory) => Arc::new(Sqlite::open(directory).await.unwrap()),
        Place::Postgres(url) => Arc::new(Postgres::open(url).await.unwrap()),
    }
}

async fn export(place: &Place) -> (Revision, Vec<Record>) {
    let mut records = Vec::new();
    let mut each = |record| {
        records.push(record);
        Ok(())
    };
    let head = place.export(&mut each).await.unwrap();
    (head, records)
}

/// An empty database of each kind; the directory must outlive it.
async fn places() -> (TempDir, Vec<Place>) {
    let directory = tempfile::tempdir().unwrap();
    let mut places = vec![Place::Sqlite(directory.path().join("db"))];
    places.extend(database::database().await.map(Place::Postgres));
    (directory, places)
}

/// 1,200 objects, of which one was deleted, one expires and one is no text.
async fn fill(backend: &dyn Backend) {
    let put = |n: usize| Group::create(key(&format!("{n:04}")), body(&n.to_string()));
    backend.commit(&(0..1200).map(put).collect::<Vec<_>>()).await;
    let expires = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(4_000_000_000_123));
    let event = Write::Put { key: Key::new("core/events", "ns", "e"), value: body("e"), expires };
    let bytes = Group::default().put(key("bytes"), Bytes::from_static(b"\xff\x00"));
    let event = Group { guards: vec![], writes: vec![event] };
    let outcomes = backend.commit(&[event, bytes, Group::default().delete(key("0007"))]).await;
    assert!(outcomes.iter().all(Result::is_ok));
}

#[tokio::test]
async fn every_backend_restores_every_backup() {
    let (_from, sources) = places().await;
    for source in &sources {
        let running = open(source).await;
        fill(&*running).await;
        let (head, records) = export(source).await;
        assert_eq!((head, records.len()), (Revision(1204), 1201), "while the server runs");
        assert!(records.is_sorted_by(|a, b| a.key < b.key));
        let event = records.iter().find(|record| record.key.name() == "e").unwrap();
        assert_eq!((event.expires, event.revision), (Some(4_000_000_000_123), Revision(1202)));
        let (_to, targets) = places().await;
        for target in &targets {
            let mut copies = records.iter().cloned().map(Ok);
            let reached = target.import(head, &mut copies, false).await.unwrap();
            assert!(reached > head);
            let restored = open(target).await;
            let extent = restored.extent().await.unwrap();
            assert_eq!((extent.head, extent.compacted), (reached, reached));
            let range = Range { prefix: format!("{MAPS}/"), after: None, limit: 5000 };
            let rows = restored.list_at(&range, reached).await.unwrap();
            assert_eq!(rows.len(), 1200);
            assert_eq!((rows[9].key.name(), rows[9].revision), ("0010", Revision(12)));
            assert!(matches!(restored.changes(head, 9).await, Err(BackendError::Compacted(_))));
            let update = Group::update(key("0010"), Revision(12), body("new"));
            let applied = restored.commit(&[update]).await.remove(0).unwrap();
            assert_eq!((applied[0].revision.0, applied[0].previous), (reached.0 + 1, Some(Revision(12))));
            assert_eq!(export(target).await.1.len(), 1201);
            restored.close().await;
        }
        running.close().await;
    }
}

#[tokio::test]
async fn what_is_there_is_not_written_over_and_a_broken_backup_changes_nothing() {
    let (_directory, places) = places().await;
    for place in &places {
        let broken = [Ok(record("a", 5)), Err(io::Error::other("cut short"))];
        let error = place.import(Revision(9), &mut broken.into_iter(), false).await.unwrap_err();
        assert!(matches!(error, TransferError::Other(_)), "{error}");
        let none: [io::Result<Record>; 1] = [Ok(record("a", 5))];
        place.import(Revision(9), &mut none.into_iter(), false).await.unwrap();
        let again = [Ok(record("b", 6))];
        let error = place.import(Revision(9), &mut again.into_iter(), false).await.unwrap_err();
        assert!(matches!(error, TransferError::Occupied), "{error}");
        let names: Vec<_> = export(place).await.1.into_iter().map(|record| record.key).collect();
        assert_eq!(names, [key("a")]);
    }
}

fn record(name: &str, revision: u64) -> Record {
    Record { key: key(name), revision: Revision(revision), expires: None, value: body(name) }
}

#[tokio::test]
async fn running_servers_load_what_was_restored() {
    let Some(url) = database::database().await else { return };
    let backend = Arc::new(Postgres::open(&url).await.unwrap());
    let shutdown = CancellationToken::new();
    let resources = vec![Resource::new(MAPS, vec![])];
    let store = Store::open(backend, resources, Options::default(), shutdown.clone()).await.unwrap();
    store.commit(Group::create(key("before"), body("before"))).await.unwrap();
    let mut watcher = store.watch(MAPS, Scope::default(), Start::Now, None).unwrap();
    let records = [Ok(record("after", 7))];
    let reached = Place::Postgres(url).import(Revision(9), &mut records.into_iter(), true).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await.unwrap();
    assert_eq!(ended.unwrap_err(), WatchEnd::Gone);
    store.wait_for(reached).await;
    assert!(store.get(&key("before")).is_none() && store.get(&key("after")).is_some());
    assert_eq!(
        store.commit(Group::create(key("new"), body("new"))).await.unwrap(),
        [Revision(reached.0 + 1)]
    );
    shutdown.cancel();
    store.closed().await;
}
