//! Several servers on one database: whatever is killed, cut or restarted, no acknowledged write is lost, and every
//! watch on every server tells the log, each event once and in order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#[path = "postgres/database.rs"]
mod database;
#[path = "postgres/proxy.rs"]
mod proxy;

use bytes::Bytes;
use futures::future::join_all;
use knarr_apiserver::storage::backend::{Backend, LogRow, Reads};
use knarr_apiserver::storage::postgres::Postgres;
use knarr_apiserver::storage::{
    CommitError, Group, Key, Options, Resource, Revision, Scope, Start, Store, WatchEnd,
};
use proxy::{Commit, Proxy};
use sqlx::{Connection, Executor};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MAPS: &str = "core/configmaps";
const EVENTS: &str = "core/events";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(name: &str) -> Key {
    Key::new(MAPS, "ns", name)
}

fn body(name: &str, n: u64) -> Bytes {
    format!("{{\"metadata\":{{\"name\":\"{name}\",\"labels\":{{\"n\":\"{n}\"}}}}}}").into()
}

fn counted(object: &knarr_apiserver::storage::Stored) -> u64 {
    object.index.labels.get("n").unwrap().parse().unwrap()
}

/// An API server's storage, with one watch from its beginning.
struct Server {
    store: Store,
    backend: Arc<Postgres>,
    shutdown: CancellationToken,
    watching: JoinHandle<Vec<Seen>>,
}

/// An event: revision, key, revision before and value after.
type Seen = (u64, Key, Option<u64>, Option<Bytes>);

impl Server {
    async fn start(url: &str) -> Self {
        let backend = Arc::new(Postgres::open(url).await.unwrap());
        let shutdown = CancellationToken::new();
        let resources = vec![Resource::new(MAPS, vec![]), Resource::new(EVENTS, vec![]).in_log()];
        let options = Options { watcher_queue: 1 << 20, ..Options::default() };
        let store = Store::open(backend.clone(), resources, options, shutdown.clone()).await.unwrap();
        let watching = tokio::spawn(watch(store.clone()));
        Self { store, backend, shutdown, watching }
    }

    /// Waits until its watch has told everything up to the head, closes it, and compares the watch with the log.
    async fn check(self, log: &[LogRow]) {
        let head = log.last().map_or(Revision(1), |row| row.revision);
        soon(self.store.wait_for(head)).await;
        self.shutdown.cancel();
        soon(self.store.closed()).await;
        let seen = soon(self.watching).await.unwrap();
        let told: Vec<Seen> = log.iter().filter(|row| row.key.resource() == MAPS).map(told).collect();
        for (seen, told) in seen.iter().zip(&told) {
            assert_eq!(seen, told);
        }
        assert_eq!(seen.len(), told.len());
    }
}

fn told(row: &LogRow) -> Seen {
    let previous = row.previous.as_ref().map(|(revision, _)| revision.0);
    (row.revision.0, row.key.clone(), previous, row.value.clone())
}

/// Everything a watch tells until the store closes. A watch must never end otherwise.
async fn watch(store: Store) -> Vec<Seen> {
    let mut watcher = store.watch(MAPS, Scope::default(), Start::After(Revision(1)), None).unwrap();
    let mut seen = Vec::new();
    loop {
        match watcher.next().await {
            Ok(batch) => seen.extend(batch.iter().map(|delivery| {
                let change = &delivery.event.change;
                let previous = change.previous.as_ref().map(|object| object.revision.0);
                let value = change.current.as_ref().map(|object| object.body().clone());
                (change.revision.0, change.key().clone(), previous, value)
            })),
            Err(WatchEnd::Closed) => return seen,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The whole log; its revisions are consecutive.
async fn log(url: &str) -> Vec<LogRow> {
    let backend = Postgres::open(url).await.unwrap();
    let (mut log, mut after) = (Vec::new(), Revision(1));
    loop {
        let rows = backend.changes(after, 1000).await.unwrap();
        let Some(last) = rows.last() else { break };
        for (nth, row) in rows.iter().enumerate() {
            assert_eq!(row.revision.0, after.0 + 1 + nth as u64, "no gap");
        }
        after = last.revision;
        log.extend(rows);
    }
    assert_eq!(backend.extent().await.unwrap().head, after);
    log
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// What the writers of a test did.
#[derive(Default)]
struct Tally {
    /// Increments that were acknowledged, with their revisions.
    acknowledged: BTreeSet<u64>,
    /// Increments whose outcome is unknown.
    unknown: u64,
}

/// Writers on every server increment the same few counters by compare-and-swap until told to stop.
fn increment(servers: &[&Server], stop: &Arc<AtomicBool>, done: &Arc<AtomicU64>) -> Vec<JoinHandle<Tally>> {
    let writers = (0..4_usize).flat_map(|writer| servers.iter().map(move |server| (writer, server)));
    writers
        .map(|(writer, server)| {
            let (store, stop, done) = (server.store.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let (mut tally, mut turn) = (Tally::default(), writer);
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let name = format!("counter-{}", turn % 5);
                    let group = match store.get(&key(&name)) {
                        Some(found) => {
                            Group::update(key(&name), found.revision, body(&name, counted(&found) + 1))
                        }
                        None => Group::create(key(&name), body(&name, 1)),
                    };
                    match store.commit(group).await {
                        Ok(revisions) => {
                            assert!(store.revision() >= revisions[0], "visible when acknowledged");
                            assert!(tally.acknowledged.insert(revisions[0].0));
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(CommitError::Guard { current, .. }) => {
                            let reached = current.is_none_or(|current| store.revision() >= current);
                            assert!(reached, "a conflict is visible when it is told");
                        }
                        Err(CommitError::Unknown(_)) => tally.unknown += 1,
                        Err(CommitError::Unavailable(_)) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
                tally
            })
        })
        .collect()
}

/// Waits until so many more increments were acknowledged.
async fn progress(done: &AtomicU64, more: u64) {
    let goal = done.load(Ordering::Relaxed) + more;
    let started = Instant::now();
    while done.load(Ordering::Relaxed) < goal {
        assert!(started.elapsed() < PATIENCE, "writes go on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs increments on servers of the given URLs while `trouble` happens, then checks everything.
async fn survive(url: &str, urls: &[&str], trouble: impl AsyncFnOnce(&[Server], &AtomicU64)) {
    let servers = join_all(urls.iter().map(|url| Server::start(url))).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers = increment(&servers.iter().collect::<Vec<_>>(), &stop, &done);
    progress(&done, 50).await;
    trouble(&servers, &done).await;
    progress(&done, 50).await;
    stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::default();
    for writer in soon(join_all(writers)).await {
        let of_one = writer.unwrap();
        tally.unknown += of_one.unknown;
        for revision in of_one.acknowledged {
            assert!(tally.acknowledged.insert(revision), "{revision} was given away twice");
        }
    }
    let log = log(url).await;
    let written: BTreeSet<u64> = log.iter().map(|row| row.revision.0).collect();
    assert!(tally.acknowledged.is_subset(&written), "an acknowledged write is lost");
    let surplus = written.len() - tally.acknowledged.len();
    assert!(surplus as u64 <= tally.unknown, "{surplus} writes nobody knows of, {} in doubt", tally.unknown);
    // Each increment was applied once: the counters add up to the writes.
    let live: BTreeMap<&Key, &LogRow> = log.iter().map(|row| (&row.key, row)).collect();
    let resource = Resource::new(MAPS, vec![]);
    let sum: u64 = live.values().map(|row| count(&resource, row)).sum();
    assert_eq!(sum as usize, written.len());
    // Readers on every server agree, at once, on what is there.
    for server in &servers {
        let revision = soon(server.store.fresh()).await.unwrap();
        assert_eq!(revision.0, *written.last().unwrap());
        let found = server.store.snapshot(MAPS);
        let found: BTreeMap<_, _> = found.iter(None, None).map(|o| (o.key.clone(), o.revision.0)).collect();
        let expected: BTreeMap<_, _> =
            live.iter().map(|(key, row)| ((*key).clone(), row.revision.0)).collect();
        assert_eq!(found, expected);
    }
    for server in servers {
        server.check(&log).await;
    }
}

fn count(resource: &Resource, row: &LogRow) -> u64 {
    let index = (resource.indexer)(row.value.as_ref().unwrap());
    index.labels.get("n").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_servers_write_as_one() {
    let Some(url) = database::database().await else { return };
    survive(&url, &[&url, &url, &url], async |_, done| progress(done, 300).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_sees_what_another_server_acknowledged() {
    let Some(url) = database::database().await else { return };
    let (one, two) = (Server::start(&url).await, Server::start(&url).await);
    for n in 0..100 {
        let name = format!("read-{}", n % 7);
        one.store.commit(Group::default().put(key(&name), body(&name, n))).await.unwrap();
        // Many readers share few queries, and each sees the write.
        let reads = (0..20).map(|_| async {
            two.store.fresh().await.unwrap();
            counted(&two.store.get(&key(&name)).unwrap())
        });
        assert_eq!(soon(join_all(reads)).await, [n; 20]);
    }
    let log = log(&url).await;
    one.check(&log).await;
    two.check(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_database_is_restarted() {
    let Some(server) = database::Server::start().await else { return };
    let url = server.database().await;
    survive(&url, &[&url, &url], async |_, done| {
        for signal in ["INT", "QUIT"] {
            server.restart(signal).await;
            progress(done, 30).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_are_cut() {
    let Some(url) = database::database().await else { return };
    survive(&url, &[&url, &url, &url], async |_, done| {
        let mut beside = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
        for what in ["knarr-listen", "knarr-write", "knarr-read", "knarr-write", "knarr-listen"] {
            let cut = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = $1",
            );
            cut.bind(what).execute(&mut beside).await.unwrap();
            progress(done, 30).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_to_commits_are_lost() {
    let Some(server) = database::Server::start().await else { return };
    let url = server.database().await;
    let proxy = Proxy::start(server.socket()).await;
    let through = proxy.url(&url);
    survive(&url, &[&url, &through], async |_, done| {
        // Whatever is under way is cut: before the commit, within it, after it and before its answer.
        for _ in 0..20 {
            proxy.cut_answers().await;
            progress(done, 10).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_without_an_answer_is_looked_up() {
    let Some(server) = database::Server::start().await else { return };
    let url = server.database().await;
    let proxy = Proxy::start(server.socket()).await;
    let backend = Postgres::open(&proxy.url(&url)).await.unwrap();
    let other = Postgres::open(&url).await.unwrap();
    let mut head = 1;
    for (n, commit) in
        [Commit::LoseAnswer, Commit::Lose, Commit::LoseAnswer, Commit::Lose].into_iter().enumerate()
    {
        proxy.next_commit(commit);
        let group = Group::create(key(&n.to_string()), body("a", 1));
        let applied = soon(backend.commit(&[group])).await.remove(0).unwrap();
        head += 1;
        assert_eq!(applied[0].revision.0, head, "once, {commit:?}");
        // What another server writes in between is not taken for it.
        other.commit(&[Group::default().put(key("other"), body("b", 1))]).await.remove(0).unwrap();
        head += 1;
    }
    assert_eq!(log(&url).await.len() as u64, head - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_server_stops_nobody() {
    let Some(server) = database::Server::start().await else { return };
    let url = server.database().await;
    let proxy = Proxy::start(server.socket()).await;
    let through = proxy.url(&url);
    survive(&url, &[&url, &url, &through], async |_, done| {
        proxy.delay(Duration::from_millis(20));
        progress(done, 100).await;
        proxy.delay(Duration::ZERO);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server_compacts_at_a_time() {
    let Some(url) = database::database().await else { return };
    let backends: Vec<_> =
        join_all((0..3).map(|_| Postgres::open(&url))).await.into_iter().map(Result::unwrap).collect();
    for n in 0..300 {
        let name = format!("c-{}", n % 3);
        backends[0].commit(&[Group::default().put(key(&name), body(&name, n))]).await.remove(0).unwrap();
    }
    let head = backends[0].extent().await.unwrap().head;
    let compacting = backends.iter().map(|backend| async {
        let mut reached = Revision(0);
        while reached.0 < head.0 - 1 {
            let next = backend.compact(head, 16).await.unwrap();
            assert!(next >= reached, "never back");
            reached = next;
        }
    });
    soon(join_all(compacting)).await;
    let mut beside = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
    let left = beside.fetch_one("SELECT count(*) FROM knarr.changes").await.unwrap();
    assert_eq!(sqlx::Row::get::<i64, _>(&left, 0), 4, "three live objects, and what the head replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_lost_writes_is_loaded_anew() {
    let Some(url) = database::database().await else { return };
    let server = Server::start(&url).await;
    for n in 0..20 {
        server.store.commit(Group::default().put(key("a"), body("a", n))).await.unwrap();
    }
    let mut watcher = server.store.watch(MAPS, Scope::default(), Start::Now, None).unwrap();
    server.watching.abort();
    // As a standby would look that took over before it had everything.
    let mut beside = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
    let lose = "BEGIN; UPDATE knarr.head SET revision = 11; DELETE FROM knarr.changes WHERE revision > 11; \
        UPDATE knarr.objects SET revision = 11; COMMIT";
    beside.execute(lose).await.unwrap();
    assert_eq!(soon(watcher.next()).await.unwrap_err(), WatchEnd::Gone);
    soon(async {
        while server.store.revision() != Revision(11) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(counted(&server.store.get(&key("a")).unwrap()), 9);
    assert_eq!(
        server.store.commit(Group::default().put(key("a"), body("a", 50))).await.unwrap(),
        [Revision(12)]
    );
    assert_eq!(server.backend.extent().await.unwrap().head, Revision(12));
}

/// Names the database the writing process works on; without it that process does nothing.
const URL: &str = "KNARR_TEST_SERVERS_URL";

/// The process that is killed: increments a counter of its own and the shared one, and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn writing_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let server = Server::start(&url).await;
    let writers = (0..8_u64).map(|writer| {
        let store = server.store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let name = format!("shared-{}", (writer + n) % 4);
                let found = store.get(&key(&name));
                let next = found.as_ref().map_or(1, |found| counted(found) + 1);
                let group = match found {
                    Some(found) => Group::update(key(&name), found.revision, body(&name, next)),
                    None => Group::create(key(&name), body(&name, next)),
                };
                match store.commit(group).await {
                    Ok(revisions) => println!("\nwrote {}", revisions[0]),
                    Err(CommitError::Guard { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    join_all(writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_are_killed_while_they_write() {
    let Some(url) = database::database().await else { return };
    let witness = Server::start(&url).await;
    let mut acknowledged = BTreeSet::new();
    for after in [30, 300, 7] {
        let spawn = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "writing_process", "--ignored", "--nocapture"]).env(URL, &url);
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let children: Vec<_> = (0..2).map(|_| spawn()).collect();
        let reading = children.into_iter().map(|mut child| {
            tokio::task::spawn_blocking(move || {
                let mut told = Vec::new();
                let lines = BufReader::new(child.stdout.take().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    // A line may be cut short, so its newline is waited for: the last one is left out below.
                    told.extend(line.strip_prefix("wrote ").and_then(|n| n.parse::<u64>().ok()));
                    if told.len() == after {
                        child.kill().unwrap();
                    }
                }
                child.wait().unwrap();
                assert!(told.len() >= after, "the writing process ended by itself");
                told.pop();
                told
            })
        });
        for told in soon(join_all(reading)).await {
            for revision in told.unwrap() {
                assert!(acknowledged.insert(revision), "{revision} was given away twice");
            }
        }
    }
    let log = log(&url).await;
    let written: BTreeSet<u64> = log.iter().map(|row| row.revision.0).collect();
    assert!(acknowledged.is_subset(&written), "an acknowledged write is lost");
    let resource = Resource::new(MAPS, vec![]);
    let live: BTreeMap<&Key, &LogRow> = log.iter().map(|row| (&row.key, row)).collect();
    let sum: u64 = live.values().map(|row| count(&resource, row)).sum();
    assert_eq!(sum as usize, log.len(), "each write once");
    witness.check(&log).await;
}
