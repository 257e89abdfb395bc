//! Events sent to another server, as `EventList`s; what fails for a reason that may pass is sent again, with pauses that
//! grow.
use crate::config_file::ConfigError;
use crate::objects::Objects;
use crate::outbound::kubeconfig::{Authorization, Remote};
use crate::outbound::{CallError, Outbound, Post};
use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use rustls::crypto::CryptoProvider;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a request is sent in all.
const TRIES: u32 = 5;
/// By how much each pause is longer than the one before.
const FACTOR: f64 = 1.5;
/// By how much a pause may be longer by chance.
const JITTER: f64 = 0.2;
/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;
const HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;

/// The other server.
pub struct Webhook {
    outbound: Outbound,
    endpoint: crate::outbound::Endpoint,
    authorization: Option<Authorization>,
    backoff: Duration,
}

impl Webhook {
    /// The server of a kubeconfig.
    ///
    /// # Errors
    /// A file that names none.
    pub fn load(
        path: &Path,
        backoff: Duration,
        objects: Arc<dyn Objects>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ConfigError> {
        let Remote { endpoint, identity, authorization } = Remote::load(path)?;
        let outbound = Outbound::new(objects, false, None, identity, provider);
        Ok(Self { outbound, endpoint, authorization, backoff })
    }

    /// Sends events.
    ///
    /// # Errors
    /// The last failure.
    pub async fn send(&self, events: &[Bytes]) -> Result<(), CallError> {
        let body = list(events);
        let mut pause = self.backoff.as_secs_f64();
        let mut tried = 1;
        loop {
            let authorization = self.authorization.as_ref().map(|header| header.get());
            let post = Post {
                body: body.clone(),
                timeout: TIMEOUT,
                limit: ANSWER,
                agent: "knarr-apiserver",
                tell_timeout: false,
                authorization: authorization.as_deref(),
            };
            let error = match self.outbound.post(&self.endpoint, post).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if tried == TRIES || !may_pass(&error) {
                return Err(error);
            }
            tracing::debug!(%error, tried, "the audit webhook failed, trying again");
            let longer = 1.0 + rand::rng().random_range(0.0..JITTER);
            tokio::time::sleep(Duration::from_secs_f64(pause * longer)).await;
            pause *= FACTOR;
            tried += 1;
        }
    }
}

fn may_pass(error: &CallError) -> bool {
    error.code.is_none_or(|code| code == 429 || code >= 500)
}

fn list(events: &[Bytes]) -> Bytes {
    let size = events.iter().map(|event| event.len() + 1).sum::<usize>();
    let mut body = BytesMut::with_capacity(HEAD.len() + size + 2);
    body.put_slice(HEAD);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event);
    }
    body.put_slice(b"]}");
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let events = [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")];
        let value: serde_json::Value = serde_json::from_slice(&list(&events)).unwrap();
        assert_eq!((&value["kind"], &value["items"][0]["a"]), (&"EventList".into(), &1.into()));
        assert_eq!(value["items"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn what_is_sent_again() {
        let check = |code: Option<u16>, again: bool| {
            assert_eq!(may_pass(&CallError { code, text: String::new() }), again, "{code:?}");
        };
        check(None, true);
        check(Some(429), true);
        check(Some(503), true);
        check(Some(400), false);
        check(Some(403), false);
    }
}
