//! PostgreSQL servers of the tests' own: Debian's program, a temporary directory, a unix socket, durable as in
//! production. They end with the test process, however it ends.
#![allow(clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
use nix::unistd::{User, chown, geteuid};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads `start` and names of signals for the server from standard input; when that ends, so does the server.
const GUARD: &str = r#"
    directory=$1; shift
    while read -r word; do
        case $word in
            start) "$@" >>"$directory/log" 2>&1 & server=$! ;;
            *) kill -s "$word" $server; wait $server ;;
        esac
    done
    kill -s QUIT $server; wait $server; rm -rf "$directory"
"#;

/// A server.
pub struct Server {
    directory: PathBuf,
    guard: Mutex<Child>,
    databases: AtomicU32,
}

impl Server {
    /// Makes and starts one; none, and a line that says so, where the program is not installed.
    pub async fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("PostgreSQL is not installed: tests that need it are left out");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("knarr-pg-").tempdir().expect("directory").keep();
        let data = directory.join("data");
        // It refuses to run as root.
        let user = geteuid().is_root().then(|| User::from_name("postgres").ok().flatten().expect("its user"));
        if let Some(user) = &user {
            chown(&directory, Some(user.uid), Some(user.gid)).expect("chown");
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            if let Some(user) = &user {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command.current_dir("/").env("LC_ALL", "C");
            command
        };
        let made = command(&programs.join("initdb"))
            .args(["--auth=trust", "--username=knarr", "--encoding=UTF8", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let guard = command(Path::new("/bin/sh"))
            .args(["-c", GUARD, "sh"])
            .arg(&directory)
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "max_connections=400", "-c", "shared_buffers=32MB", "-c"])
            .arg(format!("unix_socket_directories={}", directory.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("guard");
        let server = Self { directory, guard: Mutex::new(guard), databases: AtomicU32::new(0) };
        server.tell("start");
        server.ready().await;
        Some(server)
    }

    /// The one that the tests of this process share.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = STARTING.lock().await;
        if SHARED.get().is_none() {
            let _ = SHARED.set(Self::start().await);
        }
        SHARED.get().and_then(Option::as_ref)
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connect("postgres").await.expect("connection");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("database");
        self.url(&name)
    }

    /// Stops it as an administrator does (INT) or as a crash does (QUIT), and starts it again.
    #[allow(dead_code, reason = "not every test restarts it")]
    pub async fn restart(&self, signal: &str) {
        self.tell(signal);
        self.tell("start");
        self.ready().await;
    }

    /// Tells the guard: `start`, or the name of a signal.
    pub fn tell(&self, word: &str) {
        let mut guard = self.guard.lock().expect("guard");
        let stdin = guard.stdin.as_mut().expect("pipe");
        writeln!(stdin, "{word}").expect("guard lives");
    }

    /// The socket it listens on.
    #[allow(dead_code, reason = "for tests with a proxy before it")]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?user=knarr&host={}", self.directory.display())
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(&self.url(database)).await
    }

    async fn ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.connect("postgres").await {
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {error}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut guard = self.guard.lock().expect("guard");
        drop(guard.stdin.take());
        let _ = guard.wait();
    }
}

/// Where `postgres` and `initdb` are.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
}

/// An empty database where the tests are asked to use one (`KNARR_TEST_DATASTORE=postgres`) instead of SQLite.
#[allow(dead_code, reason = "some tests are about Postgres in any case")]
pub async fn chosen() -> Option<String> {
    match std::env::var("KNARR_TEST_DATASTORE").as_deref() {
        Ok("postgres") => Some(database().await.expect("PostgreSQL is installed")),
        _ => None,
    }
}

/// An empty database of the shared server.
#[allow(dead_code, reason = "some tests have a server of their own")]
pub async fn database() -> Option<String> {
    Some(Server::shared().await?.database().await)
}
