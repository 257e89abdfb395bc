//! A logind of the tests' own on a bus of their own.

use std::process::Stdio;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, connection, interface};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// logind and systemd in one.
struct Fake {
    seconds: Arc<Mutex<u64>>,
    locks: tokio::sync::mpsc::UnboundedSender<std::os::unix::net::UnixStream>,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Fake {
    fn inhibit(&self, what: &str, who: &str, _why: &str, mode: &str) -> OwnedFd {
        assert_eq!((what, who, mode), ("shutdown", "kubelet", "delay"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
        self.locks.send(ours).expect("a test that waits");
        OwnedFd::from(std::os::fd::OwnedFd::from(theirs))
    }

    #[zbus(property, name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max_usec(&self) -> u64 {
        *self.seconds.lock().expect("lock") * 1_000_000
    }

    #[zbus(signal)]
    async fn prepare_for_shutdown(emitter: &SignalEmitter<'_>, active: bool) -> zbus::Result<()>;
}

/// Reads the settings again when it is told to.
struct FakeServices {
    seconds: Arc<Mutex<u64>>,
    settings: std::path::PathBuf,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeServices {
    fn kill_unit(&self, name: &str, _who: &str, signal: i32) {
        assert_eq!((name, signal), ("systemd-logind.service", 1));
        let text = std::fs::read_to_string(self.settings.join("99-kubelet.conf")).expect("settings");
        let (_, value) = text.split_once("InhibitDelayMaxSec=").expect("a limit");
        *self.seconds.lock().expect("lock") = value.trim().parse().expect("seconds");
    }
}

/// A bus of the test's own, if the machine has the program for it.
async fn bus() -> Option<(Child, String)> {
    let mut daemon = Command::new("dbus-daemon");
    daemon.args(["--session", "--nofork", "--print-address"]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut daemon = daemon.spawn().ok()?;
    let mut lines = BufReader::new(daemon.stdout.take().expect("output")).lines();
    let address = lines.next_line().await.expect("output").expect("an address");
    Some((daemon, address))
}

#[tokio::test]
async fn the_machine_waits_and_tells() {
    let Some((_daemon, address)) = bus().await else {
        eprintln!("left out: there is no dbus-daemon here");
        return;
    };
    let folder = tempfile::tempdir().expect("directory");
    let seconds = Arc::new(Mutex::new(5));
    let (locks, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let settings = folder.path().to_owned();
    let fake = Fake { seconds: Arc::clone(&seconds), locks };
    let services = FakeServices { seconds: Arc::clone(&seconds), settings };
    let server: Connection = connection::Builder::address(address.as_str())
        .serve_at("/org/freedesktop/login1", fake)
        .serve_at("/org/freedesktop/systemd1", services)
        .name("org.freedesktop.login1")
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .expect("a bus");
    let client = connection::Builder::address(address.as_str()).build().await.expect("a bus");
    let logind = Logind::over(client, folder.path()).await.expect("logind");

    logind.allow(Duration::from_secs(30)).await.expect("raised");
    assert_eq!(*seconds.lock().expect("lock"), 30);
    let mut shutdowns = logind.shutdowns().await.expect("signals");
    let inhibitor = logind.inhibit().await.expect("a lock");
    let lock = taken.recv().await.expect("a lock");
    let emitter = SignalEmitter::new(&server, "/org/freedesktop/login1").expect("emitter");
    Fake::prepare_for_shutdown(&emitter, true).await.expect("told");
    let told = tokio::time::timeout(PATIENCE, shutdowns.next()).await.expect("in time");
    assert_eq!(told, Some(true));
    // Who lets go of the lock lets the machine go down: the other end of it is closed.
    drop(inhibitor);
    lock.set_nonblocking(true).expect("non-blocking");
    let lock = tokio::net::UnixStream::from_std(lock).expect("a socket");
    tokio::time::timeout(PATIENCE, lock.readable()).await.expect("in time").expect("readable");
    assert_eq!(lock.try_read(&mut [0]).expect("end"), 0);
}
