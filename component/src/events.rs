//! Events: what a component tells users about objects.
//!
//! Recording never blocks and never fails: events wait in a bounded queue, and are dropped when it
//! is full. Repetitions are counted in one object, floods of similar ones are combined, and one
//! object cannot flood the server ([`correlator`]).

pub mod correlator;
pub mod series;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use correlator::{Correlator, Decision, Note};

use crate::backoff::Backoff;

/// Events that wait to be sent; more are dropped.
const QUEUE: usize = 1000;
/// Attempts to send one event.
const ATTEMPTS: usize = 6;

/// Kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// As it should be.
    Normal,
    /// Something that a user may want to look into.
    Warning,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Normal => "Normal",
            Type::Warning => "Warning",
        }
    }
}

/// Records events of one component; clones share its queue.
#[derive(Clone)]
pub struct Recorder {
    send: mpsc::Sender<(ObjectReference, Note)>,
}

impl Recorder {
    /// A recorder that reports as `component` (for example `deployment-controller`), running on
    /// node `host` (empty when the component belongs to none). It sends until `stop`.
    pub fn new(client: Client, component: &str, host: &str, stop: CancellationToken) -> Self {
        let (send, receive) = mpsc::channel(QUEUE);
        let source = EventSource {
            component: Some(component.to_string()),
            host: (!host.is_empty()).then(|| host.to_string()),
        };
        let sender = Sender { client, source: Arc::new(source), correlator: Correlator::new() };
        tokio::spawn(stop.run_until_cancelled_owned(sender.run(receive)));
        Self { send }
    }

    /// A recorder that drops everything, for tests.
    pub fn discarding() -> Self {
        Self { send: mpsc::channel(1).0 }
    }

    /// Records an event about `object`.
    pub fn event(&self, object: ObjectReference, kind: Type, reason: &str, message: impl Into<String>) {
        let note = Note { kind, reason: reason.to_string(), message: message.into() };
        if self.send.try_send((object, note)).is_err() {
            tracing::debug!(reason, "event dropped");
        }
    }

    /// Records a `Normal` event about a typed object.
    pub fn normal<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(reference(object), Type::Normal, reason, message);
    }

    /// Records a `Warning` event about a typed object.
    pub fn warning<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(reference(object), Type::Warning, reason, message);
    }
}

/// The reference by which an event names its object.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

struct Sender {
    client: Client,
    source: Arc<EventSource>,
    correlator: Correlator,
}

impl Sender {
    async fn run(mut self, mut receive: mpsc::Receiver<(ObjectReference, Note)>) {
        while let Some((object, note)) = receive.recv().await {
            let now = Timestamp::now();
            match self.correlator.correlate(&object, note, now) {
                Decision::Drop => {}
                Decision::Create { key, note } => {
                    let event = self.event(&object, &note, now);
                    let name = event.metadata.name.clone().unwrap_or_default();
                    if self.send(&object, &name, Some(&event), None).await {
                        self.correlator.created(key, name);
                    }
                }
                Decision::Count { key, name, count, note } => {
                    let patch = json!({
                        "count": count,
                        "lastTimestamp": Time(now),
                        "message": note.message,
                    });
                    if !self.send(&object, &name, None, Some(patch)).await {
                        // It expired on the server: begin anew.
                        let event = self.event(&object, &note, now);
                        let name = event.metadata.name.clone().unwrap_or_default();
                        if self.send(&object, &name, Some(&event), None).await {
                            self.correlator.created(key, name);
                        }
                    }
                }
            }
        }
    }

    fn event(&self, object: &ObjectReference, note: &Note, now: Timestamp) -> Event {
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or_default(), now.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(object).to_string()),
                ..Default::default()
            },
            involved_object: object.clone(),
            type_: Some(note.kind.name().to_string()),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some((*self.source).clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            ..Default::default()
        }
    }

    /// Creates or patches; whether the server has it.
    async fn send(
        &self,
        object: &ObjectReference,
        name: &str,
        event: Option<&Event>,
        patch: Option<serde_json::Value>,
    ) -> bool {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace(object));
        let (api, patch) = (&api, patch.as_ref());
        let write = move || {
            Box::pin(async move {
                match (event, patch) {
                    (Some(event), _) => api.create(&PostParams::default(), event).await.map(drop),
                    (None, Some(patch)) => {
                        api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
                    }
                    (None, None) => Ok(()),
                }
            }) as BoxFuture<'_, _>
        };
        deliver(name, write).await
    }
}

/// Sends until the server has it or refuses it; whether it has. Only failures of the connection are retried.
async fn deliver<'a>(name: &str, send: impl Fn() -> BoxFuture<'a, kube::Result<()>> + Send) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    for _ in 0..ATTEMPTS {
        match send().await {
            Ok(()) => return true,
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                tracing::debug!(event = name, %status, "event refused");
                return false;
            }
            Err(error) => tracing::debug!(event = name, %error, "event not sent"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
    false
}

/// Events live beside their object; those about cluster-scoped objects in `default`.
fn namespace(object: &ObjectReference) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}
