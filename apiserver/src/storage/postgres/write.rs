//! The writing connection: one transaction a batch, under the lock that all writers share.
//!
//! READ COMMITTED, statement by statement: take the row of the head; with a new snapshot, which then holds all that is
//! committed, read the revisions of the batch's keys; decide here; write, move the head, notify; COMMIT. Four round
//! trips, the lock is held for three. What fails before COMMIT is sent was not written. If the answer to COMMIT is lost, the
//! lock is taken again, so that the former transaction is certainly over, and the server's own row says whether it
//! was committed.
use super::session::{Address, PATIENCE, Pause, passing, within};
use super::{BackendError, Outcome, milliseconds, read, unavailable};
use crate::storage::decide::{Plan, Planned, decide};
use crate::storage::{CommitError, Group, Key, Revision, Write};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Row};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Bytes of values in one statement, about; larger batches take several within one transaction.
const STATEMENT_BYTES: usize = 16 << 20;

/// Advisory lock of the server that compacts: "Knarr" and a number.
const COMPACTING: i64 = 0x004b_6e61_7272_0002;

pub(super) const LOCK: &str = "BEGIN; SELECT revision FROM knarr.head WHERE one FOR UPDATE";

pub(super) const HEADS: &str = "SELECT key, revision FROM knarr.objects WHERE key = ANY($1)";

/// Rows ($1 to $5), live keys with their revisions ($6, $7), deleted keys ($8), head, writer, batch.
pub(super) const APPEND: &str = "WITH rows AS ( \
        INSERT INTO knarr.changes (revision, key, prev_revision, value, expires) \
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[]) \
    ), put AS ( \
        INSERT INTO knarr.objects (key, revision) SELECT * FROM unnest($6::text[], $7::bigint[]) \
        ON CONFLICT (key) DO UPDATE SET revision = excluded.revision \
    ), gone AS ( \
        DELETE FROM knarr.objects WHERE key = ANY($8::text[]) \
    ), writer AS ( \
        INSERT INTO knarr.writers (id, batch) VALUES ($10::text, $11::bigint) \
        ON CONFLICT (id) DO UPDATE SET batch = excluded.batch \
    ) \
    UPDATE knarr.head SET revision = $9::bigint WHERE one \
    RETURNING pg_notify('knarr', $10 || ' ' || $9::bigint)";

/// One step towards revision $1 of at most $2 revisions: every row passed removes the one it replaced, and itself if it
/// is a deletion. The head's row stays, so that a reader finds it. One server at a time; another finds nothing to do.
pub(super) const COMPACT: &str = "WITH point AS MATERIALIZED ( \
        SELECT c.revision AS low, \
            least($1::bigint, c.revision + $2, (SELECT revision - 1 FROM knarr.head WHERE one)) AS high \
        FROM knarr.compaction c WHERE c.one AND pg_try_advisory_xact_lock($3) \
    ), passed AS MATERIALIZED ( \
        SELECT n.revision, n.prev_revision, n.value IS NULL AS deletion \
        FROM point p JOIN knarr.changes n ON n.revision > p.low AND n.revision <= p.high \
    ), gone AS ( \
        DELETE FROM knarr.changes WHERE revision = ANY (ARRAY( \
            SELECT prev_revision FROM passed WHERE prev_revision IS NOT NULL \
            UNION ALL SELECT revision FROM passed WHERE deletion)) \
    ) \
    UPDATE knarr.compaction c SET revision = greatest(c.revision, p.high) FROM point p \
    WHERE c.one AND p.high > p.low RETURNING c.revision";

const BATCH: &str = "SELECT batch FROM knarr.writers WHERE id = $1";

const PROBE: &str = "INSERT INTO knarr.writers (id, batch) VALUES ($1, $2) \
    ON CONFLICT (id) DO UPDATE SET seen = now()";

/// Names of servers that have not been seen for long are forgotten, a few at each start.
const FORGET: &str = "DELETE FROM knarr.writers WHERE id IN ( \
    SELECT id FROM knarr.writers WHERE seen < now() - interval '7 days' LIMIT 100)";

/// The one who writes for this server.
pub(super) struct Writer {
    address: Address,
    /// This process, unlike any other.
    id: String,
    /// Number of the last transaction.
    batch: i64,
    /// Taken while in use: a failed one is not given back, and dropping it ends its transaction.
    connection: Option<PgConnection>,
    closed: bool,
}

/// How far a transaction got.
#[derive(Default)]
struct Progress<'a> {
    plan: Option<Plan<'a>>,
    /// COMMIT was sent: from here on the outcome depends on the answer.
    sent: bool,
}

impl Writer {
    /// Connects when first used.
    pub fn new(address: Address, id: String) -> Self {
        Self { address, id, batch: 0, connection: None, closed: false }
    }

    /// Makes this server known.
    pub async fn register(&mut self) -> Result<(), BackendError> {
        self.probe().await?;
        super::session::retry(|| async {
            let mut connection = self.address.connect("write").await?;
            sqlx::query(FORGET).execute(&mut connection).await?;
            connection.close().await
        })
        .await
    }

    /// Commits, trying again as long as it is certain that nothing was written.
    pub async fn commit(&mut self, groups: &[Group]) -> Vec<Outcome> {
        if groups.is_empty() {
            return Vec::new();
        }
        let keys = keys(groups);
        let (started, mut pause) = (Instant::now(), Pause::default());
        loop {
            if self.closed {
                return fail(groups, &CommitError::Unavailable("the database is closed".into()));
            }
            self.batch += 1;
            let mut progress = Progress::default();
            let failed = match within(self.attempt(groups, &keys, &mut progress)).await {
                Ok(()) => return progress.plan.map(|plan| plan.outcomes).unwrap_or_default(),
                Err(error) => error,
            };
            let Progress { plan, sent } = progress;
            if sent {
                tracing::warn!(error = %failed, "the answer to a commit was lost; looking it up");
                let plan = plan.unwrap_or_else(|| unreachable!("what was sent was planned"));
                match self.landed().await {
                    Ok(true) => return plan.outcomes,
                    Ok(false) => {}
                    Err(error) => return plan.fail(&CommitError::Unknown(format!("{failed}; {error}"))),
                }
            }
            if !passing(&failed) || started.elapsed() > PATIENCE {
                tracing::error!(error = %failed, "a transaction failed");
                return fail(groups, &CommitError::Unavailable(failed.to_string()));
            }
            tracing::debug!(error = %failed, "a transaction failed; trying again");
            pause.wait().await;
        }
    }

    async fn attempt<'a>(
        &mut self,
        groups: &'a [Group],
        keys: &[&str],
        progress: &mut Progress<'a>,
    ) -> Result<(), sqlx::Error> {
        let mut connection = self.ready().await?;
        let head = lock(&mut connection).await?;
        let heads = heads(&mut connection, keys).await?;
        let plan = progress.plan.insert(decide(groups, head, |key| heads.get(key.as_str()).copied()));
        if plan.rows.is_empty() {
            sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
        } else {
            for rows in chunks(&plan.rows) {
                self.append(&mut connection, rows).await?;
            }
            progress.sent = true;
            sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn append(&self, connection: &mut PgConnection, rows: &[Planned<'_>]) -> Result<(), sqlx::Error> {
        let Some(last) = rows.last() else { return Ok(()) };
        let column = |of: fn(&Planned<'_>) -> Option<i64>| rows.iter().map(of).collect::<Vec<_>>();
        // The last row of a key decides whether the key is live.
        let finals: HashMap<&str, &Planned<'_>> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
        let (live, gone): (Vec<_>, Vec<_>) = finals.into_iter().partition(|(_, row)| row.value.is_some());
        let (live, revisions): (Vec<&str>, Vec<i64>) =
            live.into_iter().map(|(key, row)| (key, row.applied.revision.0 as i64)).unzip();
        let gone: Vec<&str> = gone.into_iter().map(|(key, _)| key).collect();
        sqlx::query(APPEND)
            .bind(column(|row| Some(row.applied.revision.0 as i64)))
            .bind(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>())
            .bind(column(|row| row.applied.previous.map(|revision| revision.0 as i64)))
            .bind(rows.iter().map(|row| row.value.map(|value| &value[..])).collect::<Vec<_>>())
            .bind(column(|row| row.expires.map(milliseconds)))
            .bind(live)
            .bind(revisions)
            .bind(gone)
            .bind(last.applied.revision.0 as i64)
            .bind(&*self.id)
            .bind(self.batch)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Whether this server's last transaction was committed.
    async fn landed(&mut self) -> Result<bool, sqlx::Error> {
        let (started, mut pause) = (Instant::now(), Pause::default());
        loop {
            let looked = within(async {
                let mut connection = self.ready().await?;
                // The former transaction held this lock until it ended.
                lock(&mut connection).await?;
                let row = sqlx::query(BATCH).bind(&*self.id).fetch_optional(&mut connection).await?;
                let batch: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
                self.connection = Some(connection);
                Ok(batch == Some(self.batch))
            });
            match looked.await {
                Err(error) if started.elapsed() < 2 * PATIENCE && !self.closed => {
                    tracing::debug!(%error, "a commit cannot be looked up yet");
                    pause.wait().await;
                }
                other => return other,
            }
        }
    }

    /// Proves that a durable write succeeds.
    pub async fn probe(&mut self) -> Result<(), BackendError> {
        if self.closed {
            return Err(unavailable("the database is closed"));
        }
        let probe = within(async {
            let mut connection = self.ready().await?;
            sqlx::query(PROBE).bind(&*self.id).bind(self.batch).execute(&mut connection).await?;
            self.connection = Some(connection);
            Ok(())
        });
        probe.await.map_err(unavailable)
    }

    pub async fn close(&mut self) {
        self.closed = true;
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the connection did not close cleanly");
        }
    }

    async fn ready(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.address.connect("write").await,
        }
    }
}

/// Begins a transaction that holds the writers' lock; returns the head.
async fn lock(connection: &mut PgConnection) -> Result<Revision, sqlx::Error> {
    let rows = sqlx::raw_sql(LOCK).fetch_all(connection).await?;
    read::revision(rows.first().ok_or(sqlx::Error::RowNotFound)?, 0)
}

/// The revisions of those keys that are live.
async fn heads(
    connection: &mut PgConnection,
    keys: &[&str],
) -> Result<HashMap<String, Revision>, sqlx::Error> {
    let rows = sqlx::query(HEADS).bind(keys).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, read::revision(row, 1)?))).collect()
}

/// One step of compaction; the point reached.
pub(super) async fn compact(pool: &PgPool, upto: Revision, limit: usize) -> Result<Revision, BackendError> {
    let query = sqlx::query(COMPACT).bind(upto.0 as i64).bind(limit as i64).bind(COMPACTING);
    let row = within(query.fetch_optional(pool)).await.map_err(unavailable)?;
    match row {
        Some(row) => read::revision(&row, 0).map_err(unavailable),
        // Nothing to do, or another server is at it.
        None => Ok(read::extent(pool).await?.compacted),
    }
}

/// Every key that guards or writes name, once.
fn keys(groups: &[Group]) -> Vec<&str> {
    let guards = groups.iter().flat_map(|group| group.guards.iter().map(|guard| guard.key()));
    let writes = groups.iter().flat_map(|group| group.writes.iter().map(Write::key));
    let keys: HashSet<&str> = guards.chain(writes).map(Key::as_str).collect();
    keys.into_iter().collect()
}

fn fail(groups: &[Group], error: &CommitError) -> Vec<Outcome> {
    groups.iter().map(|_| Err(error.clone())).collect()
}

/// Runs of rows that fit into one statement each.
fn chunks<'r, 'a>(rows: &'r [Planned<'a>]) -> Vec<&'r [Planned<'a>]> {
    let (mut runs, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        let size = row.value.map_or(0, bytes::Bytes::len);
        if bytes + size > STATEMENT_BYTES && at > begin {
            runs.push(&rows[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    runs.push(&rows[begin..]);
    runs
}
