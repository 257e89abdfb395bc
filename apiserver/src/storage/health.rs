//! Whether writes succeed.
use super::CommitError;
use super::backend::{Backend, Outcome};
use parking_lot::Mutex;

/// The last failure of the database, until a write succeeds.
#[derive(Default)]
pub(super) struct Health {
    failure: Mutex<Option<String>>,
}

impl Health {
    /// Learns from a commit.
    pub fn observe(&self, outcomes: &[Outcome]) {
        let failure = outcomes.iter().find_map(|outcome| match outcome {
            Err(error @ (CommitError::Unavailable(_) | CommitError::Unknown(_))) => Some(error.to_string()),
            _ => None,
        });
        let wrote = outcomes.iter().flatten().any(|applied| !applied.is_empty());
        if failure.is_some() || wrote {
            *self.failure.lock() = failure;
        }
    }

    /// Writes succeed; after a failure this is tried, and the answer says whether they succeed again.
    pub async fn check(&self, backend: &dyn Backend) -> Result<bool, String> {
        if self.failure.lock().is_none() {
            return Ok(false);
        }
        let tried = backend.probe().await.map_err(|error| error.to_string());
        *self.failure.lock() = tried.clone().err();
        tried.map(|()| true)
    }
}
