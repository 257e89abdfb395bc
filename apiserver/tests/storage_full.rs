//! A full disk: writes are refused, reads go on, and writes succeed again once there is room.
//!
//! Needs root for a small file system of its own; without it the test says so and is skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
use bytes::Bytes;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{CommitError, Group, Key, Options, Resource, Store};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Names the small file system; without it the inner test does nothing.
const DIRECTORY: &str = "KNARR_TEST_FULL_DIRECTORY";

fn key(name: &str) -> Key {
    Key::new("core/configmaps", "ns", name)
}

fn body(name: &str) -> Bytes {
    format!("{{\"metadata\":{{\"name\":\"{name}\"}},\"data\":\"{}\"}}", "x".repeat(20_000)).into()
}

/// Runs in a mount namespace of its own.
#[tokio::test]
#[ignore = "started by the test below"]
async fn on_a_small_disk() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let ballast = Path::new(&directory).join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let backend = Arc::new(Sqlite::open(&Path::new(&directory).join("db")).await.unwrap());
    let resources = vec![Resource::new("core/configmaps", vec![])];
    let shutdown = CancellationToken::new();
    let store = Store::open(backend, resources, Options::default(), shutdown.clone()).await.unwrap();
    let mut written = 0;
    let error = loop {
        let name = written.to_string();
        match store.commit(Group::create(key(&name), body(&name))).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
    assert!(written > 10);
    assert!(store.ready().await.is_err());
    assert_eq!(store.snapshot("core/configmaps").iter(None, None).count(), written);
    std::fs::remove_file(&ballast).unwrap();
    store.ready().await.unwrap();
    let revision = store.commit(Group::create(key("again"), body("again"))).await.unwrap()[0];
    assert_eq!(revision.0, 2 + written as u64, "a refused write takes no revision");
    shutdown.cancel();
    store.closed().await;
}

#[test]
fn a_full_disk_refuses_writes_only() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=6m none \"$0\" && exec \"$1\" --exact on_a_small_disk --ignored --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(directory.path()).arg(std::env::current_exe().unwrap());
    let mountable =
        Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !mountable {
        eprintln!("skipped: a file system of its own needs root and unshare");
        return;
    }
    let output = command.env(DIRECTORY, directory.path()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
