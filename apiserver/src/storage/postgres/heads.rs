//! One query for all readers that wait for the head.
//!
//! A linearizable read must know a head that was current after it began. Those who come while a query runs wait for
//! the next one, which they share: however many readers there are, one query is under way.
use super::listen::News;
use super::{BackendError, read, unavailable};
use crate::storage::backend::Extent;
use sqlx::postgres::PgPool;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Readers answered by one query at most.
const TOGETHER: usize = 4096;

type Answer = Result<Extent, BackendError>;

/// Asks for the head.
pub(super) struct Heads(mpsc::UnboundedSender<oneshot::Sender<Answer>>);

impl Heads {
    /// The asking end, and the task that queries until the former is dropped.
    pub fn new(pool: PgPool, news: Arc<News>) -> (Self, impl Future<Output = ()>) {
        let (sender, mut waiting) = mpsc::unbounded_channel::<oneshot::Sender<Answer>>();
        let task = async move {
            let mut together = Vec::new();
            while waiting.recv_many(&mut together, TOGETHER).await > 0 {
                let answer = read::extent(&pool).await;
                if let Ok(extent) = &answer {
                    // Readers wait until memory has it; a lost notification must not keep them.
                    news.compare(extent.head.0);
                }
                for reader in together.drain(..) {
                    // A reader that has gone away does not want its answer.
                    let _ = reader.send(answer.clone());
                }
            }
        };
        (Self(sender), task)
    }

    /// Head and compaction point as of a moment after this call began.
    pub async fn extent(&self) -> Answer {
        let (reply, answer) = oneshot::channel();
        let closed = || unavailable("the database is closed");
        self.0.send(reply).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}
