//! Webhooks of kubeconfig files that are sent reviews: of tokens, of access.
use super::kubeconfig::{Authorization, Remote};
use super::{CallError, Endpoint, Outbound, Post};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use bytes::Bytes;
use knarr_api::Value;
use knarr_reload::identity;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 3 << 20;
/// Pauses before a call is tried again after a failure that may pass, in milliseconds, as the original's back-off has
/// them.
const PAUSES: [u64; 4] = [500, 750, 1125, 1690];

/// A webhook.
pub struct Webhook {
    outbound: Outbound,
    endpoint: Endpoint,
    authorization: Option<Authorization>,
}

impl Webhook {
    /// The server of a kubeconfig.
    ///
    /// # Errors
    /// A file that names none.
    pub fn load(path: &Path, objects: &Arc<dyn Objects>) -> Result<Self, ConfigError> {
        let Remote { endpoint, identity, authorization } = Remote::load(path)?;
        let outbound = Outbound::new(objects.clone(), false, None, identity, identity::provider());
        Ok(Self { outbound, endpoint, authorization })
    }

    /// Sends a review and reads the answer; tries again after failures that may pass, within `timeout`.
    ///
    /// # Errors
    /// No answer, no success, or no JSON.
    pub async fn review(&self, review: &Value, timeout: Duration) -> Result<Value, String> {
        let deadline = Instant::now() + timeout;
        let body = Bytes::from(review.to_string());
        let mut pauses = PAUSES.iter().map(|pause| Duration::from_millis(*pause));
        loop {
            let authorization = self.authorization.as_ref().map(|header| header.get());
            let post = Post {
                body: body.clone(),
                timeout: deadline.saturating_duration_since(Instant::now()),
                limit: LIMIT,
                agent: "knarr-apiserver",
                tell_timeout: false,
                authorization: authorization.as_deref(),
            };
            let failed = match self.outbound.post(&self.endpoint, post).await {
                Ok(bytes) => return serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
                Err(error) => error,
            };
            match pauses.next().filter(|pause| may_pass(&failed) && Instant::now() + *pause < deadline) {
                // The pause itself.
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failed.text),
            }
        }
    }
}

/// Servers that are busy or broken for the moment, and connections that broke.
fn may_pass(error: &CallError) -> bool {
    match error.code {
        Some(code) => code == 429 || code >= 500,
        None => error.text.ends_with("connection reset by peer") || error.text.ends_with("EOF"),
    }
}
