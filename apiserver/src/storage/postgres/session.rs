//! Connections: where to, with which settings, and what to do when one is lost.
use super::BackendError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long an operation is tried again while the database cannot be reached: a restart, a failover.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a single try may take before its connection is given up.
pub(super) const ATTEMPT: Duration = Duration::from_secs(15);

/// Connections for reading at most.
const READERS: u32 = 6;

/// What every session is set to. The plans are part of this program: each statement is made for its index, and a plan
/// cached while a table was empty must not become a scan later. A holder of the writers' lock that has gone silent
/// loses it. Commits wait for the disk, unless the server is set to wait for more.
pub const SETTINGS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
    SET jit = off; SET plan_cache_mode = force_generic_plan; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'; \
    SELECT set_config('synchronous_commit', 'on', false) \
        WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Where the database is.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    name: String,
}

impl Address {
    /// Parses `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.
    pub fn parse(url: &str) -> Result<Self, BackendError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| BackendError::Unavailable(format!("the database's URL is wrong: {error}")))?
            .statement_cache_capacity(64);
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let name = format!("postgres://{host}/{database}");
        Ok(Self { options, name })
    }

    /// The address as a person may read it: without user and password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own; `what` is its name in `pg_stat_activity`.
    pub async fn connect(&self, what: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.named(what);
        let connect = async {
            let mut connection = options.connect().await?;
            connection.execute(SETTINGS).await?;
            Ok(connection)
        };
        within(Box::pin(connect)).await
    }

    /// A pool for reading; connects when first used.
    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ATTEMPT)
            .idle_timeout(Duration::from_secs(60))
            // A lost connection is found by the query, which is then tried again.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect_lazy_with(self.named("read"))
    }

    /// A pool of one connection for notifications.
    pub fn listening(&self) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        options.acquire_timeout(ATTEMPT).connect_lazy_with(self.named("listen"))
    }

    fn named(&self, what: &str) -> PgConnectOptions {
        self.options.clone().application_name(&format!("knarr-{what}"))
    }
}

/// Gives up a try that takes too long.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let slow =
        || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database is silent"));
    tokio::time::timeout(ATTEMPT, work).await.unwrap_or_else(|_| Err(slow()))
}

/// Tries something that may be repeated until it succeeds or the database has been away for long.
pub(super) async fn retry<T, F>(mut work: impl FnMut() -> F) -> Result<T, BackendError>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let (started, mut pause) = (Instant::now(), Pause::default());
    loop {
        match within(Box::pin(work())).await {
            Ok(done) => return Ok(done),
            Err(error) if passing(&error) && started.elapsed() < PATIENCE => {
                tracing::debug!(%error, "the database does not answer; trying again");
                pause.wait().await;
            }
            Err(error) => return Err(BackendError::Unavailable(error.to_string())),
        }
    }
}

/// Growing pauses between tries.
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(5))
    }
}

impl Pause {
    /// The first is short: after a restart every connection of a pool fails once.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(500));
    }
}

/// Whether the next try may succeed: the connection was lost, or the server restarts, is full, or is a standby that is
/// about to take over.
pub(super) fn passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(
                &*code,
                // admin shutdown, crash, starting up, idle session ended; too many connections; serialization,
                // deadlock, lock timeout; read-only; idle transaction ended; database dropped and made again.
                "57P01"
                    | "57P02"
                    | "57P03"
                    | "57P05"
                    | "53300"
                    | "40001"
                    | "40P01"
                    | "55P03"
                    | "25006"
                    | "25P03"
            ) || code.starts_with("08")
        }),
        _ => false,
    }
}
