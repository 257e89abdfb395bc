//! Calls that are not given up half-way: what one had begun to make by then would be forgotten, or appear after
//! everything else has been stopped.

use tokio_util::task::TaskTracker;

use super::{Result, RuntimeError};

/// Calls that go on though nobody may wait for them any more.
#[derive(Clone)]
pub struct Unbroken(TaskTracker);

impl Default for Unbroken {
    fn default() -> Self {
        let calls = TaskTracker::new();
        // So that they can be waited for; new ones may still begin.
        calls.close();
        Self(calls)
    }
}

impl Unbroken {
    /// Makes a call, to its end also when the caller is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.0.spawn(call).await.unwrap_or_else(|error| Err(RuntimeError::Failed(error.to_string())))
    }

    /// Returns when no call is under way.
    pub async fn settled(&self) {
        self.0.wait().await;
    }
}
