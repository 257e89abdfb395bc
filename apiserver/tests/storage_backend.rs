//! The suite every backend passes: each adds a function that opens it and calls `suite`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#[path = "postgres/database.rs"]
mod database;

use bytes::Bytes;
use knarr_apiserver::storage::backend::{Backend, BackendError, Range};
use knarr_apiserver::storage::postgres::{self, Postgres};
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{CommitError, Group, Guard, Key, Revision, Write};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn key(name: &str) -> Key {
    Key::new("core/configmaps", "ns", name)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(format!("{{\"metadata\":{{}},\"data\":\"{text}\"}}").as_bytes())
}

fn create(name: &str) -> Group {
    Group::create(key(name), value(name))
}

fn all() -> Range {
    Range { prefix: "core/configmaps/".into(), after: None, limit: 1000 }
}

/// The revisions of a group that must hold.
async fn commit(backend: &dyn Backend, group: Group) -> Vec<u64> {
    revisions(&backend.commit(&[group]).await.remove(0)).unwrap()
}

fn revisions(
    outcome: &Result<Vec<knarr_apiserver::storage::backend::Applied>, CommitError>,
) -> Result<Vec<u64>, String> {
    match outcome {
        Ok(applied) => Ok(applied.iter().map(|a| a.revision.0).collect()),
        Err(error) => Err(error.to_string()),
    }
}

async fn names(backend: &dyn Backend, at: Option<u64>) -> Vec<String> {
    let rows = match at {
        Some(at) => backend.list_at(&all(), Revision(at)).await.unwrap(),
        None => backend.list(&all()).await.unwrap(),
    };
    rows.iter().map(|row| format!("{}@{}", row.key.name(), row.revision)).collect()
}

/// Everything that needs no reopening. `backend` is empty.
async fn suite(backend: &dyn Backend) {
    starts_at_one(backend).await;
    guards_hold_or_nothing_is_written(backend).await;
    history_is_readable_until_compacted(backend).await;
    compaction_keeps_live_rows_and_the_head(backend).await;
    pages_follow_each_other(backend).await;
    values_expire(backend).await;
    any_bytes_are_kept(backend).await;
    many_writers_get_consecutive_revisions(backend).await;
    backend.probe().await.unwrap();
}

async fn starts_at_one(backend: &dyn Backend) {
    let extent = backend.extent().await.unwrap();
    assert_eq!((extent.head.0, extent.compacted.0), (1, 1));
    assert_eq!(backend.changes(Revision(1), 10).await.unwrap(), []);
    assert_eq!(backend.list(&all()).await.unwrap(), []);
    assert_eq!(backend.get(&key("a")).await.unwrap(), None);
}

async fn guards_hold_or_nothing_is_written(backend: &dyn Backend) {
    let half = create("half").guard(Guard::Present(key("missing")));
    let gone = Group::default().put(key("half"), value("x")).delete(key("missing"));
    let pair =
        Group::default().guard(Guard::Absent(key("c"))).put(key("c"), value("c")).put(key("d"), value("d"));
    let batch =
        [create("a"), create("a"), half, gone, pair, Group::update(key("a"), Revision(2), value("a2"))];
    let outcomes = backend.commit(&batch).await;
    let got: Vec<_> = outcomes.iter().map(|o| revisions(o).ok()).collect();
    assert_eq!(got, [Some(vec![2]), None, None, None, Some(vec![3, 4]), Some(vec![5])]);
    match &outcomes[1] {
        Err(CommitError::Guard { index: 0, key: at, current }) => {
            assert_eq!((at, current), (&key("a"), &Some(Revision(2))));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(&outcomes[2], Err(CommitError::Guard { index: 1, current: None, .. })));
    assert!(matches!(&outcomes[3], Err(CommitError::Guard { index: 1, current: None, .. })));
    assert_eq!(outcomes[5].as_ref().unwrap()[0].previous, Some(Revision(2)));
    assert_eq!(names(backend, None).await, ["a@5", "c@3", "d@4"]);
    assert_eq!(backend.get(&key("a")).await.unwrap().unwrap().value, value("a2"));
    assert!(backend.commit(&[]).await.is_empty());
    assert_eq!(commit(backend, Group::default().guard(Guard::Present(key("a")))).await, [0; 0]);
    assert_eq!(backend.extent().await.unwrap().head.0, 5);
}

async fn history_is_readable_until_compacted(backend: &dyn Backend) {
    assert_eq!(commit(backend, Group::remove(key("c"), Revision(3))).await, [6]);
    assert_eq!(commit(backend, create("c")).await, [7]);
    assert_eq!(commit(backend, Group::remove(key("c"), Revision(7))).await, [8]);
    let history: [(u64, &[&str]); 8] = [
        (1, &[]),
        (2, &["a@2"]),
        (3, &["a@2", "c@3"]),
        (4, &["a@2", "c@3", "d@4"]),
        (5, &["a@5", "c@3", "d@4"]),
        (6, &["a@5", "d@4"]),
        (7, &["a@5", "c@7", "d@4"]),
        (8, &["a@5", "d@4"]),
    ];
    for (at, expected) in history {
        assert_eq!(names(backend, Some(at)).await, expected, "at {at}");
    }
    let log = backend.changes(Revision(4), 3).await.unwrap();
    let seen: Vec<_> = log
        .iter()
        .map(|row| {
            (row.revision.0, row.key.name(), row.value.is_some(), row.previous.as_ref().map(|p| p.0.0))
        })
        .collect();
    assert_eq!(seen, [(5, "a", true, Some(2)), (6, "c", false, Some(3)), (7, "c", true, None)]);
    assert_eq!(log[1].previous.as_ref().unwrap().1, value("c"));
    assert_eq!(backend.value(Revision(2)).await.unwrap(), Some(value("a")));
    assert_eq!(backend.value(Revision(6)).await.unwrap(), None);
}

async fn compaction_keeps_live_rows_and_the_head(backend: &dyn Backend) {
    assert_eq!(backend.compact(Revision(6), 2).await.unwrap(), Revision(3));
    assert_eq!(names(backend, Some(3)).await, ["a@2", "c@3"]);
    let mut reached = Revision(0);
    while reached < Revision(6) {
        reached = backend.compact(Revision(6), 2).await.unwrap();
    }
    assert_eq!(reached, Revision(6));
    assert_eq!(backend.extent().await.unwrap().compacted, Revision(6));
    for at in [1, 5] {
        let old = backend.list_at(&all(), Revision(at)).await;
        assert!(matches!(old, Err(BackendError::Compacted(Revision(6)))), "{old:?}");
        let old = backend.changes(Revision(at), 10).await;
        assert!(matches!(old, Err(BackendError::Compacted(Revision(6)))), "{old:?}");
    }
    assert_eq!(names(backend, Some(6)).await, ["a@5", "d@4"]);
    assert_eq!(names(backend, Some(7)).await, ["a@5", "c@7", "d@4"]);
    let log = backend.changes(Revision(6), 10).await.unwrap();
    assert_eq!(log[1].previous.as_ref().map(|p| p.1.clone()), Some(value("c")));
    assert_eq!(backend.value(Revision(2)).await.unwrap(), None);
    // The head is a deletion: its row stays, so that its revision is not given away again.
    assert_eq!(backend.compact(Revision(100), 1000).await.unwrap(), Revision(7));
    assert_eq!(backend.compact(Revision(100), 1000).await.unwrap(), Revision(7));
    assert_eq!(backend.extent().await.unwrap().head, Revision(8));
    assert_eq!(commit(backend, create("e")).await, [9]);
}

async fn pages_follow_each_other(backend: &dyn Backend) {
    let head = backend.extent().await.unwrap().head;
    let group = ["p/1", "p/2", "p-x/1", "q/1"].iter().fold(Group::default(), |group, name| {
        let (namespace, name) = name.split_once('/').unwrap();
        group.put(Key::new("core/pods", namespace, name), value("p"))
    });
    commit(backend, group).await;
    let mut range = Range { prefix: "core/pods/".into(), after: None, limit: 3 };
    let keys = |rows: Vec<knarr_apiserver::storage::backend::Row>| {
        rows.iter().map(|row| row.key.0.to_string()).collect::<Vec<_>>()
    };
    let now = backend.extent().await.unwrap().head;
    // Bytewise: `-` comes before `/`.
    let first = ["core/pods/p-x/1", "core/pods/p/1", "core/pods/p/2"];
    assert_eq!(keys(backend.list(&range).await.unwrap()), first);
    assert_eq!(keys(backend.list_at(&range, now).await.unwrap()), first);
    range.after = Some(Key::new("core/pods", "p", "2"));
    assert_eq!(keys(backend.list(&range).await.unwrap()), ["core/pods/q/1"]);
    assert_eq!(keys(backend.list_at(&range, now).await.unwrap()), ["core/pods/q/1"]);
    assert_eq!(keys(backend.list_at(&range, head).await.unwrap()), [""; 0]);
    let one = Range { prefix: "core/pods/p/".into(), after: None, limit: 9 };
    assert_eq!(keys(backend.list(&one).await.unwrap()), ["core/pods/p/1", "core/pods/p/2"]);
}

async fn values_expire(backend: &dyn Backend) {
    let now = SystemTime::now();
    let event = |name: &str, seconds| Write::Put {
        key: Key::new("core/events", "ns", name),
        value: value(name),
        expires: Some(now + Duration::from_secs(seconds)),
    };
    let writes = vec![event("late", 90), event("soon", 10), event("renewed", 5), event("gone", 5)];
    commit(backend, Group { guards: vec![], writes }).await;
    let renewed = vec![event("renewed", 60), Write::Delete { key: Key::new("core/events", "ns", "gone") }];
    commit(backend, Group { guards: vec![], writes: renewed }).await;
    for (seconds, expected) in
        [(0, &[][..]), (10, &["soon"]), (60, &["soon", "renewed"]), (99, &["soon", "renewed", "late"])]
    {
        let rows = backend.expired(now + Duration::from_secs(seconds), 10).await.unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.key.name()).collect();
        assert_eq!(names, expected, "after {seconds} s");
    }
    assert_eq!(backend.expired(now + Duration::from_secs(99), 1).await.unwrap().len(), 1);
}

async fn any_bytes_are_kept(backend: &dyn Backend) {
    for bytes in [&b"\xff\x00\x01binary"[..], b"", "{\"data\":\"\u{0}\u{1F6A2}\"}".as_bytes()] {
        let group = Group::default().put(key("bytes"), Bytes::copy_from_slice(bytes));
        let revision = commit(backend, group).await[0];
        assert_eq!(backend.get(&key("bytes")).await.unwrap().unwrap().value, bytes);
        assert_eq!(backend.value(Revision(revision)).await.unwrap().unwrap(), bytes);
    }
}

async fn many_writers_get_consecutive_revisions(backend: &dyn Backend) {
    let head = backend.extent().await.unwrap().head.0;
    let batch: Vec<_> = (0..700).map(|n| create(&format!("many-{n}"))).collect();
    let outcomes = backend.commit(&batch).await;
    let got: Vec<_> = outcomes.iter().flat_map(|o| revisions(o).unwrap()).collect();
    assert_eq!(got, (head + 1..=head + 700).collect::<Vec<_>>());
    let batch: Vec<_> = (0..37).map(|n| Group::default().delete(key(&format!("many-{n}")))).collect();
    futures::future::join(backend.commit(&batch), backend.commit(&[create("beside")])).await;
    let extent = backend.extent().await.unwrap();
    assert_eq!(extent.head.0, head + 738);
    let mut seen = Revision(head);
    while seen < extent.head {
        for row in backend.changes(seen, 100).await.unwrap() {
            assert_eq!(row.revision.0, seen.0 + 1);
            seen = row.revision;
        }
    }
}

#[tokio::test]
async fn sqlite_passes_the_suite() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Sqlite::open(directory.path()).await.unwrap();
    suite(&backend).await;
    backend.close().await;
    let closed = backend.commit(&[create("z")]).await;
    assert!(matches!(closed[0], Err(CommitError::Unavailable(_))));
}

#[tokio::test]
async fn sqlite_passes_the_suite_ephemerally() {
    let backend = Sqlite::ephemeral().await.unwrap();
    let directory = backend.path().parent().unwrap().to_owned();
    suite(&backend).await;
    backend.close().await;
    drop(backend);
    assert!(!directory.exists());
}

#[tokio::test]
async fn reopening_finds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Sqlite::open(directory.path()).await.unwrap();
    written_before_reopening(&backend).await;
    drop(backend);
    found_after_reopening(&Sqlite::open(directory.path()).await.unwrap()).await;
}

/// Closes the backend.
async fn written_before_reopening(backend: &dyn Backend) {
    commit(backend, create("a")).await;
    commit(backend, Group::update(key("a"), Revision(2), value("a2"))).await;
    commit(backend, create("b").delete(key("b"))).await;
    backend.compact(Revision(3), 100).await.unwrap();
    backend.close().await;
}

async fn found_after_reopening(backend: &dyn Backend) {
    let extent = backend.extent().await.unwrap();
    assert_eq!((extent.head.0, extent.compacted.0), (5, 3));
    assert_eq!(names(backend, None).await, ["a@3"]);
    assert!(revisions(&backend.commit(&[create("a")]).await[0]).is_err());
    assert_eq!(commit(backend, create("b")).await, [6]);
}

/// A connection beside the backend's.
async fn beside(url: &str) -> sqlx::postgres::PgConnection {
    use sqlx::Connection;
    sqlx::postgres::PgConnection::connect(url).await.unwrap()
}

#[tokio::test]
async fn postgres_passes_the_suite() {
    let Some(url) = database::database().await else { return };
    let backend = Postgres::open(&url).await.unwrap();
    suite(&backend).await;
    no_table_was_scanned(&url).await;
    backend.close().await;
    let closed = backend.commit(&[create("z")]).await;
    assert!(matches!(closed[0], Err(CommitError::Unavailable(_))));
    assert!(matches!(backend.extent().await, Err(BackendError::Unavailable(_))));
}

/// Every statement's plan, as the server caches it, finds its rows by an index.
async fn no_table_was_scanned(url: &str) {
    use sqlx::{AssertSqlSafe, Executor, Row};
    let mut connection = beside(url).await;
    connection.execute(postgres::SETTINGS).await.unwrap();
    for (name, statement) in postgres::STATEMENTS {
        let parameters = (1..20).take_while(|n| statement.contains(&format!("${n}"))).count();
        let prepare = format!("PREPARE {name} AS {statement}");
        connection.execute(AssertSqlSafe(prepare)).await.unwrap();
        let nulls =
            if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(",")) };
        let explain = format!("EXPLAIN EXECUTE {name}{nulls}");
        let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        let plan = rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
        assert!(!plan.contains("Seq Scan") && plan.contains("Index"), "{name}:\n{plan}");
        assert!(!plan.contains("Hash Join") && !plan.contains("Merge Join"), "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn postgres_reopened_finds_everything() {
    let Some(url) = database::database().await else { return };
    written_before_reopening(&Postgres::open(&url).await.unwrap()).await;
    found_after_reopening(&Postgres::open(&url).await.unwrap()).await;
}

#[tokio::test]
async fn servers_that_start_at_once_create_one_schema() {
    let Some(url) = database::database().await else { return };
    let opened = futures::future::join_all((0..4).map(|_| Postgres::open(&url))).await;
    for (n, backend) in opened.into_iter().enumerate() {
        let backend = backend.unwrap();
        assert!(!backend.exclusive());
        assert_eq!(commit(&backend, create(&n.to_string())).await, [n as u64 + 2]);
    }
}

#[tokio::test]
async fn a_newer_postgres_schema_is_refused() {
    use sqlx::Executor;
    let Some(url) = database::database().await else { return };
    Postgres::open(&url).await.unwrap().close().await;
    beside(&url).await.execute("UPDATE knarr.schema SET version = 99").await.unwrap();
    let error = Postgres::open(&url).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, BackendError::Newer { found: 99, supported: 1, .. }), "{error}");
    assert!(!error.to_string().contains("knarr@"), "{error}");
}

#[tokio::test]
async fn people_can_query_the_live_objects_of_postgres() {
    use sqlx::Row;
    let Some(url) = database::database().await else { return };
    let backend = Postgres::open(&url).await.unwrap();
    commit(&backend, create("a")).await;
    let query =
        "SELECT api_group, resource, namespace, name, object->'metadata'->>'resourceVersion' FROM knarr.live";
    let row = sqlx::query(query).fetch_one(&mut beside(&url).await).await.unwrap();
    let columns: Vec<String> = (0..5).map(|column| row.get(column)).collect();
    assert_eq!(columns, ["core", "configmaps", "ns", "a", "2"]);
}

#[tokio::test]
async fn a_directory_serves_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Sqlite::open(directory.path()).await.unwrap();
    match Sqlite::open(directory.path()).await.map(|_| ()) {
        Err(error @ BackendError::Locked { holder, .. }) => {
            assert_eq!(holder, Some(std::process::id()));
            assert!(error.to_string().contains("in use by another process (pid "), "{error}");
        }
        other => panic!("{other:?}"),
    }
    drop(backend);
    Sqlite::open(directory.path()).await.unwrap();
}

async fn refused(directory: &Path) -> BackendError {
    let file = directory.join("state.db");
    let before = std::fs::read(&file).unwrap();
    let error = Sqlite::open(directory).await.map(|_| ()).unwrap_err();
    assert_eq!(std::fs::read(&file).unwrap(), before, "a refused database is left as it is");
    error
}

#[tokio::test]
async fn foreign_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("state.db"),
        "not a database, but long enough to look at".repeat(99),
    )
    .unwrap();
    let error = refused(directory.path()).await;
    assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
}

/// Runs a statement on the closed database.
async fn tamper(directory: &Path, statement: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.join("state.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn newer_and_foreign_databases_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    Sqlite::open(directory.path()).await.unwrap().close().await;
    tamper(directory.path(), "PRAGMA user_version = 99").await;
    let error = refused(directory.path()).await;
    assert!(matches!(error, BackendError::Newer { found: 99, supported: 1, .. }), "{error}");
    tamper(directory.path(), "PRAGMA application_id = 7").await;
    let error = refused(directory.path()).await;
    assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn people_can_query_the_live_objects() {
    use sqlx::{ConnectOptions, Row};
    let directory = tempfile::tempdir().unwrap();
    let backend = Sqlite::open(directory.path()).await.unwrap();
    commit(&backend, create("a")).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(backend.path());
    let mut connection = options.connect().await.unwrap();
    let row = sqlx::query(
        "SELECT api_group, resource, namespace, name, object->>'$.metadata.resourceVersion' FROM live",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let columns: Vec<String> = (0..5).map(|column| row.get(column)).collect();
    assert_eq!(columns, ["core", "configmaps", "ns", "a", "2"]);
}

#[tokio::test]
async fn the_database_stays_small_under_updates() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Arc::new(Sqlite::open(directory.path()).await.unwrap());
    let big = Bytes::from(vec![b'x'; 4096]);
    let mut sizes = BTreeMap::new();
    for round in 0..12 {
        for _ in 0..8 {
            let batch: Vec<_> =
                (0..64).map(|n| Group::default().put(key(&n.to_string()), big.clone())).collect();
            backend.commit(&batch).await;
        }
        let head = backend.extent().await.unwrap().head;
        while backend.compact(head, 256).await.unwrap().0 < head.0 - 1 {}
        sizes.insert(round, std::fs::metadata(directory.path().join("state.db-wal")).unwrap().len());
    }
    backend.close().await;
    let file = std::fs::metadata(backend.path()).unwrap().len();
    // 6,144 writes of 4 KiB are 25 MB; live are 64 objects, and 512 writes between compactions.
    assert!(file < 6 << 20, "{file} bytes");
    assert!(sizes[&11] < 40 << 20, "{sizes:?}");
}
