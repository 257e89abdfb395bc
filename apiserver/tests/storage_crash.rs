//! `kill -9` under write load: every acknowledged write is there afterwards, and no revision is given away twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
use bytes::Bytes;
use futures::future::join_all;
use knarr_apiserver::storage::backend::Backend;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{Group, Key, Options, Reads, Resource, Revision, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Names the directory the writing process works in; without it that process does nothing.
const DIRECTORY: &str = "KNARR_TEST_CRASH_DIRECTORY";

/// Acknowledged writes after which the process is killed, a round each.
const ROUNDS: [usize; 5] = [40, 400, 1, 1500, 200];

async fn open(directory: &Path, shutdown: &CancellationToken) -> (Arc<Sqlite>, Store) {
    let backend = Arc::new(Sqlite::open(directory).await.unwrap());
    let resources = vec![Resource::new("core/configmaps", vec![])];
    let store = Store::open(backend.clone(), resources, Options::default(), shutdown.clone()).await.unwrap();
    (backend, store)
}

fn key(name: &str) -> Key {
    Key::new("core/configmaps", "ns", name)
}

fn body(name: &str) -> Bytes {
    let fill = "x".repeat(name.len() * 97 % 6000);
    format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"data\":\"{fill}\"}}").into()
}

/// The process that is killed: writes without end, and says on its standard output what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn writing_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let (_backend, store) = open(Path::new(&directory), &CancellationToken::new()).await;
    let begin = store.revision();
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let name = format!("w{begin}-{writer}-{n}");
                let created = store.commit(Group::create(key(&name), body(&name))).await.unwrap()[0];
                println!("\nput {name} {created}");
                if n % 3 == 0 {
                    let removed = store.commit(Group::remove(key(&name), created)).await.unwrap()[0];
                    println!("\ndelete {name} {removed}");
                }
            }
        })
    });
    join_all(writers).await;
}

/// The acknowledged writes of one killed process: operation, name, revision.
fn run_and_kill(directory: &Path, after: usize) -> Vec<(bool, String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing_process", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let words: Vec<_> = line.split(' ').collect();
        if let [operation @ ("put" | "delete"), name, revision] = words[..]
            && let Ok(revision) = revision.parse()
        {
            acknowledged.push((operation == "put", name.to_owned(), revision));
        }
        if acknowledged.len() >= after && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the writing process ended by itself");
    // The last line may be cut short.
    acknowledged.pop();
    acknowledged
}

#[tokio::test]
async fn acknowledged_writes_survive_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (mut expected, mut revisions) = (BTreeMap::new(), BTreeSet::new());
    for after in ROUNDS {
        for (put, name, revision) in run_and_kill(directory.path(), after) {
            assert!(revisions.insert(revision), "revision {revision} was given away twice");
            // Lines of one writer are in order, so a deletion comes after its creation.
            expected.insert(name, put.then_some(revision));
        }
        let shutdown = CancellationToken::new();
        let (backend, store) = open(directory.path(), &shutdown).await;
        for (name, revision) in &expected {
            let found = store.get(&key(name));
            match revision {
                Some(revision) => {
                    // A deletion may have been committed without its answer having been read.
                    let Some(found) = found else { continue };
                    assert_eq!(found.revision, Revision(*revision), "{name}");
                    assert_eq!(found.body(), &body(name));
                }
                None => assert!(found.is_none(), "{name} is back"),
            }
        }
        for (name, revision) in expected.iter().filter_map(|(name, at)| Some((name, (*at)?))) {
            let value = backend.value(Revision(revision)).await.unwrap();
            assert_eq!(value, Some(body(name)), "the write of {name} is in the log");
        }
        let fresh = format!("fresh-{after}");
        let next = store.commit(Group::create(key(&fresh), body(&fresh))).await.unwrap()[0];
        assert!(revisions.last().is_none_or(|last| next.0 > *last));
        assert!(revisions.insert(next.0));
        expected.insert(fresh, Some(next.0));
        // The rest of the log is whole: no gap between the oldest and the newest revision.
        let head = backend.extent().await.unwrap().head;
        let mut seen = Revision(1);
        while seen < head {
            for row in backend.changes(seen, 500).await.unwrap() {
                assert_eq!(row.revision.0, seen.0 + 1);
                seen = row.revision;
            }
        }
        shutdown.cancel();
        store.closed().await;
    }
}
